//! One listener on the database for all watches.
//!
//! A hint carries no fact: it only says "look again", so that a watch that missed ten of them has missed nothing.

use bowline_store::{Scope, Store};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Handle by which a watch hears that something may have changed.
#[derive(Debug, Clone)]
pub(crate) struct Hub {
    hints: watch::Receiver<()>,
}

impl Hub {
    /// Starts listening until `stop`.
    pub(crate) fn start(store: &Store, tasks: &TaskTracker, stop: CancellationToken) -> Self {
        let (sender, hints) = watch::channel(());
        let mut listener = store.watch(Scope::Everything);
        tasks.spawn(async move {
            while stop.run_until_cancelled(listener.next()).await.is_some() {
                sender.send_replace(());
            }
        });
        Hub { hints }
    }

    /// A receiver that sees every hint from now on.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        let mut hints = self.hints.clone();
        hints.mark_unchanged();
        hints
    }
}
