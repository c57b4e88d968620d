//! Which gateways somebody asks for: the controller is told in the background, so that after a boot these come
//! before the others. It is a hint; one that is lost costs somebody a place in the order and nothing else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use bowline_core::object::Stored;
use bowline_core::status::{ConditionType, GatewayStatus};
use serde::Deserialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::controller::Controller;

/// How long the controller is not told of the same gateway again, and how long telling it is tried: while `serve`
/// starts, the API answers a little before the controller does.
const REPEAT: Duration = Duration::from_secs(5);
/// Between two tries to tell it.
const REST: Duration = Duration::from_millis(100);

/// Tells the controller what is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    controller: Controller,
    stop: CancellationToken,
    /// When the controller was last told of a gateway: an entry for each that was asked for in this life of the API.
    told: Arc<Mutex<HashMap<Uuid, Instant>>>,
}

impl Asked {
    /// Tells this controller until `stop`.
    pub(crate) fn new(controller: Controller, stop: CancellationToken) -> Self {
        Asked { controller, stop, told: Arc::default() }
    }

    /// Somebody asks for this gateway. The controller is told when it is not Ready; and once in each life of the API
    /// in any case, because after a boot the status still says what was seen before.
    pub(crate) fn about(&self, gateway: &Stored) {
        let Some(namespace) = gateway.metadata.key.namespace.as_deref() else { return };
        // Nothing of it runs, and nothing is to be brought back.
        if gateway.spec["suspend"] == true
            || !self.note(gateway.metadata.uid, is_ready(gateway), Instant::now())
        {
            return;
        }
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("namespace", namespace).append_pair("name", &gateway.metadata.key.name);
        let path = format!("/v1/wanted?{}", query.finish());
        let (asked, uid) = (self.clone(), gateway.metadata.uid);
        tokio::spawn(async move {
            let telling = tokio::time::timeout(REPEAT, asked.tell(&path));
            if let Some(Err(_elapsed)) = asked.stop.run_until_cancelled(telling).await {
                tracing::debug!(%uid, "the controller was not told in time of a gateway that is asked for");
                asked.told().remove(&uid);
            }
        });
    }

    /// Whether to tell of this gateway now; if so it is noted as told.
    fn note(&self, uid: Uuid, ready: bool, now: Instant) -> bool {
        let mut told = self.told();
        let enough = told.get(&uid).is_some_and(|last| ready || now.duration_since(*last) < REPEAT);
        if !enough {
            told.insert(uid, now);
        }
        !enough
    }

    /// Tells the controller, as often as it takes.
    async fn tell(&self, path: &str) {
        loop {
            match self.controller.send(Method::POST, path).await {
                Ok(response) if response.status() == StatusCode::NO_CONTENT => return,
                Ok(response) => {
                    tracing::debug!(status = %response.status(), "the controller refused what is asked for");
                }
                Err(error) => tracing::debug!(%error, "the controller does not answer yet"),
            }
            tokio::time::sleep(REST).await;
        }
    }

    /// The lock is never held over code that can panic, so a poisoned one is still whole.
    fn told(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Instant>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the status says so of the current generation.
fn is_ready(gateway: &Stored) -> bool {
    let status = gateway.status.as_ref().and_then(|status| GatewayStatus::deserialize(status).ok());
    status.is_some_and(|status| status.is_true(ConditionType::Ready, gateway.metadata.generation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_ready_is_told_once_and_one_that_is_not_again_after_a_while() {
        let asked = Asked::new(Controller::at("/nowhere".into()), CancellationToken::new());
        let (ready, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let now = Instant::now();
        assert!(asked.note(ready, true, now), "what the status says may be from before a boot");
        assert!(asked.note(other, false, now));
        assert!(!asked.note(ready, true, now));
        assert!(!asked.note(other, false, now));
        let later = now + REPEAT;
        assert!(!asked.note(ready, true, later));
        assert!(asked.note(other, false, later));
        assert!(asked.note(ready, false, later), "it is Ready no longer");
    }
}
