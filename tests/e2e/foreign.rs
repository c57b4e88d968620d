//! What is not ours stays as it is: near misses of our objects, a second instance, and objects that have
//! exactly our names.

use std::collections::{BTreeMap, BTreeSet};

use bowline_tests::bowline::Bowline;
use bowline_tests::engine::{Engine, id};
use bowline_tests::figures;
use bowline_tests::foreign::Foreigners;
use bowline_tests::postgres::Postgres;
use bowline_tests::wait;
use serde_json::Value;

use crate::support::{LIGHT, PATIENCE, all_ready, call, catalog, entry, gateway, members, starts};

fn declared(users: &[&str]) -> String {
    let mut yaml = catalog(&[
        ("alone", entry(LIGHT, "disableNetwork: true, command: [--tools, pid]")),
        ("online", entry(LIGHT, "command: [--tools, echo]")),
    ]);
    for user in users {
        yaml.push_str(&gateway(user, &["alone", "online"]));
    }
    yaml
}

/// The complete inspect of every container and network of an instance.
fn everything_of(instance: &str) -> BTreeMap<String, Value> {
    let engine = Engine::local();
    let containers = engine.containers_of(instance).into_iter().map(|one| {
        let mut inspect = engine.inspect_container(id(&one));
        // A set, which the Engine shows in any order.
        if let Some(mounts) = inspect["Mounts"].as_array_mut() {
            mounts.sort_by_key(Value::to_string);
        }
        inspect
    });
    let networks = engine.networks_of(instance).into_iter().map(|one| engine.inspect_network(id(&one)));
    containers.chain(networks).map(|one| (id(&one).to_owned(), one)).collect()
}

/// The lines in which two inspects of the same objects differ.
fn difference(before: &BTreeMap<String, Value>, now: &BTreeMap<String, Value>) -> Vec<String> {
    let lines = |all: &BTreeMap<String, Value>| -> BTreeSet<String> {
        let texts = all.iter().map(|(id, value)| (id, format!("{value:#}")));
        texts
            .flat_map(|(id, text)| text.lines().map(|line| format!("{id} {line}")).collect::<Vec<_>>())
            .collect()
    };
    lines(before).symmetric_difference(&lines(now)).cloned().collect()
}

#[test]
fn neither_near_misses_nor_another_instance_are_touched_in_a_whole_life() {
    let engine = Engine::local();
    let mut neighbour = Bowline::new();
    neighbour.start();
    neighbour.apply(&declared(&["u1", "u2"]));
    all_ready(&neighbour, &["u1", "u2"]);

    let postgres = Postgres::start();
    let mut bowline = Bowline::new().on(&postgres);
    bowline.start();
    let gateways = bowline.runtime_dir().join("gateways");
    let roots = [bowline.runtime_dir(), &gateways, bowline.state_dir(), neighbour.runtime_dir()];
    let foreigners = Foreigners::make(&engine, bowline.allotment(), ["u1", "u2"], roots);
    let before = (foreigners.portrait(), everything_of(neighbour.allotment().instance()));
    assert_eq!(before.1.len(), 8, "two gateways, four servers, two networks");
    let check = |moment: &str| {
        let now = (foreigners.portrait(), everything_of(neighbour.allotment().instance()));
        assert_eq!(now.0, before.0, "{moment}");
        assert_eq!(difference(&before.1, &now.1), Vec::<String>::new(), "{moment}");
        assert!(now.1 == before.1, "{moment}");
    };

    bowline.apply(&declared(&["u1", "u2"]));
    all_ready(&bowline, &["u1", "u2"]);
    check("after two gateways were made");

    let removed = starts(&bowline, "u1");
    engine.remove_container(&removed["online"].0);
    wait::until_true("it is healed", PATIENCE, || {
        starts(&bowline, "u1").get("online").is_some_and(|(id, _)| *id != removed["online"].0)
    });
    bowline.apply(&gateway("u1", &["{ name: alone, resources: { limits: { memory: 64Mi } } }"]));
    wait::until_true("a server is gone", PATIENCE, || !members(&bowline, "u1").contains_key("online"));
    all_ready(&bowline, &["u1"]);
    check("after a healing and a change");

    bowline.kill_9();
    bowline.start();
    all_ready(&bowline, &["u1", "u2"]);
    bowline.stop();
    bowline.start();
    check("after a kill, a start, a stop and a start");

    bowline.cli(["delete", "gateway/u1/default"]).ok();
    check("after a deletion");
    bowline.stop();
    let said = bowline.teardown().ok();
    assert!(said.contains("mcp-gateway-u2"), "{said}");
    check("after the teardown");
    // Of our own there is nothing left; what carries our instance's name is foreign.
    let mark = "dev.bowline.uid";
    let listed = engine.containers_of(bowline.allotment().instance());
    assert!(listed.iter().all(|one| one["Labels"][mark].is_null()), "{listed:?}");
    call(&neighbour, "u1", "echo", "{}").ok();
    figures::note(
        "foreign",
        "40 near misses and a second instance with 8 objects: equal after a whole life and its teardown",
    );
}

#[test]
fn somebody_elses_objects_with_our_very_names_are_left_alone_and_ours_take_others() {
    let engine = Engine::local();
    let postgres = Postgres::start();
    let mut bowline = Bowline::new().on(&postgres);
    bowline.start();
    let instance = bowline.allotment().instance();
    let none = BTreeMap::new();
    let containers = ["mcp-gateway-u1", "mcp-server-u1.default.alone", "mcp-server-u1.default.online"]
        .map(|name| engine.create_container(&format!("{name}_{instance}"), &none));
    let subnet = bowline.allotment().foreign_subnet(0);
    let network = engine.create_network(&format!("mcp-net-u1.default_{instance}"), &subnet, &none);
    let owned = Held { engine: engine.clone(), containers: containers.to_vec(), network };
    let before = owned.portrait();

    bowline.apply(&declared(&["u1"]));
    all_ready(&bowline, &["u1"]);
    call(&bowline, "u1", "echo", "{}").ok();
    let uid = bowline.object("gateway", "u1", "default")["metadata"]["uid"]
        .as_str()
        .expect("a uid")
        .replace('-', "");
    let suffix = format!("_{instance}_{}", &uid[24..]);
    for (role, seen) in members(&bowline, "u1") {
        let name = seen["Name"].as_str().expect("a name");
        assert!(name.ends_with(&suffix), "{role} is named {name}");
    }
    assert_eq!(owned.portrait(), before);

    // The other names survive a restart, although nobody remembers why they were taken.
    let ours = starts(&bowline, "u1");
    bowline.kill_9();
    bowline.start();
    all_ready(&bowline, &["u1"]);
    assert_eq!(starts(&bowline, "u1"), ours);
    bowline.cli(["delete", "gateway/u1/default"]).ok();
    assert_eq!(owned.portrait(), before);
    assert_eq!(bowline.left_over(), Vec::<String>::new());
    figures::note(
        "foreign",
        "3 containers and a network with exactly our names: untouched, ours Ready under other names",
    );
}

/// Objects of the test itself, removed with it.
struct Held {
    engine: Engine,
    containers: Vec<String>,
    network: String,
}

impl Held {
    fn portrait(&self) -> Vec<Value> {
        let containers = self.containers.iter().map(|id| self.engine.inspect_container(id));
        containers.chain([self.engine.inspect_network(&self.network)]).collect()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Each may be gone already where a test has just found that it was touched.
        for id in &self.containers {
            self.engine.call("DELETE", &format!("/containers/{id}?force=true"), b"");
        }
        self.engine.call("DELETE", &format!("/networks/{}", self.network), b"");
    }
}
