//! The status of a Gateway: what was last seen, in words that a kubectl user knows.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// The reason of `Progressing` while a revision before the declared one runs.
pub const ROLLED_BACK: &str = "RolledBack";
/// The reason of `Progressing` while an annotation keeps the gateway from being reconciled.
pub const PAUSED: &str = "Paused";

/// `status` of a Gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayStatus {
    /// The generation that this status speaks of.
    pub observed_generation: i64,
    /// Name of the host that runs the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Where MCP clients reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// The conditions, each type once, in the order of [`ConditionType::ALL`].
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// One entry per server of the specification, in its order.
    #[serde(default)]
    pub servers: Vec<ServerStatus>,
    /// The newest version of a catalog among those that the gateway names, as far as the controller has acted on
    /// them.
    #[serde(default)]
    pub catalog_revision: i64,
    /// Revision of the token verifiers that the gateway has loaded.
    #[serde(default)]
    pub tokens_revision: i64,
    /// How many requests of users (`bowline restart`, `bowline retry`) this status speaks of.
    #[serde(default)]
    pub observed_requests: i64,
    /// The revision of the gateway container that did not answer, and in whose place the one before it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_revision: Option<FailedRevision>,
    /// When the controller tries again by itself, if something failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_time: Option<DateTime<Utc>>,
    /// While the object is being deleted: what is still to be removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remaining: Vec<String>,
}

/// A revision that was tried and taken back. It is not tried again until its specification, the image behind it, or
/// `bowline retry` changes that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedRevision {
    /// Digest of its specification, as in the label `dev.bowline.spec-hash`.
    pub revision: String,
    /// CamelCase word for machines.
    pub reason: String,
    /// What happened.
    pub message: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// Where a gateway is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// The MCP endpoint.
    pub url: String,
    /// The leased port of the host.
    pub port: u16,
}

/// What a condition speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ConditionType {
    /// Admission and references hold, leases were given.
    Accepted,
    /// Every image that is needed is present.
    ImagesReady,
    /// Every secret that an enabled server declares has a value.
    SecretsResolved,
    /// The controller is still changing something.
    Progressing,
    /// The endpoint answers.
    Available,
    /// Available, and every enabled server answers.
    Ready,
    /// The servers' `allowHosts` lists are enforced.
    EgressEnforced,
}

impl ConditionType {
    /// Every type, in the order of display.
    pub const ALL: [ConditionType; 7] = [
        ConditionType::Accepted,
        ConditionType::ImagesReady,
        ConditionType::SecretsResolved,
        ConditionType::Progressing,
        ConditionType::Available,
        ConditionType::Ready,
        ConditionType::EgressEnforced,
    ];

    /// The type as written.
    pub fn as_str(self) -> &'static str {
        match self {
            ConditionType::Accepted => "Accepted",
            ConditionType::ImagesReady => "ImagesReady",
            ConditionType::SecretsResolved => "SecretsResolved",
            ConditionType::Progressing => "Progressing",
            ConditionType::Available => "Available",
            ConditionType::Ready => "Ready",
            ConditionType::EgressEnforced => "EgressEnforced",
        }
    }
}

/// Whether a condition holds. `Unknown` is "not known yet", never "no".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It is not known.
    Unknown,
}

impl ConditionStatus {
    /// The word as written.
    pub fn as_str(self) -> &'static str {
        match self {
            ConditionStatus::True => "True",
            ConditionStatus::False => "False",
            ConditionStatus::Unknown => "Unknown",
        }
    }
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it speaks of.
    #[serde(rename = "type")]
    pub condition_type: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// CamelCase word for machines.
    pub reason: String,
    /// Sentence for people: what is wrong and what to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The generation that it speaks of.
    pub observed_generation: i64,
    /// When `status` last changed.
    pub last_transition_time: DateTime<Utc>,
}

/// State of one server of a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerState {
    /// Nothing has been done for it yet.
    Pending,
    /// Its image is being pulled.
    Pulling,
    /// Its container or process is starting.
    Starting,
    /// It answers.
    Running,
    /// Stopped on purpose, woken by a call.
    Idle,
    /// It cannot run; the reason says why.
    Failed,
    /// `enabled: false`, or the gateway is suspended.
    Disabled,
}

impl ServerState {
    /// The word as written.
    pub fn as_str(self) -> &'static str {
        match self {
            ServerState::Pending => "Pending",
            ServerState::Pulling => "Pulling",
            ServerState::Starting => "Starting",
            ServerState::Running => "Running",
            ServerState::Idle => "Idle",
            ServerState::Failed => "Failed",
            ServerState::Disabled => "Disabled",
        }
    }
}

/// One server of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerStatus {
    /// Registry key.
    pub name: String,
    /// How far it is.
    pub state: ServerState,
    /// CamelCase word for machines, where the state alone does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Image reference of the catalog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Id of the image that its container was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// Whether the reference now names another image than the one in use.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub image_outdated: bool,
    /// Number of tools that it offers.
    pub tools: u32,
    /// Digest over its tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools_digest: Option<String>,
    /// How often it was started again.
    pub restarts: u32,
    /// The revision of its container that did not answer, and in whose place the one before it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_revision: Option<FailedRevision>,
    /// Why it last failed, exit code and last lines of its standard error included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

impl GatewayStatus {
    /// The condition of this type, if it was ever reported.
    pub fn condition(&self, condition_type: ConditionType) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.condition_type == condition_type)
    }

    /// Whether the condition of this type holds for the given generation.
    pub fn is_true(&self, condition_type: ConditionType, generation: i64) -> bool {
        self.observed_generation >= generation
            && self.condition(condition_type).is_some_and(|c| c.status == ConditionStatus::True)
    }

    /// Servers that answer (or have answered and idle) and servers that should: the `2/3` of the table.
    pub fn ready_count(&self) -> (usize, usize) {
        let wanted = self.servers.iter().filter(|server| server.state != ServerState::Disabled);
        let ready = wanted.clone().filter(|s| matches!(s.state, ServerState::Running | ServerState::Idle));
        (ready.count(), wanted.count())
    }

    /// One word for the table's `STATUS` column.
    pub fn summary(&self) -> String {
        let reason = |condition_type| {
            self.condition(condition_type)
                .filter(|condition| condition.status == ConditionStatus::False)
                .map(|condition| condition.reason.clone())
        };
        match self.condition(ConditionType::Ready) {
            None => "Pending".to_owned(),
            Some(ready) if ready.status == ConditionStatus::True => {
                reason(ConditionType::Progressing).filter(|r| r == ROLLED_BACK).unwrap_or("Ready".to_owned())
            }
            Some(ready) if ready.status == ConditionStatus::Unknown => "Unknown".to_owned(),
            Some(ready) => reason(ConditionType::Accepted).unwrap_or_else(|| ready.reason.clone()),
        }
    }
}
