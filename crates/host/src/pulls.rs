//! Images that are being pulled, in the background: a registry that never answers holds up nobody but the gateways
//! that want something from it.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::query_parameters::CreateImageOptionsBuilder;
use bowline_core::object::GatewayKey;
use bowline_core::observed::ImageState;
use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::engine::Engine;
use crate::error::CallError;

/// A pull that takes longer is given up.
const WHOLE: Duration = Duration::from_secs(15 * 60);
/// So is one that makes no progress for this long: the Engine itself waits for ever for a registry.
const STALL: Duration = Duration::from_secs(120);
/// One that makes no progress for this long goes on, and another of its registry may begin meanwhile: two names
/// that nobody serves must not hold up the others.
const QUIET: Duration = Duration::from_secs(10);
/// Pulls from one registry at a time, as long as they make progress; other registries are not concerned.
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
    /// Who wants to know when it ends, or when the image appears in another way.
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

    /// What is being done about an image that is not there; `key` will be told when that ends, or when the image
    /// appears.
    pub(crate) fn state(&self, reference: &str, key: &GatewayKey) -> ImageState {
        let mut pulls = self.shared.pulls();
        let Some(Pull { state, waiting, failures }) = pulls.get_mut(reference) else {
            return ImageState::Absent;
        };
        waiting.insert(key.clone());
        match state {
            State::Pulling { since } => ImageState::Pulling { since: *since },
            State::Failed { message, at } => {
                ImageState::Failed { message: message.clone(), at: *at, failures: *failures }
            }
        }
    }

    /// Forgets how often these could not be pulled: the next look says that they may be tried at once. One that is
    /// under way goes on.
    pub(crate) fn forget_failures(&self, references: &BTreeSet<String>) {
        forget_failures(&mut self.shared.pulls(), references);
    }

    /// A way to tell that some image was built, loaded or tagged.
    pub(crate) fn arrivals(&self) -> Arrivals {
        Arrivals(Arc::clone(&self.shared))
    }

    /// Tells the gateways that waited for a pull, when it ends or is no longer needed.
    pub(crate) fn ended(&self) -> broadcast::Receiver<GatewayKey> {
        self.shared.ended.subscribe()
    }
}

/// Takes note of images that came to the Engine by somebody else's doing.
#[derive(Debug)]
pub(crate) struct Arrivals(Arc<Shared>);

impl Arrivals {
    /// Looks for the images that gateways wait for, forgets the failures of those that are there now, and tells
    /// who waited. By looking and not by the event's word, because `load` names no reference. Costs nothing while
    /// nobody waits.
    pub(crate) async fn look(&self) {
        let wanted: Vec<String> = {
            let pulls = self.0.pulls();
            pulls.iter().filter(|(_, pull)| !pull.waiting.is_empty()).map(|(name, _)| name.clone()).collect()
        };
        for reference in wanted {
            // An Engine that cannot answer ends the events, too, and then everything is looked at.
            if matches!(self.0.engine.image(&reference).await, Ok(Some(_))) {
                self.0.arrived(&reference);
            }
        }
    }
}

impl Shared {
    fn arrived(&self, reference: &str) {
        let mut pulls = self.pulls();
        let Some(pull) = pulls.get_mut(reference) else { return };
        let waiting = std::mem::take(&mut pull.waiting);
        // One that is under way ends by itself.
        if matches!(pull.state, State::Failed { .. }) {
            tracing::info!(reference, "image that could not be pulled has appeared");
            pulls.remove(reference);
        }
        drop(pulls);
        self.tell(waiting);
    }

    fn tell(&self, waiting: BTreeSet<GatewayKey>) {
        for key in waiting {
            // Without a listener nobody needs to be told.
            let _ = self.ended.send(key);
        }
    }

    fn pulls(&self) -> MutexGuard<'_, BTreeMap<String, Pull>> {
        self.pulls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pull(&self, reference: &str) -> Result<(), String> {
        let turn = {
            let mut registries = self.registries.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = registries.entry(registry(reference).to_owned());
            Arc::clone(turn.or_insert_with(|| Arc::new(Semaphore::new(PER_REGISTRY))))
        };
        let turn = turn.acquire_owned().await.map_err(|error| error.to_string())?;
        tracing::info!(reference, "pulling image");
        tokio::time::timeout(WHOLE, self.transfer(reference, turn))
            .await
            .unwrap_or_else(|_| Err(format!("the pull took longer than {} min", WHOLE.as_secs() / 60)))
    }

    async fn transfer(&self, reference: &str, turn: OwnedSemaphorePermit) -> Result<(), String> {
        let options = CreateImageOptionsBuilder::new().from_image(&with_tag(reference)).build();
        // Dropping the stream ends the pull in the Engine, too.
        follow(self.engine.docker.create_image(Some(options), None, None), turn).await?;
        // Its end says nothing of the image: what has been pulled is looked for.
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
        self.tell(waiting);
    }
}

/// Whoever waits goes on waiting, and what the last try said stays true until the next one.
fn forget_failures(pulls: &mut BTreeMap<String, Pull>, references: &BTreeSet<String>) {
    for (_, pull) in pulls.iter_mut().filter(|(reference, _)| references.contains(*reference)) {
        if let State::Failed { at, .. } = &mut pull.state {
            *at = DateTime::UNIX_EPOCH;
            pull.failures = 0;
        }
    }
}

/// Follows a pull to its end, and gives its turn back when it makes no progress.
async fn follow<T>(
    progress: impl Stream<Item = Result<T, bollard::errors::Error>>,
    turn: OwnedSemaphorePermit,
) -> Result<(), String> {
    let mut progress = pin!(progress);
    let mut turn = Some(turn);
    loop {
        let item = match tokio::time::timeout(QUIET, progress.next()).await {
            Ok(item) => item,
            Err(_) => {
                turn = None;
                tokio::time::timeout(STALL - QUIET, progress.next())
                    .await
                    .map_err(|_| format!("no progress for {} s", STALL.as_secs()))?
            }
        };
        match item {
            Some(Ok(_)) => {}
            // An error in the middle of the stream comes as an item, after a status of 200.
            Some(Err(error)) => return Err(CallError::from(error).to_string()),
            None => break,
        }
    }
    drop(turn);
    Ok(())
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
    use futures::stream;

    use super::*;

    #[test]
    fn a_failure_that_is_forgotten_is_old_and_the_first_and_no_pull_under_way_is_touched() {
        let (key, now) = (GatewayKey::new("u1", "default"), Utc::now());
        let pull = |state| Pull { state, waiting: BTreeSet::from([key.clone()]), failures: 6 };
        let failed = || State::Failed { message: "no".to_owned(), at: now };
        let mut pulls = BTreeMap::from([
            ("a".to_owned(), pull(failed())),
            ("b".to_owned(), pull(failed())),
            ("c".to_owned(), pull(State::Pulling { since: now })),
        ]);
        forget_failures(&mut pulls, &["a", "c", "d"].map(str::to_owned).into());
        assert!(matches!(&pulls["a"].state, State::Failed { message, at } if message == "no" && *at < now));
        assert_eq!((pulls["a"].failures, pulls["a"].waiting.len(), pulls.len()), (0, 1, 3));
        assert!(matches!(pulls["b"].state, State::Failed { at, .. } if at == now));
        assert!(matches!(pulls["c"].state, State::Pulling { .. }));
        assert_eq!((pulls["b"].failures, pulls["c"].failures), (6, 6));
    }

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

    #[tokio::test(start_paused = true)]
    async fn a_pull_without_progress_gives_its_turn_back_long_before_it_is_given_up() {
        let turns = Arc::new(Semaphore::new(1));
        let turn = || Arc::clone(&turns).acquire_owned();
        let began = tokio::time::Instant::now();
        let hung = stream::iter([Ok(())]).chain(stream::pending());
        let hanging = tokio::spawn(follow(hung, turn().await.unwrap()));
        drop(turn().await.unwrap());
        assert_eq!(began.elapsed().as_secs(), QUIET.as_secs());
        let given_up = hanging.await.unwrap().unwrap_err();
        assert_eq!(
            (given_up.as_str(), began.elapsed().as_secs()),
            ("no progress for 120 s", STALL.as_secs())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_pull_that_makes_progress_keeps_its_turn_to_the_end() {
        let turns = Arc::new(Semaphore::new(1));
        let turn = || Arc::clone(&turns).acquire_owned();
        let began = tokio::time::Instant::now();
        let slow = stream::iter(0..5).then(|_| async {
            tokio::time::sleep(QUIET - Duration::from_secs(1)).await;
            Ok(())
        });
        let pulling = tokio::spawn(follow(slow, turn().await.unwrap()));
        drop(turn().await.unwrap());
        assert_eq!(began.elapsed().as_secs(), 5 * (QUIET.as_secs() - 1));
        pulling.await.unwrap().unwrap();
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
