//! What stays in the place of what is declared: the way back of [`crate::rollout`], decided for every container.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Rendering, Wanted, WantedContainer};
use crate::floor;
use crate::labels::Role;
use crate::lease::{Holder, LeaseKind};
use crate::observed::ContainerState;
use crate::plan::Unit;
use crate::rollout::{Look, Proven, Rollout, Troubles};
use crate::secret::refresh;

/// Reasons of [`Wanted::Never`] that lie in what was written: an edit that cannot be carried out stops nothing.
const UNPROVEN: [&str; 10] = [
    "InvalidConfig",
    "InsecureRemote",
    "Unsupported",
    "NoCommand",
    "InvalidImage",
    "UnknownImageUser",
    "HostPathNotAllowed",
    "InvalidVolume",
    "VolumeInUse",
    "VolumeRemoving",
];
/// `progressDeadlineSeconds` where the specification says nothing.
const PROGRESS_DEADLINE: Duration = Duration::from_secs(60);

/// What changes from one run to the next although nothing was declared or seen.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// The time.
    pub now: DateTime<Utc>,
    /// Steps that failed lately.
    pub troubles: &'a Troubles,
}

/// The next record of one container, and what runs in the place of what is declared.
pub(super) struct Settled {
    pub(super) rollout: Rollout,
    pub(super) instead: Option<Box<WantedContainer>>,
    pub(super) peer_uid: Option<u32>,
}

impl Rendering<'_> {
    /// Decides for one unit. `config_revision` and `unchanged` matter for the gateway only.
    pub(super) fn settle(
        &self,
        unit: &Unit,
        wanted: &Wanted,
        peer_uid: Option<u32>,
        config_revision: &str,
        unchanged: &BTreeSet<String>,
    ) -> Settled {
        let before = self.declared.rollouts.of(unit).cloned().unwrap_or_default();
        let usable = |proven: &Proven| self.can_be_made(proven);
        let rollout = match wanted {
            Wanted::Container(_) if self.declared.is_paused() || self.declared.spec.is_suspended() => before,
            Wanted::Container(container) => {
                let look = Look {
                    observed: self.observed,
                    unit,
                    trouble: self.moment.troubles.get(unit),
                    retry: self.declared.retries(unit),
                    deadline: self.progress_deadline(),
                    now: self.moment.now,
                    config_revision,
                    unchanged,
                    proven_servers: self.proven_servers(),
                    gateway_on_trial: self.gateway_on_trial(),
                };
                before.advance(container, peer_uid, usable, &look)
            }
            Wanted::Image(_) | Wanted::Lease { .. } => before,
            Wanted::Never { reason, .. } if UNPROVEN.contains(&reason.as_str()) => before,
            _ => Rollout::default(),
        };
        let stays = match wanted {
            Wanted::Container(container) => {
                rollout.failed.as_ref().is_some_and(|failed| failed.spec_hash == container.identity.spec_hash)
            }
            Wanted::Image(_) | Wanted::Never { .. } => true,
            _ => false,
        };
        let way_back = rollout.proven.as_deref().filter(|proven| stays && usable(proven));
        let instead =
            way_back.and_then(|proven| self.with_todays_secrets(&proven.container)).map(|container| {
                let name = self.name_of(&container.identity.role);
                Box::new(WantedContainer { name, ..container })
            });
        let peer_uid = way_back.and_then(|proven| proven.peer_uid);
        Settled { rollout, instead, peer_uid }
    }

    /// Whether what answers as the gateway is the revision on trial. It is not while another one still runs, or runs
    /// again: the one on trial may never come to a container.
    fn gateway_on_trial(&self) -> bool {
        let Some(trial) = &self.declared.rollouts.gateway.trial else { return false };
        !self.observed.containers.iter().any(|seen| {
            seen.identity.uid == self.uid()
                && seen.identity.role == Role::Gateway
                && seen.identity.spec_hash != trial.spec_hash
                && seen.state == ContainerState::Running
        })
    }

    fn proven_servers(&self) -> BTreeSet<String> {
        let servers = self.declared.rollouts.servers.iter();
        servers.filter(|(_, rollout)| rollout.proven.is_some()).map(|(name, _)| name.clone()).collect()
    }

    fn progress_deadline(&self) -> Duration {
        let seconds = self.declared.spec.progress_deadline_seconds;
        seconds.map_or(PROGRESS_DEADLINE, |seconds| Duration::from_secs(seconds.into()))
    }

    /// Whether a proven revision can be made as it was: with leases that are still this gateway's, and of
    /// directories that are still its own, and with a value for each of its secrets.
    fn can_be_made(&self, proven: &Proven) -> bool {
        let WantedContainer { identity, spec, .. } = &proven.container;
        let (holder, port) = match &identity.role {
            Role::Gateway => (Holder::Gateway, self.declared.lease(LeaseKind::Port, Holder::Gateway)),
            Role::Server(server) => (Holder::Server(server.clone()), None),
            Role::Network => return false,
        };
        let uid = self.declared.lease(LeaseKind::Uid, holder);
        identity.uid == self.uid()
            && identity.epoch == self.declared.epoch
            && spec.publish.as_ref().map(|publish| i64::from(publish.host_port)) == port
            && spec.user.is_none_or(|user| uid == Some(i64::from(user)))
            && refresh(&proven.container.secrets, &self.declared.secrets).is_some()
            && floor::admits(identity, spec, self.settings)
    }
}
