//! A revision that does not answer gives its place back.

use super::replacement::{FETCH, GATEWAY, TIME, beside, edit_zone, move_tag, proven, replaces, retired};
use super::*;
use crate::desired::{Declared, Requests};
use crate::gateway_file::{ServerError, ServerExit, ServerPhase};
use crate::observed::ObservedContainer;
use crate::report::MISSES;
use crate::resource::PAUSED_ANNOTATION;
use crate::rollout::Trouble;

/// Lets the gateway tell that the new `time` failed, after its second chance.
fn fail_time(world: &mut World, declared: &Declared) {
    world.now += 10;
    let now = at(world.now);
    world.answer(declared, &["time", "fetch"]);
    let state = world.observed.probe.as_mut().unwrap().state.as_mut().unwrap();
    state.servers[0].phase = ServerPhase::Failed;
    let exit = Some(ServerExit { code: Some(1), signal: None, stderr: Vec::new() });
    state.servers[0].last_error = Some(ServerError { message: "it has no key".to_owned(), exit, at: now });
}

/// A trial of another revision of `time`, begun: the proven container before it, and the one on trial.
fn on_trial() -> (Declared, World, ObservedContainer, ObservedContainer) {
    let (mut declared, mut world) = proven();
    let old = world.container(TIME).clone();
    edit_zone(&mut declared, "UTC");
    world.reconcile(&declared);
    world.answer(&declared, &["fetch"]);
    let new = world.container(TIME).clone();
    (declared, world, old, new)
}

/// The same, taken back.
fn rolled_back() -> (Declared, World, ObservedContainer) {
    let (declared, mut world, old, _) = on_trial();
    fail_time(&mut world, &declared);
    world.reconcile(&declared);
    world.answer(&declared, &["time", "fetch"]);
    assert!(engine(&world.reconcile(&declared)).is_empty());
    assert_eq!(world.container(TIME).id, old.id);
    (declared, world, old)
}

#[test]
fn the_one_that_failed_ends_for_good_before_the_old_one_takes_the_name_and_starts() {
    let (declared, mut world, old, new) = on_trial();
    fail_time(&mut world, &declared);
    let (kept, failed) = (retired(&old), retired(&new));
    assert_eq!(
        engine(&world.reconcile(&declared)),
        [
            format!("let container {TIME} not restart"),
            format!("stop container {TIME}"),
            format!("rename container {TIME} to {failed}"),
            format!("rename container {kept} to {TIME}"),
            format!("let container {TIME} restart"),
            format!("start container {TIME}"),
            format!("remove container {failed}"),
        ]
    );
    assert_eq!(world.container(TIME).id, old.id);
    let record = world.rollouts.servers["time"].failed.clone().unwrap();
    assert_eq!((record.spec_hash, record.reason.as_str()), (new.identity.spec_hash, "ServerFailed"));
    assert_eq!(record.message, "it has no key");
    world.now += 3600;
    assert!(engine(&world.reconcile(&declared)).is_empty(), "it is not tried again");
}

#[test]
fn a_way_back_that_was_cut_off_after_any_step_ends_the_same() {
    let (declared, mut first, old, _) = on_trial();
    fail_time(&mut first, &declared);
    let steps = first.plan(&declared).steps.len();
    for done in 0..=steps {
        let (declared, mut world, ..) = on_trial();
        fail_time(&mut world, &declared);
        let plan = world.plan(&declared);
        world.rollouts = world.desire(&declared).rollouts;
        plan.steps.iter().take(done).for_each(|planned| world.execute(&planned.step));
        world.reconcile(&declared);
        assert_eq!(world.container(TIME).id, old.id, "after {done}");
        assert_eq!(world.container(TIME).state, ContainerState::Running, "after {done}");
        assert!(world.container(TIME).restarts, "after {done}");
        assert_eq!(world.observed.containers.len(), 3, "after {done}");
        assert!(world.plan(&declared).is_empty(), "after {done}");
    }
}

#[test]
fn a_proven_container_that_was_removed_meanwhile_is_made_again_from_the_record() {
    let (declared, mut world, old, new) = on_trial();
    world.observed.containers.retain(|c| c.id != old.id);
    assert!(engine(&world.reconcile(&declared)).is_empty(), "the trial goes on");
    fail_time(&mut world, &declared);
    let kept = retired(&old);
    let mut expected = replaces(&kept, &retired(&new)).to_vec();
    expected.push(format!("remove container {}", retired(&new)));
    assert_eq!(engine(&world.reconcile(&declared)), expected);
    assert_eq!(world.container(TIME).identity.spec_hash, old.identity.spec_hash);
    assert_ne!(world.container(TIME).id, old.id);
    assert!(world.plan(&declared).is_empty());
}

#[test]
fn a_way_back_that_is_lost_after_it_was_taken_is_made_again() {
    let (declared, mut world, old) = rolled_back();
    world.observed.containers.retain(|c| c.name != TIME);
    assert_eq!(
        engine(&world.reconcile(&declared)),
        [format!("create container {TIME}"), format!("start container {TIME}")]
    );
    assert_eq!(world.container(TIME).identity.spec_hash, old.identity.spec_hash);
}

#[test]
fn a_retry_another_image_or_another_specification_is_another_chance() {
    let chances: [fn(&mut Declared, &mut World); 4] = [
        |declared, _| {
            declared.requests.insert("server:time".to_owned(), Requests { restart: 0, retry: 1 });
        },
        |declared, _| {
            declared.requests.insert("*".to_owned(), Requests { restart: 0, retry: 1 });
        },
        |_, world| move_tag(world),
        |declared, _| edit_zone(declared, "CET"),
    ];
    for (number, chance) in chances.into_iter().enumerate() {
        let (mut declared, mut world, old) = rolled_back();
        declared.pins = world.desire(&declared).pins;
        chance(&mut declared, &mut world);
        let new = beside(&world, &declared);
        assert_eq!(engine(&world.reconcile(&declared)), replaces(&new, &retired(&old)), "chance {number}");
        let rollout = &world.rollouts.servers["time"];
        assert!(rollout.failed.is_none() && rollout.trial.is_some(), "chance {number}: {rollout:?}");
    }
}

#[test]
fn what_was_asked_of_another_server_is_no_chance_for_this_one() {
    let (mut declared, world, _) = rolled_back();
    declared.requests.insert("server:fetch".to_owned(), Requests { restart: 0, retry: 1 });
    assert!(engine(&world.plan(&declared)).is_empty());
}

#[test]
fn a_specification_that_is_taken_back_ends_the_failure_without_touching_anything() {
    let (mut declared, mut world, _) = rolled_back();
    declared.catalogs = declare(TWO_SERVERS).catalogs;
    declared.metadata.generation += 1;
    assert!(engine(&world.reconcile(&declared)).is_empty());
    assert_eq!(world.rollouts.servers["time"].failed, None);
}

#[test]
fn limits_of_what_stays_are_not_those_of_what_failed() {
    let (mut declared, mut world, old) = rolled_back();
    world.container(TIME).live.limits.memory = 1 << 20;
    assert_eq!(engine(&world.reconcile(&declared)), [format!("update container {TIME}")]);
    assert_eq!(world.container(TIME).live.limits, old.live.limits);
    declared.spec.servers[0].resources.limits.memory = Some(crate::resource::Memory::from_mib(64));
    assert!(engine(&world.plan(&declared)).is_empty(), "the revision is the same and failed");
}

#[test]
fn a_new_gateway_that_never_answers_gives_the_port_back() {
    let (mut declared, mut world) = proven();
    let old = world.container(GATEWAY).clone();
    declared.metadata.generation += 1;
    declared.spec.image = Some("bowline/gateway:next".parse().unwrap());
    declared.spec.progress_deadline_seconds = Some(20);
    world.add_images(&declared);
    world.reconcile(&declared);
    let failed = retired(world.container(GATEWAY));
    world.observed.probe = None;
    world.now = 100;
    assert!(engine(&world.reconcile(&declared)).is_empty(), "nobody has asked it yet");
    world.observed.probe = Some(Probe { healthy: false, misses: 1, state: None });
    assert!(engine(&world.reconcile(&declared)).is_empty(), "one probe that was missed is no answer");
    world.observed.probe = Some(Probe { healthy: false, misses: MISSES, state: None });
    world.now = 19;
    assert!(engine(&world.reconcile(&declared)).is_empty(), "in time");
    world.now = 20;
    let steps = engine(&world.reconcile(&declared));
    assert_eq!(steps.last().unwrap(), &format!("remove container {failed}"));
    assert_eq!(world.container(GATEWAY).id, old.id);
    let record = world.rollouts.gateway.failed.clone().unwrap();
    assert_eq!(record.reason, "ProgressDeadlineExceeded");
    assert_eq!(names(&world.observed, |role| matches!(role, Role::Server(_))), [TIME, FETCH]);
}

#[test]
fn a_new_gateway_that_loses_a_server_gives_the_port_back_and_says_which() {
    let (mut declared, mut world) = proven();
    declared.metadata.generation += 1;
    declared.spec.image = Some("bowline/gateway:next".parse().unwrap());
    world.add_images(&declared);
    world.reconcile(&declared);
    world.now = 61;
    world.answer(&declared, &["time"]);
    world.reconcile(&declared);
    let record = world.rollouts.gateway.failed.clone().unwrap();
    assert!(record.message.ends_with("did not reach fetch"), "{}", record.message);
}

#[test]
fn a_gateway_on_trial_that_never_comes_to_a_container_keeps_no_server_from_being_judged() {
    let (mut declared, mut world) = proven();
    declared.metadata.generation += 1;
    declared.spec.image = Some("bowline/gateway:next".parse().unwrap());
    world.add_images(&declared);
    world.reconcile(&declared);
    assert!(world.rollouts.gateway.trial.is_some());
    // Another edit before it answered, to an image that there is not: the proven one runs again.
    declared.metadata.generation += 1;
    declared.spec.image = Some("bowline/gateway:absent".parse().unwrap());
    edit_zone(&mut declared, "UTC");
    world.reconcile(&declared);
    world.answer(&declared, &["time", "fetch"]);
    world.reconcile(&declared);
    let record = &world.rollouts.servers["time"];
    assert!(record.trial.is_none() && record.failed.is_none(), "it answers through the proven gateway");
}

#[test]
fn a_container_that_cannot_be_made_or_started_gives_its_place_back() {
    for (refused, count, comes_back) in [(true, 1, true), (false, 1, false), (false, 2, true)] {
        let (declared, mut world, old, _) = on_trial();
        let trial = world.container(TIME);
        (trial.state, trial.started_at, trial.error) =
            (ContainerState::Created, None, "no such program".to_owned());
        let trouble = Trouble { count, refused, message: "no such program".to_owned() };
        world.troubles.insert(Unit::Server("time".to_owned()), trouble);
        world.reconcile(&declared);
        assert_eq!(world.container(TIME).id == old.id, comes_back, "refused {refused}, {count} times");
    }
}

#[test]
fn a_create_that_the_engine_refuses_stops_nothing() {
    let (mut declared, mut world) = proven();
    let old = world.container(TIME).id.clone();
    edit_zone(&mut declared, "UTC");
    // The first run failed at its first step.
    world.rollouts = world.desire(&declared).rollouts;
    let trouble = Trouble { count: 1, refused: true, message: "bad mount".to_owned() };
    world.troubles.insert(Unit::Server("time".to_owned()), trouble);
    assert!(engine(&world.reconcile(&declared)).is_empty());
    assert_eq!(world.container(TIME).id, old);
    assert_eq!(world.rollouts.servers["time"].failed.as_ref().unwrap().reason, "Refused");
}

#[test]
fn a_paused_trial_is_not_judged() {
    let (mut declared, mut world, ..) = on_trial();
    let trial = world.rollouts.clone();
    declared.metadata.annotations.insert(PAUSED_ANNOTATION.to_owned(), "true".to_owned());
    fail_time(&mut world, &declared);
    assert_eq!(world.desire(&declared).rollouts, trial);
    declared.metadata.annotations.clear();
    assert!(world.desire(&declared).rollouts.servers["time"].failed.is_some());
}

#[test]
fn a_lease_that_changed_since_leaves_no_way_back() {
    let (mut declared, mut world, old, _) = on_trial();
    let slot = crate::lease::LeaseSlot::new(
        crate::lease::LeaseKind::Uid,
        crate::lease::Holder::Server("time".to_owned()),
    );
    declared.leases.insert(slot, 1_900_000_050);
    world.reconcile(&declared);
    assert!(world.observed.containers.iter().all(|seen| seen.id != old.id));
    assert_eq!(world.rollouts.servers.get("time").and_then(|rollout| rollout.proven.clone()), None);
}
