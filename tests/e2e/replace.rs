//! Replacing under a client that calls tools all the while: what a good change costs it, and that a bad one is taken
//! back, told, not tried again by itself, and cured by a good one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bowline_tests::bowline::Bowline;
use bowline_tests::client::{Client, Tally};
use bowline_tests::engine::Engine;
use bowline_tests::figures;
use bowline_tests::image::MadeImage;
use bowline_tests::mcp::Door;
use bowline_tests::proxy::RecordingProxy;
use bowline_tests::wait;
use serde_json::{Value, json};

use crate::support::{
    LIGHT, PATIENCE, TIME, all_ready, call, catalog, condition, docker, entry, gateway, gateway_image,
    settled,
};

const USERS_FAULT: i32 = 1;
/// The command of the server that works.
const GOOD: &str = "command: [--tools, 'echo,pid']";
/// Lines of an image of the light server whose program ends at once.
const ENDS_AT_ONCE: &str = "ENTRYPOINT [\"/server\", \"--no-such-argument\"]";
/// How long anything may take that is said to be done at once.
const AT_ONCE: Duration = Duration::from_secs(10);

/// One gateway with the server `light`, and a client that calls its tool `echo`. Fields are dropped in this order.
struct Rig {
    client: Client,
    bowline: Bowline,
    proxy: RecordingProxy,
}

/// One server's entry and one gateway's further fields.
#[derive(Clone)]
struct Version {
    image: String,
    extra: String,
    gateway: String,
}

impl Version {
    fn good() -> Self {
        Self { image: LIGHT.to_owned(), extra: GOOD.to_owned(), gateway: String::new() }
    }

    fn of_server(image: &str, extra: &str) -> Self {
        Self { image: image.to_owned(), extra: extra.to_owned(), ..Self::good() }
    }

    fn of_gateway(image: &str) -> Self {
        Self { gateway: format!("image: '{image}',"), ..Self::good() }
    }

    fn text(&self) -> String {
        let Self { image, extra, gateway: more } = self;
        let light = entry(image, &format!("disableNetwork: true, {extra}"));
        let spec = format!("spec: {{ progressDeadlineSeconds: 5, {more}");
        catalog(&[("light", light)]) + &gateway("u1", &["light"]).replace("spec: {", &spec)
    }
}

impl Rig {
    fn start() -> Self {
        let proxy = RecordingProxy::start(Engine::local().socket());
        let mut bowline = Bowline::new().through(&proxy.socket()).with("resync", "1s");
        bowline.start();
        bowline.apply(&Version::good().text());
        all_ready(&bowline, &["u1"]);
        let client = Client::start(Door::of(&bowline, "u1"));
        client.more(5, PATIENCE);
        Self { client, bowline, proxy }
    }

    fn object(&self) -> Value {
        self.bowline.object("gateway", "u1", "default")
    }

    /// The failed revision of a unit, or null.
    fn failed(&self, unit: &str) -> Value {
        let status = &self.object()["status"];
        if unit == "gateway" {
            status["failedRevision"].clone()
        } else {
            status["servers"][0]["failedRevision"].clone()
        }
    }

    /// Ids of the containers that run, by what they are for.
    fn running(&self) -> BTreeMap<String, String> {
        let all = self.bowline.engine().containers_of(self.bowline.allotment().instance());
        let mut running = BTreeMap::new();
        for one in all.into_iter().filter(|one| one["State"] == "running") {
            let role = one["Labels"]["dev.bowline.server"].as_str().unwrap_or("gateway").to_owned();
            let other = running.insert(role.clone(), one["Id"].as_str().expect("an id").to_owned());
            assert!(other.is_none(), "two containers run as {role}");
        }
        running
    }

    fn progressing(&self) -> (String, String) {
        condition(&self.object(), "Progressing")
    }

    /// Applies a good version, and returns what that cost the client.
    fn replace(&self, version: &Version, unit: &str) -> Tally {
        let before = self.running();
        let _earlier = self.client.take();
        let text = version.text();
        let applied = self.bowline.cli_with_input(["apply", "-f", "-", "--wait"], &text);
        applied.ok();
        wait::until_true("the new revision has been proven", PATIENCE, || {
            let now = self.running();
            now.contains_key(unit)
                && now.get(unit) != before.get(unit)
                && self.progressing() == ("False".to_owned(), "Complete".to_owned())
        });
        self.client.more(5, PATIENCE);
        let after = self.running();
        assert_ne!(after[unit], before[unit]);
        for (other, id) in before.iter().filter(|(role, _)| *role != unit) {
            assert_eq!(after[other], *id, "{other} goes on");
        }
        assert_eq!(self.bowline.left_over().len(), 3, "two containers and a network");
        self.client.take()
    }

    /// Applies a bad version: it is taken back, `apply --wait` says why, and the revision before answers.
    fn roll_back(&self, version: &Version, unit: &str, word: &str, row: &str) {
        let before = self.running();
        let _earlier = self.client.take();
        let begin = Instant::now();
        let text = version.text();
        let said = self.bowline.cli_with_input(["apply", "-f", "-", "--wait"], &text).fails_with(USERS_FAULT);
        let told = begin.elapsed();
        assert!(said.contains("RolledBack") && said.contains(word), "{row}: {said}");
        self.client.more(5, PATIENCE);
        let tally = self.client.take();
        note(row, &tally, &format!("told after {:.1} s", told.as_secs_f64()));

        // What runs is what ran, and the rest of the attempt is gone.
        assert_eq!(self.running(), before, "{row}");
        wait::until_true("nothing of it is left", PATIENCE, || self.bowline.left_over().len() == 3);
        let object = self.object();
        assert_eq!(condition(&object, "Progressing"), ("False".to_owned(), "RolledBack".to_owned()), "{row}");
        let failed = self.failed(unit);
        assert!(failed["revision"].is_string() && failed["message"].is_string(), "{row}: {failed}");
        let begin = Instant::now();
        let waited =
            self.bowline.wait_for("gateway/u1/default", "condition=Ready", PATIENCE).fails_with(USERS_FAULT);
        assert!(begin.elapsed() < AT_ONCE && waited.contains(word), "{row}: {waited}");
        self.is_not_tried_again(row);
    }

    /// Passes go by in which nothing is changed.
    fn is_not_tried_again(&self, row: &str) {
        let looks = || {
            let calls = self.proxy.calls();
            calls.iter().filter(|call| call.target.starts_with("/containers/json")).count()
        };
        self.proxy.forget();
        // A complete pass lists at least once, and there is one every second.
        wait::until_true("several passes", PATIENCE, || looks() > 8);
        let changed = self.proxy.mutations();
        assert!(changed.is_empty(), "{row}: {changed:?}");
    }

    /// `bowline retry` tries it once more, with the same end.
    fn retry(&self, unit: &str, row: &str) {
        let before = self.failed(unit)["at"].clone();
        self.proxy.forget();
        self.bowline.cli(["retry", "u1"]).ok();
        wait::until_true("it failed once more", PATIENCE, || {
            let failed = self.failed(unit);
            failed["at"].is_string() && failed["at"] != before
        });
        let created = self.proxy.mutations().iter().any(|call| call.target.starts_with("/containers/create"));
        assert!(created, "{row}: it was tried again");
        wait::until_true("it is told", PATIENCE, || {
            self.progressing() == ("False".to_owned(), "RolledBack".to_owned())
        });
    }

    /// A good specification ends it all.
    fn recover(&self, row: &str) {
        let text = Version::good().text();
        self.bowline.cli_with_input(["apply", "-f", "-", "--wait"], &text).ok();
        settled(&self.bowline, "u1");
        let object = self.object();
        assert!(self.failed("gateway").is_null() && self.failed("light").is_null(), "{row}: {object}");
        self.client.more(5, PATIENCE);
    }
}

fn note(row: &str, tally: &Tally, more: &str) {
    let Tally { answered, lost, sessions, gap } = tally;
    let gap = gap.as_millis();
    figures::note(
        "replace",
        &format!(
            "{row}: {answered} calls answered, {lost} lost, {sessions} new sessions, longest gap {gap} ms; {more}"
        ),
    );
}

#[test]
fn a_good_update_costs_a_client_moments() {
    let image = MadeImage::from(&gateway_image(), "");
    let rig = Rig::start();
    let tally = rig.replace(&Version::of_server(LIGHT, "command: [--tools, 'echo,env']"), "light");
    note("good update of a server", &tally, "the new one runs");
    assert!(tally.gap < PATIENCE / 10, "{tally:?}");
    let with = Version {
        extra: "command: [--tools, 'echo,env']".to_owned(),
        ..Version::of_gateway(image.reference())
    };
    let tally = rig.replace(&with, "gateway");
    note("good update of the gateway", &tally, "the new one runs");
    assert!(tally.gap < PATIENCE / 10, "{tally:?}");
}

#[test]
fn a_bad_image_of_a_server_is_taken_back() {
    let ends = MadeImage::from(LIGHT, ENDS_AT_ONCE);
    let broken = MadeImage::from(LIGHT, "ENTRYPOINT [\"/no/such/program\"]");
    let rig = Rig::start();
    for (image, row) in [
        (&ends, "server image whose program ends at once"),
        (&broken, "server image that cannot be executed"),
    ] {
        rig.roll_back(&Version::of_server(image.reference(), GOOD), "light", "light", row);
    }
    rig.retry("light", "server image that cannot be executed");
    rig.recover("bad server image");
}

#[test]
fn a_server_that_no_longer_answers_is_taken_back() {
    let rig = Rig::start();
    let row = "server that hangs";
    rig.roll_back(&Version::of_server(LIGHT, "command: [--hang]"), "light", "ProgressDeadlineExceeded", row);
    rig.retry("light", row);
    rig.recover(row);
}

#[test]
fn a_bad_image_of_the_gateway_is_taken_back() {
    let ends = MadeImage::from(LIGHT, ENDS_AT_ONCE);
    let broken = MadeImage::from(LIGHT, "ENTRYPOINT [\"/no/such/program\"]");
    let rig = Rig::start();
    for (image, word, row) in [
        (&ends, "CrashLoop", "gateway image whose program ends at once"),
        (&broken, "StartFailed", "gateway image that cannot be executed"),
    ] {
        rig.roll_back(&Version::of_gateway(image.reference()), "gateway", word, row);
    }
    rig.retry("gateway", "gateway image that cannot be executed");
    rig.recover("bad gateway image");
}

#[test]
fn a_gateway_that_never_becomes_healthy_is_taken_back() {
    let deaf = MadeImage::from(TIME, "ENTRYPOINT [\"sleep\", \"infinity\"]");
    let rig = Rig::start();
    let row = "gateway that does not listen";
    rig.roll_back(&Version::of_gateway(deaf.reference()), "gateway", "ProgressDeadlineExceeded", row);
    rig.retry("gateway", row);
    rig.recover(row);
}

/// When containers of this instance began and ended, as the Engine told it since then: `start` or `die`, and the id.
fn begun_and_ended(bowline: &Bowline, server: &str, since: Duration) -> Vec<(String, String)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let moment = |at: Duration| format!("{}.{:09}", at.as_secs(), at.subsec_nanos());
    let (since, until) = (moment(since), moment(now));
    let ours = format!("label=dev.bowline.instance={}", bowline.allotment().instance());
    let of_server = format!("label=dev.bowline.server={server}");
    let told = docker([
        "events",
        "--since",
        &since,
        "--until",
        &until,
        "--filter",
        &ours,
        "--filter",
        &of_server,
        "--filter",
        "event=start",
        "--filter",
        "event=die",
        "--format",
        "{{.Action}} {{.ID}}",
    ]);
    let pair = |line: &str| line.split_once(' ').map(|(action, id)| (action.to_owned(), id.to_owned()));
    told.ok().lines().filter_map(pair).collect()
}

#[test]
fn two_containers_never_run_on_one_volume_and_what_is_stored_survives_a_way_back() {
    let ends = MadeImage::from(LIGHT, ENDS_AT_ONCE);
    let mut bowline = Bowline::new();
    bowline.start();
    let keeper = |image: &str, tools: &str| {
        let extra = format!("disableNetwork: true, volumes: ['data:/data'], command: [--tools, '{tools}']");
        let spec = gateway("u1", &["keeper"]).replace("spec: {", "spec: { progressDeadlineSeconds: 5,");
        catalog(&[("keeper", entry(image, &extra))]) + &spec
    };
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    bowline.apply(&keeper(LIGHT, "write,read"));
    all_ready(&bowline, &["u1"]);
    let note = json!({ "path": "/data/note", "text": "before any change" }).to_string();
    call(&bowline, "u1", "write", &note).ok();
    for (image, tools) in
        [(LIGHT, "write,read,pid"), (ends.reference(), "write,read"), (LIGHT, "write,read,env")]
    {
        let applied = bowline.cli_with_input(["apply", "-f", "-", "--wait"], &keeper(image, tools));
        match image {
            LIGHT => drop(applied.ok()),
            _ => assert!(applied.fails_with(USERS_FAULT).contains("RolledBack")),
        }
        wait::until_true("what is stored is there", PATIENCE, || {
            call(&bowline, "u1", "read", r#"{ "path": "/data/note" }"#).stdout.contains("before any change")
        });
    }
    settled(&bowline, "u1");

    let told = begun_and_ended(&bowline, "keeper", since);
    let mut running = Vec::new();
    for (action, id) in &told {
        match action.as_str() {
            "start" => running.push(id),
            _ => running.retain(|known| *known != id),
        }
        assert!(running.len() < 2, "two at once: {told:?}");
    }
    let starts = told.iter().filter(|(action, _)| action == "start").count();
    // The first, a good one, a bad one, the way back, and another good one.
    assert!(starts >= 5, "{told:?}");
    figures::note(
        "replace",
        &format!("server with a volume: {starts} starts, never two at once, its data kept"),
    );
    bowline.cli(["delete", "gateway/u1/default", "--volumes"]).ok();
}
