//! Containers: which stay, which go, which are made, started, stopped.

use std::collections::BTreeSet;

use super::{Planner, REMOVAL_POLL, SETTLED_RUN, Unit, pull_again_at};
use crate::container::NetworkMode;
use crate::desired::{Desired, Wanted, WantedContainer, bound_directories};
use crate::labels::Role;
use crate::observed::{ContainerState, Entry, ImageState, ObservedContainer};
use crate::step::Step;

/// What is done about one container role.
struct Slot<'a> {
    role: Role,
    wanted: &'a Wanted,
    image: Option<&'a str>,
}

impl Desired {
    fn slots(&self) -> Vec<Slot<'_>> {
        let gateway =
            Slot { role: Role::Gateway, wanted: &self.gateway, image: Some(self.gateway_image.as_str()) };
        let servers = self.servers.iter().map(|server| Slot {
            role: Role::Server(server.name.clone()),
            wanted: &server.wanted,
            image: server.image.as_deref(),
        });
        std::iter::once(gateway).chain(servers).collect()
    }
}

impl Planner<'_> {
    /// Removes what is ours and not declared: containers of another uid, of a role that is gone, of another
    /// specification, second ones of a role; then networks. Returns the ids of the containers that stay.
    pub(super) fn remove_undeclared(&mut self, desired: &Desired) -> BTreeSet<String> {
        let network_stays = self.has_network(desired);
        let mut kept = BTreeSet::new();
        for slot in desired.slots() {
            let candidates = self.observed.containers.iter().filter(|seen| {
                seen.identity.uid == desired.uid
                    && seen.identity.role == slot.role
                    && may_stay(seen, slot.wanted, network_stays)
                    && self.sees_its_directories(seen)
            });
            // Of several that may stay, the one that runs.
            if let Some(best) =
                candidates.max_by_key(|seen| (seen.state == ContainerState::Running, &seen.id))
            {
                kept.insert(best.id.clone());
            }
        }
        let observed = self.observed;
        for container in observed.containers.iter().filter(|seen| !kept.contains(&seen.id)) {
            self.remove_container(container);
        }
        for network in &observed.networks {
            let stays = network_stays
                && network.identity.uid == desired.uid
                && desired
                    .network
                    .as_ref()
                    .is_some_and(|w| w.identity.spec_hash == network.identity.spec_hash);
            if !stays {
                let step = Step::RemoveNetwork { id: network.id.clone(), name: network.name.clone() };
                self.push(&Unit::Shared, step);
            }
        }
        kept
    }

    /// Whether the directories that a running container has bound are still the ones at their paths. One that was
    /// lost will be made anew, and a running container would go on seeing the old one.
    fn sees_its_directories(&self, seen: &ObservedContainer) -> bool {
        match seen.state {
            ContainerState::Running | ContainerState::Paused | ContainerState::Restarting => {}
            // The start resolves the paths.
            ContainerState::Created
            | ContainerState::Exited { .. }
            | ContainerState::Dead
            | ContainerState::Removing => return true,
        }
        let tree = self.observed.trees.get(&seen.identity.uid);
        bound_directories(&seen.identity.role)
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
        match container.state {
            ContainerState::Running | ContainerState::Paused | ContainerState::Restarting => {}
            ContainerState::Created
            | ContainerState::Exited { .. }
            | ContainerState::Dead
            | ContainerState::Removing => return,
        }
        if container.restarts {
            let step = Step::SetRestart { id: id.clone(), name: name.clone(), restart: false };
            self.push(&unit, step);
        }
        self.push(&unit, Step::StopContainer { id, name });
    }

    pub(super) fn ensure_containers(&mut self, desired: &Desired, kept: &BTreeSet<String>) {
        let observed = self.observed;
        for slot in desired.slots() {
            let unit = Unit::of(&slot.role);
            let current = observed
                .containers
                .iter()
                .find(|seen| kept.contains(&seen.id) && seen.identity.role == slot.role);
            if desired.suspended {
                if let Some(container) = current {
                    self.stop_container(container);
                }
                continue;
            }
            match slot.wanted {
                Wanted::Container(wanted) if !self.is_held(&unit) => match current {
                    Some(container) => self.keep_running(&unit, container),
                    None => self.make(&unit, wanted),
                },
                Wanted::Image(state) => self.ensure_image(&unit, slot.image, state),
                Wanted::Container(_) | Wanted::Disabled | Wanted::Never { .. } | Wanted::Lease { .. } => {}
            }
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

    fn make(&mut self, unit: &Unit, wanted: &WantedContainer) {
        let WantedContainer { name, identity, spec } = wanted;
        self.push(
            unit,
            Step::CreateContainer {
                name: name.clone(),
                identity: identity.clone(),
                spec: Box::new(spec.clone()),
            },
        );
        self.push(unit, Step::StartContainer { id: name.clone(), name: name.clone() });
    }

    fn keep_running(&mut self, unit: &Unit, container: &ObservedContainer) {
        let (id, name) = (container.id.clone(), container.name.clone());
        match container.state {
            // Docker starts it again by itself, with its own back-off.
            ContainerState::Running | ContainerState::Restarting => {
                if !container.restarts {
                    self.push(unit, Step::SetRestart { id, name, restart: true });
                }
            }
            ContainerState::Paused => self.push(unit, Step::UnpauseContainer { id, name }),
            ContainerState::Created | ContainerState::Exited { .. } => {
                if let (Some(started), Some(finished)) = (container.started_at, container.finished_at) {
                    let short =
                        finished.signed_duration_since(started).to_std().unwrap_or_default() < SETTLED_RUN;
                    let again = finished + SETTLED_RUN;
                    if short && again > self.now {
                        self.plan.look_again(again);
                        return;
                    }
                }
                if !container.restarts {
                    let step = Step::SetRestart { id: id.clone(), name: name.clone(), restart: true };
                    self.push(unit, step);
                }
                self.push(unit, Step::StartContainer { id, name });
            }
            // Neither is kept.
            ContainerState::Dead | ContainerState::Removing => {}
        }
    }
}

/// Whether a container of the right uid and role may stay.
fn may_stay(seen: &ObservedContainer, wanted: &Wanted, network_stays: bool) -> bool {
    if matches!(seen.state, ContainerState::Dead | ContainerState::Removing) {
        return false;
    }
    match wanted {
        Wanted::Container(wanted) => {
            let attached = matches!(wanted.spec.network, NetworkMode::Named(_));
            seen.identity.spec_hash == wanted.identity.spec_hash
                && seen.identity.epoch == wanted.identity.epoch
                && (network_stays || !attached)
        }
        // Nothing runs better for being stopped before what replaces it can be made.
        Wanted::Image(_) | Wanted::Lease { .. } => true,
        Wanted::Disabled | Wanted::Never { .. } => false,
    }
}
