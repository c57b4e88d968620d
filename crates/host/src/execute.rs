//! Steps of a plan, made true: one call to the Engine or one file operation each. What is already so is success.
//!
//! Failures are told apart by the status code; where the code does not say enough (500 at start: the port, a
//! mount, iptables), a look of our own does.

pub(crate) mod containers;
mod networks;

use std::sync::Arc;

use bollard::query_parameters::{RemoveContainerOptionsBuilder, StopContainerOptions};
use bowline_core::object::GatewayKey;
use bowline_core::observed::{ContainerState, ObservedContainer};
use bowline_core::step::{FailureClass, Step, StepFailure};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::engine::{CHANGE, within};
use crate::error::CallError;
use crate::files::{FileError, Trees};
use crate::probe::ReloadError;
use crate::{Host, HostError, blocking};

impl Host {
    /// Makes one step of the plan of `key` true.
    ///
    /// Changes nothing that does not carry this owner's labels (or mark) and the gateway's key. Can be repeated at
    /// any time: a step whose effect is there succeeds.
    ///
    /// # Errors
    /// The [`StepFailure`]'s class says who can do something about it.
    pub async fn execute(&self, key: &GatewayKey, step: &Step) -> Result<(), StepFailure> {
        match step {
            Step::PullImage { reference } => {
                self.pulls.begin(reference, key);
                Ok(())
            }
            Step::EnsureDirectory { uid, path, mode } => {
                let (key, uid, path, mode) = (key.clone(), *uid, path.clone(), *mode);
                self.with_trees(move |trees| trees.ensure_directory(&key, uid, &path, mode)).await
            }
            Step::WriteFile { uid, path, mode, content } => {
                let (key, uid, path, mode, content) =
                    (key.clone(), *uid, path.clone(), *mode, content.clone());
                self.with_trees(move |trees| trees.write_file(&key, uid, &path, mode, content.0.as_bytes()))
                    .await
            }
            // The step names its values, and nobody in here can open them.
            Step::WriteSecrets { path, .. } => Err(failure(
                FailureClass::Refused,
                format!("{path} is written together with its values only"),
            )),
            Step::RemovePath { uid, path } => {
                let (key, uid, path) = (key.clone(), *uid, path.clone());
                self.with_trees(move |trees| trees.remove(&key, uid, &path)).await
            }
            Step::CreateNetwork { name, identity, spec } => {
                self.create_network(key, name, identity, spec).await
            }
            Step::RemoveNetwork { id, .. } => self.remove_network(key, id).await,
            Step::CreateVolume { name, identity } => self.create_volume(key, name, identity).await,
            Step::CreateContainer { name, identity, spec } => {
                self.create_container(key, name, identity, spec).await
            }
            Step::StartContainer { id, .. } => self.start_container(key, id).await,
            Step::UnpauseContainer { id, .. } => self.unpause_container(key, id).await,
            Step::RenameContainer { id, to, .. } => self.rename_container(key, id, to).await,
            Step::UpdateContainer { id, limits, .. } => self.update_limits(key, id, limits).await,
            Step::ConnectNetwork { id, network, .. } => self.connect(key, id, network).await,
            Step::DisconnectNetwork { id, network, .. } => self.disconnect(key, id, network).await,
            Step::SetRestart { id, restart, .. } => self.set_restart(key, id, *restart).await,
            Step::StopContainer { id, .. } => self.stop_container(key, id).await,
            Step::RemoveContainer { id, .. } => self.remove_container(key, id).await,
            Step::ReloadGateway { uid } => match self.reload(*uid).await {
                Ok(_) => Ok(()),
                Err(error @ ReloadError::Refused(_)) => {
                    Err(failure(FailureClass::Refused, error.to_string()))
                }
                Err(error @ (ReloadError::Unreachable(_) | ReloadError::Invalid(_))) => {
                    Err(failure(FailureClass::Failed, error.to_string()))
                }
            },
        }
    }

    /// Makes a [`Step::WriteSecrets`] true: `values` are the variables of the step's sources with what goes into
    /// them. They are in the file afterwards, and nowhere else.
    ///
    /// # Errors
    /// As [`Host::execute`]. Names variables, never values.
    pub async fn write_secrets(
        &self,
        key: &GatewayKey,
        uid: Uuid,
        path: &str,
        revision: &str,
        values: Vec<(String, Zeroizing<String>)>,
    ) -> Result<(), StepFailure> {
        let (key, path, revision) = (key.clone(), path.to_owned(), revision.to_owned());
        self.with_trees(move |trees| trees.write_secrets(&key, uid, &path, &revision, &values)).await
    }

    async fn with_trees(
        &self,
        work: impl FnOnce(&Trees) -> Result<(), FileError> + Send + 'static,
    ) -> Result<(), StepFailure> {
        let trees = Arc::clone(&self.trees);
        blocking(move || work(&trees)).await.map_err(|error| {
            let class = match error {
                FileError::Absent(_) | FileError::Unexpected(_) => FailureClass::Moved,
                FileError::Foreign(_) | FileError::BadPath(_) | FileError::Unwritable(_) => {
                    FailureClass::Refused
                }
                FileError::Io { .. } => FailureClass::Failed,
            };
            failure(class, error.to_string())
        })
    }

    async fn unpause_container(&self, key: &GatewayKey, id: &str) -> Result<(), StepFailure> {
        let container = self.own_container(key, id).await?.ok_or_else(|| gone(id))?;
        if container.state != ContainerState::Paused {
            return Ok(());
        }
        within(CHANGE, self.engine.docker.unpause_container(&container.id))
            .await
            .map_err(|error| changed(&error))
    }

    async fn stop_container(&self, key: &GatewayKey, id: &str) -> Result<(), StepFailure> {
        let Some(container) = self.own_container(key, id).await? else {
            return Ok(());
        };
        match container.state {
            ContainerState::Running | ContainerState::Paused | ContainerState::Restarting => {}
            ContainerState::Created
            | ContainerState::Exited { .. }
            | ContainerState::Dead
            | ContainerState::Removing => return Ok(()),
        }
        let call = self.engine.docker.stop_container(&container.id, None::<StopContainerOptions>);
        match within(CHANGE, call).await {
            Err(CallError::Status { code: 404, .. }) => Ok(()),
            other => other.map_err(|error| changed(&error)),
        }
    }

    async fn remove_container(&self, key: &GatewayKey, id: &str) -> Result<(), StepFailure> {
        let Some(container) = self.own_container(key, id).await? else {
            return Ok(());
        };
        if container.state == ContainerState::Removing {
            return Ok(());
        }
        // Never by force: what runs was not stopped by the plan, so the plan is out of date.
        let options = RemoveContainerOptionsBuilder::new().v(true).force(false).build();
        match within(CHANGE, self.engine.docker.remove_container(&container.id, Some(options))).await {
            Err(CallError::Status { code: 404, .. }) => Ok(()),
            other => other.map_err(|error| changed(&error)),
        }
    }

    /// The container with this id or name, when it is there and this gateway's.
    async fn own_container(
        &self,
        key: &GatewayKey,
        id: &str,
    ) -> Result<Option<ObservedContainer>, StepFailure> {
        let Some(found) = self.engine.container(id).await.map_err(|error| looked(&error))? else {
            return Ok(None);
        };
        match self.observed(found) {
            Some(container) if self.owns(&container.identity, key) => Ok(Some(container)),
            _ => Err(failure(
                FailureClass::Moved,
                format!("container {id} does not carry the labels of {key}; it is left alone"),
            )),
        }
    }
}

pub(crate) fn failure(class: FailureClass, message: impl Into<String>) -> StepFailure {
    StepFailure { class, message: message.into() }
}

fn gone(id: &str) -> StepFailure {
    failure(FailureClass::Moved, format!("container {id} is not there"))
}

/// A look at the world failed: nothing was changed.
pub(crate) fn looked(error: &CallError) -> StepFailure {
    let class = match error {
        CallError::Connection(_) | CallError::Deadline(_) => FailureClass::Unavailable,
        CallError::Status { .. } | CallError::Other(_) => FailureClass::Failed,
    };
    failure(class, error.to_string())
}

/// Likewise, through one of the calls that tell what they were about.
fn looked_at(error: &HostError) -> StepFailure {
    let class = if error.is_unavailable() { FailureClass::Unavailable } else { FailureClass::Failed };
    failure(class, bowline_core::causes::with_causes(error))
}

/// A change failed. A deadline is this one call's: the Engine may be well otherwise.
pub(crate) fn changed(error: &CallError) -> StepFailure {
    let class = match error {
        CallError::Status { code: 404 | 409, .. } => FailureClass::Moved,
        CallError::Status { code: 400..500, .. } => FailureClass::Refused,
        CallError::Connection(_) => FailureClass::Unavailable,
        CallError::Status { .. } | CallError::Deadline(_) | CallError::Other(_) => FailureClass::Failed,
    };
    failure(class, error.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn failures_are_classified_by_code_and_never_by_text() {
        let status = |code| CallError::Status { code, message: "port is already allocated".to_owned() };
        for (error, expected) in [
            (status(404), FailureClass::Moved),
            (status(409), FailureClass::Moved),
            (status(400), FailureClass::Refused),
            (status(403), FailureClass::Refused),
            (status(500), FailureClass::Failed),
            (CallError::Connection(String::new()), FailureClass::Unavailable),
            (CallError::Deadline(Duration::from_secs(60)), FailureClass::Failed),
        ] {
            assert_eq!(changed(&error).class, expected);
        }
        assert_eq!(looked(&CallError::Deadline(Duration::from_secs(5))).class, FailureClass::Unavailable);
    }
}
