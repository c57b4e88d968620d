//! One gateway that can be damaged, and what is measured about it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use bowline_tests::bowline::Bowline;
use bowline_tests::engine::Engine;
use bowline_tests::image::MadeImage;
use bowline_tests::mcp::Door;
use bowline_tests::postgres::Postgres;
use bowline_tests::proxy::{Moment, RecordingProxy, Verdict};
use bowline_tests::snapshot::Snapshot;
use bowline_tests::wait;
use serde_json::{Value, json};

use crate::support::{LIGHT, PATIENCE, TIME, all_ready, catalog, condition, entry, gateway, members, starts};

/// Every unit of the gateway: itself, a server without a network, and one with one.
const ALL: [&str; 3] = ["gateway", "light", "clock"];
/// What the runtime directory has room for: some hundred times what is in it.
const ROOM: &str = "2m";

/// How long a container must have run for its end to be no crash loop, and a little more.
const SETTLED: Duration = Duration::from_secs(12);

/// Longer than between two looks at a gateway about which something is under way.
const QUIET: Duration = Duration::from_millis(1500);

/// How `serve` learns of things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// By the Engine's events; the resync never comes while the test lasts.
    Events,
    /// The stream of events is open and silent, as a dead connection is.
    Cut,
}

/// One gateway in a runtime directory of its own size. Fields are dropped in this order.
pub(super) struct Rig {
    pub(super) bowline: Bowline,
    pub(super) runtime: Tmpfs,
    pub(super) image: MadeImage,
    pub(super) postgres: Postgres,
    door: Door,
    pub(super) declared: Snapshot,
    /// When the containers of a unit were last seen to have been started anew.
    begun: RefCell<BTreeMap<String, Instant>>,
    /// Ends the silence of the events when it goes.
    _release: Option<Sender<()>>,
    proxy: RecordingProxy,
}

/// A file system of its own at a path; it goes with the value.
pub(super) struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(at: &Path) -> Self {
        let options = format!("mode=0700,size={ROOM}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).status();
        assert!(mounted.expect("mount").success(), "tmpfs at {}", at.display());
        Self(at.to_owned())
    }

    /// Leaves room for nothing; what takes it is a file of this name.
    pub(super) fn fill(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
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
    catalog(&[
        ("light", entry(light, "disableNetwork: true, command: [--tools, 'echo,pid']")),
        ("clock", entry(TIME, "")),
    ])
}

pub(super) fn declaration() -> String {
    gateway("u1", &["light", "clock"])
}

impl Rig {
    pub(super) fn start(mode: Mode) -> Self {
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
        Self {
            bowline,
            runtime,
            image,
            postgres,
            door,
            declared,
            begun: RefCell::default(),
            _release: release,
            proxy,
        }
    }

    /// The id of a unit's container.
    pub(super) fn id(&self, role: &str) -> String {
        members(&self.bowline, "u1")[role]["Id"].as_str().expect("an id").to_owned()
    }

    /// Does this to the container of a unit.
    pub(super) fn act(&self, role: &str, method: &str, what: &str, body: &Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let target = format!("/containers/{}{what}", self.id(role));
        self.bowline.engine().expect(method, &target, body.as_bytes());
    }

    /// The gateway's network.
    pub(super) fn network(&self) -> String {
        let networks = self.bowline.engine().networks_of(self.bowline.allotment().instance());
        networks[0]["Id"].as_str().expect("an id").to_owned()
    }

    pub(super) fn disconnect(&self, role: &str) {
        let body = json!({ "Container": self.id(role), "Force": true }).to_string();
        let target = format!("/networks/{}/disconnect", self.network());
        // It may be so already, where this is done more than once.
        self.bowline.engine().call("POST", &target, body.as_bytes());
    }

    /// A path in the gateway's tree.
    pub(super) fn path(&self, below: &str) -> PathBuf {
        let uid = self.bowline.object("gateway", "u1", "default")["metadata"]["uid"].clone();
        self.bowline.runtime_dir().join("gateways").join(uid.as_str().expect("a uid")).join(below)
    }

    /// Whether a tool of each server answers through the published port.
    pub(super) fn answers(&self) -> bool {
        self.door.open().is_ok_and(|mut session| {
            session.call("echo", &json!({})).is_ok()
                && session.call("get_current_time", &json!({ "timezone": "UTC" })).is_ok()
        })
    }

    /// Does damage, waits until everything is exactly as declared and answers, and returns the seconds. Only these
    /// units may have been started anew, and all of them must have been.
    pub(super) fn heals(&self, row: &str, restarted: &[&str], damage: impl FnOnce(&Self)) -> f64 {
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

    /// Waits until `serve` inspects nothing any more: what it finds out from here on, it is told or finds by listing.
    pub(super) fn quiet(&self) {
        let inspected = || {
            let calls = self.proxy.calls().into_iter().map(|call| call.target);
            calls
                .filter(|target| {
                    target.starts_with("/containers/") && !target.starts_with("/containers/json")
                })
                .count()
        };
        let mut last = (inspected(), Instant::now());
        wait::until_true("nothing is looked at", PATIENCE, || {
            let now = inspected();
            if now != last.0 {
                last = (now, Instant::now());
            }
            last.1.elapsed() > QUIET
        });
    }

    /// Waits until these containers have run for long enough that their next end is no crash loop.
    fn let_run(&self, roles: &[&str]) {
        let begun = self.begun.borrow().clone();
        let ran = |role: &&str| begun.get(*role).is_none_or(|since| since.elapsed() > SETTLED);
        wait::until_true("they have run for a while", PATIENCE, || roles.iter().all(ran));
    }

    /// The units whose containers were made or started since.
    pub(super) fn started_since(
        &self,
        before: &BTreeMap<String, (String, String)>,
    ) -> BTreeSet<&'static str> {
        let now = starts(&self.bowline, "u1");
        ALL.into_iter().filter(|role| now.get(*role) != before.get(*role)).collect()
    }

    pub(super) fn rename(&self, role: &str) {
        let name = format!("somebody-renamed-it-{}", self.bowline.allotment().instance());
        self.act(role, "POST", &format!("/rename?name={name}"), &Value::Null);
    }

    pub(super) fn progressing(&self) -> (String, String) {
        condition(&self.bowline.object("gateway", "u1", "default"), "Progressing")
    }

    /// Has the gateway left alone, and waits until it is.
    pub(super) fn pause(&self) {
        self.bowline.cli(["annotate", "gateway", "u1/default", "dev.bowline.paused=true"]).ok();
        wait::until_true("it is paused", PATIENCE, || {
            self.progressing() == ("Unknown".to_owned(), "Paused".to_owned())
        });
    }

    pub(super) fn unpause(&self) {
        self.bowline.cli(["annotate", "gateway", "u1/default", "dev.bowline.paused-"]).ok();
    }
}
