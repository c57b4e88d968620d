//! Which keys the database knows, and whether this process has what it takes to open everything.
//!
//! The set of keys changes under an advisory lock that whoever seals holds shared: no value is ever sealed for a key
//! that retires at the same moment, and after a new key is there nothing is sealed for an older one any more.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::Store;
use crate::error::DbError;
use crate::seal::{KeyFileError, KeyId, KeySource, Keyring, NewKeyFile, PublicKey};

/// Key of the advisory lock; any number that no host's lock has by chance.
const KEYS: i64 = 0x626f_776c_696e_6502;

/// A key for which values are sealed, as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealingKey {
    /// Which one.
    pub id: KeyId,
    /// Whether it is the one that seals.
    pub newest: bool,
    /// Whether the controller had its private half when it looked last.
    pub on_disk: bool,
    /// How many values are sealed for it.
    pub values: i64,
    /// When the database came to know it.
    pub created_at: DateTime<Utc>,
    /// Since when nothing was sealed for it and nothing was left that had been.
    pub retired_at: Option<DateTime<Utc>>,
}

/// Keys with which a controller must not begin.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// Values are sealed, or can be at any moment, for keys that are not here.
    #[error("the database knows keys that are not here: {}", .0.iter().map(KeyId::as_str).collect::<Vec<_>>().join(", "))]
    Missing(Vec<KeyId>),
    /// The database did not do it.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Keys that could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum EstablishKeysError {
    /// A key file cannot be read or written.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The database did not do it.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Keys that came to the database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EstablishedKeys {
    /// The key that was made, because there was none or a newer one was asked for.
    pub made: Option<NewKeyFile>,
    /// All keys that the database did not know, the one that was made included.
    pub new: BTreeSet<KeyId>,
}

impl Store {
    /// Takes what `source` holds into `keyring`, makes the database know it, and makes a key when the database still
    /// knows none, or none as new as was asked for. May be called at any time, and again after an end at any point.
    ///
    /// # Errors
    /// [`EstablishKeysError`].
    pub async fn establish_keys(
        &self,
        source: &KeySource,
        keyring: &Keyring,
    ) -> Result<EstablishedKeys, EstablishKeysError> {
        let mut new = self.take_in(source, keyring).await?;
        let made = if self.wants_key().await? {
            // The file comes first: no value is ever sealed for a key that is not on the disk.
            let made = source.generate()?;
            new.extend(self.take_in(source, keyring).await?);
            Some(made)
        } else {
            None
        };
        Ok(EstablishedKeys { made, new })
    }

    /// Takes what `source` holds now into `keyring`, then makes the database know it. Returns what it did not know.
    async fn take_in(
        &self,
        source: &KeySource,
        keyring: &Keyring,
    ) -> Result<BTreeSet<KeyId>, EstablishKeysError> {
        let on_disk: Keyring = source.load()?.into_iter().collect();
        keyring.join(&on_disk);
        Ok(self.register_keys(&on_disk).await?)
    }

    /// Whether there is no key, or none as new as was asked for.
    async fn wants_key(&self) -> Result<bool, DbError> {
        Ok(sqlx::query_scalar!(
            r#"SELECT NOT EXISTS (SELECT FROM sealing_keys)
                   OR EXISTS (SELECT FROM sealing_rotation
                              WHERE after_ordinal >= (SELECT coalesce(max(ordinal), 0) FROM sealing_keys)) AS "wants!""#
        )
        .fetch_one(self.pool())
        .await?)
    }

    /// Checks that every key which the database knows and has not retired is in `keyring`. Returns whether it knows, or
    /// has ever known, any. Writes nothing.
    ///
    /// # Errors
    /// [`KeyringError`].
    pub async fn check_keyring(&self, keyring: &Keyring) -> Result<bool, KeyringError> {
        let known = sqlx::query!("SELECT id, retired_at FROM sealing_keys ORDER BY ordinal")
            .fetch_all(self.pool())
            .await
            .map_err(DbError::from)?;
        let here = keyring.ids();
        let any = !known.is_empty();
        let in_use =
            known.into_iter().filter(|key| key.retired_at.is_none()).map(|key| KeyId::of_row(key.id));
        let missing: Vec<KeyId> = in_use.filter(|id| !here.contains(id)).collect();
        if missing.is_empty() { Ok(any) } else { Err(KeyringError::Missing(missing)) }
    }

    /// Makes the database know the keys that are on the disk; of several new ones, in no particular order, the last
    /// seals from now on. Returns the new ones. Nothing is written when there are none and no file came or went.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn register_keys(&self, on_disk: &Keyring) -> Result<BTreeSet<KeyId>, DbError> {
        let here = on_disk.public_keys();
        let ids: Vec<String> = here.iter().map(|key| key.id().as_str().to_owned()).collect();
        let keys: Vec<Vec<u8>> = here.iter().map(|key| key.to_bytes().to_vec()).collect();
        let mut transaction = self.transaction().await?;
        sqlx::query!("SELECT pg_advisory_xact_lock($1)", KEYS).execute(&mut *transaction).await?;
        let new = sqlx::query_scalar!(
            "INSERT INTO sealing_keys (id, public_key)
             SELECT given.id, given.public_key FROM unnest($1::text[], $2::bytea[]) AS given (id, public_key)
             WHERE NOT EXISTS (SELECT FROM sealing_keys AS known WHERE known.id = given.id)
             RETURNING id",
            &ids,
            &keys
        )
        .fetch_all(&mut *transaction)
        .await?;
        sqlx::query!(
            "UPDATE sealing_keys SET on_disk = (id = ANY ($1)) WHERE on_disk <> (id = ANY ($1))",
            &ids
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(new.into_iter().map(KeyId::of_row).collect())
    }

    /// Retires every key but the newest for which nothing is sealed any more. Returns them.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn retire_keys(&self) -> Result<Vec<KeyId>, DbError> {
        let mut transaction = self.transaction().await?;
        // Waits for all who are sealing at this moment, perhaps for a key that was the newest when they began.
        sqlx::query!("SELECT pg_advisory_xact_lock($1)", KEYS).execute(&mut *transaction).await?;
        let retired = sqlx::query_scalar!(
            "UPDATE sealing_keys SET retired_at = now()
             WHERE retired_at IS NULL
               AND ordinal < (SELECT max(ordinal) FROM sealing_keys WHERE retired_at IS NULL)
               AND NOT EXISTS (SELECT FROM secret_wraps WHERE secret_wraps.key_id = sealing_keys.id)
             RETURNING id"
        )
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(retired.into_iter().map(KeyId::of_row).collect())
    }

    /// All keys that the database knows, retired ones included, the newest first.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn sealing_keys(&self) -> Result<Vec<SealingKey>, DbError> {
        let rows = sqlx::query!(
            r#"SELECT id, on_disk, created_at, retired_at,
                      (SELECT count(*) FROM secret_wraps WHERE secret_wraps.key_id = sealing_keys.id) AS "values!"
               FROM sealing_keys ORDER BY ordinal DESC"#
        )
        .fetch_all(self.pool())
        .await?;
        let newest = rows.iter().position(|row| row.retired_at.is_none());
        let keys = rows.into_iter().enumerate().map(|(at, row)| SealingKey {
            id: KeyId::of_row(row.id),
            newest: newest == Some(at),
            on_disk: row.on_disk,
            values: row.values,
            created_at: row.created_at,
            retired_at: row.retired_at,
        });
        Ok(keys.collect())
    }
}

/// Keeps the set of keys as it is until the transaction ends.
pub(super) async fn share_keys(connection: &mut PgConnection) -> Result<(), DbError> {
    sqlx::query!("SELECT pg_advisory_xact_lock_shared($1)", KEYS).execute(connection).await?;
    Ok(())
}

/// The key for which is sealed. `None` when the database knows none.
pub(super) async fn newest_key(connection: &mut PgConnection) -> Result<Option<PublicKey>, DbError> {
    let row = sqlx::query!(
        "SELECT id, public_key FROM sealing_keys WHERE retired_at IS NULL ORDER BY ordinal DESC LIMIT 1"
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    match PublicKey::from_bytes(&row.public_key).filter(|key| key.id().as_str() == row.id) {
        Some(key) => Ok(Some(key)),
        // Somebody has exchanged the one or the other: nothing is sealed for a stranger.
        None => {
            Err(sqlx::Error::Decode("the id of a sealing key is not that of its public key".into()).into())
        }
    }
}

#[cfg(test)]
mod tests;
