//! Volumes: what an entry asks for, whose a volume is, and who may use it.
//!
//! A volume belongs to the tenant. Its key is the tenant's uid, the registry key and the volume's name, so that it
//! outlives containers, generations and gateways. Of all gateways of a namespace one at a time uses it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::gateway_file::{BRIDGE_DIR, CONFIG_DIR, SECRETS_DIR, SOCKETS_DIR};
use crate::labels::{self, Owner};
use crate::object::GatewayKey;

/// Value of [`labels::ROLE`] on a volume.
const ROLE: &str = "volume";
/// Longest name of a volume.
const MAX_NAME: usize = 63;
/// Longest path in the container.
const MAX_TARGET: usize = 1024;
/// Paths in a container that no volume covers, with all that is above and below them.
const RESERVED: [&str; 7] = ["/proc", "/sys", "/dev", BRIDGE_DIR, CONFIG_DIR, SECRETS_DIR, SOCKETS_DIR];

/// One volume of a tenant: `server/volume`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeKey {
    /// Registry key of the server.
    pub server: String,
    /// Name of the volume.
    pub volume: String,
}

impl VolumeKey {
    /// The volume of this name of this server.
    pub fn new(server: impl Into<String>, volume: impl Into<String>) -> Self {
        VolumeKey { server: server.into(), volume: volume.into() }
    }
}

impl fmt::Display for VolumeKey {
    /// `server/volume`; neither part has a slash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.server, self.volume)
    }
}

/// What one rendered item of an entry's `volumes` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeRequest {
    /// Name of the volume.
    pub volume: String,
    /// Absolute path in the container.
    pub target: String,
    /// Whether the server may not write to it.
    pub read_only: bool,
}

/// Why an item of `volumes` comes to no volume.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VolumeError {
    /// Its source is a path of the host.
    #[error(
        "the volume {0:?} is a path of the host, and there is no policy for host paths yet; name a volume instead, \
         as in `data:/data`"
    )]
    HostPath(String),
    /// It has not the form of a volume.
    #[error("the volume {item:?} {problem}")]
    Invalid {
        /// The item as rendered.
        item: String,
        /// What is wrong, as the end of a sentence.
        problem: &'static str,
    },
}

impl VolumeError {
    /// CamelCase word for machines, as in a server's status.
    pub fn reason(&self) -> &'static str {
        match self {
            VolumeError::HostPath(_) => "HostPathNotAllowed",
            VolumeError::Invalid { .. } => "InvalidVolume",
        }
    }
}

/// Reads one rendered item: `NAME:/path`, `NAME:/path:ro`, or `/path` alone, which gets a name from its path.
///
/// # Errors
/// [`VolumeError`]; every source that is not plainly a name is taken for a path of the host.
pub fn read(item: &str) -> Result<VolumeRequest, VolumeError> {
    let invalid = |problem| VolumeError::Invalid { item: item.to_owned(), problem };
    let parts: Vec<&str> = item.split(':').collect();
    let (source, target, mode) = match parts[..] {
        [target] => (None, target, None),
        [source, target] => (Some(source), target, None),
        [source, target, mode] => (Some(source), target, Some(mode)),
        _ => return Err(invalid("is not `NAME:/path` or `NAME:/path:ro`")),
    };
    if source.is_some_and(|source| source.starts_with(['/', '.', '~']) || source.contains(['/', '\\'])) {
        return Err(VolumeError::HostPath(item.to_owned()));
    }
    let read_only = match mode {
        None | Some("rw") => false,
        Some("ro") => true,
        Some(_) => return Err(invalid("has another mode than `ro` or `rw`")),
    };
    check_target(target).map_err(invalid)?;
    let volume = match source {
        None => name_of_path(target),
        Some(source) if is_name(source) => source.to_owned(),
        Some(_) => {
            return Err(invalid(
                "has no good name: 1 to 63 letters, digits, `_`, `.` and `-`, beginning with a letter or digit",
            ));
        }
    };
    Ok(VolumeRequest { volume, target: target.to_owned(), read_only })
}

/// Reads all rendered items of one entry.
///
/// # Errors
/// The first item that is no volume, or that has the path of an earlier one.
pub fn read_all(items: &[String]) -> Result<Vec<VolumeRequest>, VolumeError> {
    let mut requests: Vec<VolumeRequest> = Vec::with_capacity(items.len());
    for item in items {
        let request = read(item)?;
        if requests.iter().any(|earlier| earlier.target == request.target) {
            return Err(VolumeError::Invalid {
                item: item.clone(),
                problem: "has the same path in the container as another one",
            });
        }
        requests.push(request);
    }
    Ok(requests)
}

/// Whether `text` can name a volume.
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= MAX_NAME
        && bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// What a path in a container must be for a volume to lie there.
pub(crate) fn check_target(target: &str) -> Result<(), &'static str> {
    let Some(rest) = target.strip_prefix('/') else {
        return Err("has a path in the container that is not absolute");
    };
    if target.len() > MAX_TARGET
        || target.chars().any(char::is_control)
        || rest.split('/').any(|part| part.is_empty() || part == "." || part == "..")
    {
        return Err("has a path in the container that is not plain: no empty part, no `.` and no `..`");
    }
    let below = |path: &str, top: &str| path.strip_prefix(top).is_some_and(|rest| rest.starts_with('/'));
    if target == "/tmp"
        || RESERVED.iter().any(|path| target == *path || below(target, path) || below(path, target))
    {
        return Err("would cover a path that the container needs for itself");
    }
    Ok(())
}

/// The name of the volume of an entry that gives only a path: readable, with a hash, so that no two paths share one.
fn name_of_path(path: &str) -> String {
    let cleaned: String = path
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .take(40)
        .collect();
    let digest = hex::encode(&Sha256::digest(path.as_bytes())[..4]);
    format!("path{}-{digest}", cleaned.trim_end_matches('-'))
}

/// The labels of one volume of ours, read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeIdentity {
    /// Instance and installation.
    pub owner: Owner,
    /// Name of the host.
    pub host: String,
    /// Namespace of the tenant.
    pub namespace: String,
    /// Uid of the tenant.
    pub tenant: Uuid,
    /// Server and name.
    pub key: VolumeKey,
}

impl VolumeIdentity {
    /// All labels of the volume.
    pub fn to_labels(&self) -> BTreeMap<String, String> {
        let VolumeIdentity { owner, host, namespace, tenant, key: VolumeKey { server, volume } } = self;
        BTreeMap::from([
            (labels::INSTANCE.to_owned(), owner.instance.clone()),
            (labels::INSTALLATION.to_owned(), owner.installation.to_string()),
            (labels::HOST.to_owned(), host.clone()),
            (labels::NAMESPACE.to_owned(), namespace.clone()),
            (labels::TENANT.to_owned(), tenant.to_string()),
            (labels::SERVER.to_owned(), server.clone()),
            (labels::VOLUME.to_owned(), volume.clone()),
            (labels::ROLE.to_owned(), ROLE.to_owned()),
        ])
    }

    /// Reads the labels of a volume; `None` when one is missing or malformed.
    pub fn from_labels(labels: &HashMap<String, String>) -> Option<Self> {
        let text = |key: &str| labels.get(key).cloned();
        if labels.get(labels::ROLE)? != ROLE {
            return None;
        }
        Some(VolumeIdentity {
            owner: Owner {
                instance: text(labels::INSTANCE)?,
                installation: text(labels::INSTALLATION)?.parse().ok()?,
            },
            host: text(labels::HOST)?,
            namespace: text(labels::NAMESPACE)?,
            tenant: text(labels::TENANT)?.parse().ok()?,
            key: VolumeKey { server: text(labels::SERVER)?, volume: text(labels::VOLUME)? },
        })
    }

    /// Whether both are one volume of one tenant. The host's name may change; the Engine does not.
    pub fn is_same(&self, other: &Self) -> bool {
        let VolumeIdentity { owner, host: _, namespace, tenant, key } = self;
        other.owner == *owner && other.namespace == *namespace && other.tenant == *tenant && other.key == *key
    }
}

/// A volume of ours on the Engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedVolume {
    /// Its name on the Engine.
    pub name: String,
    /// The labels, read.
    pub identity: VolumeIdentity,
}

/// What the store says of the volumes that one gateway needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeClaims {
    /// Uid of the tenant; nil where no server has a volume.
    pub tenant: Uuid,
    /// By `server/volume`, those that this gateway cannot have now.
    pub problems: BTreeMap<String, VolumeProblem>,
}

impl VolumeClaims {
    /// Whether a volume of this server cannot be had, so that its container cannot be made.
    pub fn block(&self, server: &str) -> bool {
        let mut blocked = self.problems.keys().filter_map(|key| key.rsplit_once('/'));
        blocked.any(|(of, _)| of == server)
    }
}

/// Why a gateway cannot have a volume now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
pub enum VolumeProblem {
    /// Another gateway of the namespace has it.
    #[error(
        "is used by gateway/{0}, and two containers never write to one volume; disable the server there or here"
    )]
    InUse(GatewayKey),
    /// It is about to be removed.
    #[error("is being removed; a new one is made when it is gone")]
    Removing,
}

impl VolumeProblem {
    /// CamelCase word for machines, as in a server's status.
    pub fn reason(&self) -> &'static str {
        match self {
            VolumeProblem::InUse(_) => "VolumeInUse",
            VolumeProblem::Removing => "VolumeRemoving",
        }
    }
}

#[cfg(test)]
mod tests;
