//! Giving a gateway the leases that it needs, and taking back those that it does not.
//!
//! The database says who holds a number; the host says whether the number is really free. Both are asked before
//! a number is given, and neither alone is believed.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::desired::Declared;
use bowline_core::labels::Role;
use bowline_core::lease::{Holder, LeaseKind, LeaseSlot, Leases, Ranges};
use bowline_core::observed::Observed;
use bowline_store::{GatewayError, Store, Take};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::memory::Memory;
use crate::reconcile::ReconcileError;
use crate::world::World;

/// How long a deleted gateway's port stays reserved for its name.
pub(crate) const RESERVATION: std::time::Duration = std::time::Duration::from_secs(3600);

/// Gives leases from one host's ranges.
pub(crate) struct Lessor<'a, W> {
    pub(crate) store: &'a Store,
    pub(crate) world: &'a W,
    pub(crate) memory: &'a Memory,
    pub(crate) ranges: &'a Ranges,
    /// The host's row in the store.
    pub(crate) host: Uuid,
}

impl<W: World> Lessor<'_, W> {
    /// Takes every lease that is needed and missing. What cannot be had is a problem of that slot.
    pub(crate) async fn provide(
        &self,
        declared: &mut Declared,
        now: DateTime<Utc>,
    ) -> Result<(), ReconcileError> {
        let fixed_port = declared.spec.port.map(i64::from);
        let port_slot = LeaseSlot::new(LeaseKind::Port, Holder::Gateway);
        if let (Some(fixed), Some(held)) = (fixed_port, declared.leases.get(&port_slot))
            && fixed != *held
        {
            // The old port goes only when the new one can be had: until then the gateway stays where it is.
            let taken = self.store.taken(self.host, LeaseKind::Port).await?;
            let problem = if taken.contains(&fixed) {
                Some(leased_elsewhere(fixed))
            } else if self.world.is_free(LeaseKind::Port, fixed).await? {
                None
            } else {
                Some(used_by_host(fixed))
            };
            match problem {
                Some(problem) => {
                    declared.lease_problems.insert(port_slot.clone(), problem);
                }
                None => {
                    let slots = std::slice::from_ref(&port_slot);
                    self.store.release_leases(declared.metadata.uid, slots).await?;
                    declared.leases.remove(&port_slot);
                }
            }
        }
        for slot in declared.lease_needs() {
            if declared.leases.contains_key(&slot) {
                continue;
            }
            let fixed = fixed_port.filter(|_| slot == port_slot);
            match self.take(declared, &slot, fixed, now).await? {
                Ok(value) => {
                    declared.leases.insert(slot, value);
                }
                Err(problem) => {
                    declared.lease_problems.insert(slot, problem);
                }
            }
        }
        Ok(())
    }

    /// Takes one lease, or says why it cannot be had.
    async fn take(
        &self,
        declared: &Declared,
        slot: &LeaseSlot,
        fixed: Option<i64>,
        now: DateTime<Utc>,
    ) -> Result<Result<i64, String>, ReconcileError> {
        let kind = slot.kind;
        let (preferred, mut reserved) = self.reservations(declared, kind, now).await?;
        let mut skipped: BTreeSet<i64> = self.memory.quarantined(kind, now).into_iter().collect();
        if let Some(value) = preferred {
            reserved.remove(&value);
        }
        loop {
            let taken = self.store.taken(self.host, kind).await?;
            let candidate = match fixed {
                Some(value) if taken.contains(&value) => {
                    return Ok(Err(leased_elsewhere(value)));
                }
                Some(value) if skipped.contains(&value) => {
                    return Ok(Err(used_by_host(value)));
                }
                Some(value) => Some(value),
                None => self.ranges.next_free(kind, &taken, &skipped, &reserved, preferred),
            };
            let Some(value) = candidate else {
                return Ok(Err(format!(
                    "the {kind} range {} is exhausted; widen it with {} or delete a gateway",
                    self.ranges.describe(kind),
                    Ranges::flag(kind),
                )));
            };
            if !self.world.is_free(kind, value).await? {
                tracing::info!(%kind, value, "the host uses a number of the range, skipping it");
                self.memory.quarantine(kind, value, now);
                skipped.insert(value);
                continue;
            }
            match self.store.take_lease(self.host, declared.metadata.uid, slot, value).await {
                Ok(Take::Held(value)) => return Ok(Ok(value)),
                // Somebody was faster: the next look shows it as taken.
                Ok(Take::Taken) => {}
                Err(GatewayError::Gone) => return Err(ReconcileError::Gone),
                Err(GatewayError::Db(error)) => return Err(error.into()),
            }
        }
    }

    /// The port that is reserved for this gateway's name, and those that are reserved for others.
    async fn reservations(
        &self,
        declared: &Declared,
        kind: LeaseKind,
        now: DateTime<Utc>,
    ) -> Result<(Option<i64>, BTreeSet<i64>), ReconcileError> {
        if kind != LeaseKind::Port {
            return Ok((None, BTreeSet::new()));
        }
        let key = declared.key();
        let reservations: BTreeMap<_, _> = self.store.reservations(self.host, now).await?;
        let own = reservations.iter().find(|(_, owner)| **owner == key).map(|(port, _)| *port);
        Ok((own, reservations.into_keys().collect()))
    }

    /// Gives back the leases of servers that are gone, once their containers are gone. Says whether there were any.
    pub(crate) async fn release_unneeded(
        &self,
        declared: &Declared,
        observed: &Observed,
    ) -> Result<bool, ReconcileError> {
        let needs: BTreeSet<_> = declared.lease_needs().into_iter().collect();
        let unneeded: Vec<_> = declared
            .leases
            .keys()
            .filter(|slot| !needs.contains(*slot) && !is_used(slot, observed))
            .cloned()
            .collect();
        if !unneeded.is_empty() {
            self.store.release_leases(declared.metadata.uid, &unneeded).await?;
        }
        Ok(!unneeded.is_empty())
    }

    /// Takes a number away that the host turned out to use, so that the next run leases another.
    pub(crate) async fn replace(
        &self,
        uid: Uuid,
        leases: &Leases,
        kind: LeaseKind,
        now: DateTime<Utc>,
    ) -> Result<(), ReconcileError> {
        let slot = LeaseSlot::new(kind, Holder::Gateway);
        if let Some(value) = leases.get(&slot) {
            self.memory.quarantine(kind, *value, now);
            self.store.release_leases(uid, &[slot]).await?;
        }
        Ok(())
    }
}

fn leased_elsewhere(port: i64) -> String {
    format!("port {port} is leased to another gateway; name another or none")
}

fn used_by_host(port: i64) -> String {
    format!("port {port} is in use on the host; name another or none")
}

/// Whether a container that may use the lease is still there.
fn is_used(slot: &LeaseSlot, observed: &Observed) -> bool {
    observed.containers.iter().any(|container| match (&slot.holder, &container.identity.role) {
        (Holder::Gateway, Role::Gateway) => true,
        (Holder::Server(holder), Role::Server(server)) => holder == server,
        _ => false,
    })
}
