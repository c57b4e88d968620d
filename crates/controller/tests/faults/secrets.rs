//! Secrets in the loop: who is recreated for a value, who is not, and what becomes of one that is missing or cannot be
//! opened.

use std::collections::BTreeMap;

use bowline_core::labels::Role;
use bowline_core::object::ObjectKey;
use bowline_core::status::{ServerState, ServerStatus};
use bowline_store::{EventFilter, Keyring, PrivateKey, Store};

use crate::bench::{Act, Bench, keyring, with_store};

/// What the value of the secret begins with, and nothing else.
const CANARY: &str = "canary-";

/// A gateway at rest whose server `late` has a secret and whose server `time` has none.
async fn settled(store: &Store, number: usize) -> Bench {
    let mut bench = Bench::new(store, number).await;
    bench.set_secret("late.token", &format!("{CANARY}1")).await;
    bench.declare("localhost/gateway:1", "[time, late]").await;
    bench.settle().await;
    assert_eq!(bench.value().as_deref(), Some("canary-1"));
    bench
}

impl Bench {
    /// The value that the server `late` is given.
    fn value(&self) -> Option<String> {
        let files = self.world.secrets();
        assert!(files.len() <= 1, "{files:?}");
        files.into_values().flatten().find(|(env, _)| env == "LATE_TOKEN").map(|(_, value)| value)
    }

    /// The id of each container by what it is for.
    fn ids(&self) -> BTreeMap<Role, String> {
        self.world.containers().into_iter().map(|(seen, _)| (seen.identity.role, seen.id)).collect()
    }

    async fn server(&self, name: &str) -> ServerStatus {
        let status = self.status().await;
        let told = serde_json::to_string(&status).unwrap();
        assert!(!told.contains(CANARY), "{told}");
        status.servers.into_iter().find(|server| server.name == name).expect("the server has a status")
    }
}

fn late() -> Role {
    Role::Server("late".to_owned())
}

#[test]
fn another_value_recreates_the_server_that_uses_it_and_the_same_value_again_nobody() {
    with_store(|store| async move {
        let mut bench = settled(&store, 1).await;
        let before = bench.ids();
        bench.set_secret("late.token", "canary-2").await;
        bench.settle().await;
        assert_eq!(bench.value().as_deref(), Some("canary-2"));
        let after = bench.ids();
        let changed: Vec<_> = after.iter().filter(|(role, id)| before.get(role) != Some(id)).collect();
        assert_eq!(changed.len(), 1, "{before:?} {after:?}");
        assert_ne!(before[&late()], after[&late()]);

        bench.set_secret("late.token", "canary-2").await;
        bench.world.arm(None);
        bench.settle().await;
        assert!(bench.world.log().iter().all(|line| line == "observe"), "{:?}", bench.world.log());
        bench.restart();
        bench.settle().await;
        assert!(bench.world.log().iter().all(|line| line == "observe"), "{:?}", bench.world.log());
    });
}

#[test]
fn a_secret_file_that_somebody_changed_is_put_right_and_nobody_is_recreated() {
    with_store(|store| async move {
        let mut bench = settled(&store, 1).await;
        let before = bench.ids();
        bench.world.spoil_secrets();
        bench.world.arm(None);
        bench.settle().await;
        let changes: Vec<_> = bench.world.log().into_iter().filter(|line| line != "observe").collect();
        assert_eq!(changes, ["write secret file secrets/late/env"]);
        assert_eq!(bench.ids(), before);
    });
}

#[test]
fn a_key_that_is_removed_takes_the_file_and_the_container_of_its_server_with_it() {
    with_store(|store| async move {
        let mut bench = settled(&store, 1).await;
        let before = bench.ids();
        bench.set_secret("another.key", "canary-2").await;
        bench.settle().await;
        assert_eq!(bench.value(), None);
        let mut rest = before.clone();
        rest.remove(&late());
        assert_eq!(bench.ids(), rest);
        let server = bench.server("late").await;
        assert_eq!((server.state, server.reason.as_deref()), (ServerState::Pending, Some("SecretMissing")));
        let told = server.last_error.unwrap();
        assert!(told.contains("bowline secret set -n u1 mine late.token"), "{told}");

        bench.set_secret("late.token", "canary-3").await;
        bench.settle().await;
        assert_eq!(bench.value().as_deref(), Some("canary-3"));
        assert_eq!(bench.ids().len(), before.len());
    });
}

#[test]
fn a_gateway_waits_for_a_secret_that_does_not_exist_and_its_other_servers_do_not() {
    with_store(|store| async move {
        let mut bench = Bench::new(&store, 1).await;
        bench.declare("localhost/gateway:1", "[time, late]").await;
        bench.settle().await;
        assert_eq!(bench.ids().len(), 2, "the gateway and `time`");
        assert_eq!(bench.server("late").await.reason.as_deref(), Some("SecretMissing"));
        bench.set_secret("late.token", "canary-1").await;
        bench.settle().await;
        assert_eq!(bench.value().as_deref(), Some("canary-1"));
    });
}

#[test]
fn a_value_with_a_line_break_is_the_trouble_of_its_server_and_said_with_the_way_out() {
    with_store(|store| async move {
        let mut bench = settled(&store, 1).await;
        bench.set_secret("late.token", "canary-2\ncanary-3").await;
        bench.settle().await;
        assert_eq!(bench.value(), None);
        let server = bench.server("late").await;
        assert_eq!((server.state, server.reason.as_deref()), (ServerState::Failed, Some("SecretUnusable")));
        let told = server.last_error.unwrap();
        assert!(told.contains("late.token") && told.contains("base64"), "{told}");
    });
}

#[test]
fn a_value_that_cannot_be_opened_is_told_once_and_neither_a_crash_nor_a_loop() {
    with_store(|store| async move {
        let mut bench = settled(&store, 1).await;
        let stranger = || Keyring::from_iter([PrivateKey::generate()]);
        bench.restart_with(stranger());
        bench.settle().await;
        let server = bench.server("late").await;
        assert_eq!((server.state, server.reason.as_deref()), (ServerState::Failed, Some("SecretUnreadable")));
        assert_ne!(bench.server("time").await.state, ServerState::Failed);
        let told = server.last_error.unwrap();
        assert!(told.contains("late.token") && told.contains("no such key is here"), "{told}");
        bench.restart_with(stranger());
        bench.settle().await;
        let filter = EventFilter { name: Some("default".to_owned()), ..EventFilter::default() };
        let events = store.events_of_objects(&filter, 100).await.unwrap();
        let told: Vec<_> = events.iter().filter(|event| event.event.reason == "SecretUnreadable").collect();
        assert_eq!(told.iter().map(|event| event.event.count).collect::<Vec<_>>(), [1], "{events:?}");
        assert_eq!(told[0].object, ObjectKey::gateway("u1", "default"));

        // The key is found again.
        bench.restart_with(keyring());
        bench.settle().await;
        assert_eq!(bench.value().as_deref(), Some("canary-1"));
        assert_ne!(bench.server("late").await.state, ServerState::Failed);
    });
}

#[test]
fn a_deleted_gateway_leaves_no_secret_file() {
    with_store(|store| async move {
        let mut bench = settled(&store, 1).await;
        bench.ask(Act::Deleted).await;
        bench.settle().await;
        assert!(bench.world.secrets().is_empty());
        assert!(bench.world.trees().is_empty());
    });
}
