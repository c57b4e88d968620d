//! How one look judges a trial: every path, row by row.

use super::*;
use crate::report::MISSES;

#[track_caller]
fn expect(table: Vec<(&str, Case)>) {
    for (number, (verdict, case)) in table.into_iter().enumerate() {
        assert_eq!(case.verdict(), verdict, "row {number}: {case:#?}");
    }
}

#[test]
fn a_server_is_proven_by_what_a_settled_gateway_tells_of_it() {
    let running = || Case::server().with(|case| case.tells(&["time"]));
    expect(vec![
        ("proven", running()),
        ("pending", Case::server()),
        ("pending", running().with(|case| case.gateway_on_trial = true)),
        ("pending", running().with(|case| case.container().state = ContainerState::Paused)),
        ("pending", running().with(|case| case.container().identity.spec_hash = OLD.to_owned())),
        ("pending", Case::server().with(|case| case.tells(&["fetch"]))),
        ("pending", Case::server().with(|case| case.observed.probe = None)),
        ("proven", running().with(|case| case.now = 10_000)),
        ("proven", running().with(|case| case.container().restart_count = 5)),
    ]);
}

#[test]
fn a_container_that_cannot_be_made_or_started_fails_when_trying_again_cannot_help() {
    let unmade = || Case::server().with(|case| case.observed.containers.clear());
    let made = |error: &str| Case::server().with(|case| case.never_started(error));
    let stopped = |error: &str| {
        Case::server().with(|case| {
            case.container().state = ContainerState::Exited { code: 0 };
            case.container().error = error.to_owned();
        })
    };
    expect(vec![
        ("pending", unmade()),
        ("pending", unmade().with(|case| case.has_trouble(false, 9))),
        ("Refused: bad mount", unmade().with(|case| case.has_trouble(true, 1))),
        ("pending", made("")),
        ("pending", made("no such program")),
        ("pending", made("").with(|case| case.has_trouble(false, 5))),
        ("StartFailed: bad mount", made("").with(|case| case.has_trouble(false, 6))),
        ("pending", made("no such program").with(|case| case.has_trouble(false, 1))),
        ("StartFailed: no such program", made("no such program").with(|case| case.has_trouble(false, 2))),
        ("StartFailed: bad mount", made("").with(|case| case.has_trouble(true, 1))),
        // Made and never started, or stopped meanwhile: no deadline runs.
        ("pending", made("").with(|case| case.now = 10_000)),
        ("pending", stopped("").with(|case| case.now = 10_000)),
        ("StartFailed: no such program", stopped("no such program").with(|case| case.has_trouble(false, 2))),
    ]);
}

#[test]
fn a_program_that_ends_again_and_again_fails() {
    let crashed = |count, state| {
        Case::server().with(|case| {
            case.container().restart_count = count;
            case.container().state = state;
        })
    };
    expect(vec![
        ("pending", crashed(1, ContainerState::Restarting)),
        ("CrashLoop: its program ended 2 times", crashed(2, ContainerState::Restarting)),
        ("CrashLoop: its program ended with code 3", crashed(2, ContainerState::Exited { code: 3 })),
        ("CrashLoop: its program ended 7 times", crashed(7, ContainerState::Running)),
    ]);
}

#[test]
fn a_server_that_says_that_it_failed_has_a_second_chance() {
    let failed = |at| {
        Case::server().with(|case| case.report("time", ServerPhase::Failed, Some(("it has no key", at))))
    };
    expect(vec![
        ("pending", failed(BEGIN - 1)),
        ("pending", failed(BEGIN + 3)),
        ("ServerFailed: it has no key", failed(BEGIN + 4)),
        ("ServerFailed: it has no key", failed(BEGIN - 1).with(|case| case.now = BEGIN + 60)),
        ("pending", failed(BEGIN + 4).with(|case| case.gateway_on_trial = true)),
        // An error of a server that starts again is not its end.
        (
            "pending",
            Case::server().with(|case| case.report("time", ServerPhase::Starting, Some(("once", BEGIN + 9)))),
        ),
    ]);
}

#[test]
fn a_server_has_its_time_from_its_start_or_the_trials_and_only_while_its_gateway_answers() {
    let late = || Case::server().with(|case| case.now = BEGIN + 60);
    expect(vec![
        ("pending", Case::server().with(|case| case.now = BEGIN + 59)),
        ("ProgressDeadlineExceeded: it did not answer within 60 s", late()),
        ("pending", late().with(|case| case.container().started_at = Some(at(BEGIN + 1)))),
        (
            "ProgressDeadlineExceeded: it did not answer within 60 s",
            late().with(|case| case.container().started_at = Some(at(BEGIN - 50))),
        ),
        ("pending", late().with(|case| case.observed.probe.as_mut().unwrap().healthy = false)),
        ("pending", late().with(|case| case.gateway_on_trial = true)),
        // What it replaces did not answer either.
        ("pending", late().with(|case| case.record.trial.as_mut().unwrap().answered.clear())),
    ]);
}

#[test]
fn the_clock_of_a_server_stands_while_its_gateway_does_not_answer() {
    let since = |healthy, now| {
        let case = Case::server().with(|case| {
            case.observed.probe.as_mut().unwrap().healthy = healthy;
            case.now = now;
        });
        case.advance().trial.unwrap().since
    };
    assert_eq!(since(false, BEGIN + 4), at(BEGIN), "not written at every look");
    assert_eq!(since(false, BEGIN + 5), at(BEGIN + 5));
    assert_eq!(since(true, BEGIN + 5), at(BEGIN));
}

#[test]
fn the_clock_of_a_gateway_begins_anew_with_another_configuration() {
    let edited = |now| {
        Case::gateway().with(|case| {
            case.state().config_revision = "older".to_owned();
            case.record.trial.as_mut().unwrap().config_revision = "older".to_owned();
            case.now = now;
        })
    };
    let trial = edited(BEGIN + 60).advance().trial.unwrap();
    assert_eq!((trial.since, trial.config_revision.as_str()), (at(BEGIN + 60), "current"));
    assert_eq!(trial.answered.len(), 2, "what must not be lost is the same");
    let later = edited(BEGIN + 120).with(|case| case.record.trial = Some(trial));
    assert_eq!(later.verdict(), "ProgressDeadlineExceeded: it did not answer within 60 s");
}

#[test]
fn a_gateway_is_proven_when_it_answers_with_its_configuration_and_every_server_that_it_had() {
    let told = |running: &'static [&'static str]| Case::of(Role::Gateway).with(|case| case.tells(running));
    let late = |case: Case| case.with(|case| case.now = BEGIN + 60);
    let silent = || {
        Case::gateway().with(|case| {
            let probe = case.observed.probe.as_mut().unwrap();
            (probe.healthy, probe.misses) = (false, MISSES);
        })
    };
    let stale = || Case::gateway().with(|case| case.state().config_revision = "older".to_owned());
    expect(vec![
        ("proven", Case::gateway()),
        ("pending", silent()),
        ("pending", stale()),
        ("pending", Case::gateway().with(|case| case.observed.probe = None)),
        ("pending", Case::gateway().with(|case| case.observed.probe.as_mut().unwrap().state = None)),
        ("pending", told(&["time"])),
        // What changes itself is no loss of this gateway's.
        ("proven", told(&["time"]).with(|case| case.unchanged.retain(|name| name != "fetch"))),
        // What did not answer before is none either.
        ("proven", told(&[]).with(|case| case.record.trial.as_mut().unwrap().answered.clear())),
        ("ProgressDeadlineExceeded: it did not answer within 60 s", late(silent())),
        ("ProgressDeadlineExceeded: it did not answer within 60 s", late(stale())),
        (
            "ProgressDeadlineExceeded: it answers, but within 60 s it did not reach fetch",
            late(told(&["time"])),
        ),
        ("proven", late(Case::gateway())),
        ("pending", late(Case::gateway().with(|case| case.observed.probe = None))),
    ]);
}
