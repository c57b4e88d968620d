//! Versions, tombstones and notifications: what every write ends with.
//!
//! The order is always the same: the rows of objects, then the counter, then the commit. Versions therefore
//! become visible in the order in which they were allotted, and no two writers wait for each other in a ring
//! through the counter.

use bowline_core::object::ObjectKey;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::DbError;
use crate::object::namespace_of;
use crate::watch::Scope;

/// The newest version that is visible to `connection`.
pub(crate) async fn current_version(connection: &mut PgConnection) -> Result<i64, DbError> {
    Ok(sqlx::query_scalar!("SELECT version FROM object_version").fetch_one(connection).await?)
}

/// Takes `count` versions and returns the first. Nobody else gets one until this transaction ends, so this is
/// the last thing that a write does before it commits.
pub(crate) async fn allot_versions(connection: &mut PgConnection, count: i64) -> Result<i64, DbError> {
    let last =
        sqlx::query_scalar!("UPDATE object_version SET version = version + $1 RETURNING version", count)
            .fetch_one(connection)
            .await?;
    Ok(last - count + 1)
}

/// Leaves a tombstone of an object that is gone.
pub(crate) async fn bury(
    connection: &mut PgConnection,
    uid: Uuid,
    key: &ObjectKey,
    version: i64,
) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO tombstones (version, uid, kind, namespace, name) VALUES ($1, $2, $3, $4, $5)",
        version,
        uid,
        key.kind.as_str(),
        namespace_of(key),
        key.name
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Tells the listeners of `scope`, at the commit, that these objects have changed.
pub(crate) async fn notify(
    connection: &mut PgConnection,
    scope: Scope,
    uids: &[Uuid],
) -> Result<(), DbError> {
    sqlx::query!("SELECT pg_notify($1, uid::text) FROM unnest($2::uuid[]) AS uid", scope.channel(), uids)
        .execute(connection)
        .await?;
    Ok(())
}
