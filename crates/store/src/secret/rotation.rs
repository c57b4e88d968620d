//! Replacing the key: every value is to be sealed for the newest key, and for no other.
//!
//! That is a state and not a procedure. Whatever is still sealed for an older key is wrapped again for the newest, a
//! batch at a time; the values themselves stay as they are, and so do their versions. A key for which nothing is left
//! retires. Nobody remembers how far this has come: the rows say it, so that an end at any moment loses nothing.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::keys::{newest_key, share_keys};
use crate::Store;
use crate::error::DbError;
use crate::seal::{self, KeyId, Keyring, Place, RewrapError, Wrap};
use crate::version::notify;
use crate::watch::Scope;

/// How far replacing the key has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotationStatus {
    /// When somebody asked for a new key that is not there yet.
    pub asked_at: Option<DateTime<Utc>>,
    /// What stands in the way, of a new key or of sealing values for it, as far as somebody tried.
    pub problem: Option<String>,
    /// How many values are still sealed for an older key than the newest.
    pub remaining: i64,
}

/// What one batch did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rewrapped {
    /// How many values are sealed for the newest key now that were not before.
    pub rewrapped: usize,
    /// Those that cannot be opened; they stay as they are.
    pub unopenable: Vec<UnopenableValue>,
    /// Where the next batch goes on; `None` when this was the last of the pass.
    pub next: Option<ValuePosition>,
}

/// A value that cannot be sealed for the newest key, because it cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnopenableValue {
    /// Namespace of the Secret.
    pub namespace: String,
    /// Name of the Secret.
    pub secret: String,
    /// Key of the value.
    pub key: String,
    /// Why.
    pub why: String,
}

/// A place in the order of all values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValuePosition {
    secret_uid: Uuid,
    key: String,
    version: i64,
}

/// A value that is sealed for another key than the newest, without its ciphertext.
struct Outdated {
    namespace: String,
    tenant: Uuid,
    secret_uid: Uuid,
    secret: String,
    key: String,
    version: i64,
    wraps: Vec<Wrap>,
}

impl Outdated {
    fn place(&self) -> Place<'_> {
        let Outdated { tenant, secret_uid, secret, key, version, .. } = self;
        Place { tenant: *tenant, secret_uid: *secret_uid, secret, key, version: *version }
    }
}

impl Store {
    /// Asks for a key that is newer than all that there are, and wakes whoever makes one. Asking again before there is
    /// one asks for the same one.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn ask_rotation(&self) -> Result<(), DbError> {
        let mut transaction = self.transaction().await?;
        sqlx::query!(
            "INSERT INTO sealing_rotation (after_ordinal)
             SELECT coalesce(max(ordinal), 0) FROM sealing_keys
             ON CONFLICT (singleton) DO UPDATE
             SET after_ordinal = excluded.after_ordinal, asked_at = now(), problem = NULL"
        )
        .execute(&mut *transaction)
        .await?;
        notify(&mut transaction, Scope::Keys, &[Uuid::nil()]).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Notes what stands in the way of the rotation that was asked for last, or that nothing does.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn note_rotation_problem(&self, problem: Option<&str>) -> Result<(), DbError> {
        sqlx::query!("UPDATE sealing_rotation SET problem = $1 WHERE problem IS DISTINCT FROM $1", problem)
            .execute(self.pool())
            .await?;
        Ok(())
    }

    /// How far replacing the key has come.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn rotation_status(&self) -> Result<RotationStatus, DbError> {
        let mut snapshot = self.snapshot().await?;
        let asked = sqlx::query!(
            r#"SELECT asked_at, problem,
                      after_ordinal >= (SELECT coalesce(max(ordinal), 0) FROM sealing_keys) AS "wanted!"
               FROM sealing_rotation"#
        )
        .fetch_optional(&mut *snapshot)
        .await?;
        let remaining = sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM secret_values AS stored WHERE EXISTS (
                   SELECT FROM secret_wraps AS wrap
                   WHERE wrap.secret_uid = stored.secret_uid AND wrap.key = stored.key AND wrap.version = stored.version
                     AND wrap.key_id <> (SELECT id FROM sealing_keys WHERE retired_at IS NULL ORDER BY ordinal DESC LIMIT 1))"#
        )
        .fetch_one(&mut *snapshot)
        .await?;
        snapshot.commit().await?;
        Ok(RotationStatus {
            asked_at: asked.as_ref().filter(|row| row.wanted).map(|row| row.asked_at),
            problem: asked.and_then(|row| row.problem),
            remaining,
        })
    }

    /// Wraps whatever is sealed for an older key for the newest one, in batches of `batch`, and retires the keys for
    /// which nothing is left. `progress` hears of each batch. Ended at any point and begun again, it goes on where it
    /// was. Returns the sum of all batches.
    ///
    /// # Errors
    /// [`DbError`]; what was done stays done.
    pub async fn replace_keys(
        &self,
        keyring: &Keyring,
        batch: u16,
        mut progress: impl FnMut(&Rewrapped) + Send,
    ) -> Result<Rewrapped, DbError> {
        let mut sum = Rewrapped::default();
        loop {
            let done = self.rewrap(keyring, sum.next.as_ref(), batch).await?;
            progress(&done);
            let Rewrapped { rewrapped, unopenable, next } = done;
            sum.rewrapped += rewrapped;
            sum.unopenable.extend(unopenable);
            sum.next = next;
            if sum.next.is_none() {
                self.retire_keys().await?;
                return Ok(sum);
            }
        }
    }

    /// Wraps the data keys of up to `limit` values after `from` for the newest key, and removes what was wrapped for
    /// others. Values that somebody is writing at this moment are passed over; what becomes of them is up to the writer.
    ///
    /// # Errors
    /// [`DbError`]. A value that cannot be opened is none.
    pub async fn rewrap(
        &self,
        keyring: &Keyring,
        from: Option<&ValuePosition>,
        limit: u16,
    ) -> Result<Rewrapped, DbError> {
        let mut transaction = self.transaction().await?;
        share_keys(&mut transaction).await?;
        let Some(newest) = newest_key(&mut transaction).await? else { return Ok(Rewrapped::default()) };
        let rows = sqlx::query!(
            r#"SELECT objects.namespace, tenants.uid AS tenant, stored.secret_uid, objects.name AS secret, stored.key,
                      stored.version
               FROM secret_values AS stored
               JOIN objects ON objects.uid = stored.secret_uid
               JOIN tenants ON tenants.namespace = objects.namespace
               WHERE ($1::uuid IS NULL OR (stored.secret_uid, stored.key, stored.version) > ($1, $2::text, $3::bigint))
                 AND EXISTS (SELECT FROM secret_wraps AS wrap
                             WHERE wrap.secret_uid = stored.secret_uid AND wrap.key = stored.key
                               AND wrap.version = stored.version AND wrap.key_id <> $4)
               ORDER BY stored.secret_uid, stored.key, stored.version
               LIMIT $5
               FOR UPDATE OF stored SKIP LOCKED"#,
            from.map(|from| from.secret_uid),
            from.map(|from| from.key.clone()),
            from.map(|from| from.version),
            newest.id().as_str(),
            i64::from(limit)
        )
        .fetch_all(&mut *transaction)
        .await?;
        let full = rows.len() == usize::from(limit);
        let mut outdated: Vec<Outdated> = rows
            .into_iter()
            .map(|row| Outdated {
                namespace: row.namespace,
                tenant: row.tenant,
                secret_uid: row.secret_uid,
                secret: row.secret,
                key: row.key,
                version: row.version,
                wraps: Vec::new(),
            })
            .collect();
        let next = outdated.last().filter(|_| full).map(|last| ValuePosition {
            secret_uid: last.secret_uid,
            key: last.key.clone(),
            version: last.version,
        });
        load_wraps(&mut transaction, &mut outdated).await?;

        let mut done = Rewrapped { next, ..Rewrapped::default() };
        let mut fresh: Vec<(&Outdated, Wrap)> = Vec::new();
        for value in &outdated {
            match seal::rewrap(&value.place(), &value.wraps, keyring, &newest) {
                Ok(wrap) => fresh.push((value, wrap)),
                Err(why) => done.unopenable.push(unopenable(value, &why)),
            }
        }
        done.rewrapped = fresh.len();
        replace_wraps(&mut transaction, newest.id(), fresh).await?;
        transaction.commit().await?;
        Ok(done)
    }
}

fn unopenable(value: &Outdated, why: &RewrapError) -> UnopenableValue {
    let Outdated { namespace, secret, key, .. } = value;
    UnopenableValue {
        namespace: namespace.clone(),
        secret: secret.clone(),
        key: key.clone(),
        why: why.to_string(),
    }
}

/// Reads the wraps of values that this transaction has locked.
async fn load_wraps(connection: &mut sqlx::PgConnection, values: &mut [Outdated]) -> Result<(), DbError> {
    let secrets: Vec<Uuid> = values.iter().map(|value| value.secret_uid).collect();
    let keys: Vec<String> = values.iter().map(|value| value.key.clone()).collect();
    let versions: Vec<i64> = values.iter().map(|value| value.version).collect();
    let rows = sqlx::query!(
        r#"SELECT given.position AS "position!", wrap.key_id, wrap.encapsulated, wrap.wrapped
           FROM unnest($1::uuid[], $2::text[], $3::bigint[]) WITH ORDINALITY
                AS given (secret_uid, key, version, position)
           JOIN secret_wraps AS wrap
             ON wrap.secret_uid = given.secret_uid AND wrap.key = given.key AND wrap.version = given.version"#,
        &secrets,
        &keys,
        &versions
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        let at = usize::try_from(row.position - 1).unwrap_or(usize::MAX);
        let Some(value) = values.get_mut(at) else { continue };
        value.wraps.push(Wrap {
            key_id: KeyId::of_row(row.key_id),
            encapsulated: row.encapsulated,
            wrapped: row.wrapped,
        });
    }
    Ok(())
}

/// Writes the new wraps, and removes all others of the same values.
async fn replace_wraps(
    connection: &mut sqlx::PgConnection,
    newest: &KeyId,
    fresh: Vec<(&Outdated, Wrap)>,
) -> Result<(), DbError> {
    let (mut secrets, mut keys, mut versions) = (Vec::new(), Vec::new(), Vec::new());
    let (mut encapsulated, mut wrapped) = (Vec::new(), Vec::new());
    for (value, wrap) in fresh {
        secrets.push(value.secret_uid);
        keys.push(value.key.clone());
        versions.push(value.version);
        encapsulated.push(wrap.encapsulated);
        wrapped.push(wrap.wrapped);
    }
    sqlx::query!(
        "INSERT INTO secret_wraps (secret_uid, key, version, key_id, encapsulated, wrapped)
         SELECT given.secret_uid, given.key, given.version, $1, given.encapsulated, given.wrapped
         FROM unnest($2::uuid[], $3::text[], $4::bigint[], $5::bytea[], $6::bytea[])
              AS given (secret_uid, key, version, encapsulated, wrapped)
         ON CONFLICT (secret_uid, key, version, key_id)
         DO UPDATE SET encapsulated = excluded.encapsulated, wrapped = excluded.wrapped",
        newest.as_str(),
        &secrets,
        &keys,
        &versions,
        &encapsulated,
        &wrapped
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "DELETE FROM secret_wraps AS wrap
         USING unnest($2::uuid[], $3::text[], $4::bigint[]) AS given (secret_uid, key, version)
         WHERE wrap.secret_uid = given.secret_uid AND wrap.key = given.key AND wrap.version = given.version
           AND wrap.key_id <> $1",
        newest.as_str(),
        &secrets,
        &keys,
        &versions
    )
    .execute(&mut *connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests;
