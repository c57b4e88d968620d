//! Against an Engine that says what no real one can be made to say: that a container is being removed, for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowline_core::container::NetworkMode;
use bowline_core::labels::{Owner, Role};
use bowline_core::step::Step;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time;
use uuid::Uuid;

use super::*;
use crate::Settings;
use crate::engine::Engine;

const NAME: &str = "mcp-server-u1.default.time";

fn owner() -> Owner {
    Owner { instance: "test".to_owned(), installation: Uuid::from_u128(1) }
}

fn key() -> GatewayKey {
    GatewayKey::new("u1", "default")
}

fn identity() -> Identity {
    Identity {
        owner: owner(),
        host: "h1".to_owned(),
        key: key(),
        uid: Uuid::from_u128(2),
        role: Role::Server("time".to_owned()),
        spec_hash: "s".to_owned(),
        generation: 1,
        epoch: 1,
    }
}

fn create() -> Step {
    let spec = ContainerSpec {
        image: "sha256:00".to_owned(),
        entrypoint: Vec::new(),
        command: Vec::new(),
        env: BTreeMap::new(),
        user: None,
        read_only_root: true,
        binds: Vec::new(),
        volumes: Vec::new(),
        tmp_bytes: 1 << 20,
        network: NetworkMode::None,
        publish: None,
        limits: Limits::default(),
        secrets: String::new(),
    };
    Step::CreateContainer { name: NAME.to_owned(), identity: identity(), spec: Box::new(spec) }
}

/// An Engine on which one name is taken, by a container of ours in this state or by none that is to be seen.
struct Fake {
    host: Host,
    state: Arc<Mutex<Option<&'static str>>>,
    _directory: tempfile::TempDir,
}

impl Fake {
    async fn start(state: Option<&'static str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("docker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&shared)));
            }
        });
        let engine = Engine::connect(socket.to_str()).await.unwrap();
        let settings = Settings {
            owner: owner(),
            host: "h1".to_owned(),
            runtime_dir: directory.path().to_owned(),
            bridge: directory.path().join("bridge"),
            bridge_store: directory.path().to_owned(),
            publish: "127.0.0.1".parse().unwrap(),
            uids: "1900000000-1900000999".parse().unwrap(),
        };
        Self { host: Host::new(engine, settings), state, _directory: directory }
    }

    fn becomes(&self, state: Option<&'static str>) {
        *self.state.lock().unwrap() = state;
    }

    async fn created(&self) -> Result<(), FailureClass> {
        self.host.execute(&key(), &create()).await.map_err(|failure| failure.class)
    }

    async fn taken(&self) -> BTreeSet<String> {
        self.host.observe_taken(&key()).await.unwrap()
    }
}

/// Answers the one request of a connection.
async fn answer(stream: UnixStream, state: Arc<Mutex<Option<&'static str>>>) {
    let mut stream = BufReader::new(stream);
    let mut head = Vec::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push(line);
    }
    stream.read_exact(&mut vec![0; length]).await.unwrap();
    let Some(request) = head.first() else { return };
    let state = *state.lock().unwrap();
    let (status, body) = reply(request, state);
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
}

fn reply(request: &str, state: Option<&str>) -> (u16, Value) {
    if request.contains("/version") {
        (200, json!({ "Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12" }))
    } else if request.contains("/info") {
        (200, json!({}))
    } else if request.contains("/containers/create") {
        (409, json!({ "message": format!("the name {NAME} is in use") }))
    } else if let (true, Some(state)) = (request.contains(NAME), state) {
        let container = json!({
            "Id": "abc",
            "Name": format!("/{NAME}"),
            "State": { "Status": state },
            "Config": { "Labels": identity().to_labels() },
        });
        (200, container)
    } else if request.contains("/networks") {
        (200, json!([]))
    } else {
        (404, json!({ "message": "no such container" }))
    }
}

#[tokio::test]
async fn a_container_that_is_there_from_an_attempt_whose_answer_was_lost_is_taken_for_the_wanted_one() {
    let fake = Fake::start(Some("created")).await;
    assert_eq!(fake.created().await, Ok(()));
    assert_eq!(fake.taken().await, BTreeSet::new());
}

#[tokio::test]
async fn a_name_is_taken_while_a_container_of_ours_that_can_only_be_removed_has_it() {
    for state in ["removing", "dead"] {
        let fake = Fake::start(Some(state)).await;
        assert_eq!(fake.created().await, Err(FailureClass::NameTaken), "{state}");
        for _ in 0..2 {
            assert_eq!(fake.taken().await, BTreeSet::from([NAME.to_owned()]), "{state}");
        }
        fake.becomes(None);
        assert_eq!(fake.taken().await, BTreeSet::new(), "free when {state} has ended");
    }
}

/// Lets time pass at once. It runs as it does otherwise: a paused clock jumps over what waits for a socket.
async fn pass(seconds: u64) {
    time::pause();
    time::advance(Duration::from_secs(seconds)).await;
    time::resume();
}

#[tokio::test]
async fn a_name_that_nobody_is_seen_to_have_is_believed_to_be_taken_when_it_stays_so() {
    let fake = Fake::start(None).await;
    assert_eq!(fake.created().await, Err(FailureClass::Moved), "its container may have gone a moment ago");
    assert_eq!(fake.taken().await, BTreeSet::new());
    pass(3).await;
    assert_eq!(fake.created().await, Err(FailureClass::NameTaken));
    assert_eq!(fake.taken().await, BTreeSet::from([NAME.to_owned()]));
    pass(601).await;
    assert_eq!(fake.taken().await, BTreeSet::new(), "tried again now and then");
    assert_eq!(fake.created().await, Err(FailureClass::Moved), "anew");
    pass(61).await;
    assert_eq!(fake.created().await, Err(FailureClass::Moved), "nothing to do with the time before");
}
