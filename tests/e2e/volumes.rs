//! Volumes of catalog entries: what a server stores outlives its container and its gateway, is written by one gateway
//! at a time, and goes only when somebody says so.

use bowline_tests::bowline::Bowline;
use bowline_tests::engine::Engine;
use bowline_tests::figures;
use bowline_tests::postgres::Postgres;
use bowline_tests::wait;
use serde_json::{Value, json};

use crate::support::{
    LIGHT, PATIENCE, all_ready, call, catalog, entry, gateway, members, server_state, starts,
};

/// A catalog with one server that stores what it is told below /data.
fn keeper(tools: &str) -> String {
    let extra = format!("disableNetwork: true, volumes: ['data:/data'], command: [--tools, '{tools}']");
    catalog(&[("keeper", entry(LIGHT, &extra))])
}

fn write(bowline: &Bowline, gateway: &str, file: &str, text: &str) {
    let arguments = json!({ "path": format!("/data/{file}"), "text": text }).to_string();
    let said = call(bowline, gateway, "write", &arguments).ok();
    assert!(said.contains("written"), "{said}");
}

#[track_caller]
fn reads(bowline: &Bowline, gateway: &str, file: &str, text: &str) {
    let arguments = json!({ "path": format!("/data/{file}") }).to_string();
    let said = call(bowline, gateway, "read", &arguments).ok();
    assert!(said.contains(text), "{said}");
}

fn volumes(bowline: &Bowline) -> Vec<Value> {
    let list = bowline.cli(["get", "volumes", "-A", "-o", "json"]).json();
    list["items"].as_array().expect("a list").clone()
}

fn user(bowline: &Bowline, namespace: &str) -> String {
    members(bowline, namespace)["keeper"]["Config"]["User"].as_str().expect("a user").to_owned()
}

/// Whether the Engine has a volume of this name.
fn is_there(name: &str) -> bool {
    Engine::local().call("GET", &format!("/volumes/{name}"), b"").status == 200
}

#[test]
fn what_a_server_stores_outlives_its_container_its_gateway_and_its_uid() {
    let mut bowline = Bowline::new();
    bowline.start();
    let declared = keeper("write,read") + &gateway("u1", &["keeper"]);
    bowline.apply(&declared);
    all_ready(&bowline, &["u1"]);
    write(&bowline, "u1", "first", "made by the first container");
    let first = (user(&bowline, "u1"), members(&bowline, "u1")["keeper"]["Id"].clone());

    // Another command is another container.
    bowline.apply(&keeper("write,read,pid"));
    wait::until_true("the server is replaced", PATIENCE, || {
        members_of_keeper(&bowline).is_some_and(|id| id != first.1)
    });
    all_ready(&bowline, &["u1"]);
    wait::until_true("the new server answers", PATIENCE, || {
        call(&bowline, "u1", "pid", "{}").status.success()
    });
    reads(&bowline, "u1", "first", "made by the first container");
    write(&bowline, "u1", "first", "written over by the second");

    let refused = bowline.cli(["volume", "rm", "-n", "u1", "keeper/data"]).fails_with(1);
    assert!(refused.contains("gateway/u1/default"), "{refused}");

    bowline.cli(["delete", "gateway/u1/default"]).ok();
    let kept = volumes(&bowline);
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!((&kept[0]["server"], &kept[0]["name"]), (&json!("keeper"), &json!("data")));
    assert!(kept[0]["usedBy"].is_null(), "{kept:?}");
    let name = kept[0]["engineName"].as_str().expect("a name").to_owned();
    assert_eq!(name, format!("mcp-vol-u1.keeper.data_{}", bowline.allotment().instance()));
    assert!(is_there(&name));

    // Others take the uids that were given back, so that the next server has another one.
    bowline.apply(&gateway("u2", &["keeper"]));
    all_ready(&bowline, &["u2"]);
    bowline.apply(&gateway("u1", &["keeper"]));
    all_ready(&bowline, &["u1"]);
    assert_ne!(user(&bowline, "u1"), first.0);
    reads(&bowline, "u1", "first", "written over by the second");
    write(&bowline, "u1", "first", "and by the third, which has another uid");
    write(&bowline, "u1", "second", "a new file");
    let nothing = call(&bowline, "u2", "read", r#"{ "path": "/data/first" }"#).ok();
    assert!(nothing.contains("No such file"), "another tenant sees none of it: {nothing}");

    // A removal that was cut off by a crash is carried out after it.
    bowline.cli(["delete", "gateway/u1/default", "--volumes", "--wait=false"]).ok();
    bowline.kill_9();
    bowline.start();
    wait::until_true("the volume is gone", PATIENCE, || !is_there(&name));
    wait::until_true("and the list says so", PATIENCE, || volumes(&bowline).len() == 1);
    bowline.apply(&gateway("u1", &["keeper"]));
    all_ready(&bowline, &["u1"]);
    let nothing = call(&bowline, "u1", "read", r#"{ "path": "/data/first" }"#).ok();
    assert!(nothing.contains("No such file"), "a new volume is empty: {nothing}");

    let said = bowline.cli(["delete", "gateway/u1/default", "gateway/u2/default", "--volumes"]).ok();
    for line in ["volume u1/keeper/data removed", "volume u2/keeper/data removed"] {
        assert!(said.contains(line), "{said}");
    }
    assert!(volumes(&bowline).is_empty());
    assert!(!is_there(&name));
    figures::note(
        "volumes",
        "data read after a replacement, after delete + apply under another uid; gone with --volumes",
    );
}

/// The id of the server's container, while it has exactly one.
fn members_of_keeper(bowline: &Bowline) -> Option<Value> {
    let instance = bowline.allotment().instance();
    let mut found: Vec<Value> = Engine::local()
        .containers_of(instance)
        .into_iter()
        .filter(|one| one["Labels"]["dev.bowline.server"] == "keeper" && one["State"] == "running")
        .map(|one| one["Id"].clone())
        .collect();
    found.pop().filter(|_| found.is_empty())
}

#[test]
fn a_volume_has_one_gateway_and_the_next_one_gets_it_with_its_data() {
    let mut bowline = Bowline::new();
    bowline.start();
    let work = gateway("u1", &["keeper"]).replace("name: default", "name: work");
    bowline.apply(&(keeper("write,read") + &gateway("u1", &["keeper"])));
    all_ready(&bowline, &["u1"]);
    write(&bowline, "u1", "note", "for both, one after the other");

    bowline.apply(&work);
    wait::until_true("the second is told who has it", PATIENCE, || {
        let object = bowline.object("gateway", "u1", "work");
        server_state(&object, "keeper") == ("Failed".to_owned(), "VolumeInUse".to_owned())
    });
    let described = bowline.cli(["describe", "gateway/u1/work"]).ok();
    assert!(described.contains("used by gateway/u1/default"), "{described}");

    bowline.apply(&gateway("u1", &["{ name: keeper, enabled: false }"]));
    bowline.wait_for("gateway/u1/work", "condition=Ready", PATIENCE).ok();
    reads(&bowline, "u1/work", "note", "for both, one after the other");
    write(&bowline, "u1/work", "note", "now the second's");

    // What nobody uses goes by its name.
    bowline.cli(["delete", "gateway/u1/work", "gateway/u1/default"]).ok();
    assert_eq!(bowline.cli(["get", "volumes", "-n", "u1", "-o", "name"]).ok(), "u1/keeper/data\n");
    let said = bowline.cli(["volume", "rm", "-n", "u1", "keeper/data"]).ok();
    assert_eq!(said, "volume u1/keeper/data removed\n");
    let missing = bowline.cli(["volume", "rm", "-n", "u1", "keeper/data"]).fails_with(1);
    assert!(missing.contains("has no volume keeper/data"), "{missing}");
}

/// A volume of somebody else, removed with the test.
struct Foreign(String);

impl Foreign {
    fn make(name: &str) -> Self {
        Engine::local().expect("POST", "/volumes/create", json!({ "Name": name }).to_string().as_bytes());
        Foreign(name.to_owned())
    }

    fn portrait(&self) -> Value {
        Engine::local().get(&format!("/volumes/{}", self.0))
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // It may be gone already where a test has just found that it was touched.
        Engine::local().call("DELETE", &format!("/volumes/{}", self.0), b"");
    }
}

#[test]
fn somebody_elses_volume_of_our_very_name_is_never_mounted_and_host_paths_are_refused() {
    let mut bowline = Bowline::new();
    bowline.start();
    let instance = bowline.allotment().instance().to_owned();
    let foreign = Foreign::make(&format!("mcp-vol-u1.keeper.data_{instance}"));
    let before = foreign.portrait();
    let etc = "disableNetwork: true, volumes: ['{{etc.path|or:/etc|volume|into}}'], command: [--tools, pid]";
    let stored = "disableNetwork: true, volumes: ['data:/data'], command: [--tools, 'write,read']";
    bowline.apply(&catalog(&[("keeper", entry(LIGHT, stored)), ("etc", entry(LIGHT, etc))]));
    bowline.apply(&gateway("u1", &["keeper", "etc"]));
    wait::until_true("the good server runs", PATIENCE, || {
        let object = bowline.object("gateway", "u1", "default");
        server_state(&object, "keeper").0 == "Running"
            && server_state(&object, "etc") == ("Failed".to_owned(), "HostPathNotAllowed".to_owned())
    });
    write(&bowline, "u1", "note", "ours");
    let name = |bowline: &Bowline| volumes(bowline)[0]["engineName"].as_str().expect("a name").to_owned();
    let ours = name(&bowline);
    assert!(ours.starts_with(&format!("{}_", foreign.0)), "{ours}");
    assert_eq!(foreign.portrait(), before);

    // The other name survives a restart, although nobody remembers why it was taken.
    let container = members(&bowline, "u1")["keeper"]["Id"].clone();
    bowline.kill_9();
    bowline.start();
    bowline.apply(&gateway("u1", &["keeper"]));
    all_ready(&bowline, &["u1"]);
    assert_eq!(members(&bowline, "u1")["keeper"]["Id"], container);
    reads(&bowline, "u1", "note", "ours");

    // Teardown leaves what tenants have stored, unless told.
    bowline.stop();
    let kept = bowline.teardown();
    assert!(kept.status.success() && kept.stderr.contains(&format!("volume {ours} kept")), "{kept:?}");
    assert!(is_there(&ours));
    let said = bowline.cli(["teardown", "--yes", "--volumes", "--instance", &instance]).ok();
    assert!(said.contains(&format!("volume {ours} removed")), "{said}");
    assert!(!is_there(&ours));
    assert_eq!(foreign.portrait(), before);
}

#[test]
fn adoption_finds_the_volumes_of_a_lost_database_again() {
    let (lost, empty) = (Postgres::start(), Postgres::start());
    let mut bowline = Bowline::new().on(&lost);
    bowline.start();
    bowline.apply(&(keeper("write,read") + &gateway("u1", &["keeper"])));
    all_ready(&bowline, &["u1"]);
    write(&bowline, "u1", "note", "from before");
    let before = starts(&bowline, "u1");
    bowline.stop();

    let mut bowline = bowline.on(&empty);
    let state = bowline.state_dir().display().to_string();
    let url = empty.url_file().display().to_string();
    let instance = bowline.allotment().instance().to_owned();
    bowline.cli(["adopt", "--instance", &instance, "--state-dir", &state, "--database-url-file", &url]).ok();
    bowline.start();
    all_ready(&bowline, &["u1"]);
    assert_eq!(starts(&bowline, "u1"), before, "nothing is made anew");
    reads(&bowline, "u1", "note", "from before");
    let listed = volumes(&bowline);
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(listed[0]["usedBy"], json!({ "namespace": "u1", "name": "default" }));

    // And when the volumes are all that is left.
    bowline.stop();
    bowline.teardown().ok();
    let last = Postgres::start();
    let mut bowline = bowline.on(&last);
    let url = last.url_file().display().to_string();
    let said = bowline
        .cli(["adopt", "--instance", &instance, "--state-dir", &state, "--database-url-file", &url])
        .ok();
    assert_eq!(said, "volume u1/keeper/data adopted\n");
    bowline.start();
    bowline.apply(&(keeper("write,read") + &gateway("u1", &["keeper"])));
    all_ready(&bowline, &["u1"]);
    reads(&bowline, "u1", "note", "from before");
    bowline.cli(["delete", "gateway/u1/default", "--volumes"]).ok();
    assert!(Engine::local().volumes_of(&instance).is_empty());
}

#[test]
fn a_server_that_runs_as_its_images_own_user_writes_what_it_wrote_under_a_leased_uid() {
    let mut bowline = Bowline::new();
    bowline.start();
    bowline.apply(&(keeper("write,read") + &gateway("u1", &["keeper"])));
    all_ready(&bowline, &["u1"]);
    let mut before = members_of_keeper(&bowline).expect("it runs");
    write(&bowline, "u1", "note", "under a leased uid");
    for (profile, text) in [("baseline", "as its own user"), ("restricted", "and back again")] {
        bowline.apply(&gateway("u1", &[&format!("{{ name: keeper, profile: {profile} }}")]));
        let (next, _) = wait::until("the server is replaced", PATIENCE, || {
            members_of_keeper(&bowline).filter(|id| *id != before)
        });
        before = next;
        all_ready(&bowline, &["u1"]);
        wait::until_true("the new server answers", PATIENCE, || {
            call(&bowline, "u1", "read", r#"{ "path": "/data/note" }"#).status.success()
        });
        write(&bowline, "u1", "note", text);
        reads(&bowline, "u1", "note", text);
    }
}
