//! What the controller keeps of its own looking: the last observation, the pinned images, and the record
//! of replacements.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::Store;
use crate::error::DbError;

impl Store {
    /// Keeps what was seen of a gateway, as the writer of `epoch` saw it at `now`. Returns whether anything was
    /// written: not when it was seen so before, and not when the epoch is over.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn put_observed(
        &self,
        uid: Uuid,
        epoch: i64,
        observed: &Value,
        now: DateTime<Utc>,
    ) -> Result<bool, DbError> {
        let same = sqlx::query_scalar!(
            r#"SELECT observed = $2 AS "same!" FROM observations WHERE gateway_uid = $1 AND observed IS NOT NULL"#,
            uid,
            observed
        )
        .fetch_optional(self.pool())
        .await?;
        if same == Some(true) {
            return Ok(false);
        }
        let done = sqlx::query!(
            "INSERT INTO observations (gateway_uid, observed, observed_at)
             SELECT gateway_uid, $3, $4 FROM placements WHERE gateway_uid = $1 AND epoch = $2
             ON CONFLICT (gateway_uid) DO UPDATE SET observed = excluded.observed, observed_at = excluded.observed_at",
            uid,
            epoch,
            observed,
            now
        )
        .execute(self.pool())
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Keeps the image ids that a gateway was given, as [`Store::put_observed`] does.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn put_pins(&self, uid: Uuid, epoch: i64, pins: &Value) -> Result<bool, DbError> {
        let same = sqlx::query_scalar!(
            r#"SELECT pins = $2 AS "same!" FROM observations WHERE gateway_uid = $1 AND pins IS NOT NULL"#,
            uid,
            pins
        )
        .fetch_optional(self.pool())
        .await?;
        if same == Some(true) {
            return Ok(false);
        }
        let done = sqlx::query!(
            "INSERT INTO observations (gateway_uid, pins)
             SELECT gateway_uid, $3 FROM placements WHERE gateway_uid = $1 AND epoch = $2
             ON CONFLICT (gateway_uid) DO UPDATE SET pins = excluded.pins",
            uid,
            epoch,
            pins
        )
        .execute(self.pool())
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Keeps which revision of each container is proven, on trial, or failed, as [`Store::put_observed`] does.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn put_rollouts(&self, uid: Uuid, epoch: i64, rollouts: &Value) -> Result<bool, DbError> {
        let done = sqlx::query!(
            "INSERT INTO observations (gateway_uid, rollouts)
             SELECT gateway_uid, $3 FROM placements WHERE gateway_uid = $1 AND epoch = $2
             ON CONFLICT (gateway_uid) DO UPDATE SET rollouts = excluded.rollouts",
            uid,
            epoch,
            rollouts
        )
        .execute(self.pool())
        .await?;
        Ok(done.rows_affected() > 0)
    }
}
