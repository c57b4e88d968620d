use std::time::Duration;

use bowline_core::object::ObjectKey;
use serde_json::json;
use tokio::time::timeout;

use super::{CALM, FIRST_RETRY, LAST_RETRY, backoff};
use crate::testing::with_store;
use crate::{ChangeListener, Hint, NewToken, Scope};

async fn next(listener: &mut ChangeListener) -> Hint {
    timeout(Duration::from_secs(15), listener.next()).await.expect("a hint comes")
}

#[test]
fn a_write_wakes_with_its_uid_and_a_status_only_those_who_asked() {
    with_store(async |db| {
        let mut desired = db.store.watch(Scope::Desired);
        let mut everything = db.store.watch(Scope::Everything);
        assert_eq!(next(&mut desired).await, Hint::All);
        assert_eq!(next(&mut everything).await, Hint::All);

        let (uid, place) = db.placed("u1").await;
        assert_eq!(next(&mut desired).await, Hint::Uid(uid));
        assert_eq!(next(&mut everything).await, Hint::Uid(uid));

        db.store.put_status(uid, place.epoch, &json!({"a": 1})).await.unwrap();
        assert_eq!(next(&mut everything).await, Hint::Uid(uid));
        // The next thing that `desired` hears of is not the status but what came after it.
        let other = db.apply(&ObjectKey::cluster_catalog("base"), &json!({})).await.object.metadata.uid;
        assert_eq!(next(&mut desired).await, Hint::Uid(other));

        let sha256 = "a".repeat(64);
        let token = NewToken { id: "t", sha256: &sha256, label: "", expires_at: None };
        db.store.add_token(uid, token).await.unwrap();
        assert_eq!(next(&mut desired).await, Hint::Uid(uid));
        db.delete(&ObjectKey::cluster_catalog("base")).await;
        assert_eq!(next(&mut desired).await, Hint::Uid(other));
    });
}

#[test]
fn a_payload_that_is_no_uid_means_anything() {
    with_store(async |db| {
        let mut listener = db.store.watch(Scope::Desired);
        assert_eq!(next(&mut listener).await, Hint::All);
        let mut outside = db.outside().await;
        sqlx::query("SELECT pg_notify('bowline_desired', '')").execute(&mut outside).await.unwrap();
        assert_eq!(next(&mut listener).await, Hint::All);
    });
}

#[test]
fn a_listener_that_loses_its_connection_says_so_and_hears_again() {
    with_store(async |db| {
        let mut listener = db.store.watch(Scope::Desired);
        assert_eq!(next(&mut listener).await, Hint::All);
        let mut outside = db.outside().await;
        let killed: Vec<bool> = sqlx::query_scalar(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND query LIKE 'LISTEN%'",
        )
        .fetch_all(&mut outside)
        .await
        .unwrap();
        assert_eq!(killed, [true]);
        assert_eq!(next(&mut listener).await, Hint::All);
        let (uid, _) = db.placed("u1").await;
        assert_eq!(next(&mut listener).await, Hint::Uid(uid));
    });
}

#[test]
fn a_listener_that_is_dropped_while_it_waits_loses_no_hint() {
    with_store(async |db| {
        let mut listener = db.store.watch(Scope::Desired);
        assert_eq!(next(&mut listener).await, Hint::All);
        let (uid, _) = db.placed("u1").await;
        let mut heard = None;
        // Polled for a moment again and again, as in a loop with other sources.
        for _ in 0..10_000 {
            if let Ok(hint) = timeout(Duration::from_millis(1), listener.next()).await {
                heard = Some(hint);
                break;
            }
        }
        assert_eq!(heard, Some(Hint::Uid(uid)));
    });
}

#[test]
fn the_waits_grow_to_half_a_minute_and_are_never_the_same_for_all() {
    assert_eq!(backoff(0, 0.0), FIRST_RETRY / 2);
    assert_eq!(backoff(1, 1.0), FIRST_RETRY * 2);
    assert_eq!(backoff(u32::MAX, 1.0), LAST_RETRY);
    assert!(CALM > LAST_RETRY);
}
