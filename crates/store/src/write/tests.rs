use std::collections::BTreeMap;

use bowline_core::object::{GatewayKey, Kind, ObjectKey};
use serde_json::json;

use crate::testing::{put, with_store};
use crate::{Marked, Outcome, Put, PutError};

#[test]
fn what_is_so_already_is_not_written() {
    with_store(async |db| {
        let key = ObjectKey::gateway("u1", "default");
        assert_eq!(db.apply(&key, &json!({"a": 1})).await.outcome, Outcome::Created);
        let before = db.writers().await;
        let again = db.apply(&key, &json!({"a": 1.0})).await;
        assert_eq!(again.outcome, Outcome::Unchanged);
        assert_eq!(again.object.metadata.resource_version, 1);
        assert_eq!(db.writers().await, before);
    });
}

#[test]
fn the_generation_grows_with_the_specification_only() {
    with_store(async |db| {
        let key = ObjectKey::gateway("u1", "default");
        db.apply(&key, &json!({"a": 1})).await;
        let changed = db.apply(&key, &json!({"a": 2})).await;
        assert_eq!(changed.outcome, Outcome::Configured);
        assert_eq!((changed.object.metadata.generation, changed.object.metadata.resource_version), (2, 2));

        let labels = BTreeMap::from([("team".to_owned(), "x".to_owned())]);
        let mut tx = db.store.begin_write().await.unwrap();
        let labelled = tx
            .put(Put {
                key: &key,
                spec: &json!({"a": 2}),
                labels: &labels,
                annotations: &BTreeMap::new(),
                managed_by: "cli",
                expected_version: Some(2),
            })
            .await
            .unwrap();
        tx.commit().await.unwrap();
        assert_eq!(labelled.outcome, Outcome::Configured);
        let stored = db.store.get(&key).await.unwrap().unwrap();
        assert_eq!((stored.metadata.generation, stored.metadata.resource_version), (2, 3));
        assert_eq!(stored.metadata.labels, labels);
    });
}

#[test]
fn a_write_that_expects_another_version_is_refused() {
    with_store(async |db| {
        let key = ObjectKey::gateway("u1", "default");
        let none = BTreeMap::new();
        let spec = json!({"a": 1});
        let expecting = |version| Put {
            key: &key,
            spec: &spec,
            labels: &none,
            annotations: &none,
            managed_by: "cli",
            expected_version: Some(version),
        };
        let mut tx = db.store.begin_write().await.unwrap();
        let error = tx.put(expecting(1)).await.unwrap_err();
        assert!(matches!(error, PutError::Conflict { current: None, .. }), "{error}");
        drop(tx);
        db.apply(&key, &json!({})).await;
        let mut tx = db.store.begin_write().await.unwrap();
        let error = tx.put(expecting(7)).await.unwrap_err();
        assert!(matches!(error, PutError::Conflict { current: Some(1), .. }), "{error}");
        drop(tx);
        let mut tx = db.store.begin_write().await.unwrap();
        assert_eq!(tx.put(expecting(1)).await.unwrap().outcome, Outcome::Configured);
    });
}

#[test]
fn an_object_that_is_being_deleted_takes_no_changes_and_a_new_one_inherits_nothing() {
    with_store(async |db| {
        let key = ObjectKey::gateway("u1", "default");
        let first = db.apply(&key, &json!({})).await.object.metadata;
        assert_eq!(db.delete(&key).await, Marked::Terminating(first.uid));
        assert_eq!(db.delete(&key).await, Marked::AlreadyTerminating(first.uid));
        let mut tx = db.store.begin_write().await.unwrap();
        let error = put(&mut tx, &key, &json!({"a": 1})).await.unwrap_err();
        assert!(matches!(error, PutError::Terminating(_)), "{error}");
        drop(tx);
        let marked = db.store.get(&key).await.unwrap().unwrap().metadata;
        assert!(marked.deletion_timestamp.is_some());
        assert_eq!((marked.generation, marked.resource_version), (1, 2));

        assert!(db.store.finish_delete(first.uid).await.unwrap());
        assert!(!db.store.finish_delete(first.uid).await.unwrap());
        let second = db.apply(&key, &json!({})).await;
        assert_eq!(second.outcome, Outcome::Created);
        assert_ne!(second.object.metadata.uid, first.uid);
        assert_eq!(second.object.metadata.generation, 1);
    });
}

#[test]
fn an_object_that_nobody_deletes_is_not_removed() {
    with_store(async |db| {
        let uid = db.apply(&ObjectKey::gateway("u1", "default"), &json!({})).await.object.metadata.uid;
        let error = db.store.finish_delete(uid).await.unwrap_err();
        assert!(matches!(error, crate::FinishDeleteError::NotTerminating), "{error}");
    });
}

#[test]
fn a_transaction_is_all_or_nothing_and_sees_itself() {
    with_store(async |db| {
        let mut tx = db.store.begin_write().await.unwrap();
        put(&mut tx, &ObjectKey::cluster_catalog("base"), &json!({})).await.unwrap();
        put(&mut tx, &ObjectKey::gateway("u1", "default"), &json!({"catalogs": ["base"]})).await.unwrap();
        assert_eq!(tx.list(Kind::ClusterCatalog, None).await.unwrap().len(), 1);
        assert_eq!(
            tx.gateways_using(&ObjectKey::cluster_catalog("base")).await.unwrap(),
            [GatewayKey::new("u1", "default")]
        );
        assert!(db.store.desired_keys().await.unwrap().is_empty());
        drop(tx);
        assert_eq!(db.store.list(Kind::ClusterCatalog, None).await.unwrap().version, 0);
    });
}

#[test]
fn the_character_nul_is_refused_with_the_object_named() {
    with_store(async |db| {
        let mut tx = db.store.begin_write().await.unwrap();
        let error =
            put(&mut tx, &ObjectKey::cluster_catalog("base"), &json!({"a": "x\0y"})).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "clustercatalog/base holds the character NUL (\\u0000), which cannot be stored"
        );
    });
}

#[test]
fn of_many_that_create_one_object_one_does_and_all_changes_are_kept_apart() {
    with_store(async |db| {
        let tasks: Vec<_> = (0..12)
            .map(|n| {
                let db = db.clone();
                tokio::spawn(
                    async move { db.apply(&ObjectKey::gateway("u1", "default"), &json!({"n": n})).await },
                )
            })
            .collect();
        let mut outcomes = Vec::new();
        let mut generations = Vec::new();
        for task in tasks {
            let applied = task.await.unwrap();
            outcomes.push(applied.outcome);
            generations.push(applied.object.metadata.generation);
        }
        generations.sort_unstable();
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Created).count(), 1);
        assert_eq!(generations, (1..=12).collect::<Vec<i64>>());
    });
}

#[test]
fn the_users_of_a_catalog_are_found_in_every_notation() {
    with_store(async |db| {
        for (namespace, catalogs) in [
            ("a", json!(["base"])),
            ("b", json!([{"kind": "ClusterCatalog", "name": "base"}])),
            ("c", json!(["more", "base", {"kind": "Catalog", "name": "base", "namespace": "x"}])),
            ("d", json!([{"kind": "Catalog", "name": "base", "namespace": "x"}])),
            ("g", json!([{"name": "base"}, {"kind": "ClusterCatalog"}, 7])),
            ("e", json!("base")),
            ("f", json!(null)),
        ] {
            db.apply(&ObjectKey::gateway(namespace, "default"), &json!({"catalogs": catalogs})).await;
        }
        for (catalog, users) in [
            (ObjectKey::cluster_catalog("base"), &["a", "b", "c"][..]),
            (ObjectKey::catalog("x", "base"), &["c", "d"]),
            (ObjectKey::catalog("a", "base"), &[]),
        ] {
            let found = db.store.gateways_using(&catalog).await.unwrap();
            let namespaces: Vec<&str> = found.iter().map(|key| key.namespace.as_str()).collect();
            assert_eq!(namespaces, users, "{catalog}");
        }
    });
}

#[test]
fn those_of_many_objects_that_exist_are_read_at_once() {
    with_store(async |db| {
        let there = [ObjectKey::cluster_catalog("base"), ObjectKey::catalog("u1", "base")];
        for key in &there {
            db.apply(key, &json!({})).await;
        }
        let mut tx = db.store.begin_write().await.unwrap();
        put(&mut tx, &ObjectKey::gateway("u1", "base"), &json!({})).await.unwrap();
        let mut asked = there.to_vec();
        asked.extend([ObjectKey::gateway("u1", "base"), ObjectKey::catalog("u2", "base")]);
        let found = tx.get_all(&asked).await.unwrap();
        let mut keys: Vec<_> = found.into_iter().map(|stored| stored.metadata.key).collect();
        keys.sort();
        asked.pop();
        asked.sort();
        assert_eq!(keys, asked);
        assert_eq!(tx.get_all(&[]).await.unwrap(), []);
    });
}

#[test]
fn a_put_of_what_must_not_exist_creates_or_conflicts() {
    with_store(async |db| {
        let key = ObjectKey::gateway("u1", "default");
        let none = BTreeMap::new();
        let create = async || {
            let mut tx = db.store.begin_write().await.unwrap();
            let put = Put {
                key: &key,
                spec: &json!({"a": 1}),
                labels: &none,
                annotations: &none,
                managed_by: "cli",
                expected_version: Some(Put::ABSENT),
            };
            let applied = tx.put(put).await?;
            tx.commit().await.unwrap();
            Ok::<_, PutError>(applied.outcome)
        };
        assert_eq!(create().await.unwrap(), Outcome::Created);
        let error = create().await.unwrap_err();
        assert!(matches!(error, PutError::Conflict { current: Some(1), .. }), "{error}");
    });
}
