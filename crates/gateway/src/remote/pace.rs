//! How often streams are opened again. The protocol library opens one that broke at once, and one that ended as
//! soon as its server asks for, which may be at once too: a server that ends every stream would be asked without
//! a pause.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::time::Instant;

use super::HttpClient;
use super::events::Events;
use crate::backoff::Backoff;

/// First and longest distance between the openings of two streams.
const DISTANCE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A stream that lived this long was a good one: the distance starts over.
const STABLE: Duration = Duration::from_secs(30);

/// When the next stream of one client may be opened.
#[derive(Debug)]
pub(super) struct Pace(Mutex<State>);

#[derive(Debug)]
struct State {
    backoff: Backoff,
    /// `None` while no stream has ended too early.
    not_before: Option<Instant>,
    /// When a stream last ended too early.
    ended: Option<Instant>,
}

impl Pace {
    /// Nothing was opened yet.
    pub(super) fn new() -> Self {
        let backoff = Backoff::new(DISTANCE.0, DISTANCE.1);
        Self(Mutex::new(State { backoff, not_before: None, ended: None }))
    }

    /// Waits until a stream may be opened.
    pub(super) async fn wait(&self) {
        let not_before = self.state().not_before;
        if let Some(not_before) = not_before {
            tokio::time::sleep_until(not_before).await;
        }
    }

    /// A stream that was opened at `opened` has ended at `now`.
    fn ended(&self, opened: Instant, now: Instant) {
        let mut state = self.state();
        if now.duration_since(opened) >= STABLE {
            state.backoff.reset();
            return;
        }
        // Streams that end together, as when a proxy is restarted, count once.
        if state.ended.is_none_or(|ended| opened >= ended) {
            state.not_before = Some(opened + state.backoff.pause());
            state.ended = Some(now);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same `events`, of which the pace of `client` is told when they are dropped.
pub(super) fn paced(client: HttpClient, events: Events) -> Events {
    let open = Open { client, since: Instant::now() };
    events.inspect(move |_| open.goes_on()).boxed()
}

/// A stream that is open.
struct Open {
    client: HttpClient,
    since: Instant,
}

impl Open {
    /// Nothing is to be done; it is what keeps this in the stream.
    fn goes_on(&self) {}
}

impl Drop for Open {
    fn drop(&mut self) {
        self.client.pace().ended(self.since, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(10);

    /// From `opened` to the next opening.
    fn distance(pace: &Pace, opened: Instant) -> Duration {
        pace.state().not_before.unwrap() - opened
    }

    #[tokio::test]
    async fn streams_that_end_early_are_opened_less_and_less_often() {
        let (pace, mut at) = (Pace::new(), Instant::now());
        for exponent in 0..10 {
            let step = (DISTANCE.0 * 2u32.pow(exponent)).min(DISTANCE.1);
            pace.ended(at, at + MOMENT);
            let distance = distance(&pace, at);
            assert!(distance >= step / 2 && distance <= step, "{distance:?} is not in the step of {step:?}");
            at += DISTANCE.1;
        }
    }

    #[tokio::test]
    async fn streams_that_end_together_count_once() {
        let (pace, at) = (Pace::new(), Instant::now());
        for _ in 0..10 {
            pace.ended(at, at + MOMENT);
        }
        assert!(distance(&pace, at) <= DISTANCE.0);
    }

    #[tokio::test]
    async fn a_stream_that_lived_starts_the_distance_over() {
        let (pace, mut at) = (Pace::new(), Instant::now());
        for _ in 0..5 {
            pace.ended(at, at + MOMENT);
            at += DISTANCE.1;
        }
        pace.ended(at, at + STABLE);
        at += DISTANCE.1;
        pace.ended(at, at + MOMENT);
        assert!(distance(&pace, at) <= DISTANCE.0);
    }
}
