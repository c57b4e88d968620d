//! The way to remote servers: HTTP over the network, with every address looked at before it is dialled.
//!
//! A URL of a catalog is text that a tenant may have written, and the gateway stands in a network from which
//! the host and its neighbours can be reached. So a name is resolved once per connection, all of its addresses
//! are judged, and one of exactly these is dialled ([`dial`]); a redirect starts over, three times at most
//! ([`client`]); what comes back is bounded in time and size. No proxy variable is read.
//!
//! [`mod@streamable`] and [`mod@sse`] speak the two protocols of remote servers over it.

mod address;
mod client;
mod dial;
mod events;
mod pace;
mod sse;
mod streamable;
#[cfg(test)]
mod tests;

use std::time::Duration;

use hyper::StatusCode;

pub(crate) use self::client::HttpClient;
pub(crate) use self::dial::{DialError, Dialer};
pub(crate) use self::sse::SseTransport;
pub(crate) use self::streamable::streamable;

/// Redirects that are followed for one request.
const MOST_REDIRECTS: usize = 3;

/// Bytes of an answer that is no stream, and of the list of a server's tools altogether.
pub(crate) const MOST_ANSWER: usize = 8 << 20;

/// What a remote server may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caps {
    /// For resolving a name; for one attempt to connect, of which there are at most [`dial::MOST_ATTEMPTS`]; for
    /// the handshake of TLS.
    pub(crate) connect: Duration,
    /// From a request to the headers of its answer. Servers that answer with JSON have done the work by then, so
    /// this is never shorter than a call may last.
    pub(crate) answer: Duration,
    /// From the request for a stream to its headers and, in the older protocol, to its first event.
    pub(crate) stream: Duration,
    /// Between two parts of an answer that is no stream. Streams may be silent for as long as they like.
    pub(crate) idle: Duration,
    /// Bytes of an answer that is no stream.
    pub(crate) body: usize,
    /// Bytes of one event of a stream.
    pub(crate) event: usize,
}

impl Caps {
    /// The caps of a gateway whose calls may last for `call`.
    pub(crate) fn new(call: Duration) -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: call,
            stream: Duration::from_secs(30),
            idle: Duration::from_secs(30),
            body: MOST_ANSWER,
            event: 8 << 20,
        }
    }
}

/// Why a remote server did not answer, in words for its owner. No text of the server's is in it: that may be
/// anything, and this goes into logs and states.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    /// There is no connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// No headers in time.
    #[error("it did not answer within {} s", .0.as_secs())]
    Late(Duration),
    /// The body stopped.
    #[error("its answer stopped for {} s", .0.as_secs())]
    Stalled(Duration),
    /// The body or an event goes beyond its cap.
    #[error("its answer is larger than {} MiB", .0 >> 20)]
    TooLarge(usize),
    /// A status that means no.
    #[error("it answered {0}{hint}", hint = hint(*.0))]
    Status(StatusCode),
    /// Neither JSON nor events.
    #[error(
        "it answered with something else than JSON or server-sent events; is the URL that of an MCP server?"
    )]
    ContentType,
    /// JSON, and no message of the protocol.
    #[error("its answer is no JSON-RPC message")]
    Message,
    /// A message of the protocol, and no answer to the request.
    #[error("it answered something else than what it was asked")]
    Unasked,
    /// Not a stream of events.
    #[error("its stream of events cannot be read")]
    Events,
    /// One redirect too many.
    #[error("it redirects more than {MOST_REDIRECTS} times")]
    Redirects,
    /// A redirect without a place that can be dialled.
    #[error("it redirects to a place that is no http URL")]
    BadRedirect,
    /// A redirect that would lose the request's body, or what protects it.
    #[error("it redirects {0}; declare the URL that it leads to")]
    RefusedRedirect(&'static str),
    /// Of the older protocol: the stream does not begin with the URL for requests.
    #[error("its stream does not begin with an `endpoint` event of its own origin; is it an SSE server?")]
    NoEndpoint,
    /// The URL is none; the controller renders only good ones.
    #[error("its URL or a header cannot be sent")]
    BadRequest,
}

/// What to do about a status, where that can be said.
fn hint(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            ": it wants credentials that its entry does not give"
        }
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            "; is the URL that of an MCP server, and the transport the right one?"
        }
        _ => "",
    }
}
