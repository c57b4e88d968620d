//! Volumes of one gateway: claimed before anything is decided, given up when nothing of the gateway may use them.

use std::time::Duration;

use bowline_core::desired::Declared;
use bowline_core::labels::Role;
use bowline_core::observed::Observed;
use bowline_core::plan::Unit;
use bowline_core::volume::{VolumeKey, VolumeProblem};
use bowline_store::GatewayError;

use super::{LEASE_RETRY, ReconcileError, Reconciler};
use crate::world::World;

/// How soon a volume is asked for again that is about to be removed.
const REMOVAL_RETRY: Duration = Duration::from_secs(1);

impl<W: World> Reconciler<W> {
    /// Claims the volumes that the gateway's servers need; what another gateway has is a problem of that volume. One
    /// that is paused claims nothing. Says whether there are any.
    pub(super) async fn claim_volumes(&self, declared: &mut Declared) -> Result<bool, ReconcileError> {
        let needs = declared.volume_needs();
        if needs.is_empty() {
            return Ok(false);
        }
        let (uid, namespace) = (declared.metadata.uid, declared.key().namespace);
        if declared.is_paused() {
            declared.volumes = self.store.foresee_volumes(self.host, uid, &namespace, &needs).await?;
            return Ok(true);
        }
        declared.volumes = match self.store.claim_volumes(self.host, uid, &namespace, &needs).await {
            Ok(claims) => claims,
            Err(GatewayError::Gone) => return Err(ReconcileError::Gone),
            Err(GatewayError::Db(error)) => return Err(error.into()),
        };
        Ok(true)
    }

    /// Gives up what no server of the gateway may use any more, once no container of that server is there.
    pub(super) async fn release_volumes(
        &self,
        declared: &Declared,
        observed: &Observed,
    ) -> Result<(), ReconcileError> {
        let mut unneeded = self.store.held_volumes(declared.metadata.uid).await?;
        unneeded.retain(|key| !is_needed(key, declared, observed));
        if !unneeded.is_empty() {
            self.store.release_volumes(declared.metadata.uid, &unneeded).await?;
        }
        Ok(())
    }
}

/// Whether the gateway keeps a volume. What it only waits with goes to whoever can use it: a server whose other volumes
/// are somebody else's has no container, and would keep that one waiting in turn.
fn is_needed(key: &VolumeKey, declared: &Declared, observed: &Observed) -> bool {
    let role = Role::Server(key.server.clone());
    let rollout = declared.rollouts.of(&Unit::Server(key.server.clone()));
    let way_back = rollout.and_then(|rollout| rollout.proven.as_ref());
    (declared.may_use(key) && !declared.volumes.block(&key.server))
        || observed.containers.iter().any(|container| container.identity.role == role)
        || way_back.is_some_and(|proven| proven.container.volumes.iter().any(|v| v.identity.key == *key))
}

/// When to ask again for volumes that could not be had: nothing but time tells that another gateway gave one up.
pub(super) fn retry(declared: &Declared) -> Option<Duration> {
    let problems = declared.volumes.problems.values();
    problems
        .map(|problem| match problem {
            VolumeProblem::InUse(_) => LEASE_RETRY,
            VolumeProblem::Removing => REMOVAL_RETRY,
        })
        .min()
}
