//! A private Postgres: real server binaries, a unix socket and nothing else, data kept between runs.
//!
//! Beneath `<state-dir>/postgres`: the settings, which belong to us; `data` and `log`, which belong to the
//! account of the server. Postgres refuses to run as root, so a `serve` that is root uses the account
//! `postgres`; otherwise the server runs as ourselves. Root writes no file into a directory of the account: a
//! planted symbolic link would turn that into a write anywhere.
//!
//! Who may connect: the socket lies in a directory of mode 0700 that belongs to the server's account, and the
//! server asks the kernel who is calling (`peer`): root and that account, nobody else, and no password exists.
//!
//! The server outlives a killed parent, and the next start adopts it: it is found by its working directory,
//! which is the data directory, never by a process id alone. Two `serve` with one state directory share the
//! server, and the last one to stop takes it down. `pg_ctl` puts it into a session of its own, so that a Ctrl-C
//! for `serve` is none for Postgres.

mod account;
mod binaries;
mod layout;
mod process;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use account::Account;
use binaries::Binaries;
use layout::Layout;

use crate::database::Database;

/// Name of the database and of the role that owns it.
const NAME: &str = "bowline";
/// The number in the socket's name. No port is opened.
const PORT: u16 = 5432;
/// How long a server may take to become ready, recovery after a crash included.
const START_PATIENCE: Duration = Duration::from_secs(300);
/// How long a server may take to stop cleanly.
const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// What an embedded Postgres needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// The state directory of `serve`; the server's files go into `postgres` beneath it.
    pub state_dir: PathBuf,
    /// Where the socket should be: a directory of its own, made when missing. When its path is too long or the
    /// server's account cannot reach it, a short one in `/run` (or `/tmp`, without root) is used instead.
    pub socket_dir: PathBuf,
    /// Where the server binaries are, when not in one of the usual places.
    pub bin_dir: Option<PathBuf>,
}

/// The environment variable that names the directory of the server binaries, for [`Options::bin_dir`].
pub const BIN_DIR: &str = "BOWLINE_POSTGRES_BIN";

/// An embedded Postgres that could not be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// No server binaries were found.
    #[error("no PostgreSQL server binaries (initdb, postgres, pg_ctl; 15 or newer) in {searched}")]
    NoBinaries {
        /// Where they were looked for.
        searched: String,
    },
    /// The data needs another version of the binaries.
    #[error("{} was written by PostgreSQL {written}, and of the binaries there are only: {found}", data.display())]
    OtherVersion {
        /// The data directory.
        data: PathBuf,
        /// The major version that wrote it.
        written: u32,
        /// The versions found.
        found: String,
    },
    /// The account that the server would run as does not exist.
    #[error("PostgreSQL refuses to run as {refused}, and there is no account {name:?} to run it as")]
    NoAccount {
        /// Who we are.
        refused: String,
        /// The account that was looked for.
        name: String,
    },
    /// The server's account may not pass through a directory.
    #[error("the account {account:?} cannot reach {}, because it may not pass {}", path.display(), obstacle.display())]
    Unreachable {
        /// The account.
        account: String,
        /// Where it should get.
        path: PathBuf,
        /// The first directory that stops it.
        obstacle: PathBuf,
    },
    /// No directory will do for the socket.
    #[error("no directory for the database socket: {reasons}")]
    NoSocketDir {
        /// What is wrong with each.
        reasons: String,
    },
    /// A file or directory could not be made or read.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A program of PostgreSQL failed.
    #[error("{program} failed: {output}")]
    Program {
        /// Which one.
        program: &'static str,
        /// What it said.
        output: String,
    },
    /// The server runs, but lets nobody in.
    #[error("the embedded PostgreSQL did not become ready")]
    NotReady(#[source] sqlx::Error),
}

impl EmbeddedError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            EmbeddedError::NoBinaries { .. } => Some(format!(
                "apt-get install postgresql, or name their directory in {BIN_DIR}, or use a database of your own: \
                 --database-url-file"
            )),
            EmbeddedError::NoAccount { .. } => Some(
                "apt-get install postgresql (it makes the account), or useradd --system postgres, or use a database \
                 of your own: --database-url-file"
                    .to_owned(),
            ),
            EmbeddedError::OtherVersion { written, .. } => Some(format!(
                "apt-get install postgresql-{written}, or move the data to a newer version with pg_upgrade"
            )),
            EmbeddedError::Unreachable { obstacle, .. } => {
                Some(format!("chmod o+x {}, or choose another --state-dir", obstacle.display()))
            }
            EmbeddedError::NoSocketDir { .. } => Some("choose a shorter --runtime-dir".to_owned()),
            EmbeddedError::Io { .. } | EmbeddedError::Program { .. } | EmbeddedError::NotReady(_) => None,
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| EmbeddedError::Io { action, path, source }
    }
}

/// What stopping did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// The server has stopped.
    Now,
    /// Another `serve` with this state directory uses it; it stays.
    StillUsed,
}

/// A running private Postgres. Dropping this leaves the server running, for the next start to adopt.
#[derive(Debug)]
pub struct Embedded {
    layout: Layout,
    account: Account,
    binaries: Binaries,
    socket_dir: PathBuf,
    adopted: bool,
    /// Held shared by everyone who uses the server; the kernel lets go of it when we die.
    users: File,
}

impl Embedded {
    /// Starts the server, or adopts the one that runs; makes the cluster and the database when there are none.
    ///
    /// # Errors
    /// [`EmbeddedError`]; what to do says [`EmbeddedError::hint`].
    pub async fn start(options: Options) -> Result<Self, EmbeddedError> {
        let account = Account::of_server().await?;
        let layout = Layout::prepare(&options.state_dir, &account).await?;
        let binaries = Binaries::find(options.bin_dir.as_deref(), &layout.data).await?;
        let starting = layout.lock_start().await?;
        let users = layout.users()?;
        users.lock_shared().map_err(EmbeddedError::io("lock", &layout.users_path()))?;
        let adopted = process::settled(&layout.data).await?;
        let socket_dir = if adopted {
            info!(data = %layout.data.display(), "adopting the embedded PostgreSQL that is running");
            await_socket_dir(&layout, &options.socket_dir).await
        } else {
            let socket_dir = layout.socket_dir(&options.socket_dir, &account).await?;
            launch(&layout, &account, &binaries, &socket_dir).await?;
            socket_dir
        };
        let embedded = Embedded { layout, account, binaries, socket_dir, adopted, users };
        embedded.ensure_database().await?;
        drop(starting);
        Ok(embedded)
    }

    /// Where to connect to.
    pub fn database(&self) -> Database {
        Database::from_options(self.options().database(NAME))
    }

    /// The directory of the socket.
    pub fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    /// Whether the server was running before.
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// Starts the server again if it has died. Returns whether it had. Cheap when it has not: two small files
    /// are read.
    ///
    /// # Errors
    /// [`EmbeddedError`].
    pub async fn ensure_running(&self) -> Result<bool, EmbeddedError> {
        if process::postmaster(&self.layout.data).is_some() {
            return Ok(false);
        }
        let _starting = self.layout.lock_start().await?;
        // Another user of the server may have been faster.
        if process::settled(&self.layout.data).await? {
            return Ok(false);
        }
        warn!(data = %self.layout.data.display(), "the embedded PostgreSQL has died and is started again");
        let socket_dir = self.layout.socket_dir(&self.socket_dir, &self.account).await?;
        launch(&self.layout, &self.account, &self.binaries, &socket_dir).await?;
        self.ensure_database().await?;
        Ok(true)
    }

    /// Stops the server cleanly, unless somebody else uses it.
    ///
    /// # Errors
    /// [`EmbeddedError`].
    pub async fn stop(self) -> Result<Stopped, EmbeddedError> {
        let _starting = self.layout.lock_start().await?;
        let users = self.layout.users_path();
        self.users.unlock().map_err(EmbeddedError::io("unlock", &users))?;
        if self.users.try_lock().is_err() {
            info!("the embedded PostgreSQL stays: another process uses it");
            return Ok(Stopped::StillUsed);
        }
        if process::postmaster(&self.layout.data).is_some() {
            let fast = self.pg_ctl_stop("fast").await;
            // A server that cannot stop cleanly in time recovers at its next start.
            if fast.is_err() && process::postmaster(&self.layout.data).is_some() {
                self.pg_ctl_stop("immediate").await?;
            }
        }
        layout::remove_socket_dir(&self.socket_dir);
        Ok(Stopped::Now)
    }

    async fn pg_ctl_stop(&self, mode: &str) -> Result<(), EmbeddedError> {
        let seconds = STOP_PATIENCE.as_secs().to_string();
        let mut command = self.account.command(&self.binaries.program("pg_ctl"));
        command.arg("-D").arg(&self.layout.root).args(["-m", mode, "-w", "-t", &seconds, "stop"]);
        account::run("pg_ctl", command).await
    }

    fn options(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass().socket(&self.socket_dir).port(PORT).username(NAME)
    }

    /// Waits until the server lets us in, and makes our database when it is missing.
    async fn ensure_database(&self) -> Result<(), EmbeddedError> {
        let deadline = Instant::now() + START_PATIENCE;
        let options = self.options().database("postgres");
        let mut connection = loop {
            let attempt = timeout(Duration::from_secs(5), options.connect()).await;
            match attempt.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
                Ok(connection) => break connection,
                Err(error) => {
                    let alive = process::postmaster(&self.layout.data).is_some();
                    if Instant::now() >= deadline || !alive {
                        return Err(EmbeddedError::NotReady(error));
                    }
                    sleep(Duration::from_millis(50)).await;
                }
            }
        };
        let result = async {
            let exists = sqlx::query("SELECT FROM pg_database WHERE datname = $1")
                .bind(NAME)
                .fetch_optional(&mut connection)
                .await?
                .is_some();
            if !exists {
                sqlx::query("CREATE DATABASE bowline").execute(&mut connection).await?;
            }
            Ok(())
        }
        .await;
        // The answer counts, not the farewell.
        let _ = connection.close().await;
        result.map_err(EmbeddedError::NotReady)
    }
}

/// The socket directory of a running server, which writes it down a moment after it began.
async fn await_socket_dir(layout: &Layout, preferred: &Path) -> PathBuf {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match process::socket_dir(&layout.data) {
            Some(dir) => return dir,
            None if Instant::now() >= deadline => return preferred.to_owned(),
            None => sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Makes the cluster when there is none, writes the settings, and starts the server.
async fn launch(
    layout: &Layout,
    account: &Account,
    binaries: &Binaries,
    socket_dir: &Path,
) -> Result<(), EmbeddedError> {
    if !layout.has_cluster() {
        let fresh = layout.fresh_data(account)?;
        info!(data = %layout.data.display(), version = binaries.version, "making a database cluster");
        let mut initdb = account.command(&binaries.program("initdb"));
        initdb.arg("-D").arg(&fresh).args([
            "--username=bowline",
            "--auth-local=peer",
            "--auth-host=reject",
            "--encoding=UTF8",
            "--no-locale",
            "--data-checksums",
            "--no-instructions",
        ]);
        account::run("initdb", initdb).await?;
        layout.adopt_data(&fresh)?;
    }
    layout.write_settings(socket_dir, account)?;
    process::clear_stale(&layout.data)?;
    let log = layout.log.join("startup.log");
    layout::remove_file(&log)?;
    let seconds = START_PATIENCE.as_secs().to_string();
    let mut start = account.command(&binaries.program("pg_ctl"));
    start.arg("-D").arg(&layout.root).arg("-l").arg(&log).args(["-w", "-s", "-t", &seconds, "start"]);
    if let Err(error) = account::run("pg_ctl", start).await {
        return Err(match (error, account.tail(&log).await) {
            (EmbeddedError::Program { program, output }, Some(tail)) => {
                EmbeddedError::Program { program, output: format!("{output}; its log ends with: {tail}") }
            }
            (error, _) => error,
        });
    }
    info!(socket = %socket_dir.display(), version = binaries.version, "embedded PostgreSQL is running");
    Ok(())
}

#[cfg(test)]
mod tests;
