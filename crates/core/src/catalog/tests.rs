#![allow(clippy::needless_pass_by_value, reason = "tests write their values in place")]

use serde_json::{Value, json};

use super::*;
use crate::resource::GatewaySpec;

fn entry(document: Value) -> ServerEntry {
    ServerEntry::from_json(&document).unwrap()
}

fn registry(servers: Value) -> CatalogSpec {
    serde_json::from_value(json!({ "registry": servers })).unwrap()
}

fn layer(name: &str) -> CatalogRef {
    name.parse().unwrap()
}

fn lacking(document: Value) -> Vec<&'static str> {
    unsupported(&entry(document)).into_iter().map(|missing| missing.field).collect()
}

#[test]
fn a_later_layer_replaces_whole_entries() {
    let low = registry(json!({ "a": { "image": "low/a", "prefix": "p" }, "b": { "image": "low/b" } }));
    let high = registry(json!({ "a": { "image": "high/a" }, "c": { "image": "high/c" } }));
    let (one, two) = (layer("low"), layer("team/high"));
    let merged = merge([(&one, &low), (&two, &high)]);
    assert_eq!(merged.keys().copied().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!((merged["a"].catalog, merged["a"].entry.fields().prefix.as_deref()), (&two, None));
    assert_eq!(merged["b"].catalog, &one);
}

#[test]
fn a_gateway_loses_what_none_of_its_catalogs_has_any_more() {
    let spec: GatewaySpec = serde_json::from_value(json!({
        "catalogs": ["low", { "kind": "Catalog", "namespace": "team", "name": "high" }],
        "servers": [{ "name": "a" }, { "name": "b", "enabled": false }, { "name": "never" }],
    }))
    .unwrap();
    let low = registry(json!({ "a": { "image": "low/a" }, "unused": { "image": "low/u" } }));
    let high = registry(json!({ "a": { "image": "high/a" }, "b": { "image": "high/b" } }));
    let none = registry(json!({}));
    let lost = |low_after: Option<&CatalogSpec>, high_after: Option<&CatalogSpec>| {
        let pick = |of: &CatalogRef, low, high| if *of == layer("low") { low } else { high };
        let before = |of: &CatalogRef| pick(of, Some(&low), Some(&high));
        let lost = lost_entries(&spec, before, |of| pick(of, low_after, high_after));
        lost.into_iter().map(|lost| format!("{} of {}", lost.server, lost.catalog)).collect::<Vec<_>>()
    };
    assert_eq!(lost(Some(&low), Some(&high)), [""; 0]);
    // Without the later layer's entry the earlier one's is used; a disabled server counts.
    assert_eq!(lost(Some(&low), Some(&none)), ["b of team/high"]);
    assert_eq!(lost(Some(&none), Some(&high)), [""; 0]);
    assert_eq!(lost(None, None), ["a of team/high", "b of team/high"]);
}

#[test]
fn what_does_not_exist_yet_is_named_by_its_field() {
    assert_eq!(lacking(json!({ "image": "x", "longLived": true, "tools": [{ "name": "t" }] })), [""; 0]);
    assert_eq!(lacking(json!({ "image": "x", "allowHosts": ["h:1"], "disableNetwork": true })), [""; 0]);
    assert_eq!(lacking(json!({ "type": "poci" })), ["type"]);
    assert_eq!(lacking(json!({ "remote": { "url": "https://x" } })), ["remote.transport_type"]);
    assert_eq!(lacking(json!({ "remote": { "url": "https://x", "transport_type": "sse" } })), [""; 0]);
    assert_eq!(lacking(json!({ "sseEndpoint": "https://x" })), [""; 0]);
    assert_eq!(lacking(json!({ "sseEndpoint": "https://x", "disableNetwork": true })), ["disableNetwork"]);
    let all = json!({
        "image": "x", "secrets": [{ "name": "a", "env": "A" }], "volumes": ["v:/v"], "user": "1",
        "extraHosts": ["h:1"], "oauth": { "providers": [] },
    });
    assert_eq!(lacking(all), ["user", "extraHosts", "oauth"]);
}

#[test]
fn secrets_are_for_containers_and_go_into_variables_of_their_own() {
    let with = |secrets: Value, env: Value| lacking(json!({ "image": "x", "secrets": secrets, "env": env }));
    assert_eq!(with(json!([{ "name": "a", "env": "A" }, { "name": "b", "env": "_B2" }]), json!([])), [""; 0]);
    for secret in [json!({ "env": "A" }), json!({ "name": "a" }), json!({ "name": "a", "env": "A=B" })] {
        assert_eq!(with(json!([secret]), json!([])), ["secrets"], "{secret}");
    }
    let both = json!([{ "name": "A", "value": "x" }]);
    assert_eq!(with(json!([{ "name": "a", "env": "A" }]), both), ["secrets"]);
    let remote = json!({
        "secrets": [{ "name": "a", "env": "A" }],
        "remote": { "url": "https://x", "transport_type": "sse", "headers": { "X": "$A" } },
    });
    assert_eq!(lacking(remote), ["secrets", "remote.headers"]);
}

#[test]
fn a_list_of_hosts_is_not_enforced_and_says_so() {
    assert!(egress_is_unenforced(&entry(json!({ "image": "x", "allowHosts": ["h:1"] }))));
    assert!(!egress_is_unenforced(&entry(json!({ "image": "x", "allowHosts": [] }))));
    // The gateway dials what the URL says.
    assert!(!egress_is_unenforced(&entry(json!({ "sseEndpoint": "https://x", "allowHosts": ["h:1"] }))));
    assert!(!egress_is_unenforced(&entry(
        json!({ "image": "x", "allowHosts": ["h:1"], "disableNetwork": true })
    )));
}

#[test]
fn an_entry_keeps_every_field_it_was_written_with() {
    let document = json!({
        "image": "mcp/x:1", "unknown": { "deep": [1, null, "x"] }, "command": null, "env": [], "user": "",
        "env_": [{ "name": 1.5 }], "longLived": false,
    });
    let entry = entry(document.clone());
    assert_eq!(serde_json::to_value(&entry).unwrap(), document);
    assert_eq!(serde_json::from_value::<ServerEntry>(document).unwrap(), entry);
}

#[test]
fn an_entry_with_a_wrong_type_is_refused_with_its_field() {
    let error = ServerEntry::from_json(&json!({ "image": "x", "env": [{ "name": "A" }, { "name": "1A" }] }))
        .unwrap_err();
    assert_eq!(error.path, "env[1].name");
    let error = serde_json::from_value::<ServerEntry>(json!({ "command": "x" })).unwrap_err();
    assert_eq!(error.to_string(), "command: a list is expected, this is a string");
    assert!(ServerEntry::from_json(&json!([])).is_err());
}

#[test]
fn scalars_that_docker_reads_as_text_are_text() {
    let entry =
        entry(json!({ "image": "x", "env": [{ "name": "PORT", "value": 8080 }], "command": [true, 1.5] }));
    assert_eq!(entry.fields().env[0].value, "8080");
    assert_eq!(entry.fields().command, ["true", "1.5"]);
}
