use std::collections::{BTreeMap, BTreeSet};

use bowline_core::object::ObjectKey;
use chrono::{DateTime, Utc};
use serde_json::json;
use uuid::Uuid;

use crate::testing::{Fixture, with_store};
use crate::{Put, SpecDirectoryRow, SpecFileRow};

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

/// A gateway of `namespace` that the file `path` holds.
async fn held_by(db: &Fixture, namespace: &str, path: &str) -> Uuid {
    let key = ObjectKey::gateway(namespace, "default");
    let none = BTreeMap::new();
    let mut tx = db.store.begin_write().await.unwrap();
    let put = Put {
        key: &key,
        spec: &json!({}),
        labels: &none,
        annotations: &none,
        managed_by: &format!("file:{path}"),
        expected_version: None,
    };
    let uid = tx.put(put).await.unwrap().object.metadata.uid;
    tx.commit().await.unwrap();
    uid
}

fn row(path: &str, state: &str) -> SpecFileRow {
    SpecFileRow {
        path: path.to_owned(),
        state: state.to_owned(),
        message: String::new(),
        diagnostics: json!([]),
        sha256: Some("aa".to_owned()),
        applied_sha256: None,
        changed_at: now(),
    }
}

#[test]
fn what_is_written_of_the_directory_is_read_back() {
    with_store(async |db| {
        let directory = SpecDirectoryRow { path: "/specs".to_owned(), error: None, changed_at: now() };
        db.store.put_spec_directory(&directory).await.unwrap();
        let broken = SpecDirectoryRow { error: Some("not there".to_owned()), ..directory };
        db.store.put_spec_directory(&broken).await.unwrap();
        db.store.put_spec_files(&[row("b.yaml", "Applied"), row("B.yaml", "Invalid")], &[]).await.unwrap();
        let changed = SpecFileRow { message: "why".to_owned(), ..row("b.yaml", "Conflict") };
        db.store.put_spec_files(std::slice::from_ref(&changed), &["B.yaml".to_owned()]).await.unwrap();
        let record = db.store.specs().await.unwrap();
        assert_eq!(record.directory, Some(broken));
        assert_eq!(record.files, [changed]);
    });
}

#[test]
fn objects_of_files_are_known_by_their_manager_alone() {
    with_store(async |db| {
        db.apply(&ObjectKey::gateway("u0", "default"), &json!({})).await;
        held_by(&db, "u1", "a.yaml").await;
        held_by(&db, "u2", "team/b.yaml").await;
        db.delete(&ObjectKey::gateway("u2", "default")).await;
        let objects = db.store.specs().await.unwrap().objects;
        let seen: Vec<_> =
            objects.iter().map(|o| (o.key.to_string(), o.path.as_str(), o.terminating)).collect();
        let u1 = ("gateway/u1/default".to_owned(), "a.yaml", false);
        assert_eq!(seen, [u1, ("gateway/u2/default".to_owned(), "team/b.yaml", true)]);
    });
}

#[test]
fn a_confirmation_is_for_exactly_what_was_held_when_it_was_read() {
    with_store(async |db| {
        let (first, second) = (held_by(&db, "u1", "a").await, held_by(&db, "u2", "a").await);
        db.store.hold_removals(&[first, Uuid::from_u128(9)], &[], now()).await.unwrap();
        let read = BTreeSet::from([first]);
        db.store.hold_removals(&[second], &[], now()).await.unwrap();
        assert!(!db.store.confirm_removals(&read, now()).await.unwrap());
        assert_eq!(db.store.specs().await.unwrap().held().count(), 2);

        db.store.hold_removals(&[], &[second], now()).await.unwrap();
        assert!(db.store.confirm_removals(&read, now()).await.unwrap());
        let record = db.store.specs().await.unwrap();
        assert_eq!(record.held().count(), 0);
        assert_eq!(record.removals.iter().map(|r| r.uid).collect::<Vec<_>>(), [first]);
        // Held again it stays confirmed.
        db.store.hold_removals(&[first], &[], now()).await.unwrap();
        assert!(db.store.specs().await.unwrap().removals[0].confirmed_at.is_some());
    });
}

#[test]
fn a_renamed_file_changes_the_holder_and_nothing_else() {
    with_store(async |db| {
        let uid = held_by(&db, "u1", "a.yaml").await;
        held_by(&db, "u2", "c.yaml").await;
        db.store.put_spec_files(&[row("a.yaml", "Applied")], &[]).await.unwrap();
        let mut tx = db.store.begin_write().await.unwrap();
        assert_eq!(tx.rename_spec_file("a.yaml", "b.yaml").await.unwrap(), 1);
        let versions = tx.commit().await.unwrap();
        assert_eq!(versions.keys().copied().collect::<Vec<_>>(), [uid]);
        let stored = db.store.get_by_uid(uid).await.unwrap().unwrap();
        assert_eq!((stored.metadata.managed_by.as_str(), stored.metadata.generation), ("file:b.yaml", 1));
        assert_eq!(db.store.specs().await.unwrap().files, [row("b.yaml", "Applied")]);
    });
}
