//! A proxy in front of the Engine's socket that writes down every request, and lets a test step in at any of them.
//!
//! It forwards each request over a connection of its own and streams both bodies through, so events, logs and
//! pulls pass as they come, and a hijacked connection (attach, exec) becomes a plain two-way copy.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;

/// One request, as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its place among all requests, from 1.
    pub number: usize,
    /// Its place among the mutating requests, from 1; `None` for one that only reads.
    pub mutation: Option<usize>,
    /// The HTTP method.
    pub method: String,
    /// Path and query, without the version of the API.
    pub target: String,
    /// The status of the Engine's answer, once there is one.
    pub status: Option<u16>,
}

/// When a test steps in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The request was read and the Engine has not seen it.
    BeforeForward,
    /// The Engine has answered and the client has not seen it.
    AfterReply,
}

/// What becomes of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Pass,
    /// The client's connection is closed without an answer.
    Cut,
}

/// Called at both moments of every request, on a thread of its own: it may block, and so hold that request alone.
type Hook = Arc<dyn Fn(&Call, Moment) -> Verdict + Send + Sync>;

/// The proxy; it ends when it is dropped.
pub struct RecordingProxy {
    folder: TempDir,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

struct Shared {
    upstream: PathBuf,
    calls: Mutex<Vec<Call>>,
    hook: Mutex<Option<Hook>>,
}

impl RecordingProxy {
    /// Listens on a socket of its own in front of the given one.
    #[must_use]
    pub fn start(upstream: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("bowline-proxy-").tempdir_in("/tmp").expect("a folder");
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            calls: Mutex::default(),
            hook: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime for the proxy");
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(folder.path().join("docker.sock")).expect("the proxy's socket")
        };
        runtime.spawn(accept(listener, Arc::clone(&shared)));
        Self { folder, shared, runtime: Some(runtime) }
    }

    /// The proxy's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    /// Every request since the start or the last [`Self::forget`].
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.shared.calls).clone()
    }

    /// Of these, the ones that change something.
    #[must_use]
    pub fn mutations(&self) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.mutation.is_some()).collect()
    }

    /// Begins a new list; numbers start from 1 again.
    pub fn forget(&self) {
        lock(&self.shared.calls).clear();
    }

    /// Has `hook` decide about every request from now on.
    pub fn arm(&self, hook: impl Fn(&Call, Moment) -> Verdict + Send + Sync + 'static) {
        *lock(&self.shared.hook) = Some(Arc::new(hook));
    }

    /// Calls `act` once, at this moment of the k-th mutating request, and cuts that request.
    pub fn arm_at(&self, k: usize, moment: Moment, act: impl Fn() + Send + Sync + 'static) {
        self.arm(move |call, now| {
            if call.mutation == Some(k) && now == moment {
                act();
                Verdict::Cut
            } else {
                Verdict::Pass
            }
        });
    }

    /// Lets every request pass again.
    pub fn disarm(&self) {
        *lock(&self.shared.hook) = None;
    }
}

impl Drop for RecordingProxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A hook may hold a request for ever; nobody waits for it any more.
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: UnixListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(move |request| forward(request, Arc::clone(&shared)));
            // An error is the end of this connection: a client that went away, or one that a hook cut.
            let _ended = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
        });
    }
}

/// Why a client's connection ends without an answer.
#[derive(Debug)]
enum Broken {
    ByHook,
    Upstream(Box<dyn std::error::Error + Send + Sync>),
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ByHook => f.write_str("cut by the test"),
            Self::Upstream(error) => write!(f, "the Engine's socket: {error}"),
        }
    }
}

impl std::error::Error for Broken {}

impl Broken {
    fn upstream(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Upstream(error.into())
    }
}

async fn forward(mut request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Incoming>, Broken> {
    let call = shared.record(&request);
    shared.ask(&call, Moment::BeforeForward).await?;

    let stream = UnixStream::connect(&shared.upstream).await.map_err(Broken::upstream)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(Broken::upstream)?;
    tokio::spawn(connection.with_upgrades());
    let client_side = hyper::upgrade::on(&mut request);
    let mut response = sender.send_request(request).await.map_err(Broken::upstream)?;

    let call = shared.answered(&call, response.status());
    shared.ask(&call, Moment::AfterReply).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let engine_side = hyper::upgrade::on(&mut response);
        tokio::spawn(async move {
            if let (Ok(client), Ok(engine)) = tokio::join!(client_side, engine_side) {
                let _ended =
                    tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(engine)).await;
            }
        });
    }
    Ok(response)
}

impl Shared {
    fn record(&self, request: &Request<Incoming>) -> Call {
        let target = request.uri().path_and_query().map_or("/", |both| both.as_str());
        let target = without_version(target);
        let mut calls = lock(&self.calls);
        let mutation = mutates(request.method(), target)
            .then(|| 1 + calls.iter().filter(|earlier| earlier.mutation.is_some()).count());
        let call = Call {
            number: calls.len() + 1,
            mutation,
            method: request.method().to_string(),
            target: target.to_owned(),
            status: None,
        };
        calls.push(call.clone());
        call
    }

    fn answered(&self, call: &Call, status: StatusCode) -> Call {
        let answered = Call { status: Some(status.as_u16()), ..call.clone() };
        // After a `forget` the number may belong to another request.
        if let Some(entry) = lock(&self.calls).get_mut(call.number - 1).filter(|entry| *entry == call) {
            entry.status = answered.status;
        }
        answered
    }

    async fn ask(&self, call: &Call, moment: Moment) -> Result<(), Broken> {
        let Some(hook) = lock(&self.hook).clone() else {
            return Ok(());
        };
        let call = call.clone();
        match tokio::task::spawn_blocking(move || hook(&call, moment)).await {
            Ok(Verdict::Pass) => Ok(()),
            // A hook that panics has told its thread's output why; the request must not look as if all were well.
            Ok(Verdict::Cut) | Err(_) => Err(Broken::ByHook),
        }
    }
}

/// A poisoned lock still holds a whole list: every critical section here is one assignment or one push.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The target without its leading `/v1.41`.
fn without_version(target: &str) -> &str {
    let Some(rest) = target.strip_prefix("/v") else {
        return target;
    };
    match rest.find('/') {
        Some(end) if rest[..end].bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => &rest[end..],
        _ => target,
    }
}

/// Whether a request changes anything. To wait for a container is a POST that does not.
fn mutates(method: &Method, target: &str) -> bool {
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    !(method == Method::GET || method == Method::HEAD || path.ends_with("/wait"))
}

#[cfg(test)]
mod tests;
