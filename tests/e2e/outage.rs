//! What goes on while something is away: `serve`, a Postgres, the private Postgres.
//!
//! A client holds one session over one connection the whole time and calls a tool again and again: a single
//! call that is not answered is seen.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bowline_tests::bowline::Bowline;
use bowline_tests::engine::Engine;
use bowline_tests::figures;
use bowline_tests::mcp::Session;
use bowline_tests::postgres::Postgres;
use bowline_tests::proxy::RecordingProxy;
use bowline_tests::wait;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::{LIGHT, PATIENCE, all_ready, call, catalog, entry, gateway, members, starts};

/// A client that calls all the time until it is asked how it went.
struct Client {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    thread: JoinHandle<Result<(), String>>,
}

impl Client {
    fn start(bowline: &Bowline, user: &str) -> Self {
        let mut session = Session::open(bowline, user);
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (told, count) = (Arc::clone(&stop), Arc::clone(&answered));
        let thread = thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                session.call("echo", &json!({ "n": 1 })).map_err(|error| error.to_string())?;
                count.fetch_add(1, Ordering::Relaxed);
                // A client, not a load test: the tests beside this one want to see something, too.
                thread::sleep(Duration::from_millis(20));
            }
            Ok(())
        });
        Self { stop, answered, thread }
    }

    /// Waits for so many further answers.
    fn more(&self, count: usize) {
        let goal = self.answered.load(Ordering::Relaxed) + count;
        wait::until_true("calls are answered", PATIENCE, || {
            assert!(!self.thread.is_finished(), "the session has ended");
            self.answered.load(Ordering::Relaxed) >= goal
        });
    }

    /// Ends, and says how many calls were answered: all of them.
    fn finish(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let went = self.thread.join().expect("the client's thread");
        went.expect("every call is answered over one connection");
        self.answered.load(Ordering::Relaxed)
    }
}

fn light() -> String {
    catalog(&[("light", entry(LIGHT, "disableNetwork: true"))])
}

/// Two users whose gateways are Ready.
fn two_users(bowline: &Bowline) {
    bowline.apply(&(light() + &gateway("u1", &["light"]) + &gateway("u2", &["light"])));
    all_ready(bowline, &["u1", "u2"]);
}

#[test]
fn gateways_answer_while_serve_is_away_and_its_restart_disturbs_nobody() {
    let proxy = RecordingProxy::start(Engine::local().socket());
    let mut bowline = Bowline::new().through(&proxy.socket());
    bowline.start();
    two_users(&bowline);
    let client = Client::start(&bowline, "u1");
    let before = [starts(&bowline, "u1"), starts(&bowline, "u2")];
    // With the time of each condition's last change: a status that wavers leaves its trace there.
    let conditions = |bowline: &Bowline| {
        ["u1", "u2"].map(|user| bowline.object("gateway", user, "default")["status"]["conditions"].clone())
    };
    let reported = conditions(&bowline);

    bowline.kill_9();
    let away = Instant::now();
    client.more(50);
    proxy.forget();
    let away = away.elapsed();
    bowline.start();
    all_ready(&bowline, &["u1", "u2"]);
    client.more(20);

    assert_eq!([starts(&bowline, "u1"), starts(&bowline, "u2")], before, "no container was touched");
    // The proof that both see the same files asks for what cannot be made.
    let changes: Vec<_> =
        proxy.mutations().into_iter().filter(|call| call.status.is_none_or(|status| status < 400)).collect();
    assert!(changes.is_empty(), "{changes:?}");
    // A clean stop and start is no different.
    bowline.stop();
    client.more(10);
    bowline.start();
    all_ready(&bowline, &["u1", "u2"]);
    assert_eq!([starts(&bowline, "u1"), starts(&bowline, "u2")], before);
    call(&bowline, "u2", "echo", "{}").ok();
    assert_eq!(conditions(&bowline), reported, "a restart of ours is no news of a gateway");
    figures::note(
        "outage",
        &format!(
            "serve killed (away for {:.1} s), stopped and started: {} calls in one session, all answered",
            away.as_secs_f64(),
            client.finish()
        ),
    );
}

#[test]
fn a_postgres_that_stops_and_comes_back_disturbs_nobody_and_changes_are_made_afterwards() {
    let mut postgres = Postgres::start();
    let mut bowline = Bowline::new().on(&postgres);
    bowline.start();
    two_users(&bowline);
    let client = Client::start(&bowline, "u1");
    let before = starts(&bowline, "u1");
    let removed = starts(&bowline, "u2")["light"].0.clone();

    postgres.stop();
    client.more(30);
    let said = bowline.cli_with_input(["apply", "-f", "-"], &gateway("u3", &["light"])).fails_with(2);
    assert!(said.starts_with("error: "), "{said}");
    Engine::local().remove_container(&removed);
    client.more(10);
    assert_eq!(starts(&bowline, "u1"), before, "no container was touched");

    postgres.resume();
    let back = Instant::now();
    wait::until_true("the API answers again", PATIENCE, || {
        bowline.cli_with_input(["apply", "-f", "-"], &gateway("u3", &["light"])).status.success()
    });
    all_ready(&bowline, &["u3"]);
    wait::until_true("what was removed meanwhile is made again", PATIENCE, || {
        members(&bowline, "u2").get("light").is_some_and(|seen| seen["State"]["Running"] == true)
    });
    let healed = back.elapsed();
    all_ready(&bowline, &["u1", "u2", "u3"]);
    client.more(10);
    assert_eq!(starts(&bowline, "u1"), before);
    figures::note(
        "outage",
        &format!(
            "Postgres stopped and started: {} calls in one session, all answered; a change and a healing done \
             {:.1} s after its return",
            client.finish(),
            healed.as_secs_f64()
        ),
    );
}

#[test]
fn a_private_postgres_that_is_killed_is_started_again_and_changes_are_made_afterwards() {
    let mut bowline = Bowline::new();
    bowline.start();
    two_users(&bowline);
    let client = Client::start(&bowline, "u1");
    let before = [starts(&bowline, "u1"), starts(&bowline, "u2")];

    let file = bowline.state_dir().join("postgres/data/postmaster.pid");
    let postmaster = || -> Option<Pid> {
        Pid::from_raw(fs::read_to_string(&file).ok()?.lines().next()?.trim().parse().ok()?)
    };
    let killed = postmaster().expect("a private Postgres");
    kill_process(killed, Signal::KILL).expect("it runs");
    let begin = Instant::now();
    wait::until_true("a private Postgres runs again", PATIENCE, || {
        postmaster().is_some_and(|pid| pid != killed)
            && bowline.cli(["get", "gateways", "-A", "-o", "name"]).status.success()
    });
    let back = begin.elapsed();
    wait::until_true("a change is taken", PATIENCE, || {
        bowline.cli_with_input(["apply", "-f", "-"], &gateway("u3", &["light"])).status.success()
    });
    all_ready(&bowline, &["u1", "u2", "u3"]);
    client.more(10);
    assert_eq!([starts(&bowline, "u1"), starts(&bowline, "u2")], before, "no container was touched");
    figures::note(
        "outage",
        &format!(
            "private Postgres killed: answers again after {:.1} s; {} calls in one session, all answered",
            back.as_secs_f64(),
            client.finish()
        ),
    );
}
