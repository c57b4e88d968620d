//! What the tests of Secrets share.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::object::ObjectKey;
use bowline_core::secret::{SecretFacts, SecretSource, SecretText};
use serde_json::json;
use tempfile::TempDir;

use crate::seal::{KeySource, Keyring};
use crate::testing::{Fixture, put};
use crate::{OpenSecretsError, OtherKeys, SetSecretError, Store};

/// A key directory, and the keys of a process that has begun with it.
pub(super) struct Keys {
    _home: TempDir,
    pub(super) source: KeySource,
    pub(super) ring: Keyring,
}

impl Keys {
    /// A new directory whose first key the database knows.
    pub(super) async fn established(store: &Store) -> Self {
        let home = tempfile::tempdir().unwrap();
        let source = KeySource::Directory(home.path().join("keys"));
        let ring = Keyring::default();
        assert!(store.establish_keys(&source, &ring).await.unwrap().made.is_some());
        Keys { _home: home, source, ring }
    }

    /// The keys of a process that begins now.
    pub(super) fn after_restart(&self) -> Keyring {
        self.source.load().unwrap().into_iter().collect()
    }
}

/// Makes the Secret when it is not there, and sets values.
pub(super) async fn set(
    store: &Store,
    key: &ObjectKey,
    values: &[(&str, &str)],
    others: OtherKeys,
) -> Result<i64, SetSecretError> {
    let values: BTreeMap<String, SecretText> =
        values.iter().map(|(key, value)| ((*key).to_owned(), SecretText::new((*value).to_owned()))).collect();
    let mut tx = store.begin_write().await.unwrap();
    if tx.get(key).await.unwrap().is_none() {
        put(&mut tx, key, &json!({"keys": []})).await.unwrap();
    }
    let version = tx.set_secret_values(key, &values, others).await?;
    tx.commit().await.unwrap();
    Ok(version)
}

/// What is known of one Secret.
pub(super) async fn facts(store: &Store, key: &ObjectKey) -> SecretFacts {
    let names = BTreeSet::from([key.name.clone()]);
    store.secret_facts(key.namespace.as_deref().unwrap(), &names).await.unwrap().remove(&key.name).unwrap()
}

/// Effective versions by key.
pub(super) async fn versions(store: &Store, key: &ObjectKey) -> Vec<(String, i64)> {
    facts(store, key).await.keys.into_iter().map(|(key, facts)| (key, facts.version)).collect()
}

/// All values of one Secret, opened as its facts say.
pub(super) async fn open_all(
    store: &Store,
    ring: &Keyring,
    key: &ObjectKey,
) -> Result<BTreeMap<String, String>, OpenSecretsError> {
    let known = facts(store, key).await;
    let sources: Vec<SecretSource> = known
        .keys
        .iter()
        .map(|(name, facts)| SecretSource {
            env: name.clone(),
            secret: key.name.clone(),
            secret_uid: known.uid,
            key: name.clone(),
            version: facts.version,
        })
        .collect();
    let opened = store.open_secrets(ring, key.namespace.as_deref().unwrap(), &sources).await?;
    Ok(opened.into_iter().map(|(env, value)| (env, value.to_string())).collect())
}

/// What [`open_all`] is expected to give.
pub(super) fn values(values: &[(&str, &str)]) -> BTreeMap<String, String> {
    values.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Runs a statement past the store.
pub(super) async fn tamper(db: &Fixture, statement: &'static str) {
    let mut outside = db.outside().await;
    let done = sqlx::query(statement).execute(&mut outside).await.unwrap();
    assert!(done.rows_affected() > 0, "{statement}");
}
