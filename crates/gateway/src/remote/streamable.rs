//! Streamable HTTP: one URL, to which messages are posted and which may answer with a stream of events.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode, Uri};
use rmcp::model::{ClientJsonRpcMessage, ClientRequest, JsonRpcMessage, RequestId, ServerJsonRpcMessage};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::common::client_side_sse::ExponentialBackoff;
use rmcp::transport::common::http_header::{
    EVENT_STREAM_MIME_TYPE, HEADER_LAST_EVENT_ID, HEADER_SESSION_ID, JSON_MIME_TYPE,
};
use rmcp::transport::streamable_http_client::{
    SseError, StreamableHttpClient, StreamableHttpClientTransportConfig, StreamableHttpError,
    StreamableHttpPostResponse,
};
use sse_stream::Sse;

use super::pace::paced;
use super::{HttpClient, RemoteError};

/// Calls of a server that answers with JSON, and so with the end of each, that are under way at the same time.
const MOST_CALLS: usize = 64;
/// First and longest pause before a stream that ended is opened again.
const STREAM_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

type Failure = StreamableHttpError<RemoteError>;

/// A transport to the server of `client`.
pub(crate) fn streamable(client: HttpClient) -> StreamableHttpClientTransport<HttpClient> {
    let mut config = StreamableHttpClientTransportConfig::with_uri(client.uri().to_string())
        .max_concurrent_requests(MOST_CALLS);
    let mut pauses = ExponentialBackoff::default();
    (pauses.base_duration, pauses.max_delay) = (STREAM_BACKOFF.0, Some(STREAM_BACKOFF.1));
    config.retry_config = Arc::new(pauses);
    StreamableHttpClientTransport::with_client(client, config)
}

impl StreamableHttpClient for HttpClient {
    type Error = RemoteError;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        _: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Failure> {
        let has_session = session.is_some();
        let mut headers = with_session(headers, session)?;
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON_MIME_TYPE));
        let body = Bytes::from(serde_json::to_vec(&message)?);
        let answer = self.send(&Method::POST, &parse(&uri)?, &headers, &body).await;
        let response = answer.map_err(Failure::Client)?.response;
        let status = response.status();
        if matches!(status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        if status == StatusCode::NOT_FOUND && has_session {
            return Err(StreamableHttpError::SessionExpired);
        }
        let session = response.headers().get(HEADER_SESSION_ID);
        let session = session.and_then(|session| session.to_str().ok()).map(str::to_owned);
        let asked = Asked::of(&message);
        if !status.is_success() {
            return match self.refusal(response, asked.as_ref()).await {
                Some(refusal) => Ok(StreamableHttpPostResponse::Json(refusal, session)),
                None => Err(Failure::Client(RemoteError::Status(status))),
            };
        }
        if is(&response, EVENT_STREAM_MIME_TYPE) {
            return Ok(StreamableHttpPostResponse::Sse(self.events(response), session));
        }
        // To a message that asks for nothing, any success is an answer.
        let Some(asked) = asked else {
            return Ok(StreamableHttpPostResponse::Accepted);
        };
        if !is(&response, JSON_MIME_TYPE) {
            return Err(Failure::Client(RemoteError::ContentType));
        }
        let body = self.read(response).await.map_err(Failure::Client)?;
        let message = serde_json::from_slice(&body).map_err(|_| Failure::Client(RemoteError::Message))?;
        match asked.answered_by(message) {
            Some(answer) => Ok(StreamableHttpPostResponse::Json(answer, session)),
            None => Err(Failure::Client(RemoteError::Unasked)),
        }
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session: Arc<str>,
        _: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), Failure> {
        let headers = with_session(headers, Some(session))?;
        // Whatever the server says to it: many keep their sessions to themselves.
        let answer = self.send(&Method::DELETE, &parse(&uri)?, &headers, &Bytes::new()).await;
        answer.map(drop).map_err(Failure::Client)
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last_event: Option<String>,
        _: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, Failure> {
        let mut headers = with_session(headers, session)?;
        headers.insert(ACCEPT, HeaderValue::from_static(EVENT_STREAM_MIME_TYPE));
        if let Some(last) = last_event {
            headers.insert(name(HEADER_LAST_EVENT_ID)?, value(&last)?);
        }
        self.pace().wait().await;
        let answer = self.send(&Method::GET, &parse(&uri)?, &headers, &Bytes::new()).await;
        let response = answer.map_err(Failure::Client)?.response;
        match response.status() {
            // Only the first of them is right; all three are said by servers that have no such stream.
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED => {
                Err(StreamableHttpError::ServerDoesNotSupportSse)
            }
            status if !status.is_success() => Err(Failure::Client(RemoteError::Status(status))),
            _ if !is(&response, EVENT_STREAM_MIME_TYPE) => Err(StreamableHttpError::ServerDoesNotSupportSse),
            _ => Ok(paced(self.clone(), self.events(response))),
        }
    }
}

impl HttpClient {
    /// The error of the protocol in an answer that is no success, if there is one to what was `asked`. Where
    /// credentials are wanted, the status says more than any error.
    async fn refusal(
        &self,
        response: Response<Incoming>,
        asked: Option<&Asked>,
    ) -> Option<ServerJsonRpcMessage> {
        let asked = asked?;
        let is_empty = response.headers().get(CONTENT_LENGTH).is_some_and(|length| length == "0");
        let wants_credentials =
            [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&response.status());
        if is_empty || wants_credentials || !is(&response, JSON_MIME_TYPE) {
            return None;
        }
        let body = self.read(response).await.ok()?;
        let message = serde_json::from_slice(&body).ok()?;
        asked.answered_by(message).filter(|answer| matches!(answer, JsonRpcMessage::Error(_)))
    }
}

/// A request that waits for its answer. The protocol library drops an answer to anything else without a word, and
/// the request waits until its time is over; so whether it is one is looked at here.
struct Asked {
    id: RequestId,
    /// It begins a session, and nothing else is on its way.
    is_first: bool,
}

impl Asked {
    /// `None` for a message that asks for nothing.
    fn of(message: &ClientJsonRpcMessage) -> Option<Self> {
        let JsonRpcMessage::Request(request) = message else {
            return None;
        };
        let is_first = matches!(
            request.request,
            ClientRequest::InitializeRequest(_) | ClientRequest::DiscoverRequest(_)
        );
        Some(Self { id: request.id.clone(), is_first })
    }

    /// `message`, if it is the answer. Servers refuse to begin a session with an error under no id or one of their
    /// own making; that is taken for the answer, and given its id.
    fn answered_by(&self, mut message: ServerJsonRpcMessage) -> Option<ServerJsonRpcMessage> {
        let id = match &mut message {
            JsonRpcMessage::Response(response) => Some(&response.id),
            JsonRpcMessage::Error(error) => {
                if self.is_first {
                    error.id = Some(self.id.clone());
                }
                error.id.as_ref()
            }
            _ => None,
        };
        id.is_some_and(|id| self.is_mine(id)).then_some(message)
    }

    /// Whether an answer under `id` is one to this request. Some servers make a string of every number.
    fn is_mine(&self, id: &RequestId) -> bool {
        match (&self.id, id) {
            (RequestId::Number(asked), RequestId::String(answered)) => answered.parse() == Ok(*asked),
            (asked, answered) => asked == answered,
        }
    }
}

fn parse(uri: &str) -> Result<Uri, Failure> {
    uri.parse().map_err(|_| Failure::Client(RemoteError::BadRequest))
}

fn name(name: &str) -> Result<HeaderName, Failure> {
    name.parse().map_err(|_| Failure::Client(RemoteError::BadRequest))
}

fn value(value: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(value).map_err(|_| Failure::Client(RemoteError::BadRequest))
}

fn with_session(
    headers: HashMap<HeaderName, HeaderValue>,
    session: Option<Arc<str>>,
) -> Result<HeaderMap, Failure> {
    let mut headers: HeaderMap = headers.into_iter().collect();
    if let Some(session) = session {
        headers.insert(name(HEADER_SESSION_ID)?, value(&session)?);
    }
    Ok(headers)
}

/// Whether an answer is of this media type, whatever its parameters.
pub(super) fn is(response: &Response<Incoming>, media_type: &str) -> bool {
    let declared = response.headers().get(CONTENT_TYPE).and_then(|declared| declared.to_str().ok());
    let declared = declared.and_then(|declared| declared.split(';').next());
    declared.is_some_and(|declared| declared.trim().eq_ignore_ascii_case(media_type))
}
