//! Ports: given from a range, never twice, kept for a name, skipped where the host uses one.

use std::net::TcpListener;
use std::time::Duration;

use bowline_tests::bowline::Bowline;
use bowline_tests::figures;
use bowline_tests::wait;

use crate::support::{PATIENCE, all_ready, condition, gateway};

/// An instance with a range of so many ports.
fn bowline_with_ports(count: u16) -> (Bowline, u16) {
    let bowline = Bowline::new();
    let first = *bowline.allotment().ports().start();
    let mut bowline = bowline.with("port-range", format!("{first}-{}", first + count - 1));
    bowline.start();
    (bowline, first)
}

/// A gateway without servers: an endpoint and a lease are all that it needs.
fn bare(user: &str) -> String {
    gateway(user, &[]).replace("catalogs: [base], ", "")
}

fn port(bowline: &Bowline, user: &str) -> Option<u64> {
    bowline.object("gateway", user, "default")["status"]["endpoint"]["port"].as_u64()
}

fn delete(bowline: &Bowline, user: &str) {
    bowline.cli(["delete", &format!("gateway/{user}/default")]).ok();
}

#[test]
fn of_four_gateways_on_three_ports_one_waits_until_a_port_is_given_back() {
    let (bowline, first) = bowline_with_ports(3);
    bowline.apply(&["u1", "u2", "u3"].map(bare).concat());
    all_ready(&bowline, &["u1", "u2", "u3"]);
    bowline.apply(&bare("u4"));

    let said = bowline.wait_for("gateway/u4/default", "condition=Ready", PATIENCE).fails_with(1);
    for text in ["LeaseExhausted", "--port-range", &format!("{first}-{}", first + 2), "hint:"] {
        assert!(said.contains(text), "{text} is not in\n{said}");
    }
    let waiting = bowline.object("gateway", "u4", "default");
    assert_eq!(condition(&waiting, "Accepted"), ("False".to_owned(), "LeaseExhausted".to_owned()));
    all_ready(&bowline, &["u1", "u2", "u3"]);
    let mut ports: Vec<_> = ["u1", "u2", "u3"].iter().filter_map(|user| port(&bowline, user)).collect();
    ports.sort_unstable();
    assert_eq!(ports, [0, 1, 2].map(|offset| u64::from(first) + offset));

    let freed = port(&bowline, "u2");
    delete(&bowline, "u2");
    // `wait` gives up at once while the old verdict stands, so the condition itself is watched.
    let waited = wait::until_true("the fourth gateway is Ready", PATIENCE, || {
        condition(&bowline.object("gateway", "u4", "default"), "Ready").0 == "True"
    });
    assert_eq!(port(&bowline, "u4"), freed);
    figures::note("leases", &format!("Ready {:.1} s after a port was given back", waited.as_secs_f64()));
}

#[test]
fn a_port_that_the_host_uses_is_skipped() {
    let bowline = Bowline::new();
    let first = *bowline.allotment().ports().start();
    let held = TcpListener::bind(("127.0.0.1", first)).expect("the first port is free");
    let mut bowline = bowline.with("port-range", format!("{first}-{}", first + 1));
    bowline.start();
    bowline.apply(&bare("u1"));
    all_ready(&bowline, &["u1"]);
    assert_eq!(port(&bowline, "u1"), Some(u64::from(first) + 1));
    drop(held);
}

#[test]
fn a_gateway_that_is_deleted_and_applied_again_has_its_port_again() {
    let (bowline, _) = bowline_with_ports(4);
    bowline.apply(&["u1", "u2"].map(bare).concat());
    all_ready(&bowline, &["u1", "u2"]);
    let before = port(&bowline, "u1");
    let uid = bowline.object("gateway", "u1", "default")["metadata"]["uid"].clone();
    delete(&bowline, "u1");
    // Somebody else comes first, and takes another one although this one is free.
    bowline.apply(&bare("u3"));
    all_ready(&bowline, &["u3"]);
    assert_ne!(port(&bowline, "u3"), before);
    bowline.apply(&bare("u1"));
    all_ready(&bowline, &["u1"]);
    assert_eq!(port(&bowline, "u1"), before);
    assert_ne!(
        bowline.object("gateway", "u1", "default")["metadata"]["uid"],
        uid,
        "it inherits nothing else"
    );
}

#[test]
fn a_port_that_an_admin_names_is_given_or_the_reason_why_not() {
    let (bowline, first) = bowline_with_ports(4);
    let fixed = |user: &str, port: u16| bare(user).replace("spec: {", &format!("spec: {{ port: {port},"));
    bowline.apply(&fixed("u1", first + 3));
    all_ready(&bowline, &["u1"]);
    assert_eq!(port(&bowline, "u1"), Some(u64::from(first) + 3));
    bowline.apply(&fixed("u2", first + 3));
    let limit = Duration::from_secs(30);
    let said = bowline.wait_for("gateway/u2/default", "condition=Ready", limit).fails_with(1);
    assert!(said.contains(&format!("port {} is leased to another gateway", first + 3)), "{said}");
}
