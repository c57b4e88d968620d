use std::collections::BTreeSet;

use bowline_core::labels::Owner;
use bowline_core::object::{GatewayKey, ObjectKey};
use bowline_core::volume::{ObservedVolume, VolumeIdentity, VolumeKey, VolumeProblem};
use chrono::Utc;
use serde_json::json;
use uuid::Uuid;

use crate::testing::{Fixture, with_store};
use crate::{DueRemoval, GatewayError, Hint, RemovalAnswer, Scope};

fn data() -> BTreeSet<VolumeKey> {
    BTreeSet::from([VolumeKey::new("sqlite", "data")])
}

fn key() -> VolumeKey {
    VolumeKey::new("sqlite", "data")
}

/// A second gateway of the namespace.
async fn second(db: &Fixture, namespace: &str) -> Uuid {
    db.apply(&ObjectKey::gateway(namespace, "work"), &json!({})).await.object.metadata.uid
}

fn seen(db: &Fixture, tenant: Uuid, name: &str) -> ObservedVolume {
    let owner = Owner { instance: "test".to_owned(), installation: db.store.installation() };
    let namespace = "u1".to_owned();
    let identity = VolumeIdentity { owner, host: "h1".to_owned(), namespace, tenant, key: key() };
    ObservedVolume { name: name.to_owned(), identity }
}

#[test]
fn a_tenant_comes_with_the_first_object_of_its_namespace_and_stays() {
    with_store(async |db| {
        let (one, place) = db.placed("u1").await;
        let first = db.store.claim_volumes(place.host, one, "u1", &BTreeSet::new()).await.unwrap().tenant;
        db.delete(&ObjectKey::gateway("u1", "default")).await;
        assert!(db.store.finish_delete(one).await.unwrap());
        let (again, _) = db.placed("u1").await;
        let claims = db.store.claim_volumes(place.host, again, "u1", &BTreeSet::new()).await.unwrap();
        assert_eq!(claims.tenant, first);
        let (other, _) = db.placed("u2").await;
        let other = db.store.claim_volumes(place.host, other, "u2", &BTreeSet::new()).await.unwrap();
        assert_ne!(other.tenant, first);
    });
}

#[test]
fn a_volume_has_one_gateway_at_a_time() {
    with_store(async |db| {
        let (one, place) = db.placed("u1").await;
        let two = second(&db, "u1").await;
        let claim = async |gateway| db.store.claim_volumes(place.host, gateway, "u1", &data()).await.unwrap();
        assert!(claim(one).await.problems.is_empty());
        let problems = claim(two).await.problems;
        let holder = GatewayKey::new("u1", "default");
        assert_eq!(problems.get("sqlite/data"), Some(&VolumeProblem::InUse(holder)));
        assert_eq!(db.store.held_volumes(one).await.unwrap(), [key()]);
        assert!(db.store.held_volumes(two).await.unwrap().is_empty());

        db.store.release_volumes(one, &[key()]).await.unwrap();
        assert!(claim(two).await.problems.is_empty());
        assert!(!claim(one).await.problems.is_empty());
        let other = BTreeSet::from([VolumeKey::new("sqlite", "other")]);
        let gone = db.store.claim_volumes(place.host, Uuid::now_v7(), "u1", &other).await;
        assert!(matches!(gone, Err(GatewayError::Gone)));
    });
}

#[test]
fn of_many_claims_at_once_one_wins() {
    with_store(async |db| {
        let (_, place) = db.placed("u1").await;
        let mut tasks = Vec::new();
        for n in 0..8 {
            let object = db.apply(&ObjectKey::gateway("u1", format!("g{n}")), &json!({})).await.object;
            let db = db.clone();
            tasks.push(tokio::spawn(async move {
                let claims =
                    db.store.claim_volumes(place.host, object.metadata.uid, "u1", &data()).await.unwrap();
                claims.problems.is_empty()
            }));
        }
        let mut winners = 0;
        for task in tasks {
            winners += u32::from(task.await.unwrap());
        }
        assert_eq!(winners, 1);
    });
}

#[test]
fn of_the_volumes_of_a_server_a_gateway_gets_all_or_none() {
    with_store(async |db| {
        let (one, place) = db.placed("u1").await;
        let two = second(&db, "u1").await;
        let claim = async |gateway, keys: &[VolumeKey]| {
            let keys = keys.iter().cloned().collect();
            db.store.claim_volumes(place.host, gateway, "u1", &keys).await.unwrap().problems
        };
        let (wal, other) = (VolumeKey::new("sqlite", "wal"), VolumeKey::new("other", "data"));
        assert!(claim(one, &[key()]).await.is_empty());
        let problems = claim(two, &[key(), wal.clone(), other.clone()]).await;
        assert_eq!(problems.keys().collect::<Vec<_>>(), ["sqlite/data"]);
        assert_eq!(db.store.held_volumes(two).await.unwrap(), std::slice::from_ref(&other));
        assert!(claim(one, &[key(), wal.clone()]).await.is_empty(), "nobody keeps the first from the rest");

        // What is being removed blocks its server, too.
        db.store.release_volumes(one, &[key(), wal.clone()]).await.unwrap();
        db.store.remove_volume("u1", &key()).await.unwrap();
        let problems = claim(two, &[key(), wal.clone(), other.clone()]).await;
        assert_eq!(problems.get("sqlite/data"), Some(&VolumeProblem::Removing));
        assert_eq!(db.store.held_volumes(two).await.unwrap(), std::slice::from_ref(&other));
    });
}

#[test]
fn what_was_claimed_and_never_made_is_forgotten_when_nobody_has_it() {
    with_store(async |db| {
        let (one, place) = db.placed("u1").await;
        let begun = Utc::now() - chrono::TimeDelta::seconds(5);
        let later = Utc::now() + chrono::TimeDelta::seconds(5);
        db.store.claim_volumes(place.host, one, "u1", &data()).await.unwrap();
        let left = async |listed_at| {
            db.store.forget_volumes(place.host, &[], listed_at).await.unwrap();
            db.store.volumes(None).await.unwrap().len()
        };
        assert_eq!(left(later).await, 1, "it will be made");
        db.store.release_volumes(one, &[key()]).await.unwrap();
        assert_eq!(left(begun).await, 1, "it is newer than the list");
        assert_eq!(left(later).await, 0);
    });
}

#[test]
fn what_a_gateway_uses_is_not_removed_and_what_is_to_go_is_not_claimed() {
    with_store(async |db| {
        let (one, place) = db.placed("u1").await;
        let claims = db.store.claim_volumes(place.host, one, "u1", &data()).await.unwrap();
        let holder = GatewayKey::new("u1", "default");
        assert_eq!(db.store.remove_volume("u1", &key()).await.unwrap(), RemovalAnswer::InUse(holder));
        assert_eq!(db.store.remove_volume("u2", &key()).await.unwrap(), RemovalAnswer::Absent);

        let mut hints = db.store.watch(Scope::Volumes);
        assert_eq!(hints.next().await, Hint::All);
        db.store.release_volumes(one, &[key()]).await.unwrap();
        assert_eq!(db.store.remove_volume("u1", &key()).await.unwrap(), RemovalAnswer::Asked);
        assert_eq!(hints.next().await, Hint::Uid(claims.tenant));
        let problems = db.store.claim_volumes(place.host, one, "u1", &data()).await.unwrap().problems;
        assert_eq!(problems.get("sqlite/data"), Some(&VolumeProblem::Removing));

        let due = db.store.due_volume_removals(place.host).await.unwrap();
        let removal = DueRemoval { tenant: claims.tenant, namespace: "u1".to_owned(), key: key() };
        assert_eq!(due, std::slice::from_ref(&removal));
        db.store.volume_not_removed(place.host, &removal, "in use by a container").await.unwrap();
        let listed = db.store.volumes(Some("u1")).await.unwrap();
        assert_eq!(listed[0].removal_problem.as_deref(), Some("in use by a container"));
        db.store.volume_removed(place.host, &removal).await.unwrap();
        assert!(db.store.volumes(None).await.unwrap().is_empty());
        let claims = db.store.claim_volumes(place.host, one, "u1", &data()).await.unwrap();
        assert!(claims.problems.is_empty());
    });
}

#[test]
fn a_gateway_takes_its_volumes_along_only_when_asked_and_only_at_its_end() {
    with_store(async |db| {
        let (one, place) = db.placed("u1").await;
        db.store.claim_volumes(place.host, one, "u1", &data()).await.unwrap();
        let mut tx = db.store.begin_write().await.unwrap();
        assert_eq!(tx.remove_held_volumes(one).await.unwrap(), [key()]);
        tx.mark_deleted(&ObjectKey::gateway("u1", "default")).await.unwrap();
        tx.commit().await.unwrap();
        assert!(db.store.due_volume_removals(place.host).await.unwrap().is_empty(), "it still has it");

        let mut hints = db.store.watch(Scope::Volumes);
        assert_eq!(hints.next().await, Hint::All);
        assert!(db.store.finish_delete(one).await.unwrap());
        assert!(matches!(hints.next().await, Hint::Uid(_)), "the end of a gateway is told");
        assert_eq!(db.store.due_volume_removals(place.host).await.unwrap().len(), 1);
    });
}

#[test]
fn what_is_seen_is_entered_once_and_forgotten_when_it_is_gone() {
    with_store(async |db| {
        let (one, place) = db.placed("u1").await;
        let tenant = db.store.claim_volumes(place.host, one, "u1", &data()).await.unwrap().tenant;
        let volumes = [seen(&db, tenant, "mcp-vol-u1.sqlite.data"), seen(&db, Uuid::now_v7(), "another's")];
        for _ in 0..2 {
            db.store.record_volumes(place.host, &volumes).await.unwrap();
        }
        let listed = db.store.volumes(None).await.unwrap();
        assert_eq!(listed.len(), 1, "{listed:?}");
        assert_eq!(listed[0].engine_name.as_deref(), Some("mcp-vol-u1.sqlite.data"));
        assert_eq!(listed[0].holder, Some(GatewayKey::new("u1", "default")));

        let later = Utc::now() + chrono::TimeDelta::seconds(5);
        db.store.forget_volumes(place.host, &[], later).await.unwrap();
        assert_eq!(db.store.volumes(None).await.unwrap().len(), 1, "somebody has it");
        db.store.release_volumes(one, &[key()]).await.unwrap();
        db.store.forget_volumes(place.host, &volumes, later).await.unwrap();
        assert_eq!(db.store.volumes(None).await.unwrap().len(), 1, "it was shown");
        db.store.forget_volumes(place.host, &[], later).await.unwrap();
        assert!(db.store.volumes(None).await.unwrap().is_empty());
    });
}
