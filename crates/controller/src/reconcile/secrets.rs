//! Secrets of one gateway: what is known of the values before anything is decided, and the file of a server when it
//! is written. Nowhere else does the controller hold a value, and it does so only until the file is there.

use std::collections::BTreeMap;

use bowline_core::causes::with_causes;
use bowline_core::desired::Declared;
use bowline_core::object::{EventType, GatewayKey};
use bowline_core::secret::{KeyFacts, SecretFacts, SecretSource, Unusable};
use bowline_core::status::{GatewayStatus, ServerStatus};
use bowline_core::step::{FailureClass, StepFailure};
use bowline_store::OpenSecretsError;
use chrono::Utc;
use uuid::Uuid;

use super::{ReconcileError, Reconciler};
use crate::memory::Readable;
use crate::world::World;

impl<W: World> Reconciler<W> {
    /// Reads what is known of the Secrets that the gateway's servers need, and finds out which of their values can be
    /// given to a server.
    pub(super) async fn learn_secrets(&self, declared: &mut Declared) -> Result<(), ReconcileError> {
        let (key, needs) = (declared.key(), declared.secret_needs());
        if needs.is_empty() {
            self.memory.put_readable(&key, Readable::new());
            return Ok(());
        }
        self.store.settle_secrets(&self.keyring, &key.namespace).await?;
        let mut secrets = self.store.secret_facts(&key.namespace, &needs).await?;
        // Each value is opened once, and one that cannot be by every run: its key may be there by then.
        if !self.memory.has_read(&key, &readable(&secrets)) {
            secrets = self.store.examine_secrets(&self.keyring, &key.namespace, &needs).await?;
            self.memory.put_readable(&key, readable(&secrets));
        }
        declared.secrets = secrets;
        Ok(())
    }

    /// Carries out a [`Step::WriteSecrets`](bowline_core::step::Step::WriteSecrets): opens the values and writes them.
    pub(super) async fn write_secrets(
        &self,
        key: &GatewayKey,
        uid: Uuid,
        path: &str,
        revision: &str,
        sources: &[SecretSource],
    ) -> Result<Result<(), StepFailure>, ReconcileError> {
        let error = match self.store.open_secrets(&self.keyring, &key.namespace, sources).await {
            Ok(values) => return Ok(self.world.write_secrets(key, uid, path, revision, values).await),
            Err(error) => error,
        };
        let class = match error {
            OpenSecretsError::Db(error) => return Err(error.into()),
            OpenSecretsError::Changed { .. } => FailureClass::Moved,
            OpenSecretsError::Unopenable { .. } => FailureClass::Failed,
        };
        // What was found out about the values is out of date.
        self.memory.put_readable(key, Readable::new());
        Ok(Err(StepFailure { class, message: with_causes(&error) }))
    }

    /// Writes an event for each server whose secrets keep it from running, where that is news.
    pub(super) async fn tell_of_secrets(
        &self,
        uid: Uuid,
        previous: Option<&GatewayStatus>,
        status: &GatewayStatus,
    ) -> Result<(), ReconcileError> {
        let told = |server: &&ServerStatus| {
            let before =
                previous.and_then(|status| status.servers.iter().find(|one| one.name == server.name));
            before.is_some_and(|before| {
                (&before.reason, &before.last_error) == (&server.reason, &server.last_error)
            })
        };
        for server in status.servers.iter().filter(|server| !told(server)) {
            let Some(reason) = server.reason.as_deref().filter(|reason| reason.starts_with("Secret")) else {
                continue;
            };
            let message =
                format!("server {}: {}", server.name, server.last_error.as_deref().unwrap_or_default());
            self.store.record_event(uid, EventType::Warning, reason, &message, Utc::now()).await?;
        }
        Ok(())
    }
}

/// The values that can be opened, as far as that is known.
fn readable(secrets: &BTreeMap<String, SecretFacts>) -> Readable {
    let is_readable = |facts: &KeyFacts| !matches!(facts.unusable, Some(Unusable::Unreadable(_)));
    let values = secrets.values().flat_map(|secret| secret.keys.iter().map(|value| (secret.uid, value)));
    let readable = values.filter(|(_, (_, facts))| is_readable(facts));
    readable.map(|(uid, (key, facts))| (uid, key.clone(), facts.version)).collect()
}
