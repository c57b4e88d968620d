//! What a replacement, its failure and a pause look like from outside.

use super::*;
use crate::resource::PAUSED_ANNOTATION;

const BOTH: [(&str, ServerPhase); 2] = [("time", ServerPhase::Running), ("fetch", ServerPhase::Running)];

/// A gateway whose containers are all proven.
fn proven() -> Bench {
    let mut bench = Bench::running(&BOTH);
    bench.world.reconcile(&bench.declared);
    assert!(bench.world.rollouts.servers["time"].proven.is_some());
    bench
}

/// The same, with another revision of `time` just started.
fn on_trial() -> Bench {
    let mut bench = proven();
    bench.declared.metadata.generation += 1;
    bench.declared.spec.servers[0].profile = Some(crate::resource::Profile::Baseline);
    bench.world.reconcile(&bench.declared);
    bench.answer(&[("time", ServerPhase::Starting), ("fetch", ServerPhase::Running)]);
    bench
}

/// The same, after that revision said that it cannot run; the one before runs again.
fn rolled_back() -> Bench {
    let mut bench = on_trial();
    bench.world.now = 10;
    bench.answer(&[("time", ServerPhase::Failed), ("fetch", ServerPhase::Running)]);
    let state = bench.world.observed.probe.as_mut().and_then(|probe| probe.state.as_mut()).unwrap();
    state.servers[0].last_error.as_mut().unwrap().at = at(10);
    bench.world.reconcile(&bench.declared);
    bench.answer(&BOTH);
    bench
}

fn message(status: &GatewayStatus, condition: ConditionType) -> &str {
    &status.condition(condition).unwrap().message
}

#[test]
fn a_container_on_trial_is_being_replaced_until_it_answers() {
    let mut bench = on_trial();
    let status = bench.status();
    expect(&status, &[(Progressing, True, "Replacing"), (Available, True, "Answering")]);
    assert_eq!(message(&status, Progressing), "server time");
    expect(&status, &[(Ready, False, "ServersStarting")]);
    bench.answer(&BOTH);
    bench.world.reconcile(&bench.declared);
    expect(&bench.status(), &[(Progressing, False, "Complete"), (Ready, True, "ServersAnswer")]);
}

#[test]
fn a_revision_that_was_taken_back_is_told_with_its_reason_and_what_to_do() {
    let bench = rolled_back();
    let status = bench.status();
    expect(
        &status,
        &[(Progressing, False, "RolledBack"), (Available, True, "Answering"), (Ready, True, "ServersAnswer")],
    );
    assert_eq!(
        message(&status, Progressing),
        "server time runs as it did before the last change: ServerFailed: the process ended; change it, or \
         `bowline retry`"
    );
    let server = &status.servers[0];
    assert_eq!((server.state, server.reason.as_deref()), (ServerState::Running, Some("RolledBack")));
    assert_eq!(server.last_error.as_deref(), Some("the process ended"));
    let failed = server.failed_revision.clone().unwrap();
    assert_eq!((failed.reason.as_str(), failed.at), ("ServerFailed", at(10)));
    let declared = match &bench.world.desire(&bench.declared).servers[0].wanted {
        Wanted::Container(container) => container.identity.spec_hash.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(failed.revision, declared);
    assert_eq!((&status.servers[1].reason, &status.servers[1].failed_revision), (&None, &None));
    assert_eq!(status.failed_revision, None, "that is the gateway container's");
}

#[test]
fn a_way_back_that_is_being_taken_is_no_end_yet() {
    let mut bench = rolled_back();
    bench.world.container("mcp-server-u1.default.time").state = ContainerState::Exited { code: 1 };
    bench.world.now = 60;
    expect(&bench.status(), &[(Progressing, True, "Changing")]);
    bench.failures.insert(Unit::Server("time".to_owned()), "bad mount".to_owned());
    expect(&bench.status(), &[(Progressing, True, "BackOff")]);
}

#[test]
fn a_way_back_that_does_not_answer_either_is_not_running() {
    let mut bench = rolled_back();
    bench.answer(&[("time", ServerPhase::Failed), ("fetch", ServerPhase::Running)]);
    let status = bench.status();
    assert_eq!(
        (status.servers[0].state, status.servers[0].reason.as_deref()),
        (ServerState::Failed, Some("ServerFailed"))
    );
    assert!(status.servers[0].failed_revision.is_some());
    expect(&status, &[(Progressing, False, "RolledBack"), (Ready, False, "ServersFailed")]);
}

#[test]
fn a_failed_gateway_container_is_the_failed_revision_of_the_whole() {
    let mut bench = proven();
    bench.declared.metadata.generation += 1;
    bench.declared.spec.image = Some("bowline/gateway:next".parse().unwrap());
    bench.world.add_images(&bench.declared);
    bench.world.reconcile(&bench.declared);
    bench.world.observed.probe = None;
    expect(&bench.status(), &[(Progressing, True, "Replacing")]);
    bench.world.observed.probe = Some(Probe { healthy: false, misses: 3, state: None });
    bench.world.now = 60;
    bench.world.reconcile(&bench.declared);
    bench.answer(&BOTH);
    let status = bench.status();
    expect(&status, &[(Progressing, False, "RolledBack"), (Ready, True, "ServersAnswer")]);
    let failed = status.failed_revision.unwrap();
    assert_eq!(failed.reason, "ProgressDeadlineExceeded");
    assert_eq!(failed.message, "it did not answer within 60 s");
    assert!(status.servers.iter().all(|server| server.failed_revision.is_none()));
}

#[test]
fn the_container_that_is_kept_as_the_way_back_is_not_the_one_that_is_told_of() {
    let bench = on_trial();
    let status = bench.status();
    let running = bench.world.observed.containers.iter().find(|seen| seen.name.ends_with("time")).unwrap();
    assert_eq!(status.servers[0].image_id.as_deref(), Some(running.image.as_str()));
    assert_eq!(status.servers[0].state, ServerState::Starting);
}

#[test]
fn a_paused_gateway_says_so_before_anything_else() {
    let mut bench = rolled_back();
    bench.failures.insert(Unit::Gateway, "bad mount".to_owned());
    bench.declared.metadata.annotations.insert(PAUSED_ANNOTATION.to_owned(), "true".to_owned());
    let status = bench.status();
    expect(&status, &[(Progressing, Unknown, "Paused"), (Available, True, "Answering")]);
    assert!(message(&status, Progressing).contains(PAUSED_ANNOTATION));
    bench.declared.metadata.annotations.insert(PAUSED_ANNOTATION.to_owned(), "false".to_owned());
    expect(&bench.status(), &[(Progressing, True, "BackOff")]);
}
