//! Containers: which stay, which take another's place, which go; what is put right in place.
//!
//! A replacement is made before anything stops: created under a name beside the one that it will have. Then the
//! old container is retired in the order that no restart of the daemon can undo (no restart any more, stop,
//! rename), the new one takes the name and is started, and the old one is kept as the way back until
//! [`crate::rollout`] says that the new one answers. Going back is the same the other way round.

use std::collections::BTreeSet;

use super::{Planner, REMOVAL_POLL, SETTLED_RUN, Unit, pull_again_at};
use crate::container::NetworkMode;
use crate::desired::{Desired, Wanted, WantedContainer, bound_directories};
use crate::labels::Role;
use crate::names;
use crate::observed::{ContainerState, Entry, ImageState, ObservedContainer};
use crate::step::Step;

/// What is done about one container role.
struct Slot<'a> {
    role: Role,
    wanted: &'a Wanted,
    /// What shall run: the declared container, or the one that stays in its place.
    target: Option<&'a WantedContainer>,
    /// Digest of the specification to go back to, while another one is on trial.
    way_back: Option<&'a str>,
    image: Option<&'a str>,
}

impl Slot<'_> {
    fn unit(&self) -> Unit {
        Unit::of(&self.role)
    }

    /// Whether this container is a revision of the slot: not of another object, placement, or role.
    fn holds(&self, seen: &ObservedContainer, desired: &Desired) -> bool {
        seen.identity.uid == desired.uid && seen.identity.role == self.role
    }
}

impl Desired {
    fn slots(&self) -> Vec<Slot<'_>> {
        let instead = self.gateway_instead.as_deref();
        let gateway = self.slot(Role::Gateway, &self.gateway, instead, Some(self.gateway_image.as_str()));
        let servers = self.servers.iter().map(|server| {
            let role = Role::Server(server.name.clone());
            self.slot(role, &server.wanted, server.instead.as_deref(), server.image.as_deref())
        });
        std::iter::once(gateway).chain(servers).collect()
    }

    fn slot<'a>(
        &'a self,
        role: Role,
        wanted: &'a Wanted,
        instead: Option<&'a WantedContainer>,
        image: Option<&'a str>,
    ) -> Slot<'a> {
        let declared = match wanted {
            Wanted::Container(container) => Some(&**container),
            _ => None,
        };
        let on_trial = self.rollouts.of(&Unit::of(&role)).filter(|rollout| rollout.trial.is_some());
        let proven = on_trial.and_then(|rollout| rollout.proven.as_ref());
        let way_back = proven.map(|proven| proven.container.identity.spec_hash.as_str());
        Slot { role, wanted, target: instead.or(declared), way_back, image }
    }
}

/// What becomes of the containers that are there.
#[derive(Debug, Default)]
pub(super) struct Fates {
    /// Ids of the containers that stay or are retired in the course of their slot's own steps.
    kept: BTreeSet<String>,
}

impl Planner<'_> {
    /// Removes what is ours and cannot stay: containers of another uid, epoch or role, broken ones, second ones of
    /// a revision; then networks that differ. What another revision replaces is left to its slot.
    pub(super) fn remove_undeclared(&mut self, desired: &Desired) -> Fates {
        let observed = self.observed;
        let network_differs = observed.networks.iter().any(|seen| !is_declared(seen, desired));
        let mut fates = Fates::default();
        for slot in desired.slots() {
            let mut revisions = BTreeSet::new();
            let mut candidates: Vec<_> = observed
                .containers
                .iter()
                .filter(|seen| {
                    slot.holds(seen, desired) && self.may_stay(seen, &slot, desired, network_differs)
                })
                .collect();
            // Of several of one revision the one that runs, and of those always the same.
            candidates
                .sort_by_key(|seen| (seen.state != ContainerState::Running, std::cmp::Reverse(&seen.id)));
            for seen in candidates {
                // Without a target nothing runs better for being stopped: one container stays, whatever it is.
                let revision = slot.target.map(|_| seen.identity.spec_hash.as_str());
                if revisions.insert(revision) {
                    fates.kept.insert(seen.id.clone());
                }
            }
        }
        for container in observed.containers.iter().filter(|seen| !fates.kept.contains(&seen.id)) {
            self.remove_container(container);
        }
        for network in &observed.networks {
            if !is_declared(network, desired) {
                let step = Step::RemoveNetwork { id: network.id.clone(), name: network.name.clone() };
                self.push(&Unit::Shared, step);
            }
        }
        fates
    }

    /// Whether a container of the slot's role need not be removed before anything else is done.
    fn may_stay(
        &self,
        seen: &ObservedContainer,
        slot: &Slot<'_>,
        desired: &Desired,
        network_differs: bool,
    ) -> bool {
        if matches!(seen.state, ContainerState::Dead | ContainerState::Removing) {
            return false;
        }
        let epoch = match (slot.target, slot.wanted) {
            (Some(target), _) => seen.identity.epoch == target.identity.epoch,
            (None, Wanted::Image(_) | Wanted::Lease { .. }) => true,
            (None, _) => return false,
        };
        let attached = !seen.live.networks.is_empty();
        epoch
            && !(network_differs && attached)
            && self.can_start(seen, desired)
            && self.sees_its_directories(seen, slot)
    }

    /// Whether Docker could start a stopped container: one that was attached to a network that is gone cannot be.
    fn can_start(&self, seen: &ObservedContainer, desired: &Desired) -> bool {
        if is_up(seen) || seen.live.networks.is_empty() {
            return true;
        }
        let own = self.network_id(desired);
        seen.live.networks.iter().all(|network| own == Some(network))
    }

    /// Id of the declared network, if it is there.
    fn network_id(&self, desired: &Desired) -> Option<&String> {
        self.observed.networks.iter().find(|seen| is_declared(seen, desired)).map(|seen| &seen.id)
    }

    /// Whether the directories that a running container has bound are still the ones at their paths. One that was
    /// lost will be made anew, and a running container would go on seeing the old one.
    fn sees_its_directories(&self, seen: &ObservedContainer, slot: &Slot<'_>) -> bool {
        // The start resolves the paths.
        if !is_up(seen) {
            return true;
        }
        let tree = self.observed.trees.get(&seen.identity.uid);
        // Of an earlier revision that is neither wanted nor the way back nothing is asked: it goes anyway.
        let made_so = slot.target.filter(|target| target.identity.spec_hash == seen.identity.spec_hash);
        let has_secrets = made_so.is_some_and(|target| !target.secrets.is_empty());
        bound_directories(&seen.identity.role, has_secrets)
            .iter()
            .all(|path| matches!(tree.and_then(|tree| tree.get(path)), Some(Entry::Directory { .. })))
    }

    /// Stops and removes. Restarting is switched off first: a daemon that is restarted between two of these
    /// steps must not bring the container back.
    pub(super) fn remove_container(&mut self, container: &ObservedContainer) {
        let unit = Unit::of(&container.identity.role);
        let (id, name) = (container.id.clone(), container.name.clone());
        if container.state == ContainerState::Removing {
            self.plan.look_again(self.now + REMOVAL_POLL);
            return;
        }
        self.stop_container(container);
        self.push(&unit, Step::RemoveContainer { id, name });
    }

    fn stop_container(&mut self, container: &ObservedContainer) {
        let unit = Unit::of(&container.identity.role);
        let (id, name) = (container.id.clone(), container.name.clone());
        if !is_up(container) {
            return;
        }
        if container.restarts {
            let step = Step::SetRestart { id: id.clone(), name: name.clone(), restart: false };
            self.push(&unit, step);
        }
        self.push(&unit, Step::StopContainer { id, name });
    }

    pub(super) fn ensure_containers(&mut self, desired: &Desired, fates: &Fates) {
        let observed = self.observed;
        for slot in desired.slots() {
            let unit = slot.unit();
            let kept = || {
                let containers = observed.containers.iter();
                containers.filter(|seen| fates.kept.contains(&seen.id) && slot.holds(seen, desired))
            };
            if desired.suspended {
                kept().for_each(|container| self.stop_container(container));
                continue;
            }
            if let Wanted::Image(state) = slot.wanted {
                self.ensure_image(&unit, slot.image, state);
            }
            if let Some(target) = slot.target
                && !self.is_held(&unit)
            {
                self.ensure_secret_file(desired, &slot.role);
                self.converge_slot(desired, &slot, target, kept().collect());
            }
        }
    }

    /// Makes one container of the slot the target, and the others nothing or the way back.
    fn converge_slot(
        &mut self,
        desired: &Desired,
        slot: &Slot<'_>,
        target: &WantedContainer,
        there: Vec<&ObservedContainer>,
    ) {
        let unit = slot.unit();
        let is_current = |seen: &&ObservedContainer| seen.identity.spec_hash == target.identity.spec_hash;
        let current = there.iter().copied().find(|seen| is_current(seen));
        let others: Vec<_> = there.into_iter().filter(|seen| !is_current(seen)).collect();
        let beside = self.beside(&target.name, &target.identity.spec_hash);
        let made = match (current, others.is_empty()) {
            (Some(_), _) => None,
            (None, true) => Some(&target.name),
            // What is retired gives the name free later.
            (None, false) => Some(&beside),
        };
        if let Some(name) = made {
            self.create(&unit, name, target);
        }
        for other in &others {
            self.retire(&unit, other, &target.name);
        }
        match (current, made) {
            (Some(container), _) => self.keep_running(desired, &unit, container, target),
            (None, Some(name)) => {
                let id = target.name.clone();
                if *name != id {
                    self.push(
                        &unit,
                        Step::RenameContainer { id: name.clone(), name: name.clone(), to: id.clone() },
                    );
                }
                self.push(&unit, Step::StartContainer { id, name: target.name.clone() });
            }
            (None, None) => {}
        }
        for other in others.iter().filter(|seen| slot.way_back != Some(&seen.identity.spec_hash)) {
            let (id, name) = (other.id.clone(), self.name_after_retirement(other, &target.name));
            self.push(&unit, Step::RemoveContainer { id, name });
        }
    }

    /// Lets a container end and give its name free. What is no longer to run is never started by the daemon.
    fn retire(&mut self, unit: &Unit, other: &ObservedContainer, name: &str) {
        let id = &other.id;
        if other.restarts {
            let step = Step::SetRestart { id: id.clone(), name: other.name.clone(), restart: false };
            self.push(unit, step);
        }
        if is_up(other) {
            self.push(unit, Step::StopContainer { id: id.clone(), name: other.name.clone() });
        }
        let to = self.name_after_retirement(other, name);
        if to != other.name {
            self.push(unit, Step::RenameContainer { id: id.clone(), name: other.name.clone(), to });
        }
    }

    fn name_after_retirement(&self, other: &ObservedContainer, name: &str) -> String {
        if other.name == name { self.beside(name, &other.identity.spec_hash) } else { other.name.clone() }
    }

    /// The name beside another one, or, where somebody else has that, the one with the whole digest.
    fn beside(&self, name: &str, spec_hash: &str) -> String {
        let beside = names::beside(name, spec_hash);
        match self.observed.taken_names.contains(&beside) {
            true => format!("{name}__{spec_hash}"),
            false => beside,
        }
    }

    fn ensure_image(&mut self, unit: &Unit, reference: Option<&str>, state: &ImageState) {
        let Some(reference) = reference else { return };
        match state {
            ImageState::Present(_) | ImageState::Pulling { .. } => return,
            ImageState::Failed { at, failures, .. } => {
                let again = pull_again_at(*at, *failures);
                if again > self.now {
                    self.plan.look_again(again);
                    return;
                }
            }
            ImageState::Absent => {}
        }
        let step = Step::PullImage { reference: reference.to_owned() };
        // Two servers of one image ask once.
        if !self.plan.steps.iter().any(|planned| planned.step == step) {
            self.push(unit, step);
        }
    }

    fn create(&mut self, unit: &Unit, name: &str, wanted: &WantedContainer) {
        self.ensure_volumes(unit, wanted);
        let step = Step::CreateContainer {
            name: name.to_owned(),
            identity: wanted.identity.clone(),
            spec: Box::new(wanted.spec.clone()),
        };
        self.push(unit, step);
    }

    /// Puts right in place what Docker can change in place, and starts what does not run.
    fn keep_running(
        &mut self,
        desired: &Desired,
        unit: &Unit,
        container: &ObservedContainer,
        target: &WantedContainer,
    ) {
        let id = || container.id.clone();
        if container.name != target.name {
            let step =
                Step::RenameContainer { id: id(), name: container.name.clone(), to: target.name.clone() };
            self.push(unit, step);
        }
        let name = || target.name.clone();
        if container.state == ContainerState::Paused {
            self.push(unit, Step::UnpauseContainer { id: id(), name: name() });
        }
        let limits = &target.spec.limits;
        if !container.live.has(limits) {
            self.push(unit, Step::UpdateContainer { id: id(), name: name(), limits: limits.clone() });
        }
        match container.state {
            // Docker starts it again by itself, with its own back-off.
            ContainerState::Running | ContainerState::Restarting | ContainerState::Paused => {
                self.let_restart(unit, container, target);
            }
            ContainerState::Created | ContainerState::Exited { .. } => {
                if let Some(again) = self.rests_until(container) {
                    self.plan.look_again(again);
                    return;
                }
                self.let_restart(unit, container, target);
                self.push(unit, Step::StartContainer { id: id(), name: name() });
            }
            ContainerState::Dead | ContainerState::Removing => return,
        }
        self.ensure_attached(desired, unit, container, target);
    }

    fn let_restart(&mut self, unit: &Unit, container: &ObservedContainer, target: &WantedContainer) {
        if !container.restarts {
            let (id, name) = (container.id.clone(), target.name.clone());
            self.push(unit, Step::SetRestart { id, name, restart: true });
        }
    }

    /// Until when a container that ended soon after its start is left alone. One that we stopped ourselves, to go
    /// back to it later, has no such rest.
    fn rests_until(&self, container: &ObservedContainer) -> Option<chrono::DateTime<chrono::Utc>> {
        let (started, finished) = (container.started_at?, container.finished_at?);
        let ran = finished.signed_duration_since(started).to_std().unwrap_or_default();
        let again = finished + SETTLED_RUN;
        (container.restarts && ran < SETTLED_RUN && again > self.now).then_some(again)
    }

    /// Attaches a running container to the network that it should be on, and to no other.
    fn ensure_attached(
        &mut self,
        desired: &Desired,
        unit: &Unit,
        container: &ObservedContainer,
        target: &WantedContainer,
    ) {
        if !is_up(container) {
            return;
        }
        let own = match &target.spec.network {
            NetworkMode::None => None,
            NetworkMode::Named(network) => Some((network, self.network_id(desired).cloned())),
        };
        let (id, name) = (&container.id, &target.name);
        for network in &container.live.networks {
            if own.as_ref().is_none_or(|(_, own)| own.as_ref() != Some(network)) {
                let step =
                    Step::DisconnectNetwork { id: id.clone(), name: name.clone(), network: network.clone() };
                self.push(unit, step);
            }
        }
        if let Some((network, own)) = own
            && own.is_none_or(|own| !container.live.networks.contains(&own))
        {
            let step = Step::ConnectNetwork { id: id.clone(), name: name.clone(), network: network.clone() };
            self.push(unit, step);
        }
    }
}

/// Whether processes of the container exist, or will without our doing.
fn is_up(container: &ObservedContainer) -> bool {
    match container.state {
        ContainerState::Running | ContainerState::Paused | ContainerState::Restarting => true,
        ContainerState::Created
        | ContainerState::Exited { .. }
        | ContainerState::Dead
        | ContainerState::Removing => false,
    }
}

/// Whether a network is the declared one.
fn is_declared(seen: &crate::observed::ObservedNetwork, desired: &Desired) -> bool {
    desired.network.as_ref().is_some_and(|wanted| {
        seen.identity.uid == desired.uid && seen.identity.spec_hash == wanted.identity.spec_hash
    })
}
