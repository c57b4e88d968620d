//! The spec directory: what is in the files runs, whatever happens to the files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bowline_tests::bowline::Bowline;
use bowline_tests::figures;
use bowline_tests::postgres::Postgres;
use bowline_tests::wait;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{LIGHT, PATIENCE, all_ready, call, catalog, entry, gateway, starts};

/// Longer than anything takes that needs no container.
const SOON: Duration = Duration::from_secs(60);

fn light() -> String {
    catalog(&[("light", entry(LIGHT, "disableNetwork: true"))])
}

/// A directory of specifications.
struct Specs(TempDir);

impl Specs {
    fn new() -> Self {
        Self(tempfile::Builder::new().prefix("bowline-specs-").tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file");
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).expect("a file");
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).expect("a file");
    }

    fn folder(&self) -> String {
        self.0.path().display().to_string()
    }
}

fn specs(bowline: &Bowline) -> Value {
    bowline.cli(["get", "specs", "-o", "json"]).json()
}

/// The states of the files.
fn states(specs: &Value) -> BTreeMap<String, String> {
    let text = |item: &Value, field: &str| item[field].as_str().expect("a text").to_owned();
    let items = specs["items"].as_array().expect("a list");
    items.iter().map(|item| (text(item, "file"), text(item, "state"))).collect()
}

fn until_states(bowline: &Bowline, wanted: &[(&str, &str)]) {
    let wanted: BTreeMap<_, _> =
        wanted.iter().map(|(file, state)| ((*file).to_owned(), (*state).to_owned())).collect();
    wait::until_true(&format!("{wanted:?}"), SOON, || states(&specs(bowline)) == wanted);
}

fn gateways(bowline: &Bowline) -> Vec<String> {
    bowline.cli(["get", "gateways", "-A", "-o", "name"]).ok().lines().map(str::to_owned).collect()
}

#[test]
fn what_the_directory_declares_runs_and_goes_with_its_file() {
    let dir = Specs::new();
    dir.write("u1.yaml", &gateway("u1", &["light"]));
    dir.write("u2.yaml", &gateway("u2", &["light"]));
    dir.write("z-catalog.yaml", &light());
    // Nothing in a file keeps its neighbours from being written, not even what Postgres cannot store.
    dir.write("nul.yaml", "kind: \"a\\0\\e[2J\"\n");
    let mut bowline = Bowline::new().with("spec-dir", dir.folder());
    bowline.start();
    let all = |u1, u2| [("nul.yaml", "Invalid"), u1, u2, ("z-catalog.yaml", "Applied")];
    until_states(&bowline, &all(("u1.yaml", "Applied"), ("u2.yaml", "Applied")));
    all_ready(&bowline, &["u1", "u2"]);
    assert_eq!(bowline.object("gateway", "u1", "default")["metadata"]["managedBy"], "file:u1.yaml");
    assert!(bowline.cli(["describe", "gateway/u1/default"]).ok().contains("file:u1.yaml"));
    let table = bowline.cli(["get", "specs"]).ok();
    assert!(table.starts_with("FILE") && table.lines().count() == 5, "{table}");

    // A client's write is refused with the file's name; what another file does to it restarts nothing.
    let before = (starts(&bowline, "u1"), starts(&bowline, "u2"));
    let said = bowline.cli(["delete", "gateway/u1/default"]).fails_with(1);
    assert!(said.contains("u1.yaml") && said.contains("--force"), "{said}");
    dir.rename("u1.yaml", "moved.yaml");
    dir.write("u2.yaml", "kind: Gateway\nmetadata: {");
    until_states(&bowline, &all(("moved.yaml", "Applied"), ("u2.yaml", "Invalid")));
    assert_eq!(bowline.object("gateway", "u1", "default")["metadata"]["managedBy"], "file:moved.yaml");
    bowline.stop();
    bowline.start();
    until_states(&bowline, &all(("moved.yaml", "Applied"), ("u2.yaml", "Invalid")));
    call(&bowline, "u1", "echo", r#"{"a": 1}"#).ok();
    assert_eq!((starts(&bowline, "u1"), starts(&bowline, "u2")), before);

    dir.remove("moved.yaml");
    wait::until_true("u1 is gone with its file", PATIENCE, || gateways(&bowline) == ["gateway/u2/default"]);
    assert!(starts(&bowline, "u1").is_empty());
    assert_eq!(starts(&bowline, "u2"), before.1);
}

#[test]
fn while_postgres_is_away_nothing_is_removed_and_afterwards_all_is_as_the_files_say() {
    let (mut postgres, dir) = (Postgres::start(), Specs::new());
    dir.write("catalog.yaml", &light());
    for user in ["u1", "u2"] {
        dir.write(&format!("{user}.yaml"), &suspended(user, "first"));
    }
    let mut bowline = Bowline::new().on(&postgres).with("spec-dir", dir.folder());
    bowline.start();
    until_states(&bowline, &[("catalog.yaml", "Applied"), ("u1.yaml", "Applied"), ("u2.yaml", "Applied")]);
    let uid = bowline.object("gateway", "u2", "default")["metadata"]["uid"].clone();

    postgres.stop();
    dir.remove("u1.yaml");
    dir.write("u2.yaml", &suspended("u2", "second"));
    wait::until_true("the loop notices", SOON, || {
        bowline.log().contains("the spec directory waits for the database")
    });
    postgres.resume();
    wait::until_true("u1 is gone", SOON, || {
        let listed = bowline.cli(["get", "gateways", "-A", "-o", "name"]);
        listed.status.success() && listed.stdout == "gateway/u2/default\n"
    });
    until_states(&bowline, &[("catalog.yaml", "Applied"), ("u2.yaml", "Applied")]);
    let u2 = bowline.object("gateway", "u2", "default");
    assert_eq!(
        (&u2["metadata"]["annotations"]["example.com/round"], &u2["metadata"]["uid"]),
        (&"second".into(), &uid)
    );
}

/// A gateway that runs nothing, with a word to tell one writing from another.
fn suspended(namespace: &str, round: &str) -> String {
    gateway(namespace, &["light"])
        .replace(
            "name: default }",
            &format!("name: default, annotations: {{ 'example.com/round': '{round}' }} }}"),
        )
        .replace("spec: {", "spec: { suspend: true,")
}

/// A catalog of its own, with a word to tell one writing from another.
fn numbered(name: &str, round: &str) -> String {
    light().replace(
        "name: base }",
        &format!("name: {name}, annotations: {{ 'example.com/round': '{round}' }} }}"),
    )
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).expect("53 bits") % sides
    }
}

/// Objects by key, with the word of their writing and their holder.
fn declared(bowline: &Bowline) -> BTreeMap<String, (String, String)> {
    let mut objects = BTreeMap::new();
    for arguments in [&["get", "clustercatalogs", "-o", "json"][..], &["get", "gateways", "-A", "-o", "json"]]
    {
        for object in bowline.cli(arguments).json()["items"].as_array().expect("a list") {
            let meta = &object["metadata"];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let key = match meta["namespace"].as_str() {
                Some(namespace) => format!("gateway/{namespace}"),
                None => format!("catalog/{}", text(&meta["name"])),
            };
            objects.insert(key, (text(&meta["annotations"]["example.com/round"]), text(&meta["managedBy"])));
        }
    }
    objects
}

/// What each file in the folder declares: key and word, by path.
type Files = BTreeMap<String, (String, String)>;

/// Whether the objects are exactly those of the files, each as one of the files that declare it says.
fn equals(objects: &BTreeMap<String, (String, String)>, files: &Files) -> bool {
    let holds = |(key, (round, holder)): (&String, &(String, String))| {
        let file = holder.strip_prefix("file:").and_then(|path| files.get(path));
        file.is_some_and(|(declared, word)| declared == key && word == round)
    };
    objects.iter().all(holds) && files.values().all(|(key, _)| objects.contains_key(key))
}

#[test]
fn a_burst_of_writes_renames_and_half_written_files_ends_equal_to_what_is_there() {
    const CHANGES: usize = 5_000;
    const OBJECTS: usize = 60;
    let dir = Specs::new();
    dir.write("base.yaml", &light());
    let mut bowline = Bowline::new().with("spec-dir", dir.folder());
    bowline.start();
    let mut files = Files::from([("base.yaml".to_owned(), ("catalog/base".to_owned(), String::new()))]);
    let mut dice = Dice(0x5eed_0b0b_1e55);
    let (mut writes, mut renames, mut halves, mut removals) = (0, 0, 0, 0);
    let mut unfinished: BTreeMap<String, String> = BTreeMap::new();
    let begun = Instant::now();
    for change in 0..CHANGES {
        let object = dice.roll(OBJECTS);
        let (name, round) = (format!("o{object}"), change.to_string());
        let (key, text) = match object % 3 {
            0 => (format!("gateway/{name}"), suspended(&name, &round)),
            _ => (format!("catalog/{name}"), numbered(&name, &round)),
        };
        // Now and then another file than its own, which then has somebody else's object.
        let file = format!("f{}.yaml", if dice.roll(20) == 0 { dice.roll(OBJECTS) } else { object });
        match dice.roll(10) {
            0..=3 => {
                dir.write(&file, &text);
                writes += 1;
                unfinished.remove(&file);
                files.insert(file, (key, round));
            }
            4 | 5 => {
                dir.write(&format!(".{file}.swp"), &text);
                dir.rename(&format!(".{file}.swp"), &file);
                writes += 1;
                unfinished.remove(&file);
                files.insert(file, (key, round));
            }
            6 | 7 => {
                let half = dice.roll(text.len());
                dir.write(&file, &text[..half]);
                halves += 1;
                unfinished.insert(file.clone(), text);
                files.insert(file, (key, round));
            }
            8 => {
                let to = format!("r{}.yaml", dice.roll(OBJECTS));
                if let Some(moved) = files.remove(&file) {
                    dir.rename(&file, &to);
                    renames += 1;
                    let rest = unfinished.remove(&file);
                    unfinished.remove(&to);
                    unfinished.extend(rest.map(|rest| (to.clone(), rest)));
                    files.insert(to, moved);
                }
            }
            _ => {
                if files.remove(&file).is_some() {
                    dir.remove(&file);
                    removals += 1;
                    unfinished.remove(&file);
                }
            }
        }
        // The pace of the load: longer than the loop waits for rest, so that it looks in the middle of it.
        std::thread::sleep(Duration::from_millis(2));
    }
    for (file, text) in &unfinished {
        dir.write(file, text);
    }
    let wrote = begun.elapsed();
    let mut confirmed = 0;
    let begun = Instant::now();
    wait::until_true("the objects are those of the files", PATIENCE, || {
        if specs(&bowline)["held"].is_object() {
            // A great removal is somebody's word away.
            confirmed += 1;
            let _meanwhile_declared_again = bowline.cli(["specs", "confirm", "--yes"]);
        }
        equals(&declared(&bowline), &files)
    });
    let settled = begun.elapsed();
    assert_eq!(
        fs::read_dir(dir.0.path()).expect("the folder").count(),
        files.len(),
        "the model is the folder"
    );
    let states = states(&specs(&bowline));
    let of = |wanted: &str| states.values().filter(|state| *state == wanted).count();
    assert_eq!(of("Applied") + of("Conflict"), files.len(), "{states:?}");
    let keys: std::collections::BTreeSet<_> = files.values().map(|(key, _)| key).collect();
    figures::note(
        "specs",
        &format!(
            "{CHANGES} changes in {:.1} s ({writes} writes, {halves} half-written, {renames} renames, {removals} removals): \
             {} files, {} objects, equal {:.1} s after the last; {} files in conflict, {confirmed} great removals confirmed",
            wrote.as_secs_f64(),
            files.len(),
            keys.len(),
            settled.as_secs_f64(),
            of("Conflict"),
        ),
    );
}

#[test]
fn ten_files_emptied_at_once_remove_nothing_and_ten_removed_wait_for_a_word() {
    let dir = Specs::new();
    let users: Vec<_> = (0..10).map(|number| format!("u{number}")).collect();
    dir.write("base.yaml", &light());
    for user in &users {
        dir.write(&format!("{user}.yaml"), &suspended(user, "first"));
    }
    let mut bowline = Bowline::new().with("spec-dir", dir.folder());
    bowline.start();
    let all = |state: &str, count: usize| {
        let limit = SOON;
        wait::until_true(&format!("{count} files are {state}"), limit, || {
            states(&specs(&bowline)).values().filter(|found| *found == state).count() == count
        })
    };
    all("Applied", 11);
    let before = uids(&bowline);
    assert_eq!(before.len(), 10);
    users.iter().for_each(|user| dir.write(&format!("{user}.yaml"), ""));
    all("Empty", 10);
    // A file that comes and goes shows that the time for removals has passed.
    dir.write("sentinel.yaml", &numbered("sentinel", "x"));
    wait::until_true("the sentinel comes", SOON, || declared(&bowline).contains_key("catalog/sentinel"));
    dir.remove("sentinel.yaml");
    wait::until_true("the sentinel goes", SOON, || !declared(&bowline).contains_key("catalog/sentinel"));
    assert_eq!(uids(&bowline), before);

    users.iter().for_each(|user| dir.remove(&format!("{user}.yaml")));
    all("Missing", 10);
    wait::until_true("the removal is held", SOON, || {
        specs(&bowline)["held"]["objects"].as_array().is_some_and(|held| held.len() == 10)
    });
    assert_eq!(uids(&bowline), before);
    assert!(bowline.cli(["get", "specs"]).stderr.contains("bowline specs confirm"));
    let refused = bowline.cli(["specs", "confirm"]).fails_with(1);
    assert!(refused.contains("gateway/u0/default") && refused.contains("--yes"), "{refused}");
    assert_eq!(bowline.cli(["specs", "confirm", "--yes"]).ok().lines().count(), 10);
    wait::until_true("all are gone", PATIENCE, || uids(&bowline).is_empty());
    until_states(&bowline, &[("base.yaml", "Applied")]);
    figures::note(
        "specs",
        "10 files emptied at once: 0 objects removed; 10 files removed at once: held, removed when confirmed",
    );
}

fn uids(bowline: &Bowline) -> Vec<String> {
    let gateways = bowline.cli(["get", "gateways", "-A", "-o", "json"]).json();
    let items = gateways["items"].as_array().expect("a list").iter();
    items.map(|gateway| gateway["metadata"]["uid"].to_string()).collect()
}

#[test]
fn only_the_serve_that_holds_the_lock_of_its_host_follows_the_directory() {
    let (postgres, dir) = (Postgres::start(), Specs::new());
    dir.write("base.yaml", &numbered("base", "first"));
    let mut first = Bowline::new().on(&postgres).with("spec-dir", dir.folder());
    first.start();
    until_states(&first, &[("base.yaml", "Applied")]);
    let instance = first.allotment().instance().to_owned();
    let mut second = Bowline::new().on(&postgres).with("spec-dir", dir.folder()).with("instance", instance);
    // Whoever works with this database has its keys.
    second.set("keys-dir", first.state_dir().join("keys").display().to_string());
    second.launch();
    wait::until_true("the second waits", SOON, || second.log().contains("another serve works on this host"));
    dir.write("base.yaml", &numbered("base", "second"));
    wait::until_true("the first applies", SOON, || {
        declared(&first).get("catalog/base").is_some_and(|(round, _)| round == "second")
    });
    assert!(!second.log().contains("spec directory followed"), "{}", second.log());

    first.kill_9();
    dir.write("base.yaml", &numbered("base", "third"));
    wait::until_true("the second applies", SOON, || {
        let there = second.cli(["get", "gateways", "-A"]).status.success();
        there && declared(&second).get("catalog/base").is_some_and(|(round, _)| round == "third")
    });
    assert!(second.log().contains("spec directory followed"), "{}", second.log());
}

#[test]
fn a_directory_that_is_not_there_stops_nothing_and_is_followed_when_it_comes() {
    let dir = Specs::new();
    let path = dir.path("later");
    let mut bowline = Bowline::new().with("spec-dir", path.display().to_string());
    bowline.start();
    wait::until_true("the trouble is told", SOON, || {
        specs(&bowline)["directory"]["error"].as_str().is_some_and(|error| error.contains("No such file"))
    });
    make(&path);
    wait::until_true("it is applied", SOON, || declared(&bowline).contains_key("catalog/base"));
}

fn make(path: &Path) {
    fs::create_dir(path).expect("a folder");
    fs::write(path.join("base.yaml"), light()).expect("a file");
}
