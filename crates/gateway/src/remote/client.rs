//! Requests to one remote server: its headers to its own origin only, redirects one by one, answers bounded.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bowline_core::gateway_file::RemotePlace;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Notify;

use super::dial::{DialError, Dialer};
use super::events::{Events, events};
use super::pace::Pace;
use super::{Caps, MOST_REDIRECTS, RemoteError};

/// Unused connections that are kept, of all origins together in practice: there is one.
const IDLE_CONNECTIONS: usize = 4;

/// Speaks HTTP to one remote server and to where it redirects. Cheap to clone; one per session.
#[derive(Clone)]
pub(crate) struct HttpClient(Arc<Inner>);

struct Inner {
    http: Client<Dialer, Full<Bytes>>,
    uri: Uri,
    headers: HeaderMap,
    caps: Caps,
    broken: Broken,
    pace: Pace,
}

/// Where a stream that nobody waits for says that the session must not go on.
#[derive(Default)]
struct Broken {
    why: Mutex<Option<RemoteError>>,
    is_broken: Notify,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without query and headers, which may be credentials.
        f.debug_struct("HttpClient").field("host", &self.0.uri.host()).finish_non_exhaustive()
    }
}

/// An answer, and the URL that gave it.
pub(super) struct Answer {
    pub(super) uri: Uri,
    pub(super) response: Response<Incoming>,
}

impl HttpClient {
    /// Dials the server at `place` with `dialer`.
    ///
    /// # Errors
    /// When the URL or a header cannot be sent.
    pub(crate) fn new(place: &RemotePlace, dialer: Dialer, caps: Caps) -> Result<Self, RemoteError> {
        let uri: Uri = place.url.parse().map_err(|_| RemoteError::BadRequest)?;
        origin(&uri).ok_or(RemoteError::BadRequest)?;
        let mut headers = HeaderMap::new();
        for (name, value) in &place.headers {
            let name: HeaderName = name.parse().map_err(|_| RemoteError::BadRequest)?;
            let mut value = HeaderValue::from_str(value).map_err(|_| RemoteError::BadRequest)?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build(dialer);
        let (broken, pace) = (Broken::default(), Pace::new());
        Ok(Self(Arc::new(Inner { http, uri, headers, caps, broken, pace })))
    }

    /// The declared URL.
    pub(super) fn uri(&self) -> &Uri {
        &self.0.uri
    }

    /// What the server may cost.
    pub(super) fn caps(&self) -> Caps {
        self.0.caps
    }

    /// How often streams may be opened.
    pub(super) fn pace(&self) -> &Pace {
        &self.0.pace
    }

    /// Completes when the session must not go on.
    pub(crate) async fn broken(&self) -> RemoteError {
        loop {
            let notified = self.0.broken.is_broken.notified();
            if let Some(why) = self.0.broken.why.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return why;
            }
            notified.await;
        }
    }

    /// The session must not go on.
    pub(super) fn break_off(&self, why: RemoteError) {
        *self.0.broken.why.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        self.0.broken.is_broken.notify_one();
    }

    /// Sends a request and follows redirects; a success or not, the answer is the last one.
    ///
    /// # Errors
    /// When there is no answer, or it redirects to where nobody should follow.
    pub(super) async fn send(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Answer, RemoteError> {
        let mut uri = uri.clone();
        for _ in 0..=MOST_REDIRECTS {
            let response = self.send_once(method, &uri, headers, body).await?;
            if !response.status().is_redirection() || response.status() == StatusCode::NOT_MODIFIED {
                return Ok(Answer { uri, response });
            }
            uri = next_hop(method, &uri, &response)?;
        }
        Err(RemoteError::Redirects)
    }

    async fn send_once(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Response<Incoming>, RemoteError> {
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers.clone();
        let agent = concat!("bowline-gateway/", env!("CARGO_PKG_VERSION"));
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(agent));
        if origin(uri) == origin(&self.0.uri) {
            request.headers_mut().extend(self.0.headers.clone());
        }
        // A stream's headers come at once, those of an answer when the work is done.
        let limit = if method == Method::GET { self.0.caps.stream } else { self.0.caps.answer };
        match tokio::time::timeout(limit, self.0.http.request(request)).await {
            Ok(answer) => answer.map_err(|error| explain(&error)),
            Err(_) => Err(RemoteError::Late(limit)),
        }
    }

    /// The whole body of an answer that is no stream.
    ///
    /// # Errors
    /// When it is too large, too slow, or ends too early.
    pub(super) async fn read(&self, response: Response<Incoming>) -> Result<Bytes, RemoteError> {
        let Caps { idle, body: most, .. } = self.0.caps;
        let mut body = response.into_body();
        let mut bytes = BytesMut::new();
        loop {
            let frame =
                tokio::time::timeout(idle, body.frame()).await.map_err(|_| RemoteError::Stalled(idle))?;
            let Some(frame) = frame else {
                return Ok(bytes.freeze());
            };
            let frame = frame.map_err(|error| RemoteError::Broken(error.to_string()))?;
            if let Some(data) = frame.data_ref() {
                if bytes.len() + data.len() > most {
                    return Err(RemoteError::TooLarge(most));
                }
                bytes.extend_from_slice(data);
            }
        }
    }

    /// The events of an answer. One that is too large ends the session: a stream that is opened again would only
    /// bring it again.
    pub(super) fn events(&self, response: Response<Incoming>) -> Events {
        let client = self.clone();
        events(response.into_body(), self.0.caps.event, move |why| client.break_off(why))
    }
}

/// Where a redirect leads, if anybody should follow it there.
fn next_hop(method: &Method, from: &Uri, response: &Response<Incoming>) -> Result<Uri, RemoteError> {
    let keeps_body =
        [StatusCode::TEMPORARY_REDIRECT, StatusCode::PERMANENT_REDIRECT].contains(&response.status());
    if method == Method::POST && !keeps_body {
        return Err(RemoteError::RefusedRedirect("a POST without its body"));
    }
    let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
    let to = location.and_then(|location| join(from, location)).ok_or(RemoteError::BadRedirect)?;
    if from.scheme_str() == Some("https") && to.scheme_str() != Some("https") {
        return Err(RemoteError::RefusedRedirect("from https to http"));
    }
    Ok(to)
}

/// Scheme, host in lower case, and port, of an `http` or `https` URL with a host.
pub(super) fn origin(uri: &Uri) -> Option<(&str, String, u16)> {
    let scheme = uri.scheme_str()?;
    let port = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    let host = uri.host().filter(|host| !host.is_empty())?;
    Some((scheme, host.to_ascii_lowercase(), uri.port_u16().unwrap_or(port)))
}

/// What `reference` means in a document at `base` (RFC 3986, without taking dots out of paths). `None` for what is
/// no http URL, and for one with a user in it.
pub(super) fn join(base: &Uri, reference: &str) -> Option<Uri> {
    let reference = reference.split('#').next().unwrap_or_default();
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    let scheme_ends = reference.find(':').filter(|end| !reference[..*end].contains(['/', '?']));
    let text = if scheme_ends.is_some() {
        reference.to_owned()
    } else if reference.starts_with("//") {
        format!("{scheme}:{reference}")
    } else if reference.starts_with('/') {
        format!("{scheme}://{authority}{reference}")
    } else if reference.is_empty() {
        base.to_string()
    } else if reference.starts_with('?') {
        format!("{scheme}://{authority}{}{reference}", base.path())
    } else {
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{reference}")
    };
    let uri: Uri = text.parse().ok()?;
    let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    (origin(&uri).is_some() && !has_user).then_some(uri)
}

/// The client's error in our words: ours comes back from the dialler inside of it.
fn explain(error: &ClientError) -> RemoteError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    let mut innermost = String::new();
    while let Some(current) = cause {
        if let Some(dial) = current.downcast_ref::<DialError>() {
            return RemoteError::Dial(dial.clone());
        }
        innermost = current.to_string();
        cause = current.source();
    }
    RemoteError::Broken(innermost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_joined_as_a_browser_does() {
        let base: Uri = "https://a.example:8443/x/sse?y=1".parse().unwrap();
        for (reference, expected) in [
            ("/messages?id=7", Some("https://a.example:8443/messages?id=7")),
            ("messages", Some("https://a.example:8443/x/messages")),
            ("?id=7", Some("https://a.example:8443/x/sse?id=7")),
            ("", Some("https://a.example:8443/x/sse?y=1")),
            ("//b.example/m", Some("https://b.example/m")),
            ("http://b.example/m#f", Some("http://b.example/m")),
            ("/a:b", Some("https://a.example:8443/a:b")),
            ("file:///etc/passwd", None),
            ("https://u:p@b.example/", None),
            ("unix:/run/docker.sock", None),
        ] {
            let joined = join(&base, reference).map(|uri| uri.to_string());
            assert_eq!(joined.as_deref(), expected, "{reference}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = |a: &str, b: &str| origin(&a.parse().unwrap()) == origin(&b.parse().unwrap());
        assert!(same("https://A.example/x", "https://a.example:443/y"));
        assert!(!same("https://a.example/", "http://a.example/"));
        assert!(!same("https://a.example/", "https://a.example:8443/"));
        assert!(!same("https://a.example/", "https://b.a.example/"));
    }
}
