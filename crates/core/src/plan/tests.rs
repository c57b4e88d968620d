use std::collections::BTreeMap;

use uuid::Uuid;

use super::*;
use crate::gateway_file::GatewayState;
use crate::observed::{ContainerState, Entry, ImageState, Probe};
use crate::testing::{World, at, declare, names};

mod chains;
mod drift;
mod replacement;
mod rollback;
mod secrets;
mod volumes;

const TWO_SERVERS: &str = "
apiVersion: bowline.dev/v1alpha1
kind: ClusterCatalog
metadata: { name: base }
spec:
  registry:
    time: { title: Time, type: server, image: 'mcp/time:1', disableNetwork: true }
    fetch: { title: Fetch, type: server, image: 'mcp/fetch:1' }
---
apiVersion: bowline.dev/v1alpha1
kind: Gateway
metadata: { namespace: u1, name: default }
spec: { catalogs: [base], servers: [time, fetch] }
";

fn texts(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(|planned| planned.step.to_string()).collect()
}

/// Only what the Engine is asked for, in short.
fn engine(plan: &Plan) -> Vec<String> {
    plan.steps.iter().filter(|p| p.step.changes_engine()).map(|p| p.step.to_string()).collect()
}

#[test]
fn a_new_gateway_is_made_in_order_and_then_nothing_is_left_to_do() {
    let declared = declare(TWO_SERVERS);
    let mut world = World::with_images(&declared);
    let plan = world.reconcile(&declared);
    assert_eq!(
        engine(&plan),
        [
            "create network mcp-net-u1.default (subnet 10.213.0.0/26)",
            "create container mcp-gateway-u1",
            "start container mcp-gateway-u1",
            "create container mcp-server-u1.default.time",
            "start container mcp-server-u1.default.time",
            "create container mcp-server-u1.default.fetch",
            "start container mcp-server-u1.default.fetch",
        ]
    );
    assert_eq!(world.plan(&declared), Plan::default(), "a pass with nothing to do does nothing");
}

#[test]
fn every_file_is_there_before_the_first_container() {
    let declared = declare(TWO_SERVERS);
    let plan = World::with_images(&declared).plan(&declared);
    let create = plan.steps.iter().position(|p| matches!(p.step, Step::CreateContainer { .. })).unwrap();
    let last_write = plan.steps.iter().rposition(|p| matches!(p.step, Step::WriteFile { .. })).unwrap();
    assert!(last_write < create);
}

#[test]
fn a_container_that_is_gone_is_made_again_and_nothing_else_is_touched() {
    let declared = declare(TWO_SERVERS);
    let mut world = World::with_images(&declared);
    world.reconcile(&declared);
    world.observed.containers.retain(|c| c.name != "mcp-server-u1.default.time");
    assert_eq!(
        texts(&world.plan(&declared)),
        ["create container mcp-server-u1.default.time", "start container mcp-server-u1.default.time"]
    );
}

#[test]
fn what_is_dead_is_started_and_what_restarts_by_itself_is_left_alone() {
    let declared = declare(TWO_SERVERS);
    let mut world = World::with_images(&declared);
    world.reconcile(&declared);
    let cases = [
        (ContainerState::Running, vec![]),
        (ContainerState::Restarting, vec![]),
        (ContainerState::Paused, vec!["unpause container mcp-gateway-u1"]),
        (ContainerState::Created, vec!["start container mcp-gateway-u1"]),
        (ContainerState::Exited { code: 137 }, vec!["start container mcp-gateway-u1"]),
        (
            ContainerState::Dead,
            vec![
                "remove container mcp-gateway-u1",
                "create container mcp-gateway-u1",
                "start container mcp-gateway-u1",
            ],
        ),
    ];
    for (state, expected) in cases {
        world.container("mcp-gateway-u1").state = state;
        assert_eq!(texts(&world.plan(&declared)), expected, "{state:?}");
    }
}

#[test]
fn a_container_that_ended_soon_after_its_start_waits_before_the_next() {
    let declared = declare(TWO_SERVERS);
    let mut world = World::with_images(&declared);
    world.reconcile(&declared);
    let gateway = world.container("mcp-gateway-u1");
    gateway.state = ContainerState::Exited { code: 1 };
    gateway.started_at = Some(at(0));
    gateway.finished_at = Some(at(2));
    world.now = 3;
    let plan = world.plan(&declared);
    assert_eq!((texts(&plan), plan.again_at), (Vec::new(), Some(at(12))));
    world.now = 12;
    assert_eq!(texts(&world.plan(&declared)), ["start container mcp-gateway-u1"]);
}

#[test]
fn a_changed_limit_is_put_right_in_place() {
    let mut declared = declare(TWO_SERVERS);
    let mut world = World::with_images(&declared);
    world.reconcile(&declared);
    declared.metadata.generation += 1;
    declared.spec.servers[0].resources.limits.memory = Some(crate::resource::Memory::from_mib(64));
    declared.spec.resources.limits.pids = Some(99);
    assert_eq!(
        engine(&world.reconcile(&declared)),
        ["update container mcp-gateway-u1", "update container mcp-server-u1.default.time"]
    );
    assert_eq!(world.container("mcp-server-u1.default.time").live.limits.memory, 64 << 20);
    assert!(world.plan(&declared).is_empty());
}

#[test]
fn a_server_that_is_switched_off_goes_with_its_directory_and_the_gateway_stays() {
    let mut declared = declare(TWO_SERVERS);
    let mut world = World::with_images(&declared);
    world.reconcile(&declared);
    let gateway = world.container("mcp-gateway-u1").id.clone();
    declared.metadata.generation += 1;
    declared.spec.servers[1].enabled = Some(false);
    let plan = world.reconcile(&declared);
    assert_eq!(texts(&plan).last().unwrap(), "remove sockets/servers/fetch");
    assert_eq!(world.container("mcp-gateway-u1").id, gateway);
    assert_eq!(
        names(&world.observed, |role| matches!(role, Role::Server(_))),
        ["mcp-server-u1.default.time"]
    );
    assert!(world.plan(&declared).is_empty());
}

#[test]
fn a_missing_image_is_pulled_and_blocks_nothing_else() {
    let declared = declare(TWO_SERVERS);
    let mut world = World::with_images(&declared);
    world.observed.images.insert("mcp/fetch:1".to_owned(), ImageState::Absent);
    let plan = world.plan(&declared);
    assert_eq!(texts(&plan).last().unwrap(), "pull image mcp/fetch:1");
    assert!(texts(&plan).contains(&"start container mcp-server-u1.default.time".to_owned()));
    assert!(!texts(&plan).contains(&"create container mcp-server-u1.default.fetch".to_owned()));
}

#[test]
fn a_failed_pull_is_tried_again_later_and_later() {
    let declared = declare(TWO_SERVERS);
    let mut world = World::with_images(&declared);
    world.reconcile(&declared);
    world.observed.containers.retain(|c| c.name != "mcp-server-u1.default.fetch");
    for (failures, wait) in [(1, 10), (2, 20), (3, 40), (30, 300)] {
        let failed = ImageState::Failed { message: "no".to_owned(), at: at(0), failures };
        world.observed.images.insert("mcp/fetch:1".to_owned(), failed);
        world.now = wait - 1;
        let plan = world.plan(&declared);
        assert_eq!((engine(&plan), plan.again_at), (Vec::new(), Some(at(wait))), "after {failures}");
        world.now = wait;
        assert_eq!(engine(&world.plan(&declared)), ["pull image mcp/fetch:1"]);
    }
}

#[test]
fn an_image_that_went_stops_no_container_that_runs_on_it() {
    let mut declared = declare(TWO_SERVERS);
    let mut world = World::with_images(&declared);
    world.reconcile(&declared);
    declared.pins = world.desire(&declared).pins;
    world.observed.images.values_mut().for_each(|state| *state = ImageState::Absent);
    let plan = world.plan(&declared);
    assert!(texts(&plan).iter().all(|step| step.starts_with("pull image")), "{plan}");
}

#[test]
fn a_server_whose_next_image_is_missing_is_served_by_its_old_container() {
    let mut declared = declare(TWO_SERVERS);
    let mut world = World::with_images(&declared);
    world.reconcile(&declared);
    let before = world.desire(&declared).config_revision;
    declared.metadata.generation += 1;
    world.observed.images.insert("mcp/fetch:1".to_owned(), ImageState::Absent);
    let plan = world.plan(&declared);
    assert_eq!(world.desire(&declared).config_revision, before, "the gateway goes on knowing it");
    assert!(!texts(&plan).iter().any(|step| step.starts_with("remove")), "{plan}");
}

#[test]
fn a_running_container_whose_directory_was_lost_is_made_anew() {
    let declared = declare(TWO_SERVERS);
    let mut world = World::with_images(&declared);
    world.reconcile(&declared);
    let tree = world.observed.trees.get_mut(&Uuid::from_u128(42)).unwrap();
    tree.retain(|path, _| !path.starts_with("sockets/servers/time"));
    let steps = texts(&world.reconcile(&declared));
    assert!(steps.contains(&"remove container mcp-server-u1.default.time".to_owned()), "{steps:?}");
    assert!(!steps.iter().any(|step| step.ends_with("mcp-gateway-u1")), "{steps:?}");
    assert!(world.plan(&declared).is_empty());
}

#[test]
fn deletion_keeps_network_and_files_while_a_container_is_still_there() {
    let declared = declare(TWO_SERVERS);
    let mut world = World::with_images(&declared);
    world.reconcile(&declared);
    let held = BTreeMap::from([(Unit::Server("time".to_owned()), at(30))]);
    let kept =
        |plan: &Plan| !texts(plan).iter().any(|s| s.starts_with("remove network") || s == "remove all files");
    assert!(kept(&plan(None, &world.observed, &held, at(0))), "held");
    world.container("mcp-server-u1.default.time").state = ContainerState::Removing;
    assert!(kept(&plan(None, &world.observed, &Holds::new(), at(0))), "being removed");
}

#[test]
fn a_moved_tag_changes_nothing_until_the_next_generation() {
    let mut declared = declare(TWO_SERVERS);
    let mut world = World::with_images(&declared);
    world.reconcile(&declared);
    declared.pins = world.desire(&declared).pins;
    let mut moved = match &world.observed.images["mcp/time:1"] {
        ImageState::Present(facts) => facts.clone(),
        other => panic!("{other:?}"),
    };
    moved.id = "sha256:moved".to_owned();
    world.observed.images.insert("mcp/time:1".to_owned(), ImageState::Present(moved));
    assert!(world.plan(&declared).is_empty());
    assert!(world.desire(&declared).servers[0].image_outdated);
    declared.metadata.generation += 1;
    let steps = engine(&world.plan(&declared));
    assert!(steps[0].starts_with("create container mcp-server-u1.default.time__"), "{steps:?}");
}

#[test]
fn a_suspended_gateway_stops_for_good_and_comes_back() {
    let mut declared = declare(TWO_SERVERS);
    let mut world = World::with_images(&declared);
    world.reconcile(&declared);
    declared.metadata.generation += 1;
    declared.spec.suspend = Some(true);
    let steps = engine(&world.reconcile(&declared));
    assert_eq!(steps[..2], ["let container mcp-gateway-u1 not restart", "stop container mcp-gateway-u1"]);
    assert!(world.plan(&declared).is_empty());
    declared.spec.suspend = None;
    world.now = 60;
    let steps = engine(&world.reconcile(&declared));
    assert_eq!(steps[..2], ["let container mcp-gateway-u1 restart", "start container mcp-gateway-u1"]);
    assert!(world.plan(&declared).is_empty());
}

#[test]
fn deletion_removes_containers_then_networks_then_files() {
    let declared = declare(TWO_SERVERS);
    let mut world = World::with_images(&declared);
    world.reconcile(&declared);
    let plan = plan(None, &world.observed, &Holds::new(), at(0));
    let kinds: Vec<_> = plan
        .steps
        .iter()
        .map(|p| match p.step {
            Step::RemoveContainer { .. } => 'c',
            Step::RemoveNetwork { .. } => 'n',
            Step::RemovePath { .. } => 'f',
            _ => '.',
        })
        .collect();
    assert_eq!(kinds.into_iter().collect::<String>(), "..c..c..cnf");
    plan.steps.iter().for_each(|planned| world.execute(&planned.step));
    assert_eq!((world.observed.containers.len(), world.observed.networks.len()), (0, 0));
    assert!(world.observed.trees.is_empty());
}

#[test]
fn what_an_older_object_of_the_same_name_left_is_removed() {
    let mut declared = declare(TWO_SERVERS);
    let mut world = World::with_images(&declared);
    world.reconcile(&declared);
    declared.metadata.uid = Uuid::from_u128(43);
    world.reconcile(&declared);
    assert!(world.observed.containers.iter().all(|c| c.identity.uid == Uuid::from_u128(43)));
    assert_eq!(world.observed.trees.keys().collect::<Vec<_>>(), [&Uuid::from_u128(43)]);
    assert!(world.plan(&declared).is_empty());
}

#[test]
fn leftovers_in_the_tree_go_and_the_gateways_own_sockets_stay() {
    let declared = declare(TWO_SERVERS);
    let mut world = World::with_images(&declared);
    world.reconcile(&declared);
    let tree = world.observed.trees.get_mut(&Uuid::from_u128(42)).unwrap();
    let file = || Entry::File { mode: 0o600, sha256: String::new() };
    tree.insert("config/.gateway.json.tmp".to_owned(), file());
    tree.insert("sockets/control/control.sock".to_owned(), Entry::Socket);
    tree.insert("sockets/servers/time/mcp.sock".to_owned(), Entry::Socket);
    tree.insert("sockets/servers/old".to_owned(), Entry::Directory { mode: 0o777 });
    tree.insert("sockets/servers/old/mcp.sock".to_owned(), Entry::Socket);
    assert_eq!(
        texts(&world.plan(&declared)),
        ["remove config/.gateway.json.tmp", "remove sockets/servers/old"]
    );
}

#[test]
fn a_gateway_that_tells_an_older_revision_is_asked_to_reload() {
    let mut declared = declare(TWO_SERVERS);
    let mut world = World::with_images(&declared);
    world.reconcile(&declared);
    let state = GatewayState {
        version: "1".to_owned(),
        config_revision: world.desire(&declared).config_revision,
        tokens_revision: 0,
        servers: Vec::new(),
    };
    world.observed.probe = Some(Probe { healthy: true, misses: 0, state: Some(state) });
    assert!(engine(&world.reconcile(&declared)).is_empty());
    assert!(world.plan(&declared).is_empty());
    declared.tokens_revision = 1;
    assert_eq!(texts(&world.reconcile(&declared))[1..], ["reload gateway"]);
    assert_eq!(texts(&world.plan(&declared)), ["reload gateway"], "until it tells the new revision");
}

#[test]
fn a_held_unit_does_nothing_and_the_others_go_on() {
    let declared = declare(TWO_SERVERS);
    let world = World::with_images(&declared);
    let holds = BTreeMap::from([(Unit::Server("time".to_owned()), at(30))]);
    let plan = world.plan_held(&declared, &holds);
    assert!(!engine(&plan).iter().any(|step| step.contains("u1.default.time")));
    assert!(engine(&plan).contains(&"start container mcp-server-u1.default.fetch".to_owned()));
    assert_eq!(plan.again_at, Some(at(30)));
}

#[test]
fn a_name_that_somebody_else_has_is_not_fought_for() {
    let declared = declare(TWO_SERVERS);
    let mut world = World::with_images(&declared);
    world.observed.taken_names.insert("mcp-gateway-u1".to_owned());
    let steps = engine(&world.plan(&declared));
    assert!(steps.iter().any(|s| s.starts_with("create container mcp-gateway-u1_default_")), "{steps:?}");
    assert!(!steps.contains(&"create container mcp-gateway-u1".to_owned()));
}

#[test]
fn a_lost_network_takes_its_containers_with_it_and_spares_the_others() {
    let declared = declare(TWO_SERVERS);
    let mut world = World::with_images(&declared);
    world.reconcile(&declared);
    let time = world.container("mcp-server-u1.default.time").id.clone();
    world.observed.networks.clear();
    world.reconcile(&declared);
    assert!(world.plan(&declared).is_empty());
    assert_eq!(world.container("mcp-server-u1.default.time").id, time);
}
