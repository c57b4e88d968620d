//! HTTP with server-sent events, the transport of 2024-11-05: one stream that brings all messages, and another
//! URL, named by its first event, to which messages are posted.

use bytes::Bytes;
use futures::StreamExt as _;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Uri};
use rmcp::RoleClient;
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use rmcp::transport::common::http_header::{EVENT_STREAM_MIME_TYPE, JSON_MIME_TYPE};
use tracing::warn;

use super::client::{Answer, join, origin};
use super::events::{Events, explain};
use super::streamable::is;
use super::{HttpClient, RemoteError};

/// Bodies of answers to messages have nothing in them that is read; this much is, so that the connection serves
/// again.
const MOST_IGNORED: u64 = 64 << 10;

/// A session with a server of the older protocol: it lasts as long as its stream.
pub(crate) struct SseTransport {
    client: HttpClient,
    endpoint: Uri,
    events: Events,
}

impl SseTransport {
    /// Opens the stream and waits for its first event.
    ///
    /// # Errors
    /// When there is no stream, or it does not say where messages go.
    pub(crate) async fn open(client: HttpClient) -> Result<Self, RemoteError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(EVENT_STREAM_MIME_TYPE));
        let Answer { uri, response } =
            client.send(&Method::GET, client.uri(), &headers, &Bytes::new()).await?;
        if !response.status().is_success() {
            return Err(RemoteError::Status(response.status()));
        }
        if !is(&response, EVENT_STREAM_MIME_TYPE) {
            return Err(RemoteError::ContentType);
        }
        let mut events = client.events(response);
        let limit = client.caps().stream;
        let first = tokio::time::timeout(limit, events.next()).await.map_err(|_| RemoteError::Late(limit))?;
        let first = first.ok_or(RemoteError::NoEndpoint)?.map_err(|error| explain(&error))?;
        let is_endpoint = first.event.as_deref() == Some("endpoint");
        let endpoint = first.data.filter(|_| is_endpoint).and_then(|data| join(&uri, data.trim()));
        // Of the origin that answered: a stream must not send the messages to somebody else.
        let endpoint = endpoint.filter(|endpoint| origin(endpoint) == origin(&uri));
        Ok(Self { client, endpoint: endpoint.ok_or(RemoteError::NoEndpoint)?, events })
    }
}

impl Transport<RoleClient> for SseTransport {
    type Error = RemoteError;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), RemoteError>> + Send + 'static {
        let (client, endpoint) = (self.client.clone(), self.endpoint.clone());
        async move {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON_MIME_TYPE));
            let body = serde_json::to_vec(&message).map_err(|_| RemoteError::BadRequest)?;
            let answer = client.send(&Method::POST, &endpoint, &headers, &Bytes::from(body)).await?;
            let status = answer.response.status();
            if !status.is_success() {
                return Err(RemoteError::Status(status));
            }
            let length = hyper::body::Body::size_hint(answer.response.body()).upper();
            if length.is_some_and(|length| length <= MOST_IGNORED) {
                // Best effort: the message has been taken.
                let _ = client.read(answer.response).await;
            }
            Ok(())
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            let event = match self.events.next().await? {
                Ok(event) => event,
                Err(error) => {
                    self.client.break_off(explain(&error));
                    return None;
                }
            };
            if event.event.is_some_and(|kind| kind != "message") {
                continue;
            }
            let Some(data) = event.data.filter(|data| !data.trim().is_empty()) else {
                continue;
            };
            match serde_json::from_str(&data) {
                Ok(message) => return Some(message),
                Err(error) => {
                    // Where, not what: the text is the server's.
                    let (host, line, column) = (self.client.uri().host(), error.line(), error.column());
                    warn!(host, line, column, "event that is no message skipped");
                }
            }
        }
    }

    async fn close(&mut self) -> Result<(), RemoteError> {
        self.events = futures::stream::empty().boxed();
        Ok(())
    }
}
