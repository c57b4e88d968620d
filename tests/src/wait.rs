//! Waiting for a state of the world that cannot tell us when it is reached.

use std::time::{Duration, Instant};

/// How long to rest between two looks: short against what is waited for, long against what a look costs.
const REST: Duration = Duration::from_millis(50);

/// Looks until `look` finds something, and returns it with the time that it took.
///
/// # Panics
/// When `limit` has passed: with `what` was waited for.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> (T, Duration) {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return (found, begin.elapsed());
        }
        assert!(begin.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(REST);
    }
}

/// Looks until `look` says yes, and returns whether it did in time: for a caller who has more to say than what was
/// waited for.
pub fn reached(limit: Duration, mut look: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < limit {
        if look() {
            return true;
        }
        std::thread::sleep(REST);
    }
    false
}

/// [`until`] for a condition without a value.
pub fn until_true(what: &str, limit: Duration, mut look: impl FnMut() -> bool) -> Duration {
    until(what, limit, || look().then_some(())).1
}
