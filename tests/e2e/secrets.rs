//! Secrets: they reach the process of the server that declares them and nothing else on the machine; who uses a value
//! that changed is made anew, and nobody else; what becomes of the files is put right.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bowline_tests::bowline::Bowline;
use bowline_tests::engine::id;
use bowline_tests::figures;
use bowline_tests::postgres::Postgres;
use bowline_tests::wait;
use serde_json::json;

use self::sweep::{Needle, Sweep};
use crate::support::{
    LIGHT, PATIENCE, all_ready, call, catalog, condition, entry, gateway, members, server_state, settled,
    starts,
};

mod sweep;

/// Values of each of the two servers of the sweep.
const VALUES: usize = 50;
/// Within what time a secret that was removed is no longer on the host.
const REVOKED: Duration = Duration::from_secs(5);

/// A server that tells of its environment and is given these keys, each in the variable of its name in capitals.
fn server(name: &str, keys: &[String]) -> (String, String) {
    let secret = |key: &String| format!("{{ name: {key}, env: {} }}", variable(key));
    let secrets: Vec<_> = keys.iter().map(secret).collect();
    let extra = format!(
        "prefix: {name}, disableNetwork: true, secrets: [{}], command: [--tools, 'env,pid']",
        secrets.join(", ")
    );
    (name.to_owned(), entry(LIGHT, &extra))
}

fn variable(key: &str) -> String {
    key.replace('.', "_").to_uppercase()
}

fn catalog_of(servers: &[(String, String)]) -> String {
    let entries: Vec<_> = servers.iter().map(|(name, entry)| (name.as_str(), entry.clone())).collect();
    catalog(&entries)
}

/// The gateway `u1/default` with values from these Secrets.
fn gateway_with(secrets: &[&str], servers: &[&str]) -> String {
    let references: Vec<_> = secrets.iter().map(|name| format!("{{ name: {name} }}")).collect();
    let references = format!("catalogs: [base], secretRefs: [{}]", references.join(", "));
    gateway("u1", servers).replace("catalogs: [base]", &references)
}

/// A Secret of `u1` with exactly these values.
fn secret(name: &str, values: &BTreeMap<String, String>) -> String {
    let metadata = json!({ "namespace": "u1", "name": name });
    json!({
        "apiVersion": "bowline.dev/v1alpha1", "kind": "Secret", "metadata": metadata, "stringData": values,
    })
    .to_string()
}

/// Sets one key as a user does who lets nobody see the value.
fn set(bowline: &Bowline, key: &str, value: &str) {
    bowline.cli_with_input(["secret", "set", "-n", "u1", "mine", key, "--from-stdin"], value).ok();
}

/// The directory of the gateway's files.
fn tree(bowline: &Bowline) -> PathBuf {
    let object = bowline.object("gateway", "u1", "default");
    let uid = object["metadata"]["uid"].as_str().expect("a uid").to_owned();
    bowline.runtime_dir().join("gateways").join(uid)
}

/// The secret file of a server.
fn file(bowline: &Bowline, server: &str) -> PathBuf {
    tree(bowline).join("secrets").join(server).join("env")
}

/// Which file it is, and when it was written.
fn version(path: &Path) -> (u64, i64, i64) {
    let metadata = fs::metadata(path).expect("the file");
    (metadata.ino(), metadata.mtime(), metadata.mtime_nsec())
}

#[track_caller]
fn has_value(bowline: &Bowline, server: &str, value: &str) {
    let arguments = json!({ "name": variable(&format!("{server}.token")) }).to_string();
    let said = call(bowline, "u1", &format!("{server}__env"), &arguments).ok();
    assert!(said.contains(value), "{server} has another value: {said}");
}

/// Environments of the processes of one container, the bridge's left out.
fn environments(container: &str) -> Vec<Vec<String>> {
    let processes = fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
    let of_container = processes.filter(|entry| {
        let cgroup = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        cgroup.contains(container) && !command.starts_with(b"/bowline/bridge")
    });
    let environment = |entry: fs::DirEntry| {
        let bytes = fs::read(entry.path().join("environ")).unwrap_or_default();
        let pairs = bytes.split(|byte| *byte == 0).filter(|pair| !pair.is_empty());
        pairs.map(|pair| String::from_utf8_lossy(pair).into_owned()).collect()
    };
    of_container.map(environment).collect()
}

#[test]
fn a_hundred_values_reach_the_servers_that_declare_them_and_are_nowhere_else() {
    let mark = fs::read_to_string("/proc/sys/kernel/random/uuid").expect("a random text");
    let mark = format!("canary {}", mark.trim());
    let postgres = Postgres::start();
    // What is sent to the server is in its log, with all parameters.
    let _set = postgres.query("ALTER SYSTEM SET log_statement = 'all'");
    let _read = postgres.query("SELECT pg_reload_conf()");
    let mut bowline = Bowline::new().on(&postgres).logging("trace");
    bowline.start();

    // All that a line can hold.
    let value = |key: &str| format!("{mark} {key} = # \"quoted\" 'quoted' $HOME \\n {{{{x}}}} ä ");
    let keys = |server: &str| (0..VALUES).map(|number| format!("{server}.k{number}")).collect::<Vec<_>>();
    let values = |server: &str| keys(server).into_iter().map(|key| (key.clone(), value(&key))).collect();
    for name in ["one", "two"] {
        bowline.apply(&secret(name, &values(name)));
    }
    bowline.apply(&catalog_of(&[
        server("one", &keys("one")),
        server("two", &keys("two")),
        server("none", &[]),
    ]));
    bowline.apply(&gateway_with(&["one", "two"], &["one", "two", "none"]));
    all_ready(&bowline, &["u1"]);
    // Plans and refusals tell nothing, either.
    let _same = bowline.cli_with_input(["diff", "-f", "-"], &secret("one", &values("two")));
    let refused = format!("{}\n---\nkind: Secret\nstringData: [{mark}", secret("one", &values("one")));
    let said = bowline.cli_with_input(["apply", "-f", "-"], &refused).fails_with(1);
    assert!(!said.contains(&mark), "{said}");

    for (server, container) in members(&bowline, "u1").into_iter().filter(|(role, _)| role != "gateway") {
        let told = environments(container["Id"].as_str().expect("an id"));
        assert!(!told.is_empty(), "{server} runs");
        let mut marked: Vec<_> = told.into_iter().flatten().filter(|pair| pair.contains(&mark)).collect();
        let mut expected: Vec<_> = match server.as_str() {
            "none" => Vec::new(),
            server => keys(server).iter().map(|key| format!("{}={}", variable(key), value(key))).collect(),
        };
        marked.sort();
        expected.sort();
        assert_eq!(marked, expected, "{server}");
    }

    // Where nothing is to be found there must be something.
    assert!(bowline.log().contains(r#""level":"TRACE""#), "serve logs all that it can");
    let log = fs::read_to_string(postgres.folder().join("log")).expect("the log of Postgres");
    assert!(log.contains("INSERT INTO secret_values") && log.contains("parameters: "), "{log}");
    let needle = Needle::of(&mark);
    let sweep = Sweep::over(&bowline, &postgres, &needle);
    let uid = tree(&bowline);
    let uid = uid.file_name().expect("a name").to_str().expect("a uid");
    let expected = [
        format!("file gateways/{uid}/secrets/one/env"),
        format!("file gateways/{uid}/secrets/two/env"),
        "the environment of one".to_owned(),
        "the environment of two".to_owned(),
    ];
    assert_eq!(sweep.found(), expected);
    figures::note("secrets", &format!("{} values looked for in {}: 0 found", 2 * VALUES, sweep.size()));
}

/// Three servers: two with a secret of their own, one without.
fn three_servers() -> String {
    let key = |name: &str| [format!("{name}.token")];
    catalog_of(&[server("one", &key("one")), server("two", &key("two")), server("none", &[])])
}

fn three_ready() -> Bowline {
    let mut bowline = Bowline::new();
    bowline.start();
    bowline.apply(&three_servers());
    set(&bowline, "one.token", "first of one\n");
    set(&bowline, "two.token", "first of two");
    bowline.apply(&gateway_with(&["mine"], &["one", "two", "none"]));
    all_ready(&bowline, &["u1"]);
    has_value(&bowline, "one", "first of one");
    has_value(&bowline, "two", "first of two");
    bowline
}

/// Waits until a server's container is another one than before and nothing is under way.
fn replaced(bowline: &Bowline, server: &str, before: &BTreeMap<String, (String, String)>) {
    wait::until_true("the server is made anew", PATIENCE, || {
        let instance = bowline.allotment().instance();
        let found = bowline.engine().containers_of(instance);
        let own = found.iter().filter(|one| one["Labels"]["dev.bowline.server"] == server);
        own.clone().count() == 1 && own.map(id).all(|id| id != before[server].0)
    });
    settled(bowline, "u1");
}

#[test]
fn another_value_makes_exactly_the_servers_anew_that_use_it_and_the_same_value_again_none() {
    let bowline = three_ready();
    let before = starts(&bowline, "u1");
    set(&bowline, "one.token", "second of one");
    replaced(&bowline, "one", &before);
    has_value(&bowline, "one", "second of one");
    let after = starts(&bowline, "u1");
    for role in ["gateway", "two", "none"] {
        assert_eq!(before[role], after[role], "{role} was left alone");
    }

    // The second change shows that the first was looked at.
    set(&bowline, "one.token", "second of one");
    set(&bowline, "two.token", "second of two");
    replaced(&bowline, "two", &after);
    has_value(&bowline, "two", "second of two");
    let last = starts(&bowline, "u1");
    for role in ["gateway", "one", "none"] {
        assert_eq!(after[role], last[role], "{role} was left alone");
    }
}

#[test]
fn a_key_that_is_deleted_is_gone_from_the_host_at_once_and_its_server_waits_for_it() {
    let bowline = three_ready();
    let before = starts(&bowline, "u1");
    let path = file(&bowline, "one");
    let delete = ["secret", "delete", "-n", "u1", "mine", "one.token"];
    let refused = bowline.cli(delete).fails_with(1);
    assert!(refused.contains("gateway/u1/default"), "{refused}");

    bowline.cli(delete.into_iter().chain(["--force"])).ok();
    let begun = Instant::now();
    wait::until_true("the file is gone", REVOKED, || !path.exists());
    let gone = begun.elapsed();
    wait::until_true("the server waits", PATIENCE, || {
        let object = bowline.object("gateway", "u1", "default");
        server_state(&object, "one") == ("Pending".to_owned(), "SecretMissing".to_owned())
            && condition(&object, "SecretsResolved") == ("False".to_owned(), "SecretMissing".to_owned())
            && !members(&bowline, "u1").contains_key("one")
    });
    let described = bowline.cli(["describe", "gateway/u1/default"]).ok();
    assert!(described.contains("bowline secret set -n u1 mine one.token"), "{described}");
    let after = starts(&bowline, "u1");
    for role in ["gateway", "two", "none"] {
        assert_eq!(before[role], after[role], "{role} was left alone");
    }
    figures::note("secrets", &format!("a deleted key is off the host after {:.2} s", gone.as_secs_f64()));

    // A value that is no line is said so, and one that is brings the server back.
    set(&bowline, "one.token", "two\nlines");
    wait::until_true("the value is refused", PATIENCE, || {
        let object = bowline.object("gateway", "u1", "default");
        server_state(&object, "one") == ("Failed".to_owned(), "SecretUnusable".to_owned())
    });
    assert!(!path.exists());
    set(&bowline, "one.token", "third of one");
    settled(&bowline, "u1");
    has_value(&bowline, "one", "third of one");

    // The whole Secret goes likewise.
    bowline.cli(["secret", "delete", "-n", "u1", "mine", "--force"]).ok();
    wait::until_true("no file is left", REVOKED, || {
        ["one", "two"].iter().all(|server| !file(&bowline, server).exists())
    });
}

#[test]
fn a_secret_file_is_put_right_outlives_a_restart_untouched_and_is_back_after_a_boot() {
    let mut bowline = three_ready();
    let before = starts(&bowline, "u1");
    let (path, other) = (file(&bowline, "one"), file(&bowline, "two"));
    let written = fs::read(&path).expect("the file");
    for damage in [
        (|path| fs::write(path, "ONE_TOKEN=stolen\n").expect("a file")) as fn(&Path),
        |path| fs::remove_file(path).expect("a file"),
        |path| fs::set_permissions(path, PermissionsExt::from_mode(0o666)).expect("permissions"),
    ] {
        damage(&path);
        wait::until_true("the file is put right", PATIENCE, || {
            let mode = fs::metadata(&path).map(|metadata| metadata.mode() & 0o7777);
            fs::read(&path).is_ok_and(|now| now == written) && mode.is_ok_and(|mode| mode == 0o444)
        });
    }
    // Nobody else's file can stand in for it, although we wrote it.
    fs::copy(&other, &path).expect("a file");
    wait::until_true("the file is its own again", PATIENCE, || {
        fs::read(&path).is_ok_and(|now| now == written)
    });
    assert_eq!(starts(&bowline, "u1"), before, "nobody is started anew for it");

    let key = bowline.runtime_dir().join("secret-files.key");
    let versions = |paths: &[&PathBuf]| paths.iter().map(|path| version(path)).collect::<Vec<_>>();
    let was = versions(&[&path, &other, &key]);
    bowline.stop();
    bowline.start();
    settled(&bowline, "u1");
    // The look of another change has come and gone.
    let listed = bowline.cli(["annotate", "gateway/u1/default", "example.org/seen=1"]).ok();
    assert!(!listed.is_empty());
    settled(&bowline, "u1");
    assert_eq!(versions(&[&path, &other, &key]), was, "a restart writes nothing");
    assert_eq!(starts(&bowline, "u1"), before);

    bowline.stop();
    for container in bowline.engine().containers_of(bowline.allotment().instance()) {
        let reply = bowline.engine().call("POST", &format!("/containers/{}/stop?t=0", id(&container)), b"");
        assert!(matches!(reply.status, 204 | 304), "{reply:?}");
    }
    for entry in fs::read_dir(bowline.runtime_dir()).expect("the runtime directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.expect("removed");
    }
    bowline.start();
    wait::until_true("all are back", PATIENCE, || {
        let now = starts(&bowline, "u1");
        before
            .iter()
            .all(|(role, (id, start))| now.get(role).is_some_and(|now| now.0 == *id && now.1 != *start))
    });
    all_ready(&bowline, &["u1"]);
    has_value(&bowline, "one", "first of one");
    has_value(&bowline, "two", "first of two");
}

#[test]
fn without_its_keys_serve_names_them_does_not_start_and_touches_nothing() {
    let mut bowline = three_ready();
    let before = starts(&bowline, "u1");
    let path = file(&bowline, "one");
    let was = version(&path);
    bowline.stop();
    let keys = bowline.state_dir().join("keys");
    let elsewhere = bowline.state_dir().join("elsewhere");
    let names = fs::read_dir(&keys).expect("the keys").map(|entry| entry.expect("a key").file_name());
    let ids: Vec<_> =
        names.filter_map(|name| Some(name.to_str()?.strip_suffix(".key")?.to_owned())).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");

    fs::rename(&keys, &elsewhere).expect("moved away");
    assert!(!bowline.start_refused().success());
    let said = bowline.log();
    let said = said.lines().filter(|line| line.contains(&ids[0])).count();
    assert!(said > 0, "{}", bowline.log());
    assert_eq!(starts(&bowline, "u1"), before);
    let running = members(&bowline, "u1").into_values().all(|seen| seen["State"]["Running"] == true);
    assert!(running && !keys.exists(), "no other key is made");
    assert_eq!(version(&path), was);

    fs::rename(&elsewhere, &keys).expect("put back");
    bowline.start();
    settled(&bowline, "u1");
    has_value(&bowline, "one", "first of one");
    assert_eq!(starts(&bowline, "u1"), before);
    assert_eq!(version(&path), was);
}
