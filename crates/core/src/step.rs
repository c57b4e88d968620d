//! One change of the world, as data. Each mutating step is one call to the Engine or one operation on files, so
//! that a crash can only fall between two steps or inside one that is repeatable.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::container::{ContainerSpec, Limits, NetworkSpec};
use crate::labels::Identity;
use crate::secret::SecretSource;
use crate::volume::VolumeIdentity;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// Ask for the image in the background; done when the pull was begun, not when it ended.
    PullImage {
        /// Reference as written.
        reference: String,
    },
    /// Make a directory below `gateways/<uid>` with these permission bits, or put the bits right. The empty path
    /// is the tree's root, made together with the mark that makes the tree ours.
    EnsureDirectory {
        /// Uid of the Gateway object.
        uid: Uuid,
        /// Relative path.
        path: String,
        /// Permission bits.
        mode: u32,
    },
    /// Write a file below `gateways/<uid>`: to a temporary name, synced, renamed.
    WriteFile {
        /// Uid of the Gateway object.
        uid: Uuid,
        /// Relative path.
        path: String,
        /// Permission bits.
        mode: u32,
        /// The content.
        content: Content,
    },
    /// Write the secret file of a server below `gateways/<uid>`. The step names the values; who carries it out opens
    /// them.
    WriteSecrets {
        /// Uid of the Gateway object.
        uid: Uuid,
        /// Relative path, `secrets/<server directory>/env`; mode is [`FILE_MODE`](crate::secret::FILE_MODE).
        path: String,
        /// What an observation tells of the file afterwards, as
        /// [`Entry::Secret`](crate::observed::Entry::Secret).
        revision: String,
        /// The lines, sorted by variable.
        sources: Vec<SecretSource>,
    },
    /// Remove what is at a path below `gateways/<uid>`, with all below it. The empty path is the whole tree.
    RemovePath {
        /// Uid of the Gateway object.
        uid: Uuid,
        /// Relative path.
        path: String,
    },
    /// Make a network.
    CreateNetwork {
        /// Its name.
        name: String,
        /// Its labels.
        identity: Identity,
        /// What it is.
        spec: NetworkSpec,
    },
    /// Remove a network; one that is gone is removed.
    RemoveNetwork {
        /// Full id.
        id: String,
        /// Name, for people.
        name: String,
    },
    /// Make a volume; one of ours that is there is made.
    CreateVolume {
        /// Its name on the Engine.
        name: String,
        /// Its labels.
        identity: VolumeIdentity,
    },
    /// Make a container.
    CreateContainer {
        /// Its name.
        name: String,
        /// Its labels.
        identity: Identity,
        /// What it is.
        spec: Box<ContainerSpec>,
    },
    /// Start a container; one that runs is started.
    StartContainer {
        /// Full id, or the name where the same plan makes it.
        id: String,
        /// Name, for people.
        name: String,
    },
    /// Unpause a container.
    UnpauseContainer {
        /// Full id.
        id: String,
        /// Name, for people.
        name: String,
    },
    /// Give a container another name.
    RenameContainer {
        /// Full id, or the name where the same plan makes it.
        id: String,
        /// Name until now, for people.
        name: String,
        /// Name from now on.
        to: String,
    },
    /// Set the limits of a container, running or not (`docker update`).
    UpdateContainer {
        /// Full id.
        id: String,
        /// Name, for people.
        name: String,
        /// The limits that it shall have.
        limits: Limits,
    },
    /// Attach a running container to the gateway's own network.
    ConnectNetwork {
        /// Full id of the container.
        id: String,
        /// Its name, for people.
        name: String,
        /// Name of the network.
        network: String,
    },
    /// Detach a container from a network; one that is detached is detached.
    DisconnectNetwork {
        /// Full id of the container.
        id: String,
        /// Its name, for people.
        name: String,
        /// Full id of the network.
        network: String,
    },
    /// Set whether Docker starts the container again by itself (`unless-stopped` or `no`).
    SetRestart {
        /// Full id.
        id: String,
        /// Name, for people.
        name: String,
        /// `true` is `unless-stopped`.
        restart: bool,
    },
    /// Stop a container and wait for its end; one that is stopped or gone is stopped.
    StopContainer {
        /// Full id.
        id: String,
        /// Name, for people.
        name: String,
    },
    /// Remove a container and its anonymous volumes; one that is gone is removed.
    RemoveContainer {
        /// Full id.
        id: String,
        /// Name, for people.
        name: String,
    },
    /// Ask a running gateway to read its files again.
    ReloadGateway {
        /// Uid of the Gateway object.
        uid: Uuid,
    },
}

impl Step {
    /// Whether the step is a mutating call to the Engine.
    pub fn changes_engine(&self) -> bool {
        match self {
            Step::PullImage { .. }
            | Step::CreateNetwork { .. }
            | Step::RemoveNetwork { .. }
            | Step::CreateVolume { .. }
            | Step::CreateContainer { .. }
            | Step::StartContainer { .. }
            | Step::UnpauseContainer { .. }
            | Step::RenameContainer { .. }
            | Step::UpdateContainer { .. }
            | Step::ConnectNetwork { .. }
            | Step::DisconnectNetwork { .. }
            | Step::SetRestart { .. }
            | Step::StopContainer { .. }
            | Step::RemoveContainer { .. } => true,
            Step::EnsureDirectory { .. }
            | Step::WriteFile { .. }
            | Step::WriteSecrets { .. }
            | Step::RemovePath { .. }
            | Step::ReloadGateway { .. } => false,
        }
    }
}

impl fmt::Display for Step {
    /// One line as `apply --dry-run` prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::PullImage { reference } => write!(f, "pull image {reference}"),
            Step::EnsureDirectory { path, mode, .. } => {
                write!(f, "make directory {} (mode {mode:04o})", if path.is_empty() { "." } else { path })
            }
            Step::WriteFile { path, mode, content, .. } => {
                write!(f, "write file {path} (mode {mode:04o}, {} bytes)", content.0.len())
            }
            Step::WriteSecrets { path, sources, .. } => {
                let values = if sources.len() == 1 { "value" } else { "values" };
                write!(f, "write secret file {path} ({} {values})", sources.len())
            }
            Step::RemovePath { path, .. } => {
                write!(f, "remove {}", if path.is_empty() { "all files" } else { path })
            }
            Step::CreateNetwork { name, spec, .. } => {
                write!(f, "create network {name} (subnet {})", spec.subnet)
            }
            Step::RemoveNetwork { name, .. } => write!(f, "remove network {name}"),
            Step::CreateVolume { name, .. } => write!(f, "create volume {name}"),
            Step::CreateContainer { name, .. } => write!(f, "create container {name}"),
            Step::StartContainer { name, .. } => write!(f, "start container {name}"),
            Step::UnpauseContainer { name, .. } => write!(f, "unpause container {name}"),
            Step::RenameContainer { name, to, .. } => write!(f, "rename container {name} to {to}"),
            Step::UpdateContainer { name, .. } => write!(f, "update container {name}"),
            Step::ConnectNetwork { name, network, .. } => {
                write!(f, "connect container {name} to network {network}")
            }
            Step::DisconnectNetwork { name, network, .. } => {
                write!(f, "disconnect container {name} from network {}", network.get(..12).unwrap_or(network))
            }
            Step::SetRestart { name, restart: true, .. } => write!(f, "let container {name} restart"),
            Step::SetRestart { name, restart: false, .. } => write!(f, "let container {name} not restart"),
            Step::StopContainer { name, .. } => write!(f, "stop container {name}"),
            Step::RemoveContainer { name, .. } => write!(f, "remove container {name}"),
            Step::ReloadGateway { .. } => f.write_str("reload gateway"),
        }
    }
}

/// The content of a file. `Debug` shows its length only: a rendered file may hold what no log may show.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Content(pub String);

impl Content {
    /// Lower-case hexadecimal SHA-256, as in [`crate::observed::Entry::File`].
    pub fn sha256(&self) -> String {
        hex::encode(Sha256::digest(self.0.as_bytes()))
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes)", self.0.len())
    }
}

/// Why a step did not succeed, by who can do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureClass {
    /// The Engine did not answer: wait for it.
    Unavailable,
    /// The world is not as the plan assumed (404 on what should be there, 409): observe again.
    Moved,
    /// Somebody else's object has the name: take another.
    NameTaken,
    /// The leased port is in use on the host: lease another.
    PortTaken,
    /// The leased subnet overlaps a network of the host: lease another.
    SubnetTaken,
    /// The Engine refused the request itself: only another specification helps.
    Refused,
    /// Anything else: try again later.
    Failed,
}

/// A step that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct StepFailure {
    /// Who can do something about it.
    pub class: FailureClass,
    /// One sentence for people, with what the Engine said.
    pub message: String,
}
