//! Hints that something changed.
//!
//! `connect → LISTEN → "everything may have changed" → stream`, again from the start after any loss. A hint
//! carries a uid or nothing; what changed is read afterwards, by version.

use std::time::Duration;

use rand::Rng;
use sqlx::Executor;
use sqlx::postgres::PgListener;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::{debug, warn};
use uuid::Uuid;

use crate::Store;
use crate::database::Database;

/// First and longest wait before a lost listener connects again.
const FIRST_RETRY: Duration = Duration::from_millis(800);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// After this long without a loss the waits begin small again.
const CALM: Duration = Duration::from_secs(120);
/// After this long without a word a listener asks whether anybody is there: a half-open connection is silent
/// for ever.
const SILENCE: Duration = Duration::from_secs(20);
/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which changes to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// What the controller acts on: applied, marked, deleted, tokens changed. Not its own reports.
    Desired,
    /// That, and every report of status.
    Everything,
    /// Removals of volumes that can begin. Their uid is the tenant's.
    Volumes,
    /// A new sealing key is asked for. The uid says nothing.
    Keys,
}

impl Scope {
    /// The channel on which a change of this scope is told.
    pub(crate) fn channel(self) -> &'static str {
        match self {
            Scope::Desired => "bowline_desired",
            Scope::Everything => "bowline_status",
            Scope::Volumes => "bowline_volumes",
            Scope::Keys => "bowline_keys",
        }
    }

    fn channels(self) -> &'static [&'static str] {
        match self {
            Scope::Desired => &["bowline_desired"],
            Scope::Everything => &["bowline_desired", "bowline_status"],
            Scope::Volumes => &["bowline_volumes"],
            Scope::Keys => &["bowline_keys"],
        }
    }
}

/// What may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Anything: hints may have been lost. The first hint is this one.
    All,
    /// The object with this uid.
    Uid(Uuid),
}

/// A source of hints that never ends and never fails; it reconnects by itself.
#[derive(Debug)]
pub struct ChangeListener {
    database: Database,
    scope: Scope,
    listener: Option<PgListener>,
    heard_at: Instant,
    failures: u32,
    connected_at: Option<Instant>,
    retry_at: Option<Instant>,
}

impl Store {
    /// Hints of changes in `scope`, over a connection of its own.
    pub fn watch(&self, scope: Scope) -> ChangeListener {
        ChangeListener::new(self.database(), scope)
    }
}

impl ChangeListener {
    fn new(database: &Database, scope: Scope) -> Self {
        ChangeListener {
            database: database.clone(),
            scope,
            listener: None,
            heard_at: Instant::now(),
            failures: 0,
            connected_at: None,
            retry_at: None,
        }
    }

    /// The next hint. May be dropped and called again without losing one.
    pub async fn next(&mut self) -> Hint {
        loop {
            if let Some(hint) = self.receive().await {
                return hint;
            }
            if let Some(at) = self.retry_at {
                sleep_until(at).await;
                self.retry_at = None;
            }
            if self.connect().await {
                return Hint::All;
            }
        }
    }

    /// The next hint of the present connection; `None` when there is no connection (any more).
    async fn receive(&mut self) -> Option<Hint> {
        loop {
            let listener = self.listener.as_mut()?;
            // Counted from the last word and not from this call, which others may drop and repeat.
            let heard = timeout_at(self.heard_at + SILENCE, listener.try_recv()).await;
            match heard {
                Ok(Ok(Some(notification))) => {
                    self.heard_at = Instant::now();
                    // What we cannot read may mean anything.
                    return Some(notification.payload().parse().map_or(Hint::All, Hint::Uid));
                }
                // Silence. The answer to this question is no notification; one that comes with it is kept.
                Err(_) => match timeout(PATIENCE, listener.execute("SELECT 1")).await {
                    Ok(Ok(_)) => self.heard_at = Instant::now(),
                    _ => self.lose("the listener's connection gave no answer"),
                },
                Ok(Ok(None)) => self.lose("the listener's connection was lost"),
                Ok(Err(error)) => {
                    debug!(error = &error as &dyn std::error::Error, "the listener failed");
                    self.lose("the listener's connection failed");
                }
            }
        }
    }

    /// Gives the connection up, and decides when to try again.
    fn lose(&mut self, reason: &'static str) {
        self.listener = None;
        if self.connected_at.take().is_some_and(|since| since.elapsed() >= CALM) {
            self.failures = 0;
        }
        let wait = backoff(self.failures, rand::rng().random());
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(Instant::now() + wait);
        warn!(reason, retry_ms = wait.as_millis() as u64, "no news from the database");
    }

    /// Connects and listens. Whether it did.
    async fn connect(&mut self) -> bool {
        // A pool per connection: a listener that is dropped says goodbye in the background, and over a dead
        // connection that may take for ever.
        let pool = self.database.pool_of_one();
        let attempt = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            // A loss is told by `Ok(None)` at once, and we connect anew ourselves, with our own patience.
            listener.eager_reconnect(false);
            listener.listen_all(self.scope.channels().iter().copied()).await?;
            Ok::<_, sqlx::Error>(listener)
        };
        match timeout(PATIENCE, attempt).await {
            Ok(Ok(listener)) => {
                self.listener = Some(listener);
                self.heard_at = Instant::now();
                self.connected_at = Some(Instant::now());
                true
            }
            Ok(Err(error)) => {
                debug!(error = &error as &dyn std::error::Error, "the listener could not connect");
                self.lose("the listener could not connect");
                false
            }
            Err(_) => {
                self.lose("the listener could not connect in time");
                false
            }
        }
    }
}

/// The wait before attempt `failures + 1`, with `jitter` in [0, 1): half of it is certain.
fn backoff(failures: u32, jitter: f64) -> Duration {
    let full = FIRST_RETRY.saturating_mul(1 << failures.min(10)).min(LAST_RETRY);
    full.mul_f64(0.5 + jitter / 2.0)
}

#[cfg(test)]
mod tests;
