//! What MCP clients reach: `/health`, and `/mcp` behind the checks of host, origin and token.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bowline_core::gateway_file::{HEALTH_PATH, MCP_PATH};
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, BodyStream, StreamBody};
use hyper::body::Incoming;
use hyper::http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::{Method, Request};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use tracing::warn;

use super::{Answer, Reply, plain};
use crate::auth::{Grant, Throttle};
use crate::gateway::Gateway;
use crate::guard::{host_is_served, origin_is_served};
use crate::handler::{Audience, Handler};
use crate::sessions::Sessions;

/// The name that the protocol gives to the header of a session.
const SESSION_HEADER: &str = "mcp-session-id";
/// Largest request of a client.
const BODY_BYTES: usize = 4 * 1024 * 1024;

/// The clients' side of a gateway.
pub struct Front {
    gateway: Arc<Gateway>,
    audience: Arc<Audience>,
    sessions: Sessions,
    throttle: Mutex<Throttle>,
    mcp: StreamableHttpService<Handler, LocalSessionManager>,
}

/// Why a request does not reach the MCP endpoint.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    Host,
    Origin,
    /// No token, or one that is not good; the protocol asks for the same answer.
    Token,
    /// Too many bad tokens; the next one is looked at after this time.
    Throttled(Duration),
}

impl Front {
    /// The clients' side of `gateway`.
    pub fn new(gateway: Arc<Gateway>) -> Self {
        let (audience, sessions) = (Arc::<Audience>::default(), Sessions::new());
        // Host and origin are checked here, against a list that changes without a restart.
        let config = StreamableHttpServerConfig::default()
            .disable_allowed_hosts()
            .disable_allowed_origins()
            .with_max_request_body_bytes(BODY_BYTES);
        let handler = Handler::new(Arc::clone(&gateway), Arc::clone(&audience));
        let mcp = StreamableHttpService::new(move || Ok(handler.clone()), sessions.manager(), config);
        Self { gateway, audience, sessions, throttle: Mutex::new(Throttle::new(Instant::now())), mcp }
    }

    /// Tells clients with a session whenever the tools are different, for ever.
    pub async fn keep_clients_informed(&self) {
        self.audience.keep_informed(&self.gateway).await;
    }

    /// Closes the sessions of tokens that have been revoked or have expired.
    pub async fn close_ended_sessions(&self) {
        self.sessions.close_ended().await;
    }

    /// Host and origin come first: a page that is refused by them must not even learn whether a token is good.
    fn admit(&self, request: &Request<Incoming>) -> Result<Grant, Refusal> {
        let allowed = &self.gateway.file().allowed_hosts;
        if !host_is_served(request.uri(), request.headers(), allowed) {
            return Err(Refusal::Host);
        }
        if !origin_is_served(request.headers(), allowed) {
            return Err(Refusal::Origin);
        }
        // Nothing is guessed without a token, and clients begin so to learn that they need one.
        let token = bearer(request.headers()).ok_or(Refusal::Token)?;
        self.gateway.verify(token).ok_or_else(|| {
            let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
            match throttle.failure(Instant::now()) {
                Ok(()) => Refusal::Token,
                Err(wait) => Refusal::Throttled(wait),
            }
        })
    }

    async fn serve_mcp(&self, request: Request<Incoming>, grant: Grant) -> Reply {
        let session = request.headers().get(SESSION_HEADER).map(|value| value.to_str().unwrap_or_default());
        if session.is_some_and(|session| !self.sessions.may_use(session, &grant)) {
            return plain(StatusCode::NOT_FOUND, "session not found\n");
        }
        let ending = request.method() == Method::DELETE;
        let mut answered = tokio::select! {
            reply = self.mcp.handle(request) => reply,
            () = grant.clone().ended() => return refuse(&Refusal::Token),
        };
        // The answer that the protocol names; clients complain about 202.
        if ending && answered.status() == StatusCode::ACCEPTED {
            *answered.status_mut() = StatusCode::NO_CONTENT;
        }
        let opened = answered.headers().get(SESSION_HEADER).and_then(|value| value.to_str().ok());
        if let Some(session) = opened {
            self.sessions.opened(session, grant.clone()).await;
        }
        // A stream that is open when its token ends is cut.
        answered.map(|body| {
            let end = Box::pin(grant.ended());
            StreamBody::new(BodyStream::new(body).take_until(end)).boxed_unsync()
        })
    }
}

impl Answer for Front {
    async fn answer(&self, request: Request<Incoming>) -> Reply {
        match request.uri().path() {
            HEALTH_PATH => health(request.method()),
            MCP_PATH => match self.admit(&request) {
                Ok(grant) => self.serve_mcp(request, grant).await,
                Err(refusal) => {
                    // What is throttled is not written down either: it would fill the log.
                    if !matches!(refusal, Refusal::Throttled(_)) {
                        warn!(reason = ?refusal, "request refused");
                    }
                    refuse(&refusal)
                }
            },
            _ => plain(StatusCode::NOT_FOUND, "not found\n"),
        }
    }
}

/// That the process answers, and nothing about it or its servers.
pub(super) fn health(method: &Method) -> Reply {
    match *method {
        Method::GET | Method::HEAD => plain(StatusCode::OK, ""),
        _ => plain(StatusCode::METHOD_NOT_ALLOWED, ""),
    }
}

fn refuse(refusal: &Refusal) -> Reply {
    match refusal {
        Refusal::Host => plain(StatusCode::FORBIDDEN, "this host name is not served here\n"),
        Refusal::Origin => plain(StatusCode::FORBIDDEN, "this origin is not served here\n"),
        Refusal::Token => {
            let mut reply = plain(StatusCode::UNAUTHORIZED, "a valid bearer token is needed\n");
            let challenge = HeaderValue::from_static("Bearer realm=\"bowline\"");
            reply.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            reply
        }
        Refusal::Throttled(wait) => {
            let mut reply = plain(StatusCode::TOO_MANY_REQUESTS, "too many invalid tokens\n");
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            reply
        }
    }
}

/// The token of the only `Authorization` header, if it is a bearer's.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_read_whatever_the_case_of_its_scheme() {
        let table: [(&[&str], Option<&[u8]>); 7] = [
            (&["Bearer abc"], Some(b"abc")),
            (&["bearer  abc "], Some(b"abc")),
            (&["Bearer "], Some(b"")),
            (&["Basic abc"], None),
            (&["Bearer"], None),
            (&["Bearer abc", "Bearer abc"], None),
            (&[], None),
        ];
        for (values, expected) in table {
            let headers: HeaderMap =
                values.iter().map(|value| (header::AUTHORIZATION, value.parse().unwrap())).collect();
            assert_eq!(bearer(&headers), expected, "{values:?}");
        }
    }

    #[test]
    fn the_time_to_wait_is_rounded_up_to_whole_seconds() {
        let reply = refuse(&Refusal::Throttled(Duration::from_millis(1100)));
        assert_eq!(reply.headers()[header::RETRY_AFTER], "2");
    }
}
