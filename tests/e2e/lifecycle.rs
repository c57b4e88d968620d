//! A day in the life of a gateway: it is made, answers, is healed, changed, suspended and deleted.

use std::fs;
use std::time::{Duration, Instant};

use bowline_tests::bowline::Bowline;
use bowline_tests::engine::Engine;
use bowline_tests::figures;
use bowline_tests::postgres::Postgres;
use bowline_tests::wait;
use serde_json::Value;

use crate::support::{
    LIGHT, PATIENCE, TIME, all_ready, call, catalog, condition, entry, gateway, members, server_state,
    settled, starts,
};

fn two_servers() -> String {
    catalog(&[
        ("clock", entry(TIME, "disableNetwork: true")),
        ("light", entry(LIGHT, "disableNetwork: true, command: [--tools, 'echo,pid']")),
    ])
}

/// An instance with one gateway that is Ready, with a real server and a light one.
fn one_ready_gateway() -> Bowline {
    let mut bowline = Bowline::new();
    bowline.start();
    bowline.apply(&(two_servers() + &gateway("u1", &["clock", "light"])));
    all_ready(&bowline, &["u1"]);
    bowline
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[test]
fn a_gateway_is_made_answers_and_goes_without_a_trace() {
    let postgres = Postgres::start();
    let mut bowline = Bowline::new().on(&postgres);
    bowline.start();

    let begun = Instant::now();
    let said = bowline.apply(&(two_servers() + &gateway("u1", &["clock", "light"])));
    assert_eq!(said, "clustercatalog/base created\ngateway/u1/default created\n");
    all_ready(&bowline, &["u1"]);
    figures::note("lifecycle", &format!("apply to Ready with a Python server: {}", seconds(begun.elapsed())));

    let tools = bowline.cli(["tools", "u1", "-o", "name"]).ok();
    let mut tools: Vec<_> = tools.lines().collect();
    tools.sort_unstable();
    assert_eq!(tools, ["convert_time", "echo", "get_current_time", "pid"]);
    let answer = call(&bowline, "u1", "get_current_time", r#"{"timezone": "Asia/Tokyo"}"#).ok();
    assert!(answer.contains("Asia/Tokyo"), "{answer}");

    let object = bowline.object("gateway", "u1", "default");
    let port = object["status"]["endpoint"]["port"].as_u64().expect("a port");
    assert!(bowline.allotment().ports().contains(&u16::try_from(port).expect("a port")));
    assert_eq!(server_state(&object, "clock").0, "Running");
    let described = bowline.cli(["describe", "gateway/u1/default"]).ok();
    for text in ["Ready", "clock", "light", "Started", &format!("http://127.0.0.1:{port}/mcp")] {
        assert!(described.contains(text), "{text} is not in\n{described}");
    }
    assert!(!bowline.cli(["logs", "u1"]).ok().is_empty(), "a gateway says that it started");
    bowline.cli(["logs", "u1", "--server", "clock", "--tail", "5"]).ok();

    assert_eq!(bowline.cli(["delete", "gateway/u1/default"]).ok(), "gateway/u1/default deleted\n");
    assert_eq!(bowline.cli(["get", "gateways", "-A", "-o", "name"]).ok(), "");
    assert_eq!(bowline.left_over(), Vec::<String>::new());
    let trees: Vec<_> = fs::read_dir(bowline.runtime_dir().join("gateways")).expect("the folder").collect();
    assert!(trees.is_empty(), "{trees:?}");
    assert_eq!(postgres.query("select count(*) from leases"), "0");
    assert_eq!(bowline.cli(["delete", "clustercatalog/base"]).ok(), "clustercatalog/base deleted\n");
    assert_eq!(postgres.query("select count(*) from objects"), "0");
}

/// Removes one container by force, and waits until another one in its place runs and a tool of it answers.
fn heal(bowline: &Bowline, role: &str, tool: &str, arguments: &str) {
    let before = starts(bowline, "u1");
    Engine::local().remove_container(&before[role].0);
    let begun = Instant::now();
    wait::until_true("a container in its place runs", PATIENCE, || {
        members(bowline, "u1")
            .get(role)
            .is_some_and(|seen| seen["Id"] != before[role].0.as_str() && seen["State"]["Running"] == true)
    });
    let running = begun.elapsed();
    wait::until_true("a tool answers again", PATIENCE, || {
        call(bowline, "u1", tool, arguments).status.success()
    });
    let answering = begun.elapsed();
    all_ready(bowline, &["u1"]);
    figures::note(
        "healing",
        &format!(
            "{role} removed by force: runs again after {}, a tool answers after {}",
            seconds(running),
            seconds(answering)
        ),
    );
    let mut after = starts(bowline, "u1");
    after.insert(role.to_owned(), before[role].clone());
    assert_eq!(after, before, "nothing else was touched");
}

#[test]
fn what_is_removed_by_hand_is_made_again_and_nothing_else_is_touched() {
    let bowline = one_ready_gateway();
    heal(&bowline, "gateway", "echo", "{}");
    heal(&bowline, "light", "echo", "{}");
    heal(&bowline, "clock", "get_current_time", r#"{"timezone": "UTC"}"#);
}

#[test]
fn what_is_stopped_or_paused_by_hand_runs_again() {
    let bowline = one_ready_gateway();
    let engine = Engine::local();
    for (role, act) in [("light", "pause"), ("gateway", "stop?t=2")] {
        let before = members(&bowline, "u1");
        let id = before[role]["Id"].as_str().expect("an id");
        engine.expect("POST", &format!("/containers/{id}/{act}"), b"");
        wait::until_true("it runs as before", PATIENCE, || {
            let state = &engine.inspect_container(id)["State"];
            state["Running"] == true && state["Paused"] == false
        });
        assert_eq!(members(&bowline, "u1").len(), before.len());
        wait::until_true("a tool answers again", PATIENCE, || {
            call(&bowline, "u1", "echo", "{}").status.success()
        });
    }
}

#[test]
fn a_change_recreates_only_the_server_that_it_concerns() {
    let bowline = one_ready_gateway();
    let before = starts(&bowline, "u1");

    // A limit is changed in place.
    let limited = "{ name: light, resources: { limits: { memory: 64Mi } } }";
    assert_eq!(bowline.apply(&gateway("u1", &["clock", limited])), "gateway/u1/default configured\n");
    all_ready(&bowline, &["u1"]);
    wait::until_true("the server has its new limit", PATIENCE, || {
        members(&bowline, "u1")["light"]["HostConfig"]["Memory"] == 64 << 20
    });
    assert_eq!(starts(&bowline, "u1"), before, "nothing was restarted for it");

    // Another command is another container, and nobody else's.
    let other = two_servers().replace("echo,pid", "echo,env");
    assert_eq!(bowline.apply(&other), "clustercatalog/base configured\n");
    wait::until_true("the new tools are there", PATIENCE, || {
        call(&bowline, "u1", "env", r#"{"name": "HOME"}"#).status.success()
    });
    bowline.apply(&gateway("u1", &["clock", "light"]));
    settled(&bowline, "u1");
    let after = starts(&bowline, "u1");
    assert_ne!(after["light"], before["light"]);
    assert_eq!((&after["clock"], &after["gateway"]), (&before["clock"], &before["gateway"]));
    call(&bowline, "u1", "echo", "{}").ok();

    // A server that goes and one that comes reach the running gateway without a restart.
    bowline.apply(&gateway("u1", &["clock"]));
    all_ready(&bowline, &["u1"]);
    wait::until_true("the server is gone", PATIENCE, || !members(&bowline, "u1").contains_key("light"));
    wait::until_true("its tools are gone", PATIENCE, || {
        !bowline.cli(["tools", "u1", "-o", "name"]).ok().contains("echo")
    });
    bowline.apply(&gateway("u1", &["clock", "light"]));
    all_ready(&bowline, &["u1"]);
    call(&bowline, "u1", "echo", "{}").ok();
    let last = starts(&bowline, "u1");
    assert_eq!((&last["clock"], &last["gateway"]), (&before["clock"], &before["gateway"]));

    // What is declared already changes nothing.
    assert_eq!(bowline.apply(&gateway("u1", &["clock", "light"])), "gateway/u1/default unchanged\n");
    assert_eq!(starts(&bowline, "u1"), last);
}

#[test]
fn a_suspended_gateway_stops_keeps_its_port_and_comes_back() {
    let bowline = one_ready_gateway();
    let port = |object: &Value| object["status"]["endpoint"]["port"].clone();
    let before = port(&bowline.object("gateway", "u1", "default"));
    let ids: Vec<_> = members(&bowline, "u1").into_values().map(|seen| seen["Id"].clone()).collect();

    let awake = gateway("u1", &["clock", "light"]);
    bowline.apply(&awake.replace("spec: {", "spec: { suspend: true,"));
    wait::until_true("every container is stopped", PATIENCE, || {
        members(&bowline, "u1").values().all(|seen| seen["State"]["Running"] == false)
    });
    wait::until_true("the status says so", PATIENCE, || {
        let object = bowline.object("gateway", "u1", "default");
        condition(&object, "Ready") == ("False".to_owned(), "Suspended".to_owned())
    });
    let stopped = members(&bowline, "u1");
    assert_eq!(stopped.values().map(|seen| seen["Id"].clone()).collect::<Vec<_>>(), ids);
    assert!(stopped.values().all(|seen| seen["HostConfig"]["RestartPolicy"]["Name"] == "no"));
    assert_eq!(port(&bowline.object("gateway", "u1", "default")), before);
    let said = call(&bowline, "u1", "echo", "{}").fails_with(1);
    assert!(said.contains("gateway/u1/default is suspended"), "{said}");

    bowline.apply(&awake);
    all_ready(&bowline, &["u1"]);
    assert_eq!(port(&bowline.object("gateway", "u1", "default")), before);
    call(&bowline, "u1", "echo", "{}").ok();
    let woken = members(&bowline, "u1");
    assert!(woken.values().all(|seen| seen["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"));
}
