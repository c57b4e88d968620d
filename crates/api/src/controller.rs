//! The way to the controller, which alone reaches the host: one request over a connection of its own to the
//! controller's socket. Logs and what is asked for go this way.

use std::path::PathBuf;
use std::sync::Arc;

use axum::http::{Method, Request, header};
use http_body_util::Empty;
use hyper::Response;
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;

use crate::socket;

/// Why a request did not reach the controller.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControllerError {
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    #[error("cannot exchange: {0}")]
    Exchange(#[from] hyper::Error),
    #[error("not a request: {0}")]
    Request(#[from] axum::http::Error),
}

/// The controller behind its socket, there or not.
#[derive(Debug, Clone)]
pub(crate) struct Controller {
    socket: Arc<PathBuf>,
}

impl Controller {
    /// The controller that listens, or will, on this socket.
    pub(crate) fn at(socket: PathBuf) -> Self {
        Controller { socket: Arc::new(socket) }
    }

    /// Sends a request without a body; gives the response as it begins.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
    ) -> Result<Response<Incoming>, ControllerError> {
        let stream = socket::connect(&self.socket).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Lives as long as the body does: it ends when the caller drops the response or the controller closes.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to the controller ended");
            }
        });
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "controller")
            .body(Empty::<Bytes>::new())?;
        Ok(sender.send_request(request).await?)
    }
}
