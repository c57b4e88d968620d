//! One server behind the gateway: its connection, its tools, its state.
//!
//! Every server is an actor of its own, so that one that hangs or dies delays nobody. It claims a connection
//! from the [`dock`], opens an MCP session on it, keeps the session until it ends, and after a back-off claims
//! the next. All clients of the gateway share that one session; JSON-RPC ids tell their calls apart.
//!
//! `initialize` is tried first although the newest protocol has none: every server in use answers it (those of
//! both eras included), while some older ones end when a `server/discover` comes before it. A server that
//! refuses `initialize` gets `server/discover` at the next connection.

mod call;
mod dock;
mod link;

use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bowline_core::gateway_file::{GatewayServer, ServerError, ServerExit, ServerPhase, ServerReport};
use chrono::Utc;
use rmcp::model::{Implementation, PaginatedRequestParams, ProtocolVersion, ServerPeerInfo, Tool};
use rmcp::service::{ClientInitializeError, ClientLifecycleMode, ClientServiceExt as _, ServiceError};
use rmcp::{Peer, RoleClient};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::digest::tools_digest;

pub use self::call::CallError;
use self::dock::Dock;
pub(crate) use self::dock::listen;
use self::link::{Client, ExitSlot, Link, ProgressRoutes};

/// First and longest pause before a server is asked again.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A session that lived this long was a good one: the back-off starts over.
const STABLE: Duration = Duration::from_secs(30);
/// Pages of one listing. A server that goes on for longer is not listing tools.
const MOST_PAGES: usize = 100;

/// How long a server may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the claim of a connection to the end of the first listing.
    pub start: Duration,
    /// For one call of a tool.
    pub call: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { start: Duration::from_secs(60), call: Duration::from_secs(5 * 60) }
    }
}

/// One server and what is known of it. Dropping it does not end its actor: [`Upstream::stop`] does.
#[derive(Debug)]
pub struct Upstream {
    server: GatewayServer,
    limits: Limits,
    state: Mutex<State>,
    /// Notified when the tools are different.
    changed: Arc<Notify>,
    actor: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct State {
    phase: ServerPhase,
    tools: Arc<[Tool]>,
    digest: Option<String>,
    info: Option<String>,
    attempts: u32,
    last_error: Option<ServerError>,
    session: Option<Session>,
}

/// The way to a server that answers.
#[derive(Debug, Clone)]
struct Session {
    peer: Peer<RoleClient>,
    progress: Arc<ProgressRoutes>,
}

/// Why a session ended or did not begin.
#[derive(Debug, thiserror::Error)]
enum SessionEnd {
    #[error("no answer within {} s of the start", .0.as_secs())]
    Late(Duration),
    #[error("the server ended the connection")]
    Closed,
    #[error("the server refused to begin a session: {0}")]
    Refused(String),
    #[error("the first exchange failed: {0}")]
    Initialize(String),
    #[error("its tools cannot be listed: {0}")]
    List(ServiceError),
    #[error("its list of tools has more than {MOST_PAGES} pages")]
    Endless,
}

impl From<ClientInitializeError> for SessionEnd {
    fn from(error: ClientInitializeError) -> Self {
        match error {
            ClientInitializeError::ConnectionClosed(_) => Self::Closed,
            ClientInitializeError::JsonRpcError(error) => Self::Refused(error.message.into_owned()),
            // The message that was not expected is the server's; its text is not for a log or a state.
            ClientInitializeError::ExpectedInitResponse(_) | ClientInitializeError::ExpectedInitResult(_) => {
                Self::Initialize("an answer of another kind".into())
            }
            other => Self::Initialize(other.to_string()),
        }
    }
}

impl Upstream {
    /// Starts the actor of `server`, which listens on the socket at `path` and notifies `changed` whenever
    /// other tools are to be offered.
    pub fn start(server: GatewayServer, path: PathBuf, limits: Limits, changed: Arc<Notify>) -> Arc<Self> {
        let state = Mutex::new(State {
            phase: ServerPhase::Starting,
            tools: Arc::new([]),
            digest: None,
            info: None,
            attempts: 0,
            last_error: None,
            session: None,
        });
        let upstream = Arc::new(Self { server, limits, state, changed, actor: Mutex::new(None) });
        let actor = Arc::clone(&upstream);
        let task = tokio::spawn(async move { match actor.run(path).await {} });
        *upstream.actor.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        upstream
    }

    /// Ends the actor: its session is closed and its socket is gone when this returns. Calls under way fail.
    pub async fn stop(&self) {
        let task = self.actor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            task.abort();
            let _ = task.await;
        }
        self.state().session = None;
    }

    /// The server as it was configured at the start of the actor.
    pub fn server(&self) -> &GatewayServer {
        &self.server
    }

    /// Tools of the last successful listing.
    pub fn tools(&self) -> Arc<[Tool]> {
        Arc::clone(&self.state().tools)
    }

    /// What the control socket says of the server.
    pub fn report(&self) -> ServerReport {
        let state = self.state();
        ServerReport {
            name: self.server.name.clone(),
            phase: state.phase,
            tools: u32::try_from(state.tools.len()).unwrap_or(u32::MAX),
            tools_digest: state.digest.clone(),
            server_info: state.info.clone(),
            restarts: state.attempts.saturating_sub(1),
            last_error: state.last_error.clone(),
        }
    }

    async fn run(&self, path: PathBuf) -> Infallible {
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        let mut era = ClientLifecycleMode::Initialize;
        let mut dock = loop {
            match Dock::open(&path, self.server.uid) {
                Ok(dock) => break dock,
                Err(error) => self.failed(format!("the gateway cannot listen for it: {error}"), None),
            }
            tokio::time::sleep(backoff.pause()).await;
        };
        backoff.reset();
        loop {
            let connection = dock.claim().await;
            self.begin();
            let since = Instant::now();
            let exit = ExitSlot::default();
            let session = self.session(connection, Arc::clone(&exit), era.clone());
            let end = tokio::select! {
                Err(end) = session => end,
                never = dock.tend() => match never {},
            };
            if since.elapsed() >= STABLE {
                backoff.reset();
            }
            if let SessionEnd::Refused(_) = end {
                era = other(&era);
            }
            let exit = exit.lock().unwrap_or_else(PoisonError::into_inner).take();
            self.failed(sentence(&end, exit.as_ref()), exit);
            rest(&mut dock, &mut backoff).await;
        }
    }

    /// One session, from the first byte to its end.
    async fn session(
        &self,
        connection: UnixStream,
        exit: ExitSlot,
        era: ClientLifecycleMode,
    ) -> Result<Infallible, SessionEnd> {
        let (client, progress) = (Client::default(), Arc::<ProgressRoutes>::default());
        let link = Link::new(connection, exit, Arc::clone(&progress));
        let start = async {
            let service = client.clone().serve_with_lifecycle(link, era).await?;
            let tools = list(&service).await?;
            Ok::<_, SessionEnd>((service, tools))
        };
        let started = tokio::time::timeout(self.limits.start, start).await;
        let (service, tools) = started.map_err(|_| SessionEnd::Late(self.limits.start))??;
        let peer = service.peer().clone();
        self.answered(Session { peer: peer.clone(), progress }, tools);

        let mut closed = pin!(service.waiting());
        loop {
            tokio::select! {
                _ = &mut closed => return Err(SessionEnd::Closed),
                () = client.tools_changed.notified() => {}
            }
            let listed = tokio::select! {
                _ = &mut closed => return Err(SessionEnd::Closed),
                listed = tokio::time::timeout(self.limits.start, list(&peer)) => listed,
            };
            match listed {
                Ok(Ok(tools)) => self.offer(tools),
                Ok(Err(error)) => warn!(server = self.server.name, %error, "changed tools not listed"),
                Err(_) => warn!(server = self.server.name, "changed tools not listed in time"),
            }
        }
    }

    /// A connection has been claimed.
    fn begin(&self) {
        let mut state = self.state();
        state.phase = ServerPhase::Starting;
        state.attempts = state.attempts.saturating_add(1);
    }

    /// The first exchange and the listing are done.
    fn answered(&self, session: Session, tools: Vec<Tool>) {
        let info = session.peer.peer_info();
        let info = info.as_deref().and_then(|info: &ServerPeerInfo| info.server_info.as_ref());
        info!(server = self.server.name, tools = tools.len(), "server running");
        {
            let mut state = self.state();
            state.phase = ServerPhase::Running;
            state.info = info.map(|Implementation { name, version, .. }| format!("{name} {version}"));
            state.session = Some(session);
        }
        self.offer(tools);
    }

    fn offer(&self, tools: Vec<Tool>) {
        let mut state = self.state();
        state.digest = Some(tools_digest(&tools));
        state.tools = tools.into();
        drop(state);
        self.changed.notify_one();
    }

    fn failed(&self, message: String, exit: Option<ServerExit>) {
        let (code, signal) = exit.as_ref().map_or((None, None), |exit| (exit.code, exit.signal));
        warn!(server = self.server.name, reason = message, code, signal, "server failed");
        let mut state = self.state();
        state.phase = ServerPhase::Failed;
        state.session = None;
        state.last_error = Some(ServerError { message, exit, at: Utc::now() });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is a few assignments: a panic elsewhere leaves the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pause before the next attempt. Another bridge shortens it: what failed before was another container.
async fn rest(dock: &mut Dock, backoff: &mut Backoff) {
    let mut until = tokio::time::Instant::now() + backoff.pause();
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(until) => return,
            () = dock.renewed() => {
                backoff.reset();
                until = until.min(tokio::time::Instant::now() + backoff.pause());
            }
        }
    }
}

/// All tools of a server, page by page.
async fn list(peer: &Peer<RoleClient>) -> Result<Vec<Tool>, SessionEnd> {
    let (mut tools, mut cursor) = (Vec::new(), None);
    for _ in 0..MOST_PAGES {
        let params = cursor.map(|cursor| PaginatedRequestParams::default().with_cursor(Some(cursor)));
        let page = match peer.list_tools(params).await {
            // A server of prompts and resources alone need not know the question.
            Err(ServiceError::McpError(_)) if !announces_tools(peer) => return Ok(Vec::new()),
            answer => answer.map_err(SessionEnd::List)?,
        };
        tools.extend(page.tools);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(tools);
        }
    }
    Err(SessionEnd::Endless)
}

fn announces_tools(peer: &Peer<RoleClient>) -> bool {
    peer.peer_info().is_some_and(|info| info.capabilities.tools.is_some())
}

/// The way to begin a session that is tried after this one was refused.
fn other(era: &ClientLifecycleMode) -> ClientLifecycleMode {
    match era {
        ClientLifecycleMode::Initialize => {
            ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::LATEST] }
        }
        _ => ClientLifecycleMode::Initialize,
    }
}

/// Why a session ended, in one sentence: the end of the process says more than the end of the connection.
fn sentence(end: &SessionEnd, exit: Option<&ServerExit>) -> String {
    match exit {
        Some(ServerExit { code: Some(code), .. }) => format!("its process ended with code {code}"),
        Some(ServerExit { signal: Some(signal), .. }) => format!("its process was ended by signal {signal}"),
        _ => end.to_string(),
    }
}
