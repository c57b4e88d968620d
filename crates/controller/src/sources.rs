//! Where asks come from: Postgres, the Engine's events, and time. Each source is `connect → list all → stream`
//! and begins anew after any error or end; what it says is a hint, never a fact.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bowline_core::object::{GatewayKey, Kind};
use bowline_core::schedule::Trigger;
use bowline_host::{Host, HostHint, Inventory};
use bowline_store::{DbError, Hint, Scope, Store};
use chrono::Utc;
use futures::StreamExt;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::progress::{Part, Progress};
use crate::queue::Queue;

/// Between two cheap listings, which find what events missed.
const CHEAP_LIST: Duration = Duration::from_secs(10);
/// Before a listing that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Between two removals of what has expired in the store.
const HOUSEKEEPING: Duration = Duration::from_secs(60);

/// All sources of one controller.
pub(crate) struct Sources {
    store: Store,
    host: Arc<Host>,
    queue: Arc<Queue<GatewayKey>>,
    progress: Arc<Progress>,
    /// Gateways by uid, as far as they were listed: a hint that names one asks for it alone.
    known: Mutex<HashMap<Uuid, GatewayKey>>,
    /// Asks for a complete listing.
    relist: Notify,
    /// What the host had when it was last listed: every key that this names was asked for since.
    listed: Mutex<Option<Inventory>>,
}

impl Sources {
    pub(crate) fn new(
        store: Store,
        host: Arc<Host>,
        queue: Arc<Queue<GatewayKey>>,
        progress: Arc<Progress>,
    ) -> Self {
        Sources {
            store,
            host,
            queue,
            progress,
            known: Mutex::default(),
            relist: Notify::new(),
            listed: Mutex::default(),
        }
    }

    /// Runs every source until `stop`. `listed` is called after the first complete listing of both sides.
    pub(crate) async fn run(&self, resync: Duration, stop: CancellationToken, listed: impl FnOnce()) {
        let all = async {
            tokio::join!(
                self.store_hints(),
                self.engine_hints(),
                self.file_hints(),
                self.listings(resync, listed),
                self.cheap_lists(),
                self.housekeeping(),
            );
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = all => {}
        }
    }

    /// Postgres: one uid or everything. The listener subscribes before it says `All` (Q25).
    async fn store_hints(&self) {
        let mut listener = self.store.watch(Scope::Desired);
        loop {
            match self.progress.rest(Part::StoreHints, listener.next()).await {
                Hint::All => self.relist.notify_one(),
                Hint::Uid(uid) => {
                    if let Err(error) = self.edited(uid).await {
                        tracing::warn!(%error, "what changed could not be read, listing all");
                        self.relist.notify_one();
                    }
                }
            }
        }
    }

    /// Asks for the gateways that a changed object concerns.
    async fn edited(&self, uid: Uuid) -> Result<(), DbError> {
        match self.store.get_by_uid(uid).await? {
            Some(object) if object.metadata.key.kind != Kind::Gateway => {
                for key in self.store.gateways_using(&object.metadata.key).await? {
                    self.queue.add(key, Trigger::Edited);
                }
            }
            Some(object) => {
                if let Some(namespace) = object.metadata.key.namespace {
                    let key = GatewayKey::new(namespace, object.metadata.key.name);
                    self.known().insert(uid, key.clone());
                    self.queue.add(key, Trigger::Edited);
                }
            }
            None => match self.known().remove(&uid) {
                Some(key) => self.queue.add(key, Trigger::Edited),
                None => self.relist.notify_one(),
            },
        }
        Ok(())
    }

    /// The Engine's events.
    async fn engine_hints(&self) {
        let mut events = std::pin::pin!(self.host.events());
        while let Some(hint) = self.progress.rest(Part::EngineHints, events.next()).await {
            match hint {
                HostHint::All => self.relist.notify_one(),
                HostHint::Key(key) => self.queue.add(key, Trigger::Noticed),
            }
        }
        self.progress.retire(Part::EngineHints);
        tracing::error!("the stream of events ended; listings go on");
    }

    /// Changes of the rendered files.
    async fn file_hints(&self) {
        let mut changes = std::pin::pin!(self.host.file_hints());
        while let Some(hint) = self.progress.rest(Part::FileHints, changes.next()).await {
            match hint {
                HostHint::All => self.relist.notify_one(),
                HostHint::Key(key) => self.queue.add(key, Trigger::Noticed),
            }
        }
        self.progress.retire(Part::FileHints);
        tracing::error!("files are watched no longer; listings go on");
    }

    /// Complete listings: at the start, when a source asks, and every `resync` ± 10 % (Q24).
    async fn listings(&self, resync: Duration, listed: impl FnOnce()) {
        let mut listed = Some(listed);
        loop {
            self.progress.beat(Part::Listings);
            match self.list_all().await {
                Ok(()) => {
                    if let Some(listed) = listed.take() {
                        listed();
                    }
                    let period = resync.mul_f64(0.9 + 0.2 * rand::random::<f64>());
                    let asked = tokio::time::timeout(period, self.relist.notified());
                    // In time or not: it is listed anew.
                    let _why = self.progress.rest(Part::Listings, asked).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "could not list, nothing is concluded from that");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Asks for desired ∪ observed keys. A listing that is not complete asks for nothing.
    async fn list_all(&self) -> Result<(), ListError> {
        let desired = self.store.desired_keys().await?;
        let inventory = self.host.inventory().await?;
        let mut keys: BTreeSet<GatewayKey> = inventory.gateways.keys().cloned().collect();
        *self.known() = desired.iter().map(|(key, uid)| (*uid, key.clone())).collect();
        keys.extend(desired.into_iter().map(|(key, _)| key));
        for key in keys {
            self.queue.add(key, Trigger::Noticed);
        }
        *self.listed() = Some(inventory);
        Ok(())
    }

    /// The cheap list: asks for the keys whose inventory changed since the last listing of any kind.
    async fn cheap_lists(&self) {
        loop {
            self.progress.rest(Part::CheapLists, tokio::time::sleep(CHEAP_LIST)).await;
            let Ok(inventory) = self.host.inventory().await else {
                continue;
            };
            let mut listed = self.listed();
            // Before the first complete listing nothing is known, and that one asks for everything.
            if let Some(listed) = listed.as_mut() {
                for key in inventory.changed(listed) {
                    self.queue.add(key, Trigger::Noticed);
                }
                *listed = inventory;
            }
        }
    }

    async fn housekeeping(&self) {
        loop {
            self.progress.rest(Part::Housekeeping, tokio::time::sleep(HOUSEKEEPING)).await;
            let now = Utc::now();
            let done = async {
                // Each gateway that lost a token is told by the store's own hint.
                self.store.prune_expired_tokens(now).await?;
                self.store.prune(now).await
            };
            if let Err(error) = done.await {
                tracing::warn!(%error, "what has expired could not be removed, trying again later");
            }
        }
    }

    fn listed(&self) -> std::sync::MutexGuard<'_, Option<Inventory>> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, GatewayKey>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, thiserror::Error)]
enum ListError {
    #[error("the desired state could not be listed")]
    Store(#[from] DbError),
    #[error("the host could not be listed")]
    Host(#[from] bowline_host::HostError),
}
