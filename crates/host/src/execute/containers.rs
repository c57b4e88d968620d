//! The steps on containers that can fail for reasons which the status code does not tell.

use std::net::SocketAddr;
use std::path::Path;

use bollard::models::{ContainerInspectResponse, ContainerSummary, ContainerUpdateBody, MountType};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, RenameContainerOptionsBuilder, StartContainerOptions,
};
use bowline_core::container::{ContainerSpec, Limits};
use bowline_core::labels::Identity;
use bowline_core::object::GatewayKey;
use bowline_core::observed::{ContainerState, ObservedContainer};
use bowline_core::step::{FailureClass, StepFailure};

use super::{changed, failure, gone, looked};
use crate::Host;
use crate::create::{create_body, restart_policy};
use crate::engine::{CHANGE, within};
use crate::error::CallError;
use crate::observe::{Taken, lingers};

impl Host {
    pub(super) async fn create_container(
        &self,
        key: &GatewayKey,
        name: &str,
        identity: &Identity,
        spec: &ContainerSpec,
    ) -> Result<(), StepFailure> {
        if !self.owns(identity, key) {
            return Err(failure(
                FailureClass::Refused,
                format!("the labels of {name} are not those of {key}"),
            ));
        }
        self.check_sources(spec.binds.iter().map(|bind| bind.source.as_str())).await?;
        self.check_volumes(key, spec).await?;
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let call = self.engine.docker.create_container(Some(options), create_body(identity, spec));
        match within(CHANGE, call).await {
            Ok(created) => {
                for warning in created.warnings {
                    tracing::warn!(container = name, warning, "the Engine warned at create");
                }
                Ok(())
            }
            Err(CallError::Status { code: 409, message }) => {
                self.name_conflict(key, name, identity, &message).await
            }
            Err(error) => {
                let missing = spec.binds.iter().find(|bind| !Path::new(&bind.source).is_dir());
                match (error.status(), missing) {
                    (Some(400..500), Some(bind)) => Err(failure(
                        FailureClass::Moved,
                        format!("the directory {} is not there", bind.source),
                    )),
                    _ => Err(changed(&error)),
                }
            }
        }
    }

    /// Somebody has the name: us, from an attempt whose answer was lost; us, for something else; or another.
    async fn name_conflict(
        &self,
        key: &GatewayKey,
        name: &str,
        wanted: &Identity,
        message: &str,
    ) -> Result<(), StepFailure> {
        match self.holder(key, name).await? {
            Ok(ours) if is_same(&ours.identity, wanted) => Ok(()),
            Ok(_) => Err(failure(FailureClass::Moved, message)),
            Err(class) => Err(failure(class, message)),
        }
    }

    /// Whoever has a name that is wanted, if it is a container of ours; otherwise what that means for the step. Of
    /// one that is gone but for its name, too, it is noted that the name is taken.
    async fn holder(
        &self,
        key: &GatewayKey,
        name: &str,
    ) -> Result<Result<ObservedContainer, FailureClass>, StepFailure> {
        let holder = self.engine.container(name).await.map_err(|error| looked(&error))?;
        let Some(holder) = holder else {
            return Ok(Err(match self.note_unseen(key, name) {
                true => FailureClass::NameTaken,
                false => FailureClass::Moved,
            }));
        };
        Ok(match self.observed(holder).filter(|ours| !lingers(ours.state)) {
            Some(ours) => Ok(ours),
            None => {
                self.note_taken(key, name, Taken::Seen);
                Err(FailureClass::NameTaken)
            }
        })
    }

    pub(super) async fn start_container(&self, key: &GatewayKey, id: &str) -> Result<(), StepFailure> {
        let inspected =
            self.engine.container(id).await.map_err(|error| looked(&error))?.ok_or_else(|| gone(id))?;
        let container = match self.observed(inspected.clone()) {
            Some(container) if self.owns(&container.identity, key) => container,
            _ => {
                return Err(failure(
                    FailureClass::NameTaken,
                    format!("container {id} does not carry the labels of {key}; it is left alone"),
                ));
            }
        };
        if container.state == ContainerState::Running {
            return Ok(());
        }
        self.check_sources(sources(&inspected)).await?;
        self.give_volumes(key, &inspected).await?;
        let call = self.engine.docker.start_container(&container.id, None::<StartContainerOptions>);
        match within(CHANGE, call).await {
            Ok(()) => Ok(()),
            Err(error @ (CallError::Connection(_) | CallError::Deadline(_))) => Err(changed(&error)),
            Err(error) => Err(self.explain_start(&inspected, &container.id, error).await),
        }
    }

    /// Why a start failed, by our own look at what it needs.
    async fn explain_start(
        &self,
        container: &ContainerInspectResponse,
        id: &str,
        error: CallError,
    ) -> StepFailure {
        for source in sources(container) {
            if !Path::new(source).is_dir() {
                return failure(
                    FailureClass::Moved,
                    format!("the directory {source} is not there ({error})"),
                );
            }
        }
        if let Some(at) = published(container) {
            let bound = std::net::TcpListener::bind(at).is_err();
            // The port may be held by the Engine without anybody listening.
            let allocated = match self.engine.containers(&[]).await {
                Ok(all) => all.iter().any(|other| other.id.as_deref() != Some(id) && holds(other, at.port())),
                Err(_) => false,
            };
            if bound || allocated {
                return failure(FailureClass::PortTaken, format!("port {at} is in use ({error})"));
            }
        }
        changed(&error)
    }

    /// Refuses sources below the runtime directory that lead somewhere else by a link: the Engine would follow it
    /// as root. (A source that is not there is the Engine's to refuse.)
    async fn check_sources(&self, sources: impl Iterator<Item = &str>) -> Result<(), StepFailure> {
        let runtime = &self.settings.runtime_dir;
        let below: Vec<_> = sources
            .filter_map(|source| Some((Path::new(source), Path::new(source).strip_prefix(runtime).ok()?)))
            .collect();
        if below.is_empty() {
            return Ok(());
        }
        let Ok(real_runtime) = tokio::fs::canonicalize(runtime).await else { return Ok(()) };
        for (source, rest) in below {
            if let Ok(real) = tokio::fs::canonicalize(source).await
                && real != real_runtime.join(rest)
            {
                let message = format!("the directory {} is a link to {}", source.display(), real.display());
                return Err(failure(FailureClass::Refused, message));
            }
        }
        Ok(())
    }

    pub(super) async fn set_restart(
        &self,
        key: &GatewayKey,
        id: &str,
        restart: bool,
    ) -> Result<(), StepFailure> {
        let container = match self.own_container(key, id).await? {
            Some(container) => container,
            // What is gone does not start again.
            None if !restart => return Ok(()),
            None => return Err(gone(id)),
        };
        if container.restarts == restart || container.state == ContainerState::Removing {
            return Ok(());
        }
        let body = ContainerUpdateBody {
            restart_policy: Some(restart_policy(restart)),
            ..ContainerUpdateBody::default()
        };
        match within(CHANGE, self.engine.docker.update_container(&container.id, body)).await {
            Err(CallError::Status { code: 404, .. }) if !restart => Ok(()),
            other => other.map(drop).map_err(|error| changed(&error)),
        }
    }
}

impl Host {
    /// Gives a container of ours another name. Somebody else's object may have it.
    pub(super) async fn rename_container(
        &self,
        key: &GatewayKey,
        id: &str,
        to: &str,
    ) -> Result<(), StepFailure> {
        let container = match self.own_container(key, id).await? {
            Some(container) => container,
            // From an attempt whose answer was lost: the old name is gone, the new one is ours.
            None => match self.own_container(key, to).await? {
                Some(_) => return Ok(()),
                None => return Err(gone(id)),
            },
        };
        if container.name == to {
            return Ok(());
        }
        let options = RenameContainerOptionsBuilder::new().name(to).build();
        match within(CHANGE, self.engine.docker.rename_container(&container.id, options)).await {
            Ok(()) => Ok(()),
            Err(CallError::Status { code: 409, message }) => {
                let class = match self.holder(key, to).await? {
                    Ok(_) => FailureClass::Moved,
                    Err(class) => class,
                };
                Err(failure(class, message))
            }
            Err(error) => Err(changed(&error)),
        }
    }

    /// Sets all limits at once, as a create would: what was not asked for gets Docker's default.
    pub(super) async fn update_limits(
        &self,
        key: &GatewayKey,
        id: &str,
        limits: &Limits,
    ) -> Result<(), StepFailure> {
        let container = self.own_container(key, id).await?.ok_or_else(|| gone(id))?;
        let Limits { memory, nano_cpus, cpu_shares, pids } = limits;
        let body = ContainerUpdateBody {
            memory: Some(*memory),
            memory_swap: Some(*memory),
            nano_cpus: *nano_cpus,
            cpu_shares: Some(cpu_shares.unwrap_or(Limits::DEFAULT_CPU_SHARES)),
            pids_limit: Some(*pids),
            ..ContainerUpdateBody::default()
        };
        let call = self.engine.docker.update_container(&container.id, body);
        within(CHANGE, call).await.map(drop).map_err(|error| changed(&error))
    }
}

/// Whether an object that exists is the one that a create step makes.
pub(super) fn is_same(there: &Identity, wanted: &Identity) -> bool {
    let Identity { owner, host, key, uid, role, spec_hash, generation: _, epoch } = wanted;
    there.owner == *owner
        && there.host == *host
        && there.key == *key
        && there.uid == *uid
        && there.role == *role
        && there.spec_hash == *spec_hash
        && there.epoch == *epoch
}

/// Sources of a container's bind mounts.
fn sources(container: &ContainerInspectResponse) -> impl Iterator<Item = &str> {
    let mounts = container.host_config.as_ref().and_then(|config| config.mounts.as_deref());
    let binds = mounts.unwrap_or_default().iter().filter(|mount| mount.typ == Some(MountType::BIND));
    binds.filter_map(|mount| mount.source.as_deref())
}

/// The one published address of a container of ours.
pub(crate) fn published(container: &ContainerInspectResponse) -> Option<SocketAddr> {
    let bindings = container.host_config.as_ref()?.port_bindings.as_ref()?;
    let binding = bindings.values().flatten().flatten().next()?;
    Some(SocketAddr::new(
        binding.host_ip.as_deref()?.parse().ok()?,
        binding.host_port.as_deref()?.parse().ok()?,
    ))
}

fn holds(container: &ContainerSummary, port: u16) -> bool {
    container.ports.iter().flatten().any(|published| published.public_port == Some(port))
}

#[cfg(test)]
mod tests;
