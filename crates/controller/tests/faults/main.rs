//! Fault injection: whatever call is interrupted, and however, a gateway ends as it would have undisturbed.
//!
//! The world is simulated, so that every single call can be struck; the database is a real Postgres, because
//! what a crash leaves in it is half of the question.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![allow(clippy::print_stdout, reason = "the counts are part of the result")]

mod asked;
mod bench;
mod portrait;
mod secrets;
mod volumes;
mod world;

use std::time::{Duration, Instant};

use bowline_core::labels::Role;
use bowline_core::observed::ContainerState;
use bowline_core::schedule::Outcome;
use bowline_core::status::ServerState;
use bowline_core::step::FailureClass;
use bowline_store::Store;
use futures::StreamExt;

use bench::{Act, Bench, with_store};
use portrait::Portrait;
use world::{Fault, Moment, Strike};

/// Lives that are played side by side: they wait for holds and for Postgres most of the time.
const SIDE_BY_SIDE: usize = 40;

/// A life that takes longer waits for what never comes.
const LONGEST_LIFE: Duration = Duration::from_secs(60);

const CLASSES: [FailureClass; 7] = [
    FailureClass::Unavailable,
    FailureClass::Moved,
    FailureClass::NameTaken,
    FailureClass::PortTaken,
    FailureClass::SubnetTaken,
    FailureClass::Refused,
    FailureClass::Failed,
];

/// An act that nothing disturbed: the calls that it took, and how it ended.
struct Undisturbed {
    act: Act,
    calls: Vec<String>,
    end: Portrait,
}

async fn undisturbed(store: &Store) -> Vec<Undisturbed> {
    let mut acts = Vec::new();
    for (number, act) in Act::ALL.into_iter().enumerate() {
        let mut bench = Bench::new(store, number).await;
        let end = bench.play(act, None).await;
        // The last look is that of the run that proved the rest.
        let mut calls = bench.world.log();
        calls.pop();
        acts.push(Undisturbed { act, calls, end });
    }
    assert!(acts[0].end.iter().any(|line| line.starts_with("container ")), "{:#?}", acts[0].end);
    assert_ne!(acts[0].end, acts[1].end);
    let told = |act: usize, word: &str| acts[act].end.iter().filter(|line| line.starts_with(word)).count();
    assert_eq!((told(2, "failed "), told(2, "container ")), (0, 3), "{:#?}", acts[2].end);
    assert_eq!((told(3, "failed "), told(3, "container ")), (2, 3), "{:#?}", acts[3].end);
    assert_eq!(acts[4].end, Portrait::new(), "nothing is left of a deleted gateway");
    acts
}

/// Whether the call of this line only looks, so that before and after it are the same.
fn only_looks(line: &str) -> bool {
    line == "observe" || line.starts_with("try ")
}

/// Plays every strike, and compares each end with the undisturbed one. The lives are numbered from `first`.
async fn play_all(store: &Store, first: usize, strikes: Vec<(&Undisturbed, Strike)>, may_move: bool) {
    let lives = strikes
        .into_iter()
        .enumerate()
        .map(|(number, (act, strike))| play_one(store, first + number, act, strike, may_move));
    futures::stream::iter(lives).buffer_unordered(SIDE_BY_SIDE).collect::<Vec<()>>().await;
}

async fn play_one(store: &Store, number: usize, undisturbed: &Undisturbed, strike: Strike, may_move: bool) {
    let mut bench = Bench::new(store, number).await;
    let life = tokio::time::timeout(LONGEST_LIFE, bench.play(undisturbed.act, Some(strike))).await;
    let Ok(mut end) = life else {
        panic!("{:?}: {strike:?} takes too long: {:#?}", undisturbed.act, bench.world.log());
    };
    let mut expected = undisturbed.end.clone();
    let (struck, log) = (&undisturbed.calls[strike.call - 1], bench.world.log());
    if may_move {
        end = bench.without_places(&end).await;
        expected = bench.without_places(&expected).await;
    }
    assert_eq!(end, expected, "{:?}: {strike:?} at `{struck}`\n{log:#?}", undisturbed.act);
}

#[test]
fn a_crash_before_or_after_any_call_changes_nothing_about_the_end() {
    with_store(|store| async move {
        let (begin, acts) = (Instant::now(), undisturbed(&store).await);
        let mut strikes = Vec::new();
        for act in &acts {
            for (index, line) in act.calls.iter().enumerate() {
                for moment in [Moment::Before, Moment::After] {
                    if moment == Moment::Before || !only_looks(line) {
                        strikes.push((act, Strike { call: index + 1, moment, fault: Fault::Crash }));
                    }
                }
            }
        }
        let counts: Vec<_> = acts.iter().map(|act| (act.act, act.calls.len())).collect();
        println!("{} crashes at every one of the calls of {counts:?}", strikes.len());
        play_all(&store, 100, strikes, false).await;
        println!("all ended as undisturbed, in {:.1} s", begin.elapsed().as_secs_f64());
    });
}

/// Plays a failure of every class at every call of one part of the life.
fn fail_everywhere(part: &'static [Act]) {
    with_store(|store| async move {
        let (begin, acts) = (Instant::now(), undisturbed(&store).await);
        let (mut same, mut moved) = (Vec::new(), Vec::new());
        for act in acts.iter().filter(|undisturbed| part.contains(&undisturbed.act)) {
            for (index, line) in act.calls.iter().enumerate() {
                let call = index + 1;
                for class in CLASSES {
                    let strike = |moment| (act, Strike { call, moment, fault: Fault::Fail(class) });
                    let told = matches!(class, FailureClass::Unavailable | FailureClass::Failed);
                    match class {
                        // A look either is answered or is not; only a change has more to say.
                        _ if only_looks(line) && !told => {}
                        // With the port goes the way back: the revision before was published on it.
                        FailureClass::PortTaken if act.act == Act::RolledBack => {}
                        FailureClass::NameTaken | FailureClass::PortTaken | FailureClass::SubnetTaken => {
                            moved.push(strike(Moment::Before));
                        }
                        _ => same.push(strike(Moment::Before)),
                    }
                    // An answer that was lost: the change is made, and nobody knows.
                    if told && !only_looks(line) {
                        same.push(strike(Moment::After));
                    }
                }
            }
        }
        println!("{} failures of {} classes in {part:?}", same.len() + moved.len(), CLASSES.len());
        play_all(&store, 100, same, false).await;
        play_all(&store, 1000, moved, true).await;
        println!("all ended as undisturbed, in {:.1} s", begin.elapsed().as_secs_f64());
    });
}

#[test]
fn a_failure_of_any_class_at_any_call_changes_nothing_about_the_end() {
    fail_everywhere(&[Act::Declared, Act::Changed, Act::Deleted]);
}

#[test]
fn a_failure_of_any_class_at_any_call_of_a_replacement_changes_nothing_about_the_end() {
    fail_everywhere(&[Act::Replaced]);
}

#[test]
fn a_failure_of_any_class_at_any_call_of_a_way_back_changes_nothing_about_the_end() {
    fail_everywhere(&[Act::RolledBack]);
}

#[test]
fn a_server_that_never_starts_holds_up_neither_the_gateway_nor_its_neighbour() {
    with_store(|store| async move {
        for (number, class) in CLASSES.into_iter().enumerate() {
            let bench = Bench::new(&store, number).await;
            bench.ask(Act::Declared).await;
            bench.world.break_role(Role::Server("fetch".to_owned()), class);
            let outcome = bench.run_once().await;
            assert!(matches!(outcome, Some(Outcome::Again(_))), "{class:?}: {outcome:?}");
            for (container, _) in bench.world.containers() {
                let broken = container.identity.role == Role::Server("fetch".to_owned());
                let expected = if broken { ContainerState::Created } else { ContainerState::Running };
                assert_eq!(container.state, expected, "{class:?}: {}", container.name);
            }
            assert_eq!(bench.world.containers().len(), 3, "{class:?}");
            let status = bench.status().await;
            let [fetch, time] = &status.servers[..] else { panic!("{status:?}") };
            assert_eq!((&*fetch.name, fetch.state), ("fetch", ServerState::Failed), "{class:?}");
            assert!(
                fetch.last_error.as_ref().is_some_and(|text| text.contains("it never starts")),
                "{fetch:?}"
            );
            assert_ne!(time.state, ServerState::Failed, "{class:?}");
            assert!(status.next_attempt_time.is_some(), "{class:?}");
        }
    });
}

#[test]
fn a_number_that_the_host_turns_out_to_use_is_given_up_for_the_next() {
    with_store(|store| async move {
        let acts = undisturbed(&store).await;
        for (number, (class, word)) in [
            (FailureClass::PortTaken, "start container mcp-gateway"),
            (FailureClass::SubnetTaken, "create network"),
        ]
        .into_iter()
        .enumerate()
        {
            let call = 1 + acts[0].calls.iter().position(|line| line.starts_with(word)).expect("such a call");
            let mut bench = Bench::new(&store, 100 + number).await;
            let strike = Strike { call, moment: Moment::Before, fault: Fault::Fail(class) };
            let end = bench.play(Act::Declared, Some(strike)).await;
            let leases = |portrait: &Portrait| -> Vec<_> {
                portrait.iter().filter(|line| line.starts_with("lease ")).cloned().collect()
            };
            let (before, after) = (leases(&acts[0].end), leases(&end));
            let changed = before.iter().zip(&after).filter(|(before, after)| before != after).count();
            assert_eq!((before.len(), after.len(), changed), (5, 5, 1), "{class:?}: {before:?} {after:?}");
        }
    });
}
