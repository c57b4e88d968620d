//! After a boot `serve` brings all gateways back, those that somebody asks for first.

use std::fs;
use std::time::{Duration, Instant};

use bowline_tests::bowline::Bowline;
use bowline_tests::engine::id;
use bowline_tests::figures;
use bowline_tests::postgres::Postgres;
use bowline_tests::wait;
use serde_json::Value;

use crate::support::{LIGHT, PATIENCE, all_ready, catalog, entry, gateway, members};

/// Gateways of the row.
const COUNT: usize = 12;
/// How many of the others at least come after the one that is asked for.
const AFTER: usize = 8;
/// A container that ended sooner after its start than this rests before it is started again: not what a boot shows.
const LONG: Duration = Duration::from_secs(11);

/// What a boot leaves of a machine that has run for long: no process of ours, no container of ours that runs, an empty
/// runtime directory.
fn boot(bowline: &mut Bowline) {
    let all_run = Instant::now();
    wait::until_true("all have run for long", PATIENCE, || all_run.elapsed() >= LONG);
    bowline.stop();
    let engine = bowline.engine();
    for container in engine.containers_of(bowline.allotment().instance()) {
        let reply = engine.call("POST", &format!("/containers/{}/stop?t=0", id(&container)), b"");
        assert!(matches!(reply.status, 204 | 304), "{reply:?}");
    }
    for entry in fs::read_dir(bowline.runtime_dir()).expect("the runtime directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.expect("removed");
    }
}

/// When the last of a gateway's containers was started, once all of them run; in text, which without its `Z` is in
/// the order of time.
fn back(bowline: &Bowline, user: &str) -> Option<String> {
    let started = |seen: &Value| {
        let at = seen["State"]["StartedAt"].as_str().filter(|_| seen["State"]["Running"] == true)?;
        Some(at.trim_end_matches('Z').to_owned())
    };
    let starts: Option<Vec<_>> = members(bowline, user).values().map(started).collect();
    starts?.into_iter().max()
}

/// The place of the last of these users in the order in which `serve` brings their gateways back.
fn place_of_the_last(bowline: &Bowline, users: &[String]) -> usize {
    let starts = users.iter().map(|user| wait::until("it is back", PATIENCE, || back(bowline, user)).0);
    let starts: Vec<_> = starts.collect();
    let last = starts.last().expect("some");
    starts.iter().filter(|start| *start <= last).count()
}

#[test]
fn after_a_boot_the_gateway_that_somebody_asks_for_comes_before_the_others() {
    let postgres = Postgres::start();
    let mut bowline = Bowline::new().on(&postgres).with("concurrency", "1");
    bowline.start();
    let users: Vec<_> = (1..=COUNT).map(|number| format!("u{number:02}")).collect();
    let mut yaml = catalog(&[("alone", entry(LIGHT, "disableNetwork: true"))]);
    users.iter().for_each(|user| yaml.push_str(&gateway(user, &["alone"])));
    bowline.apply(&yaml);
    let names: Vec<_> = users.iter().map(String::as_str).collect();
    all_ready(&bowline, &names);

    let mut place = |ask: &[&str]| {
        boot(&mut bowline);
        bowline.launch();
        wait::until_true("the API answers", PATIENCE, || bowline.cli(ask).status.success());
        let place = place_of_the_last(&bowline, &users);
        all_ready(&bowline, &names);
        place
    };
    let unasked = place(&["get", "gateways", "-A"]);
    let wanted = users.last().expect("some");
    let asked = place(&["describe", &format!("gateway/{wanted}/default")]);
    figures::note(
        "asked",
        &format!(
            "{wanted} was brought back as number {asked} of {COUNT}, with one run at a time; when nobody asked as \
             number {unasked}"
        ),
    );
    assert!(asked <= COUNT - AFTER, "number {asked} of {COUNT}");
}
