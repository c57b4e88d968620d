//! The volumes of this host: the store's list of them is kept true, and those that are to go are removed.
//!
//! Level-triggered as the rest: what is to go stands in the database, and goes whenever nobody uses it, by a hint of
//! the store or by time. A removal that a crash cut off is found again.

use std::sync::Arc;
use std::time::Duration;

use bowline_core::causes::with_causes;
use bowline_host::{Host, HostError};
use bowline_store::{DbError, DueRemoval, Hint, Scope, Store};
use chrono::Utc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Between two complete lists without a reason.
const LIST: Duration = Duration::from_secs(600);
/// Before what went wrong is tried again.
const RETRY: Duration = Duration::from_secs(30);

/// Looks after the volumes of one host.
pub(crate) struct Volumes {
    pub(crate) store: Store,
    pub(crate) host: Arc<Host>,
    /// The host's row in the store.
    pub(crate) row: Uuid,
}

/// Why the volumes were not all looked after.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the store's list of volumes could not be used")]
    Store(#[from] DbError),
    #[error("the volumes of the host could not be listed")]
    Host(#[from] HostError),
}

impl Volumes {
    /// Looks after the volumes until `stop`.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        let mut hints = self.store.watch(Scope::Volumes);
        let mut wait = LIST;
        loop {
            let hint = tokio::select! {
                () = stop.cancelled() => return,
                hint = hints.next() => Some(hint),
                () = tokio::time::sleep(wait) => None,
            };
            let looked_after = async {
                // A hint of one tenant speaks of removals; anything else may mean anything.
                if !matches!(hint, Some(Hint::Uid(_))) {
                    self.list().await?;
                }
                self.remove_due().await
            };
            let done = tokio::select! {
                () = stop.cancelled() => return,
                done = looked_after => done,
            };
            wait = match done {
                Ok(true) => LIST,
                Ok(false) => RETRY,
                Err(error) => {
                    tracing::warn!(error = %with_causes(&error), "volumes not looked after, trying again later");
                    RETRY
                }
            };
        }
    }

    /// Enters what is there and forgets what is gone: volumes may be made or removed behind our back.
    async fn list(&self) -> Result<(), Trouble> {
        let begun = Utc::now();
        let volumes = self.host.volumes(None).await?;
        self.store.record_volumes(self.row, &volumes).await?;
        self.store.forget_volumes(self.row, &volumes, begun).await?;
        Ok(())
    }

    /// Removes what is to go and what nobody uses. Says whether nothing was left.
    async fn remove_due(&self) -> Result<bool, Trouble> {
        let mut all = true;
        for removal in self.store.due_volume_removals(self.row).await? {
            all &= self.remove(&removal).await?;
        }
        Ok(all)
    }

    async fn remove(&self, removal: &DueRemoval) -> Result<bool, Trouble> {
        let DueRemoval { tenant, namespace, key } = removal;
        let there = self.host.volumes(Some(namespace)).await?;
        let of_it = |identity: &bowline_core::volume::VolumeIdentity| {
            identity.tenant == *tenant && identity.key == *key
        };
        for volume in there.iter().filter(|volume| of_it(&volume.identity)) {
            if let Err(error) = self.host.remove_volume(volume).await {
                let problem = with_causes(&error);
                tracing::warn!(
                    volume = volume.name,
                    error = problem,
                    "volume not removed, trying again later"
                );
                self.store.volume_not_removed(self.row, removal, &problem).await?;
                return Ok(false);
            }
            tracing::info!(volume = volume.name, namespace, %key, "volume removed");
        }
        self.store.volume_removed(self.row, removal).await?;
        Ok(true)
    }
}
