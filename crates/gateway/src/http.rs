//! The two HTTP listeners: TCP for MCP clients, and the control socket for the controller.

mod control;
mod front;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bowline_core::gateway_file::CONTROL_SOCKET;
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::http::{HeaderValue, StatusCode, header};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

pub use self::control::Control;
pub use self::front::Front;
use crate::upstream::listen;

/// Connections of clients at one time; each may hold a stream open.
const MOST_CONNECTIONS: usize = 512;
/// Connections to the control socket at one time.
const MOST_CONTROLLERS: usize = 32;
/// For the head of a request, idle keep-alive included.
const HEAD_LIMIT: Duration = Duration::from_secs(30);
/// Bytes of a request's head.
const HEAD_BYTES: usize = 32 * 1024;
/// After an accept that failed, which is about file descriptors or memory and not about the peer.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// An answer of either listener.
pub type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// What answers the requests of a listener.
pub trait Answer: Send + Sync + 'static {
    /// The answer to one request.
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Reply> + Send;
}

/// Listens for MCP clients.
///
/// # Errors
/// When the address cannot be bound.
pub async fn listen_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Listens on the control socket of `sockets_dir`, whose directory is made when it is not there.
///
/// # Errors
/// When the directory or the socket cannot be made.
pub fn listen_control(sockets_dir: &Path) -> io::Result<UnixListener> {
    let path = sockets_dir.join(CONTROL_SOCKET);
    if let Some(directory) = path.parent()
        && !directory.is_dir()
    {
        std::fs::create_dir(directory)?;
    }
    listen(&path)
}

/// Serves MCP clients, for ever.
pub async fn serve_tcp<A: Answer>(listener: TcpListener, service: Arc<A>) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let permit = Arc::clone(&room).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                // Small answers and notifications wait for nothing.
                if let Err(error) = stream.set_nodelay(true) {
                    debug!(%error, "delay not switched off");
                }
                spawn_connection(stream, Arc::clone(&service), permit.ok());
            }
            Err(error) => pause_after(&error).await,
        }
    }
}

/// Serves the controller, for ever.
pub async fn serve_control<A: Answer>(listener: UnixListener, service: Arc<A>) {
    let room = Arc::new(Semaphore::new(MOST_CONTROLLERS));
    loop {
        let permit = Arc::clone(&room).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => spawn_connection(stream, Arc::clone(&service), permit.ok()),
            Err(error) => pause_after(&error).await,
        }
    }
}

async fn pause_after(error: &io::Error) {
    warn!(%error, "cannot accept a connection");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// Serves one connection in a task of its own; `permit` is its place, given back at its end.
fn spawn_connection<A: Answer>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: Arc<A>,
    permit: Option<tokio::sync::OwnedSemaphorePermit>,
) {
    tokio::spawn(async move {
        let service = service_fn(move |request| {
            let service = Arc::clone(&service);
            async move { Ok::<_, Infallible>(service.answer(request).await) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_LIMIT)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            debug!(%error, "connection ended");
        }
        drop(permit);
    });
}

/// A short answer in plain text.
fn plain(status: StatusCode, text: &'static str) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from_static(text.as_bytes())).boxed_unsync());
    *reply.status_mut() = status;
    if !text.is_empty() {
        let kind = HeaderValue::from_static("text/plain; charset=utf-8");
        reply.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    reply
}
