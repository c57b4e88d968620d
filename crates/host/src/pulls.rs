//! Images that are being pulled, in the background: a registry that never answers holds up nobody but the gateways
//! that want something from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::query_parameters::CreateImageOptionsBuilder;
use bowline_core::object::GatewayKey;
use bowline_core::observed::ImageState;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use tokio::sync::{Semaphore, broadcast};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::engine::Engine;
use crate::error::CallError;

/// A pull that takes longer is given up.
const WHOLE: Duration = Duration::from_secs(15 * 60);
/// So is one that makes no progress for this long: the Engine itself waits for ever for a registry.
const STALL: Duration = Duration::from_secs(120);
/// Pulls from one registry at a time; the others are not concerned.
const PER_REGISTRY: usize = 2;
/// Ends of pulls that a slow listener may leave unread before it is told that it missed some.
const ENDS: usize = 256;

/// All pulls of one Host. Ends them when it is dropped.
#[derive(Debug)]
pub(crate) struct Pulls {
    shared: Arc<Shared>,
    stop: DropGuard,
}

#[derive(Debug)]
struct Shared {
    engine: Engine,
    pulls: Mutex<BTreeMap<String, Pull>>,
    registries: Mutex<BTreeMap<String, Arc<Semaphore>>>,
    ended: broadcast::Sender<GatewayKey>,
}

#[derive(Debug)]
struct Pull {
    state: State,
    /// Who wants to know when it ends.
    waiting: BTreeSet<GatewayKey>,
    failures: u32,
}

#[derive(Debug)]
enum State {
    Pulling { since: DateTime<Utc> },
    Failed { message: String, at: DateTime<Utc> },
}

impl Pulls {
    pub(crate) fn new(engine: Engine) -> Self {
        let (ended, _) = broadcast::channel(ENDS);
        let shared = Shared { engine, pulls: Mutex::default(), registries: Mutex::default(), ended };
        Pulls { shared: Arc::new(shared), stop: CancellationToken::new().drop_guard() }
    }

    /// Begins to pull `reference` for `key`; a pull that is under way is joined.
    pub(crate) fn begin(&self, reference: &str, key: &GatewayKey) {
        {
            let mut pulls = self.shared.pulls();
            let pull = pulls.entry(reference.to_owned()).or_insert_with(|| Pull {
                state: State::Failed { message: String::new(), at: DateTime::UNIX_EPOCH },
                waiting: BTreeSet::new(),
                failures: 0,
            });
            pull.waiting.insert(key.clone());
            if matches!(pull.state, State::Pulling { .. }) {
                return;
            }
            pull.state = State::Pulling { since: Utc::now() };
        }
        let (shared, reference) = (Arc::clone(&self.shared), reference.to_owned());
        let stopped = self.stop.token().clone();
        tokio::spawn(async move {
            let result = tokio::select! {
                () = stopped.cancelled() => return,
                result = shared.pull(&reference) => result,
            };
            shared.end(&reference, result);
        });
    }

    /// What is being done about an image that is not there; `key` will be told when that ends.
    pub(crate) fn state(&self, reference: &str, key: &GatewayKey) -> ImageState {
        let mut pulls = self.shared.pulls();
        let Some(Pull { state, waiting, failures }) = pulls.get_mut(reference) else {
            return ImageState::Absent;
        };
        match state {
            State::Pulling { since } => {
                waiting.insert(key.clone());
                ImageState::Pulling { since: *since }
            }
            State::Failed { message, at } => {
                ImageState::Failed { message: message.clone(), at: *at, failures: *failures }
            }
        }
    }

    /// Tells the gateways that waited for a pull, when it ends.
    pub(crate) fn ended(&self) -> broadcast::Receiver<GatewayKey> {
        self.shared.ended.subscribe()
    }
}

impl Shared {
    fn pulls(&self) -> MutexGuard<'_, BTreeMap<String, Pull>> {
        self.pulls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pull(&self, reference: &str) -> Result<(), String> {
        let turn = {
            let mut registries = self.registries.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = registries.entry(registry(reference).to_owned());
            Arc::clone(turn.or_insert_with(|| Arc::new(Semaphore::new(PER_REGISTRY))))
        };
        let _turn = turn.acquire_owned().await.map_err(|error| error.to_string())?;
        tracing::info!(reference, "pulling image");
        tokio::time::timeout(WHOLE, self.transfer(reference))
            .await
            .unwrap_or_else(|_| Err(format!("the pull took longer than {} min", WHOLE.as_secs() / 60)))
    }

    async fn transfer(&self, reference: &str) -> Result<(), String> {
        let options = CreateImageOptionsBuilder::new().from_image(&with_tag(reference)).build();
        // An error in the middle of the stream comes as an item, after a status of 200. Dropping the stream ends
        // the pull in the Engine, too.
        // Its end says nothing of the image: what has been pulled is looked for.
        let mut progress = std::pin::pin!(self.engine.docker.create_image(Some(options), None, None));
        loop {
            match tokio::time::timeout(STALL, progress.next()).await {
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(error))) => return Err(CallError::from(error).to_string()),
                Ok(None) => break,
                Err(_) => return Err(format!("no progress for {} s", STALL.as_secs())),
            }
        }
        match self.engine.image(reference).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err("the pull ended well and the image is not there".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn end(&self, reference: &str, result: Result<(), String>) {
        let mut pulls = self.pulls();
        let Some(pull) = pulls.get_mut(reference) else {
            return;
        };
        let waiting = std::mem::take(&mut pull.waiting);
        match result {
            Ok(()) => {
                tracing::info!(reference, "image pulled");
                pulls.remove(reference);
            }
            Err(message) => {
                pull.failures += 1;
                tracing::warn!(reference, message, failures = pull.failures, "image not pulled");
                pull.state = State::Failed { message, at: Utc::now() };
            }
        }
        drop(pulls);
        for key in waiting {
            // Without a listener nobody needs to be told.
            let _ = self.ended.send(key);
        }
    }
}

/// A name without tag or digest means `latest`; the Engine would pull every tag there is.
fn with_tag(reference: &str) -> String {
    let last = reference.rsplit('/').next().unwrap_or(reference);
    if last.contains([':', '@']) { reference.to_owned() } else { format!("{reference}:latest") }
}

/// The registry of a reference, as the Engine reads it.
fn registry(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "docker.io",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_pulled_by_exactly_one_tag_or_digest() {
        for (given, pulled) in [
            ("time", "time:latest"),
            ("localhost:5000/mcp/time", "localhost:5000/mcp/time:latest"),
            ("localhost:5000/mcp/time:1", "localhost:5000/mcp/time:1"),
            ("mcp/time@sha256:00", "mcp/time@sha256:00"),
        ] {
            assert_eq!(with_tag(given), pulled);
        }
    }

    #[test]
    fn the_registry_is_the_first_part_when_it_looks_like_a_host() {
        for (reference, expected) in [
            ("mcp/time", "docker.io"),
            ("time:1.2", "docker.io"),
            ("ghcr.io/a/b", "ghcr.io"),
            ("localhost/a", "localhost"),
            ("127.0.0.1:5000/a", "127.0.0.1:5000"),
        ] {
            assert_eq!(registry(reference), expected);
        }
    }
}
