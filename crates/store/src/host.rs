//! The machines that run Bowline.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::Store;
use crate::error::DbError;

/// One machine. There is no heartbeat: that a host is alive shows its lock, not a row that is written for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRow {
    /// What leases and placements name it by.
    pub id: Uuid,
    /// What people name it by.
    pub name: String,
    /// When it was first seen.
    pub registered_at: DateTime<Utc>,
}

impl Store {
    /// The host called `name`, entered when it is new.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn register_host(&self, name: &str) -> Result<HostRow, DbError> {
        loop {
            let known =
                sqlx::query_as!(HostRow, "SELECT id, name, registered_at FROM hosts WHERE name = $1", name)
                    .fetch_optional(self.pool())
                    .await?;
            if let Some(host) = known {
                return Ok(host);
            }
            sqlx::query!(
                "INSERT INTO hosts (id, name) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
                Uuid::now_v7(),
                name
            )
            .execute(self.pool())
            .await?;
        }
    }
}
