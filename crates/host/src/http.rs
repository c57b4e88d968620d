//! One small HTTP exchange over an open stream, with a cap on what is read: for gateways, whose answers are not
//! trusted, and for the one Engine call that the client library cannot make.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// No answer that we ask for is larger.
const BODY_BYTES: usize = 1 << 20;

/// Sends one request and reads the whole answer. The error is one line for people; the caller sets the deadline.
pub(crate) async fn exchange<S>(
    stream: S,
    method: Method,
    path: &str,
    host: &str,
    body: Bytes,
) -> Result<(StatusCode, Bytes), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| bowline_core::causes::with_causes(&error))?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(hyper::header::HOST, host)
        .header(hyper::header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(|error| error.to_string())?;
    let exchange = async {
        let response =
            sender.send_request(request).await.map_err(|error| bowline_core::causes::with_causes(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), BODY_BYTES)
            .collect()
            .await
            .map_err(|error| format!("the answer could not be read: {error}"))?;
        Ok((status, body.to_bytes()))
    };
    // The connection is driven here and not in a task, so that it ends with the exchange whatever the peer does.
    tokio::pin!(connection, exchange);
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        ended = &mut connection => match ended {
            // The last bytes may have been read by the connection just before it ended.
            Ok(()) => exchange.await,
            Err(error) => Err(bowline_core::causes::with_causes(&error)),
        },
    }
}
