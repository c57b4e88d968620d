use std::collections::BTreeMap;

use bowline_core::desired::Requests;
use bowline_core::object::{GatewayKey, ObjectKey};
use tokio::time::{Duration, timeout};

use crate::testing::with_store;
use crate::{GatewayError, Hint, Scope};

#[test]
fn requests_are_counted_by_unit_and_wake_the_controller() {
    with_store(async |db| {
        let (uid, _) = db.placed("u1").await;
        let store = &db.store;
        let key = GatewayKey::new("u1", "default");
        let before = store.load_gateway(&key).await.unwrap().unwrap();
        assert_eq!(before.requests, BTreeMap::new());
        let mut listener = store.watch(Scope::Desired);
        assert_eq!(listener.next().await, Hint::All);

        assert_eq!(store.request_restart(uid, "gateway").await.unwrap(), 1);
        assert_eq!(store.request_restart(uid, "gateway").await.unwrap(), 2);
        assert_eq!(store.request_restart(uid, "server:time").await.unwrap(), 3);
        assert_eq!(store.request_retry(uid, "*").await.unwrap(), 4);
        assert_eq!(store.request_retry(uid, "gateway").await.unwrap(), 5);
        for _ in 0..5 {
            let hint =
                timeout(Duration::from_secs(20), listener.next()).await.expect("a hint of each request");
            assert_eq!(hint, Hint::Uid(uid));
        }

        let after = store.load_gateway(&key).await.unwrap().unwrap();
        let counts = |restart, retry| Requests { restart, retry };
        let expected = [("*", counts(0, 1)), ("gateway", counts(2, 1)), ("server:time", counts(1, 0))];
        assert_eq!(after.requests, expected.map(|(unit, counts)| (unit.to_owned(), counts)).into());
        assert_eq!(after.object, before.object, "a request is no change of the object");
    });
}

#[test]
fn requests_at_one_moment_are_told_apart() {
    with_store(async |db| {
        let (uid, _) = db.placed("u1").await;
        let asked = (0..16).map(|number| {
            let store = db.store.clone();
            tokio::spawn(async move { store.request_retry(uid, &format!("server:{number}")).await.unwrap() })
        });
        let mut revisions = Vec::new();
        for asking in asked.collect::<Vec<_>>() {
            revisions.push(asking.await.unwrap());
        }
        revisions.sort_unstable();
        assert_eq!(revisions, (1..=16).collect::<Vec<_>>());
    });
}

#[test]
fn a_gateway_that_is_made_anew_inherits_no_request() {
    with_store(async |db| {
        let (uid, _) = db.placed("u1").await;
        db.store.request_restart(uid, "gateway").await.unwrap();
        db.delete(&ObjectKey::gateway("u1", "default")).await;
        db.store.finish_delete(uid).await.unwrap();
        let error = db.store.request_retry(uid, "*").await.unwrap_err();
        assert!(matches!(error, GatewayError::Gone), "{error}");
        db.placed("u1").await;
        let record = db.store.load_gateway(&GatewayKey::new("u1", "default")).await.unwrap().unwrap();
        assert_eq!(record.requests, BTreeMap::new());
    });
}
