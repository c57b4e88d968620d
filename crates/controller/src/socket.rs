//! The controller's own unix socket: what needs the host and therefore cannot be answered by the API half, the
//! logs of a gateway; which gateway somebody asks for; and what is worth a look when something is stuck, the queue.
//!
//! The socket lies in a directory of mode 0700, so only root and the service's own account reach it; the API half
//! has checked the caller before it asks here.

use std::convert::Infallible;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use bowline_core::object::GatewayKey;
use bowline_core::schedule::Trigger;
use bowline_host::{Host, LogOptions, LogsError};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use crate::queue::Queue;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Makes the socket. One that a killed controller left is replaced: the host's lock says that we are the only one.
pub(crate) fn bind(path: &Path) -> std::io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    UnixListener::bind(path)
}

/// Answers until `stop`.
pub(crate) async fn serve(
    listener: UnixListener,
    host: Arc<Host>,
    queue: Arc<Queue<GatewayKey>>,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection to the controller's socket was lost");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let (host, queue, stop) = (Arc::clone(&host), Arc::clone(&queue), stop.clone());
        tokio::spawn(async move {
            let service = hyper::service::service_fn(|request| {
                let (host, queue) = (Arc::clone(&host), Arc::clone(&queue));
                async move { Ok::<_, Infallible>(answer(&request, &host, &queue).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(hyper_util::rt::TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                () = stop.cancelled() => {}
                done = connection => if let Err(error) = done {
                    tracing::debug!(%error, "a connection to the controller's socket broke");
                }
            }
        });
    }
}

async fn answer(request: &Request<Incoming>, host: &Host, queue: &Queue<GatewayKey>) -> Response<Body> {
    let query = Query::parse(request.uri().query().unwrap_or_default());
    match request.uri().path() {
        "/v1/logs" => logs(&query, host).await,
        "/v1/wanted" if request.method() == Method::POST => wanted(&query, queue),
        "/debug/queue" => text(StatusCode::OK, queue_table(queue)),
        _ => text(StatusCode::NOT_FOUND, "not found\n".to_owned()),
    }
}

async fn logs(query: &Query, host: &Host) -> Response<Body> {
    let (Some(namespace), Some(name)) = (query.get("namespace"), query.get("name")) else {
        return text(StatusCode::BAD_REQUEST, "namespace and name are needed\n".to_owned());
    };
    let key = GatewayKey::new(namespace, name);
    let options = LogOptions {
        follow: query.get("follow") == Some("true"),
        tail: query.get("tail").and_then(|tail| tail.parse().ok()),
        since: query.get("since").and_then(|since| since.parse().ok()),
        timestamps: query.get("timestamps") == Some("true"),
    };
    match host.logs(&key, query.get("server"), options).await {
        Ok(lines) => {
            let frames = lines
                .map_ok(|line| Frame::data(Bytes::from(format!("{}\n", line.text))))
                .map_err(std::io::Error::other)
                .boxed();
            response(StatusCode::OK, StreamBody::new(frames).boxed_unsync())
        }
        Err(error @ LogsError::NoContainer { .. }) => text(StatusCode::NOT_FOUND, format!("{error}\n")),
        Err(error @ LogsError::Host(_)) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}

/// Somebody asks for this gateway: it goes before those that nobody asks for (Q29). Before the first listing, too:
/// what the queue knows by then, it keeps.
fn wanted(query: &Query, queue: &Queue<GatewayKey>) -> Response<Body> {
    let (Some(namespace), Some(name)) = (query.get("namespace"), query.get("name")) else {
        return text(StatusCode::BAD_REQUEST, "namespace and name are needed\n".to_owned());
    };
    queue.add(GatewayKey::new(namespace, name), Trigger::Wanted);
    text(StatusCode::NO_CONTENT, String::new())
}

/// One line per key that waits, runs or is held back.
fn queue_table(queue: &Queue<GatewayKey>) -> String {
    let mut table = String::from("GATEWAY\tRUNNING\tDUE\tFAILURES\n");
    for state in queue.keys() {
        let due = state.due_in.map_or("-".to_owned(), |due| format!("{:.1}s", due.as_secs_f64()));
        table.push_str(&format!("{}\t{}\t{due}\t{}\n", state.key, state.running, state.failures));
    }
    table
}

fn text(status: StatusCode, text: String) -> Response<Body> {
    response(status, Full::new(Bytes::from(text)).map_err(|never: Infallible| match never {}).boxed_unsync())
}

fn response(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// The parameters of a request, percent-decoded.
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        Query(pairs.map(|(name, value)| (decode(name), decode(value))).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (first, escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = tail;
            }
            (byte, _) => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use bowline_core::schedule::Limits;

    use super::*;

    #[test]
    fn who_is_asked_for_before_the_first_listing_is_in_the_queue() {
        let queue = Queue::new(Limits::default());
        let ask = |query| wanted(&Query::parse(query), &queue).status();
        assert_eq!(ask("namespace=u1"), StatusCode::BAD_REQUEST);
        assert_eq!(queue.keys(), []);
        assert_eq!(ask("namespace=u1&name=default"), StatusCode::NO_CONTENT);
        let keys: Vec<_> = queue.keys().into_iter().map(|state| state.key).collect();
        assert_eq!(keys, [GatewayKey::new("u1", "default")]);
    }

    #[test]
    fn parameters_are_decoded() {
        let query = Query::parse("namespace=u1&server=a%2Fb+c%&since=2026-01-01T00%3A00%3A00Z");
        assert_eq!(query.get("namespace"), Some("u1"));
        assert_eq!(query.get("server"), Some("a/b c%"));
        assert_eq!(query.get("since"), Some("2026-01-01T00:00:00Z"));
        assert_eq!(query.get("name"), None);
    }
}
