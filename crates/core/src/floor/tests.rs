use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::container::{Limits, Publish};
use crate::desired::Declared;
use crate::desired::Layer;
use crate::plan::{Planned, Unit};
use crate::resource::{CatalogRef, CatalogSpec, GatewaySpec};
use crate::secret::{KeyFacts, SecretFacts};
use crate::testing::{World, declare, lease, settings};

const GATEWAY: &str = "
apiVersion: bowline.dev/v1alpha1
kind: ClusterCatalog
metadata: { name: base }
spec: { registry: { time: { title: Time, type: server, image: 'mcp/time:1', allowHosts: [] } } }
---
apiVersion: bowline.dev/v1alpha1
kind: Gateway
metadata: { namespace: u1, name: default }
spec: { catalogs: [base], servers: [time] }
";

fn good_plan() -> Plan {
    let declared = declare(GATEWAY);
    World::with_images(&declared).plan(&declared)
}

fn verdict(plan: &Plan) -> Result<(), Violation> {
    check(plan, &GatewayKey::new("u1", "default"), &settings())
}

/// The plan with its container of a role changed.
fn with_container(server: bool, change: impl FnOnce(&mut Identity, &mut ContainerSpec)) -> Plan {
    let mut plan = good_plan();
    for planned in &mut plan.steps {
        if let Step::CreateContainer { identity, spec, .. } = &mut planned.step
            && matches!(identity.role, Role::Server(_)) == server
        {
            change(identity, spec);
            break;
        }
    }
    plan
}

#[test]
fn a_plan_of_ours_passes() {
    assert_eq!(verdict(&good_plan()), Ok(()));
}

#[test]
fn every_breach_of_the_floor_is_found() {
    let bind =
        |source: &str| Bind { source: source.to_owned(), target: SOCKETS_DIR.to_owned(), read_only: true };
    let tree = settings().tree(Uuid::from_u128(42));
    let other = settings().tree(Uuid::from_u128(43));
    type Change = Box<dyn FnOnce(&mut Identity, &mut ContainerSpec)>;
    let mut breaches: Vec<(&str, bool, Change)> = Vec::new();
    for source in [
        "/var/run/docker.sock",
        "/",
        "/etc",
        "/proc",
        "/root",
        "/run",
        "/var/lib/docker",
        "relative",
        "",
        &other,
        &format!("{other}/config"),
        &format!("{tree}/../43/config"),
        &tree,
        &format!("{tree}/"),
        &format!("{tree}x/config"),
        "/run/bowline/gateways",
    ] {
        let bind = bind(source);
        breaches.push(("bind source", true, Box::new(move |_, spec| spec.binds.push(bind))));
    }
    for network in ["host", "bridge", "default", "container:abc", "none", "", "mcp-net-u1 x"] {
        let mode = NetworkMode::Named(network.to_owned());
        breaches.push(("network", true, Box::new(move |_, spec| spec.network = mode)));
    }
    let publish = |address: &str, container_port| {
        Some(Publish { address: address.parse().unwrap(), host_port: 20000, container_port })
    };
    let (any, shell, server_port) =
        (publish("0.0.0.0", GATEWAY_PORT), publish("127.0.0.1", 22), publish("127.0.0.1", GATEWAY_PORT));
    breaches.extend([
        (
            "a server with a port",
            true,
            Box::new(move |_: &mut _, spec: &mut ContainerSpec| spec.publish = server_port) as Change,
        ),
        ("a port on all addresses", false, Box::new(move |_, spec| spec.publish = any)),
        ("another port", false, Box::new(move |_, spec| spec.publish = shell)),
        ("no port", false, Box::new(|_, spec| spec.publish = None)),
        ("a writable bind of a server", true, Box::new(|_, spec| spec.binds[1].read_only = false)),
        ("a writable bridge", true, Box::new(|_, spec| spec.binds[0].read_only = false)),
        ("the bridge elsewhere", true, Box::new(|_, spec| spec.binds[0].target = "/bin".to_owned())),
        ("another target", true, Box::new(|_, spec| spec.binds[1].target = "/etc".to_owned())),
        ("an image by tag", true, Box::new(|_, spec| spec.image = "mcp/time".to_owned())),
        ("not through the bridge", true, Box::new(|_, spec| spec.entrypoint = vec!["/bin/sh".to_owned()])),
        ("root", true, Box::new(|_, spec| spec.user = Some(0))),
        ("the gateway as root", false, Box::new(|_, spec| spec.user = None)),
        ("a writable gateway", false, Box::new(|_, spec| spec.read_only_root = false)),
        (
            "no memory limit",
            true,
            Box::new(|_, spec| spec.limits = Limits { memory: 0, ..spec.limits.clone() }),
        ),
        (
            "no process limit",
            true,
            Box::new(|_, spec| spec.limits = Limits { pids: -1, ..spec.limits.clone() }),
        ),
        ("NUL in an argument", true, Box::new(|_, spec| spec.command.push("a\0b".to_owned()))),
        (
            "a broken environment",
            true,
            Box::new(|_, spec| {
                spec.env.insert("A=B".to_owned(), String::new());
            }),
        ),
        ("a writable configuration", false, Box::new(|_, spec| spec.binds[0].read_only = false)),
        ("another namespace", true, Box::new(|identity, _| identity.key.namespace = "u2".to_owned())),
        ("another installation", true, Box::new(|identity, _| identity.owner.installation = Uuid::nil())),
        ("a network's role", true, Box::new(|identity, _| identity.role = Role::Network)),
    ]);
    for (what, server, change) in breaches {
        let plan = with_container(server, change);
        assert!(verdict(&plan).is_err(), "not found: {what}");
    }
}

#[test]
fn paths_that_leave_the_tree_are_found() {
    for path in ["/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a\nb"] {
        let uid = Uuid::from_u128(42);
        let steps = [
            Step::RemovePath { uid, path: path.to_owned() },
            Step::EnsureDirectory { uid, path: path.to_owned(), mode: 0o755 },
        ];
        for step in steps {
            let plan = Plan { steps: vec![Planned { unit: Unit::Shared, step }], again_at: None };
            assert!(verdict(&plan).is_err(), "not found: {path}");
        }
    }
}

#[test]
fn a_subnet_outside_the_pool_is_found() {
    let mut plan = good_plan();
    for planned in &mut plan.steps {
        if let Step::CreateNetwork { spec, .. } = &mut planned.step {
            spec.subnet.0 = "192.168.0.0".parse().unwrap();
        }
    }
    assert!(verdict(&plan).is_err());
}

/// Strings that have broken such things before, among random ones.
fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "",
            "/",
            "/var/run/docker.sock",
            "../../etc",
            "host",
            "container:x",
            "--privileged",
            "-v",
            "$HOME",
            "{{time.path}}",
            "{{time.path|volume|into}}",
            "a\0b",
            "a\nb",
            "dev.bowline.instance",
            "LD_PRELOAD",
            "PATH",
            "0",
            "root",
            "0:0",
            "unix:///var/run/docker.sock",
            "time",
            "base",
            "sha256:00",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,12}",
        "[a-z0-9./:-]{1,20}",
    ]
}

fn hostile_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        hostile().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        Just(Value::Null),
    ];
    leaf.prop_recursive(2, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(hostile(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// An entry with every field that Docker has a word for, most of them refused; some entries are plain.
fn entry() -> impl Strategy<Value = Value> {
    let fields = prop::sample::subsequence(
        vec![
            "command",
            "env",
            "volumes",
            "user",
            "disableNetwork",
            "allowHosts",
            "extraHosts",
            "prefix",
            "privileged",
            "devices",
            "capAdd",
            "network",
            "labels",
            "secrets",
            "longLived",
            "config",
        ],
        0..6,
    );
    (fields, prop::collection::vec(hostile_value(), 6), prop::collection::vec(hostile(), 0..4)).prop_map(
        |(fields, values, words)| {
            let mut entry = json!({"title": "T", "type": "server", "image": "mcp/time:1"});
            for (field, value) in fields.iter().zip(values) {
                entry[*field] = value;
            }
            // Half of the commands and environments have the right shape, or they would be refused at once.
            if words.len() > 1 {
                entry["command"] = json!(words);
                entry["env"] = json!([{"name": "A_B", "value": words[0]}]);
            }
            if words.len() > 2 {
                entry["secrets"] =
                    json!([{"name": words[1], "env": "GOOD"}, {"name": "key", "env": words[2]}]);
            }
            entry
        },
    )
}

/// A Secret that has a value for whatever is declared.
fn given(declared: &Declared) -> BTreeMap<String, SecretFacts> {
    let entries = declared.catalogs.iter().flat_map(|layer| layer.spec.registry.values());
    let names = entries.flat_map(|entry| &entry.fields().secrets).map(|secret| secret.name.clone());
    let keys = names.map(|name| (name, KeyFacts { version: 1, unusable: None })).collect();
    [("work".to_owned(), SecretFacts { uid: Uuid::from_u128(9), keys })].into()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_plan_breaks_the_floor_whatever_was_written(
        entry in entry(),
        config in prop::collection::btree_map(hostile(), hostile_value(), 0..4),
        profile in prop::sample::select(vec!["restricted", "baseline"]),
        image_user in hostile(),
    ) {
        let mut declared: Declared = declare(GATEWAY);
        let catalog = json!({"registry": {"time": entry}});
        let spec = json!({
            "catalogs": ["base"],
            "servers": [{"name": "time", "config": config, "profile": profile}],
            "secretRefs": [{"name": "work"}],
        });
        // What does not even parse never reaches a plan.
        if let (Ok(catalog), Ok(spec)) =
            (serde_json::from_value::<CatalogSpec>(catalog), serde_json::from_value::<GatewaySpec>(spec))
        {
            let reference = CatalogRef::Cluster("base".to_owned());
            declared.catalogs = vec![Layer { reference, resource_version: 1, spec: catalog }];
            declared.spec = spec;
            declared.secrets = given(&declared);
            lease(&mut declared);
            let mut world = World::with_images(&declared);
            for state in world.observed.images.values_mut() {
                if let crate::observed::ImageState::Present(facts) = state {
                    facts.user.clone_from(&image_user);
                    facts.entrypoint = vec![image_user.clone()];
                }
            }
            let plan = world.plan(&declared);
            prop_assert_eq!(verdict(&plan), Ok(()));
        }
    }
}
