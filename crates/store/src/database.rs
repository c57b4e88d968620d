//! Where the database is, and how every connection to it is set up.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

/// Connections of the pool. The work is short queries; the Engine is the bottleneck, not the database.
const POOL_SIZE: u32 = 8;
/// How long a caller waits for a connection before the database counts as away.
pub(crate) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// Where to connect to. `Debug` shows no password.
#[derive(Clone)]
pub struct Database {
    options: PgConnectOptions,
}

/// A database URL that cannot be used. The URL itself is not repeated: it may hold a password.
#[derive(Debug, thiserror::Error)]
#[error("the database URL cannot be read; write it as postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
pub struct BadUrl;

impl Database {
    /// The database at `postgres://…`.
    ///
    /// # Errors
    /// [`BadUrl`] when the text is no Postgres URL or names no database.
    pub fn from_url(url: &str) -> Result<Self, BadUrl> {
        let url = url.trim();
        if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
            return Err(BadUrl);
        }
        let options = PgConnectOptions::from_str(url).map_err(|_| BadUrl)?;
        // Without a name Postgres would take the user's: never what was meant, and a wrong database is
        // worse than an error.
        if options.get_database().is_none_or(str::is_empty) {
            return Err(BadUrl);
        }
        Ok(Database { options })
    }

    /// The database that these options lead to.
    pub(crate) fn from_options(options: PgConnectOptions) -> Self {
        Database { options }
    }

    /// Options of a connection without time limits: for migrations and for sessions that only wait.
    pub(crate) fn patient(&self) -> PgConnectOptions {
        self.options.clone().application_name(&application_name("")).options([
            // The server notices within seconds that we are gone and frees our locks.
            ("client_connection_check_interval", "2s"),
            ("tcp_keepalives_idle", "10"),
            ("tcp_keepalives_interval", "5"),
            ("tcp_keepalives_count", "3"),
        ])
    }

    /// Options of a pooled connection. The limits keep a process that was stopped in the middle of a write
    /// from holding the version counter, and with it every other writer, for ever.
    fn limited(&self) -> PgConnectOptions {
        self.patient().options([
            ("statement_timeout", "20s"),
            ("lock_timeout", "10s"),
            ("idle_in_transaction_session_timeout", "10s"),
        ])
    }

    /// The pool of short queries. It connects on demand and survives the server's restarts.
    pub(crate) fn pool(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(POOL_SIZE)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(Duration::from_secs(300))
            .connect_lazy_with(self.limited())
    }

    /// A pool of one connection that is never given up while idle: for a listener.
    pub(crate) fn pool_of_one(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(self.patient())
    }
}

/// How our sessions appear in `pg_stat_activity`: `bowline <what> pid <pid>`, at most 63 bytes.
pub(crate) fn application_name(what: &str) -> String {
    let pid = format!("pid {}", std::process::id());
    if what.is_empty() {
        return format!("bowline {pid}");
    }
    let room = 63 - "bowline  ".len() - pid.len();
    let end = what
        .char_indices()
        .map(|(at, c)| at + c.len_utf8())
        .take_while(|end| *end <= room)
        .last()
        .unwrap_or(0);
    format!("bowline {} {pid}", &what[..end])
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("host", &self.options.get_host())
            .field("socket", &self.options.get_socket())
            .field("database", &self.options.get_database())
            .finish_non_exhaustive()
    }
}
