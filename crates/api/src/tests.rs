//! The API as its clients see it: over a real socket, in front of a real Postgres.

use std::path::PathBuf;
use std::time::Duration;

use axum::http::{Method, Request, StatusCode, header};
use bowline_core::desired;
use bowline_core::labels::Owner;
use bowline_core::lease::Ranges;
use bowline_store::Store;
use bowline_store::embedded::{Embedded, Options};
use http_body_util::{BodyExt, Full};
use hyper::Response;
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{Api, Preview, Settings, SpecDirectory, connect};

mod apply;
mod asked;
mod catalogs;
mod edit;
mod events;
mod keys;
mod logs;
mod objects;
mod protocol;
mod requests;
mod secrets;
mod specs;
mod tokens;
mod volumes;
mod watch;

/// A limit for what must happen soon; only a failing test gets there.
const SOON: Duration = Duration::from_secs(20);

/// A running API.
struct Fixture {
    store: Store,
    socket: PathBuf,
    controller_socket: PathBuf,
    stop: CancellationToken,
    api: JoinHandle<()>,
    postgres: Embedded,
    /// Removed when everything above has ended.
    _home: TempDir,
}

impl Fixture {
    async fn start() -> Self {
        Self::following(None).await
    }

    /// An API that follows a spec directory, once that is permitted.
    async fn following(specs: Option<SpecDirectory>) -> Self {
        // Others must be able to pass: a server that root starts runs as another account.
        let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o711);
        let home = tempfile::Builder::new().prefix("bowline-api-").permissions(mode).tempdir().unwrap();
        let postgres = Embedded::start(Options {
            state_dir: home.path().join("state"),
            socket_dir: home.path().join("postgres"),
            bin_dir: None,
        })
        .await
        .unwrap();
        let store = Store::open(&postgres.database(), "test").await.unwrap();
        let host = store.register_host("h1").await.unwrap();
        let socket = home.path().join("api").join("bowline.sock");
        let controller_socket = home.path().join("controller.sock");
        let api = Api::bind(Settings {
            socket: socket.clone(),
            controller_socket: controller_socket.clone(),
            version: "0.0.0-test",
            preview: Preview { host: host.id, settings: settings(&store) },
            specs,
        })
        .await
        .unwrap();
        let stop = CancellationToken::new();
        let api = tokio::spawn(api.run(store.clone(), stop.clone()));
        Fixture { store, socket, controller_socket, stop, api, postgres, _home: home }
    }

    /// Ends everything, each part in time.
    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(SOON, self.api).await.unwrap().unwrap();
        assert!(!self.socket.exists(), "the socket is removed");
        self.store.close().await;
        self.postgres.stop().await.unwrap();
    }

    /// Sends a request; gives the response as it begins.
    async fn send(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Response<Incoming> {
        let stream = connect(&self.socket).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "test")
            .body(Full::new(body.into()))
            .unwrap();
        tokio::time::timeout(SOON, sender.send_request(request)).await.unwrap().unwrap()
    }

    /// Sends a request; gives status and JSON.
    async fn exchange(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let response = self.send(method, path, body).await;
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{error}: {body:?}")))
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.exchange(Method::GET, path, Value::Null).await
    }

    async fn delete(&self, path: &str) -> (StatusCode, Value) {
        self.exchange(Method::DELETE, path, Value::Null).await
    }

    /// Applies texts as files `0.yaml`, `1.yaml`, ….
    async fn try_apply(&self, texts: &[&str], more: Value) -> (StatusCode, Value) {
        let files: Vec<_> = texts
            .iter()
            .enumerate()
            .map(|(index, text)| json!({ "name": format!("{index}.yaml"), "text": text }))
            .collect();
        let mut request = json!({ "files": files, "managedBy": "cli" });
        for (name, value) in more.as_object().into_iter().flatten() {
            request[name] = value.clone();
        }
        self.exchange(Method::POST, "/v1/apply", request).await
    }

    /// Applies texts that must be accepted; gives the outcome of each object.
    async fn apply(&self, texts: &[&str]) -> Vec<String> {
        let (status, body) = self.try_apply(texts, Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{body:#}");
        outcomes(&body)
    }
}

/// `name outcome` of each object of an apply.
fn outcomes(body: &Value) -> Vec<String> {
    let objects = body["objects"].as_array().unwrap();
    let text = |object: &Value| {
        format!("{} {}", object["key"]["name"].as_str().unwrap(), object["outcome"].as_str().unwrap())
    };
    objects.iter().map(text).collect()
}

/// A stream of one JSON document a line, read line by line.
struct Watch {
    body: Incoming,
    rest: Vec<u8>,
}

impl Watch {
    async fn start_at(fixture: &Fixture, path: &str) -> Self {
        let response = fixture.send(Method::GET, path, "").await;
        assert_eq!(response.status(), StatusCode::OK);
        Watch { body: response.into_body(), rest: Vec::new() }
    }

    async fn next(&mut self) -> Value {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<_> = self.rest.drain(..=end).collect();
                return serde_json::from_slice(&line).unwrap();
            }
            let frame = tokio::time::timeout(SOON, self.body.frame()).await.expect("a line in time");
            self.rest.extend(frame.expect("the watch goes on").unwrap().into_data().unwrap());
        }
    }
}

fn settings(store: &Store) -> desired::Settings {
    desired::Settings {
        owner: Owner { instance: "test".to_owned(), installation: store.installation() },
        host: "h1".to_owned(),
        runtime_dir: "/run/bowline".to_owned(),
        bridge_dir: "/var/lib/bowline/bridge".to_owned(),
        gateway_image: "bowline/gateway:test".to_owned(),
        publish_address: [127, 0, 0, 1].into(),
        allow_private_remotes: false,
        ranges: Ranges {
            ports: "20000-20009".parse().unwrap(),
            uids: "1900000000-1900000099".parse().unwrap(),
            subnets: "10.213.0.0/24".parse().unwrap(),
        },
    }
}

const CATALOG: &str = "
apiVersion: bowline.dev/v1alpha1
kind: ClusterCatalog
metadata: { name: base }
spec:
  registry:
    time: { title: Time, description: The time, type: server, image: example/time, allowHosts: [] }
    fetch: { title: Fetch, description: Pages, type: server, image: example/fetch, allowHosts: [] }
";

fn gateway(namespace: &str, server: &str) -> String {
    format!(
        "
apiVersion: bowline.dev/v1alpha1
kind: Gateway
metadata: {{ namespace: {namespace}, name: default, labels: {{ team: data }} }}
spec: {{ catalogs: [base], servers: [{server}] }}
"
    )
}
