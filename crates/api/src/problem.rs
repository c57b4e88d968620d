//! Refusals, as RFC 9457 `application/problem+json`.
//!
//! A handler returns a [`Problem`]; [`crate::middleware`] gives it the request's id and writes it. What the
//! database said goes to the log and never to a caller.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bowline_core::causes::with_causes;
use bowline_core::diagnostic::Diagnostic;
use bowline_core::object::{GatewayKey, ObjectKey};
use bowline_core::volume::VolumeKey;
use bowline_store::DbError;
use serde::{Deserialize, Serialize};

/// Media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Users of one thing that a refusal names; of more it says how many.
const USERS_NAMED: usize = 20;

/// A refusal that says what is wrong and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// What kind of problem: a `tag:` URI that does not change.
    #[serde(rename = "type")]
    pub problem_type: Box<str>,
    /// The kind in words.
    pub title: Box<str>,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong here.
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<Box<str>>,
    /// Everything that is wrong with an input, with its places.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Diagnostic>,
    /// Id of the request, as in the server's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Box<str>>,
}

impl Problem {
    fn new(status: StatusCode, word: &str, title: &str, detail: impl Into<String>) -> Self {
        Problem {
            problem_type: format!("tag:bowline.dev,2026:problem/{word}").into(),
            title: title.into(),
            status: status.as_u16(),
            detail: detail.into(),
            hint: None,
            diagnostics: Vec::new(),
            request_id: None,
        }
    }

    /// The same problem with advice.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Box<str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The request itself cannot be read.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", "The request cannot be read", detail)
    }

    /// The peer may not speak to this socket.
    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed", detail)
    }

    /// There is no such object.
    pub(crate) fn not_found(key: &ObjectKey) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", format!("{key} does not exist"))
    }

    /// There is no such thing.
    pub(crate) fn nothing_there(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    /// The path exists, the method does not.
    pub(crate) fn method_not_allowed() -> Self {
        let title = "Method not allowed";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", title, "no such method here")
    }

    /// The body did not come in time.
    pub(crate) fn body_timeout() -> Self {
        let detail = "the body of the request did not arrive in time";
        Self::new(StatusCode::REQUEST_TIMEOUT, "timeout", "Too slow", detail)
    }

    /// The body is larger than what is read.
    pub(crate) fn body_too_large(limit: usize) -> Self {
        let detail = format!("the body of the request is larger than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Too large", detail)
    }

    /// The input has errors.
    pub(crate) fn invalid(diagnostics: Vec<Diagnostic>) -> Self {
        let errors = diagnostics.iter().filter(|d| d.is_error()).count();
        let detail = match errors {
            1 => "1 error in the input; nothing was applied".to_owned(),
            n => format!("{n} errors in the input; nothing was applied"),
        };
        let problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "Invalid input", detail);
        Problem { diagnostics, ..problem }
    }

    /// A value of the request is not acceptable.
    pub(crate) fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "Invalid input", detail)
    }

    /// The object is being deleted.
    pub(crate) fn terminating(key: &ObjectKey) -> Self {
        let detail = format!("{key} is being deleted; nothing was applied");
        Self::new(StatusCode::CONFLICT, "terminating", "Terminating", detail)
            .with_hint(format!("wait for its end and apply again: bowline wait --for=delete {key}"))
    }

    /// The object is declared by a file of the spec directory.
    pub(crate) fn managed(objects: &[(ObjectKey, String)]) -> Self {
        let objects: Vec<_> =
            objects.iter().map(|(key, file)| format!("{key} is declared by the spec file {file}")).collect();
        Self::new(StatusCode::CONFLICT, "managed", "Managed by a file", objects.join(", ")).with_hint(
            "change that file, or give --force: the file then shows Conflict until somebody changes it",
        )
    }

    /// The last word of the problem's type, which tells one kind from another.
    pub(crate) fn word(&self) -> &str {
        self.problem_type.rsplit('/').next().unwrap_or_default()
    }

    /// What was to be created is there.
    pub(crate) fn exists(key: &ObjectKey) -> Self {
        Self::new(StatusCode::CONFLICT, "already-exists", "Already exists", format!("{key} already exists"))
            .with_hint("apply changes what exists")
    }

    /// Whether the same write may succeed with the object as it is now: somebody else wrote in between.
    pub fn is_conflict(&self) -> bool {
        self.problem_type.ends_with(":problem/conflict")
    }

    /// Somebody else wrote in between.
    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "Conflict", detail)
            .with_hint("read the object again and repeat the change")
    }

    /// Gateways use what would go away: each thing with its users.
    pub(crate) fn in_use(uses: &[(String, Vec<GatewayKey>)]) -> Self {
        let detail = |(what, users): &(String, Vec<GatewayKey>)| {
            let mut named: Vec<_> =
                users.iter().take(USERS_NAMED).map(|key| format!("gateway/{key}")).collect();
            if let more @ 1.. = users.len().saturating_sub(USERS_NAMED) {
                named.push(format!("{more} more"));
            }
            format!("{what} is used by {}", named.join(", "))
        };
        let detail = uses.iter().map(detail).collect::<Vec<_>>().join("; ");
        Self::new(StatusCode::CONFLICT, "in-use", "In use", detail).with_hint(
            "change these gateways first, or give --force: they then show Accepted=False and keep their other servers",
        )
    }

    /// Gateways use a Secret, or keys of one, that would go away: each thing with its users.
    pub(crate) fn secret_in_use(uses: &[(String, Vec<GatewayKey>)]) -> Self {
        Self::in_use(uses).with_hint(
            "change these gateways first, or give --force: the servers that need it then stop until it is there again",
        )
    }

    /// A gateway uses the volume that would go away.
    pub(crate) fn volume_in_use(namespace: &str, volume: &VolumeKey, user: &GatewayKey) -> Self {
        let detail = format!("the volume {volume} of the namespace {namespace} is used by gateway/{user}");
        let hint = format!(
            "disable the server {} there first, or delete the gateway with its volumes: bowline delete \
             gateway/{user} --volumes",
            volume.server
        );
        Self::new(StatusCode::CONFLICT, "in-use", "In use", detail).with_hint(hint)
    }

    /// The place in the order of versions is too old to go on from.
    pub(crate) fn gone(since: i64) -> Self {
        let detail = format!("version {since} is too old to go on from");
        Self::new(StatusCode::GONE, "expired", "Expired", detail)
            .with_hint("list again and watch from the version of the list")
    }

    /// A part of the service is away.
    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available", detail)
            .with_hint("try again in a moment; gateways that run go on running")
    }

    /// A defect, or something nobody foresaw.
    pub(crate) fn internal() -> Self {
        let detail = "the request could not be carried out; the server's log has the cause";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail)
    }

    /// The response, with the request's id in header and body.
    pub(crate) fn render(mut self, request_id: &str) -> Response {
        self.request_id = Some(request_id.into());
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(&self)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl IntoResponse for Problem {
    /// An empty response that carries the problem to the middleware, which knows the request's id.
    fn into_response(self) -> Response {
        let mut response = Response::default();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<DbError> for Problem {
    fn from(error: DbError) -> Self {
        tracing::warn!(error = %with_causes(&error), "database request failed");
        if error.is_unavailable() {
            return Self::unavailable("the database does not answer");
        }
        match error {
            DbError::Contended(_) => Self::conflict("somebody else was writing the same objects"),
            _ => Self::internal(),
        }
    }
}
