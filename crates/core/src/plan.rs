//! Desired and observed become the complete, ordered list of changes that makes one gateway true.
//!
//! Executing a plan makes no choice. Steps belong to a [`Unit`]; when one fails, what follows in its unit is
//! skipped and the other units go on, so that one server's trouble stays its own. What all units need comes
//! first, as [`Unit::Shared`].

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::desired::Desired;
use crate::labels::Role;
use crate::observed::Observed;
use crate::step::Step;

mod containers;
mod files;
mod teardown;
mod volumes;

/// The parts of a gateway that can fail by themselves.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Unit {
    /// What every container needs: network, directories, files. Its failure ends the plan.
    Shared,
    /// The gateway container.
    Gateway,
    /// The container of the server with this registry key.
    Server(String),
    /// The running gateway's reading of its files.
    Reload,
    /// What must not go before the containers that use it: networks and files. Skipped once anything has failed.
    Cleanup,
}

impl Unit {
    /// The unit of a container.
    pub fn of(role: &Role) -> Self {
        match role {
            Role::Gateway => Unit::Gateway,
            Role::Server(server) => Unit::Server(server.clone()),
            Role::Network => Unit::Shared,
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unit::Shared => f.write_str("shared"),
            Unit::Gateway => f.write_str("gateway"),
            Unit::Server(server) => write!(f, "server {server}"),
            Unit::Reload => f.write_str("reload"),
            Unit::Cleanup => f.write_str("cleanup"),
        }
    }
}

/// One step of a plan and the unit that it serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// Whose step it is.
    pub unit: Unit,
    /// The change.
    pub step: Step,
}

/// Everything to do for one gateway now, and when to look again although nobody asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The steps, in order.
    pub steps: Vec<Planned>,
    /// The earliest instant at which time alone makes another step possible.
    pub again_at: Option<DateTime<Utc>>,
}

impl Plan {
    /// Whether nothing is to be done now.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    fn push(&mut self, unit: Unit, step: Step) {
        self.steps.push(Planned { unit, step });
    }

    fn look_again(&mut self, at: DateTime<Utc>) {
        self.again_at = Some(self.again_at.map_or(at, |earlier| earlier.min(at)));
    }
}

impl fmt::Display for Plan {
    /// One step a line, as `apply --dry-run` prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|planned| writeln!(f, "{}", planned.step))
    }
}

/// Units that are held back after failures, and until when. Kept by the controller in memory: a hint that may be
/// lost, never progress.
pub type Holds = BTreeMap<Unit, DateTime<Utc>>;

/// How long a container must have run before its end lets it start again at once.
const SETTLED_RUN: Duration = Duration::from_secs(10);
/// First wait after a failed pull; doubles with each further failure up to [`PULL_BACKOFF_MAX`].
const PULL_BACKOFF: Duration = Duration::from_secs(10);
/// Longest wait between two pulls of one image.
const PULL_BACKOFF_MAX: Duration = Duration::from_secs(300);
/// How soon to look again at a removal that Docker has under way.
const REMOVAL_POLL: Duration = Duration::from_secs(1);

/// Plans one gateway. `desired` is `None` when it is deleted or was never declared.
pub fn plan(desired: Option<&Desired>, observed: &Observed, holds: &Holds, now: DateTime<Utc>) -> Plan {
    let mut plan = Planner { observed, holds, now, plan: Plan::default() };
    match desired {
        Some(desired) => plan.converge(desired),
        None => plan.teardown(),
    }
    plan.plan
}

/// When a failed pull may be tried again.
fn pull_again_at(failed_at: DateTime<Utc>, failures: u32) -> DateTime<Utc> {
    let wait = PULL_BACKOFF.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(PULL_BACKOFF_MAX);
    failed_at + wait
}

struct Planner<'a> {
    observed: &'a Observed,
    holds: &'a Holds,
    now: DateTime<Utc>,
    plan: Plan,
}

impl Planner<'_> {
    fn push(&mut self, unit: &Unit, step: Step) {
        self.plan.push(unit.clone(), step);
    }

    /// Whether the unit is held back now; then looks again when the hold ends.
    fn is_held(&mut self, unit: &Unit) -> bool {
        match self.holds.get(unit) {
            Some(until) if *until > self.now => {
                self.plan.look_again(*until);
                true
            }
            _ => false,
        }
    }

    /// Removals come first, because what is added may collide with what goes; then what all containers need,
    /// the gateway, the servers, and last the paths that no container sees any more.
    fn converge(&mut self, desired: &Desired) {
        let fates = self.remove_undeclared(desired);
        if !self.is_held(&Unit::Shared) {
            self.ensure_files(desired);
            self.ensure_network(desired);
            self.ensure_containers(desired, &fates);
            self.reload_if_stale(desired);
        }
        self.remove_leftover_paths(desired);
    }

    /// Makes the network where it is missing. One that differs was removed with the undeclared.
    fn ensure_network(&mut self, desired: &Desired) {
        let Some(wanted) = &desired.network else { return };
        if desired.suspended || self.has_network(desired) {
            return;
        }
        self.push(
            &Unit::Shared,
            Step::CreateNetwork {
                name: wanted.name.clone(),
                identity: wanted.identity.clone(),
                spec: wanted.spec.clone(),
            },
        );
    }

    /// Whether the declared network is there.
    fn has_network(&self, desired: &Desired) -> bool {
        desired.network.as_ref().is_some_and(|wanted| {
            self.observed.networks.iter().any(|seen| {
                seen.identity.uid == desired.uid && seen.identity.spec_hash == wanted.identity.spec_hash
            })
        })
    }
}

#[cfg(test)]
mod tests;
