//! Volumes are made before the container that has them, by a step of their own: what a create call of a container
//! makes on the way carries no labels, and takes anybody's volume of that name.

use super::{Planner, Unit};
use crate::desired::WantedContainer;
use crate::step::Step;

impl Planner<'_> {
    /// Makes the container's volumes that are not there. Called before its container is made, and never removes
    /// one: volumes outlive containers and gateways.
    pub(super) fn ensure_volumes(&mut self, unit: &Unit, wanted: &WantedContainer) {
        for volume in &wanted.volumes {
            let is_there = self
                .observed
                .volumes
                .iter()
                .any(|seen| seen.name == volume.name && seen.identity.is_same(&volume.identity));
            if !is_there {
                let step =
                    Step::CreateVolume { name: volume.name.clone(), identity: volume.identity.clone() };
                self.push(unit, step);
            }
        }
    }
}
