//! The database: one that was named, or a private Postgres that is looked after until the end.

use std::time::Duration;

use bowline_store::embedded::{BIN_DIR, Embedded, EmbeddedError, Options, Stopped};
use bowline_store::{Database, OpenError, Store, settings};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::settings::StoreSettings;
use crate::failure::Failure;

/// How often a private Postgres is looked at.
const PULSE: Duration = Duration::from_secs(3);
/// Rest between two attempts to open a database that is away.
const REST: Duration = Duration::from_secs(2);
/// Directory of the private Postgres' socket, below the runtime directory.
const SOCKET_DIR: &str = "postgres";

/// An open database.
pub(crate) struct Opened {
    /// The store in it.
    pub(crate) store: Store,
    private: Option<Private>,
}

/// A private Postgres and the task that looks after it.
struct Private {
    stop: CancellationToken,
    task: JoinHandle<Embedded>,
}

impl Opened {
    /// Closes the connections, and stops a private Postgres that nobody else uses.
    pub(crate) async fn close(self) {
        self.store.close().await;
        let Some(Private { stop, task }) = self.private else { return };
        stop.cancel();
        let stopped = match task.await {
            Ok(embedded) => embedded.stop().await,
            Err(error) => return tracing::error!(%error, "private Postgres lost sight of"),
        };
        match stopped {
            Ok(Stopped::Now) => tracing::info!("private Postgres stopped"),
            Ok(Stopped::StillUsed) => tracing::info!("private Postgres left to another serve"),
            Err(error) => tracing::error!(%error, "private Postgres not stopped"),
        }
    }
}

/// Opens the database that the settings name; waits for one that is away. `None` when told to stop meanwhile.
pub(crate) async fn open(
    settings: &StoreSettings,
    instance: &str,
    stop: &CancellationToken,
) -> Result<Option<Opened>, Failure> {
    let url = settings::database_url(settings.database_url_file.as_deref())
        .map_err(|error| Failure::user("the database's URL cannot be used").because(&error))?;
    let (database, embedded) = match url {
        Some(url) => {
            let database = Database::from_url(&url)
                .map_err(|error| Failure::user("the database's URL cannot be used").because(&error))?;
            (database, None)
        }
        None => {
            let embedded = start(settings).await.map_err(|error| embedded_failure(&error))?;
            (embedded.database(), Some(embedded))
        }
    };
    let opened = loop {
        match Store::open(&database, instance).await {
            Ok(store) => break Ok(Some(store)),
            Err(error) if error.is_unavailable() => {
                tracing::warn!(error = ?error, "database does not answer; trying again");
                if stop.run_until_cancelled(tokio::time::sleep(REST)).await.is_none() {
                    break Ok(None);
                }
            }
            Err(error) => break Err(open_failure(&error)),
        }
    };
    match (opened, embedded) {
        (Ok(Some(store)), embedded) => Ok(Some(Opened { store, private: embedded.map(look_after) })),
        (failed, embedded) => {
            if let Some(embedded) = embedded
                && let Err(error) = embedded.stop().await
            {
                tracing::error!(%error, "private Postgres not stopped");
            }
            failed.map(|_stopped| None)
        }
    }
}

async fn start(settings: &StoreSettings) -> Result<Embedded, EmbeddedError> {
    let embedded = Embedded::start(Options {
        state_dir: settings.state_dir.clone(),
        socket_dir: settings.runtime_dir.join(SOCKET_DIR),
        bin_dir: std::env::var_os(BIN_DIR).map(Into::into),
    })
    .await?;
    tracing::info!(socket = %embedded.socket_dir().display(), adopted = embedded.adopted(), "private Postgres runs");
    Ok(embedded)
}

/// Starts a private Postgres again when it died: without it nothing changes any more, and nobody else would.
fn look_after(embedded: Embedded) -> Private {
    let stop = CancellationToken::new();
    let told = stop.clone();
    let task = tokio::spawn(async move {
        while told.run_until_cancelled(tokio::time::sleep(PULSE)).await.is_some() {
            match embedded.ensure_running().await {
                Ok(false) => {}
                Ok(true) => tracing::warn!("private Postgres had died and was started again"),
                Err(error) => tracing::error!(%error, "private Postgres cannot be started again"),
            }
        }
        embedded
    });
    Private { stop, task }
}

fn embedded_failure(error: &EmbeddedError) -> Failure {
    Failure::ours("the private Postgres does not start").because(error).maybe_hint(error.hint())
}

fn open_failure(error: &OpenError) -> Failure {
    let failure = Failure::ours("the database cannot be used").because(error);
    match error {
        OpenError::OtherInstance { .. } => {
            failure.hint("give --instance as before, or name another database")
        }
        OpenError::TooNew { .. } => failure.hint("use the newer bowline, or restore a backup from before it"),
        OpenError::ServerTooOld { .. } | OpenError::Migration(_) | OpenError::Db(_) => failure,
    }
}
