//! Reporting status: fenced, monotone, and only what changed.

use serde_json::Value;
use uuid::Uuid;

use crate::Store;
use crate::error::DbError;
use crate::version::{allot_versions, notify};
use crate::watch::Scope;

/// What a report did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusWrite {
    /// It was written with this version.
    Written(i64),
    /// The status said so already; nothing was written.
    Same,
    /// The reporter is out of date: the gateway has moved to another epoch, a newer generation has been
    /// reported, or the object is gone. Nothing was written.
    Stale,
}

impl Store {
    /// Reports the status of a gateway as the writer of `epoch` sees it.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn put_status(&self, uid: Uuid, epoch: i64, status: &Value) -> Result<StatusWrite, DbError> {
        let generation = status.get("observedGeneration").and_then(Value::as_i64).unwrap_or(0);
        // Most reports say nothing new. They must not even lock the row: a lock is a write of a page.
        let seen = sqlx::query!(
            r#"SELECT objects.status IS NOT DISTINCT FROM $2 AS "same!",
                      placements.epoch = $3
                      AND coalesce((objects.status ->> 'observedGeneration')::bigint, 0) <= $4 AS "current!"
               FROM objects JOIN placements ON placements.gateway_uid = objects.uid WHERE objects.uid = $1"#,
            uid,
            status,
            epoch,
            generation
        )
        .fetch_optional(self.pool())
        .await?;
        match seen {
            Some(seen) if !seen.current => return Ok(StatusWrite::Stale),
            Some(seen) if seen.same => return Ok(StatusWrite::Same),
            Some(_) => {}
            None => return Ok(StatusWrite::Stale),
        }
        let mut transaction = self.transaction().await?;
        // Locks the row, then the counter: the order of every writer. The conditions are tested again under
        // the lock, and the epoch is held still with it.
        let locked = sqlx::query_scalar!(
            "SELECT objects.uid FROM objects JOIN placements ON placements.gateway_uid = objects.uid
             WHERE objects.uid = $1 AND placements.epoch = $2
               AND coalesce((objects.status ->> 'observedGeneration')::bigint, 0) <= $3
             FOR UPDATE OF objects FOR SHARE OF placements",
            uid,
            epoch,
            generation
        )
        .fetch_optional(&mut *transaction)
        .await?;
        if locked.is_none() {
            transaction.rollback().await?;
            return Ok(StatusWrite::Stale);
        }
        let version = allot_versions(&mut transaction, 1).await?;
        sqlx::query!(
            "UPDATE objects SET status = $2, resource_version = $3 WHERE uid = $1",
            uid,
            status,
            version
        )
        .execute(&mut *transaction)
        .await?;
        notify(&mut transaction, Scope::Everything, &[uid]).await?;
        transaction.commit().await?;
        Ok(StatusWrite::Written(version))
    }
}

#[cfg(test)]
mod tests;
