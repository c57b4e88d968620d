//! Carrying out a plan: step by step, unit by unit.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::desired::Declared;
use bowline_core::lease::LeaseKind;
use bowline_core::object::{EventType, GatewayKey};
use bowline_core::plan::{Plan, Planned, Unit};
use bowline_core::step::{FailureClass, Step, StepFailure};
use bowline_core::volume::ObservedVolume;
use chrono::Utc;
use uuid::Uuid;

use super::{ReconcileError, Reconciler};
use crate::world::World;

impl<W: World> Reconciler<W> {
    /// Carries a plan out, step by step. A unit whose step failed does nothing more; the others go on.
    pub(super) async fn execute(
        &self,
        key: &GatewayKey,
        uid: Uuid,
        revision: &str,
        plan: &Plan,
    ) -> Result<BTreeMap<Unit, StepFailure>, ReconcileError> {
        let mut failed: BTreeMap<Unit, StepFailure> = BTreeMap::new();
        let mut skipped: BTreeSet<&Unit> = BTreeSet::new();
        for Planned { unit, step } in &plan.steps {
            let blocked = failed.contains_key(unit)
                || failed.contains_key(&Unit::Shared)
                || (*unit == Unit::Cleanup && !failed.is_empty());
            if blocked {
                skipped.insert(unit);
                continue;
            }
            let done = match step {
                Step::WriteSecrets { uid, path, revision, sources } => {
                    self.write_secrets(key, *uid, path, revision, sources).await?
                }
                step => self.world.execute(key, step).await,
            };
            if step.changes_engine() {
                tracing::info!(%step, ok = done.is_ok(), "step");
            }
            match (unit, step) {
                (Unit::Gateway, Step::StartContainer { .. } | Step::StopContainer { .. }) => {
                    self.prober.reset(uid);
                }
                (Unit::Server(server), Step::StartContainer { .. }) => self.prober.restarted(uid, server),
                _ => {}
            }
            if let (Step::CreateVolume { name, identity }, Ok(())) = (step, &done) {
                let made = ObservedVolume { name: name.clone(), identity: identity.clone() };
                self.store.record_volumes(self.host, &[made]).await?;
            }
            self.note(uid, step, done.as_ref().err()).await?;
            if let Err(failure) = done {
                tracing::warn!(%step, class = ?failure.class, error = %failure, "step failed");
                self.memory.failed(key, revision, unit.clone(), &failure, Utc::now());
                failed.insert(unit.clone(), failure);
            }
        }
        let (holds, _) = self.memory.recall(key, revision);
        let now = Utc::now();
        for (unit, until) in holds {
            // A unit that is still held, or that others kept from its steps, did nothing: that is no success.
            if !failed.contains_key(&unit) && !skipped.contains(&unit) && until <= now {
                self.memory.succeeded(key, &unit);
            }
        }
        if !plan.is_empty() {
            self.prober.hurry(uid);
        }
        Ok(failed)
    }

    /// Gives away the leases whose numbers the host turned out to use.
    pub(super) async fn heed(
        &self,
        declared: &Declared,
        failed: &BTreeMap<Unit, StepFailure>,
    ) -> Result<(), ReconcileError> {
        for failure in failed.values() {
            let kind = match failure.class {
                FailureClass::PortTaken => LeaseKind::Port,
                FailureClass::SubnetTaken => LeaseKind::Subnet,
                _ => continue,
            };
            self.lessor().replace(declared.metadata.uid, &declared.leases, kind, Utc::now()).await?;
        }
        Ok(())
    }

    /// Writes the step as an event of the object, where people would look for it.
    async fn note(
        &self,
        uid: Uuid,
        step: &Step,
        failure: Option<&StepFailure>,
    ) -> Result<(), ReconcileError> {
        let reason = match step {
            Step::PullImage { .. } => "Pulling",
            Step::CreateContainer { .. } | Step::CreateNetwork { .. } | Step::CreateVolume { .. } => {
                "Created"
            }
            Step::StartContainer { .. } | Step::UnpauseContainer { .. } => "Started",
            Step::StopContainer { .. } => "Stopped",
            Step::RemoveContainer { .. } | Step::RemoveNetwork { .. } => "Removed",
            Step::UpdateContainer { .. } | Step::ConnectNetwork { .. } | Step::DisconnectNetwork { .. } => {
                "Corrected"
            }
            Step::RenameContainer { .. }
            | Step::EnsureDirectory { .. }
            | Step::WriteFile { .. }
            | Step::WriteSecrets { .. }
            | Step::RemovePath { .. }
            | Step::SetRestart { .. }
            | Step::ReloadGateway { .. } => "Changed",
        };
        let now = Utc::now();
        match failure {
            Some(failure) => {
                let message = format!("{step}: {failure}");
                self.store.record_event(uid, EventType::Warning, "Failed", &message, now).await?;
            }
            None if step.changes_engine() && reason != "Changed" => {
                self.store.record_event(uid, EventType::Normal, reason, &step.to_string(), now).await?;
            }
            None => {}
        }
        Ok(())
    }
}
