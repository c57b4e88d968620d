use bowline_core::object::ObjectKey;
use serde_json::json;

use crate::StatusWrite;
use crate::testing::with_store;

#[test]
fn a_status_is_written_once_and_the_same_again_is_not() {
    with_store(async |db| {
        let (uid, place) = db.placed("u1").await;
        let status = json!({"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "True"}]});
        assert_eq!(db.store.put_status(uid, place.epoch, &status).await.unwrap(), StatusWrite::Written(2));
        let object = db.store.get_by_uid(uid).await.unwrap().unwrap();
        assert_eq!(object.status.as_ref(), Some(&status));
        assert_eq!((object.metadata.resource_version, object.metadata.generation), (2, 1));

        let before = db.writers().await;
        assert_eq!(db.store.put_status(uid, place.epoch, &status).await.unwrap(), StatusWrite::Same);
        assert_eq!(db.writers().await, before);
    });
}

#[test]
fn a_writer_of_another_epoch_or_of_an_older_generation_is_refused() {
    with_store(async |db| {
        let (uid, place) = db.placed("u1").await;
        let newer = json!({"observedGeneration": 3});
        assert_eq!(db.store.put_status(uid, place.epoch, &newer).await.unwrap(), StatusWrite::Written(2));
        let before = db.writers().await;
        let older = json!({"observedGeneration": 2, "x": 1});
        assert_eq!(db.store.put_status(uid, place.epoch, &older).await.unwrap(), StatusWrite::Stale);
        let other = json!({"observedGeneration": 4});
        assert_eq!(db.store.put_status(uid, place.epoch + 1, &other).await.unwrap(), StatusWrite::Stale);
        assert_eq!(db.store.put_status(uuid::Uuid::now_v7(), 1, &other).await.unwrap(), StatusWrite::Stale);
        assert_eq!(db.writers().await, before);
        assert_eq!(db.store.get_by_uid(uid).await.unwrap().unwrap().status, Some(newer));
    });
}

#[test]
fn a_status_survives_an_edit_and_an_edit_survives_a_status() {
    with_store(async |db| {
        let (uid, place) = db.placed("u1").await;
        let status = json!({"observedGeneration": 1});
        db.store.put_status(uid, place.epoch, &status).await.unwrap();
        db.apply(&ObjectKey::gateway("u1", "default"), &json!({"suspend": true})).await;
        let next = json!({"observedGeneration": 2});
        db.store.put_status(uid, place.epoch, &next).await.unwrap();
        let object = db.store.get_by_uid(uid).await.unwrap().unwrap();
        assert_eq!((object.spec, object.status), (json!({"suspend": true}), Some(next)));
        assert_eq!(object.metadata.generation, 2);
    });
}
