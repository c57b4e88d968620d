//! The keys that open secrets: without them nothing is touched; replacing them loses nothing, whenever it is ended.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use bowline_tests::bowline::Bowline;
use bowline_tests::figures;
use bowline_tests::postgres::Postgres;
use bowline_tests::wait;
use serde_json::{Value, json};

use crate::support::{LIGHT, PATIENCE, call, catalog, entry, gateway, settled, starts};

/// How long `serve` may take to see that a key is missing.
const REFUSED: Duration = Duration::from_secs(2);
/// Values that a rotation seals anew, beside the one that a server has.
const VALUES: usize = 60;

/// A server that has the value `canary` in its environment, and many values that no server has.
fn with_secrets(bowline: &Bowline) {
    let extra = "disableNetwork: true, secrets: [{ name: token, env: TOKEN }], command: [--tools, env]";
    let reference = "catalogs: [base], secretRefs: [{ name: mine }]";
    bowline.apply(&catalog(&[("light", entry(LIGHT, extra))]));
    bowline.apply(&secret("mine", &json!({ "token": "canary" })));
    let values: Vec<_> = (0..VALUES).map(|at| (format!("k{at}"), Value::from("x"))).collect();
    bowline.apply(&secret("many", &Value::Object(values.into_iter().collect())));
    bowline.apply(&gateway("u1", &["light"]).replace("catalogs: [base]", reference));
    settled(bowline, "u1");
    has_value(bowline);
}

fn secret(name: &str, values: &Value) -> String {
    let metadata = json!({ "namespace": "u1", "name": name });
    json!({ "apiVersion": "bowline.dev/v1alpha1", "kind": "Secret", "metadata": metadata, "stringData": values })
        .to_string()
}

#[track_caller]
fn has_value(bowline: &Bowline) {
    let said = call(bowline, "u1", "env", r#"{"name":"TOKEN"}"#).ok();
    assert!(said.contains("canary"), "{said}");
}

/// The files of all keys.
fn key_files(bowline: &Bowline) -> Vec<PathBuf> {
    let keys = fs::read_dir(bowline.state_dir().join("keys")).expect("the directory of keys");
    let files = keys.map(|entry| entry.expect("a file").path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "key")).collect()
}

/// Everything in the database. The one line that `pg_dump` draws at random is left out.
fn rows(postgres: &Postgres) -> Vec<String> {
    let dump = postgres.dump();
    let lines =
        dump.lines().filter(|line| !line.starts_with(r"\restrict") && !line.starts_with(r"\unrestrict"));
    lines.map(str::to_owned).collect()
}

/// Starts `serve`, which must refuse soon and say all of this.
#[track_caller]
fn refuses(bowline: &mut Bowline, said: &[&str]) -> Duration {
    let logged = bowline.log().len();
    let begun = Instant::now();
    let status = bowline.start_refused();
    let took = begun.elapsed();
    assert_eq!(status.code(), Some(1));
    let log = bowline.log().split_off(logged);
    for text in said {
        assert!(log.contains(text), "{text} is not in\n{log}");
    }
    assert!(took < REFUSED, "refused only after {took:?}");
    took
}

#[test]
fn serve_does_not_start_without_its_key_and_touches_nothing() {
    let postgres = Postgres::start();
    let mut bowline = Bowline::new().on(&postgres);
    bowline.start();
    with_secrets(&bowline);
    bowline.stop();
    let (before, data) = (starts(&bowline, "u1"), rows(&postgres));
    let key = key_files(&bowline).pop().expect("a key");
    let id = key.file_stem().and_then(|stem| stem.to_str()).expect("an id").to_owned();
    let away = bowline.state_dir().join("away");
    let directory = bowline.state_dir().join("keys").display().to_string();

    fs::rename(&key, &away).expect("the key is moved");
    let took = refuses(&mut bowline, &[&id, &directory]);
    // Another key does not help.
    let made = bowline.cli(["keys", "generate", "--keys-dir", &directory]).ok();
    refuses(&mut bowline, &[&id, &directory]);
    let other = key_files(&bowline).pop().expect("the other key");
    assert!(made.contains(&other.display().to_string()), "{made}");
    fs::remove_file(&other).expect("the other key");
    // Nor does something that is no key at all, or one that others can read.
    fs::copy("/etc/hostname", &key).expect("a file");
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o400)).expect("permissions");
    refuses(&mut bowline, &[&key.display().to_string()]);
    fs::remove_file(&key).expect("the file");
    fs::rename(&away, &key).expect("the key is put back");
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o444)).expect("permissions");
    refuses(&mut bowline, &["chmod 400"]);
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o400)).expect("permissions");
    assert!(rows(&postgres) == data, "a row was touched");

    bowline.start();
    settled(&bowline, "u1");
    has_value(&bowline);
    assert_eq!(starts(&bowline, "u1"), before, "no container is touched");
    figures::note("keys", &format!("serve without its key refused after {} ms", took.as_millis()));
}

#[test]
fn a_rotation_that_is_killed_again_and_again_ends_and_recreates_nothing() {
    let postgres = Postgres::start();
    let mut bowline = Bowline::new().on(&postgres);
    bowline.start();
    with_secrets(&bowline);
    let before = starts(&bowline, "u1");
    for milliseconds in [0, 2, 5, 10, 15, 20, 30, 50, 80, 150] {
        let mut rotation = bowline
            .command(["keys", "rotate"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the verb");
        // Where it ends differs from run to run; what holds afterwards does not.
        thread::sleep(Duration::from_millis(milliseconds));
        bowline.kill_9();
        rotation.wait().expect("the verb ends");
        bowline.start();
        bowline.cli_with_input(["secret", "set", "-n", "u1", "many", "k0", "--from-stdin"], "y").ok();
    }
    let said = bowline.cli(["keys", "rotate"]).ok();
    let status = bowline.cli(["keys", "status", "-o", "json"]).json();
    let keys = status["items"].as_array().expect("keys");
    assert!(said.contains(keys[0]["id"].as_str().expect("an id")), "{said}");
    // The one that was set again may wait to be compared with the one in use.
    let values =
        keys[0]["values"].as_u64().and_then(|values| usize::try_from(values).ok()).expect("a number");
    assert!(keys[0]["newest"] == true && (VALUES + 1..=VALUES + 2).contains(&values), "{status}");
    assert!(keys[1..].iter().all(|key| key["retiredAt"].is_string() && key["values"] == 0), "{status}");
    assert_eq!(keys.len(), key_files(&bowline).len(), "every key has its file, and every file is known");

    // Without the retired keys everything is there.
    bowline.stop();
    for file in key_files(&bowline) {
        if file.file_stem().and_then(|stem| stem.to_str()) != keys[0]["id"].as_str() {
            fs::remove_file(file).expect("a retired key");
        }
    }
    bowline.start();
    settled(&bowline, "u1");
    assert_eq!(starts(&bowline, "u1"), before, "no container is touched");
    // Opened anew: the file of the server is gone, and has to be written again.
    let uid =
        bowline.object("gateway", "u1", "default")["metadata"]["uid"].as_str().expect("a uid").to_owned();
    let file = bowline.runtime_dir().join("gateways").join(uid).join("secrets/light/env");
    fs::remove_file(&file).expect("the file of the server");
    wait::until_true("the file of the server is written again", PATIENCE, || {
        fs::read_to_string(&file).is_ok_and(|text| text.contains("TOKEN=canary"))
    });
}
