//! What was seen of the world for one gateway: the second argument of every plan.
//!
//! Filled by the `host` crate (or the simulated world of the tests) and kept in the database as the last
//! observation, so that a plan can be shown without touching the host.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::container::Limits;
use crate::gateway_file::GatewayState;
use crate::labels::Identity;
use crate::volume::ObservedVolume;

/// Everything of ours that carries the labels of one gateway key, whatever its uid.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// Containers, in any state.
    pub containers: Vec<ObservedContainer>,
    /// Networks.
    pub networks: Vec<ObservedNetwork>,
    /// Directory trees below the runtime directory, one per uid.
    pub trees: BTreeMap<Uuid, Tree>,
    /// The images that were asked about, by reference as written (and by id, where a pin was asked about).
    pub images: BTreeMap<String, ImageState>,
    /// Volumes of the namespace's tenant, where a server of the gateway has any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<ObservedVolume>,
    /// Names that we wanted and somebody else's object has.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub taken_names: BTreeSet<String>,
    /// The last probe of the gateway, if its container runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
}

/// A container of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedContainer {
    /// Full id.
    pub id: String,
    /// Name without the leading slash.
    pub name: String,
    /// The labels, read.
    pub identity: Identity,
    /// Id of the image it was made from.
    pub image: String,
    /// What it is doing.
    pub state: ContainerState,
    /// Whether Docker would start it again by itself (`unless-stopped`).
    pub restarts: bool,
    /// `RestartCount`: how often Docker started it again by itself.
    pub restart_count: i64,
    /// When it was last started; absent when never.
    pub started_at: Option<DateTime<Utc>>,
    /// When it last ended; absent when never.
    pub finished_at: Option<DateTime<Utc>>,
    /// `State.Error`: why the last start failed; empty when it did not.
    pub error: String,
    /// What can be changed while it runs, as it is now.
    #[serde(default)]
    pub live: Live,
}

/// What somebody can change of a container without making it anew.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Live {
    /// `HostConfig`'s resource limits.
    pub limits: Limits,
    /// `HostConfig.MemorySwap` in bytes; with us the same as the memory.
    pub memory_swap: i64,
    /// Limits that this Engine cannot hold: what it tells of them is nobody's doing, and no update changes it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unheld: BTreeSet<Limit>,
    /// Ids of the networks that it is attached to. A container that was never started has none.
    pub networks: BTreeSet<String>,
}

impl Live {
    /// Whether the container has these limits, as far as the Engine can hold them.
    pub fn has(&self, wanted: &Limits) -> bool {
        let told = |limit, told, wanted| if self.unheld.contains(&limit) { wanted } else { told };
        let live = Limits {
            memory: told(Limit::Memory, self.limits.memory, wanted.memory),
            pids: told(Limit::Pids, self.limits.pids, wanted.pids),
            cpu_shares: match self.unheld.contains(&Limit::CpuShares) {
                true => wanted.cpu_shares,
                false => self.limits.cpu_shares,
            },
            nano_cpus: self.limits.nano_cpus,
        };
        wanted.are(&live) && told(Limit::Swap, self.memory_swap, wanted.memory) == wanted.memory
    }
}

/// A limit that an Engine drops, with a warning, where the kernel has nothing to hold it with. (One on CPU time is
/// none of these: a create that asks for it is refused then.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Limit {
    /// `Memory`.
    Memory,
    /// `MemorySwap`: many kernels do not account for swap unless they are told to.
    Swap,
    /// `CpuShares`.
    CpuShares,
    /// `PidsLimit`.
    Pids,
}

/// State of a container, in the Engine's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ContainerState {
    /// Made and never started, or its only start failed.
    Created,
    /// Running.
    Running,
    /// Frozen.
    Paused,
    /// Docker is about to start it again by itself: left alone.
    Restarting,
    /// Ended.
    Exited {
        /// Exit code.
        code: i64,
    },
    /// Half removed: can only be removed.
    Dead,
    /// Its removal is under way.
    Removing,
}

/// A network of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedNetwork {
    /// Full id.
    pub id: String,
    /// Name.
    pub name: String,
    /// The labels, read.
    pub identity: Identity,
}

/// What is below `gateways/<uid>` of the runtime directory, by path relative to it with `/` between the parts.
pub type Tree = BTreeMap<String, Entry>;

/// One entry of a [`Tree`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Entry {
    /// A directory.
    Directory {
        /// Permission bits.
        mode: u32,
    },
    /// A regular file.
    File {
        /// Permission bits.
        mode: u32,
        /// Lower-case hexadecimal SHA-256 of the content.
        sha256: String,
    },
    /// A server's secret file. Told by its revision and never by a digest of its content: what is observed is kept
    /// in the database, and a digest of a short value is nearly the value.
    Secret {
        /// Permission bits.
        mode: u32,
        /// The revision in which we wrote it; empty when it is not what we wrote.
        revision: String,
    },
    /// A socket; nothing else is left in a directory by a gateway.
    Socket,
    /// Anything else: a link, a pipe, a device.
    Other,
}

/// What the Engine has of an image reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub enum ImageState {
    /// It is there.
    Present(ImageFacts),
    /// It is not there, and nothing is being done about it.
    Absent,
    /// It is being pulled.
    Pulling {
        /// Since when.
        since: DateTime<Utc>,
    },
    /// The last pull failed.
    Failed {
        /// What the registry or the Engine said.
        message: String,
        /// When it failed.
        at: DateTime<Utc>,
        /// How many pulls failed in a row.
        failures: u32,
    },
}

/// What a create needs to know of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageFacts {
    /// Image id, `sha256:…`.
    pub id: String,
    /// A repository digest, where there is one: locally built and imported images have none.
    pub digest: Option<String>,
    /// `Config.Entrypoint`.
    pub entrypoint: Vec<String>,
    /// `Config.Cmd`.
    pub command: Vec<String>,
    /// `Config.User`.
    pub user: String,
    /// Names in `Config.Env`.
    pub env_names: BTreeSet<String>,
    /// `Config.Volumes`: each would become an anonymous volume.
    pub volumes: BTreeSet<String>,
}

/// What a gateway answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// Whether `GET /health` through the published address was answered with 200.
    pub healthy: bool,
    /// Failed health probes in a row.
    pub misses: u32,
    /// The answer of the control socket, if it answered.
    pub state: Option<GatewayState>,
}
