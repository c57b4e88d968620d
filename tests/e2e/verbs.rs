//! The verbs that spare a file: what they change, what they print, how they end.

use std::fs;

use bowline_tests::bowline::Bowline;
use bowline_tests::wait;
use serde_json::{Value, json};

use crate::support::{LIGHT, PATIENCE, Watching, all_ready, call, catalog, entry, gateway};

const DIFFERS: i32 = 1;
const USERS_FAULT: i32 = 1;
const TROUBLE: i32 = 2;

fn two_servers() -> String {
    // Other tools than those of the first, so that each keeps its name.
    let other = entry(LIGHT, "disableNetwork: true, command: [--tools, pid]");
    catalog(&[("light", entry(LIGHT, "disableNetwork: true, command: [--tools, echo]")), ("other", other)])
}

fn running() -> Bowline {
    let mut bowline = Bowline::new();
    bowline.start();
    bowline.apply(&two_servers());
    bowline
}

fn servers(bowline: &Bowline) -> Value {
    bowline.object("gateway", "u1", "default")["spec"]["servers"].clone()
}

#[test]
fn diff_says_what_apply_would_change_and_changes_nothing() {
    let bowline = running();
    let declared = two_servers() + &gateway("u1", &["light"]);
    let diff = |text: &str| bowline.cli_with_input(["diff", "-f", "-"], text);

    let new = diff(&declared);
    assert_eq!(new.status.code(), Some(DIFFERS), "{new:?}");
    assert!(new.stdout.starts_with("--- /dev/null\n+++ applied/gateway/u1/default\n"), "{}", new.stdout);
    assert_eq!(bowline.cli(["get", "gateways", "-A", "-o", "name"]).ok(), "");

    bowline.apply(&declared);
    assert_eq!(diff(&declared).ok(), "", "what is so already");
    all_ready(&bowline, &["u1"]);
    assert_eq!(diff(&declared).ok(), "", "a status is no difference");

    let changed = diff(&declared.replace("servers: [light]", "servers: [light, other]"));
    assert_eq!(changed.status.code(), Some(DIFFERS), "{changed:?}");
    assert!(changed.stdout.contains("\n+  - name: other\n"), "{}", changed.stdout);
    assert!(!changed.stdout.contains("clustercatalog"), "{}", changed.stdout);
    assert_eq!(servers(&bowline), json!([{ "name": "light" }]));

    let wrong = diff(&declared.replace("servers: [light]", "servers: [lihgt]"));
    assert!(wrong.fails_with(TROUBLE).contains("UnknownServer"));
    bowline.cli(["diff", "-f", "/no/such/file.yaml"]).fails_with(TROUBLE);
    bowline.cli(["diff", "--no-such-flag"]).fails_with(TROUBLE);
}

#[test]
fn a_gateway_is_created_from_servers_alone() {
    let bowline = running();
    let shown =
        bowline.cli(["create", "gateway", "u1", "--servers", "light,other", "--dry-run", "-o", "yaml"]).ok();
    assert_eq!(bowline.cli(["get", "gateways", "-A", "-o", "name"]).ok(), "", "a dry run creates nothing");
    let created = bowline.cli(["create", "gateway", "u1", "--servers", "light,other", "--wait"]).ok();
    assert_eq!(created, "gateway/u1/default created\n");
    call(&bowline, "u1", "echo", "{}").ok();
    // What the dry run printed is what was created.
    assert_eq!(bowline.apply(&shown), "gateway/u1/default unchanged\n");

    let said = bowline.cli(["create", "gateway", "u1", "--servers", "light"]).fails_with(USERS_FAULT);
    assert!(said.contains("gateway/u1/default already exists"), "{said}");
    let said = bowline.cli(["create", "gateway", "u2", "--servers", "light,lihgt"]).fails_with(USERS_FAULT);
    assert!(said.contains("no ClusterCatalog has lihgt") && said.contains("`light`"), "{said}");
    let said = bowline
        .cli(["create", "gateway", "u2", "--servers", "light", "--catalog", "bsae"])
        .fails_with(USERS_FAULT);
    assert!(said.contains("UnknownCatalog") && !said.contains("<stdin>"), "{said}");
}

#[test]
fn servers_are_enabled_and_disabled_while_the_controller_writes() {
    let bowline = running();
    bowline.apply(&gateway("u1", &["light"]));
    // The controller reports while the gateway comes up, so that the edits meet other writers.
    assert_eq!(
        bowline.cli(["enable", "u1", "other", "light"]).ok(),
        "\
gateway/u1/default server other enabled
gateway/u1/default server light unchanged
"
    );
    assert_eq!(
        bowline.cli(["disable", "u1", "light", "--wait"]).ok(),
        "gateway/u1/default server light disabled\n"
    );
    assert_eq!(servers(&bowline), json!([{ "enabled": false, "name": "light" }, { "name": "other" }]));
    let states = bowline.object("gateway", "u1", "default")["status"]["servers"].clone();
    assert_eq!(
        (&states[0]["state"], &states[1]["state"]),
        (&json!("Disabled"), &json!("Running")),
        "{states}"
    );
    assert_eq!(bowline.cli(["disable", "u1", "light"]).ok(), "gateway/u1/default server light unchanged\n");
    bowline.cli(["enable", "u1/default", "light", "--wait"]).ok();
    assert_eq!(servers(&bowline), json!([{ "name": "light" }, { "name": "other" }]));

    let said = bowline.cli(["disable", "u1", "lihgt"]).fails_with(USERS_FAULT);
    assert!(said.contains("has no server \"lihgt\"") && said.contains("light, other"), "{said}");
    let said = bowline.cli(["enable", "u1", "lihgt"]).fails_with(USERS_FAULT);
    assert!(said.contains("UnknownServer") && !said.contains("<stdin>"), "{said}");
    bowline.cli(["enable", "u9", "light"]).fails_with(USERS_FAULT);
}

#[test]
fn annotations_are_set_changed_only_on_demand_and_removed() {
    let bowline = running();
    bowline.apply(&gateway("u1", &[]));
    let annotate = |words: &[&str]| bowline.cli(["annotate", "gateway", "u1/default"].iter().chain(words));
    let annotations = || bowline.object("gateway", "u1", "default")["metadata"]["annotations"].clone();
    assert_eq!(annotate(&["note=mine", "team=data"]).ok(), "gateway/u1/default annotated\n");
    assert_eq!(annotate(&["note=mine"]).ok(), "gateway/u1/default unchanged\n");
    let said = annotate(&["note=yours"]).fails_with(USERS_FAULT);
    assert!(said.contains("\"mine\"") && said.contains("--overwrite"), "{said}");
    annotate(&["note=yours", "team-", "--overwrite"]).ok();
    assert_eq!(annotations(), json!({ "note": "yours" }));
    let said = annotate(&["dev.bowline.other=x"]).fails_with(USERS_FAULT);
    assert!(said.contains("dev.bowline."), "{said}");
    assert_eq!(
        bowline.cli(["annotate", "clustercatalog/base", "note=x"]).ok(),
        "clustercatalog/base annotated\n"
    );
    let generation = bowline.object("gateway", "u1", "default")["metadata"]["generation"].clone();
    assert_eq!(generation, 1, "an annotation is no change of the specification");
}

#[test]
fn events_are_told_as_they_happen() {
    let bowline = running();
    let watching = Watching::start(&bowline, &["events", "-n", "u1", "-w"]);
    watching.until(&["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]);
    bowline.apply(&(gateway("u1", &["light"]) + &gateway("u2", &["light"])));
    let line = watching.until(&["Normal", "gateway/u1/default", "mcp-gateway-u1"]);
    assert!(!line.contains("u2"), "{line}");
    all_ready(&bowline, &["u1", "u2"]);
    let events = bowline.cli(["events", "--for", "gateway/u2/default", "-o", "json"]).json();
    let about = |event: &Value| event["object"]["namespace"] == "u2";
    assert!(
        events["items"].as_array().is_some_and(|all| !all.is_empty() && all.iter().all(about)),
        "{events}"
    );
    let all = bowline.cli(["events"]).ok();
    assert!(all.contains("gateway/u1/default") && all.contains("gateway/u2/default"), "{all}");
}

#[test]
fn a_restart_makes_the_container_anew_once_and_nothing_else() {
    let bowline = running();
    bowline.apply(&gateway("u1", &["light", "other"]));
    all_ready(&bowline, &["u1"]);
    let ids = || {
        ["mcp-gateway-u1", "mcp-server-u1.default.light", "mcp-server-u1.default.other"].map(|name| {
            let name = format!("{name}_{}", bowline.allotment().instance());
            let seen = bowline.engine().inspect_container(&name);
            (seen["Id"].clone(), seen["State"]["StartedAt"].clone())
        })
    };
    let [gateway, light, other] = ids();
    let said = bowline.cli(["restart", "server", "u1", "light", "--wait"]).ok();
    assert_eq!(said, "gateway/u1/default server light restart requested\n");
    let after = ids();
    assert_ne!(after[1], light);
    assert_eq!((&after[0], &after[2]), (&gateway, &other), "what was not asked for goes on");

    let said = bowline.cli(["restart", "gateway", "-n", "u1", "--wait"]).ok();
    assert_eq!(said, "gateway/u1/default restart requested\n");
    let last = ids();
    assert_ne!(last[0], gateway);
    assert_eq!((&last[1], &last[2]), (&after[1], &other));
    call(&bowline, "u1", "echo", "{}").ok();

    let said = bowline.cli(["restart", "server", "-n", "u1", "lihgt"]).fails_with(USERS_FAULT);
    assert!(said.contains("light, other"), "{said}");
    bowline.cli(["restart", "gateway", "u9"]).fails_with(USERS_FAULT);
    assert_eq!(ids(), last, "a request is carried out once");
}

#[test]
fn a_retry_does_not_wait_for_the_back_off() {
    let bowline = running();
    bowline.apply(&gateway("u1", &["light"]));
    all_ready(&bowline, &["u1"]);
    assert_eq!(bowline.cli(["retry", "u1", "--wait"]).ok(), "gateway/u1/default retry requested\n");
    let seen = || bowline.object("gateway", "u1", "default")["status"]["observedRequests"] == 1;
    wait::until_true("the controller has seen the request", PATIENCE, seen);
    bowline.cli(["retry", "-n", "u9"]).fails_with(USERS_FAULT);
    bowline.cli(["retry"]).fails_with(USERS_FAULT);
}

#[test]
fn explain_needs_no_server() {
    let bowline = Bowline::new();
    let said = bowline.cli(["explain", "gateway.spec.servers.enabled"]).ok();
    assert!(said.contains("FIELD: enabled <boolean>") && said.contains("DEFAULT:\n    true"), "{said}");
    assert!(
        bowline
            .cli(["explain", "clustercatalog", "--recursive"])
            .ok()
            .contains("registry\t<map[string]Object>")
    );
    let said = bowline.cli(["explain", "gateway.spec.severs"]).fails_with(USERS_FAULT);
    assert!(said.contains("did you mean `servers`?"), "{said}");
    bowline.cli(["explain", "pod"]).fails_with(USERS_FAULT);
}

#[test]
fn the_manual_of_every_verb_can_be_read() {
    let bowline = Bowline::new();
    for verb in ["diff", "create", "enable", "disable", "annotate", "events", "explain", "restart", "retry"] {
        let said = bowline.cli([verb, "--help"]).ok();
        assert!(said.contains("Usage: bowline ") && said.contains(verb), "{said}");
        let script = bowline.cli(["completion", "bash"]).ok();
        assert!(
            script.contains(&format!("bowline__subcmd__{verb}"))
                || script.contains(&format!("bowline__{verb}"))
        );
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("empty.yaml");
    fs::write(&path, "").expect("a file");
    bowline.cli(["diff", "-f", path.to_str().expect("a path")]).fails_with(TROUBLE);
}
