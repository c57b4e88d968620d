//! What somebody does to a container behind our back is put right, in place where Docker can.

use super::replacement::{FETCH, GATEWAY, TIME, proven};
use super::*;
use crate::desired::Declared;
use crate::observed::{Limit, Live};

/// Plans one repair, carries it out, and wants nothing left to do.
fn repair(world: &mut World, declared: &Declared) -> Vec<String> {
    let steps = engine(&world.reconcile(declared));
    assert!(world.plan(declared).is_empty(), "{}", world.plan(declared));
    steps
}

#[test]
fn limits_that_were_changed_are_set_again() {
    let drifts: [fn(&mut Live); 5] = [
        |live| live.limits.memory *= 2,
        |live| live.memory_swap = -1,
        |live| live.limits.nano_cpus = None,
        |live| live.limits.cpu_shares = Some(2),
        |live| live.limits.pids = 0,
    ];
    for (number, drift) in drifts.into_iter().enumerate() {
        let (declared, mut world) = proven();
        drift(&mut world.container(TIME).live);
        assert_eq!(repair(&mut world, &declared), [format!("update container {TIME}")], "drift {number}");
    }
}

#[test]
fn limits_that_the_engine_cannot_hold_are_no_drift() {
    for limit in [Limit::Memory, Limit::Swap, Limit::CpuShares, Limit::Pids] {
        let (declared, mut world) = proven();
        let live = &mut world.container(TIME).live;
        live.unheld.insert(limit);
        match limit {
            Limit::Memory => live.limits.memory = 0,
            Limit::Swap => live.memory_swap = -1,
            Limit::CpuShares => live.limits.cpu_shares = Some(2),
            Limit::Pids => live.limits.pids = 0,
        }
        assert!(world.plan(&declared).is_empty(), "{limit:?}");
        world.container(TIME).live.limits.nano_cpus = None;
        assert_eq!(world.plan(&declared).steps.len(), 1, "{limit:?}: the others are held");
    }
}

#[test]
fn dockers_defaults_are_no_drift() {
    let (declared, mut world) = proven();
    assert_eq!(world.container(TIME).live.limits.cpu_shares, None);
    for same in [0, 1024] {
        world.container(TIME).live.limits.cpu_shares = Some(same);
        assert!(world.plan(&declared).is_empty(), "{same} shares");
    }
}

#[test]
fn a_container_that_was_detached_from_its_network_is_attached_again() {
    let (declared, mut world) = proven();
    let network = world.observed.networks[0].name.clone();
    world.container(FETCH).live.networks.clear();
    assert_eq!(repair(&mut world, &declared), [format!("connect container {FETCH} to network {network}")]);
}

#[test]
fn a_container_that_was_attached_to_another_network_is_detached_from_it() {
    let (declared, mut world) = proven();
    for name in [FETCH, TIME] {
        world.container(name).live.networks.insert("theirs".to_owned());
        assert_eq!(
            repair(&mut world, &declared),
            [format!("disconnect container {name} from network theirs")]
        );
    }
}

#[test]
fn a_network_that_was_removed_is_made_again_and_its_running_containers_attached() {
    let (declared, mut world) = proven();
    let ids: Vec<_> = world.observed.containers.iter().map(|seen| seen.id.clone()).collect();
    let network = world.observed.networks.remove(0).name;
    for name in [GATEWAY, FETCH] {
        // Docker removes no network that a container is attached to.
        world.container(name).live.networks.clear();
    }
    assert_eq!(
        repair(&mut world, &declared),
        [
            format!("create network {network} (subnet 10.213.0.0/26)"),
            format!("connect container {GATEWAY} to network {network}"),
            format!("connect container {FETCH} to network {network}"),
        ]
    );
    let after: Vec<_> = world.observed.containers.iter().map(|seen| seen.id.clone()).collect();
    assert_eq!(after, ids);
}

#[test]
fn a_stopped_container_of_a_network_that_is_gone_is_made_anew() {
    let (declared, mut world) = proven();
    world.container(FETCH).state = ContainerState::Exited { code: 0 };
    world.container(GATEWAY).live.networks.clear();
    world.observed.networks.clear();
    let steps = repair(&mut world, &declared);
    let begin = steps.iter().position(|step| *step == format!("create container {FETCH}")).unwrap();
    assert!(steps[..begin].contains(&format!("remove container {FETCH}")), "{steps:?}");
    assert!(!steps.iter().any(|step| step.contains(TIME)), "{steps:?}");
}

#[test]
fn a_stopped_way_back_of_a_network_that_is_gone_is_made_again_when_it_is_needed() {
    let (mut declared, mut world) = proven();
    let old = world.container(FETCH).identity.spec_hash.clone();
    declared.requests.insert("server:fetch".to_owned(), crate::desired::Requests { restart: 1, retry: 0 });
    world.reconcile(&declared);
    world.answer(&declared, &["time"]);
    world.observed.networks.clear();
    for name in [GATEWAY, FETCH] {
        world.container(name).live.networks.clear();
    }
    repair(&mut world, &declared);
    assert_eq!(names(&world.observed, |role| matches!(role, Role::Server(_))), [TIME, FETCH]);
    world.now = 100;
    repair(&mut world, &declared);
    assert_eq!(world.container(FETCH).identity.spec_hash, old);
    assert_eq!(world.container(FETCH).state, ContainerState::Running);
}

#[test]
fn a_container_that_was_renamed_gets_its_name_back() {
    let (declared, mut world) = proven();
    world.container(TIME).name = "mine".to_owned();
    assert_eq!(repair(&mut world, &declared), [format!("rename container mine to {TIME}")]);
}

#[test]
fn a_paused_container_goes_on_where_it_was() {
    let (declared, mut world) = proven();
    world.container(TIME).state = ContainerState::Paused;
    assert_eq!(repair(&mut world, &declared), [format!("unpause container {TIME}")]);
}

#[test]
fn a_container_that_would_not_come_up_with_the_daemon_will_again() {
    let (declared, mut world) = proven();
    world.container(TIME).restarts = false;
    assert_eq!(repair(&mut world, &declared), [format!("let container {TIME} restart")]);
}

#[test]
fn two_containers_of_one_revision_become_the_one_that_runs() {
    let (declared, mut world) = proven();
    let mut twin = world.container(TIME).clone();
    (twin.id, twin.name, twin.state) = ("twin".to_owned(), "twin".to_owned(), ContainerState::Created);
    world.observed.containers.push(twin);
    assert_eq!(repair(&mut world, &declared), ["remove container twin"]);
    assert_eq!(world.container(TIME).state, ContainerState::Running);
}
