//! The normal form of what we make on the Engine: containers and networks.
//!
//! The floor of admission holds partly by construction: a [`ContainerSpec`] has no field for a privileged flag,
//! a device, an added capability, a host namespace, a volume driver, a link or a second published port. What is
//! the same for every container (capabilities dropped, no-new-privileges, capped logs, private IPC and cgroup
//! namespaces, `nofile` limit) is no field either; the `host` crate adds it to every create.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::lease::Subnet;

/// A container as we want it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerSpec {
    /// Image id, `sha256:…`: a tag that moves changes nothing by itself.
    pub image: String,
    /// `Entrypoint` of the create call.
    pub entrypoint: Vec<String>,
    /// `Cmd` of the create call.
    pub command: Vec<String>,
    /// Environment in addition to the image's; never a secret.
    pub env: BTreeMap<String, String>,
    /// The leased user id, also used as the group id; `None` keeps the image's own user (profile `baseline`).
    pub user: Option<u32>,
    /// Whether the root file system is read-only (always, but for profile `baseline`).
    pub read_only_root: bool,
    /// Bind mounts of directories.
    pub binds: Vec<Bind>,
    /// Volumes of the tenant, of server containers only. Left out of the canonical form where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeMount>,
    /// Size of the tmpfs at `/tmp` in bytes.
    pub tmp_bytes: i64,
    /// The network, if any.
    pub network: NetworkMode,
    /// The one published port, of gateway containers only.
    pub publish: Option<Publish>,
    /// Resource limits.
    pub limits: Limits,
    /// Revision of the secret file with which a server's container was made: another value of a secret is another
    /// container. Empty, and left out of the canonical form, where there is no such file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub secrets: String,
}

/// A bind mount of a directory, made with `Mounts`, never `Binds` (which makes a missing source).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bind {
    /// Absolute path on the host.
    pub source: String,
    /// Absolute path in the container.
    pub target: String,
    /// Whether the container may not write to it.
    pub read_only: bool,
}

impl ContainerSpec {
    /// Whether the container writes to a volume: then no other container may run on it at the same time.
    pub fn is_stateful(&self) -> bool {
        self.volumes.iter().any(|volume| !volume.read_only)
    }
}

/// A named volume in a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeMount {
    /// The volume's name on the Engine.
    pub name: String,
    /// Absolute path in the container.
    pub target: String,
    /// Whether the container may not write to it.
    pub read_only: bool,
}

/// How a container is attached to a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NetworkMode {
    /// No network but its own loopback.
    None,
    /// The gateway's own network, by name.
    Named(String),
}

/// A port published on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Publish {
    /// Address of the host, loopback unless the admin allowed another.
    pub address: IpAddr,
    /// Leased port of the host.
    pub host_port: u16,
    /// Port in the container.
    pub container_port: u16,
}

impl ContainerSpec {
    /// Digest of what Docker cannot change in place, and of how often a restart was asked for: containers of equal
    /// digests need not replace each other. Limits are no part of it; they are compared with the live values.
    pub fn made_from(&self, restarts: i64) -> String {
        let made = ContainerSpec { limits: Limits::default(), ..self.clone() };
        // An object that nobody restarted has the digest of its specification alone.
        if restarts == 0 { spec_hash(&made) } else { spec_hash(&(made, restarts)) }
    }
}

/// Limits of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// `Memory` and `MemorySwap` in bytes: no swap beyond it.
    pub memory: i64,
    /// `NanoCpus`; `None` is no limit.
    pub nano_cpus: Option<i64>,
    /// `CpuShares`, from the CPU request; `None` is Docker's default.
    pub cpu_shares: Option<i64>,
    /// `PidsLimit`.
    pub pids: i64,
}

impl Limits {
    /// Docker's default for `CpuShares`, and what zero stands for.
    pub const DEFAULT_CPU_SHARES: i64 = 1024;

    /// Whether the live values are these. "None" and Docker's default are the same.
    pub fn are(&self, live: &Limits) -> bool {
        let shares = |limits: &Limits| match limits.cpu_shares {
            None | Some(0) => Self::DEFAULT_CPU_SHARES,
            Some(shares) => shares,
        };
        self.memory == live.memory
            && self.nano_cpus.unwrap_or_default() == live.nano_cpus.unwrap_or_default()
            && shares(self) == shares(live)
            && self.pids == live.pids
    }
}

/// A network as we want it: a bridge on a leased subnet with inter-container traffic off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkSpec {
    /// The leased subnet.
    pub subnet: Subnet,
}

/// Digest of a specification: the first 32 hexadecimal digits of the SHA-256 over its canonical JSON and the
/// version of this form. Field order is the declaration's and maps are sorted, so equal values have equal text.
pub fn spec_hash<T: Serialize>(spec: &T) -> String {
    /// Bump when the meaning of a form changes without its fields changing: everything is made anew then.
    const FORM: &str = "bowline/1\n";
    let mut digest = Sha256::new();
    digest.update(FORM);
    match serde_json::to_vec(spec) {
        Ok(json) => digest.update(&json),
        // Plain structs with string keys always serialise; the message keeps even a defect deterministic.
        Err(error) => digest.update(error.to_string()),
    }
    hex::encode(&digest.finalize()[..16])
}
