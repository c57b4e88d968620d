//! Opening a database: migrations, and whose it is.

use std::sync::Arc;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool, Postgres, Transaction};
use uuid::Uuid;

use crate::database::Database;
use crate::error::DbError;
use crate::object::BEGIN_SNAPSHOT;

/// The schema that this program needs.
pub(crate) static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");
/// The oldest server that this program works with, as `server_version_num` writes it.
const OLDEST_SERVER: i32 = 150_000;

/// A database that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The server is too old.
    #[error("the database server is PostgreSQL {found}; Bowline needs 15 or newer")]
    ServerTooOld {
        /// Its major version.
        found: i32,
    },
    /// A newer Bowline has migrated the database.
    #[error("the database was written by a newer Bowline (schema {found}, this program knows up to {known})")]
    TooNew {
        /// A schema version in the database that this program does not know.
        found: i64,
        /// The newest schema version that it knows.
        known: i64,
    },
    /// The database belongs to another instance.
    #[error("the database belongs to the instance {found:?}, not to {ours:?}; each instance needs its own")]
    OtherInstance {
        /// The instance in the database.
        found: String,
        /// The instance asked for.
        ours: String,
    },
    /// The schema could not be brought up to date.
    #[error("the database schema could not be brought up to date")]
    Migration(#[source] MigrateError),
    /// The database did not do it.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl OpenError {
    /// Whether waiting for the database is the right thing to do.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, OpenError::Db(error) if error.is_unavailable())
    }
}

impl From<sqlx::Error> for OpenError {
    fn from(error: sqlx::Error) -> Self {
        OpenError::Db(error.into())
    }
}

/// Everything that is stored, behind a pool of connections. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pool: PgPool,
    database: Database,
    instance: String,
    installation: Uuid,
}

impl Store {
    /// Opens `database` for `instance`: checks the server, applies missing migrations, and claims the database
    /// for the instance when nobody has.
    ///
    /// # Errors
    /// [`OpenError`]; whether to wait and try again says [`OpenError::is_unavailable`].
    pub async fn open(database: &Database, instance: &str) -> Result<Self, OpenError> {
        // A connection of its own: migrations have no time limit, and a failed one keeps the migrator's lock
        // until its session ends.
        let mut connection = database.patient().connect().await?;
        let opened = prepare(&mut connection, instance).await;
        // Nothing depends on a polite end.
        let _ = connection.close().await;
        let installation = opened?;
        Ok(Store {
            inner: Arc::new(Inner {
                pool: database.pool(),
                database: database.clone(),
                instance: instance.to_owned(),
                installation,
            }),
        })
    }

    /// The random id of this installation. A backup carries it, and so does every object on a host.
    pub fn installation(&self) -> Uuid {
        self.inner.installation
    }

    /// The instance that the database belongs to.
    pub fn instance(&self) -> &str {
        &self.inner.instance
    }

    /// Asks the database for a sign of life.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn ping(&self) -> Result<(), DbError> {
        Ok(self.connection().await?.ping().await?)
    }

    /// Closes all connections of the pool, after the queries that are running.
    pub async fn close(&self) {
        self.inner.pool.close().await;
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.inner.pool
    }

    pub(crate) fn database(&self) -> &Database {
        &self.inner.database
    }

    pub(crate) async fn connection(&self) -> Result<PoolConnection<Postgres>, DbError> {
        Ok(self.inner.pool.acquire().await?)
    }

    /// A transaction that reads one snapshot.
    pub(crate) async fn snapshot(&self) -> Result<Transaction<'static, Postgres>, DbError> {
        Ok(self.inner.pool.begin_with(BEGIN_SNAPSHOT).await?)
    }

    /// A transaction that writes.
    pub(crate) async fn transaction(&self) -> Result<Transaction<'static, Postgres>, DbError> {
        Ok(self.inner.pool.begin().await?)
    }
}

/// Checks and migrates; returns the installation id.
async fn prepare(connection: &mut PgConnection, instance: &str) -> Result<Uuid, OpenError> {
    let server =
        sqlx::query_scalar!(r#"SELECT current_setting('server_version_num')::integer AS "version!""#)
            .fetch_one(&mut *connection)
            .await?;
    if server < OLDEST_SERVER {
        return Err(OpenError::ServerTooOld { found: server / 10_000 });
    }
    MIGRATIONS.run_direct(None, connection, false).await.map_err(|error| match error {
        MigrateError::VersionMissing(found) => OpenError::TooNew {
            found,
            known: MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default(),
        },
        MigrateError::Execute(error) => error.into(),
        other => OpenError::Migration(other),
    })?;
    claim(connection, instance).await
}

/// Writes `instance` into a database that belongs to none, and refuses one that belongs to another.
async fn claim(connection: &mut PgConnection, instance: &str) -> Result<Uuid, OpenError> {
    loop {
        let row = sqlx::query!("SELECT id, instance FROM installation").fetch_one(&mut *connection).await?;
        match row.instance {
            Some(found) if found == instance => return Ok(row.id),
            Some(found) => {
                return Err(OpenError::OtherInstance { found, ours: instance.to_owned() });
            }
            None => {
                // Of two that try at once one succeeds; both look again.
                sqlx::query!("UPDATE installation SET instance = $1 WHERE instance IS NULL", instance)
                    .execute(&mut *connection)
                    .await?;
            }
        }
    }
}

#[cfg(test)]
mod tests;
