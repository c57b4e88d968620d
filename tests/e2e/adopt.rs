//! A database is lost, the gateways are not: `serve` refuses to touch what it does not know, and `adopt` makes it
//! known again.

use std::collections::BTreeMap;

use bowline_tests::bowline::Bowline;
use bowline_tests::figures;
use bowline_tests::mcp::Session;
use bowline_tests::postgres::Postgres;
use serde_json::json;

use crate::support::{LIGHT, all_ready, call, catalog, entry, gateway, starts};

const USERS: [&str; 5] = ["u1", "u2", "u3", "u4", "u5"];

/// Id and start of every container of every user.
fn all_starts(bowline: &Bowline) -> BTreeMap<&'static str, BTreeMap<String, (String, String)>> {
    USERS.into_iter().map(|user| (user, starts(bowline, user))).collect()
}

#[test]
fn a_lost_database_is_refused_and_adoption_takes_the_gateways_over_without_a_restart() {
    let (lost, empty) = (Postgres::start(), Postgres::start());
    let mut bowline = Bowline::new().on(&lost);
    bowline.start();
    let mut yaml = catalog(&[
        ("alone", entry(LIGHT, "disableNetwork: true, command: [--tools, pid]")),
        ("online", entry(LIGHT, "command: [--tools, echo]")),
    ]);
    for user in USERS {
        yaml.push_str(&gateway(user, &["alone", "online"]));
    }
    bowline.apply(&yaml);
    all_ready(&bowline, &USERS);
    let mut session = Session::open(&bowline, "u1");
    session.call("echo", &json!({})).expect("an answer");
    let before = all_starts(&bowline);
    assert!(before.values().all(|members| members.len() == 3), "{before:?}");
    bowline.stop();

    let mut bowline = bowline.on(&empty);
    let status = bowline.start_refused();
    assert_eq!(status.code(), Some(1));
    let said = bowline.log();
    for user in USERS {
        assert!(said.contains(&format!("gateway/{user}/default")), "{user} is not named in\n{said}");
    }
    assert!(said.contains("bowline adopt"), "{said}");
    assert_eq!(all_starts(&bowline), before, "none is touched");

    let state = bowline.state_dir().display().to_string();
    let url = empty.url_file().display().to_string();
    let adopted = bowline
        .cli([
            "adopt",
            "--instance",
            bowline.allotment().instance(),
            "--state-dir",
            &state,
            "--database-url-file",
            &url,
        ])
        .ok();
    for user in USERS {
        assert!(adopted.contains(&format!("gateway/{user}/default")), "{adopted}");
    }
    assert_eq!(all_starts(&bowline), before);
    bowline.start();
    all_ready(&bowline, &USERS);
    for user in USERS {
        call(&bowline, user, "echo", "{}").ok();
    }
    assert_eq!(all_starts(&bowline), before, "nothing was restarted");
    session.call("echo", &json!({})).expect("a client with a token from before goes on");
    // Declared as before, it is as before.
    assert_eq!(bowline.apply(&yaml).matches("unchanged").count(), 1 + USERS.len());

    bowline.cli(["delete", "gateway/u1/default"]).ok();
    assert_eq!(starts(&bowline, "u1"), BTreeMap::new());
    bowline.apply(&gateway("u1", &["alone"]));
    all_ready(&bowline, &USERS);
    let mut after = all_starts(&bowline);
    after.insert("u1", before["u1"].clone());
    assert_eq!(after, before);
    figures::note(
        "adopt",
        "5 gateways refused, named, adopted into an empty database, Ready, none restarted",
    );
}
