//! The command line's side of the API: one connection per request over a unix socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bowline_api::problem::Problem;
use bowline_core::object::{GatewayKey, Kind, ObjectKey};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::Failure;

/// How long the API may take to begin an answer.
const DEADLINE: Duration = Duration::from_secs(60);

/// A client for one API.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    socket: PathBuf,
}

/// A request that has no good answer.
#[derive(Debug)]
pub(crate) enum RequestError {
    /// Nobody listens, or may be listened to.
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The API refused.
    Refused(Box<Problem>),
    /// The connection broke, or the answer cannot be read.
    Broken(String),
}

impl RequestError {
    /// The status of a refusal.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            RequestError::Refused(problem) => Some(problem.status),
            RequestError::Unreachable { .. } | RequestError::Broken(_) => None,
        }
    }

    /// Whether the same request may succeed a moment later: the API or what it needs is away.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            RequestError::Refused(problem) => problem.status == StatusCode::SERVICE_UNAVAILABLE,
            RequestError::Unreachable { .. } | RequestError::Broken(_) => true,
        }
    }
}

impl From<Problem> for RequestError {
    fn from(problem: Problem) -> Self {
        RequestError::Refused(Box::new(problem))
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Unreachable { socket, source } => {
                let hint = match source.kind() {
                    std::io::ErrorKind::PermissionDenied => {
                        "run it as root, or as the account of `bowline serve`"
                    }
                    _ => "is `bowline serve` running? --server or BOWLINE_SERVER names another socket",
                };
                Failure::ours(format!("cannot reach the API at {}", socket.display()))
                    .because(&source)
                    .hint(hint)
            }
            RequestError::Broken(message) => Failure::ours(message),
            RequestError::Refused(problem) => {
                let Problem { status, detail, hint, diagnostics, request_id, .. } = *problem;
                if status >= 500 {
                    let id = request_id.map(|id| format!(" (request {id})")).unwrap_or_default();
                    return Failure::ours(format!("{detail}{id}")).maybe_hint(hint.map(String::from));
                }
                Failure::user(detail).maybe_hint(hint.map(String::from)).with_diagnostics(diagnostics)
            }
        }
    }
}

/// An answer that comes line by line.
pub(crate) struct Stream {
    body: Incoming,
    rest: Vec<u8>,
}

impl Stream {
    /// The next piece of the answer; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, RequestError> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(broken(&error)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The next line without its end; `None` at the end of the answer.
    pub(crate) async fn line(&mut self) -> Result<Option<Vec<u8>>, RequestError> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let rest = self.rest.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.rest, rest);
                line.pop();
                return Ok(Some(line));
            }
            match self.chunk().await? {
                Some(data) => self.rest.extend_from_slice(&data),
                None => return Ok(None),
            }
        }
    }
}

impl Client {
    /// A client for the API at this socket.
    pub(crate) fn new(socket: PathBuf) -> Self {
        Client { socket }
    }

    /// The socket.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Reads what is at `path`.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, RequestError> {
        self.exchange(Method::GET, path, None::<&()>).await
    }

    /// Sends `body` to `path`.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, RequestError> {
        self.exchange(Method::POST, path, Some(body)).await
    }

    /// Replaces what is at `path` by `body`.
    pub(crate) async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, RequestError> {
        self.exchange(Method::PUT, path, Some(body)).await
    }

    /// Deletes what is at `path`.
    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, RequestError> {
        self.exchange(Method::DELETE, path, None::<&()>).await
    }

    /// Reads what is at `path` as it comes.
    pub(crate) async fn stream(&self, path: &str) -> Result<Stream, RequestError> {
        let response = self.send(Method::GET, path, Bytes::new()).await?;
        Ok(Stream { body: response.into_body(), rest: Vec::new() })
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, RequestError> {
        let body = body.map(serde_json::to_vec).transpose().map_err(|error| broken(&error))?;
        let response = self.send(method, path, body.unwrap_or_default().into()).await?;
        let body = response.into_body().collect().await.map_err(|error| broken(&error))?.to_bytes();
        serde_json::from_slice(&body).map_err(|error| broken(&error))
    }

    /// Sends a request and waits for the head of a good answer.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, RequestError> {
        let unreachable = |source| RequestError::Unreachable { socket: self.socket.clone(), source };
        let stream = bowline_api::connect(&self.socket).await.map_err(unreachable)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(&error))?;
        // Ends with the last byte of the answer, or when the answer is dropped.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "bowline")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| broken(&error))?;
        let response = tokio::time::timeout(DEADLINE, sender.send_request(request))
            .await
            .map_err(|_elapsed| RequestError::Broken("the API did not answer within a minute".to_owned()))?
            .map_err(|error| broken(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|error| broken(&error))?.to_bytes();
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Err(problem.into()),
            Err(_) => Err(RequestError::Broken(format!("the API answered {status} without a reason"))),
        }
    }
}

fn broken(error: &(dyn std::error::Error + 'static)) -> RequestError {
    RequestError::Broken(format!("the exchange with the API broke: {error}"))
}

/// Path of an object.
pub(crate) fn object_path(key: &ObjectKey) -> String {
    match (&key.namespace, key.kind) {
        (Some(namespace), kind) => format!("/v1/namespaces/{namespace}/{}/{}", kind.plural(), key.name),
        (None, kind) => format!("/v1/{}/{}", kind.plural(), key.name),
    }
}

/// Path of a gateway.
pub(crate) fn gateway_path(key: &GatewayKey) -> String {
    object_path(&ObjectKey::gateway(&key.namespace, &key.name))
}

/// Path of all objects of a kind, of one namespace or of all.
pub(crate) fn list_path(kind: Kind, namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) if kind.is_namespaced() => format!("/v1/namespaces/{namespace}/{}", kind.plural()),
        _ => format!("/v1/{}", kind.plural()),
    }
}

/// `path` with a query of the pairs that have a value.
pub(crate) fn with_query(path: &str, pairs: &[(&str, Option<String>)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    match query.finish() {
        query if query.is_empty() => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}
