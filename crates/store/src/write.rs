//! Writing desired state: one transaction per apply.

use std::collections::BTreeMap;

use bowline_core::object::{GatewayKey, Kind, ObjectKey, Stored};
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgConnection, Postgres, Transaction};
use uuid::Uuid;

use crate::Store;
use crate::error::{DbError, is_unstorable};
use crate::object::{self, ObjectRow, namespace_of};
use crate::version::{allot_versions, bury, notify};
use crate::watch::Scope;

/// How often a write looks again at an object that others are changing before it gives up.
const ATTEMPTS: u32 = 8;

/// Key of the advisory lock of [`WriteTx::exclude_others`]; any number that no host's lock has by chance.
const WRITERS: i64 = 0x626f_776c_696e_6501;

/// What a put wants an object to be. Labels and annotations replace the whole earlier maps.
#[derive(Debug, Clone, Copy)]
pub struct Put<'a> {
    /// Which object.
    pub key: &'a ObjectKey,
    /// The specification in canonical JSON.
    pub spec: &'a Value,
    /// All labels.
    pub labels: &'a BTreeMap<String, String>,
    /// All annotations.
    pub annotations: &'a BTreeMap<String, String>,
    /// Who declares it: `cli`, `api` or `file:<path>`.
    pub managed_by: &'a str,
    /// The version that the writer has seen, when the write shall fail if there is a newer one; [`Put::ABSENT`]
    /// when it shall fail if there is any.
    pub expected_version: Option<i64>,
}

impl Put<'_> {
    /// The version of an object that does not exist; versions begin at 1.
    pub const ABSENT: i64 = 0;
}

/// What a put did, as every verb prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There was no such object.
    Created,
    /// Something changed.
    Configured,
    /// Everything was so already; nothing was written.
    Unchanged,
}

/// A put that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// What it did.
    pub outcome: Outcome,
    /// The object after it. Its version is allotted only by [`WriteTx::commit`].
    pub object: Stored,
}

/// A put that was not done.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// The object is being deleted.
    #[error("{0} is being deleted")]
    Terminating(ObjectKey),
    /// There is a newer version, or no object, where the writer has seen one.
    #[error("{key} was changed by somebody else meanwhile")]
    Conflict {
        /// Which object.
        key: ObjectKey,
        /// Its version now; `None` when it does not exist.
        current: Option<i64>,
        /// The version that the writer has seen.
        expected: i64,
    },
    /// The specification or a label holds the character NUL, which the database cannot store.
    #[error("{0} holds the character NUL (\\u0000), which cannot be stored")]
    Unstorable(ObjectKey),
    /// The database did not do it.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// What asking for a deletion did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marked {
    /// There is no such object.
    Absent,
    /// It held nothing on any host and is gone.
    Removed(Uuid),
    /// It stays until what it holds is given back.
    Terminating(Uuid),
    /// Somebody has asked before.
    AlreadyTerminating(Uuid),
}

/// One transaction that writes desired state. Dropping it undoes everything.
///
/// Versions are allotted at the very end, in [`WriteTx::commit`]: two transactions may be open at once, and
/// whichever commits first has the lower versions.
#[derive(Debug)]
pub struct WriteTx {
    transaction: Transaction<'static, Postgres>,
    /// Objects that exist and get a new version, in the order of their first change.
    changed: Vec<Uuid>,
    /// Objects that are gone and get a tombstone.
    removed: Vec<(Uuid, ObjectKey)>,
}

impl Store {
    /// Begins to write desired state.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn begin_write(&self) -> Result<WriteTx, DbError> {
        Ok(WriteTx { transaction: self.transaction().await?, changed: Vec::new(), removed: Vec::new() })
    }

    /// The gateways whose specification names this catalog or Secret, by namespace and name.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn gateways_using(&self, named: &ObjectKey) -> Result<Vec<GatewayKey>, DbError> {
        gateways_using(&mut *self.connection().await?, named).await
    }
}

impl WriteTx {
    /// Waits until no other transaction that called this is open. What such a transaction reads stays so until
    /// it ends: it may judge references by what it has read, and two of them never mix their objects.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn exclude_others(&mut self) -> Result<(), DbError> {
        sqlx::query!("SELECT pg_advisory_xact_lock($1)", WRITERS).execute(&mut *self.transaction).await?;
        Ok(())
    }

    /// The object of `key`, with what this transaction has written.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn get(&mut self, key: &ObjectKey) -> Result<Option<Stored>, DbError> {
        object::get(&mut self.transaction, key).await
    }

    /// The objects of `kind`, with what this transaction has written.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn list(&mut self, kind: Kind, namespace: Option<&str>) -> Result<Vec<Stored>, DbError> {
        object::list(&mut self.transaction, kind, namespace).await
    }

    /// The gateways whose specification names this catalog or Secret, with what this transaction has written.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn gateways_using(&mut self, named: &ObjectKey) -> Result<Vec<GatewayKey>, DbError> {
        gateways_using(&mut self.transaction, named).await
    }

    /// Those of these objects that exist, with what this transaction has written.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn get_all(&mut self, keys: &[ObjectKey]) -> Result<Vec<Stored>, DbError> {
        object::get_all(&mut self.transaction, keys).await
    }

    /// Creates the object, or makes it what `put` says. What is so already is not written.
    ///
    /// # Errors
    /// [`PutError`]. After one the transaction can only be dropped.
    pub async fn put(&mut self, put: Put<'_>) -> Result<Applied, PutError> {
        for _ in 0..ATTEMPTS {
            let Some(seen) = self.compare(&put).await? else {
                if let Some(expected) = put.expected_version.filter(|expected| *expected != Put::ABSENT) {
                    return Err(PutError::Conflict { key: put.key.clone(), current: None, expected });
                }
                match self.insert(&put).await? {
                    Some(object) => return Ok(self.applied(Outcome::Created, object)),
                    None => continue, // somebody else created it meanwhile
                }
            };
            if seen.terminating {
                return Err(PutError::Terminating(put.key.clone()));
            }
            if let Some(expected) = put.expected_version.filter(|expected| *expected != seen.version) {
                return Err(PutError::Conflict {
                    key: put.key.clone(),
                    current: Some(seen.version),
                    expected,
                });
            }
            if !seen.spec_differs && !seen.meta_differs {
                match self.get(put.key).await? {
                    Some(object) => {
                        return Ok(Applied { outcome: Outcome::Unchanged, object });
                    }
                    None => continue, // deleted meanwhile
                }
            }
            if let Some(object) = self.update(&put, &seen).await? {
                return Ok(self.applied(Outcome::Configured, object));
            }
        }
        Err(PutError::Db(DbError::Contended(sqlx::Error::RowNotFound)))
    }

    /// Asks for the deletion of `key`. A catalog and a Secret hold nothing on any host and go at once, a Secret with its
    /// values; a Gateway stays, marked, until [`Store::finish_delete`].
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn mark_deleted(&mut self, key: &ObjectKey) -> Result<Marked, DbError> {
        match key.kind {
            Kind::ClusterCatalog | Kind::Catalog | Kind::Secret => self.remove(key).await,
            Kind::Gateway => self.mark(key).await,
        }
    }

    /// Allots the versions, tells the watchers, and makes everything visible at once. Returns the version of
    /// each object that changed or went.
    ///
    /// # Errors
    /// [`DbError`]; nothing was written then, except when the answer to the last word was lost.
    pub async fn commit(self) -> Result<BTreeMap<Uuid, i64>, DbError> {
        if self.changed.is_empty() && self.removed.is_empty() {
            self.transaction.rollback().await?;
            return Ok(BTreeMap::new());
        }
        self.commit_always().await
    }

    /// [`WriteTx::commit`] of a transaction that may have written what is no object.
    ///
    /// # Errors
    /// As [`WriteTx::commit`].
    pub(crate) async fn commit_always(self) -> Result<BTreeMap<Uuid, i64>, DbError> {
        let WriteTx { mut transaction, changed, removed } = self;
        let mut versions = BTreeMap::new();
        let count = i64::try_from(changed.len() + removed.len()).unwrap_or(i64::MAX);
        if count == 0 {
            transaction.commit().await?;
            return Ok(versions);
        }
        let first = allot_versions(&mut transaction, count).await?;
        let uids = changed.iter().copied().chain(removed.iter().map(|(uid, _)| *uid));
        versions.extend(uids.zip(first..));
        sqlx::query!(
            "UPDATE objects SET resource_version = $2 + given.position - 1
             FROM unnest($1::uuid[]) WITH ORDINALITY AS given (uid, position) WHERE objects.uid = given.uid",
            &changed,
            first
        )
        .execute(&mut *transaction)
        .await?;
        for (uid, key) in &removed {
            bury(&mut transaction, *uid, key, versions[uid]).await?;
        }
        let all: Vec<Uuid> = versions.keys().copied().collect();
        notify(&mut transaction, Scope::Desired, &all).await?;
        transaction.commit().await?;
        Ok(versions)
    }

    fn applied(&mut self, outcome: Outcome, object: Stored) -> Applied {
        self.touch(object.metadata.uid);
        Applied { outcome, object }
    }

    /// The transaction's connection, for the writes of other modules.
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// Remembers that the object gets a new version.
    pub(crate) fn touch(&mut self, uid: Uuid) {
        if !self.changed.contains(&uid) {
            self.changed.push(uid);
        }
    }

    /// Compares the object with what `put` wants. The database compares, by the value of JSON and not by its
    /// text, so that 1 and 1.0 are the same.
    async fn compare(&mut self, put: &Put<'_>) -> Result<Option<Seen>, PutError> {
        sqlx::query_as!(
            Seen,
            r#"SELECT uid, resource_version AS version, deletion_at IS NOT NULL AS "terminating!",
                      spec <> $4 AS "spec_differs!",
                      (labels <> $5 OR annotations <> $6 OR managed_by <> $7) AS "meta_differs!"
               FROM objects WHERE kind = $1 AND namespace = $2 AND name = $3"#,
            put.key.kind.as_str(),
            namespace_of(put.key),
            put.key.name,
            put.spec,
            Json(put.labels) as _,
            Json(put.annotations) as _,
            put.managed_by
        )
        .fetch_optional(&mut *self.transaction)
        .await
        .map_err(|error| refused(error, put.key))
    }

    /// Creates the object; `None` when somebody else has done so.
    async fn insert(&mut self, put: &Put<'_>) -> Result<Option<Stored>, PutError> {
        let row = sqlx::query_as!(
            ObjectRow,
            r#"INSERT INTO objects (uid, kind, namespace, name, spec, labels, annotations, managed_by)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
               ON CONFLICT (kind, namespace, name) DO NOTHING
               RETURNING uid, kind, namespace, name, generation, resource_version, labels AS "labels: _",
                         annotations AS "annotations: _", spec, status, managed_by, created_at, deletion_at"#,
            Uuid::now_v7(),
            put.key.kind.as_str(),
            namespace_of(put.key),
            put.key.name,
            put.spec,
            Json(put.labels) as _,
            Json(put.annotations) as _,
            put.managed_by
        )
        .fetch_optional(&mut *self.transaction)
        .await
        .map_err(|error| refused(error, put.key))?;
        Ok(row.map(Stored::try_from).transpose()?)
    }

    /// Changes the object that was `seen`; `None` when it has changed meanwhile.
    async fn update(&mut self, put: &Put<'_>, seen: &Seen) -> Result<Option<Stored>, PutError> {
        let row = sqlx::query_as!(
            ObjectRow,
            r#"UPDATE objects
               SET spec = $3, labels = $4, annotations = $5, managed_by = $6, generation = generation + $7
               WHERE uid = $1 AND resource_version = $2 AND deletion_at IS NULL
               RETURNING uid, kind, namespace, name, generation, resource_version, labels AS "labels: _",
                         annotations AS "annotations: _", spec, status, managed_by, created_at, deletion_at"#,
            seen.uid,
            seen.version,
            put.spec,
            Json(put.labels) as _,
            Json(put.annotations) as _,
            put.managed_by,
            i64::from(seen.spec_differs)
        )
        .fetch_optional(&mut *self.transaction)
        .await
        .map_err(|error| refused(error, put.key))?;
        Ok(row.map(Stored::try_from).transpose()?)
    }

    async fn remove(&mut self, key: &ObjectKey) -> Result<Marked, DbError> {
        let removed = sqlx::query_scalar!(
            "DELETE FROM objects WHERE kind = $1 AND namespace = $2 AND name = $3 RETURNING uid",
            key.kind.as_str(),
            namespace_of(key),
            key.name
        )
        .fetch_optional(&mut *self.transaction)
        .await?;
        Ok(match removed {
            None => Marked::Absent,
            Some(uid) => {
                self.changed.retain(|changed| *changed != uid);
                self.removed.push((uid, key.clone()));
                Marked::Removed(uid)
            }
        })
    }

    async fn mark(&mut self, key: &ObjectKey) -> Result<Marked, DbError> {
        let marked = sqlx::query_scalar!(
            "UPDATE objects SET deletion_at = now()
             WHERE kind = $1 AND namespace = $2 AND name = $3 AND deletion_at IS NULL RETURNING uid",
            key.kind.as_str(),
            namespace_of(key),
            key.name
        )
        .fetch_optional(&mut *self.transaction)
        .await?;
        if let Some(uid) = marked {
            self.touch(uid);
            return Ok(Marked::Terminating(uid));
        }
        Ok(match self.get(key).await? {
            Some(object) => Marked::AlreadyTerminating(object.metadata.uid),
            None => Marked::Absent,
        })
    }
}

/// What a put found.
struct Seen {
    uid: Uuid,
    version: i64,
    terminating: bool,
    spec_differs: bool,
    meta_differs: bool,
}

fn refused(error: sqlx::Error, key: &ObjectKey) -> PutError {
    if is_unstorable(&error) { PutError::Unstorable(key.clone()) } else { PutError::Db(error.into()) }
}

async fn gateways_using(
    connection: &mut PgConnection,
    named: &ObjectKey,
) -> Result<Vec<GatewayKey>, DbError> {
    Ok(sqlx::query_as!(
        GatewayKey,
        "SELECT namespace, name FROM objects
         WHERE kind = 'Gateway' AND CASE
             WHEN $1 = 'Secret' THEN namespace = $2 AND $3 IN (SELECT secrets_of(objects.spec))
             ELSE ($1, $2, $3) IN (SELECT kind, namespace, name FROM catalogs_of(objects.spec)) END
         ORDER BY namespace, name",
        named.kind.as_str(),
        namespace_of(named),
        named.name
    )
    .fetch_all(connection)
    .await?)
}

#[cfg(test)]
mod tests;
