//! One writer per host: an advisory lock on a connection of its own.
//!
//! The lock lives and dies with its session. The server learns within seconds that a killed client is gone
//! (`client_connection_check_interval`, keepalives); the client learns within seconds that its session is gone
//! ([`HostLock::lost`]).

use std::time::Duration;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::time::{sleep, timeout};

use crate::Store;
use crate::database::{ACQUIRE_TIMEOUT, application_name};
use crate::error::DbError;

/// How often the session of a lock is asked for a sign of life.
const PULSE: Duration = Duration::from_secs(1);
/// How long it may take to answer. Twice the time after which the server checks on us.
const PATIENCE: Duration = Duration::from_secs(4);

/// The right to change one host, until it is released or lost.
#[derive(Debug)]
pub struct HostLock {
    connection: PgConnection,
}

/// Who holds a host's lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockHolder {
    /// The process id of its session in the database server.
    pub pid: i32,
    /// How it calls itself: program, host name, process id. Empty when we may not see it.
    pub application: String,
    /// From where it connects; `None` over a unix socket.
    pub address: Option<String>,
    /// Since when it is connected.
    pub since: Option<DateTime<Utc>>,
}

/// What trying to lock a host gave.
#[derive(Debug)]
pub enum HostLocking {
    /// We have it.
    Locked(HostLock),
    /// Somebody else has it; `None` when they let go while we looked.
    Busy(Option<LockHolder>),
}

impl Store {
    /// Takes the lock of `host` if nobody has it.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn try_lock_host(&self, host: &str) -> Result<HostLocking, DbError> {
        let key = lock_key(self.instance(), host);
        let mut connection = self.lock_session(host).await?;
        let locked = sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock($1) AS "locked!""#, key)
            .fetch_one(&mut connection)
            .await?;
        if locked {
            return Ok(HostLocking::Locked(HostLock { connection }));
        }
        let holder = sqlx::query_as!(
            LockHolder,
            r#"SELECT session.pid AS "pid!", coalesce(session.application_name, '') AS "application!",
                      host(session.client_addr) AS address, session.backend_start AS since
               FROM pg_locks AS lock JOIN pg_stat_activity AS session ON session.pid = lock.pid
               WHERE lock.locktype = 'advisory' AND lock.granted AND lock.objsubid = 1
                 AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                 AND ((lock.classid::bigint << 32) | lock.objid::bigint) = $1"#,
            key
        )
        .fetch_optional(&mut connection)
        .await?;
        Ok(HostLocking::Busy(holder))
    }

    /// Waits for the lock of `host`. Dropping the future gives up the place in the queue.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn lock_host(&self, host: &str) -> Result<HostLock, DbError> {
        let mut connection = self.lock_session(host).await?;
        sqlx::query!("SELECT pg_advisory_lock($1)", lock_key(self.instance(), host))
            .execute(&mut connection)
            .await?;
        Ok(HostLock { connection })
    }

    async fn lock_session(&self, host: &str) -> Result<PgConnection, DbError> {
        let options = self.database().patient().application_name(&application_name(host));
        timeout(ACQUIRE_TIMEOUT, options.connect())
            .await
            .unwrap_or(Err(sqlx::Error::PoolTimedOut))
            .map_err(DbError::from)
    }
}

impl HostLock {
    /// Resolves when the lock is gone because its session is. Safe to drop and call again.
    pub async fn lost(&mut self) {
        while let Ok(Ok(())) = timeout(PATIENCE, self.connection.ping()).await {
            sleep(PULSE).await;
        }
    }

    /// Gives the lock back.
    pub async fn release(self) {
        // Ending the session is what releases it; a session that is gone already has released it.
        let _ = self.connection.close().await;
    }
}

/// The lock's number: the first eight bytes of a hash. That of the migrator is another by all likelihood, and
/// is never held together with one of these.
fn lock_key(instance: &str, host: &str) -> i64 {
    let digest = Sha256::digest(format!("bowline host lock\0{instance}\0{host}"));
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(first)
}

#[cfg(test)]
mod tests;
