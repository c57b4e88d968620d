//! One revision takes another's place.

use serde_json::json;

use super::*;
use crate::catalog::ServerEntry;
use crate::desired::{Declared, Requests, Wanted};
use crate::observed::ObservedContainer;
use crate::resource::Memory;

pub(super) const GATEWAY: &str = "mcp-gateway-u1";
pub(super) const TIME: &str = "mcp-server-u1.default.time";
pub(super) const FETCH: &str = "mcp-server-u1.default.fetch";

/// A gateway of two servers that all answer, and whose containers are proven.
pub(super) fn proven() -> (Declared, World) {
    let declared = declare(TWO_SERVERS);
    let mut world = World::with_images(&declared);
    world.reconcile(&declared);
    world.answer(&declared, &["time", "fetch"]);
    assert!(engine(&world.reconcile(&declared)).is_empty());
    assert!(world.rollouts.iter().all(|(_, rollout)| rollout.proven.is_some()));
    (declared, world)
}

/// Another entry for the server `time`; with another zone it is another revision.
pub(super) fn edit_zone(declared: &mut Declared, zone: &str) {
    let entry = json!({
        "type": "server", "image": "mcp/time:1", "disableNetwork": true, "env": [{ "name": "ZONE", "value": zone }],
    });
    edit_entry(declared, &entry);
}

pub(super) fn edit_entry(declared: &mut Declared, entry: &serde_json::Value) {
    let entry = ServerEntry::from_json(entry).unwrap();
    declared.catalogs[0].spec.registry.insert("time".to_owned(), entry);
    declared.metadata.generation += 1;
}

/// The name of the declared revision of `time` while it stands beside the other one.
pub(super) fn beside(world: &World, declared: &Declared) -> String {
    match &world.desire(declared).servers[0].wanted {
        Wanted::Container(container) => crate::names::beside(TIME, &container.identity.spec_hash),
        other => panic!("{other:?}"),
    }
}

/// The name that a container is retired under.
pub(super) fn retired(container: &ObservedContainer) -> String {
    crate::names::beside(&container.name, &container.identity.spec_hash)
}

/// The steps that put a new revision of `time` in the place of the one that runs.
pub(super) fn replaces(new: &str, old: &str) -> [String; 6] {
    [
        format!("create container {new}"),
        format!("let container {TIME} not restart"),
        format!("stop container {TIME}"),
        format!("rename container {TIME} to {old}"),
        format!("rename container {new} to {TIME}"),
        format!("start container {TIME}"),
    ]
}

/// Lets the tag of `time` name another image.
pub(super) fn move_tag(world: &mut World) {
    let Some(ImageState::Present(mut facts)) = world.observed.images.get("mcp/time:1").cloned() else {
        panic!("the image is there")
    };
    facts.id = "sha256:moved".to_owned();
    world.observed.images.insert(facts.id.clone(), ImageState::Present(facts.clone()));
    world.observed.images.insert("mcp/time:1".to_owned(), ImageState::Present(facts));
}

#[test]
fn the_new_container_is_made_before_the_old_one_stops_which_is_kept_until_the_new_one_answers() {
    let (mut declared, mut world) = proven();
    let old = world.container(TIME).clone();
    edit_zone(&mut declared, "UTC");
    let new = beside(&world, &declared);
    assert_eq!(engine(&world.reconcile(&declared)), replaces(&new, &retired(&old)));
    let kept = world.container(&retired(&old)).clone();
    assert_eq!((kept.id, kept.restarts), (old.id.clone(), false));
    assert!(matches!(kept.state, ContainerState::Exited { .. }));
    // The gateway still tells what it knew of the old one.
    world.answer(&declared, &["fetch"]);
    assert!(engine(&world.reconcile(&declared)).is_empty(), "it waits for the answer");
    world.answer(&declared, &["time", "fetch"]);
    assert_eq!(engine(&world.reconcile(&declared)), [format!("remove container {}", retired(&old))]);
    assert_ne!(world.container(TIME).id, old.id);
    assert!(engine(&world.reconcile(&declared)).is_empty());
    assert!(world.rollouts.servers["time"].trial.is_none());
}

#[test]
fn a_changed_image_or_profile_replaces_and_its_neighbours_stay() {
    let edits: [fn(&mut Declared); 2] = [
        |declared| edit_entry(declared, &json!({ "image": "mcp/time:2", "disableNetwork": true })),
        |declared| declared.spec.servers[0].profile = Some(crate::resource::Profile::Baseline),
    ];
    for edit in edits {
        let (mut declared, mut world) = proven();
        let (old, fetch) = (world.container(TIME).clone(), world.container(FETCH).id.clone());
        let gateway = world.container(GATEWAY).id.clone();
        edit(&mut declared);
        world.add_images(&declared);
        let new = beside(&world, &declared);
        assert_eq!(engine(&world.reconcile(&declared)), replaces(&new, &retired(&old)));
        assert_eq!(world.container(FETCH).id, fetch);
        assert_eq!(world.container(GATEWAY).id, gateway);
    }
}

#[test]
fn a_replacement_that_was_cut_off_after_any_step_ends_the_same() {
    let (mut declared, mut undisturbed) = proven();
    edit_zone(&mut declared, "UTC");
    let steps = undisturbed.plan(&declared).steps.len();
    let end = |world: &mut World| {
        world.reconcile(&declared);
        world.answer(&declared, &["time", "fetch"]);
        world.reconcile(&declared);
        assert!(world.plan(&declared).is_empty());
        let mut left: Vec<_> =
            world.observed.containers.iter().map(|c| (c.name.clone(), c.restarts)).collect();
        left.sort();
        assert_eq!(world.container(TIME).state, ContainerState::Running);
        left
    };
    let expected = end(&mut undisturbed);
    assert_eq!(expected.len(), 3);
    for done in 0..steps {
        let (_, mut world) = proven();
        let plan = world.plan(&declared);
        world.rollouts = world.desire(&declared).rollouts;
        plan.steps.iter().take(done).for_each(|planned| world.execute(&planned.step));
        world.observed.probe = None;
        assert_eq!(end(&mut world), expected, "after {done} steps of {plan}");
    }
}

#[test]
fn an_edit_during_a_trial_keeps_the_way_back_to_what_was_proven() {
    let (mut declared, mut world) = proven();
    let first = world.container(TIME).clone();
    edit_zone(&mut declared, "UTC");
    world.reconcile(&declared);
    let second = world.container(TIME).clone();
    edit_zone(&mut declared, "CET");
    let third = beside(&world, &declared);
    let mut expected = replaces(&third, &retired(&second)).to_vec();
    expected.push(format!("remove container {}", retired(&second)));
    assert_eq!(engine(&world.reconcile(&declared)), expected);
    assert_eq!(world.container(&retired(&first)).id, first.id);
    let running = world.container(TIME).identity.spec_hash.clone();
    let rollout = &world.rollouts.servers["time"];
    assert_eq!(rollout.proven.as_ref().unwrap().container.identity.spec_hash, first.identity.spec_hash);
    assert_eq!(rollout.trial.as_ref().unwrap().spec_hash, running);
}

#[test]
fn a_suspended_trial_goes_on_where_it_was() {
    let (mut declared, mut world) = proven();
    let old = world.container(TIME).clone();
    edit_zone(&mut declared, "UTC");
    world.reconcile(&declared);
    declared.spec.suspend = Some(true);
    world.now = 600;
    world.reconcile(&declared);
    assert!(world.observed.containers.iter().all(|c| !c.restarts && c.state != ContainerState::Running));
    assert_eq!(world.observed.containers.len(), 4, "the way back is kept");
    assert!(world.plan(&declared).is_empty());
    declared.spec.suspend = None;
    world.observed.probe = None;
    let steps = engine(&world.reconcile(&declared));
    assert!(steps.contains(&format!("start container {TIME}")), "{steps:?}");
    assert!(!steps.iter().any(|step| step.contains("__")), "{steps:?}");
    world.now += 30;
    world.answer(&declared, &["fetch"]);
    assert!(engine(&world.reconcile(&declared)).is_empty(), "its time runs from its start");
    world.answer(&declared, &["time", "fetch"]);
    assert_eq!(engine(&world.reconcile(&declared)), [format!("remove container {}", retired(&old))]);
}

#[test]
fn a_gateway_is_replaced_the_same_way_and_its_servers_stay() {
    let (mut declared, mut world) = proven();
    let servers = [world.container(TIME).id.clone(), world.container(FETCH).id.clone()];
    let old = world.container(GATEWAY).clone();
    declared.metadata.generation += 1;
    declared.spec.image = Some("bowline/gateway:next".parse().unwrap());
    world.add_images(&declared);
    let steps = engine(&world.reconcile(&declared));
    assert_eq!(steps.len(), 6, "{steps:?}");
    assert!(steps[0].starts_with(&format!("create container {GATEWAY}__")), "{steps:?}");
    assert_eq!(steps[3], format!("rename container {GATEWAY} to {}", retired(&old)));
    world.answer(&declared, &["time"]);
    assert!(engine(&world.reconcile(&declared)).is_empty(), "fetch answered before and does not now");
    world.answer(&declared, &["time", "fetch"]);
    assert_eq!(engine(&world.reconcile(&declared)), [format!("remove container {}", retired(&old))]);
    assert_eq!([world.container(TIME).id.clone(), world.container(FETCH).id.clone()], servers);
}

#[test]
fn what_cannot_be_carried_out_stops_nothing() {
    let bad = [
        (json!({ "image": "mcp/time:1", "user": "0" }), "Unsupported"),
        (json!({ "image": "mcp/time:1", "command": ["{{time.zone|unknown}}"] }), "InvalidConfig"),
    ];
    for (entry, reason) in bad {
        let (mut declared, mut world) = proven();
        let before = world.desire(&declared).config_revision;
        edit_entry(&mut declared, &entry);
        let desired = world.desire(&declared);
        assert!(
            matches!(&desired.servers[0].wanted, Wanted::Never { reason: told, .. } if told == reason),
            "{:?}",
            desired.servers[0].wanted
        );
        assert_eq!(desired.config_revision, before, "the gateway goes on knowing it");
        assert_eq!(engine(&world.reconcile(&declared)), Vec::<String>::new(), "{reason}");
        // It can even be made again as it was proven.
        world.observed.containers.retain(|c| c.name != TIME);
        assert_eq!(
            engine(&world.reconcile(&declared)),
            [format!("create container {TIME}"), format!("start container {TIME}")]
        );
        edit_zone(&mut declared, "UTC");
        assert!(engine(&world.plan(&declared))[0].starts_with("create container"), "{reason}");
    }
}

#[test]
fn a_restart_replaces_exactly_that_unit_and_looks_up_its_image_anew() {
    let (mut declared, mut world) = proven();
    declared.pins = world.desire(&declared).pins;
    move_tag(&mut world);
    assert!(world.plan(&declared).is_empty(), "a tag that moves changes nothing by itself");
    let old = world.container(TIME).clone();
    declared.requests.insert("server:time".to_owned(), Requests { restart: 1, retry: 0 });
    let new = beside(&world, &declared);
    assert_eq!(engine(&world.reconcile(&declared)), replaces(&new, &retired(&old)));
    assert_eq!(world.container(TIME).image, "sha256:moved");
    world.answer(&declared, &["time", "fetch"]);
    world.reconcile(&declared);
    declared.pins = world.desire(&declared).pins;
    assert!(world.plan(&declared).is_empty(), "once");
    declared.requests.insert("gateway".to_owned(), Requests { restart: 1, retry: 0 });
    let steps = engine(&world.plan(&declared));
    assert_eq!(steps.len(), 6, "{steps:?}");
    assert!(steps.iter().all(|step| step.contains(GATEWAY)), "{steps:?}");
}

#[test]
fn a_restart_of_everything_restarts_each_container_once() {
    let (mut declared, world) = proven();
    declared.requests.insert("*".to_owned(), Requests { restart: 1, retry: 0 });
    let starts = engine(&world.plan(&declared)).iter().filter(|step| step.starts_with("start")).count();
    assert_eq!(starts, 3);
}

#[test]
fn limits_that_change_with_the_rest_are_those_of_the_new_container() {
    let (mut declared, mut world) = proven();
    let old = world.container(TIME).clone();
    edit_zone(&mut declared, "UTC");
    declared.spec.servers[0].resources.limits.memory = Some(Memory::from_mib(64));
    let new = beside(&world, &declared);
    assert_eq!(engine(&world.reconcile(&declared)), replaces(&new, &retired(&old)));
    assert_eq!(world.container(TIME).live.limits.memory, 64 << 20);
}

#[test]
fn a_name_beside_that_somebody_else_has_is_not_fought_for() {
    let (mut declared, mut world) = proven();
    let old = world.container(TIME).clone();
    edit_zone(&mut declared, "UTC");
    let new = beside(&world, &declared);
    world.observed.taken_names.extend([new.clone(), retired(&old)]);
    let steps = engine(&world.reconcile(&declared));
    let whole = format!("{TIME}__{}", old.identity.spec_hash);
    assert!(steps[0].starts_with(&format!("create container {new}")), "{steps:?}");
    assert_ne!(steps[0], format!("create container {new}"));
    assert_eq!(steps[3], format!("rename container {TIME} to {whole}"));
    assert_eq!(world.container(&whole).id, old.id);
    assert!(world.container(TIME).id != old.id);
}
