//! The end of a gateway: containers, network, files, leases, and the object last.

use std::collections::BTreeSet;

use bowline_core::desired::Requests;
use bowline_core::floor;
use bowline_core::lease::{Holder, LeaseKind, LeaseSlot};
use bowline_core::object::GatewayKey;
use bowline_core::plan::plan;
use bowline_core::report;
use bowline_core::schedule::Outcome;
use bowline_store::{FinishDeleteError, GatewayRecord};
use chrono::Utc;
use uuid::Uuid;

use super::{ReconcileError, Reconciler, previous_status};
use crate::leases::RESERVATION;
use crate::world::World;

/// Removals have no specification: their failures are remembered under this word, and under how often users asked for
/// something, so that `bowline retry` forgets them.
fn revision(requests: i64) -> String {
    format!("removal/{requests}")
}

impl<W: World> Reconciler<W> {
    /// Removes what is left of a gateway that is being deleted or was never declared. Leases are given back and
    /// the object ends when a look at the world finds nothing.
    pub(super) async fn remove(
        &self,
        key: &GatewayKey,
        record: Option<&GatewayRecord>,
    ) -> Result<Outcome, ReconcileError> {
        let uid = record.map_or(Uuid::nil(), |record| record.object.metadata.uid);
        let generation = record.map_or(0, |record| record.object.metadata.generation);
        let observed = self.world.observe(key, &BTreeSet::new()).await?;
        let requests = record.map_or(0, |record| Requests::total(&record.requests));
        let revision = revision(requests);
        let (holds, _) = self.memory.recall(key, &revision);
        let plan = plan(None, &observed, &holds, Utc::now());
        floor::check(&plan, key, &self.settings)?;
        self.prober.forget(uid);
        if observed.containers.is_empty() && observed.networks.is_empty() && observed.trees.is_empty() {
            self.memory.forget(key);
            if let Some(record) = record {
                self.finish(key, record).await?;
            }
            return Ok(Outcome::Settled);
        }
        self.execute(key, uid, &revision, &plan).await?;
        let (holds, failures) = self.memory.recall(key, &revision);
        if let Some(record) = record
            && let Some(placement) = &record.placement
        {
            let previous = previous_status(&record.object);
            let now = Utc::now();
            let status =
                report::terminating(generation, requests, &observed, &failures, previous.as_ref(), now);
            self.report(uid, placement.epoch, previous.as_ref(), &status).await?;
        }
        Ok(self.next(&plan, holds.values().min().copied()))
    }

    /// Gives the leases back, keeps the port for the name for a while, and ends the object.
    async fn finish(&self, key: &GatewayKey, record: &GatewayRecord) -> Result<(), ReconcileError> {
        let uid = record.object.metadata.uid;
        let port = record.leases.get(&LeaseSlot::new(LeaseKind::Port, Holder::Gateway));
        if let Some(port) = port {
            self.store.reserve_port(self.host, key, *port, Utc::now() + RESERVATION).await?;
        }
        self.store.release_all(uid).await?;
        match self.store.finish_delete(uid).await {
            Ok(_) => {
                tracing::info!("gateway removed");
                Ok(())
            }
            Err(FinishDeleteError::Db(error)) => Err(error.into()),
            // A lease was taken or the deletion undone meanwhile: the next run sees it.
            Err(FinishDeleteError::LeasesRemain | FinishDeleteError::NotTerminating) => {
                Err(ReconcileError::Gone)
            }
        }
    }
}
