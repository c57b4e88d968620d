#![allow(clippy::needless_pass_by_value, reason = "tests write their values in place")]

use serde_json::{Value, json};

use super::*;

fn entry(document: Value) -> ServerEntry {
    ServerEntry::from_json(&document).unwrap()
}

fn lacking(document: Value) -> Vec<&'static str> {
    unsupported(&entry(document)).into_iter().map(|missing| missing.field).collect()
}

#[test]
fn a_later_layer_replaces_whole_entries() {
    let spec = |servers: Value| -> ClusterCatalogSpec {
        serde_json::from_value(json!({ "registry": servers })).unwrap()
    };
    let low = spec(json!({ "a": { "image": "low/a", "prefix": "p" }, "b": { "image": "low/b" } }));
    let high = spec(json!({ "a": { "image": "high/a" }, "c": { "image": "high/c" } }));
    let merged = merge([("low", &low), ("high", &high)]);
    assert_eq!(merged.keys().copied().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!((merged["a"].catalog, merged["a"].entry.fields().prefix.as_deref()), ("high", None));
    assert_eq!(merged["b"].catalog, "low");
}

#[test]
fn what_does_not_exist_yet_is_named_by_its_field() {
    assert_eq!(lacking(json!({ "image": "x", "longLived": true, "tools": [{ "name": "t" }] })), [""; 0]);
    assert_eq!(lacking(json!({ "image": "x", "allowHosts": ["h:1"], "disableNetwork": true })), [""; 0]);
    assert_eq!(lacking(json!({ "type": "poci" })), ["type"]);
    assert_eq!(lacking(json!({ "remote": { "url": "https://x" } })), ["remote"]);
    assert_eq!(lacking(json!({ "sseEndpoint": "https://x" })), ["sseEndpoint"]);
    let all = json!({
        "image": "x", "secrets": [{ "name": "a", "env": "A" }], "volumes": ["v:/v"], "user": "1",
        "extraHosts": ["h:1"], "oauth": { "providers": [] },
    });
    assert_eq!(lacking(all), ["secrets", "volumes", "user", "extraHosts", "oauth"]);
}

#[test]
fn a_list_of_hosts_is_not_enforced_and_says_so() {
    assert!(egress_is_unenforced(&entry(json!({ "image": "x", "allowHosts": ["h:1"] }))));
    assert!(!egress_is_unenforced(&entry(json!({ "image": "x", "allowHosts": [] }))));
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
