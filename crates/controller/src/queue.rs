//! The thin loop around the pure schedule: a mutex, a notification and a set of tasks.
//!
//! Asking is synchronous and cannot fail (Q6). There is no channel between a run and the queue, so no run can
//! wait for the queue and the queue never for a run.

use std::collections::HashMap;
use std::fmt::Display;
use std::future::Future;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bowline_core::schedule::{KeyState, Limits, Outcome, Schedule, Trigger};
use futures::FutureExt;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::progress::{PULSE, Part, Progress};

/// Longest run of one key; beyond it the run is dropped and counts as failed (Q18).
const RUN_DEADLINE: Duration = Duration::from_secs(300);
/// A run that is still there so long after its deadline keeps the processor to itself: it cannot be dropped.
const OVERDUE: Duration = RUN_DEADLINE.saturating_add(Duration::from_secs(10));
/// How long running keys may finish after a stop (Q22).
const STOP_GRACE: Duration = Duration::from_secs(20);

/// The work queue.
#[derive(Debug)]
pub struct Queue<K> {
    schedule: Mutex<Schedule<K>>,
    changed: Notify,
}

impl<K> Queue<K>
where
    K: Clone + Eq + Hash + Ord + Display + Send + Sync + 'static,
{
    /// An empty queue whose gate is closed.
    pub fn new(limits: Limits) -> Self {
        Queue { schedule: Mutex::new(Schedule::new(limits)), changed: Notify::new() }
    }

    /// Asks for a run of `key`.
    pub fn add(&self, key: K, trigger: Trigger) {
        self.schedule().add(key, trigger, now());
        self.changed.notify_one();
    }

    /// Lets runs start: the first complete listing is done (Q20).
    pub fn open(&self) {
        self.schedule().open();
        self.changed.notify_one();
    }

    /// Every key with an entry, for `/debug/queue` (Q28).
    pub fn keys(&self) -> Vec<KeyState<K>> {
        self.schedule().keys(now())
    }

    /// Runs `reconcile` for one key after another until `stop`, then waits for the running ones (Q22). It gets
    /// further as long as it looks for work and no run is overdue.
    pub async fn run<F, R>(&self, stop: CancellationToken, progress: &Progress, reconcile: F)
    where
        F: Fn(K) -> R,
        R: Future<Output = Outcome> + Send + 'static,
    {
        let mut runs: JoinSet<(K, Outcome)> = JoinSet::new();
        let mut began = HashMap::new();
        loop {
            while let Some(key) = self.next() {
                began.insert(key.clone(), now());
                let span = tracing::info_span!("reconcile", gateway = %key);
                runs.spawn(guarded(key.clone(), reconcile(key)).instrument(span));
            }
            if began.values().all(|began| now().saturating_duration_since(*began) < OVERDUE) {
                progress.beat(Part::Queue);
            }
            let wakeup = self.schedule().next_wakeup();
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.changed.notified() => {}
                Some(done) = runs.join_next() => {
                    if let Ok((key, _)) = &done {
                        began.remove(key);
                    }
                    self.finish(done);
                }
                () = sleep_until(wakeup) => {}
                () = tokio::time::sleep(PULSE) => {}
            }
        }
        self.schedule().close();
        let drain = async {
            while let Some(done) = runs.join_next().await {
                self.finish(done);
            }
        };
        if tokio::time::timeout(STOP_GRACE, drain).await.is_err() {
            tracing::warn!("runs did not end in time and are dropped");
        }
    }

    fn next(&self) -> Option<K> {
        self.schedule().start(now())
    }

    fn finish(&self, done: Result<(K, Outcome), tokio::task::JoinError>) {
        match done {
            Ok((key, outcome)) => {
                self.schedule().finish(&key, outcome, now(), rand::random());
            }
            // `guarded` catches panics, and nobody aborts a run before the set is dropped.
            Err(error) => tracing::error!(%error, "a run was lost"),
        }
    }

    /// The schedule has no code that panics halfway through a change, so a poisoned lock is still whole.
    fn schedule(&self) -> MutexGuard<'_, Schedule<K>> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A run with its deadline, whose panic is a failure of its key only (Q17).
async fn guarded<K, R: Future<Output = Outcome>>(key: K, run: R) -> (K, Outcome) {
    let run = tokio::time::timeout(RUN_DEADLINE, AssertUnwindSafe(run).catch_unwind());
    let outcome = match run.await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => {
            let text = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            tracing::error!(panic = text, "run panicked");
            Outcome::Failed
        }
        Err(_) => {
            tracing::error!(seconds = RUN_DEADLINE.as_secs(), "run exceeded its deadline");
            Outcome::Failed
        }
    };
    (key, outcome)
}

/// Tokio's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn sleep_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
