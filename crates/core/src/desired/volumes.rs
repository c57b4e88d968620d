//! The volumes of a server container: what its entry asks for, under the names that they have on the Engine.

use super::servers::Hindrance;
use super::{DesiredVolume, Rendering};
use crate::container::VolumeMount;
use crate::names;
use crate::resource::ServerSpec;
use crate::template::RenderedServer;
use crate::volume::{self, VolumeIdentity, VolumeKey};

impl Rendering<'_> {
    /// The volumes of one server, and where its container has them.
    pub(super) fn volumes(
        &self,
        server: &ServerSpec,
        rendered: &RenderedServer,
    ) -> Result<(Vec<DesiredVolume>, Vec<VolumeMount>), Hindrance> {
        let requests = volume::read_all(&rendered.volumes)
            .map_err(|error| Hindrance::Never(error.reason(), error.to_string()))?;
        let claims = &self.declared.volumes;
        let mut volumes: Vec<DesiredVolume> = Vec::with_capacity(requests.len());
        let mut mounts = Vec::with_capacity(requests.len());
        for request in requests {
            let key = VolumeKey::new(&server.name, request.volume);
            if let Some(problem) = claims.problems.get(&key.to_string()) {
                let message = format!("the volume {key} of namespace {} {problem}", self.key.namespace);
                return Err(Hindrance::Never(problem.reason(), message));
            }
            let volume = self.volume(key);
            mounts.push(VolumeMount {
                name: volume.name.clone(),
                target: request.target,
                read_only: request.read_only,
            });
            // One volume may lie at two paths.
            if !volumes.contains(&volume) {
                volumes.push(volume);
            }
        }
        Ok((volumes, mounts))
    }

    /// One volume by the name that it has already, or else by the one that it would get. Identity is labels: a
    /// volume that took another name once, because somebody else's had its own, is found again.
    fn volume(&self, key: VolumeKey) -> DesiredVolume {
        let owner = &self.settings.owner;
        let tenant = self.declared.volumes.tenant;
        let namespace = self.key.namespace.clone();
        let usual = names::volume(&owner.instance, &namespace, &key);
        let identity =
            VolumeIdentity { owner: owner.clone(), host: self.settings.host.clone(), namespace, tenant, key };
        let there = self.observed.volumes.iter().filter(|seen| seen.identity.is_same(&identity));
        let name = match there.map(|seen| &seen.name).min() {
            Some(name) => name.clone(),
            None if self.observed.taken_names.contains(&usual) => {
                names::fallback(&usual, &owner.instance, tenant)
            }
            None => usual,
        };
        DesiredVolume { name, identity }
    }
}
