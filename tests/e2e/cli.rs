//! The command line as a user meets it: exit codes, errors that name their place, output that goes back in.

use std::fs;
use std::time::Duration;

use bowline_tests::bowline::Bowline;
use bowline_tests::engine::Engine;
use bowline_tests::proxy::{RecordingProxy, Verdict};
use bowline_tests::wait;

use crate::support::{LIGHT, PATIENCE, Watching, all_ready, call, catalog, entry, gateway};

const DONE: i32 = 0;
const USERS_FAULT: i32 = 1;
const OURS: i32 = 2;

fn light() -> String {
    catalog(&[("light", entry(LIGHT, "disableNetwork: true"))])
}

fn running() -> Bowline {
    let mut bowline = Bowline::new();
    bowline.start();
    bowline
}

#[test]
fn all_errors_of_all_files_are_told_with_file_line_and_column() {
    let bowline = running();
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file");
    write(
        "one.yaml",
        "apiVersion: bowline.dev/v1alpha1\n\
         kind: Gateway\n\
         metadata: { name: default }\n\
         spec:\n\
         \x20 catalogs: [base]\n\
         \x20 severs: [light]\n\
         \x20 suspend: maybe\n",
    );
    write("two.yaml", &(light() + &gateway("Not_a_label", &["light"]) + &gateway("u1", &["lihgt"])));
    let path = folder.path().to_str().expect("a path");
    let said = bowline.cli(["apply", "-f", path]).fails_with(USERS_FAULT);
    for place in ["one.yaml:3:11", "one.yaml:6:3", "one.yaml:7:12", "two.yaml:10:24", "two.yaml:16:37"] {
        assert!(said.contains(&format!("{path}/{place}")), "{place} is not in\n{said}");
    }
    for hint in ["servers", "light", "namespace", "hint:"] {
        assert!(said.contains(hint), "{hint} is not in\n{said}");
    }
    assert_eq!(bowline.cli(["get", "clustercatalogs", "-o", "name"]).ok(), "", "all or nothing");

    let said = bowline
        .cli_with_input(["apply", "-f", "-"], "kind: Gateway\nkind: Gateway\n")
        .fails_with(USERS_FAULT);
    assert!(said.contains("2:1"), "{said}");
}

#[test]
fn what_get_prints_is_applied_again_unchanged() {
    let bowline = running();
    let labelled =
        gateway("u2", &["{ name: light, config: {}, resources: { limits: { memory: 64Mi, cpu: 250m } } }"])
            .replace(
                "name: default }",
                "name: default, labels: { team: a }, annotations: { 'example.com/x': 'yes' } }",
            );
    bowline.apply(&(light() + &gateway("u1", &["light"]) + &labelled));
    all_ready(&bowline, &["u1", "u2"]);
    let catalogs = bowline.cli(["get", "clustercatalogs", "-o", "yaml"]).ok();
    let gateways = bowline.cli(["get", "gateways", "-A", "-o", "yaml"]).ok();
    assert_eq!(
        bowline.apply(&format!("{catalogs}---\n{gateways}")),
        "clustercatalog/base unchanged\ngateway/u1/default unchanged\ngateway/u2/default unchanged\n"
    );
    assert_eq!(
        bowline.cli(["get", "gateways", "-A", "-l", "team=a", "-o", "name"]).ok(),
        "gateway/u2/default\n"
    );
    let one = bowline.cli(["get", "gateway/u1/default", "-o", "json"]).json();
    assert_eq!(one["metadata"]["generation"], 1);
}

#[test]
fn a_dry_run_shows_the_steps_and_changes_nothing() {
    let bowline = running();
    let text = light() + &gateway("u1", &["light"]);
    let shown = bowline.cli_with_input(["apply", "--dry-run", "-f", "-"], &text).ok();
    let instance = bowline.allotment().instance();
    for step in [
        "gateway/u1/default created (dry run)".to_owned(),
        format!("create container mcp-gateway-u1_{instance}"),
        format!("create container mcp-server-u1.default.light_{instance}"),
    ] {
        assert!(shown.contains(&step), "{step} is not in\n{shown}");
    }
    assert_eq!(bowline.cli(["get", "gateways", "-A", "-o", "name"]).ok(), "");
    assert_eq!(bowline.left_over(), Vec::<String>::new());

    bowline.apply(&text);
    all_ready(&bowline, &["u1"]);
    // The plan is made from what was last seen on the host, and it is soon seen as it is.
    wait::until_true("nothing is left to do", PATIENCE, || {
        let shown = bowline.cli_with_input(["apply", "--dry-run", "-f", "-"], &text).ok();
        shown.contains("unchanged (dry run)") && !shown.contains("create")
    });
    let changed = text.replace("disableNetwork: true", "disableNetwork: true, command: [--tools, pid]");
    let shown = bowline.cli_with_input(["apply", "--dry-run", "-f", "-"], &changed).ok();
    assert!(shown.contains("clustercatalog/base configured (dry run)"), "{shown}");
    let server = format!("container mcp-server-u1.default.light_{instance}");
    // The new one is made before the old one stops, which stays until the new one answers.
    let position = |step: String| shown.find(&step).unwrap_or_else(|| panic!("{step} is not in\n{shown}"));
    assert!(position(format!("create {server}__")) < position(format!("stop {server}")), "{shown}");
    assert!(!shown.contains("remove container"), "{shown}");
    assert!(!shown.contains("mcp-gateway-u1"), "{shown}");
    assert_eq!(bowline.cli(["tools", "u1", "-o", "name"]).ok().lines().count(), 6, "nothing was changed");
}

#[test]
fn a_watch_shows_each_change_as_it_happens() {
    let bowline = running();
    bowline.apply(&light());
    let watching = Watching::start(&bowline, &["get", "gateways", "-A", "-w"]);
    watching.until(&["NAMESPACE", "READY", "STATUS"]);
    bowline.apply(&gateway("u1", &["light"]));
    watching.until(&["u1", "default", "0/1"]);
    watching.until(&["u1", "default", "1/1", "Ready"]);
    let suspended = gateway("u1", &["light"]).replace("spec: {", "spec: { suspend: true,");
    bowline.apply(&suspended);
    watching.until(&["u1", "default", "Suspended"]);
    bowline.cli(["delete", "gateway/u1/default"]).ok();
    watching.until(&["u1", "default", "Terminating"]);

    let logs = Watching::start(&bowline, &["get", "clustercatalogs", "-w", "-o", "name"]);
    logs.until(&["clustercatalog/base"]);
}

#[test]
fn exit_codes_say_whose_move_it_is() {
    let mut bowline = running();
    bowline.apply(&(light() + &gateway("u1", &["light"])));
    all_ready(&bowline, &["u1"]);
    let code = |arguments: &[&str]| bowline.cli(arguments.iter()).status.code();
    for (expected, arguments) in [
        (DONE, &["version"][..]),
        (DONE, &["--help"]),
        (DONE, &["completion", "bash"]),
        (DONE, &["completion", "zsh"]),
        (DONE, &["completion", "fish"]),
        (DONE, &["get", "gateways", "-A"]),
        (DONE, &["call", "u1", "echo"]),
        (DONE, &["delete", "gateway/u9/default", "--ignore-not-found"]),
        (USERS_FAULT, &["get", "gateways", "--no-such-flag"]),
        (USERS_FAULT, &["gte", "gateways"]),
        (USERS_FAULT, &["get", "gatewayz"]),
        (USERS_FAULT, &["get", "gateway/u9/default"]),
        (USERS_FAULT, &["describe", "gateway/u9/default"]),
        (USERS_FAULT, &["delete", "gateway/u9/default"]),
        (USERS_FAULT, &["apply", "-f", "/no/such/file.yaml"]),
        (USERS_FAULT, &["call", "u1", "no_such_tool"]),
        (USERS_FAULT, &["call", "u1", "error"]),
        (USERS_FAULT, &["call", "u1", "echo", "{"]),
        (USERS_FAULT, &["call", "u9", "echo"]),
        (USERS_FAULT, &["tools", "u9"]),
        (USERS_FAULT, &["connect", "u9", "--client", "generic", "--name", "x"]),
        (USERS_FAULT, &["logs", "u9"]),
        (USERS_FAULT, &["wait", "gateway/u1/default", "--for=condition=Nonsense"]),
        (USERS_FAULT, &["wait", "gateway/u1/default", "--for=delete", "--timeout=1s"]),
    ] {
        assert_eq!(code(arguments), Some(expected), "{arguments:?}: {:?}", bowline.cli(arguments.iter()));
    }
    let said = bowline.cli(["delete", "clustercatalog/base"]).fails_with(USERS_FAULT);
    assert!(said.contains("u1/default") && said.contains("--force"), "{said}");

    bowline.stop();
    let said = bowline.cli(["get", "gateways", "-A"]).fails_with(OURS);
    for text in ["error: ", "caused by: ", "hint: ", "bowline serve"] {
        assert!(said.contains(text), "{text} is not in\n{said}");
    }
    // The gateways do not need any of it.
    bowline.start();
    call(&bowline, "u1", "echo", "{}").ok();
}

#[test]
fn a_gateway_that_is_being_deleted_takes_no_edit() {
    let proxy = RecordingProxy::start(Engine::local().socket());
    let mut bowline = Bowline::new().through(&proxy.socket());
    bowline.start();
    let declared = light() + &gateway("u1", &["light"]);
    bowline.apply(&declared);
    all_ready(&bowline, &["u1"]);
    // No removal gets through, so the deletion does not end.
    proxy.arm(|call, _| if call.method == "DELETE" { Verdict::Cut } else { Verdict::Pass });
    bowline.cli(["delete", "gateway/u1/default", "--wait=false"]).ok();
    let said = bowline.cli_with_input(["apply", "-f", "-"], &declared).fails_with(USERS_FAULT);
    assert!(said.contains("bowline wait --for=delete gateway/u1/default"), "{said}");
    let shown = bowline.cli(["get", "gateway/u1/default"]).ok();
    assert!(shown.contains("Terminating"), "{shown}");
    wait::until_true("what is still to be removed is shown", PATIENCE, || {
        bowline.cli(["describe", "gateway/u1/default"]).ok().contains("container mcp-gateway-u1")
    });
    proxy.disarm();
    bowline.wait_for("gateway/u1/default", "delete", PATIENCE).ok();
    assert_eq!(bowline.apply(&declared), "clustercatalog/base unchanged\ngateway/u1/default created\n");
}

/// What `serve` says when it refuses to start.
fn refusal(bowline: Bowline) -> (Option<i32>, String) {
    let mut bowline = bowline;
    let status = bowline.start_refused();
    (status.code(), bowline.log())
}

#[test]
fn serve_refuses_what_would_be_unsafe_and_says_what_to_do() {
    let (code, said) = refusal(Bowline::new().with("publish-address", "0.0.0.0"));
    assert_eq!(code, Some(USERS_FAULT), "{said}");
    assert!(
        said.contains("0.0.0.0") && said.contains("hint:") && said.contains("--insecure-publish"),
        "{said}"
    );

    let (code, said) = refusal(Bowline::new().with("database-url", "postgres://me:hunter2@db/bowline"));
    assert_eq!(code, Some(USERS_FAULT), "{said}");
    assert!(said.contains("--database-url-file") && !said.contains("hunter2"), "{said}");

    let (code, said) = refusal(Bowline::new().with("port-range", "30-20"));
    assert_eq!(code, Some(USERS_FAULT), "{said}");
    assert!(said.contains("port-range"), "{said}");
}

#[test]
fn serve_refuses_a_runtime_directory_on_a_disk() {
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder on a disk");
    let path = folder.path().join("runtime");
    let bowline = Bowline::new().with("runtime-dir", path.to_str().expect("a path"));
    let (code, said) = refusal(bowline);
    assert!(matches!(code, Some(USERS_FAULT | OURS)), "{code:?}: {said}");
    assert!(said.contains("tmpfs") && said.contains("--runtime-dir"), "{said}");
    assert!(said.contains(path.to_str().expect("a path")), "{said}");
}

#[test]
fn waiting_says_what_is_missing_when_its_time_is_up() {
    let bowline = running();
    let mute = catalog(&[("mute", entry(LIGHT, "disableNetwork: true, command: [--hang]"))]);
    bowline.apply(&(mute + &gateway("u1", &["mute"])));
    bowline.wait_for("gateway/u1/default", "condition=Available", PATIENCE).ok();
    let limit = Duration::from_secs(2);
    let said = bowline.wait_for("gateway/u1/default", "condition=Ready", limit).fails_with(USERS_FAULT);
    assert!(said.contains("0/1 servers") && said.contains("mute"), "{said}");
    let unsupported =
        catalog(&[("docs", "{ type: remote, remote: { url: 'https://example.com/mcp' } }".to_owned())]);
    bowline.apply(&(unsupported + &gateway("u2", &["docs"]) + &gateway("u1", &[])));
    let said = bowline.wait_for("gateway/u2/default", "condition=Ready", PATIENCE).fails_with(USERS_FAULT);
    for text in ["cannot become Ready", "Unsupported", "remote"] {
        assert!(said.contains(text), "{text} is not in\n{said}");
    }
}
