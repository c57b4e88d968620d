use std::collections::BTreeSet;

use bowline_core::lease::{Holder, LeaseKind, LeaseSlot};
use bowline_core::object::{GatewayKey, ObjectKey};
use chrono::{TimeDelta, Utc};

use crate::testing::with_store;
use crate::{FinishDeleteError, GatewayError, Take};

fn port() -> LeaseSlot {
    LeaseSlot::new(LeaseKind::Port, Holder::Gateway)
}

#[test]
fn a_value_has_one_holder_and_a_slot_keeps_what_it_has() {
    with_store(async |db| {
        let (one, place) = db.placed("u1").await;
        let (two, _) = db.placed("u2").await;
        let (store, host) = (&db.store, place.host);
        assert_eq!(store.take_lease(host, one, &port(), 20_000).await.unwrap(), Take::Held(20_000));
        assert_eq!(store.take_lease(host, one, &port(), 20_005).await.unwrap(), Take::Held(20_000));
        assert_eq!(store.take_lease(host, two, &port(), 20_000).await.unwrap(), Take::Taken);
        let server = LeaseSlot::new(LeaseKind::Uid, Holder::Server("time".to_owned()));
        assert_eq!(store.take_lease(host, two, &server, 20_000).await.unwrap(), Take::Held(20_000));
        let other = store.register_host("h2").await.unwrap();
        assert_eq!(store.take_lease(other.id, two, &port(), 20_000).await.unwrap(), Take::Held(20_000));
        assert_eq!(store.taken(host, LeaseKind::Port).await.unwrap(), BTreeSet::from([20_000]));
        let gone = store.take_lease(host, uuid::Uuid::now_v7(), &port(), 1).await.unwrap_err();
        assert!(matches!(gone, GatewayError::Gone), "{gone}");
    });
}

#[test]
fn many_gateways_at_once_never_share_a_value_and_the_last_ones_find_none() {
    with_store(async |db| {
        let mut gateways = Vec::new();
        for n in 0..30 {
            gateways.push(db.placed(&format!("u{n}")).await);
        }
        let range: Vec<i64> = (0..20).collect();
        let tasks: Vec<_> = gateways
            .into_iter()
            .map(|(uid, place)| {
                let (db, range) = (db.clone(), range.clone());
                tokio::spawn(async move {
                    for value in range {
                        if let Take::Held(value) =
                            db.store.take_lease(place.host, uid, &port(), value).await.unwrap()
                        {
                            return Some(value);
                        }
                    }
                    None
                })
            })
            .collect();
        let mut held = Vec::new();
        let mut without = 0;
        for task in tasks {
            match task.await.unwrap() {
                Some(value) => held.push(value),
                None => without += 1,
            }
        }
        held.sort_unstable();
        assert_eq!((held, without), (range, 10));
    });
}

#[test]
fn a_gateway_goes_only_after_its_leases() {
    with_store(async |db| {
        let (uid, place) = db.placed("u1").await;
        let server = LeaseSlot::new(LeaseKind::Uid, Holder::Server("time".to_owned()));
        db.store.take_lease(place.host, uid, &port(), 1).await.unwrap();
        db.store.take_lease(place.host, uid, &server, 2).await.unwrap();
        db.delete(&ObjectKey::gateway("u1", "default")).await;
        assert_eq!(db.store.release_leases(uid, std::slice::from_ref(&server)).await.unwrap(), 1);
        assert_eq!(db.store.release_leases(uid, &[server]).await.unwrap(), 0);
        let error = db.store.finish_delete(uid).await.unwrap_err();
        assert!(matches!(error, FinishDeleteError::LeasesRemain), "{error}");
        assert_eq!(db.store.release_all(uid).await.unwrap(), 1);
        assert!(db.store.finish_delete(uid).await.unwrap());
    });
}

#[test]
fn a_port_stays_with_its_name_for_a_while() {
    with_store(async |db| {
        let host = db.store.register_host("h1").await.unwrap().id;
        let (one, two) = (GatewayKey::new("u1", "default"), GatewayKey::new("u2", "default"));
        let now = Utc::now();
        let soon = now + TimeDelta::minutes(10);
        db.store.reserve_port(host, &one, 20_000, soon).await.unwrap();
        db.store.reserve_port(host, &two, 20_001, soon).await.unwrap();
        db.store.reserve_port(host, &one, 20_001, soon).await.unwrap();
        let kept = db.store.reservations(host, now).await.unwrap();
        assert_eq!(kept.into_iter().collect::<Vec<_>>(), [(20_001, one)]);
        assert!(db.store.reservations(host, soon).await.unwrap().is_empty());
        assert_eq!(db.store.prune(soon).await.unwrap().reservations, 1);
    });
}
