//! A server's actor: one session after another, for ever.

use std::convert::Infallible;
use std::error::Error;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bowline_core::gateway_file::{RemotePlace, RemoteTransport, SERVER_SOCKET, ServerExit, ServerPlace};
use futures::FutureExt as _;
use rmcp::model::{PaginatedRequestParams, ProtocolVersion, Tool};
use rmcp::service::{ClientInitializeError, ClientLifecycleMode, ClientServiceExt as _, ServiceError};
use rmcp::transport::Transport;
use rmcp::transport::streamable_http_client::StreamableHttpError;
use rmcp::{Peer, RoleClient};
use tracing::warn;

use super::dock::Dock;
use super::link::{Client, ExitSlot, Link};
use super::{Session, Upstream};
use crate::backoff::Backoff;
use crate::plain::plain;
use crate::remote::{Caps, Dialer, HttpClient, MOST_ANSWER, RemoteError, SseTransport, streamable};

/// First and longest pause before a server is asked again.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A session that lived this long was a good one: the back-off starts over.
const STABLE: Duration = Duration::from_secs(30);
/// A remote server's tools are listed this often: no connection says that it has gone.
const REFRESH: Duration = Duration::from_secs(5 * 60);
/// From one listing of a session to the next: a server may say in a loop that its tools are different.
const BETWEEN_LISTINGS: Duration = Duration::from_secs(1);
/// Pages of one listing. A server that goes on for longer is not listing tools.
const MOST_PAGES: usize = 100;
/// Tools of one server: more than any client can make use of.
const MOST_TOOLS: usize = 4096;

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
    #[error("it lists more than {MOST_TOOLS} tools")]
    TooMany,
    #[error("its list of tools is larger than {} MiB", MOST_ANSWER >> 20)]
    TooLarge,
    #[error("{0}")]
    Remote(String),
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
            ClientInitializeError::TransportError { error, context } => match remote_reason(&error) {
                Some(reason) => Self::Remote(reason),
                None => Self::Initialize(format!("{error}, when {context}")),
            },
            other => Self::Initialize(other.to_string()),
        }
    }
}

impl From<ServiceError> for SessionEnd {
    fn from(error: ServiceError) -> Self {
        match remote_reason(&error) {
            Some(reason) => Self::Remote(reason),
            None => Self::List(error),
        }
    }
}

impl From<RemoteError> for SessionEnd {
    fn from(error: RemoteError) -> Self {
        Self::Remote(error.to_string())
    }
}

/// What the way to a remote server says of a failure, without the protocol library's words around it; `None` for a
/// failure that is about something else. Some of the words may be the server's.
pub(super) fn remote_reason(error: &(dyn Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(current) = cause {
        if let Some(reason) = current.downcast_ref::<RemoteError>() {
            return Some(plain(&reason.to_string()));
        }
        match current.downcast_ref::<StreamableHttpError<RemoteError>>() {
            Some(StreamableHttpError::Client(reason)) => return Some(plain(&reason.to_string())),
            Some(other) => return Some(plain(&other.to_string())),
            None => cause = current.source(),
        }
    }
    None
}

impl Upstream {
    pub(super) async fn run(&self) -> Infallible {
        match &self.server.place {
            ServerPlace::Bridge { directory, uid } => {
                self.run_bridged(self.means.sockets.join(directory).join(SERVER_SOCKET), *uid).await
            }
            ServerPlace::Remote(place) => self.run_remote(place).await,
        }
    }

    async fn run_bridged(&self, path: PathBuf, uid: u32) -> Infallible {
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        let mut era = ClientLifecycleMode::Initialize;
        let mut dock = loop {
            match Dock::open(&path, uid) {
                Ok(dock) => break dock,
                Err(error) => self.failed(&format!("the gateway cannot listen for it: {error}"), None),
            }
            tokio::time::sleep(backoff.pause()).await;
        };
        backoff.reset();
        loop {
            let connection = dock.claim().await;
            self.begin();
            let since = Instant::now();
            let exit = ExitSlot::default();
            let link = Link::bridged(connection, Arc::clone(&exit));
            let end = tokio::select! {
                Err(end) = self.session(async { Ok(link) }, era.clone(), None) => end,
                never = dock.tend() => match never {},
            };
            if since.elapsed() >= STABLE {
                backoff.reset();
            }
            if let SessionEnd::Refused(_) = end {
                era = other(&era);
            }
            let exit = exit.lock().unwrap_or_else(PoisonError::into_inner).take();
            self.failed(&sentence(&end, exit.as_ref()), exit);
            rest(&mut dock, &mut backoff).await;
        }
    }

    async fn run_remote(&self, place: &RemotePlace) -> Infallible {
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        let mut era = ClientLifecycleMode::Initialize;
        let caps = Caps::new(self.means.limits.call);
        loop {
            self.begin();
            let since = Instant::now();
            let end = match self.dial(place, caps) {
                // A client of its own for each session: no connection of the last one is left in it.
                Ok(client) => tokio::select! {
                    biased;
                    why = client.broken() => why.into(),
                    Err(end) = self.remote_session(client.clone(), place.transport, era.clone()) => end,
                },
                Err(end) => end,
            };
            if since.elapsed() >= STABLE {
                backoff.reset();
            }
            if let SessionEnd::Refused(_) = end {
                era = other(&era);
            }
            self.failed(&sentence(&end, None), None);
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    fn dial(&self, place: &RemotePlace, caps: Caps) -> Result<HttpClient, SessionEnd> {
        let dialer = Dialer::new(self.means.allow_private, caps.connect)
            .map_err(|error| SessionEnd::Remote(format!("TLS cannot be used: {error}")))?;
        Ok(HttpClient::new(place, dialer, caps)?)
    }

    async fn remote_session(
        &self,
        client: HttpClient,
        transport: RemoteTransport,
        era: ClientLifecycleMode,
    ) -> Result<Infallible, SessionEnd> {
        match transport {
            RemoteTransport::StreamableHttp => {
                self.session(async { Ok(Link::remote(streamable(client))) }, era, Some(REFRESH)).await
            }
            RemoteTransport::Sse => {
                let link = async { Ok(Link::remote(SseTransport::open(client).await?)) };
                self.session(link, era, Some(REFRESH)).await
            }
        }
    }

    /// One session, from the making of its link to its end. With `refresh`, the tools are listed that often, and
    /// the session ends when they cannot be.
    async fn session<T: Transport<RoleClient> + 'static>(
        &self,
        link: impl Future<Output = Result<Link<T>, SessionEnd>>,
        era: ClientLifecycleMode,
        refresh: Option<Duration>,
    ) -> Result<Infallible, SessionEnd> {
        let client = Client::default();
        let start = async {
            let link = link.await?;
            let progress = link.progress();
            let service = client.clone().serve_with_lifecycle(link, era).await?;
            let tools = list(&service).await?;
            Ok::<_, SessionEnd>((service, progress, tools))
        };
        let started = tokio::time::timeout(self.means.limits.start, start).await;
        let (service, progress, tools) = started.map_err(|_| SessionEnd::Late(self.means.limits.start))??;
        let peer = service.peer().clone();
        self.answered(Session { peer: peer.clone(), progress }, tools);

        let mut closed = pin!(service.waiting());
        loop {
            let rested = tokio::time::sleep(BETWEEN_LISTINGS);
            let mut must_answer = tokio::select! {
                _ = &mut closed => return Err(SessionEnd::Closed),
                () = client.tools_changed.notified() => false,
                () = self.doubt.notified() => true,
                () = elapsed(refresh) => true,
            };
            tokio::select! {
                _ = &mut closed => return Err(SessionEnd::Closed),
                () = rested => {}
            }
            // What has come meanwhile is answered by the same listing.
            let _ = client.tools_changed.notified().now_or_never();
            must_answer |= self.doubt.notified().now_or_never().is_some();
            let listed = tokio::select! {
                _ = &mut closed => return Err(SessionEnd::Closed),
                listed = tokio::time::timeout(self.means.limits.start, list(&peer)) => listed,
            };
            match listed.unwrap_or(Err(SessionEnd::Late(self.means.limits.start))) {
                Ok(tools) => self.offer(tools),
                Err(end) if must_answer => return Err(end),
                Err(error) => {
                    let reason = plain(&error.to_string());
                    warn!(server = self.server.name, reason, "changed tools not listed");
                }
            }
        }
    }
}

/// Completes after `pause`; never for `None`.
async fn elapsed(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
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
    let (mut tools, mut bytes, mut cursor) = (Vec::new(), 0, None);
    for _ in 0..MOST_PAGES {
        let params = cursor.map(|cursor| PaginatedRequestParams::default().with_cursor(Some(cursor)));
        let page = match peer.list_tools(params).await {
            // A server of prompts and resources alone need not know the question.
            Err(ServiceError::McpError(_)) if !announces_tools(peer) => return Ok(Vec::new()),
            answer => answer?,
        };
        bytes += serde_json::to_vec(&page.tools).map_or(0, |page| page.len());
        tools.extend(page.tools);
        if tools.len() > MOST_TOOLS {
            return Err(SessionEnd::TooMany);
        }
        if bytes > MOST_ANSWER {
            return Err(SessionEnd::TooLarge);
        }
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
