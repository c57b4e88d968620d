use sqlx::ConnectOptions;

use super::MIGRATIONS;
use crate::testing::{INSTANCE, with_store};
use crate::{Database, OpenError, Store};

#[test]
fn the_installation_stays_and_another_instance_is_refused() {
    with_store(async |db| {
        let again = Store::open(&db.database, INSTANCE).await.unwrap();
        assert_eq!(again.installation(), db.store.installation());
        assert!(!again.installation().is_nil());
        let error = Store::open(&db.database, "other").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"the database belongs to the instance "test", not to "other"; each instance needs its own"#
        );
    });
}

#[test]
fn a_database_of_a_newer_program_is_refused_and_its_lock_is_not_kept() {
    with_store(async |db| {
        let mut outside = db.database.patient().connect().await.unwrap();
        sqlx::query("INSERT INTO _sqlx_migrations VALUES (9999, 'later', now(), true, '\\x00', 1)")
            .execute(&mut outside)
            .await
            .unwrap();
        let newest = MIGRATIONS.iter().last().unwrap().version;
        for _ in 0..2 {
            let error = Store::open(&db.database, INSTANCE).await.unwrap_err();
            assert!(matches!(error, OpenError::TooNew { found: 9999, known } if known == newest), "{error}");
        }
    });
}

#[test]
fn many_that_open_at_once_agree() {
    with_store(async |db| {
        let opens = (0..6).map(|_| {
            let database = db.database.clone();
            tokio::spawn(async move { Store::open(&database, INSTANCE).await.unwrap().installation() })
        });
        for open in opens.collect::<Vec<_>>() {
            assert_eq!(open.await.unwrap(), db.store.installation());
        }
    });
}

#[tokio::test]
async fn a_database_that_is_away_is_unavailable_and_its_password_is_nowhere() {
    let database = Database::from_url("postgres://u:sesame@127.0.0.1:1/d").unwrap();
    assert!(!format!("{database:?}").contains("sesame"));
    let error = Store::open(&database, INSTANCE).await.unwrap_err();
    assert!(error.is_unavailable());
    assert_eq!(error.to_string(), "the database is not available");
}

#[test]
fn a_url_without_a_database_is_refused() {
    assert!(Database::from_url("postgres://u@h").is_err());
    assert!(Database::from_url("mysql://u@h/d").is_err());
    assert!(Database::from_url("postgres://u@h/d\n").is_ok());
}
