//! The controller's life: wire the parts, run until told to stop, stop in order.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bowline_core::desired;
use bowline_core::schedule::Limits;
use bowline_host::Host;
use bowline_store::{DbError, Keyring, Store};
use tokio_util::sync::CancellationToken;

use crate::prober::Prober;
use crate::progress::Progress;
use crate::queue::Queue;
use crate::reconcile::Reconciler;
use crate::socket;
use crate::sources::Sources;
use crate::volumes::Volumes;

/// What the controller is started with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What goes into the things that are made.
    pub desired: desired::Settings,
    /// Most gateways that are reconciled at once.
    pub concurrency: usize,
    /// Between two complete listings without a reason (± 10 %).
    pub resync: Duration,
    /// Path of the controller's own socket, for logs and the queue's state.
    pub socket: PathBuf,
    /// The keys that open the values of Secrets.
    pub keyring: Keyring,
    /// What the controller tells of its parts while it runs.
    pub progress: Arc<Progress>,
}

/// Why the controller could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The host's row could not be made.
    #[error("this host could not be registered")]
    Register(#[from] DbError),
    /// The controller's socket could not be made.
    #[error("the controller's socket {path} could not be made")]
    Socket {
        /// Where.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Runs the loop until `stop`. `listed` is called once, after the first complete listing of desired and observed
/// state: from then on the controller acts.
///
/// Order of stopping: sources, queue (running keys finish within their grace), prober.
///
/// # Errors
/// When it cannot start; once it runs it only ends by `stop`.
pub async fn run(
    settings: Settings,
    store: Store,
    host: Arc<Host>,
    stop: CancellationToken,
    listed: impl FnOnce(),
) -> Result<(), RunError> {
    let row = store.register_host(&settings.desired.host).await?;
    let limits = Limits { concurrency: settings.concurrency, ..Limits::default() };
    let queue = Arc::new(Queue::new(limits));
    let prober = Arc::new(Prober::default());
    let listener = socket::bind(&settings.socket)
        .map_err(|source| RunError::Socket { path: settings.socket.display().to_string(), source })?;

    let progress = settings.progress;
    let prober_stop = CancellationToken::new();
    let probing = tokio::spawn({
        let (prober, host, queue) = (Arc::clone(&prober), Arc::clone(&host), Arc::clone(&queue));
        let (progress, stop) = (Arc::clone(&progress), prober_stop.clone());
        async move { prober.run(host, queue, progress, stop).await }
    });
    let answering =
        tokio::spawn(socket::serve(listener, Arc::clone(&host), Arc::clone(&queue), prober_stop.clone()));

    let volumes = Volumes { store: store.clone(), host: Arc::clone(&host), row: row.id };
    let keeping = tokio::spawn({
        let stop = prober_stop.clone();
        async move { volumes.run(stop).await }
    });

    let sources = Sources::new(store.clone(), Arc::clone(&host), Arc::clone(&queue), Arc::clone(&progress));
    let reconciler =
        Arc::new(Reconciler::new(store, settings.keyring, host, prober, settings.desired, row.id));
    let open = || {
        queue.open();
        listed();
    };
    tokio::join!(
        sources.run(settings.resync, stop.clone(), open),
        queue.run(stop, &progress, |key| {
            let reconciler = Arc::clone(&reconciler);
            async move { reconciler.run(&key).await }
        }),
    );
    prober_stop.cancel();
    for task in [probing, answering, keeping] {
        if let Err(error) = task.await {
            tracing::error!(%error, "a task of the controller was lost");
        }
    }
    progress.clear();
    Ok(())
}
