//! The end of a deletion.

use bowline_core::object::ObjectKey;
use uuid::Uuid;

use crate::Store;
use crate::error::{DbError, violated};
use crate::object;
use crate::version::{allot_versions, bury, notify};
use crate::watch::Scope;

/// A deletion that could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum FinishDeleteError {
    /// The object still holds leases: its containers may still use them.
    #[error("the object still holds leases")]
    LeasesRemain,
    /// Nobody has asked for its deletion.
    #[error("the object is not being deleted")]
    NotTerminating,
    /// The database did not do it.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Store {
    /// Removes the object that was marked as deleted, with its tokens, events, placement and observation, and
    /// leaves a tombstone. Returns `false` when there was nothing left to remove.
    ///
    /// # Errors
    /// [`FinishDeleteError`].
    pub async fn finish_delete(&self, uid: Uuid) -> Result<bool, FinishDeleteError> {
        let mut transaction = self.transaction().await?;
        let removed = sqlx::query!(
            "DELETE FROM objects WHERE uid = $1 AND deletion_at IS NOT NULL RETURNING kind, namespace, name",
            uid
        )
        .fetch_optional(&mut *transaction)
        .await
        .map_err(|error| match violated(&error) {
            Some("leases_gateway") => FinishDeleteError::LeasesRemain,
            _ => FinishDeleteError::Db(error.into()),
        })?;
        let Some(row) = removed else {
            transaction.rollback().await.map_err(DbError::from)?;
            return match self.get_by_uid(uid).await? {
                Some(_) => Err(FinishDeleteError::NotTerminating),
                None => Ok(false),
            };
        };
        let key: ObjectKey = object::key(&row.kind, row.namespace, row.name)?;
        let version = allot_versions(&mut transaction, 1).await?;
        bury(&mut transaction, uid, &key, version).await?;
        notify(&mut transaction, Scope::Desired, &[uid]).await?;
        transaction.commit().await.map_err(DbError::from)?;
        Ok(true)
    }
}
