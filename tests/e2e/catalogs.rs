//! Catalogs of namespaces: layers, edits that reach running gateways, and the protection of what is in use.

use std::time::Instant;

use bowline_tests::bowline::Bowline;
use bowline_tests::command::Output;
use bowline_tests::figures;
use bowline_tests::wait;

use crate::support::{
    LIGHT, PATIENCE, all_ready, call, catalog, condition, entry, gateway, server_state, starts,
};

/// Exit code of what the user can put right.
const USERS_FAULT: i32 = 1;
/// How a gateway names the catalog of the team.
const TEAM: &str = "{ kind: Catalog, name: tools, namespace: data-team }";

/// The catalog of the team, as a document that follows others.
fn tools(entries: &[(&str, String)]) -> String {
    let of_team = "kind: Catalog\nmetadata: { namespace: data-team, name: tools }";
    format!("---\n{}", catalog(entries).replace("kind: ClusterCatalog\nmetadata: { name: base }", of_team))
}

/// A light server that offers these tools; `extra` is further fields.
fn light(tools: &str, extra: &str) -> String {
    entry(LIGHT, &format!("disableNetwork: true, command: [--tools, '{tools}'], {extra}"))
}

/// A gateway that names the cluster's catalog and then the team's.
fn layered(namespace: &str, servers: &[&str]) -> String {
    gateway(namespace, servers).replace("[base]", &format!("[base, {TEAM}]"))
}

/// Applies a text and waits for every gateway that it concerns.
fn apply_and_wait(bowline: &Bowline, yaml: &str) -> Output {
    let limit = format!("--timeout={}s", PATIENCE.as_secs());
    bowline.cli_with_input(["apply", "--wait", &limit, "-f", "-"], yaml)
}

fn tool_names(bowline: &Bowline, namespace: &str) -> Vec<String> {
    let mut names: Vec<_> =
        bowline.cli(["tools", namespace, "-o", "name"]).ok().lines().map(str::to_owned).collect();
    names.sort_unstable();
    names
}

fn running() -> Bowline {
    let mut bowline = Bowline::new();
    bowline.start();
    bowline
}

#[test]
fn an_edit_of_a_catalog_reaches_its_gateways_and_restarts_only_what_it_must() {
    let bowline = running();
    let base = catalog(&[("other", light("pid", ""))]);
    let edited = |extra: &str| tools(&[("light", light("echo", extra))]);
    let users = ["u1", "u2"].map(|user| layered(user, &["light", "other"])).concat();
    apply_and_wait(&bowline, &(base + &edited("") + &users)).ok();
    let before = ["u1", "u2"].map(|user| starts(&bowline, user));
    let revision = |user| bowline.object("gateway", user, "default")["status"]["catalogRevision"].as_i64();
    let first = revision("u1").expect("a revision");

    // Words for people: nothing that is made changes.
    let words = edited("title: Light, description: new, tools: [{ name: echo, description: says it again }]");
    assert_eq!(apply_and_wait(&bowline, &words).ok(), "catalog/data-team/tools configured\n");
    let version = bowline.object("catalog", "data-team", "tools")["metadata"]["resourceVersion"].as_i64();
    assert_eq!([revision("u1"), revision("u2")], [version, version]);
    assert!(version > Some(first), "{version:?} is not after {first}");
    assert_eq!(["u1", "u2"].map(|user| starts(&bowline, user)), before);

    // What the gateway is told: it reads that again, and has done so when the wait is over.
    let begun = Instant::now();
    apply_and_wait(&bowline, &edited("prefix: p")).ok();
    figures::note(
        "catalogs",
        &format!(
            "an edit of a catalog until both of its gateways had read it: {} ms",
            begun.elapsed().as_millis()
        ),
    );
    for user in ["u1", "u2"] {
        assert_eq!(tool_names(&bowline, user), ["p__echo", "pid"]);
        call(&bowline, user, "p__echo", "{}").ok();
    }
    assert_eq!(["u1", "u2"].map(|user| starts(&bowline, user)), before);

    // What a container is made from: that one is made anew and no other.
    apply_and_wait(&bowline, &tools(&[("light", light("echo,sleep", ""))])).ok();
    for (user, before) in ["u1", "u2"].into_iter().zip(&before) {
        let mut after = starts(&bowline, user);
        assert_ne!(after.insert("light".to_owned(), before["light"].clone()).as_ref(), before.get("light"));
        assert_eq!(&after, before);
        assert_eq!(tool_names(&bowline, user), ["echo", "pid", "sleep"]);
    }
}

#[test]
fn a_later_catalog_replaces_whole_entries_and_gives_way_again() {
    let bowline = running();
    let base = catalog(&[("one", light("echo", "prefix: p")), ("two", light("pid", ""))]);
    let own = tools(&[("one", light("sleep", ""))]);
    apply_and_wait(&bowline, &(base + &own + &layered("u1", &["one", "two"]) + &gateway("u2", &["one"])))
        .ok();
    assert_eq!(tool_names(&bowline, "u1"), ["pid", "sleep"], "no prefix: the whole entry is another");
    assert_eq!(tool_names(&bowline, "u2"), ["p__echo"], "it does not name the team's catalog");
    let shown = bowline.cli(["describe", "gateway/u1/default"]).ok();
    assert!(shown.contains("base, data-team/tools"), "{shown}");
    let shown = bowline.cli(["describe", "catalog/data-team/tools"]).ok();
    assert!(shown.contains("Used by:         gateway/u1/default\n"), "{shown}");
    let shown = bowline.cli(["get", "catalogs", "-A"]).ok();
    assert!(shown.contains("data-team   tools"), "{shown}");
    assert_eq!(bowline.cli(["get", "clustercatalogs", "-o", "name"]).ok(), "clustercatalog/base\n");

    // The layer below has the entry, so that nothing is lost and nobody need insist.
    apply_and_wait(&bowline, &tools(&[])).ok();
    assert_eq!(tool_names(&bowline, "u1"), ["p__echo", "pid"]);
}

#[test]
fn a_catalog_in_use_is_protected_and_what_is_forced_costs_only_its_own_servers() {
    let bowline = running();
    let base = catalog(&[("one", light("echo", ""))]);
    let team = tools(&[("two", light("pid", ""))]);
    apply_and_wait(&bowline, &(base + &team + &layered("u1", &["one", "two"]))).ok();
    let before = starts(&bowline, "u1");

    let said = bowline.cli(["delete", "catalog/data-team/tools"]).fails_with(USERS_FAULT);
    assert!(said.contains("catalog/data-team/tools is used by gateway/u1/default"), "{said}");
    let said = bowline.cli_with_input(["apply", "-f", "-"], &tools(&[])).fails_with(USERS_FAULT);
    assert!(said.contains("entry two of catalog/data-team/tools is used by gateway/u1/default"), "{said}");
    assert_eq!(starts(&bowline, "u1"), before);

    bowline.cli(["delete", "catalog/data-team/tools", "--force"]).ok();
    wait::until_true("the gateway says what it lacks", PATIENCE, || {
        let object = bowline.object("gateway", "u1", "default");
        condition(&object, "Accepted") == ("False".to_owned(), "UnknownServer".to_owned())
            && server_state(&object, "two") == ("Failed".to_owned(), "UnknownServer".to_owned())
    });
    call(&bowline, "u1", "echo", "{}").ok();
    wait::until_true("the server without an entry is gone", PATIENCE, || {
        !starts(&bowline, "u1").contains_key("two")
    });
    let mut left = before.clone();
    left.remove("two");
    assert_eq!(starts(&bowline, "u1"), left, "the others are not touched");

    // The catalog alone brings it back; its gateway is waited for although it is not in the input.
    apply_and_wait(&bowline, &team).ok();
    assert_eq!(tool_names(&bowline, "u1"), ["echo", "pid"]);
    all_ready(&bowline, &["u1"]);

    // An entry that cannot run here fails the wait with the gateway's name, and not the apply.
    let unsupported = tools(&[("two", light("pid", "user: '1000'"))]);
    let said = apply_and_wait(&bowline, &unsupported).fails_with(USERS_FAULT);
    assert!(said.contains("gateway/u1/default") && said.contains("Unsupported"), "{said}");
    call(&bowline, "u1", "echo", "{}").ok();
}
