//! Whether every part of the loop still gets further: what a watchdog outside is told.
//!
//! A part says so whenever it begins something, and again and again while it rests, waiting for what may never come.
//! It says nothing while it works, so that work without an end is seen, as is a part that nobody wakes any more.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Between two words of a part that rests.
pub(crate) const PULSE: Duration = Duration::from_secs(1);

/// What must never stand still while the controller runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Hints from the store.
    StoreHints,
    /// Hints from the Engine's events.
    EngineHints,
    /// Hints from the rendered files.
    FileHints,
    /// Complete listings.
    Listings,
    /// Cheap listings.
    CheapLists,
    /// Removal of what has expired.
    Housekeeping,
    /// The queue, and with it every run.
    Queue,
    /// The prober.
    Prober,
}

/// When each part got further last. Nothing is known of a controller that does not run.
#[derive(Debug, Default)]
pub struct Progress {
    beats: Mutex<BTreeMap<Part, Instant>>,
}

impl Progress {
    /// The part that has stood still for longest, and for how long, when that is longer than `limit`.
    #[must_use]
    pub fn stalled(&self, limit: Duration) -> Option<(Part, Duration)> {
        let (part, last) =
            self.beats().iter().min_by_key(|(_, last)| **last).map(|(part, at)| (*part, *at))?;
        Some((part, last.elapsed())).filter(|(_, still)| *still > limit)
    }

    /// `part` gets further.
    pub(crate) fn beat(&self, part: Part) {
        self.beats().insert(part, Instant::now());
    }

    /// Waits for what may take any time; that is no standstill.
    pub(crate) async fn rest<F: Future>(&self, part: Part, wait: F) -> F::Output {
        let mut wait = std::pin::pin!(wait);
        loop {
            self.beat(part);
            tokio::select! {
                done = wait.as_mut() => {
                    self.beat(part);
                    return done;
                }
                () = tokio::time::sleep(PULSE) => {}
            }
        }
    }

    /// `part` has ended, and is not missed.
    pub(crate) fn retire(&self, part: Part) {
        self.beats().remove(&part);
    }

    /// The controller has ended.
    pub(crate) fn clear(&self) {
        self.beats().clear();
    }

    /// The map is whole after every statement, so a poisoned lock can be used.
    fn beats(&self) -> MutexGuard<'_, BTreeMap<Part, Instant>> {
        self.beats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_part_that_rests_never_stands_still() {
        let progress = Progress::default();
        progress.rest(Part::Listings, tokio::time::sleep(LIMIT * 10)).await;
        assert_eq!(progress.stalled(LIMIT), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_part_that_works_for_longest_is_named() {
        let progress = Progress::default();
        progress.beat(Part::Prober);
        tokio::time::advance(Duration::from_secs(10)).await;
        progress.beat(Part::Queue);
        tokio::time::advance(LIMIT).await;
        assert_eq!(progress.stalled(LIMIT), Some((Part::Prober, LIMIT + Duration::from_secs(10))));
        progress.beat(Part::Prober);
        assert_eq!(progress.stalled(LIMIT), None, "the limit itself is not too long");
    }

    #[tokio::test(start_paused = true)]
    async fn a_rest_that_nobody_polls_is_a_standstill() {
        let progress = Progress::default();
        let mut rest = Box::pin(progress.rest(Part::EngineHints, std::future::pending::<()>()));
        assert!(futures::poll!(rest.as_mut()).is_pending());
        tokio::time::advance(LIMIT * 2).await;
        assert_eq!(progress.stalled(LIMIT).map(|(part, _)| part), Some(Part::EngineHints));
        assert!(futures::poll!(rest.as_mut()).is_pending());
        assert_eq!(progress.stalled(LIMIT), None);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_asked_of_a_controller_that_does_not_run() {
        let progress = Progress::default();
        assert_eq!(progress.stalled(LIMIT), None);
        progress.beat(Part::Queue);
        progress.clear();
        tokio::time::advance(LIMIT * 2).await;
        assert_eq!(progress.stalled(LIMIT), None);
    }
}
