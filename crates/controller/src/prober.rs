//! Asks gateways how they are, and asks the queue for a run only when the answer changed.
//!
//! One prober for all gateways, outside Docker: an exec of a Docker health check costs about 39 ms of CPU each
//! time, a request over a socket a fraction of one. The last answer is kept in memory; a run takes it from here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bowline_core::gateway_file::{GatewayState, ServerPhase};
use bowline_core::object::GatewayKey;
use bowline_core::observed::Probe;
use bowline_core::report::MISSES;
use bowline_core::schedule::Trigger;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::progress::{PULSE, Part, Progress};
use crate::queue::Queue;
use crate::world::World;

/// Between two probes of a gateway that is as it should be.
const CALM: Duration = Duration::from_secs(15);
/// Between two probes of a gateway that has just been changed.
const EAGER: Duration = Duration::from_millis(250);
/// Between two probes of a gateway that is not well for longer.
const PATIENT: Duration = Duration::from_secs(2);
/// How long a gateway that is not well is probed eagerly.
const EAGER_FOR: Duration = Duration::from_secs(30);
/// Probes at once.
const CONCURRENCY: usize = 16;

/// One answer of a gateway.
#[derive(Debug, Clone, Default)]
pub struct ProbeAnswer {
    /// Whether `/health` answered 200 through the published address.
    pub healthy: bool,
    /// The state that the control socket told.
    pub state: Option<GatewayState>,
}

/// What a gateway should tell when it is up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) key: GatewayKey,
    pub(crate) port: u16,
    pub(crate) config_revision: String,
    pub(crate) tokens_revision: i64,
}

#[derive(Debug)]
struct Watched {
    target: Target,
    last: Option<Probe>,
    next: Instant,
    eager_until: Instant,
    /// Bumped by a reset, so that an answer that was under way then is dropped.
    round: u64,
    probing: bool,
}

/// The prober's memory and its loop.
#[derive(Debug, Default)]
pub struct Prober {
    watched: Mutex<HashMap<Uuid, Watched>>,
    changed: Notify,
    /// Source of rounds: never the same twice, also for a gateway that was forgotten and is watched again.
    rounds: AtomicU64,
}

impl Prober {
    /// Watches a gateway, or takes its new target. A new target is probed at once.
    pub(crate) fn watch(&self, uid: Uuid, target: Target) {
        let now = Instant::now();
        let mut watched = self.lock();
        match watched.get_mut(&uid) {
            Some(known) if known.target == target => return,
            Some(known) => {
                known.target = target;
                known.next = now;
                known.eager_until = now + EAGER_FOR;
            }
            None => {
                let eager_until = now + EAGER_FOR;
                watched.insert(
                    uid,
                    Watched {
                        target,
                        last: None,
                        next: now,
                        eager_until,
                        round: self.round(),
                        probing: false,
                    },
                );
            }
        }
        drop(watched);
        self.changed.notify_one();
    }

    /// Forgets what a gateway said: its container was made or started anew.
    pub(crate) fn reset(&self, uid: Uuid) {
        let now = Instant::now();
        if let Some(known) = self.lock().get_mut(&uid) {
            known.last = None;
            known.round = self.round();
            known.next = now;
            known.eager_until = now + EAGER_FOR;
        }
        self.changed.notify_one();
    }

    /// Forgets that a server of a gateway ran: its container was made or started anew, and what was told of the one
    /// before must not pass for it.
    pub(crate) fn restarted(&self, uid: Uuid, server: &str) {
        let now = Instant::now();
        if let Some(known) = self.lock().get_mut(&uid) {
            let state = known.last.as_mut().and_then(|probe| probe.state.as_mut());
            let told = state.and_then(|state| state.servers.iter_mut().find(|told| told.name == server));
            if let Some(told) = told {
                told.phase = ServerPhase::Starting;
            }
            known.round = self.round();
            known.next = now;
            known.eager_until = now + EAGER_FOR;
        }
        self.changed.notify_one();
    }

    /// Probes a gateway now and eagerly for a while: something that it tells is about to change.
    pub(crate) fn hurry(&self, uid: Uuid) {
        let now = Instant::now();
        if let Some(known) = self.lock().get_mut(&uid) {
            known.next = now;
            known.eager_until = now + EAGER_FOR;
        }
        self.changed.notify_one();
    }

    /// Watches a gateway no longer.
    pub(crate) fn forget(&self, uid: Uuid) {
        self.lock().remove(&uid);
    }

    /// Whether the gateway is watched, answered or not.
    pub(crate) fn knows(&self, uid: Uuid) -> bool {
        self.lock().contains_key(&uid)
    }

    /// The last answer.
    pub(crate) fn last(&self, uid: Uuid) -> Option<Probe> {
        self.lock().get(&uid).and_then(|known| known.last.clone())
    }

    /// Probes until `stop`.
    pub(crate) async fn run<W: World>(
        &self,
        world: Arc<W>,
        queue: Arc<Queue<GatewayKey>>,
        progress: Arc<Progress>,
        stop: CancellationToken,
    ) {
        let mut probes = FuturesUnordered::new();
        loop {
            progress.beat(Part::Prober);
            let (due, wakeup) = self.due(CONCURRENCY.saturating_sub(probes.len()));
            for (uid, port, round) in due {
                let world = Arc::clone(&world);
                probes.push(async move { (uid, round, world.probe(uid, port).await) });
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.changed.notified() => {}
                Some((uid, round, answer)) = probes.next(), if !probes.is_empty() => {
                    if let Some(key) = self.take(uid, round, answer) {
                        queue.add(key, Trigger::Noticed);
                    }
                }
                () = tokio::time::sleep_until(wakeup.into()) => {}
                () = tokio::time::sleep(PULSE) => {}
            }
        }
    }

    /// Probes what is due now, and returns: for a caller that decides itself when its gateways are asked.
    pub async fn probe_due<W: World>(&self, world: &W) {
        let (due, _) = self.due(usize::MAX);
        for (uid, port, round) in due {
            let answer = world.probe(uid, port).await;
            self.take(uid, round, answer);
        }
    }

    /// Up to `most` gateways to probe now, and when the next one is due.
    fn due(&self, most: usize) -> (Vec<(Uuid, u16, u64)>, Instant) {
        let now = Instant::now();
        let mut watched = self.lock();
        let mut due = Vec::new();
        for (uid, known) in watched.iter_mut() {
            if due.len() < most && !known.probing && known.next <= now {
                known.probing = true;
                due.push((*uid, known.target.port, known.round));
            }
        }
        let waiting = watched.values().filter(|known| !known.probing).map(|known| known.next);
        // With all places taken an answer comes first; it wakes the loop.
        let wakeup = if due.len() == most { None } else { waiting.min() };
        (due, wakeup.unwrap_or(now + CALM))
    }

    /// Keeps an answer. Returns the key when it says something new.
    fn take(&self, uid: Uuid, round: u64, answer: ProbeAnswer) -> Option<GatewayKey> {
        let now = Instant::now();
        let mut watched = self.lock();
        let known = watched.get_mut(&uid)?;
        known.probing = false;
        if known.round != round {
            known.next = now;
            return None;
        }
        let before = known.last.take();
        let misses = match (&before, answer.healthy) {
            (_, true) => 0,
            // Beyond the limit nothing is decided by the number, and a status must come to rest.
            (Some(before), false) => (before.misses + 1).min(MISSES),
            (None, false) => 1,
        };
        // A control socket that is silent once is not yet news about the servers.
        let state = answer
            .state
            .or_else(|| before.as_ref().filter(|_| misses < MISSES).and_then(|before| before.state.clone()));
        let probe = Probe { healthy: answer.healthy, misses, state };
        let changed = before.as_ref() != Some(&probe);
        let pause = if is_calm(&known.target, &probe) {
            CALM
        } else if now < known.eager_until {
            EAGER
        } else {
            PATIENT
        };
        known.last = Some(probe);
        known.next = now + pause;
        changed.then(|| known.target.key.clone())
    }

    fn round(&self) -> u64 {
        self.rounds.fetch_add(1, Ordering::Relaxed)
    }

    /// Entries are whole after every statement, so a poisoned lock can be used.
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether nothing about the gateway is expected to change by itself.
fn is_calm(target: &Target, probe: &Probe) -> bool {
    probe.healthy
        && probe.state.as_ref().is_some_and(|state| {
            state.config_revision == target.config_revision
                && state.tokens_revision == target.tokens_revision
                && state.servers.iter().all(|server| server.phase == ServerPhase::Running)
        })
}

#[cfg(test)]
mod tests {
    use bowline_core::gateway_file::ServerReport;

    use super::*;

    fn target() -> Target {
        Target {
            key: GatewayKey::new("u1", "default"),
            port: 20000,
            config_revision: "c".to_owned(),
            tokens_revision: 1,
        }
    }

    fn probe(prober: &Prober, healthy: bool) -> bool {
        let (due, _) = prober.due(1);
        let round = due.first().map_or(0, |(_, _, round)| *round);
        prober.take(Uuid::nil(), round, ProbeAnswer { healthy, state: None }).is_some()
    }

    #[test]
    fn the_queue_is_asked_only_when_the_answer_changed() {
        let prober = Prober::default();
        prober.watch(Uuid::nil(), target());
        assert!(probe(&prober, true), "the first answer is news");
        assert!(!probe(&prober, true));
        assert_eq!([1, 2, 3, 4].map(|_| probe(&prober, false)), [true, true, true, false]);
        assert!(probe(&prober, true));
    }

    #[test]
    fn an_answer_from_before_a_reset_is_dropped() {
        let prober = Prober::default();
        prober.watch(Uuid::nil(), target());
        let (due, _) = prober.due(1);
        prober.reset(Uuid::nil());
        assert!(prober.take(due[0].0, due[0].2, ProbeAnswer { healthy: true, state: None }).is_none());
        assert_eq!(prober.last(Uuid::nil()), None);
        assert!(probe(&prober, true), "it is asked again at once");
    }

    #[test]
    fn what_was_told_of_a_server_before_its_restart_does_not_pass_for_it() {
        let prober = Prober::default();
        prober.watch(Uuid::nil(), target());
        let report = ServerReport {
            name: "time".to_owned(),
            phase: ServerPhase::Running,
            tools: 2,
            tools_digest: None,
            server_info: None,
            restarts: 0,
            last_error: None,
        };
        let state = GatewayState {
            version: "1".to_owned(),
            config_revision: "c".to_owned(),
            tokens_revision: 1,
            servers: vec![report],
        };
        let answer = || ProbeAnswer { healthy: true, state: Some(state.clone()) };
        let (due, _) = prober.due(1);
        prober.take(due[0].0, due[0].2, answer());
        prober.hurry(Uuid::nil());
        let (under_way, _) = prober.due(1);
        prober.restarted(Uuid::nil(), "time");
        let phase = || prober.last(Uuid::nil()).unwrap().state.unwrap().servers[0].phase;
        assert_eq!(phase(), ServerPhase::Starting);
        assert!(prober.take(under_way[0].0, under_way[0].2, answer()).is_none(), "it was asked before");
        assert_eq!(phase(), ServerPhase::Starting);
        let (due, _) = prober.due(1);
        assert!(prober.take(due[0].0, due[0].2, answer()).is_some());
        assert_eq!(phase(), ServerPhase::Running);
    }

    #[test]
    fn a_gateway_that_is_not_well_is_asked_sooner_than_one_that_is() {
        let prober = Prober::default();
        prober.watch(Uuid::nil(), target());
        let pause = |state: Option<GatewayState>| {
            let (due, _) = prober.due(1);
            prober.take(due[0].0, due[0].2, ProbeAnswer { healthy: true, state });
            let next = prober.lock()[&Uuid::nil()].next;
            prober.lock().get_mut(&Uuid::nil()).unwrap().next = Instant::now();
            next - Instant::now()
        };
        let state = GatewayState {
            version: "1".to_owned(),
            config_revision: "c".to_owned(),
            tokens_revision: 1,
            servers: Vec::new(),
        };
        let stale = GatewayState { tokens_revision: 0, ..state.clone() };
        assert!(pause(None) <= EAGER);
        assert!(pause(Some(stale)) <= EAGER);
        assert!(pause(Some(state)) > PATIENT);
    }
}
