//! Logs: the caller is checked here, the lines come from the controller, which alone reaches the host.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bowline_core::object::GatewayKey;
use chrono::{DateTime, Utc};
use http_body_util::{BodyExt, Collected, Limited};
use serde::Deserialize;

use super::Context;
use crate::body::{Path, Query};
use crate::controller::ControllerError;
use crate::problem::Problem;

/// How long the controller may take to begin its answer.
const DEADLINE: Duration = Duration::from_secs(15);

/// Longest reason for a refusal that is read.
const MAX_REASON: usize = 4096;

/// What of the logs is wanted; handed on as it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogsQuery {
    server: Option<String>,
    follow: Option<bool>,
    tail: Option<u32>,
    since: Option<DateTime<Utc>>,
    timestamps: Option<bool>,
}

impl LogsQuery {
    /// Path and query of the controller's own route.
    fn path(&self, key: &GatewayKey) -> String {
        let LogsQuery { server, follow, tail, since, timestamps } = self;
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("namespace", &key.namespace).append_pair("name", &key.name);
        let optional = [
            ("server", server.clone()),
            ("follow", follow.map(|value| value.to_string())),
            ("tail", tail.map(|value| value.to_string())),
            ("since", since.map(|value| value.to_rfc3339())),
            ("timestamps", timestamps.map(|value| value.to_string())),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                query.append_pair(name, &value);
            }
        }
        format!("/v1/logs?{}", query.finish())
    }
}

pub(super) async fn logs(
    State(context): State<Context>,
    Path(key): Path<GatewayKey>,
    Query(query): Query<LogsQuery>,
) -> Result<Response, Problem> {
    context.gateway(&key).await?;
    let path = query.path(&key);
    match tokio::time::timeout(DEADLINE, forward(&context, &path)).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => {
            tracing::warn!(%error, "controller did not answer for logs");
            Err(Problem::unavailable("the controller does not answer"))
        }
        Err(_elapsed) => Err(Problem::unavailable("the controller did not answer in time")),
    }
}

async fn forward(context: &Context, path: &str) -> Result<Response, ControllerError> {
    let response = context.controller.send(Method::GET, path).await?;
    let (parts, body) = response.into_parts();
    if parts.status == StatusCode::OK {
        let mut answer = Response::new(Body::new(body));
        answer
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        return Ok(answer);
    }
    let text = Limited::new(body, MAX_REASON).collect().await.map(Collected::to_bytes).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    Ok(match parts.status {
        StatusCode::NOT_FOUND => Problem::nothing_there(text),
        StatusCode::SERVICE_UNAVAILABLE => Problem::unavailable(text),
        status => {
            tracing::error!(%status, reason = text, "controller refused a request for logs");
            Problem::internal()
        }
    }
    .into_response())
}
