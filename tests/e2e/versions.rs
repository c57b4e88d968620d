//! Two writers that commit in another order than they began: neither the loop nor a watch misses a version.
//!
//! One writer is a transaction of the store itself, because no command leaves one open; the other is the API.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use bowline_core::object::ObjectKey;
use bowline_store::{Database, Put, Store, WriteTx};
use bowline_tests::bowline::Bowline;
use bowline_tests::figures;
use bowline_tests::postgres::Postgres;
use bowline_tests::wait;
use serde_json::{Value, json};

use crate::support::{LIGHT, PATIENCE, all_ready, catalog, entry, gateway};

/// A `get -w` and what it has printed.
struct Watch {
    child: Child,
    seen: Arc<Mutex<Vec<Value>>>,
}

impl Watch {
    fn start(bowline: &Bowline) -> Self {
        let mut command = bowline.command(["get", "gateways", "-A", "-w", "-o", "json"]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("bowline get -w");
        let (stdout, seen) = (child.stdout.take().expect("piped"), Arc::new(Mutex::new(Vec::new())));
        let sink = Arc::clone(&seen);
        thread::spawn(move || {
            // Documents one after the other, however they are laid out.
            let documents =
                serde_json::Deserializer::from_reader(BufReader::new(stdout)).into_iter::<Value>();
            for document in documents.map_while(Result::ok) {
                sink.lock().expect("no panic in here").push(document);
            }
        });
        let watch = Self { child, seen };
        wait::until_true("the watch has shown what there is", PATIENCE, || !watch.seen().is_empty());
        watch
    }

    fn seen(&self) -> Vec<Value> {
        self.seen.lock().expect("no panic in there").clone()
    }

    /// The versions of the objects that were shown, in order.
    fn versions(&self) -> Vec<(String, i64)> {
        let object = |object: &Value| -> Option<(String, i64)> {
            let version = &object["metadata"]["resourceVersion"];
            let version = version.as_i64().or_else(|| version.as_str()?.parse().ok())?;
            Some((object["metadata"]["namespace"].as_str()?.to_owned(), version))
        };
        self.seen().iter().filter_map(object).collect()
    }

    fn has(&self, user: &str) -> bool {
        self.versions().iter().any(|(seen, _)| seen == user)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended with the server.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Writes a gateway with one server in this transaction.
async fn put(tx: &mut WriteTx, user: &str) {
    let (key, none) = (ObjectKey::gateway(user, "default"), BTreeMap::new());
    let spec = json!({ "catalogs": ["base"], "servers": [{ "name": "light" }] });
    let put = Put {
        key: &key,
        spec: &spec,
        labels: &none,
        annotations: &none,
        managed_by: "cli",
        expected_version: None,
    };
    tx.put(put).await.expect("a written gateway");
}

#[test]
fn writers_that_commit_in_reverse_order_are_both_seen_by_the_loop_and_by_a_watch() {
    let postgres = Postgres::start();
    let mut bowline = Bowline::new().on(&postgres);
    bowline.start();
    bowline.apply(&catalog(&[("light", entry(LIGHT, "disableNetwork: true"))]));
    let watch = Watch::start(&bowline);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let database = Database::from_url(&postgres.url()).expect("the URL");
    let store = runtime.block_on(Store::open(&database, bowline.allotment().instance())).expect("the store");

    for round in 0..3 {
        let [first, second] = ["early", "late"].map(|who| format!("{who}{round}"));
        let mut open = runtime.block_on(store.begin_write()).expect("a transaction");
        runtime.block_on(put(&mut open, &first));
        // Begins later, commits earlier.
        bowline.apply(&gateway(&second, &["light"]));
        wait::until_true("the watch shows the second writer", PATIENCE, || watch.has(&second));
        all_ready(&bowline, &[&second]);
        assert!(!watch.has(&first), "it is not committed");
        runtime.block_on(open.commit()).expect("the first writer commits");
        wait::until_true("the watch shows the first writer", PATIENCE, || watch.has(&first));
        all_ready(&bowline, &[&first]);
    }
    let versions: Vec<_> = watch.versions().into_iter().map(|(_, version)| version).collect();
    assert!(
        versions.is_sorted_by(|a, b| a < b),
        "versions are shown in the order of the commits: {versions:?}"
    );
    runtime.block_on(store.close());
    figures::note(
        "versions",
        &format!("3 pairs of writers in reverse order, {} versions shown in order", versions.len()),
    );
}

#[test]
fn of_many_writers_at_once_a_watch_shows_the_last_word_of_each() {
    const WRITERS: usize = 6;
    const WRITES: usize = 12;
    let postgres = Postgres::start();
    let mut bowline = Bowline::new().on(&postgres);
    bowline.start();
    bowline.apply(&catalog(&[("light", entry(LIGHT, "disableNetwork: true"))]));
    let watch = Watch::start(&bowline);
    // Suspended, so that what is written is all that happens.
    let yaml = |user: usize, write: usize| {
        gateway(&format!("u{user}"), &[])
            .replace("spec: {", "spec: { suspend: true,")
            .replace("metadata: {", &format!("metadata: {{ labels: {{ write: '{write}' }},"))
    };
    thread::scope(|scope| {
        for user in 0..WRITERS {
            let bowline = &bowline;
            scope.spawn(move || (0..WRITES).for_each(|write| drop(bowline.apply(&yaml(user, write)))));
        }
    });
    let last = |user: usize| {
        let seen = watch.seen();
        let shown =
            seen.iter().rev().find(|object| object["metadata"]["namespace"] == format!("u{user}").as_str());
        shown.map(|object| object["metadata"]["labels"]["write"].clone())
    };
    wait::until_true("the watch shows the last write of everybody", PATIENCE, || {
        (0..WRITERS).all(|user| last(user) == Some(json!((WRITES - 1).to_string())))
    });
    let versions: Vec<_> = watch.versions().into_iter().map(|(_, version)| version).collect();
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    figures::note(
        "versions",
        &format!("{WRITERS} writers at once, {WRITES} writes each: the last of each shown, in order"),
    );
}

#[test]
fn a_watch_shows_what_was_written_while_the_api_was_away() {
    let postgres = Postgres::start();
    let mut bowline = Bowline::new().on(&postgres);
    bowline.start();
    bowline.apply(&catalog(&[("light", entry(LIGHT, "disableNetwork: true"))]));
    bowline.apply(&gateway("u1", &["light"]));
    all_ready(&bowline, &["u1"]);
    let watch = Watch::start(&bowline);

    bowline.kill_9();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let database = Database::from_url(&postgres.url()).expect("the URL");
        let store = Store::open(&database, bowline.allotment().instance()).await.expect("the store");
        let mut open = store.begin_write().await.expect("a transaction");
        put(&mut open, "meanwhile").await;
        open.commit().await.expect("a commit");
        store.close().await;
    });
    bowline.start();
    wait::until_true("the watch shows it", PATIENCE, || watch.has("meanwhile"));
    let mut versions: Vec<_> = watch.versions().into_iter().map(|(_, version)| version).collect();
    let shown = versions.len();
    versions.sort_unstable();
    versions.dedup();
    assert_eq!(versions.len(), shown, "what did not change is not shown again");
}
