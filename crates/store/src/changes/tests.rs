use std::collections::BTreeSet;

use bowline_core::object::ObjectKey;
use chrono::{TimeDelta, Utc};
use serde_json::json;

use crate::testing::{put, with_store};
use crate::{Changed, ChangesError, Marked};

/// What a change is called, for comparison.
fn name(changed: &Changed) -> String {
    match changed {
        Changed::Object(object) => object.metadata.key.to_string(),
        Changed::Deleted { key, .. } => format!("-{key}"),
    }
}

#[test]
fn two_writers_that_commit_in_reverse_order_are_both_seen() {
    with_store(async |db| {
        let mut early = db.store.begin_write().await.unwrap();
        put(&mut early, &ObjectKey::gateway("early", "default"), &json!({})).await.unwrap();
        let mut late = db.store.begin_write().await.unwrap();
        put(&mut late, &ObjectKey::gateway("late", "default"), &json!({})).await.unwrap();

        late.commit().await.unwrap();
        let first = db.store.changes_since(0, 10).await.unwrap();
        assert_eq!(
            first.items.iter().map(|change| name(&change.what)).collect::<Vec<_>>(),
            ["gateway/late/default"]
        );

        early.commit().await.unwrap();
        // Had the versions been allotted when the writes began, `early` would have the lower one, and a reader
        // who goes on from where it was would miss it.
        let second = db.store.changes_since(first.version, 10).await.unwrap();
        assert_eq!(
            second.items.iter().map(|change| name(&change.what)).collect::<Vec<_>>(),
            ["gateway/early/default"]
        );
        assert!(second.version > first.version);
    });
}

#[test]
fn a_reader_beside_many_writers_misses_nothing_and_sees_versions_in_order() {
    with_store(async |db| {
        let writers: Vec<_> = (0..5)
            .map(|writer| {
                let db = db.clone();
                tokio::spawn(async move {
                    for n in 0..20 {
                        let mut tx = db.store.begin_write().await.unwrap();
                        for part in ["a", "b"] {
                            let key = ObjectKey::gateway(format!("w{writer}-{n}"), part);
                            put(&mut tx, &key, &json!({})).await.unwrap();
                        }
                        tx.commit().await.unwrap();
                    }
                })
            })
            .collect();
        let (mut seen, mut versions, mut from) = (BTreeSet::new(), Vec::new(), 0);
        while seen.len() < 200 {
            let done = writers.iter().all(tokio::task::JoinHandle::is_finished);
            let changes = db.store.changes_since(from, 7).await.unwrap();
            versions.extend(changes.items.iter().map(|change| change.version));
            seen.extend(changes.items.iter().map(|change| name(&change.what)));
            from = changes.version;
            assert!(
                !(done && changes.items.is_empty() && seen.len() < 200),
                "only {} of 200 were seen",
                seen.len()
            );
        }
        assert!(versions.is_sorted());
        assert_eq!(versions.len(), 200);
    });
}

#[test]
fn deletions_are_changes_until_they_are_forgotten() {
    with_store(async |db| {
        let catalog = ObjectKey::cluster_catalog("base");
        let uid = db.apply(&catalog, &json!({})).await.object.metadata.uid;
        assert_eq!(db.delete(&catalog).await, Marked::Removed(uid));
        assert_eq!(db.delete(&catalog).await, Marked::Absent);
        let changes = db.store.changes_since(1, 10).await.unwrap();
        assert_eq!(changes.items.len(), 1);
        assert_eq!(changes.items[0].what, Changed::Deleted { key: catalog, uid });
        assert_eq!(db.store.changes_since(2, 10).await.unwrap().items, []);

        assert_eq!(db.store.prune(Utc::now()).await.unwrap().tombstones, 0);
        assert_eq!(db.store.prune(Utc::now() + TimeDelta::hours(2)).await.unwrap().tombstones, 1);
        let error = db.store.changes_since(1, 10).await.unwrap_err();
        assert!(matches!(error, ChangesError::Expired { asked: 1 }), "{error}");
        assert_eq!(db.store.changes_since(2, 10).await.unwrap().items, []);
    });
}

#[test]
fn a_version_of_the_future_means_to_list_again() {
    with_store(async |db| {
        assert!(matches!(db.store.changes_since(5, 10).await, Err(ChangesError::Expired { asked: 5 })));
    });
}

#[test]
fn a_limit_cuts_and_says_that_there_is_more() {
    with_store(async |db| {
        for n in 0..3 {
            db.apply(&ObjectKey::gateway(format!("u{n}"), "default"), &json!({})).await;
        }
        let first = db.store.changes_since(0, 2).await.unwrap();
        assert_eq!((first.items.len(), first.version, first.more), (2, 2, true));
        let rest = db.store.changes_since(first.version, 2).await.unwrap();
        assert_eq!((rest.items.len(), rest.version, rest.more), (1, 3, false));
    });
}
