use serde_json::{Value, json};

use super::*;
use crate::desired::Declared;
use crate::gateway_file::GatewayFile;
use crate::lease::LeaseSlot;
use crate::testing::{World, declare, names, settings};

/// A gateway with one server of a container and these entries beside it.
fn gateway(entries: &str, servers: &str) -> Declared {
    declare(&format!(
        "
apiVersion: bowline.dev/v1alpha1
kind: ClusterCatalog
metadata: {{ name: base }}
spec:
  registry:
    time: {{ type: server, image: 'mcp/time:1', disableNetwork: true }}
{entries}
---
apiVersion: bowline.dev/v1alpha1
kind: Gateway
metadata: {{ namespace: u1, name: default }}
spec: {{ catalogs: [base], servers: [{servers}] }}
"
    ))
}

const DOCS: &str = "    docs: { type: remote, prefix: d, image: 'mcp/docs:1', remote: { url: 'https://docs.example/mcp', \
                    transport_type: streamable-http, headers: { X-Team: blue } } }";

/// What the gateway is told.
fn told(declared: &Declared, allow_private_remotes: bool) -> Value {
    let settings = crate::desired::Settings { allow_private_remotes, ..settings() };
    let world = World::with_images(declared);
    let moment = crate::desired::Moment { now: crate::testing::at(0), troubles: &world.troubles };
    let desired = crate::desired::desire(declared, &world.observed, &settings, moment);
    let file = desired.files.iter().find(|file| file.path == "config/gateway.json").unwrap();
    // What is written can be read.
    serde_json::from_str::<GatewayFile>(&file.content.0).unwrap();
    serde_json::from_str(&file.content.0).unwrap()
}

#[test]
fn a_remote_server_is_the_gateways_alone() {
    let declared = gateway(DOCS, "time, docs");
    let file = told(&declared, false);
    let expected = json!({ "name": "docs", "prefix": "d", "place": { "remote": {
        "url": "https://docs.example/mcp", "transport": "streamable-http", "headers": { "X-Team": "blue" },
    } } });
    assert_eq!(file["servers"][1], expected);
    assert_eq!(file["servers"][0]["place"]["bridge"]["directory"], "time");
    assert_eq!(file.get("allowPrivateRemotes"), None);

    let of_docs = LeaseSlot::new(LeaseKind::Uid, Holder::Server("docs".to_owned()));
    assert!(!declared.lease_needs().contains(&of_docs), "a uid for a server without a container");
    assert!(!declared.images(&settings()).contains("mcp/docs:1"), "an image that nothing is made of");
    let mut world = World::with_images(&declared);
    world.reconcile(&declared);
    let servers = names(&world.observed, |role| matches!(role, Role::Server(_)));
    assert_eq!(servers, ["mcp-server-u1.default.time"]);
    assert!(world.plan(&declared).steps.is_empty(), "nothing is left to do");
}

#[test]
fn a_server_that_becomes_remote_loses_its_container_and_its_gateway_reads_a_file() {
    let before = gateway("    docs: { image: 'mcp/docs:1', disableNetwork: true }", "time, docs");
    let mut world = World::with_images(&before);
    world.reconcile(&before);
    world.answer(&before, &["time", "docs"]);
    let kept: Vec<_> =
        ["mcp-gateway-u1", "mcp-server-u1.default.time"].map(|name| world.container(name).id.clone()).into();
    let after = gateway(DOCS, "time, docs");
    for _ in 0..4 {
        world.reconcile(&after);
    }
    let left: Vec<_> = world.observed.containers.iter().map(|container| container.id.clone()).collect();
    assert_eq!(left, kept);
    assert_eq!(world.desire(&after).servers[1].wanted, Wanted::Remote);
}

#[test]
fn http_is_for_private_addresses_and_needs_the_admins_word() {
    let entry = "    lan: { remote: { url: 'http://10.0.0.7/sse', transport_type: sse } }";
    let declared = gateway(entry, "time, lan");
    let wanted = World::with_images(&declared).desire(&declared).servers.swap_remove(1).wanted;
    let Wanted::Never { reason, message } = wanted else { panic!("{wanted:?}") };
    assert_eq!(reason, "InsecureRemote");
    assert!(message.contains("--allow-private-remotes"), "{message}");
    assert_eq!(told(&declared, false)["servers"].as_array().unwrap().len(), 1);

    let file = told(&declared, true);
    assert_eq!(file["allowPrivateRemotes"], true);
    let place = json!({ "remote": { "url": "http://10.0.0.7/sse", "transport": "sse" } });
    assert_eq!(file["servers"][1]["place"], place);
}

#[test]
fn a_remote_server_that_needs_a_secret_is_failed_and_not_dialled() {
    let entry = "    docs: { secrets: [{ name: docs.key, env: KEY }], remote: { url: 'https://docs.example/mcp', \
                 transport_type: http, headers: { Authorization: 'Bearer $KEY' } } }";
    let declared = gateway(entry, "time, docs");
    let wanted = World::with_images(&declared).desire(&declared).servers.swap_remove(1).wanted;
    let Wanted::Never { reason, message } = wanted else { panic!("{wanted:?}") };
    assert_eq!(reason, "Unsupported");
    assert!(message.contains("remote.headers: the header \"Authorization\""), "{message}");
    assert_eq!(told(&declared, false)["servers"].as_array().unwrap().len(), 1);
}

#[test]
fn a_filter_changes_a_file_and_no_container() {
    let before = gateway("", "time");
    let mut world = World::with_images(&before);
    world.reconcile(&before);
    let after = gateway("", "{ name: time, tools: { allow: ['get_*'], deny: [get_all] } }");
    let file = told(&after, false);
    assert_eq!(file["servers"][0]["tools"], json!({ "allow": ["get_*"], "deny": ["get_all"] }));
    assert_ne!(file["revision"], told(&before, false)["revision"]);
    let steps: Vec<_> = world.reconcile(&after).steps.into_iter().map(|planned| planned.step).collect();
    let touches = |step: &crate::step::Step| {
        use crate::step::Step;
        !matches!(step, Step::WriteFile { .. } | Step::ReloadGateway { .. })
    };
    assert!(!steps.is_empty() && !steps.iter().any(touches), "{steps:?}");
}
