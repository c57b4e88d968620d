//! What happens to every request: an id, the check of the peer, the writing of problems, one log line.

use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use uuid::Uuid;

use crate::peer::Peer;
use crate::problem::Problem;
use crate::routes::Context;

/// Header that carries the request's id.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Runs a request of an admin, refuses everybody else.
pub(crate) async fn around(State(context): State<Context>, request: Request, next: Next) -> Response {
    let id = Uuid::now_v7().to_string();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let begun = Instant::now();

    let peer = request.extensions().get::<Peer>().copied();
    let mut response = match peer {
        Some(peer) if peer.is_admin(context.service_uid) => next.run(request).await,
        Some(peer) => refuse(&peer.to_string()),
        None => refuse("a connection without credentials"),
    };
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = problem.render(&id);
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    tracing::debug!(
        request = id,
        %method,
        path,
        status = response.status().as_u16(),
        milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        "request answered"
    );
    response
}

fn refuse(who: &str) -> Response {
    use axum::response::IntoResponse;

    tracing::warn!(peer = who, "request refused");
    Problem::forbidden(format!("{who} may not use this socket"))
        .with_hint("only root and the account that runs `bowline serve` may")
        .into_response()
}
