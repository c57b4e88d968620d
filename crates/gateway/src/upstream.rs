//! One server behind the gateway: its connection, its tools, its state.
//!
//! Every server is an actor of its own, so that one that hangs or dies delays nobody. It claims a connection
//! from the [`dock`] or dials a [`remote`](crate::remote) server, opens an MCP session, keeps it until it ends, and
//! after a back-off begins the next ([`run`]). All clients of the gateway share that one session; JSON-RPC ids tell
//! their calls apart.
//!
//! `initialize` is tried first although the newest protocol has none: every server in use answers it (those of
//! both eras included), while some older ones end when a `server/discover` comes before it. A server that
//! refuses `initialize` gets `server/discover` at the next connection.

mod call;
mod dock;
mod link;
mod run;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bowline_core::gateway_file::{
    GatewayServer, ServerError, ServerExit, ServerPhase, ServerPlace, ServerReport,
};
use bowline_core::tool_filter::ToolFilter;
use chrono::Utc;
use rmcp::model::{Implementation, ServerPeerInfo, Tool};
use rmcp::{Peer, RoleClient};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::digest::tools_digest;
use crate::plain::plain;

pub use self::call::CallError;
pub(crate) use self::dock::listen;
use self::link::ProgressRoutes;

/// Bytes of standard error in one answer of the control socket, shared out among the servers: however many there
/// are, and whatever they say, the answer stays below the 1 MiB that the controller reads.
const TAILS: usize = 192 << 10;

/// How long a server may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the claim of a connection, or from dialling, to the end of the first listing.
    pub start: Duration,
    /// For one call of a tool.
    pub call: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { start: Duration::from_secs(60), call: Duration::from_secs(5 * 60) }
    }
}

/// What an actor works with; the same for all servers of a gateway.
#[derive(Debug, Clone)]
pub struct Means {
    /// Directory with a directory for the socket of each server with a bridge.
    pub sockets: PathBuf,
    /// How long a server may take.
    pub limits: Limits,
    /// Whether a remote server may be at a private or a loopback address.
    pub allow_private: bool,
    /// Notified whenever other tools are to be offered.
    pub changed: Arc<Notify>,
}

/// One server and what is known of it. Dropping it does not end its actor: [`Upstream::stop`] does.
#[derive(Debug)]
pub struct Upstream {
    server: GatewayServer,
    means: Means,
    state: Mutex<State>,
    /// Notified when a call did not get through to a remote server: is the session still good?
    doubt: Notify,
    actor: Mutex<Option<JoinHandle<()>>>,
}

/// What is known of a server: nothing here grows with what it says, except for its tools.
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

impl Upstream {
    fn without_actor(server: GatewayServer, means: Means) -> Self {
        let state = Mutex::new(State {
            phase: ServerPhase::Starting,
            tools: Arc::new([]),
            digest: None,
            info: None,
            attempts: 0,
            last_error: None,
            session: None,
        });
        Self { server, means, state, doubt: Notify::new(), actor: Mutex::new(None) }
    }

    /// Starts the actor of `server`, which listens for its bridge or dials it.
    pub fn start(server: GatewayServer, means: Means) -> Arc<Self> {
        let upstream = Arc::new(Self::without_actor(server, means));
        let actor = Arc::clone(&upstream);
        let task = tokio::spawn(async move { match actor.run().await {} });
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

    /// Whether the actor can stay when the file describes its server as `server`. A `prefix` and `tools` concern
    /// the table of tools only, private addresses only those that are dialled.
    pub fn fits(&self, server: &GatewayServer, allow_private: bool) -> bool {
        let GatewayServer { name, place, prefix: _, tools: _ } = server;
        let is_remote = matches!(place, ServerPlace::Remote(_));
        (name, place) == (&self.server.name, &self.server.place)
            && (!is_remote || allow_private == self.means.allow_private)
    }

    /// Tools of the last successful listing, all of them.
    pub fn tools(&self) -> Arc<[Tool]> {
        Arc::clone(&self.state().tools)
    }

    /// What the control socket says of the server as one of `servers`. Of its tools, those of `filter` are offered.
    pub fn report(&self, filter: &ToolFilter, servers: usize) -> ServerReport {
        let state = self.state();
        let offered = state.tools.iter().filter(|tool| filter.offers(&tool.name)).count();
        ServerReport {
            name: self.server.name.clone(),
            phase: state.phase,
            tools: u32::try_from(offered).unwrap_or(u32::MAX),
            tools_digest: state.digest.clone(),
            server_info: state.info.clone(),
            restarts: state.attempts.saturating_sub(1),
            last_error: state.last_error.as_ref().map(|error| shortened(error, TAILS / servers.max(1))),
        }
    }

    /// A connection has been claimed, or is being made.
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
            state.info = info.map(|Implementation { name, version, .. }| plain(&format!("{name} {version}")));
            state.session = Some(session);
        }
        self.offer(tools);
    }

    fn offer(&self, tools: Vec<Tool>) {
        let mut state = self.state();
        state.digest = Some(tools_digest(&tools));
        state.tools = tools.into();
        drop(state);
        self.means.changed.notify_one();
    }

    /// The attempt or the connection has ended. The message may be the server's.
    fn failed(&self, message: &str, exit: Option<ServerExit>) {
        let message = plain(message);
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

/// The error with the last lines of standard error that have at most `tail` bytes together.
fn shortened(error: &ServerError, tail: usize) -> ServerError {
    let mut error = error.clone();
    if let Some(exit) = &mut error.exit {
        let mut left = tail;
        let kept = exit.stderr.iter().rev().take_while(|line| match left.checked_sub(line.len()) {
            Some(rest) => {
                left = rest;
                true
            }
            None => false,
        });
        let first = exit.stderr.len() - kept.count();
        exit.stderr.drain(..first);
    }
    error
}

#[cfg(test)]
mod tests;
