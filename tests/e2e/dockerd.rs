//! What becomes of gateways when their Engine is stopped, restarted, killed, frozen or without power, and when the
//! machine is started anew. Each row ends with exactly what is declared, and says who started what.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bowline_tests::bowline::Bowline;
use bowline_tests::client::Client;
use bowline_tests::figures;
use bowline_tests::mcp::Door;
use bowline_tests::postgres::Postgres;
use bowline_tests::second_engine::SecondEngine;
use bowline_tests::snapshot::Snapshot;
use bowline_tests::wait;
use serde_json::Value;

use crate::support::{
    LIGHT, PATIENCE, all_ready, call, catalog, entry, gateway, gateway_image, members, starts,
};

const USERS: [&str; 3] = ["u1", "u2", "u3"];
/// How long the last trace of a disturbance may be seen after every gateway answers.
const SETTLED: Duration = Duration::from_secs(40);
/// How long a frozen Engine is frozen.
const FROZEN: Duration = Duration::from_secs(5);

/// Three gateways with a server each on an Engine of their own. Fields are dropped in this order.
struct Rig {
    bowline: Bowline,
    second: SecondEngine,
    postgres: Postgres,
    /// What is declared, as it looked when all were Ready for the first time.
    declared: Snapshot,
}

/// A moment from which starts are counted.
pub(crate) struct Since {
    /// For the Engine's events, which begin anew with each life of dockerd.
    clock: Duration,
    /// How much of the log of `serve` there was.
    log: usize,
    begin: Instant,
}

impl Since {
    pub(crate) fn now(bowline: &Bowline) -> Self {
        Self { clock: since_1970(), log: bowline.log().len(), begin: Instant::now() }
    }

    /// Containers that were started since, with how often: by `serve`, and by dockerd itself.
    pub(crate) fn started(&self, bowline: &Bowline, second: &SecondEngine) -> (Counts, Counts) {
        let log = bowline.log();
        let lines = log.get(self.log..).unwrap_or_default().lines();
        let steps = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter_map(|line| {
            let done = line["message"] == "step" && line["ok"] == true;
            Some(line["step"].as_str()?.strip_prefix("start container ")?.to_owned()).filter(|_| done)
        });
        let serve = Counts::of(steps);
        let moment = |at: Duration| format!("{}.{:09}", at.as_secs(), at.subsec_nanos());
        let events = second.docker(&[
            "events",
            "--since",
            &moment(self.clock),
            "--until",
            &moment(since_1970()),
            "--filter=type=container",
            "--filter=event=start",
            "--format={{.Actor.Attributes.name}}",
        ]);
        let all = Counts::of(events.lines().map(str::to_owned));
        let dockerd = all.without(&serve);
        (serve, dockerd)
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970")
}

impl Rig {
    fn start(live_restore: bool) -> Self {
        let second = SecondEngine::start(live_restore);
        second.load_images(&[&gateway_image(), LIGHT]);
        let postgres = Postgres::start();
        let mut bowline = Bowline::new().on(&postgres).beside(&second);
        bowline.start();
        let mut yaml = catalog(&[
            ("alone", entry(LIGHT, "disableNetwork: true")),
            ("online", entry(LIGHT, "command: [--tools, 'echo,pid']")),
        ]);
        for (number, user) in USERS.iter().enumerate() {
            yaml.push_str(&gateway(user, &[["alone", "online"][number % 2]]));
        }
        bowline.apply(&yaml);
        all_ready(&bowline, &USERS);
        // Its token is part of what is declared from here on.
        let _door = Door::of(&bowline, "u1");
        all_ready(&bowline, &USERS);
        let declared = Snapshot::take(&bowline, &postgres);
        Self { bowline, second, postgres, declared }
    }

    /// Waits until every gateway answers, tells so, and everything is exactly as declared; returns how long it took
    /// until all answered.
    fn settled(&self, since: &Since) -> Duration {
        for user in USERS {
            wait::until_true("the gateway answers", PATIENCE, || {
                call(&self.bowline, user, "echo", "{}").status.success()
            });
        }
        let answered = since.begin.elapsed();
        let mut difference = String::new();
        let equal = wait::reached(SETTLED, || {
            all_ready(&self.bowline, &USERS);
            difference = self.declared.difference(&Snapshot::take(&self.bowline, &self.postgres));
            difference.is_empty()
        });
        assert!(equal, "other than declared:\n{difference}");
        answered
    }
}

/// How often each container was started.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts(BTreeMap<String, usize>);

impl Counts {
    fn of(names: impl Iterator<Item = String>) -> Self {
        let mut counts = Self::default();
        for name in names {
            *counts.0.entry(name).or_default() += 1;
        }
        counts
    }

    fn without(mut self, others: &Self) -> Self {
        for (name, count) in &mut self.0 {
            *count = count.saturating_sub(others.0.get(name).copied().unwrap_or_default());
        }
        self.0.retain(|_, count| *count > 0);
        self
    }

    pub(crate) fn total(&self) -> usize {
        self.0.values().sum()
    }
}

/// Something that happens to an Engine while `serve` and a client work on.
type Disturbance = (&'static str, fn(&mut SecondEngine));

const DISTURBANCES: [Disturbance; 5] = [
    ("stopped and started", |second| {
        second.stop();
        second.resume();
    }),
    ("restarted at once after a restart", |second| {
        second.restart();
        second.restart();
    }),
    ("killed", |second| {
        second.kill();
        second.resume();
    }),
    ("frozen for 5 s", |second| {
        second.freeze();
        // The row itself: nothing is waited for.
        std::thread::sleep(FROZEN);
        second.thaw();
    }),
    ("without power", |second| {
        second.power_loss();
        second.resume();
    }),
];

fn ends_as_declared_after_every_disturbance(live_restore: bool) {
    let mut rig = Rig::start(live_restore);
    let client = Client::start(Door::of(&rig.bowline, "u1"));
    // That door's token came after the picture.
    all_ready(&rig.bowline, &USERS);
    rig.declared = Snapshot::take(&rig.bowline, &rig.postgres);
    for (name, disturb) in DISTURBANCES {
        client.more(5, PATIENCE);
        let _until_now = client.take();
        let since = Since::now(&rig.bowline);
        disturb(&mut rig.second);
        let answered = rig.settled(&since);
        client.more(5, PATIENCE);
        let (serve, dockerd) = since.started(&rig.bowline, &rig.second);
        let tally = client.take();
        figures::note(
            "dockerd",
            &format!(
                "live-restore {}: {name}: started by dockerd {}, by serve {} of 6; all answer after {:.1} s; \
                 a client lost {} calls, longest gap {:.0} ms",
                if live_restore { "on " } else { "off" },
                dockerd.total(),
                serve.total(),
                answered.as_secs_f64(),
                tally.lost,
                tally.gap.as_secs_f64() * 1000.0,
            ),
        );
    }
}

#[test]
fn every_disturbance_of_dockerd_ends_in_exactly_what_is_declared() {
    ends_as_declared_after_every_disturbance(false);
}

#[test]
fn every_disturbance_of_dockerd_with_live_restore_ends_in_exactly_what_is_declared() {
    ends_as_declared_after_every_disturbance(true);
}

/// Whether the machine is shut down in order or falls silent.
fn reboot(rig: &mut Rig, in_order: bool) {
    if in_order {
        rig.bowline.stop();
        rig.second.stop();
    } else {
        rig.bowline.kill_9();
    }
    rig.second.power_loss();
    for entry in fs::read_dir(rig.bowline.runtime_dir()).expect("the runtime directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.expect("removed");
    }
    rig.second.resume();
}

#[test]
fn after_a_reboot_dockerd_starts_nothing_of_ours_and_serve_starts_everything() {
    let mut rig = Rig::start(false);
    for (name, in_order) in [("in order", true), ("after a loss of power", false)] {
        let before: Vec<_> = USERS.iter().map(|user| starts(&rig.bowline, user)).collect();
        let since = Since::now(&rig.bowline);
        reboot(&mut rig, in_order);
        for user in USERS {
            for (role, seen) in members(&rig.bowline, user) {
                assert_eq!(seen["State"]["Running"], false, "{user}/{role}: {}", seen["State"]);
            }
        }
        let (_, alone) = since.started(&rig.bowline, &rig.second);
        assert_eq!(alone, Counts::default(), "started by dockerd");

        let since = Since::now(&rig.bowline);
        rig.bowline.start();
        let answered = rig.settled(&since);
        let (serve, dockerd) = since.started(&rig.bowline, &rig.second);
        assert_eq!(dockerd, Counts::default(), "started by dockerd");
        assert_eq!(serve.total(), 6, "{serve:?}");
        let after: Vec<_> = USERS.iter().map(|user| starts(&rig.bowline, user)).collect();
        for (before, after) in before.iter().zip(&after) {
            assert!(before.iter().all(|(role, (id, _))| after[role].0 == *id), "the same containers");
        }
        figures::note(
            "dockerd",
            &format!(
                "reboot {name}: started by dockerd {}, by serve {} of 6; all answer {:.1} s after the start of serve",
                alone.total() + dockerd.total(),
                serve.total(),
                answered.as_secs_f64(),
            ),
        );
    }
}
