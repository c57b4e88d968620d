//! `kill -9` of `serve` at any moment: after the next start everything is as if nothing had happened.
//!
//! A proxy in front of the Engine's socket counts the changing calls and kills at the one that it is told, before
//! the Engine has seen it or after the Engine has answered. All this happens to one instance over and over, so
//! that what one life leaves behind would be seen in the next.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::thread;
use std::time::Instant;

use bowline_tests::bowline::Bowline;
use bowline_tests::engine::Engine;
use bowline_tests::figures;
use bowline_tests::image::MadeImage;
use bowline_tests::postgres::Postgres;
use bowline_tests::proxy::{Moment, RecordingProxy};
use bowline_tests::snapshot::Snapshot;
use bowline_tests::wait;

use crate::support::{
    LIGHT, PATIENCE, all_ready, catalog, condition, entry, gateway, gateway_image, is_current,
};

/// Instances side by side: a life is mostly waiting.
const SIDE_BY_SIDE: usize = 3;

/// An instance behind a proxy, with its own Postgres.
struct Rig {
    bowline: Bowline,
    proxy: RecordingProxy,
    postgres: Postgres,
    users: Vec<String>,
}

impl Rig {
    /// `serve` runs; nothing is declared.
    fn start(users: usize, concurrency: usize) -> Self {
        let (postgres, proxy) = (Postgres::start(), RecordingProxy::start(Engine::local().socket()));
        let mut bowline = Bowline::new().on(&postgres).through(&proxy.socket());
        bowline = bowline.with("concurrency", concurrency.to_string());
        bowline.start();
        let users = (1..=users).map(|number| format!("u{number}")).collect();
        Self { bowline, proxy, postgres, users }
    }

    /// Declares a gateway with one light server for every user. Every second server has a network.
    fn apply(&self) -> bool {
        let mut yaml = catalog(&[
            ("alone", entry(LIGHT, "disableNetwork: true")),
            ("online", entry(LIGHT, "command: [--tools, 'echo,pid']")),
        ]);
        for (number, user) in self.users.iter().enumerate() {
            yaml.push_str(&gateway(user, &[["alone", "online"][number % 2]]));
        }
        self.bowline.cli_with_input(["apply", "-f", "-"], &yaml).status.success()
    }

    fn delete(&self) -> bool {
        let mut arguments =
            vec!["delete".to_owned(), "--ignore-not-found".to_owned(), "--wait=false".to_owned()];
        arguments.extend(self.users.iter().map(|user| format!("gateway/{user}/default")));
        self.bowline.cli(arguments).status.success()
    }

    /// Waits until every gateway is Ready, and takes a picture.
    fn ready(&self) -> Snapshot {
        let users: Vec<_> = self.users.iter().map(String::as_str).collect();
        all_ready(&self.bowline, &users);
        Snapshot::take(&self.bowline, &self.postgres)
    }

    /// Waits until every gateway is gone, and checks that nothing of them is left.
    fn gone(&self) {
        wait::until_true("the gateways are gone", PATIENCE, || {
            self.bowline.cli(["get", "gateways", "-A", "-o", "name"]).ok().is_empty()
        });
        assert_eq!(self.bowline.left_over(), Vec::<String>::new());
        assert_eq!(self.postgres.query("select count(*) from leases"), "0");
        let folder = self.bowline.runtime_dir().join("gateways");
        let left: Vec<_> = fs::read_dir(folder).expect("the folder").collect();
        assert!(left.is_empty(), "{left:?}");
    }

    /// One life that nobody disturbs: the picture, and how many changing calls its two halves took.
    fn undisturbed(&self) -> (Snapshot, usize, usize) {
        self.proxy.forget();
        assert!(self.apply());
        let picture = self.ready();
        let made = self.proxy.mutations().len();
        self.proxy.forget();
        assert!(self.delete());
        self.gone();
        (picture, made, self.proxy.mutations().len())
    }

    /// Kills `serve` at the k-th changing call after `act`, and starts it again. An admin whose command was cut
    /// off gives it again.
    fn interrupted(&mut self, k: usize, moment: Moment, act: fn(&Self) -> bool) {
        let killer = self.bowline.killer();
        self.proxy.forget();
        self.proxy.arm_at(k, moment, move || killer.kill_9());
        act(self);
        self.bowline.wait_ended();
        self.proxy.disarm();
        self.bowline.start();
        assert!(act(self), "after the restart");
    }
}

/// A kill: at which changing call, and on which side of it.
type Kill = (usize, Moment);

fn kills(calls: usize) -> Vec<Kill> {
    (1..=calls).flat_map(|k| [(k, Moment::BeforeForward), (k, Moment::AfterReply)]).collect()
}

#[test]
fn a_kill_before_or_after_any_call_to_the_engine_leaves_no_trace() {
    let begin = Instant::now();
    let workers: Vec<_> = (0..SIDE_BY_SIDE)
        .map(|worker| {
            thread::spawn(move || {
                let mut rig = Rig::start(2, 8);
                let (expected, made, removed) = rig.undisturbed();
                assert!(expected.len() > 20, "{} objects", expected.len());
                let mine =
                    |all: Vec<Kill>| all.into_iter().skip(worker).step_by(SIDE_BY_SIDE).collect::<Vec<_>>();
                let (making, removing) = (mine(kills(made)), mine(kills(removed)));
                for life in 0..making.len().max(removing.len()) {
                    match making.get(life) {
                        Some((k, moment)) => rig.interrupted(*k, *moment, Rig::apply),
                        None => assert!(rig.apply()),
                    }
                    let difference = expected.difference(&rig.ready());
                    assert!(difference.is_empty(), "killed at {:?}:\n{difference}", making.get(life));
                    match removing.get(life) {
                        Some((k, moment)) => rig.interrupted(*k, *moment, Rig::delete),
                        None => assert!(rig.delete()),
                    }
                    rig.gone();
                }
                (made, removed, making.len() + removing.len())
            })
        })
        .collect();
    let mut kills = 0;
    let (mut made, mut removed) = (0, 0);
    for worker in workers {
        let done = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (made, removed) = (done.0, done.1);
        kills += done.2;
    }
    figures::note(
        "crash",
        &format!(
            "kill -9 before and after every k: 1..={made} while two gateways are made, 1..={removed} while they are \
             removed; {kills} kills, {:.0} s",
            begin.elapsed().as_secs_f64()
        ),
    );
}

/// Gateways that are worked on at the same time in the test below: the calls under way when a kill falls.
const CONCURRENCY: usize = 2;
/// The last call of a life at which a kill may fall.
const FARTHEST: usize = 4;
/// The calls with which `serve` proves at its start that it and the Engine see the same files; they make nothing.
const PROOFS: usize = 2;

#[test]
fn ten_kills_at_random_while_twenty_gateways_converge_leave_no_trace() {
    let begin = Instant::now();
    let mut rig = Rig::start(20, CONCURRENCY);
    let (expected, made, _) = rig.undisturbed();
    // Each life of `serve` makes fewer calls than this: those up to the kill, and those that were under way then.
    assert!(10 * (FARTHEST + CONCURRENCY) < made, "there is work left for every kill: {made} calls");
    let mut drawn = Vec::new();
    for number in 0..10 {
        let random = RandomState::new().build_hasher().finish();
        let k = 1 + usize::try_from(random).unwrap_or_default() % FARTHEST;
        let moment = if random & 256 == 0 { Moment::BeforeForward } else { Moment::AfterReply };
        drawn.push(format!("{k}{}", if moment == Moment::BeforeForward { "-" } else { "+" }));
        rig.proxy.forget();
        // Armed before a life begins to work: nothing that it does goes uncounted.
        let proofs = if number == 0 {
            0
        } else {
            rig.bowline.launch();
            PROOFS
        };
        let killer = rig.bowline.killer();
        rig.proxy.arm_at(k + proofs, moment, move || killer.kill_9());
        if number == 0 {
            // One transaction, done before the first call to the Engine; its answer may be cut off.
            rig.apply();
        }
        rig.bowline.wait_ended();
        rig.proxy.disarm();
    }
    rig.bowline.start();
    assert!(rig.apply(), "nothing declared was lost");
    let difference = expected.difference(&rig.ready());
    assert!(difference.is_empty(), "killed {} calls after each start:\n{difference}", drawn.join(" "));
    assert!(rig.delete());
    rig.gone();
    figures::note(
        "crash",
        &format!(
            "10 random kills while 20 gateways converge ({} calls after each start), {:.0} s",
            drawn.join(" "),
            begin.elapsed().as_secs_f64()
        ),
    );
}

/// What the container of the one gateway of a rig or of its one server becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// Another server, which answers.
    Server,
    /// Another gateway, which answers.
    Gateway,
    /// A server whose program ends at once: the one before comes back.
    TakenBack,
}

/// A way from what works to the change, or back: with what text, and how the end is told.
#[derive(Debug, Clone)]
struct Edit {
    text: String,
    end: &'static str,
}

impl Change {
    /// Forth and back.
    fn edits(self, image: &MadeImage) -> [Edit; 2] {
        let text = |command: &str, gateway_image: &str| {
            let light = entry(LIGHT, &format!("disableNetwork: true, command: [{command}]"));
            let spec = format!("spec: {{ progressDeadlineSeconds: 5, image: '{gateway_image}',");
            catalog(&[("light", light)]) + &gateway("u1", &["light"]).replace("spec: {", &spec)
        };
        let (good, usual) = ("--tools, 'echo,pid'", gateway_image());
        let (forth, end) = match self {
            Self::Server => (text("--tools, 'echo,env'", &usual), "Complete"),
            Self::Gateway => (text(good, image.reference()), "Complete"),
            Self::TakenBack => (text("--no-such-argument", &usual), "RolledBack"),
        };
        [Edit { text: forth, end }, Edit { text: text(good, &usual), end: "Complete" }]
    }
}

impl Rig {
    fn edit(&self, edit: &Edit) -> bool {
        self.bowline.cli_with_input(["apply", "-f", "-"], &edit.text).status.success()
    }

    /// Waits for the end of an edit, and takes a picture.
    fn ended(&self, edit: &Edit) -> Snapshot {
        wait::until_true("the edit has come to its end", PATIENCE, || {
            let object = self.bowline.object("gateway", "u1", "default");
            is_current(&self.bowline, &object)
                && condition(&object, "Progressing") == ("False".to_owned(), edit.end.to_owned())
                && condition(&object, "Ready").0 == "True"
        });
        Snapshot::take(&self.bowline, &self.postgres).of_specification()
    }

    /// One edit that nobody disturbs: the picture after it, and how many changing calls it took.
    fn edited(&self, edit: &Edit) -> (Snapshot, usize) {
        self.proxy.forget();
        assert!(self.edit(edit));
        (self.ended(edit), self.proxy.mutations().len())
    }

    /// Kills `serve` at this call of an edit, starts it again, and compares the end with the undisturbed one.
    fn edit_interrupted(&mut self, edit: &Edit, (k, moment): Kill, expected: &Snapshot) {
        let killer = self.bowline.killer();
        self.proxy.forget();
        self.proxy.arm_at(k, moment, move || killer.kill_9());
        // Its answer may be cut off; the transaction is done before the first call to the Engine.
        self.edit(edit);
        self.bowline.wait_ended();
        self.proxy.disarm();
        self.bowline.start();
        assert!(self.edit(edit), "after the restart");
        let mut difference = expected.difference(&self.ended(edit));
        // A status is written after what it tells of, but what goes last may be listed a moment longer.
        wait::reached(PATIENCE, || {
            difference =
                expected.difference(&Snapshot::take(&self.bowline, &self.postgres).of_specification());
            difference.is_empty()
        });
        assert!(difference.is_empty(), "killed at {k} {moment:?} of {}:\n{difference}", edit.text);
    }
}

/// Carries out some kills of a change and of its way back, and returns how many calls the change takes.
fn kill_through(change: Change, on_the_way: &[Moment], back_again: &[Moment]) -> (usize, usize) {
    let image = MadeImage::from(&gateway_image(), "");
    let mut rig = Rig::start(1, 8);
    let [forth, back] = change.edits(&image);
    rig.edited(&back);
    let (there, calls) = rig.edited(&forth);
    let (here, calls_back) = rig.edited(&back);
    let all = |calls: usize, moments: &[Moment]| -> Vec<Kill> {
        moments.iter().flat_map(|moment| (1..=calls).map(|k| (k, *moment))).collect()
    };
    let (mut forward, mut backward) = (all(calls, on_the_way), all(calls_back, back_again));
    let count = forward.len() + backward.len();
    while !(forward.is_empty() && backward.is_empty()) {
        match forward.pop() {
            Some(kill) => rig.edit_interrupted(&forth, kill, &there),
            None => drop(rig.edited(&forth)),
        }
        match backward.pop() {
            Some(kill) => rig.edit_interrupted(&back, kill, &here),
            None => drop(rig.edited(&back)),
        }
    }
    assert!(rig.delete());
    rig.gone();
    (calls, count)
}

#[test]
fn a_kill_before_or_after_any_call_of_a_replacement_or_of_a_way_back_changes_nothing_about_its_end() {
    const BEFORE: &[Moment] = &[Moment::BeforeForward];
    const AFTER: &[Moment] = &[Moment::AfterReply];
    let begin = Instant::now();
    // Where both versions are good the way back is the same replacement.
    let parts = [
        (Change::Server, BEFORE, AFTER),
        (Change::Gateway, BEFORE, AFTER),
        (Change::TakenBack, BEFORE, &[][..]),
        (Change::TakenBack, AFTER, &[][..]),
    ];
    let workers =
        parts.map(|(change, forth, back)| (change, thread::spawn(move || kill_through(change, forth, back))));
    let told = workers.map(|(change, worker)| {
        let (calls, kills) = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        format!("{change:?} {calls} calls, {kills} kills")
    });
    let seconds = begin.elapsed().as_secs_f64();
    figures::note("crash", &format!("kill -9 while replacing: {}; {seconds:.0} s", told.join("; ")));
}
