//! Without the Engine's events the cheap list finds what happened.

use std::sync::Mutex;
use std::sync::mpsc::channel;

use bowline_tests::bowline::Bowline;
use bowline_tests::engine::Engine;
use bowline_tests::figures;
use bowline_tests::proxy::{Moment, RecordingProxy, Verdict};
use bowline_tests::wait;

use crate::support::{LIGHT, PATIENCE, all_ready, call, catalog, entry, gateway, starts};

/// Removes a server's container, waits until another one runs and answers, and returns the seconds.
fn heal(bowline: &Bowline) -> f64 {
    let before = starts(bowline, "u1");
    Engine::local().remove_container(&before["light"].0);
    let healed = wait::until_true("another container answers", PATIENCE, || {
        starts(bowline, "u1").get("light").is_some_and(|(id, _)| *id != before["light"].0)
            && call(bowline, "u1", "echo", "{}").status.success()
    });
    healed.as_secs_f64()
}

fn ready(proxy: &RecordingProxy) -> Bowline {
    // A resync that never comes while the test lasts.
    let mut bowline = Bowline::new().through(&proxy.socket()).with("resync", "1h");
    bowline.start();
    bowline
        .apply(&(catalog(&[("light", entry(LIGHT, "disableNetwork: true"))]) + &gateway("u1", &["light"])));
    all_ready(&bowline, &["u1"]);
    bowline
}

#[test]
fn a_removed_container_is_healed_although_the_stream_of_events_says_nothing() {
    let proxy = RecordingProxy::start(Engine::local().socket());
    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    // Neither an answer nor an end: what a dead connection looks like.
    proxy.arm(move |call, moment| {
        if moment == Moment::BeforeForward && call.target.starts_with("/events") {
            let _test_has_ended = held.lock().map(|held| held.recv());
            return Verdict::Cut;
        }
        Verdict::Pass
    });
    let bowline = ready(&proxy);
    let seconds = heal(&bowline);
    assert!(proxy.calls().iter().any(|call| call.target.starts_with("/events")), "events were asked for");
    figures::note(
        "events",
        &format!("stream silent: a removed container is replaced and answers after {seconds:.1} s"),
    );
    drop(bowline);
    drop(release);
}

#[test]
fn a_removed_container_is_healed_although_the_stream_of_events_is_cut_again_and_again() {
    let proxy = RecordingProxy::start(Engine::local().socket());
    proxy.arm(|call, moment| {
        let cut = moment == Moment::BeforeForward && call.target.starts_with("/events");
        if cut { Verdict::Cut } else { Verdict::Pass }
    });
    let bowline = ready(&proxy);
    let seconds = heal(&bowline);
    let attempts = proxy.calls().iter().filter(|call| call.target.starts_with("/events")).count();
    assert!(attempts > 1, "it is tried again");
    figures::note(
        "events",
        &format!(
            "stream cut {attempts} times: a removed container is replaced and answers after {seconds:.1} s"
        ),
    );
}
