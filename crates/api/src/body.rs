//! Reading of requests: bodies with a limit and a deadline, and rejections as problems.

use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// Limit of most bodies, in bytes.
pub(crate) const SMALL: usize = 256 << 10;
/// Limit of the body of an apply, in bytes.
pub(crate) const LARGE: usize = 8 << 20;
/// How long a body may take to arrive.
const DEADLINE: Duration = Duration::from_secs(30);

/// A JSON body of at most `LIMIT` bytes.
pub(crate) struct Json<T, const LIMIT: usize = SMALL>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned, const LIMIT: usize> FromRequest<S> for Json<T, LIMIT> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let body = Limited::new(request.into_body(), LIMIT).collect();
        let body = match tokio::time::timeout(DEADLINE, body).await {
            Err(_elapsed) => return Err(Problem::body_timeout()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(Problem::body_too_large(LIMIT)),
            Ok(Err(error)) => return Err(Problem::bad_request(format!("the body was cut off: {error}"))),
            Ok(Ok(body)) => body.to_bytes(),
        };
        match serde_json::from_slice(&body) {
            Ok(value) => Ok(Json(value)),
            Err(error) => Err(Problem::bad_request(format!("the body is not what is expected: {error}"))),
        }
    }
}

/// The query of a request.
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        match axum::extract::Query::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(value)) => Ok(Query(value)),
            Err(rejection) => Err(Problem::bad_request(rejection.body_text())),
        }
    }
}

/// The variable parts of a path.
pub(crate) struct Path<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path: Result<axum::extract::Path<T>, PathRejection> =
            axum::extract::Path::from_request_parts(parts, state).await;
        match path {
            Ok(axum::extract::Path(value)) => Ok(Path(value)),
            Err(rejection) => Err(Problem::bad_request(rejection.body_text())),
        }
    }
}
