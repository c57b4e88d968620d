//! Whose each client session is. MCP's session id is no proof of anything: only the token that opened a
//! session may go on in it, and the session ends with the token.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::Utc;
use rmcp::transport::streamable_http_server::SessionManager as _;
use rmcp::transport::streamable_http_server::session::local::{LocalSessionManager, SessionConfig};
use tracing::{info, warn};

use crate::auth::Grant;

/// Sessions at one time. A client that vanishes without a word leaves one behind; beyond this number the one
/// that has been idle for longest goes.
const MOST: usize = 256;
/// An idle session is kept this long: clients stay open over lunch, and few of them start again by themselves.
const IDLE: Duration = Duration::from_secs(24 * 60 * 60);

/// The client sessions and their tokens.
#[derive(Debug)]
pub(crate) struct Sessions {
    manager: Arc<LocalSessionManager>,
    owners: Mutex<HashMap<String, Owner>>,
}

#[derive(Debug)]
struct Owner {
    grant: Grant,
    used: Instant,
}

impl Sessions {
    /// No sessions yet.
    pub(crate) fn new() -> Self {
        let mut config = SessionConfig::default();
        config.keep_alive = Some(IDLE);
        let mut manager = LocalSessionManager::default();
        manager.session_config = config;
        Self { manager: Arc::new(manager), owners: Mutex::default() }
    }

    /// What the HTTP service keeps its sessions in.
    pub(crate) fn manager(&self) -> Arc<LocalSessionManager> {
        Arc::clone(&self.manager)
    }

    /// Whether a holder of `grant` may go on in `session`. One that is not known is nobody's.
    pub(crate) fn may_use(&self, session: &str, grant: &Grant) -> bool {
        self.owners().get_mut(session).is_some_and(|owner| {
            owner.used = Instant::now();
            owner.grant.id() == grant.id()
        })
    }

    /// `session` has been opened with `grant`.
    pub(crate) async fn opened(&self, session: &str, grant: Grant) {
        let alive = self.manager.sessions.read().await;
        let oldest = {
            let mut owners = self.owners();
            owners.retain(|session, _| alive.contains_key(session.as_str()));
            let full = owners.len() >= MOST;
            let oldest = full.then(|| owners.iter().min_by_key(|(_, owner)| owner.used)).flatten();
            let oldest = oldest.map(|(session, _)| session.clone());
            owners.insert(session.to_owned(), Owner { grant, used: Instant::now() });
            oldest
        };
        drop(alive);
        if let Some(oldest) = oldest {
            info!("longest idle session closed to make room");
            self.close(&oldest).await;
        }
    }

    /// Closes every session whose token does not hold any more.
    pub(crate) async fn close_ended(&self) {
        let now = Utc::now();
        let ended: Vec<_> = self
            .owners()
            .iter()
            .filter(|(_, owner)| !owner.grant.holds(now))
            .map(|(session, _)| session.clone())
            .collect();
        for session in ended {
            self.close(&session).await;
        }
    }

    async fn close(&self, session: &str) {
        self.owners().remove(session);
        if let Err(error) = self.manager.close_session(&session.into()).await {
            warn!(%error, "session not closed");
        }
    }

    fn owners(&self) -> MutexGuard<'_, HashMap<String, Owner>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
