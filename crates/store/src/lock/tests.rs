use std::time::Duration;

use tokio::time::timeout;

use crate::testing::with_store;
use crate::{HostLock, HostLocking, Store};

const LONG: Duration = Duration::from_secs(15);

async fn locked(store: &Store, host: &str) -> HostLock {
    match store.try_lock_host(host).await.unwrap() {
        HostLocking::Locked(lock) => lock,
        HostLocking::Busy(holder) => panic!("held by {holder:?}"),
    }
}

#[test]
fn a_host_has_one_holder_who_can_be_named() {
    with_store(async |db| {
        let lock = locked(&db.store, "h1").await;
        let HostLocking::Busy(Some(holder)) = db.store.try_lock_host("h1").await.unwrap() else {
            panic!("two holders")
        };
        assert_eq!(holder.application, format!("bowline h1 pid {}", std::process::id()));
        let other = locked(&db.store, "h2").await;
        other.release().await;

        let waiting = tokio::spawn({
            let store = db.store.clone();
            async move { store.lock_host("h1").await.unwrap() }
        });
        lock.release().await;
        let lock = timeout(LONG, waiting).await.expect("the one who waits is next").unwrap();
        lock.release().await;
    });
}

#[test]
fn a_lock_whose_session_ends_is_lost_and_says_so() {
    with_store(async |db| {
        let mut lock = locked(&db.store, "h1").await;
        let still = timeout(Duration::from_millis(1500), lock.lost()).await;
        assert!(still.is_err(), "a lock that is held is not lost");
        let HostLocking::Busy(Some(holder)) = db.store.try_lock_host("h1").await.unwrap() else {
            panic!("two holders")
        };
        let mut outside = db.outside().await;
        sqlx::query("SELECT pg_terminate_backend($1)").bind(holder.pid).execute(&mut outside).await.unwrap();
        timeout(LONG, lock.lost()).await.expect("the loss is noticed");
        let again = timeout(LONG, db.store.lock_host("h1")).await.expect("the lock is free").unwrap();
        again.release().await;
    });
}

#[test]
fn the_name_of_a_session_fits_whatever_the_host_is_called() {
    let name = crate::database::application_name(&"ü".repeat(60));
    assert!(name.len() <= 63 && name.contains(" pid "), "{name}");
    assert!(crate::database::application_name("").starts_with("bowline pid "));
}
