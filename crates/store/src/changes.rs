//! What changed since a version, in commit order.

use bowline_core::object::{ObjectKey, Stored};
use uuid::Uuid;

use crate::Store;
use crate::error::DbError;
use crate::object::{self, select_objects};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The version that the change was given.
    pub version: i64,
    /// What changed.
    pub what: Changed,
}

/// What changed. An object that changed several times appears once, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// The object is new or different.
    Object(Stored),
    /// The object is gone.
    Deleted {
        /// What it was called.
        key: ObjectKey,
        /// Which one it was.
        uid: Uuid,
    },
}

/// Changes in the order of their versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// At most as many as were asked for.
    pub items: Vec<Change>,
    /// Where the next question goes on from.
    pub version: i64,
    /// Whether there are more right now.
    pub more: bool,
}

/// A question about changes that has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ChangesError {
    /// Deletions since this version have been forgotten, or the database was restored to an earlier state. The
    /// reader lists everything again; over HTTP this is 410 Gone.
    #[error("version {asked} is too old or unknown; list again")]
    Expired {
        /// The version that was asked from.
        asked: i64,
    },
    /// The database did not do it.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Store {
    /// Up to `limit` changes after `version`, over all kinds, in commit order.
    ///
    /// # Errors
    /// [`ChangesError`].
    pub async fn changes_since(&self, version: i64, limit: i64) -> Result<Changes, ChangesError> {
        let mut snapshot = self.snapshot().await?;
        let bounds = sqlx::query!("SELECT version, horizon FROM object_version")
            .fetch_one(&mut *snapshot)
            .await
            .map_err(DbError::from)?;
        if version < bounds.horizon || version > bounds.version {
            return Err(ChangesError::Expired { asked: version });
        }
        if version == bounds.version {
            return Ok(Changes { items: Vec::new(), version, more: false });
        }
        // One more than asked for tells whether there are more.
        let fetch = limit.max(1).saturating_add(1);
        let objects =
            select_objects!("WHERE resource_version > $1 ORDER BY resource_version LIMIT $2", version, fetch)
                .fetch_all(&mut *snapshot)
                .await
                .map_err(DbError::from)?;
        let graves = sqlx::query!(
            "SELECT version, uid, kind, namespace, name FROM tombstones WHERE version > $1 ORDER BY version LIMIT $2",
            version,
            fetch
        )
        .fetch_all(&mut *snapshot)
        .await
        .map_err(DbError::from)?;
        snapshot.commit().await.map_err(DbError::from)?;

        let mut items = Vec::with_capacity(objects.len() + graves.len());
        for row in objects {
            items.push(Change { version: row.resource_version, what: Changed::Object(row.try_into()?) });
        }
        for row in graves {
            let key = object::key(&row.kind, row.namespace, row.name)?;
            items.push(Change { version: row.version, what: Changed::Deleted { key, uid: row.uid } });
        }
        items.sort_by_key(|change| change.version);
        let keep = usize::try_from(limit.max(1)).unwrap_or(usize::MAX);
        let more = items.len() > keep;
        items.truncate(keep);
        let version = match items.last() {
            Some(last) if more => last.version,
            _ => bounds.version,
        };
        Ok(Changes { items, version, more })
    }
}

#[cfg(test)]
mod tests;
