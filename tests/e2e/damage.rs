//! Damage of every kind is noticed and put right, in place where Docker can: once with the Engine's events, and once
//! without a word of them, where the cheap list and the resync find out.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use bowline_tests::bowline::Bowline;
use bowline_tests::engine::Engine;
use bowline_tests::figures;
use bowline_tests::image::MadeImage;
use bowline_tests::mcp::Door;
use bowline_tests::postgres::Postgres;
use bowline_tests::proxy::{Moment, RecordingProxy, Verdict};
use bowline_tests::snapshot::Snapshot;
use bowline_tests::wait;
use serde_json::{Value, json};

use crate::support::{
    LIGHT, PATIENCE, TIME, all_ready, catalog, condition, docker, entry, gateway, members, server_state,
    settled, starts,
};

/// Every unit of the gateway: itself, a server without a network, and one with one.
const ALL: [&str; 3] = ["gateway", "light", "clock"];
/// What the runtime directory has room for: some hundred times what is in it.
const ROOM: &str = "2m";

/// How long a container must have run for its end to be no crash loop, and a little more.
const SETTLED: Duration = Duration::from_secs(12);

/// How `serve` learns of things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// By the Engine's events; the resync never comes while the test lasts.
    Events,
    /// The stream of events is open and silent, as a dead connection is.
    Cut,
}

/// One gateway in a runtime directory of its own size. Fields are dropped in this order.
struct Rig {
    bowline: Bowline,
    runtime: Tmpfs,
    image: MadeImage,
    postgres: Postgres,
    door: Door,
    declared: Snapshot,
    /// When the containers of a unit were last seen to have been started anew.
    begun: RefCell<BTreeMap<String, Instant>>,
    /// Ends the silence of the events when it goes.
    _release: Option<Sender<()>>,
    _proxy: RecordingProxy,
}

/// A file system of its own at a path; it goes with the value.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(at: &Path) -> Self {
        let options = format!("mode=0700,size={ROOM}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).status();
        assert!(mounted.expect("mount").success(), "tmpfs at {}", at.display());
        Self(at.to_owned())
    }

    /// Leaves room for nothing.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = fs::File::create(&path).expect("a file");
        while file.write_all(&[0; 4096]).is_ok() {}
        path
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status();
        // The directory itself was in the way of the instance's own cleaning.
        let removed = fs::remove_dir(&self.0);
        if !thread::panicking() {
            assert!(unmounted.expect("umount").success(), "{}", self.0.display());
            removed.expect("an empty directory");
        }
    }
}

fn servers(light: &str) -> String {
    catalog(&[("light", entry(light, "disableNetwork: true, command: [--tools, 'echo,pid']")), ("clock", entry(TIME, ""))])
}

fn declaration() -> String {
    gateway("u1", &["light", "clock"])
}

impl Rig {
    fn start(mode: Mode) -> Self {
        let postgres = Postgres::start();
        let proxy = RecordingProxy::start(Engine::local().socket());
        let mut bowline = Bowline::new().on(&postgres).through(&proxy.socket());
        let mut release = None;
        bowline.set("resync", "1h");
        if mode == Mode::Cut {
            let (sender, held) = channel::<()>();
            let held = Mutex::new(held);
            proxy.arm(move |call, moment| {
                if moment == Moment::BeforeForward && call.target.starts_with("/events") {
                    let _test_has_ended = held.lock().map(|held| held.recv());
                    return Verdict::Cut;
                }
                Verdict::Pass
            });
            release = Some(sender);
            bowline.set("resync", "15s");
        }
        let runtime = Tmpfs::mount(bowline.runtime_dir());
        let image = MadeImage::from(LIGHT, "");
        bowline.start();
        bowline.apply(&(servers(image.reference()) + &declaration()));
        all_ready(&bowline, &["u1"]);
        // Its token is part of what is declared from here on.
        let door = Door::of(&bowline, "u1");
        all_ready(&bowline, &["u1"]);
        let declared = Snapshot::take(&bowline, &postgres);
        Self { bowline, runtime, image, postgres, door, declared, begun: RefCell::default(), _release: release, _proxy: proxy }
    }

    /// The id of a unit's container.
    fn id(&self, role: &str) -> String {
        members(&self.bowline, "u1")[role]["Id"].as_str().expect("an id").to_owned()
    }

    /// Does this to the container of a unit.
    fn act(&self, role: &str, method: &str, what: &str, body: &Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let target = format!("/containers/{}{what}", self.id(role));
        self.bowline.engine().expect(method, &target, body.as_bytes());
    }

    /// The gateway's network.
    fn network(&self) -> String {
        let networks = self.bowline.engine().networks_of(self.bowline.allotment().instance());
        networks[0]["Id"].as_str().expect("an id").to_owned()
    }

    fn disconnect(&self, role: &str) {
        let body = json!({ "Container": self.id(role), "Force": true }).to_string();
        let target = format!("/networks/{}/disconnect", self.network());
        // It may be so already, where this is done more than once.
        self.bowline.engine().call("POST", &target, body.as_bytes());
    }

    /// A path in the gateway's tree.
    fn path(&self, below: &str) -> PathBuf {
        let uid = self.bowline.object("gateway", "u1", "default")["metadata"]["uid"].clone();
        self.bowline.runtime_dir().join("gateways").join(uid.as_str().expect("a uid")).join(below)
    }

    /// Whether a tool of each server answers through the published port.
    fn answers(&self) -> bool {
        self.door.open().is_ok_and(|mut session| {
            session.call("echo", &json!({})).is_ok()
                && session.call("get_current_time", &json!({ "timezone": "UTC" })).is_ok()
        })
    }

    /// Does damage, waits until everything is exactly as declared and answers, and returns the seconds. Only these
    /// units may have been started anew, and all of them must have been.
    fn heals(&self, row: &str, restarted: &[&str], damage: impl FnOnce(&Self)) -> f64 {
        self.let_run(restarted);
        let before = starts(&self.bowline, "u1");
        damage(self);
        let begin = Instant::now();
        let mut lacks = String::new();
        let healed = wait::reached(PATIENCE, || {
            lacks = self.declared.difference(&Snapshot::take(&self.bowline, &self.postgres));
            lacks.is_empty() && self.started_since(&before).is_superset(&restarted.iter().copied().collect())
        });
        assert!(healed, "{row}: other than declared\n{lacks}");
        wait::until_true(row, PATIENCE, || self.answers());
        let seconds = begin.elapsed().as_secs_f64();
        assert_eq!(self.started_since(&before), restarted.iter().copied().collect(), "{row}: started anew");
        self.begun.borrow_mut().extend(restarted.iter().map(|role| ((*role).to_owned(), Instant::now())));
        seconds
    }

    /// Waits until these containers have run for long enough that their next end is no crash loop.
    fn let_run(&self, roles: &[&str]) {
        let begun = self.begun.borrow().clone();
        let ran = |role: &&str| begun.get(*role).is_none_or(|since| since.elapsed() > SETTLED);
        wait::until_true("they have run for a while", PATIENCE, || roles.iter().all(ran));
    }

    /// The units whose containers were made or started since.
    fn started_since(&self, before: &BTreeMap<String, (String, String)>) -> BTreeSet<&'static str> {
        let now = starts(&self.bowline, "u1");
        ALL.into_iter().filter(|role| now.get(*role) != before.get(*role)).collect()
    }
}

/// What is done to a file.
const FILE_DAMAGE: [(&str, fn(&Path)); 5] = [
    ("edited", |path| fs::write(path, "{}").expect("a file")),
    ("deleted", |path| fs::remove_file(path).expect("a file")),
    ("replaced", |path| {
        let other = path.with_extension("new");
        fs::write(&other, "{}").expect("a file");
        fs::rename(&other, path).expect("a file");
    }),
    ("a directory", |path| {
        fs::remove_file(path).expect("a file");
        fs::create_dir(path).expect("a directory");
        fs::write(path.join("inside"), "x").expect("a file");
    }),
    ("a symlink", |path| {
        fs::remove_file(path).expect("a file");
        symlink("/etc/hostname", path).expect("a link");
    }),
];

/// What is done to containers and their network: the row, what is started anew because of it, and how it is done.
type Row = (&'static str, &'static [&'static str], fn(&Rig));

const ROWS: [Row; 17] = [
    ("rm -f of a server", &["light"], |rig| rig.act("light", "DELETE", "?force=true", &Value::Null)),
    ("rm -f of the gateway", &["gateway"], |rig| rig.act("gateway", "DELETE", "?force=true", &Value::Null)),
    ("stop of a server", &["light"], |rig| rig.act("light", "POST", "/stop?t=2", &Value::Null)),
    ("stop of the gateway", &["gateway"], |rig| rig.act("gateway", "POST", "/stop?t=2", &Value::Null)),
    ("kill of a server", &["clock"], |rig| rig.act("clock", "POST", "/kill", &Value::Null)),
    ("kill of the gateway", &["gateway"], |rig| rig.act("gateway", "POST", "/kill", &Value::Null)),
    ("pause of a server", &[], |rig| rig.act("light", "POST", "/pause", &Value::Null)),
    ("pause of the gateway", &[], |rig| rig.act("gateway", "POST", "/pause", &Value::Null)),
    ("update --memory of a server", &[], |rig| {
        rig.act("light", "POST", "/update", &json!({ "Memory": 32 << 20, "MemorySwap": 64 << 20 }));
    }),
    ("update --restart=no of the gateway", &[], |rig| {
        rig.act("gateway", "POST", "/update", &json!({ "RestartPolicy": { "Name": "no" } }));
    }),
    ("rename of a server", &[], |rig| rig.rename("light")),
    ("rename of the gateway", &[], |rig| rig.rename("gateway")),
    ("network disconnect of a server", &[], |rig| rig.disconnect("clock")),
    ("network disconnect of the gateway", &[], |rig| rig.disconnect("gateway")),
    ("network removed", &[], |rig| {
        let target = format!("/networks/{}", rig.network());
        // They may be put back before it can be removed.
        wait::until_true("the network is removed", PATIENCE, || {
            rig.disconnect("clock");
            rig.disconnect("gateway");
            rig.bowline.engine().call("DELETE", &target, b"").status == 204
        });
    }),
    ("process 1 ended from within", &["clock"], |rig| {
        docker(["exec", &rig.id("clock"), "sh", "-c", "kill -TERM 1"]).ok();
    }),
    ("process 1 killed from the host", &["light"], |rig| {
        let pid = members(&rig.bowline, "u1")["light"]["State"]["Pid"].to_string();
        assert!(Command::new("kill").args(["-9", &pid]).status().expect("kill").success());
    }),
];

impl Rig {
    fn rename(&self, role: &str) {
        let name = format!("somebody-renamed-it-{}", self.bowline.allotment().instance());
        self.act(role, "POST", &format!("/rename?name={name}"), &Value::Null);
    }
}

/// The whole table: rows with the seconds that they took.
fn table(mode: Mode) -> Vec<(String, f64)> {
    let rig = Rig::start(mode);
    let mut table = Vec::new();
    for (row, restarted, damage) in ROWS {
        table.push((row.to_owned(), rig.heals(row, restarted, damage)));
    }
    for file in ["config/gateway.json", "config/tokens.json", "recovery.json"] {
        for (damage, act) in FILE_DAMAGE {
            let row = format!("{file} {damage}");
            let seconds = rig.heals(&row, &[], |rig| act(&rig.path(file)));
            table.push((row, seconds));
        }
    }
    table.push(("full tmpfs, from its being freed".to_owned(), full_tmpfs(&rig)));
    table.push(("image removed, from its being back".to_owned(), image_removed(&rig)));
    table.push(("paused by annotation, from its removal".to_owned(), paused(&rig)));
    asked_for(&rig);
    table
}

/// No room to put a file right: it goes on answering, says why, and is whole again as soon as there is room.
fn full_tmpfs(rig: &Rig) -> f64 {
    rig.heals("full tmpfs", &[], |rig| {
        let filler = rig.runtime.fill();
        fs::remove_file(rig.path("config/gateway.json")).expect("a file");
        // What became free by that.
        let rest = rig.runtime.0.join("rest");
        let mut file = fs::File::create(&rest).expect("a file");
        while file.write_all(&[0; 4096]).is_ok() {}
        wait::until_true("the trouble is told", PATIENCE, || {
            let object = rig.bowline.object("gateway", "u1", "default");
            let (status, reason) = condition(&object, "Progressing");
            (status.as_str(), reason.as_str()) == ("True", "BackOff")
        });
        assert!(rig.answers(), "a running gateway needs no file");
        fs::remove_file(filler).expect("the filler");
        fs::remove_file(rest).expect("the rest");
    })
}

/// The image of a server is gone for good while its container goes on; when that goes, too, it is told, and is cured
/// by the image's return alone.
fn image_removed(rig: &Rig) -> f64 {
    let saved = tempfile::NamedTempFile::new().expect("a file");
    let saved = saved.path().to_str().expect("a path").to_owned();
    let reference = rig.image.reference();
    rig.heals("image removed", &["light"], |rig| {
        docker(["image", "save", "--output", &saved, reference]).ok();
        let before = starts(&rig.bowline, "u1");
        docker(["image", "rm", "--force", reference]).ok();
        // The next look at everything changes nothing.
        fs::write(rig.path("config/tokens.json"), "{}").expect("a file");
        wait::until_true("the file is put right", PATIENCE, || {
            rig.declared.difference(&Snapshot::take(&rig.bowline, &rig.postgres)).is_empty()
        });
        assert_eq!(starts(&rig.bowline, "u1"), before, "the container goes on");
        rig.pause();
        let image = members(&rig.bowline, "u1")["light"]["Image"].as_str().expect("an image").to_owned();
        rig.act("light", "DELETE", "?force=true", &Value::Null);
        docker(["image", "rm", "--force", &image]).ok();
        rig.unpause();
        wait::until_true("the missing image is told", PATIENCE, || {
            let object = rig.bowline.object("gateway", "u1", "default");
            server_state(&object, "light") == ("Failed".to_owned(), "ImageMissing".to_owned())
        });
        docker(["image", "load", "--quiet", "--input", &saved]).ok();
    })
}

impl Rig {
    fn progressing(&self) -> (String, String) {
        condition(&self.bowline.object("gateway", "u1", "default"), "Progressing")
    }

    /// Has the gateway left alone, and waits until it is.
    fn pause(&self) {
        self.bowline.cli(["annotate", "gateway", "u1/default", "dev.bowline.paused=true"]).ok();
        wait::until_true("it is paused", PATIENCE, || {
            self.progressing() == ("Unknown".to_owned(), "Paused".to_owned())
        });
    }

    fn unpause(&self) {
        self.bowline.cli(["annotate", "gateway", "u1/default", "dev.bowline.paused-"]).ok();
    }
}

/// While somebody debugs, damage is seen and left alone.
fn paused(rig: &Rig) -> f64 {
    rig.heals("paused", &["light"], |rig| {
        rig.pause();
        let stopped = rig.id("light");
        rig.act("light", "POST", "/stop?t=2", &Value::Null);
        fs::write(rig.path("config/gateway.json"), "{}").expect("a file");
        wait::until_true("the damage is told", PATIENCE, || {
            server_state(&rig.bowline.object("gateway", "u1", "default"), "light").0 != "Running"
        });
        let inspect = rig.bowline.engine().inspect_container(&stopped);
        assert_eq!(inspect["State"]["Running"], false, "it is left alone");
        assert_eq!(fs::read_to_string(rig.path("config/gateway.json")).expect("the file"), "{}");
        assert_eq!(rig.progressing(), ("Unknown".to_owned(), "Paused".to_owned()));
        rig.unpause();
    })
}

/// What is asked for is no damage: a restart and a suspension change what was asked for, and nothing else.
fn asked_for(rig: &Rig) {
    let bowline = &rig.bowline;
    let before = starts(bowline, "u1");
    for (role, words) in
        [("light", vec!["restart", "server", "u1", "light", "--wait"]), ("gateway", vec!["restart", "gateway", "u1", "--wait"])]
    {
        let before = starts(bowline, "u1");
        bowline.cli(words).ok();
        settled(bowline, "u1");
        assert_eq!(rig.started_since(&before), BTreeSet::from([role]), "restart of {role}");
        assert!(rig.answers(), "after the restart of {role}");
    }
    assert_eq!(rig.started_since(&before), BTreeSet::from(["gateway", "light"]));

    bowline.apply(&declaration().replace("spec: {", "spec: { suspend: true,"));
    let stopped = || members(bowline, "u1").values().all(|seen| seen["State"]["Running"] == false);
    wait::until_true("every container is stopped", PATIENCE, stopped);
    // Somebody starts one by hand: it stays suspended.
    let begin = Instant::now();
    let inspect = || bowline.engine().inspect_container(&rig.id("light"));
    let ended = inspect()["State"]["FinishedAt"].clone();
    rig.act("light", "POST", "/start", &Value::Null);
    wait::until_true("it is stopped again", PATIENCE, || {
        let state = &inspect()["State"];
        state["Running"] == false && state["FinishedAt"] != ended
    });
    figures::note("damage", &format!("start of a suspended server: stopped after {:.1} s", begin.elapsed().as_secs_f64()));
    bowline.apply(&declaration());
    settled(bowline, "u1");
    wait::until_true("tools answer", PATIENCE, || rig.answers());
    // The record for a lost database tells of what was asked for; everything else is as it was declared first.
    let difference = rig.declared.difference(&Snapshot::take(bowline, &rig.postgres));
    let other: Vec<_> = difference.lines().filter(|line| !line.starts_with(['-', '+'])).collect();
    assert!(other.iter().all(|object| object.ends_with("recovery.json")), "{difference}");
}

#[test]
fn every_damage_is_put_right_with_the_events_and_without_them() {
    let [events, cut] = [Mode::Events, Mode::Cut].map(|mode| thread::spawn(move || table(mode))).map(thread::JoinHandle::join);
    // Both have cleaned up behind themselves before the first says what went wrong.
    let [events, cut] = [events, cut].map(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
    for ((row, with), (_, without)) in events.iter().zip(&cut) {
        figures::note("damage", &format!("{row}: healed after {with:.1} s (events) / {without:.1} s (cut)"));
    }
}
