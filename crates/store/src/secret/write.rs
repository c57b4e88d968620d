//! Writing values: inside the transaction of an apply, with public keys alone.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::object::ObjectKey;
use bowline_core::secret::{InvalidSecret, MAX_KEYS, SecretText, check_value};
use uuid::Uuid;

use super::keys::{newest_key, share_keys};
use crate::WriteTx;
use crate::error::DbError;
use crate::object::namespace_of;
use crate::seal::{self, Place, PublicKey, SealError, Sealed};

/// What becomes of keys that a write of values does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherKeys {
    /// They stay.
    Keep,
    /// They go: the Secret has the named keys and no others.
    Remove,
}

/// Values that were not written. Says nothing of a value but its length.
#[derive(Debug, thiserror::Error)]
pub enum SetSecretError {
    /// There is no such Secret.
    #[error("{0} does not exist")]
    Gone(ObjectKey),
    /// A key or a value cannot be part of a Secret, or there are too many.
    #[error(transparent)]
    Invalid(#[from] InvalidSecret),
    /// No `serve` has made a key yet, so that nothing can be sealed.
    #[error("there is no key to seal with yet")]
    NoKey,
    /// The value could not be sealed.
    #[error("the value could not be sealed")]
    Seal(#[from] SealError),
    /// The database did not do it.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<sqlx::Error> for SetSecretError {
    fn from(error: sqlx::Error) -> Self {
        SetSecretError::Db(error.into())
    }
}

/// The Secret whose values are written.
struct Target<'a> {
    uid: Uuid,
    tenant: Uuid,
    name: &'a str,
}

impl WriteTx {
    /// Seals values of a Secret that exists (in this transaction at least). The object's list of keys follows, and it
    /// gets a new version. Returns the version of the values: it is higher than that of any value that the Secret had.
    ///
    /// # Errors
    /// [`SetSecretError`]. After one the transaction can only be dropped.
    pub async fn set_secret_values(
        &mut self,
        secret: &ObjectKey,
        values: &BTreeMap<String, SecretText>,
        others: OtherKeys,
    ) -> Result<i64, SetSecretError> {
        for (key, value) in values {
            check_value(key, value.expose())?;
        }
        let target = self.secret_target(secret).await?;
        // From here to the end of the transaction no other key becomes the newest, and none retires.
        share_keys(self.connection()).await?;
        let recipient = newest_key(self.connection()).await?.ok_or(SetSecretError::NoKey)?;
        let version = self.next_secret_version(target.uid).await?;
        let keys: Vec<String> = values.keys().cloned().collect();
        if others == OtherKeys::Remove {
            sqlx::query!(
                "DELETE FROM secret_values WHERE secret_uid = $1 AND key <> ALL ($2)",
                target.uid,
                &keys
            )
            .execute(self.connection())
            .await?;
        }
        // One that still waits to be compared was never in use.
        sqlx::query!(
            "DELETE FROM secret_values WHERE secret_uid = $1 AND key = ANY ($2) AND NOT compared",
            target.uid,
            &keys
        )
        .execute(self.connection())
        .await?;
        self.insert_sealed(&target, version, values, &recipient).await?;
        self.follow_secret_keys(target.uid).await?;
        Ok(version)
    }

    /// Removes keys of a Secret with their values; its list of keys follows. Returns those that it had.
    ///
    /// # Errors
    /// [`SetSecretError`]. After one the transaction can only be dropped.
    pub async fn remove_secret_keys(
        &mut self,
        secret: &ObjectKey,
        keys: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>, SetSecretError> {
        let target = self.secret_target(secret).await?;
        let keys: Vec<String> = keys.iter().cloned().collect();
        let removed = sqlx::query_scalar!(
            "DELETE FROM secret_values WHERE secret_uid = $1 AND key = ANY ($2) RETURNING key",
            target.uid,
            &keys
        )
        .fetch_all(self.connection())
        .await?;
        if !removed.is_empty() {
            self.follow_secret_keys(target.uid).await?;
        }
        Ok(removed.into_iter().collect())
    }

    /// The Secret of `key`, locked against a deletion and against other writers of its values.
    async fn secret_target<'a>(&mut self, key: &'a ObjectKey) -> Result<Target<'a>, SetSecretError> {
        let row = sqlx::query!(
            "SELECT objects.uid, tenants.uid AS tenant FROM objects JOIN tenants ON tenants.namespace = objects.namespace
             WHERE objects.kind = 'Secret' AND objects.namespace = $1 AND objects.name = $2
             FOR NO KEY UPDATE OF objects",
            namespace_of(key),
            key.name
        )
        .fetch_optional(self.connection())
        .await?;
        let row = row.ok_or_else(|| SetSecretError::Gone(key.clone()))?;
        Ok(Target { uid: row.uid, tenant: row.tenant, name: &key.name })
    }

    async fn next_secret_version(&mut self, secret: Uuid) -> Result<i64, SetSecretError> {
        Ok(sqlx::query_scalar!(
            "INSERT INTO secret_versions (secret_uid, last) VALUES ($1, 1)
             ON CONFLICT (secret_uid) DO UPDATE SET last = secret_versions.last + 1 RETURNING last",
            secret
        )
        .fetch_one(self.connection())
        .await?)
    }

    async fn insert_sealed(
        &mut self,
        target: &Target<'_>,
        version: i64,
        values: &BTreeMap<String, SecretText>,
        recipient: &PublicKey,
    ) -> Result<(), SetSecretError> {
        let (mut nonces, mut ciphertexts) = (Vec::new(), Vec::new());
        let (mut encapsulated, mut wrapped) = (Vec::new(), Vec::new());
        for (key, value) in values {
            let Target { uid, tenant, name } = *target;
            let place = Place { tenant, secret_uid: uid, secret: name, key, version };
            let Sealed { nonce, ciphertext, wraps } =
                seal::seal(&place, value.expose().as_bytes(), std::slice::from_ref(recipient))?;
            nonces.push(nonce);
            ciphertexts.push(ciphertext);
            for wrap in wraps {
                encapsulated.push(wrap.encapsulated);
                wrapped.push(wrap.wrapped);
            }
        }
        let keys: Vec<String> = values.keys().cloned().collect();
        let line_breaks: Vec<bool> = values.values().map(|value| has_line_break(value.expose())).collect();
        sqlx::query!(
            "INSERT INTO secret_values (secret_uid, key, version, effective, compared, line_break, nonce, ciphertext)
             SELECT $1, given.key, $2, $2,
                    NOT EXISTS (SELECT FROM secret_values AS old WHERE old.secret_uid = $1 AND old.key = given.key),
                    given.line_break, given.nonce, given.ciphertext
             FROM unnest($3::text[], $4::boolean[], $5::bytea[], $6::bytea[])
                  AS given (key, line_break, nonce, ciphertext)",
            target.uid,
            version,
            &keys,
            &line_breaks,
            &nonces,
            &ciphertexts
        )
        .execute(self.connection())
        .await?;
        sqlx::query!(
            "INSERT INTO secret_wraps (secret_uid, key, version, key_id, encapsulated, wrapped)
             SELECT $1, given.key, $2, $3, given.encapsulated, given.wrapped
             FROM unnest($4::text[], $5::bytea[], $6::bytea[]) AS given (key, encapsulated, wrapped)",
            target.uid,
            version,
            recipient.id().as_str(),
            &keys,
            &encapsulated,
            &wrapped
        )
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Makes the object's list of keys what the values say, so that the two can never disagree.
    async fn follow_secret_keys(&mut self, secret: Uuid) -> Result<(), SetSecretError> {
        let keys = sqlx::query_scalar!(
            r#"SELECT DISTINCT key COLLATE "C" AS "key!" FROM secret_values WHERE secret_uid = $1 ORDER BY 1"#,
            secret
        )
        .fetch_all(self.connection())
        .await?;
        if keys.len() > MAX_KEYS {
            return Err(InvalidSecret::TooManyKeys(keys.len()).into());
        }
        let spec = bowline_core::resource::stored_secret_spec(keys.iter().map(String::as_str));
        sqlx::query!(
            "UPDATE objects SET spec = $2, generation = generation + 1 WHERE uid = $1 AND spec <> $2",
            secret,
            spec
        )
        .execute(self.connection())
        .await?;
        self.touch(secret);
        Ok(())
    }
}

/// Whether a file with one line for each value cannot hold it.
fn has_line_break(value: &str) -> bool {
    value.contains(['\n', '\r'])
}
