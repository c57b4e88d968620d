//! Growing pauses between attempts, shared by the gateway (which asks a server again) and the bridge (which
//! dials the gateway again).

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Pauses that double from a first to a longest one.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Begins with `first` and stops growing at `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The pause to make now: between half and the whole of the current step, so that many waiters that were
    /// thrown out together do not come back together.
    pub fn pause(&mut self) -> Duration {
        let step = self.next;
        self.next = step.saturating_mul(2).min(self.longest);
        // The keys of a new `RandomState` differ for each one: randomness enough for jitter, without a crate.
        let share = RandomState::new().hash_one(()) % 1024;
        step / 2 + (step / 2).mul_f64(share as f64 / 1024.0)
    }

    /// What was waited for has worked: the next pause is the first one again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_keep_between_half_and_whole() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(60));
        let mut backoff = Backoff::new(first, longest);
        for exponent in 0..10 {
            let step = (first * 2u32.pow(exponent)).min(longest);
            let pause = backoff.pause();
            assert!(pause >= step / 2 && pause <= step, "{pause:?} is outside half to whole of {step:?}");
        }
    }

    #[test]
    fn a_reset_starts_over() {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        for _ in 0..8 {
            backoff.pause();
        }
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(50));
    }
}
