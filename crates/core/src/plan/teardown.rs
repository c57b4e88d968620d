//! Removing everything of a gateway: containers, then networks, then files. Leases are given back by the
//! controller when nothing of this is left.

use super::{Planner, Unit};
use crate::labels::Role;
use crate::observed::ContainerState;
use crate::step::Step;

impl Planner<'_> {
    /// The gateway first, so that no client is served by half a gateway.
    pub(super) fn teardown(&mut self) {
        let observed = self.observed;
        let mut containers: Vec<_> = observed.containers.iter().collect();
        containers.sort_by_key(|container| (container.identity.role != Role::Gateway, &container.name));
        let mut waiting = false;
        for container in containers {
            waiting |= container.state == ContainerState::Removing;
            if self.is_held(&Unit::of(&container.identity.role)) {
                waiting = true;
            } else {
                self.remove_container(container);
            }
        }
        // A container that is still there may run, and needs its network and files until it is gone.
        if waiting {
            return;
        }
        for network in &observed.networks {
            let step = Step::RemoveNetwork { id: network.id.clone(), name: network.name.clone() };
            self.push(&Unit::Cleanup, step);
        }
        for uid in observed.trees.keys() {
            self.push(&Unit::Cleanup, Step::RemovePath { uid: *uid, path: String::new() });
        }
    }
}
