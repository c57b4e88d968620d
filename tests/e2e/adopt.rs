//! A database is lost, the gateways are not: `serve` refuses to touch what it does not know, and `adopt` makes it
//! known again.

use std::collections::BTreeMap;

use bowline_tests::bowline::Bowline;
use bowline_tests::figures;
use bowline_tests::image::MadeImage;
use bowline_tests::mcp::Session;
use bowline_tests::postgres::Postgres;
use bowline_tests::wait;
use serde_json::json;

use crate::support::{
    LIGHT, PATIENCE, all_ready, call, catalog, condition, entry, gateway, gateway_image, starts,
};

const USERS: [&str; 5] = ["u1", "u2", "u3", "u4", "u5"];

/// Id and start of every container of every user.
fn all_starts(bowline: &Bowline) -> BTreeMap<&'static str, BTreeMap<String, (String, String)>> {
    USERS.into_iter().map(|user| (user, starts(bowline, user))).collect()
}

/// Waits until all is as declared, and of `u4` what ran before its bad revision.
fn settle(bowline: &Bowline) {
    all_ready(bowline, &["u1", "u2", "u3", "u5"]);
    wait::until_true("what was tried is taken back and gone", PATIENCE, || {
        let object = bowline.object("gateway", "u4", "default");
        condition(&object, "Progressing") == ("False".to_owned(), "RolledBack".to_owned())
            && bowline.left_over().len() == 4 * USERS.len()
    });
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
    // What was asked for beside the specification, and what was tried in vain, is known nowhere else.
    bowline.cli(["restart", "gateway", "-n", "u2", "--wait"]).ok();
    bowline.cli(["restart", "server", "-n", "u3", "alone", "--wait"]).ok();
    bowline.cli(["restart", "server", "-n", "u3", "alone", "--wait"]).ok();
    let bad = MadeImage::from(&gateway_image(), "ENTRYPOINT [\"/no-such-program\"]");
    let image = format!("spec: {{ image: '{}', catalogs", bad.reference());
    let tried = gateway("u4", &["alone", "online"]).replace("spec: { catalogs", &image);
    let refused = bowline.cli_with_input(["apply", "-f", "-", "--wait"], &tried).fails_with(1);
    assert!(refused.contains("RolledBack"), "{refused}");
    yaml = yaml.replace(&gateway("u4", &["alone", "online"]), &tried);
    settle(&bowline);
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
    settle(&bowline);
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
    all_ready(&bowline, &["u1"]);
    let mut after = all_starts(&bowline);
    after.insert("u1", before["u1"].clone());
    assert_eq!(after, before);
    figures::note(
        "adopt",
        "5 gateways refused, named, adopted into an empty database, none restarted: two that were restarted before, \
         and one that runs in the place of a bad revision among them",
    );
}
