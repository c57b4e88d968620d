use bowline_core::lease::{Holder, LeaseKind, LeaseSlot, Leases};
use bowline_core::object::{GatewayKey, ObjectKey};
use chrono::Utc;
use serde_json::json;

use crate::testing::with_store;
use crate::{GatewayError, NewToken, Take};

#[test]
fn a_record_holds_everything_about_one_gateway() {
    with_store(async |db| {
        let store = &db.store;
        let (base, own) = (ObjectKey::cluster_catalog("base"), ObjectKey::catalog("u1", "base"));
        let team = ObjectKey::catalog("team", "tools");
        for catalog in [&base, &own, &team, &ObjectKey::cluster_catalog("unused")] {
            db.apply(catalog, &json!({"registry": {}})).await;
        }
        let key = GatewayKey::new("u1", "default");
        let spec = json!({"catalogs": ["base", own, {"kind": "Catalog", "namespace": "team", "name": "tools"}, "missing"]});
        let object = db.apply(&ObjectKey::gateway("u1", "default"), &spec).await.object;
        let uid = object.metadata.uid;
        assert_eq!(store.load_gateway(&GatewayKey::new("u2", "default")).await.unwrap(), None);
        let bare = store.load_gateway(&key).await.unwrap().unwrap();
        assert_eq!((&bare.object, bare.placement, bare.tokens_revision), (&object, None, 0));
        assert_eq!((bare.observed, bare.pins), (None, None));

        let host = store.register_host("h1").await.unwrap();
        let placement = store.ensure_placement(uid, host.id).await.unwrap();
        let slot = LeaseSlot::new(LeaseKind::Uid, Holder::Server("time".to_owned()));
        assert_eq!(store.take_lease(host.id, uid, &slot, 7).await.unwrap(), Take::Held(7));
        let sha256 = "ab".repeat(32);
        store
            .add_token(uid, NewToken { id: "t1", sha256: &sha256, label: "laptop", expires_at: None })
            .await
            .unwrap();
        let now = Utc::now();
        assert!(store.put_observed(uid, placement.epoch, &json!({"containers": []}), now).await.unwrap());
        assert!(store.put_pins(uid, placement.epoch, &json!({"time": "sha256:1"})).await.unwrap());

        let record = store.load_gateway(&key).await.unwrap().unwrap();
        assert_eq!(record.object, object, "neither leases nor tokens nor observations change the object");
        assert_eq!(record.placement, Some(placement));
        assert_eq!(record.leases, Leases::from([(slot, 7)]));
        assert_eq!(
            (record.tokens.len(), record.tokens[0].sha256.as_str(), record.tokens_revision),
            (1, &*sha256, 1)
        );
        assert_eq!(record.catalogs.keys().collect::<Vec<_>>(), [&base, &team, &own]);
        assert_eq!(record.observed.unwrap().value, json!({"containers": []}));
        assert_eq!(record.pins, Some(json!({"time": "sha256:1"})));
    });
}

#[test]
fn a_pass_that_sees_and_places_what_was_so_before_writes_nothing() {
    with_store(async |db| {
        let (uid, place) = db.placed("u1").await;
        let (seen, pins) = (json!({"a": 1}), json!({"b": "2"}));
        assert!(db.store.put_observed(uid, place.epoch, &seen, Utc::now()).await.unwrap());
        assert!(db.store.put_pins(uid, place.epoch, &pins).await.unwrap());
        let before = db.writers().await;
        assert!(!db.store.put_observed(uid, place.epoch, &seen, Utc::now()).await.unwrap());
        assert!(!db.store.put_pins(uid, place.epoch, &pins).await.unwrap());
        assert!(!db.store.put_observed(uid, place.epoch + 1, &json!({"a": 2}), Utc::now()).await.unwrap());
        assert_eq!(db.store.ensure_placement(uid, place.host).await.unwrap(), place);
        assert_eq!(db.store.register_host("h1").await.unwrap().id, place.host);
        db.store.prune(Utc::now()).await.unwrap();
        db.store.prune_expired_tokens(Utc::now()).await.unwrap();
        assert_eq!(db.writers().await, before);
    });
}

#[test]
fn a_gateway_that_is_gone_is_not_placed() {
    with_store(async |db| {
        let host = db.store.register_host("h1").await.unwrap();
        let error = db.store.ensure_placement(uuid::Uuid::now_v7(), host.id).await.unwrap_err();
        assert!(matches!(error, GatewayError::Gone), "{error}");
    });
}

#[test]
fn the_listing_of_keys_has_those_that_are_being_deleted() {
    with_store(async |db| {
        let (first, _) = db.placed("b").await;
        let (second, _) = db.placed("a").await;
        db.delete(&ObjectKey::gateway("a", "default")).await;
        let keys = db.store.desired_keys().await.unwrap();
        let expected = [(GatewayKey::new("a", "default"), second), (GatewayKey::new("b", "default"), first)];
        assert_eq!(keys, expected);
    });
}
