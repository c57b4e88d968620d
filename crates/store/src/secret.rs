//! Values of Secrets: sealed when they are written, opened for the one server that gets them.
//!
//! The API seals with public keys alone ([`crate::WriteTx::set_secret_values`]). It cannot open anything, so it cannot
//! know whether a value that is written again is the same; the controller compares the two ([`Store::settle_secrets`])
//! before it reads what is declared ([`Store::secret_facts`]), and opens a value when it writes the file of a server
//! ([`Store::open_secrets`]). Which keys there are, and replacing them, is in `secret/keys.rs` and `secret/rotation.rs`.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::secret::{KeyFacts, SecretFacts, SecretSource, Unusable};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::Store;
use crate::error::DbError;
use crate::seal::{self, KeyId, Keyring, Place, Sealed, Unopenable, Wrap};

mod keys;
mod rotation;
mod settle;
mod write;

pub use keys::{EstablishKeysError, EstablishedKeys, KeyringError, SealingKey};
pub use rotation::{Rewrapped, RotationStatus, UnopenableValue, ValuePosition};
pub use write::{OtherKeys, SetSecretError};

/// A value of a Secret as users see it: everything but the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretKeyRow {
    /// Namespace of the Secret.
    pub namespace: String,
    /// Name of the Secret.
    pub secret: String,
    /// Key of the value.
    pub key: String,
    /// The version of the Secret with which the value was written last.
    pub version: i64,
    /// The version of the Secret since which the value is what it is; the same as `version` until it was compared.
    pub effective: i64,
    /// When it was written last.
    pub written_at: DateTime<Utc>,
}

/// Values that cannot be given to a server. Names secrets and keys, never a part of a value.
#[derive(Debug, thiserror::Error)]
pub enum OpenSecretsError {
    /// The value cannot be opened.
    #[error("the value of {key:?} in secret/{namespace}/{secret} cannot be opened")]
    Unopenable {
        /// Namespace of the Secret.
        namespace: String,
        /// Name of the Secret.
        secret: String,
        /// Key of the value.
        key: String,
        /// Why.
        #[source]
        why: Unopenable,
    },
    /// There is no such value in this version (any more). Whoever looks again finds what there is now.
    #[error("the value of {key:?} in secret/{namespace}/{secret} was changed or removed meanwhile")]
    Changed {
        /// Namespace of the Secret.
        namespace: String,
        /// Name of the Secret.
        secret: String,
        /// Key of the value.
        key: String,
    },
    /// The database did not do it.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// One sealed value with everything that it is bound to.
#[derive(Debug)]
struct Stored {
    tenant: Uuid,
    secret_uid: Uuid,
    secret: String,
    key: String,
    version: i64,
    effective: i64,
    compared: bool,
    sealed: Sealed,
}

impl Stored {
    fn place(&self) -> Place<'_> {
        Place {
            tenant: self.tenant,
            secret_uid: self.secret_uid,
            secret: &self.secret,
            key: &self.key,
            version: self.version,
        }
    }

    fn open(&self, keyring: &Keyring) -> Result<Zeroizing<Vec<u8>>, Unopenable> {
        seal::open(&self.place(), &self.sealed, keyring)
    }
}

impl Store {
    /// What is known of these Secrets of a namespace without opening them, by name; those that do not exist are left
    /// out. A value that waits to be compared ([`Store::settle_secrets`]) does not count yet.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn secret_facts(
        &self,
        namespace: &str,
        names: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, SecretFacts>, DbError> {
        facts(&mut *self.connection().await?, namespace, names).await
    }

    /// [`Store::secret_facts`], and with them which values cannot be opened: each of them is tried.
    ///
    /// # Errors
    /// [`DbError`]. A value that cannot be opened is none: it is said of the one key.
    pub async fn examine_secrets(
        &self,
        keyring: &Keyring,
        namespace: &str,
        names: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, SecretFacts>, DbError> {
        let mut snapshot = self.snapshot().await?;
        let mut facts = facts(&mut snapshot, namespace, names).await?;
        let uids: Vec<Uuid> = facts.values().map(|facts| facts.uid).collect();
        let stored = load(&mut snapshot, namespace, &uids, None).await?;
        snapshot.commit().await?;
        for value in stored.iter().filter(|value| value.compared) {
            let Err(why) = value.open(keyring) else { continue };
            let known = facts.get_mut(&value.secret).and_then(|facts| facts.keys.get_mut(&value.key));
            if let Some(known) = known {
                known.unusable = Some(Unusable::Unreadable(why.to_string()));
            }
        }
        Ok(facts)
    }

    /// The values of `sources`, each with the name of its variable, in the same order.
    ///
    /// # Errors
    /// [`OpenSecretsError`], for the first source that has no value.
    pub async fn open_secrets(
        &self,
        keyring: &Keyring,
        namespace: &str,
        sources: &[SecretSource],
    ) -> Result<Vec<(String, Zeroizing<String>)>, OpenSecretsError> {
        let uids: Vec<Uuid> = sources.iter().map(|source| source.secret_uid).collect();
        let keys: Vec<String> = sources.iter().map(|source| source.key.clone()).collect();
        let stored = load(&mut *self.connection().await?, namespace, &uids, Some(&keys)).await?;
        sources
            .iter()
            .map(|source| Ok((source.env.clone(), opened(&stored, keyring, namespace, source)?)))
            .collect()
    }

    /// The keys of all Secrets of one namespace or of all, with versions and ages; of one Secret when `name` says so.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn secret_keys(
        &self,
        namespace: Option<&str>,
        name: Option<&str>,
    ) -> Result<Vec<SecretKeyRow>, DbError> {
        Ok(sqlx::query_as!(
            SecretKeyRow,
            r#"SELECT DISTINCT ON (objects.namespace, objects.name, stored.key COLLATE "C")
                      objects.namespace, objects.name AS secret, stored.key, stored.version, stored.effective,
                      stored.created_at AS written_at
               FROM secret_values AS stored JOIN objects ON objects.uid = stored.secret_uid
               WHERE ($1::text IS NULL OR objects.namespace = $1) AND ($2::text IS NULL OR objects.name = $2)
               ORDER BY objects.namespace, objects.name, stored.key COLLATE "C", stored.version DESC"#,
            namespace,
            name
        )
        .fetch_all(self.pool())
        .await?)
    }
}

/// The value of one source among those that were `stored`.
fn opened(
    stored: &[Stored],
    keyring: &Keyring,
    namespace: &str,
    source: &SecretSource,
) -> Result<Zeroizing<String>, OpenSecretsError> {
    let SecretSource { env: _, secret, secret_uid, key, version } = source;
    let (namespace, secret, key) = (namespace.to_owned(), secret.clone(), key.clone());
    let found = stored.iter().find(|value| {
        value.compared && value.secret_uid == *secret_uid && value.key == key && value.effective == *version
    });
    let Some(found) = found else { return Err(OpenSecretsError::Changed { namespace, secret, key }) };
    match found.open(keyring).and_then(|bytes| text(bytes, found)) {
        Ok(text) => Ok(text),
        Err(why) => Err(OpenSecretsError::Unopenable { namespace, secret, key, why }),
    }
}

/// The text that was sealed. Only text is, so anything else was not sealed by this program.
fn text(mut bytes: Zeroizing<Vec<u8>>, from: &Stored) -> Result<Zeroizing<String>, Unopenable> {
    let sealed_for = from.sealed.wraps.iter().map(|wrap| wrap.key_id.clone()).next();
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            Err(sealed_for.map_or(Unopenable::NoWrap, Unopenable::Altered))
        }
    }
}

async fn facts(
    connection: &mut PgConnection,
    namespace: &str,
    names: &BTreeSet<String>,
) -> Result<BTreeMap<String, SecretFacts>, DbError> {
    let names: Vec<String> = names.iter().cloned().collect();
    let rows = sqlx::query!(
        r#"SELECT objects.name, objects.uid, stored.key AS "key?", stored.effective AS "effective?",
                  stored.line_break AS "line_break?"
           FROM objects LEFT JOIN secret_values AS stored ON stored.secret_uid = objects.uid AND stored.compared
           WHERE objects.kind = 'Secret' AND objects.namespace = $1 AND objects.name = ANY ($2)"#,
        namespace,
        &names
    )
    .fetch_all(connection)
    .await?;
    let mut facts = BTreeMap::new();
    for row in rows {
        let secret =
            facts.entry(row.name).or_insert_with(|| SecretFacts { uid: row.uid, keys: BTreeMap::new() });
        if let (Some(key), Some(version)) = (row.key, row.effective) {
            let unusable = (row.line_break == Some(true)).then_some(Unusable::LineBreak);
            secret.keys.insert(key, KeyFacts { version, unusable });
        }
    }
    Ok(facts)
}

/// All values of these Secrets, those that wait to be compared included; of some keys only when `keys` says so.
async fn load(
    connection: &mut PgConnection,
    namespace: &str,
    secrets: &[Uuid],
    keys: Option<&[String]>,
) -> Result<Vec<Stored>, DbError> {
    let rows = sqlx::query!(
        r#"SELECT tenants.uid AS tenant, objects.uid AS secret_uid, objects.name AS secret, stored.key, stored.version,
                  stored.effective, stored.compared, stored.nonce, stored.ciphertext, wrap.key_id AS "key_id?",
                  wrap.encapsulated AS "encapsulated?", wrap.wrapped AS "wrapped?"
           FROM secret_values AS stored
           JOIN objects ON objects.uid = stored.secret_uid
           JOIN tenants ON tenants.namespace = objects.namespace
           LEFT JOIN secret_wraps AS wrap
             ON wrap.secret_uid = stored.secret_uid AND wrap.key = stored.key AND wrap.version = stored.version
           WHERE objects.namespace = $1 AND stored.secret_uid = ANY ($2)
             AND ($3::text[] IS NULL OR stored.key = ANY ($3))
           ORDER BY stored.secret_uid, stored.key, stored.version, wrap.key_id"#,
        namespace,
        secrets,
        keys
    )
    .fetch_all(connection)
    .await?;
    let mut all: Vec<Stored> = Vec::new();
    for row in rows {
        let wrap = match (row.key_id, row.encapsulated, row.wrapped) {
            (Some(key_id), Some(encapsulated), Some(wrapped)) => {
                Some(Wrap { key_id: KeyId::of_row(key_id), encapsulated, wrapped })
            }
            _ => None,
        };
        let last = all.last_mut().filter(|last| {
            last.secret_uid == row.secret_uid && last.key == row.key && last.version == row.version
        });
        match last {
            Some(last) => last.sealed.wraps.extend(wrap),
            None => all.push(Stored {
                tenant: row.tenant,
                secret_uid: row.secret_uid,
                secret: row.secret,
                key: row.key,
                version: row.version,
                effective: row.effective,
                compared: row.compared,
                sealed: Sealed {
                    nonce: row.nonce,
                    ciphertext: row.ciphertext,
                    wraps: wrap.into_iter().collect(),
                },
            }),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
