//! Reading of requests: bodies with a limit and a deadline, and rejections as problems.

use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use zeroize::Zeroizing;

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
        let body = read(request, LIMIT).await?;
        match serde_json::from_slice(&body) {
            Ok(value) => Ok(Json(value)),
            Err(error) => Err(Problem::bad_request(format!("the body is not what is expected: {error}"))),
        }
    }
}

/// A JSON body of at most `LIMIT` bytes that holds secrets, or may: what is wrong with it is told without a word of
/// it, for the texts of serde quote what they do not expect.
pub(crate) struct SecretJson<T, const LIMIT: usize>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned, const LIMIT: usize> FromRequest<S> for SecretJson<T, LIMIT> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let body = read(request, LIMIT).await?;
        serde_json::from_slice(&body).map(SecretJson).map_err(|error| {
            let what = match error.classify() {
                Category::Data => "the body is JSON, but not what is expected",
                Category::Eof => "the body ends before its JSON does",
                Category::Syntax | Category::Io => "the body is not JSON",
            };
            let (line, column) = (error.line(), error.column());
            Problem::bad_request(format!("{what}: line {line}, column {column}"))
        })
    }
}

/// The body of a request. Its memory is cleared when it goes: nobody here knows which bodies hold secrets.
async fn read(request: Request, limit: usize) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let mut body = Limited::new(request.into_body(), limit);
    let all = async {
        let mut bytes = Zeroizing::new(Vec::new());
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                append(&mut bytes, &data);
            }
        }
        Ok::<_, axum::BoxError>(bytes)
    };
    match tokio::time::timeout(DEADLINE, all).await {
        Err(_elapsed) => Err(Problem::body_timeout()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::body_too_large(limit)),
        Ok(Err(error)) => Err(Problem::bad_request(format!("the body was cut off: {error}"))),
        Ok(Ok(bytes)) => Ok(bytes),
    }
}

/// Appends to `bytes`; where they have to move, what they leave behind is cleared.
fn append(bytes: &mut Zeroizing<Vec<u8>>, data: &[u8]) {
    if bytes.capacity() - bytes.len() < data.len() {
        let mut moved = Zeroizing::new(Vec::with_capacity((bytes.len() + data.len()).next_power_of_two()));
        moved.extend_from_slice(bytes);
        *bytes = moved;
    }
    bytes.extend_from_slice(data);
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
