//! The accept loop: one task per connection, bounded in number and in time.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use bowline_store::Store;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::hub::Hub;
use crate::peer::Peer;
use crate::routes::{self, Context, Preview};
use crate::socket::{self, BindError};
use crate::specs::{self, SpecDirectory};

/// Connections that are served at the same time; more wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 256;
/// How long the head of a request may take, an idle connection's next one included.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// Greatest head of a request in bytes.
const MAX_HEADER: usize = 16 << 10;
/// How long requests may take to end once the service stops.
const GRACE: Duration = Duration::from_secs(3);
/// Rest after an accept that failed, such as for want of file descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// What the API needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen.
    pub socket: PathBuf,
    /// The controller's own socket, which serves logs and is told what is asked for.
    pub controller_socket: PathBuf,
    /// Version of the program, for `GET /v1/version`.
    pub version: &'static str,
    /// What a dry run assumes of this host.
    pub preview: Preview,
    /// The spec directory to follow, if any; it waits for its permit.
    pub specs: Option<SpecDirectory>,
}

/// The API, listening and not yet answering: connections wait until [`Api::run`].
#[derive(Debug)]
pub struct Api {
    listener: UnixListener,
    settings: Settings,
}

impl Api {
    /// Takes the socket.
    ///
    /// # Errors
    /// Somebody else listens there, or the path cannot be used.
    pub async fn bind(settings: Settings) -> Result<Self, BindError> {
        let listener = socket::bind(&settings.socket).await?;
        Ok(Api { listener, settings })
    }

    /// Answers until `stop` is cancelled; then lets running requests end for a short while, and removes the
    /// socket.
    pub async fn run(self, store: Store, stop: CancellationToken) {
        let Api { listener, settings } = self;
        let socket = settings.socket.clone();
        let tasks = TaskTracker::new();
        let hub = Hub::start(&store, &tasks, stop.clone());
        let specs = settings.specs.clone();
        let context = Context::new(store, settings, hub, stop.clone());
        if let Some(directory) = specs {
            tasks.spawn(specs::follow(context.clone(), directory, stop.clone()));
        }
        let router = routes::router(context);
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));

        while let Some((stream, place)) = accept(&listener, &places, &stop).await {
            let connection = serve_connection(stream, router.clone(), stop.clone());
            tasks.spawn(async move {
                connection.await;
                drop(place);
            });
        }
        drop(listener);
        // Nobody may find a socket that is not listened on; a next start would replace it.
        if let Err(error) = tokio::fs::remove_file(&socket).await {
            tracing::debug!(%error, "socket not removed");
        }
        tasks.close();
        if tokio::time::timeout(GRACE, tasks.wait()).await.is_err() {
            tracing::warn!(connections = tasks.len(), "requests cut off");
        }
    }
}

/// The next connection, when there is a place for it; `None` once the service stops.
async fn accept(
    listener: &UnixListener,
    places: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(UnixStream, OwnedSemaphorePermit)> {
    let next = async {
        // The semaphore is never closed.
        let place = places.clone().acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, _address)) => return Some((stream, place)),
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
    };
    stop.run_until_cancelled(next).await.flatten()
}

async fn serve_connection(stream: UnixStream, router: Router, stop: CancellationToken) {
    let peer = Peer::of(&stream);
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        let router = router.clone();
        async move { Ok::<_, Infallible>(router.oneshot(request).await.unwrap_or_else(|never| match never {})) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_buf_size(MAX_HEADER)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended");
    }
}
