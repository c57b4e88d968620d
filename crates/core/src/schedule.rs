//! The work queue's decisions as a pure data structure: time comes in, "start this key" or "wake me then"
//! comes out. The thin loop that runs it is `bowline-controller`'s queue. The rules are numbered as in
//! `specs/work-queue.md`.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Why a key is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// Desired state changed: clears back-off (Q14).
    Edited,
    /// The world moved, or a resync: waits for back-off to end (Q14).
    Noticed,
    /// Somebody asks for it: as what is noticed, and once it is due it goes before what nobody asks for (Q29).
    Wanted,
}

/// What a finished run asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing more to do until somebody asks.
    Settled,
    /// Run again after this time, counted from the end of the run.
    Again(Duration),
    /// The run failed: run again after the back-off.
    Failed,
}

impl Outcome {
    /// The same, but no later than after this time.
    #[must_use]
    pub fn within(self, time: Duration) -> Self {
        match self {
            Outcome::Settled => Outcome::Again(time),
            Outcome::Again(after) => Outcome::Again(after.min(time)),
            Outcome::Failed => Outcome::Failed,
        }
    }
}

/// Times of a schedule.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Back-off after the first failure.
    pub first_backoff: Duration,
    /// Longest back-off.
    pub max_backoff: Duration,
    /// Longest wait that a run may ask for with [`Outcome::Again`].
    pub max_again: Duration,
    /// Most keys that run at once.
    pub concurrency: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            first_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(300),
            max_again: Duration::from_secs(3600),
            concurrency: 8,
        }
    }
}

/// What is known of one key. A key that needs nothing has no entry (Q27).
#[derive(Debug, Default)]
struct Entry {
    /// When the key may run next, if it is waiting.
    due: Option<Instant>,
    /// Back-off: not before this instant, unless edited.
    floor: Option<Instant>,
    /// Failures in a row.
    failures: u32,
    /// Whether a run is under way.
    running: bool,
    /// What was asked for during the run.
    asked_meanwhile: Option<Trigger>,
    /// Whether somebody has asked for it since its last start.
    wanted: bool,
}

/// One key as shown by `/debug/queue`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyState<K> {
    /// The key.
    pub key: K,
    /// Time until the key is due; zero when it is due; `None` when it does not wait.
    pub due_in: Option<Duration>,
    /// Failures in a row.
    pub failures: u32,
    /// Whether a run is under way.
    pub running: bool,
}

/// Which keys run when. See the module's head.
#[derive(Debug)]
pub struct Schedule<K> {
    limits: Limits,
    entries: HashMap<K, Entry>,
    running: usize,
    gate_open: bool,
    closed: bool,
}

impl<K: Clone + Eq + Hash + Ord> Schedule<K> {
    /// An empty schedule whose gate is closed: nothing starts before [`Schedule::open`] (Q20).
    pub fn new(limits: Limits) -> Self {
        Schedule { limits, entries: HashMap::new(), running: 0, gate_open: false, closed: false }
    }

    /// Opens the gate after the first complete listing of desired and observed state (Q20).
    pub fn open(&mut self) {
        self.gate_open = true;
    }

    /// Asks for a run of `key` (Q1–Q3, Q6). Ignored once the schedule is closed (Q22).
    pub fn add(&mut self, key: K, trigger: Trigger, now: Instant) {
        if self.closed {
            return;
        }
        let entry = self.entries.entry(key).or_default();
        if trigger == Trigger::Edited {
            entry.floor = None;
            entry.failures = 0;
        }
        entry.wanted |= trigger == Trigger::Wanted;
        if entry.running {
            entry.asked_meanwhile = match (entry.asked_meanwhile, trigger) {
                (Some(Trigger::Edited), _) | (_, Trigger::Edited) => Some(Trigger::Edited),
                _ => Some(Trigger::Noticed),
            };
            return;
        }
        let ready = entry.floor.map_or(now, |floor| floor.max(now));
        // Of several wishes the earliest wins (Q7); a key that waits keeps its place in the order (Q9).
        entry.due = Some(entry.due.map_or(ready, |due| due.min(ready)));
    }

    /// Takes the key that has been due longest, a wanted one before all others (Q29), and marks it running; `None`
    /// when nothing may start now.
    pub fn start(&mut self, now: Instant) -> Option<K> {
        if self.closed || !self.gate_open || self.running >= self.limits.concurrency {
            return None;
        }
        let key = self
            .entries
            .iter()
            .filter_map(|(key, entry)| {
                entry.due.filter(|due| *due <= now).map(|due| (!entry.wanted, due, key))
            })
            .min()
            .map(|(_, _, key)| key.clone())?;
        let entry = self.entries.get_mut(&key)?;
        entry.due = None;
        entry.wanted = false;
        entry.running = true;
        self.running += 1;
        Some(key)
    }

    /// Ends the run of `key`. `jitter` in `[0, 1]` spreads back-offs: 0 is half the delay, 1 the whole (Q12).
    pub fn finish(&mut self, key: &K, outcome: Outcome, now: Instant, jitter: f64) {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.running) else {
            return;
        };
        entry.running = false;
        self.running -= 1;
        let asked = entry.asked_meanwhile.take();
        match outcome {
            Outcome::Settled | Outcome::Again(_) => {
                entry.failures = 0;
                entry.floor = None;
                if let Outcome::Again(after) = outcome {
                    entry.due = Some(now + after.min(self.limits.max_again));
                }
            }
            // The failure speaks of a specification that is no more (Q15).
            Outcome::Failed if asked == Some(Trigger::Edited) => {}
            Outcome::Failed => {
                entry.failures = entry.failures.saturating_add(1);
                let floor = now + backoff(self.limits, entry.failures, jitter);
                entry.floor = Some(floor);
                entry.due = Some(floor);
            }
        }
        if asked.is_some() {
            let ready = entry.floor.map_or(now, |floor| floor.max(now));
            entry.due = Some(entry.due.map_or(ready, |due| due.min(ready)));
        }
        if self.closed || entry.due.is_none() {
            self.entries.remove(key);
        }
    }

    /// When [`Schedule::start`] is next worth calling, if time alone can change its answer (Q11).
    pub fn next_wakeup(&self) -> Option<Instant> {
        if self.closed || !self.gate_open || self.running >= self.limits.concurrency {
            return None;
        }
        self.entries.values().filter_map(|entry| entry.due).min()
    }

    /// No new starts; waiting keys are dropped, running ones may finish (Q22).
    pub fn close(&mut self) {
        self.closed = true;
        self.entries.retain(|_, entry| entry.running);
    }

    /// Keys that run.
    pub fn running(&self) -> usize {
        self.running
    }

    /// Keys that wait, due or not.
    pub fn waiting(&self) -> usize {
        self.entries.values().filter(|entry| entry.due.is_some()).count()
    }

    /// When the back-off of `key` ends, if it has one.
    pub fn floor(&self, key: &K) -> Option<Instant> {
        self.entries.get(key).and_then(|entry| entry.floor)
    }

    /// Every key with an entry, ordered by key (Q28).
    pub fn keys(&self, now: Instant) -> Vec<KeyState<K>> {
        let mut keys: Vec<_> = self
            .entries
            .iter()
            .map(|(key, entry)| KeyState {
                key: key.clone(),
                due_in: entry.due.map(|due| due.saturating_duration_since(now)),
                failures: entry.failures,
                running: entry.running,
            })
            .collect();
        keys.sort_by(|a, b| a.key.cmp(&b.key));
        keys
    }
}

/// `min(first · 2ⁿ⁻¹, max) × [½, 1]` (Q12).
fn backoff(limits: Limits, failures: u32, jitter: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    let full = limits.first_backoff.saturating_mul(1 << doublings).min(limits.max_backoff);
    full.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests;
