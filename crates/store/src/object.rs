//! Reading objects.

use std::collections::BTreeMap;

use bowline_core::object::{Kind, ObjectKey, Stored, StoredMeta};
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::Store;
use crate::error::DbError;
use crate::version::current_version;

/// How a transaction that only reads begins: all its queries see one snapshot.
pub(crate) const BEGIN_SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// All objects of a kind, and the version at which they were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Ordered by namespace, then name.
    pub items: Vec<Stored>,
    /// Where [`Store::changes_since`] goes on from without missing anything.
    pub version: i64,
}

/// One row of `objects`.
#[derive(Debug)]
pub(crate) struct ObjectRow {
    pub(crate) uid: Uuid,
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) generation: i64,
    pub(crate) resource_version: i64,
    pub(crate) labels: Json<BTreeMap<String, String>>,
    pub(crate) annotations: Json<BTreeMap<String, String>>,
    pub(crate) spec: Value,
    pub(crate) status: Option<Value>,
    pub(crate) managed_by: String,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) deletion_at: Option<DateTime<Utc>>,
}

/// `SELECT` of whole objects: `select_objects!("WHERE …", arguments…)`, for a table called `objects`.
macro_rules! select_objects {
    ($tail:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            $crate::object::ObjectRow,
            r#"SELECT objects.uid, objects.kind, objects.namespace, objects.name, objects.generation,
                      objects.resource_version, objects.labels AS "labels: _", objects.annotations AS "annotations: _",
                      objects.spec, objects.status, objects.managed_by, objects.created_at, objects.deletion_at
               FROM objects "# + $tail
            $(, $argument)*
        )
    };
}
pub(crate) use select_objects;

impl TryFrom<ObjectRow> for Stored {
    type Error = DbError;

    fn try_from(row: ObjectRow) -> Result<Self, DbError> {
        let ObjectRow {
            uid,
            kind,
            namespace,
            name,
            generation,
            resource_version,
            labels: Json(labels),
            annotations: Json(annotations),
            spec,
            status,
            managed_by,
            created_at,
            deletion_at,
        } = row;
        Ok(Stored {
            metadata: StoredMeta {
                key: key(&kind, namespace, name)?,
                uid,
                generation,
                resource_version,
                labels,
                annotations,
                creation_timestamp: created_at,
                deletion_timestamp: deletion_at,
                managed_by,
            },
            spec,
            status,
        })
    }
}

/// The key of a row.
pub(crate) fn key(kind: &str, namespace: String, name: String) -> Result<ObjectKey, DbError> {
    let kind: Kind = kind.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    Ok(ObjectKey { kind, namespace: kind.is_namespaced().then_some(namespace), name })
}

/// How a key's namespace is stored: empty for cluster-scoped kinds.
pub(crate) fn namespace_of(key: &ObjectKey) -> &str {
    key.namespace.as_deref().unwrap_or("")
}

/// The object of `key`, as `connection` sees it.
pub(crate) async fn get(connection: &mut PgConnection, key: &ObjectKey) -> Result<Option<Stored>, DbError> {
    select_objects!(
        "WHERE kind = $1 AND namespace = $2 AND name = $3",
        key.kind.as_str(),
        namespace_of(key),
        key.name
    )
    .fetch_optional(connection)
    .await?
    .map(Stored::try_from)
    .transpose()
}

/// Those of these objects that exist, as `connection` sees them.
pub(crate) async fn get_all(
    connection: &mut PgConnection,
    keys: &[ObjectKey],
) -> Result<Vec<Stored>, DbError> {
    let kinds: Vec<_> = keys.iter().map(|key| key.kind.as_str().to_owned()).collect();
    let namespaces: Vec<_> = keys.iter().map(|key| namespace_of(key).to_owned()).collect();
    let names: Vec<_> = keys.iter().map(|key| key.name.clone()).collect();
    select_objects!(
        "JOIN unnest($1::text[], $2::text[], $3::text[]) AS wanted (kind, namespace, name)
           ON wanted.kind = objects.kind AND wanted.namespace = objects.namespace AND wanted.name = objects.name",
        &kinds,
        &namespaces,
        &names
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(Stored::try_from)
    .collect()
}

/// The objects of `kind`, in one namespace or in all, as `connection` sees them.
pub(crate) async fn list(
    connection: &mut PgConnection,
    kind: Kind,
    namespace: Option<&str>,
) -> Result<Vec<Stored>, DbError> {
    select_objects!(
        "WHERE kind = $1 AND ($2::text IS NULL OR namespace = $2) ORDER BY namespace, name",
        kind.as_str(),
        namespace
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(Stored::try_from)
    .collect()
}

impl Store {
    /// The object of `key`.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn get(&self, key: &ObjectKey) -> Result<Option<Stored>, DbError> {
        get(&mut *self.connection().await?, key).await
    }

    /// The object with this uid: what a [`crate::Hint::Uid`] speaks of, unless it is gone.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn get_by_uid(&self, uid: Uuid) -> Result<Option<Stored>, DbError> {
        select_objects!("WHERE uid = $1", uid)
            .fetch_optional(self.pool())
            .await?
            .map(Stored::try_from)
            .transpose()
    }

    /// All objects of `kind`, in one namespace or in all, read in one snapshot with the version.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn list(&self, kind: Kind, namespace: Option<&str>) -> Result<Listing, DbError> {
        let mut snapshot = self.snapshot().await?;
        let version = current_version(&mut snapshot).await?;
        let items = list(&mut snapshot, kind, namespace).await?;
        snapshot.commit().await?;
        Ok(Listing { items, version })
    }
}

#[cfg(test)]
mod tests;
