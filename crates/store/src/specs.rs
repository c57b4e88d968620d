//! What is kept of the spec directory: the state of its files, the objects they hold, and removals that are held.
//!
//! A file holds an object when the object's `managed_by` is `file:` and the file's path within the directory. The
//! loop that follows the directory writes these rows; the API reads them and confirms removals.

use std::collections::BTreeSet;

use bowline_core::object::ObjectKey;
use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::Store;
use crate::error::DbError;
use crate::object;
use crate::write::WriteTx;

/// What `managed_by` begins with when a file of the spec directory holds the object.
pub const FILE_MANAGER: &str = "file:";

/// The state of one file of the spec directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecFileRow {
    /// Path within the directory.
    pub path: String,
    /// A word for what became of it; the API has the list.
    pub state: String,
    /// What to know about it, in a sentence; empty when there is nothing to say.
    pub message: String,
    /// What is wrong with it and where, as the API sends it: a list.
    pub diagnostics: Value,
    /// Hash of the content that was seen last; absent when none could be read yet.
    pub sha256: Option<String>,
    /// Hash of the content whose objects were written last; absent before the first time.
    pub applied_sha256: Option<String>,
    /// Since when state and message are so.
    pub changed_at: DateTime<Utc>,
}

/// An object that a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileObject {
    /// The object.
    pub key: ObjectKey,
    /// Its uid.
    pub uid: Uuid,
    /// The file's path within the directory.
    pub path: String,
    /// Whether it is being deleted.
    pub terminating: bool,
}

/// A removal that is held, or that was and has been confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldRemoval {
    /// The object's uid.
    pub uid: Uuid,
    /// Since when it is held.
    pub held_at: DateTime<Utc>,
    /// When somebody said that it may go.
    pub confirmed_at: Option<DateTime<Utc>>,
}

/// The directory as it was looked at last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecDirectoryRow {
    /// Its path on the host.
    pub path: String,
    /// Why it cannot be read; absent when it can.
    pub error: Option<String>,
    /// Since when it is so.
    pub changed_at: DateTime<Utc>,
}

/// Everything that is kept of the spec directory, as it was at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpecsRecord {
    /// The directory; absent before it was looked at for the first time.
    pub directory: Option<SpecDirectoryRow>,
    /// Its files, by path.
    pub files: Vec<SpecFileRow>,
    /// What files hold, by kind, namespace and name.
    pub objects: Vec<FileObject>,
    /// Removals that are held or confirmed, by uid.
    pub removals: Vec<HeldRemoval>,
}

impl SpecsRecord {
    /// The objects whose removal waits for a confirmation.
    pub fn held(&self) -> impl Iterator<Item = (&FileObject, DateTime<Utc>)> {
        let waiting = self.removals.iter().filter(|removal| removal.confirmed_at.is_none());
        waiting.filter_map(|removal| {
            let object = self.objects.iter().find(|object| object.uid == removal.uid)?;
            Some((object, removal.held_at))
        })
    }
}

impl Store {
    /// Everything that is kept of the spec directory, read in one snapshot.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn specs(&self) -> Result<SpecsRecord, DbError> {
        let mut snapshot = self.snapshot().await?;
        let directory =
            sqlx::query_as!(SpecDirectoryRow, "SELECT path, error, changed_at FROM spec_directory")
                .fetch_optional(&mut *snapshot)
                .await?;
        let files = sqlx::query_as!(
            SpecFileRow,
            r#"SELECT path, state, message, diagnostics, sha256, applied_sha256, changed_at
               FROM spec_files ORDER BY path COLLATE "C""#
        )
        .fetch_all(&mut *snapshot)
        .await?;
        let rows = sqlx::query!(
            r#"SELECT kind, namespace, name, uid, managed_by, deletion_at IS NOT NULL AS "terminating!"
               FROM objects WHERE starts_with(managed_by, 'file:') ORDER BY kind, namespace, name"#
        )
        .fetch_all(&mut *snapshot)
        .await?;
        let mut objects = Vec::with_capacity(rows.len());
        for row in rows {
            objects.push(FileObject {
                key: object::key(&row.kind, row.namespace, row.name)?,
                uid: row.uid,
                path: row.managed_by.strip_prefix(FILE_MANAGER).unwrap_or_default().to_owned(),
                terminating: row.terminating,
            });
        }
        let removals = sqlx::query_as!(
            HeldRemoval,
            "SELECT object_uid AS uid, held_at, confirmed_at FROM spec_removals ORDER BY object_uid"
        )
        .fetch_all(&mut *snapshot)
        .await?;
        snapshot.commit().await?;
        Ok(SpecsRecord { directory, files, objects, removals })
    }

    /// Notes how the directory was found.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn put_spec_directory(&self, row: &SpecDirectoryRow) -> Result<(), DbError> {
        sqlx::query!(
            "INSERT INTO spec_directory (path, error, changed_at) VALUES ($1, $2, $3)
             ON CONFLICT (singleton) DO UPDATE SET path = $1, error = $2, changed_at = $3",
            row.path,
            row.error,
            row.changed_at
        )
        .execute(self.pool())
        .await?;
        Ok(())
    }

    /// Writes the states of these files, and forgets those of `gone`, all at once.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn put_spec_files(&self, files: &[SpecFileRow], gone: &[String]) -> Result<(), DbError> {
        if files.is_empty() && gone.is_empty() {
            return Ok(());
        }
        let mut transaction = self.transaction().await?;
        sqlx::query!("DELETE FROM spec_files WHERE path = ANY ($1)", gone).execute(&mut *transaction).await?;
        for file in files {
            let SpecFileRow { path, state, message, diagnostics, sha256, applied_sha256, changed_at } = file;
            sqlx::query!(
                "INSERT INTO spec_files (path, state, message, diagnostics, sha256, applied_sha256, changed_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)
                 ON CONFLICT (path) DO UPDATE SET state = $2, message = $3, diagnostics = $4, sha256 = $5,
                                                  applied_sha256 = $6, changed_at = $7",
                path,
                state,
                message,
                diagnostics,
                sha256.as_deref(),
                applied_sha256.as_deref(),
                changed_at
            )
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Holds the removal of these objects, and holds those of `released` no longer. What is held or confirmed
    /// already stays so; an object that is gone meanwhile is passed over.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn hold_removals(
        &self,
        held: &[Uuid],
        released: &[Uuid],
        now: DateTime<Utc>,
    ) -> Result<(), DbError> {
        if held.is_empty() && released.is_empty() {
            return Ok(());
        }
        let mut transaction = self.transaction().await?;
        sqlx::query!("DELETE FROM spec_removals WHERE object_uid = ANY ($1)", released)
            .execute(&mut *transaction)
            .await?;
        sqlx::query!(
            "INSERT INTO spec_removals (object_uid, held_at)
             SELECT uid, $2 FROM objects WHERE uid = ANY ($1) ON CONFLICT (object_uid) DO NOTHING",
            held,
            now
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Confirms that these objects may go, when they are exactly what is held now; returns whether they were.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn confirm_removals(&self, held: &BTreeSet<Uuid>, now: DateTime<Utc>) -> Result<bool, DbError> {
        let mut transaction = self.transaction().await?;
        // Locked, so that nothing is held or released between the look and the word.
        let rows = sqlx::query_scalar!(
            "SELECT object_uid FROM spec_removals WHERE confirmed_at IS NULL ORDER BY object_uid FOR UPDATE"
        )
        .fetch_all(&mut *transaction)
        .await?;
        let found: BTreeSet<Uuid> = rows.into_iter().collect();
        if found != *held {
            transaction.rollback().await?;
            return Ok(false);
        }
        let uids: Vec<Uuid> = found.into_iter().collect();
        sqlx::query!("UPDATE spec_removals SET confirmed_at = $2 WHERE object_uid = ANY ($1)", &uids, now)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(true)
    }
}

impl WriteTx {
    /// Makes the file `to` the holder of everything that the file `from` holds, and moves its state along: the file
    /// was renamed. Returns how many objects that were; with none, nothing is written.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn rename_spec_file(&mut self, from: &str, to: &str) -> Result<usize, DbError> {
        sqlx::query!("DELETE FROM spec_files WHERE path = $1", to).execute(self.connection()).await?;
        sqlx::query!("UPDATE spec_files SET path = $2 WHERE path = $1", from, to)
            .execute(self.connection())
            .await?;
        let moved = sqlx::query_scalar!(
            "UPDATE objects SET managed_by = 'file:' || $2::text WHERE managed_by = 'file:' || $1::text RETURNING uid",
            from,
            to
        )
        .fetch_all(self.connection())
        .await?;
        for uid in &moved {
            self.touch(*uid);
        }
        Ok(moved.len())
    }
}

#[cfg(test)]
mod tests;
