//! The control socket: what the controller asks and orders. Who can reach the socket is decided by the
//! directories above it.

use std::sync::Arc;

use bowline_core::gateway_file::{CONTROL_RELOAD_PATH, CONTROL_STATE_PATH, HEALTH_PATH, ReloadRefused};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::http::{HeaderValue, StatusCode, header};
use hyper::{Method, Request, Response};
use serde::Serialize;
use tracing::warn;

use super::front::health;
use super::{Answer, Front, Reply, plain};
use crate::gateway::Gateway;

/// The controller's side of a gateway.
pub struct Control {
    gateway: Arc<Gateway>,
    front: Arc<Front>,
}

impl Control {
    /// The controller's side of `gateway`, whose clients come through `front`.
    pub fn new(gateway: Arc<Gateway>, front: Arc<Front>) -> Self {
        Self { gateway, front }
    }

    async fn reload(&self) -> Reply {
        match self.gateway.reload().await {
            Ok(state) => {
                self.front.close_ended_sessions().await;
                json(StatusCode::OK, &state)
            }
            Err(error) => {
                warn!(%error, "reload refused");
                json(StatusCode::UNPROCESSABLE_ENTITY, &ReloadRefused { message: error.to_string() })
            }
        }
    }
}

impl Answer for Control {
    async fn answer(&self, request: Request<Incoming>) -> Reply {
        match (request.method(), request.uri().path()) {
            (method, HEALTH_PATH) => health(method),
            (&Method::GET, CONTROL_STATE_PATH) => json(StatusCode::OK, &self.gateway.state()),
            (&Method::POST, CONTROL_RELOAD_PATH) => self.reload().await,
            (_, CONTROL_STATE_PATH | CONTROL_RELOAD_PATH) => plain(StatusCode::METHOD_NOT_ALLOWED, ""),
            _ => plain(StatusCode::NOT_FOUND, "not found\n"),
        }
    }
}

fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    let Ok(text) = serde_json::to_vec(value) else {
        return plain(StatusCode::INTERNAL_SERVER_ERROR, "the answer cannot be written\n");
    };
    let mut reply = Response::new(Full::new(Bytes::from(text)).boxed_unsync());
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}
