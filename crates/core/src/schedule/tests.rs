use super::Outcome::{Again, Failed, Settled};
use super::Trigger::{Edited, Noticed, Wanted};
use super::*;

/// A schedule under a clock of its own: seconds since the start.
struct Bench {
    schedule: Schedule<&'static str>,
    zero: Instant,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Bench::gated();
        bench.schedule.open();
        bench
    }

    #[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
    fn gated() -> Self {
        let limits = Limits { concurrency: 2, ..Limits::default() };
        Bench { schedule: Schedule::new(limits), zero: Instant::now() }
    }

    fn at(&self, seconds: f64) -> Instant {
        self.zero + Duration::from_secs_f64(seconds)
    }

    fn add(&mut self, key: &'static str, trigger: Trigger, seconds: f64) {
        let now = self.at(seconds);
        self.schedule.add(key, trigger, now);
    }

    fn start(&mut self, seconds: f64) -> Option<&'static str> {
        let now = self.at(seconds);
        self.schedule.start(now)
    }

    fn finish(&mut self, key: &'static str, outcome: Outcome, seconds: f64) {
        let now = self.at(seconds);
        self.schedule.finish(&key, outcome, now, 1.0);
    }

    fn wakeup(&self) -> Option<f64> {
        self.schedule.next_wakeup().map(|at| (at - self.zero).as_secs_f64())
    }
}

#[test]
fn q2_many_asks_before_the_start_are_one_run() {
    let mut b = Bench::new();
    for _ in 0..5 {
        b.add("a", Noticed, 0.0);
        b.add("a", Edited, 0.0);
    }
    assert_eq!(b.start(0.0), Some("a"));
    b.finish("a", Settled, 1.0);
    assert_eq!(b.start(1.0), None);
}

#[test]
fn q3_asks_during_the_run_are_exactly_one_further_run() {
    let mut b = Bench::new();
    b.add("a", Edited, 0.0);
    assert_eq!(b.start(0.0), Some("a"));
    for _ in 0..5 {
        b.add("a", Noticed, 0.5);
    }
    assert_eq!(b.start(0.5), None, "q4: never two runs of one key");
    b.finish("a", Settled, 1.0);
    assert_eq!(b.start(1.0), Some("a"));
    b.finish("a", Settled, 2.0);
    assert_eq!(b.start(2.0), None);
}

#[test]
fn q5_a_busy_or_backed_off_key_holds_up_no_other() {
    let mut b = Bench::new();
    b.add("failing", Edited, 0.0);
    assert_eq!(b.start(0.0), Some("failing"));
    b.finish("failing", Failed, 0.0);
    b.add("busy", Edited, 0.1);
    assert_eq!(b.start(0.1), Some("busy"));
    b.add("other", Edited, 0.2);
    assert_eq!(b.start(0.2), Some("other"));
}

#[test]
fn q7_of_several_wishes_the_earliest_wins() {
    let mut b = Bench::new();
    b.add("a", Edited, 0.0);
    b.start(0.0);
    b.finish("a", Again(Duration::from_secs(60)), 0.0);
    assert_eq!(b.wakeup(), Some(60.0));
    b.add("a", Noticed, 5.0);
    assert_eq!(b.wakeup(), Some(5.0));
    assert_eq!(b.start(5.0), Some("a"));
    b.finish("a", Settled, 6.0);
    assert_eq!(b.wakeup(), None, "a start answers all wishes");
}

#[test]
fn q8_again_counts_from_the_end_of_the_run_and_is_clamped() {
    let mut b = Bench::new();
    b.add("a", Edited, 0.0);
    b.start(0.0);
    b.finish("a", Again(Duration::from_secs(1_000_000)), 10.0);
    assert_eq!(b.wakeup(), Some(3610.0));
}

#[test]
fn q9_keys_start_in_the_order_in_which_they_became_due() {
    let mut b = Bench::new();
    b.add("c", Noticed, 0.0);
    b.add("a", Edited, 1.0);
    b.add("b", Noticed, 2.0);
    b.add("c", Edited, 3.0);
    assert_eq!(b.start(3.0), Some("c"));
    assert_eq!(b.start(3.0), Some("a"));
    b.add("a", Noticed, 3.5);
    b.finish("a", Settled, 4.0);
    assert_eq!(b.start(4.0), Some("b"), "a hot key goes to the back");
}

#[test]
fn q11_at_the_limit_asks_collapse_and_no_timer_spins() {
    let mut b = Bench::new();
    for key in ["a", "b", "c"] {
        b.add(key, Edited, 0.0);
    }
    assert_eq!((b.start(0.0), b.start(0.0), b.start(0.0)), (Some("a"), Some("b"), None));
    assert_eq!(b.wakeup(), None);
    b.finish("a", Settled, 1.0);
    assert_eq!(b.wakeup(), Some(0.0));
    assert_eq!(b.start(1.0), Some("c"));
}

#[test]
fn q12_back_off_doubles_up_to_the_maximum_and_is_jittered_down_to_half() {
    let limits = Limits::default();
    let seconds = |failures, jitter| backoff(limits, failures, jitter).as_secs_f64();
    assert_eq!([1, 2, 3, 9, 10, u32::MAX].map(|n| seconds(n, 1.0)), [1.0, 2.0, 4.0, 256.0, 300.0, 300.0]);
    assert_eq!(seconds(3, 0.0), 2.0);
}

#[test]
fn q13_settled_and_again_reset_the_count_and_starting_does_not() {
    let mut b = Bench::new();
    b.add("a", Noticed, 0.0);
    b.start(0.0);
    b.finish("a", Failed, 0.0);
    assert_eq!(b.start(1.0), Some("a"));
    b.finish("a", Failed, 1.0);
    assert_eq!(b.wakeup(), Some(3.0), "the second failure waits twice as long");
    assert_eq!(b.start(3.0), Some("a"));
    b.finish("a", Again(Duration::from_secs(1)), 3.0);
    assert_eq!(b.start(4.0), Some("a"));
    b.finish("a", Failed, 4.0);
    assert_eq!(b.wakeup(), Some(5.0));
}

#[test]
fn q14_back_off_is_a_floor_for_what_is_noticed_and_an_edit_clears_it() {
    let mut b = Bench::new();
    b.add("a", Noticed, 0.0);
    b.start(0.0);
    b.finish("a", Failed, 0.0);
    b.add("a", Noticed, 0.2);
    assert_eq!(b.start(0.2), None);
    assert_eq!(b.wakeup(), Some(1.0));
    b.add("a", Edited, 0.3);
    assert_eq!(b.start(0.3), Some("a"));
}

#[test]
fn q14_the_event_of_a_key_that_fails_during_its_own_run_does_not_cut_through_back_off() {
    let mut b = Bench::new();
    b.add("a", Noticed, 0.0);
    b.start(0.0);
    b.add("a", Noticed, 0.1);
    b.finish("a", Failed, 0.2);
    assert_eq!(b.start(0.3), None);
    assert_eq!(b.wakeup(), Some(1.2));
}

#[test]
fn q15_an_edit_during_a_run_that_fails_runs_at_once_and_the_failure_does_not_count() {
    let mut b = Bench::new();
    b.add("a", Noticed, 0.0);
    b.start(0.0);
    b.add("a", Edited, 0.1);
    b.finish("a", Failed, 0.2);
    assert_eq!(b.start(0.2), Some("a"));
    b.finish("a", Failed, 0.3);
    assert_eq!(b.wakeup(), Some(1.3), "the first counted failure");
}

#[test]
fn q20_nothing_starts_before_the_gate_opens_and_asks_are_kept() {
    let mut b = Bench::gated();
    b.add("a", Edited, 0.0);
    b.add("a", Noticed, 0.0);
    assert_eq!((b.start(1.0), b.wakeup()), (None, None));
    b.schedule.open();
    assert_eq!(b.start(1.0), Some("a"));
    b.finish("a", Settled, 1.0);
    assert_eq!(b.start(1.0), None);
}

#[test]
fn q22_after_close_nothing_starts_and_wishes_are_ignored() {
    let mut b = Bench::new();
    b.add("a", Edited, 0.0);
    b.add("b", Edited, 0.0);
    assert_eq!(b.start(0.0), Some("a"));
    b.schedule.close();
    b.add("c", Edited, 0.1);
    assert_eq!((b.start(0.1), b.schedule.waiting(), b.schedule.running()), (None, 0, 1));
    b.finish("a", Again(Duration::ZERO), 0.2);
    assert_eq!((b.start(9.0), b.schedule.keys(b.at(9.0)).len()), (None, 0));
}

#[test]
fn q27_a_settled_key_leaves_no_entry_behind() {
    let mut b = Bench::new();
    for (n, outcome) in [(0.0, Settled), (1.0, Failed), (3.0, Settled)] {
        b.add("a", Edited, n);
        b.start(n);
        b.finish("a", outcome, n);
    }
    assert_eq!(b.schedule.keys(b.at(3.0)), []);
}

#[test]
fn q29_what_somebody_asks_for_goes_before_the_others_in_the_order_in_which_it_became_due() {
    let mut b = Bench::gated();
    b.add("asked before the listing", Wanted, 0.0);
    for key in ["a", "b", "asked before the listing", "c", "d"] {
        b.add(key, Noticed, 1.0);
    }
    b.add("d", Wanted, 2.0);
    b.add("c", Wanted, 3.0);
    b.schedule.open();
    let mut order = Vec::new();
    while let Some(key) = b.start(4.0) {
        b.finish(key, Settled, 4.0);
        order.push(key);
    }
    assert_eq!(order, ["asked before the listing", "c", "d", "a", "b"]);
}

#[test]
fn q29_a_start_answers_the_asking_and_what_comes_during_the_run_holds_for_the_next() {
    let mut b = Bench::new();
    b.add("a", Wanted, 0.0);
    assert_eq!(b.start(0.0), Some("a"));
    b.finish("a", Again(Duration::from_secs(1)), 0.0);
    b.add("b", Noticed, 0.5);
    assert_eq!(b.start(1.0), Some("b"), "a was asked for once");
    b.finish("b", Settled, 1.0);
    assert_eq!(b.start(1.0), Some("a"));
    b.add("a", Wanted, 1.1);
    b.add("b", Noticed, 1.2);
    b.finish("a", Settled, 1.3);
    assert_eq!(b.start(1.3), Some("a"));
    b.finish("a", Settled, 1.4);
    assert_eq!((b.start(1.4), b.start(1.4)), (Some("b"), None));
}

#[test]
fn q29_asking_does_not_cut_through_back_off() {
    let mut b = Bench::new();
    b.add("failing", Noticed, 0.0);
    b.start(0.0);
    b.finish("failing", Failed, 0.0);
    b.add("failing", Wanted, 0.1);
    assert_eq!((b.start(0.1), b.wakeup()), (None, Some(1.0)));
    b.add("other", Noticed, 0.5);
    assert_eq!(b.start(1.0), Some("failing"), "first once it is due");
}

#[test]
fn a_finish_without_a_start_changes_nothing() {
    let mut b = Bench::new();
    b.finish("a", Failed, 0.0);
    assert_eq!((b.schedule.running(), b.wakeup()), (0, None));
}
