//! What becomes of a replacement and of a retirement when their Engine is stopped, restarted, killed, frozen or without
//! power between any two of their steps: exactly what is declared, as if nothing had happened.
//!
//! A proxy in front of the Engine's socket holds one changing call of `serve`, before the Engine has seen it or after
//! the Engine has answered it, until the disturbance has come over the Engine. All this happens to one instance over
//! and over, so that what one disturbance leaves behind would be seen in the next.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bowline_tests::bowline::Bowline;
use bowline_tests::figures;
use bowline_tests::image::MadeImage;
use bowline_tests::postgres::Postgres;
use bowline_tests::proxy::{Moment, RecordingProxy, Verdict};
use bowline_tests::second_engine::SecondEngine;
use bowline_tests::snapshot::Snapshot;
use bowline_tests::wait;

use crate::dockerd::Since;
use crate::support::{
    LIGHT, PATIENCE, catalog, condition, entry, gateway, gateway_image, is_current, settled,
};

/// How long the last trace of a disturbance may be seen after the status says that nothing is under way.
const SETTLED: Duration = Duration::from_secs(40);
/// How long a frozen Engine is frozen.
const FROZEN: Duration = Duration::from_secs(2);
/// How often each call is disturbed: once on either side of it, each time by something else.
const ROUNDS: usize = 2;

/// What comes over an Engine, and how it comes back. `serve` makes its call between the two.
struct Disturbance {
    name: &'static str,
    begin: fn(&mut SecondEngine),
    end: fn(&mut SecondEngine),
}

const DISTURBANCES: [Disturbance; 5] = [
    Disturbance { name: "stopped", begin: SecondEngine::stop, end: SecondEngine::resume },
    Disturbance { name: "restarted", begin: SecondEngine::restart, end: |_| {} },
    Disturbance { name: "killed", begin: SecondEngine::kill, end: SecondEngine::resume },
    Disturbance {
        name: "frozen",
        begin: |second| second.freeze(),
        end: |second| {
            // The row itself: nothing is waited for.
            thread::sleep(FROZEN);
            second.thaw();
        },
    },
    Disturbance { name: "without power", begin: SecondEngine::power_loss, end: SecondEngine::resume },
];

/// One gateway with one server on an Engine of its own behind a proxy. Fields are dropped in this order.
struct Rig {
    bowline: Bowline,
    second: SecondEngine,
    proxy: RecordingProxy,
    postgres: Postgres,
}

/// Where a disturbance falls: at which changing call, and on which side of it.
type Place = (usize, Moment);

/// What is replaced.
#[derive(Debug, Clone, Copy)]
enum Role {
    Server,
    Gateway,
}

/// The two declarations between which one container is replaced to and fro.
struct Versions {
    texts: [String; 2],
    /// The gateway's other image, for as long as it is needed.
    image: MadeImage,
}

impl Versions {
    fn of(role: Role) -> Self {
        let image = MadeImage::from(&gateway_image(), "");
        let text = |tools: &str, gateway_image: &str| {
            let light = entry(LIGHT, &format!("disableNetwork: true, command: [--tools, '{tools}']"));
            let spec = format!("spec: {{ image: '{gateway_image}',");
            catalog(&[("light", light)]) + &gateway("u1", &["light"]).replace("spec: {", &spec)
        };
        let usual = gateway_image();
        let other = match role {
            Role::Server => text("echo,env", &usual),
            Role::Gateway => text("echo,pid", image.reference()),
        };
        Self { texts: [text("echo,pid", &usual), other], image }
    }
}

impl Rig {
    /// `serve` runs, and the gateway is Ready in its first version.
    fn start(live_restore: bool, versions: &Versions) -> Self {
        let second = SecondEngine::start(live_restore);
        second.load_images(&[&gateway_image(), LIGHT, versions.image.reference()]);
        let (postgres, proxy) = (Postgres::start(), RecordingProxy::start(second.socket()));
        let mut bowline = Bowline::new().on(&postgres).beside(&second).through(&proxy.socket());
        bowline.start();
        bowline.apply(&versions.texts[0]);
        let rig = Self { bowline, second, proxy, postgres };
        rig.replaced();
        rig
    }

    /// Waits until the declared version has been proven and nothing is under way, and takes a picture.
    fn replaced(&self) -> Snapshot {
        settled(&self.bowline, "u1");
        self.picture()
    }

    fn picture(&self) -> Snapshot {
        Snapshot::take(&self.bowline, &self.postgres).of_specification()
    }

    /// Waits until the gateway and everything of it are gone.
    fn retired(&self, disturbed: &str) {
        let what = format!("the gateway is gone; disturbed: {disturbed}");
        wait::until_true(&what, PATIENCE, || {
            self.bowline.cli(["get", "gateways", "-A", "-o", "name"]).ok().is_empty()
        });
        assert_eq!(self.bowline.left_over(), Vec::<String>::new(), "disturbed: {disturbed}");
        assert_eq!(self.postgres.query("select count(*) from leases"), "0", "disturbed: {disturbed}");
    }

    fn delete(&self) {
        self.bowline.cli(["delete", "--wait=false", "gateway/u1/default"]).ok();
    }

    /// Lets a disturbance come over the Engine at this call of a change, and returns the moment when it did.
    fn disturb(
        &mut self,
        (k, moment): Place,
        disturbance: &Disturbance,
        change: impl FnOnce(&Self),
    ) -> Since {
        let (reached, is_reached) = mpsc::channel();
        let (release, is_released) = mpsc::channel::<()>();
        let is_released = Mutex::new(is_released);
        self.proxy.forget();
        self.proxy.arm(move |call, now| {
            if call.mutation != Some(k) || now != moment {
                return Verdict::Pass;
            }
            // Either end is gone only when the test has failed.
            let _failed = reached.send(());
            let _failed = is_released.lock().unwrap_or_else(PoisonError::into_inner).recv();
            match moment {
                Moment::BeforeForward => Verdict::Pass,
                Moment::AfterReply => Verdict::Cut,
            }
        });
        change(self);
        is_reached.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("call {k} was never made"));
        let since = Since::now(&self.bowline);
        (disturbance.begin)(&mut self.second);
        self.proxy.disarm();
        release.send(()).expect("the call is held");
        (disturbance.end)(&mut self.second);
        since
    }
}

/// What was done to one change and seen.
#[derive(Default)]
struct Tally {
    /// Changing calls of the change.
    calls: usize,
    disturbances: usize,
    by_serve: usize,
    by_dockerd: usize,
    kinds: BTreeSet<&'static str>,
}

impl Tally {
    fn count(&mut self, rig: &Rig, since: &Since, disturbance: &Disturbance) {
        let (serve, dockerd) = since.started(&rig.bowline, &rig.second);
        self.disturbances += 1;
        self.by_serve += serve.total();
        self.by_dockerd += dockerd.total();
        self.kinds.insert(disturbance.name);
    }
}

/// Every call, on both sides of it; `shift` says which disturbance is the first.
fn places(calls: usize, shift: usize) -> impl Iterator<Item = (Place, &'static Disturbance)> {
    (0..ROUNDS).flat_map(move |round| {
        (1..=calls).map(move |k| {
            let number = k + shift + round;
            let moment = [Moment::BeforeForward, Moment::AfterReply][number % 2];
            ((k, moment), &DISTURBANCES[number % DISTURBANCES.len()])
        })
    })
}

/// Disturbs every call of a replacement, which goes to and fro between two versions.
fn replacements(role: Role, live_restore: bool, shift: usize) -> Tally {
    let versions = Versions::of(role);
    let mut rig = Rig::start(live_restore, &versions);
    let pictures = [1, 0].map(|version| {
        rig.proxy.forget();
        rig.bowline.apply(&versions.texts[version]);
        rig.replaced()
    });
    let mut tally = Tally { calls: rig.proxy.mutations().len(), ..Tally::default() };
    let [second, first] = &pictures;
    assert!(!first.difference(second).is_empty(), "the pictures tell the versions apart");
    let expected = [first, second];
    for (number, (place, disturbance)) in places(tally.calls, shift).enumerate() {
        let version = (number + 1) % 2;
        let since = rig.disturb(place, disturbance, |rig| drop(rig.bowline.apply(&versions.texts[version])));
        rig.ends_with(expected[version], &format!("{role:?} {} at {place:?}", disturbance.name));
        tally.count(&rig, &since, disturbance);
    }
    tally
}

/// Disturbs every call of a deletion of the gateway, and makes it again each time.
fn retirements(live_restore: bool, shift: usize) -> Tally {
    let versions = Versions::of(Role::Server);
    let mut rig = Rig::start(live_restore, &versions);
    let expected = rig.picture();
    rig.proxy.forget();
    rig.delete();
    rig.retired("nothing");
    let mut tally = Tally { calls: rig.proxy.mutations().len(), ..Tally::default() };
    for (place, disturbance) in places(tally.calls, shift) {
        rig.bowline.apply(&versions.texts[0]);
        rig.ends_with(&expected, "made again");
        let since = rig.disturb(place, disturbance, Rig::delete);
        rig.retired(&format!("{} at {place:?}", disturbance.name));
        tally.count(&rig, &since, disturbance);
    }
    tally
}

impl Rig {
    /// Waits until nothing is under way and everything is exactly as expected; a way back is a failure at once.
    fn ends_with(&self, expected: &Snapshot, place: &str) {
        wait::until_true(place, PATIENCE, || {
            let object = self.bowline.object("gateway", "u1", "default");
            let (_, reason) = condition(&object, "Progressing");
            assert_ne!(reason, "RolledBack", "{place}: {}", object["status"]);
            reason == "Complete" && is_current(&self.bowline, &object)
        });
        let mut difference = String::new();
        let equal = wait::reached(SETTLED, || {
            settled(&self.bowline, "u1");
            difference = expected.difference(&self.picture());
            difference.is_empty()
        });
        assert!(equal, "{place}: other than declared:\n{difference}");
    }
}

fn ends_as_declared_wherever_it_is_disturbed(live_restore: bool, shift: usize) {
    let begin = Instant::now();
    // Each on its own thread: an Engine ends with the thread that made it. A disturbance is mostly waiting.
    let server = thread::spawn(move || replacements(Role::Server, live_restore, shift));
    let gateway = thread::spawn(move || replacements(Role::Gateway, live_restore, shift + 1));
    let retirement = thread::spawn(move || retirements(live_restore, shift + 2));
    let all = [server, gateway, retirement]
        .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
    for Tally { calls, disturbances, kinds, .. } in &all {
        assert!(
            *calls > 4 && *disturbances == calls * ROUNDS,
            "{disturbances} disturbances of {calls} calls"
        );
        assert_eq!(kinds.len(), DISTURBANCES.len(), "{kinds:?}");
    }
    let sum = |of: fn(&Tally) -> usize| all.iter().map(of).sum::<usize>();
    let [server, gateway, retirement] = [&all[0], &all[1], &all[2]].map(|tally| tally.calls);
    figures::note(
        "dockerd steps",
        &format!(
            "live-restore {}: {} disturbances, on both sides of each of the k=1..={server} calls of a server's \
             replacement, k=1..={gateway} of a gateway's, k=1..={retirement} of a retirement; containers started by \
             dockerd {}, by serve {}; {:.0} s",
            if live_restore { "on " } else { "off" },
            sum(|tally| tally.disturbances),
            sum(|tally| tally.by_dockerd),
            sum(|tally| tally.by_serve),
            begin.elapsed().as_secs_f64(),
        ),
    );
}

#[test]
fn dockerd_disturbed_at_any_call_of_a_replacement_or_retirement_ends_in_exactly_what_is_declared() {
    ends_as_declared_wherever_it_is_disturbed(false, 0);
}

#[test]
fn dockerd_with_live_restore_disturbed_at_any_call_ends_in_exactly_what_is_declared() {
    ends_as_declared_wherever_it_is_disturbed(true, 2);
}
