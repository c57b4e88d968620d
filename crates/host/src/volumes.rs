//! Volumes of tenants: made with our labels, mounted only when they carry them, and given to the uid that runs on
//! them.
//!
//! A server's uid is leased, so that it may be another one when the server is declared anew; the files of its volume
//! follow it. Before a container starts, what is in its volumes is given to its uid ([`giving`]). No other container
//! of ours runs on the volume then, whatever the database says of whose it is; the walk follows no link and leaves
//! the file system nowhere.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use bollard::models::{ContainerInspectResponse, MountType, Volume, VolumeCreateRequest};
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListVolumesOptionsBuilder, RemoveVolumeOptionsBuilder,
};
use bowline_core::container::ContainerSpec;
use bowline_core::labels;
use bowline_core::object::GatewayKey;
use bowline_core::step::{FailureClass, StepFailure};
use bowline_core::volume::{ObservedVolume, VolumeIdentity};
use rustix::io::Errno;

use self::giving::Recipient;
use crate::Host;
use crate::engine::{CHANGE, Engine, INSPECT, LIST, absent, label_filter, within};
use crate::error::{CallError, HostError};
use crate::execute::{changed, failure, looked};
use crate::observe::Taken;

mod giving;

pub(crate) use self::giving::Walks;

/// The only driver of ours: a directory below the Engine's own.
const DRIVER: &str = "local";

impl Engine {
    /// Volumes that carry all these labels, with what is read from them.
    pub(crate) async fn volumes(&self, labels: &[(&str, &str)]) -> Result<Vec<ObservedVolume>, HostError> {
        let options = ListVolumesOptionsBuilder::new().filters(&label_filter(labels)).build();
        let listed = within(LIST, self.docker.list_volumes(Some(options)))
            .await
            .map_err(HostError::call("list volumes"))?;
        let mut volumes: Vec<_> = listed.volumes.unwrap_or_default().iter().filter_map(observed).collect();
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(volumes)
    }

    async fn volume(&self, name: &str) -> Result<Option<Volume>, CallError> {
        absent(within(INSPECT, self.docker.inspect_volume(name)).await)
    }

    /// Names of the containers with these labels that have the volume and are up: running, paused or about to be
    /// restarted. The one with the id `but` is left out.
    async fn users_of_volume(
        &self,
        volume: &str,
        labels: &[(&str, &str)],
        but: &str,
    ) -> Result<Vec<String>, CallError> {
        let mut filter = label_filter(labels);
        filter.insert("volume".to_owned(), vec![volume.to_owned()]);
        // Without `all` those that are up are listed.
        let options = ListContainersOptionsBuilder::new().filters(&filter).build();
        let listed = within(LIST, self.docker.list_containers(Some(options))).await?;
        let others = listed.into_iter().filter(|container| container.id.as_deref() != Some(but));
        let name = |names: Option<Vec<String>>| names.unwrap_or_default().into_iter().next();
        Ok(others
            .map(|container| name(container.names).unwrap_or_default().trim_start_matches('/').to_owned())
            .collect())
    }

    /// Removes a volume that is still the one that was seen; one that is gone is removed.
    pub(crate) async fn remove_volume(&self, volume: &ObservedVolume) -> Result<(), CallError> {
        match self.volume(&volume.name).await? {
            None => return Ok(()),
            Some(found) if observed(&found).is_some_and(|again| again.identity == volume.identity) => {}
            Some(_) => return Err(CallError::Other("its labels are not what they were".to_owned())),
        }
        let options = RemoveVolumeOptionsBuilder::new().force(false).build();
        absent(within(CHANGE, self.docker.remove_volume(&volume.name, Some(options))).await).map(drop)
    }
}

impl Host {
    /// The volumes of this owner, of one namespace or of all.
    ///
    /// # Errors
    /// When the list is not complete.
    pub async fn volumes(&self, namespace: Option<&str>) -> Result<Vec<ObservedVolume>, HostError> {
        let owner = &self.settings.owner;
        let installation = owner.installation.to_string();
        let mut filter =
            vec![(labels::INSTANCE, owner.instance.as_str()), (labels::INSTALLATION, installation.as_str())];
        filter.extend(namespace.map(|namespace| (labels::NAMESPACE, namespace)));
        let mut volumes = self.engine.volumes(&filter).await?;
        volumes.retain(|volume| volume.identity.owner == *owner);
        Ok(volumes)
    }

    /// Removes a volume of this owner; one that is gone is removed.
    ///
    /// # Errors
    /// When it is another one by now, when a container has it, or when the Engine did not do it.
    pub async fn remove_volume(&self, volume: &ObservedVolume) -> Result<(), HostError> {
        self.engine.remove_volume(volume).await.map_err(HostError::call("remove a volume"))
    }

    pub(crate) async fn create_volume(
        &self,
        key: &GatewayKey,
        name: &str,
        identity: &VolumeIdentity,
    ) -> Result<(), StepFailure> {
        if identity.owner != self.settings.owner || identity.namespace != key.namespace {
            let message = format!("the labels of {name} are not those of the namespace {}", key.namespace);
            return Err(failure(FailureClass::Refused, message));
        }
        let there = match self.engine.volume(name).await.map_err(|error| looked(&error))? {
            Some(volume) => volume,
            None => {
                let request = VolumeCreateRequest {
                    name: Some(name.to_owned()),
                    driver: Some(DRIVER.to_owned()),
                    driver_opts: Some(HashMap::new()),
                    labels: Some(identity.to_labels().into_iter().collect()),
                    ..VolumeCreateRequest::default()
                };
                // The answer is the volume of this name, whoever was faster: its labels are read like any other's.
                within(CHANGE, self.engine.docker.create_volume(request))
                    .await
                    .map_err(|error| changed(&error))?
            }
        };
        if observed(&there).is_some_and(|seen| seen.identity.is_same(identity)) {
            return Ok(());
        }
        self.note_taken(key, name, Taken::unseen());
        Err(failure(FailureClass::NameTaken, format!("somebody else has a volume named {name}")))
    }

    /// Refuses to mount what is not there, or is not a volume of this namespace with our labels: the Engine would make
    /// one without labels, or mount anybody's.
    pub(crate) async fn check_volumes(
        &self,
        key: &GatewayKey,
        spec: &ContainerSpec,
    ) -> Result<(), StepFailure> {
        let names: BTreeSet<&str> = spec.volumes.iter().map(|volume| volume.name.as_str()).collect();
        for name in names {
            self.own_volume(key, name).await?;
        }
        Ok(())
    }

    /// Gives what is in a container's volumes to the uid that it runs as, and refuses when another container of ours
    /// runs on one of them.
    pub(crate) async fn give_volumes(
        &self,
        key: &GatewayKey,
        container: &ContainerInspectResponse,
    ) -> Result<(), StepFailure> {
        let id = container.id.as_deref().unwrap_or_default();
        for name in mounted_volumes(container) {
            let volume = self.own_volume(key, name).await?;
            self.check_unused(name, id).await?;
            let Some(to) = Recipient::of(container) else { continue };
            let (name, uid, root) = (volume.name, to.uid, PathBuf::from(volume.mountpoint));
            self.walks.give(&root, to, self.settings.uids).await.map_err(|error| {
                let message = format!("the volume {name} cannot be given to the uid {uid}: {error}");
                match Errno::from_io_error(&error) {
                    Some(Errno::PERM | Errno::ACCESS | Errno::ROFS) => failure(
                        FailureClass::Refused,
                        format!(
                            "{message}; `bowline serve` must run as root and be allowed to write to {}",
                            root.display()
                        ),
                    ),
                    _ => failure(FailureClass::Failed, message),
                }
            })?;
        }
        Ok(())
    }

    /// Refuses a volume on which a container of ours other than this one runs: two never write to one volume, and the
    /// files of one that runs are given to nobody else.
    async fn check_unused(&self, volume: &str, id: &str) -> Result<(), StepFailure> {
        let owner = &self.settings.owner;
        let installation = owner.installation.to_string();
        let ours =
            [(labels::INSTANCE, owner.instance.as_str()), (labels::INSTALLATION, installation.as_str())];
        let users = self.engine.users_of_volume(volume, &ours, id).await.map_err(|error| looked(&error))?;
        match users.first() {
            None => Ok(()),
            Some(other) => {
                let message = format!("the container {other} runs on the volume {volume}");
                Err(failure(FailureClass::Moved, message))
            }
        }
    }

    /// The volume of this name, when it is ours and the namespace's.
    async fn own_volume(&self, key: &GatewayKey, name: &str) -> Result<Volume, StepFailure> {
        let found = self.engine.volume(name).await.map_err(|error| looked(&error))?;
        let Some(volume) = found else {
            return Err(failure(FailureClass::Moved, format!("the volume {name} is not there")));
        };
        let ours = observed(&volume).is_some_and(|seen| {
            seen.identity.owner == self.settings.owner && seen.identity.namespace == key.namespace
        });
        if ours {
            return Ok(volume);
        }
        let message =
            format!("the volume {name} does not carry the labels of {}; it is left alone", key.namespace);
        Err(failure(FailureClass::Moved, message))
    }
}

/// A volume of ours, whosever: with all labels, made by our driver and without options, which could make it any
/// directory or device of the host.
fn observed(volume: &Volume) -> Option<ObservedVolume> {
    let plain = volume.driver == DRIVER && volume.options.is_empty();
    let identity = VolumeIdentity::from_labels(&volume.labels).filter(|_| plain)?;
    Some(ObservedVolume { name: volume.name.clone(), identity })
}

/// Names of the volumes that a container of ours was made with, each once.
pub(crate) fn mounted_volumes(container: &ContainerInspectResponse) -> BTreeSet<&str> {
    let mounts = container.host_config.as_ref().and_then(|config| config.mounts.as_deref());
    let volumes = mounts.unwrap_or_default().iter().filter(|mount| mount.typ == Some(MountType::VOLUME));
    volumes.filter_map(|mount| mount.source.as_deref()).collect()
}

#[cfg(test)]
mod tests;
