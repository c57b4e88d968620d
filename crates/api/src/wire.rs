//! What goes over the wire, for the server and for its clients.

use std::collections::BTreeMap;

use bowline_core::diagnostic::Diagnostic;
use bowline_core::object::{API_VERSION, GatewayKey, Kind, ObjectKey, Stored};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::problem::Problem;

mod keys;
mod secrets;

pub use keys::{KeysStatus, SealingKeyItem};
pub use secrets::{HiddenText, SecretKeyStatus, SecretKeysRequest, SecretStatus};

/// A stored object as `get -o yaml` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Object {
    /// [`API_VERSION`].
    pub api_version: String,
    /// The kind.
    pub kind: Kind,
    /// The metadata, what the server manages included.
    pub metadata: Metadata,
    /// The specification in its canonical form.
    pub spec: Value,
    /// What the controller last reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Value>,
}

/// Metadata of an [`Object`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// The tenant, for namespaced kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
    /// New for every creation.
    pub uid: Uuid,
    /// Grows with every change of the specification.
    pub generation: i64,
    /// Grows with every change of the object, in commit order over all objects.
    pub resource_version: i64,
    /// The user's labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The user's annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// When the object was created.
    pub creation_timestamp: DateTime<Utc>,
    /// When its deletion was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<DateTime<Utc>>,
    /// Who declared it.
    pub managed_by: String,
}

impl Object {
    /// The object's key.
    pub fn key(&self) -> ObjectKey {
        ObjectKey {
            kind: self.kind,
            namespace: self.metadata.namespace.clone(),
            name: self.metadata.name.clone(),
        }
    }
}

impl From<Stored> for Object {
    fn from(stored: Stored) -> Self {
        let Stored { metadata, spec, status } = stored;
        let ObjectKey { kind, namespace, name } = metadata.key;
        Object {
            api_version: API_VERSION.to_owned(),
            kind,
            metadata: Metadata {
                namespace,
                name,
                uid: metadata.uid,
                generation: metadata.generation,
                resource_version: metadata.resource_version,
                labels: metadata.labels,
                annotations: metadata.annotations,
                creation_timestamp: metadata.creation_timestamp,
                deletion_timestamp: metadata.deletion_timestamp,
                managed_by: metadata.managed_by,
            },
            spec,
            status,
        }
    }
}

/// Objects of one kind, ordered by namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectList {
    /// The objects.
    pub items: Vec<Object>,
    /// The version from which a watch goes on without a gap.
    pub resource_version: i64,
}

/// `POST /v1/apply`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApplyRequest {
    /// The files, applied together or not at all.
    pub files: Vec<InputFile>,
    /// Only say what would happen.
    #[serde(default)]
    pub dry_run: bool,
    /// Also drop catalog entries and keys of Secrets that gateways use, and write objects that a file of the spec
    /// directory declares.
    #[serde(default)]
    pub force: bool,
    /// Who declares the objects: `cli` or `api`.
    pub managed_by: String,
}

/// One file of an apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InputFile {
    /// What diagnostics call it; absent for standard input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its content: YAML documents, which may hold values of secrets.
    pub text: HiddenText,
}

/// The answer to an apply that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApplyResponse {
    /// The objects, in the order in which they were written.
    pub objects: Vec<AppliedObject>,
    /// What the user should know although the input was accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Diagnostic>,
    /// Of a dry run: what the controller would do, one plan per gateway concerned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plans: Vec<GatewayPlan>,
}

/// What an apply did with one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppliedObject {
    /// The object.
    pub key: ObjectKey,
    /// What was done.
    pub outcome: Outcome,
    /// Its generation afterwards.
    pub generation: i64,
    /// Its version afterwards, which a dry run does not give: there it is the one before.
    pub resource_version: i64,
    /// Of a dry run: the object as it would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<Box<Object>>,
}

/// What an apply did with an object; the words are kubectl's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It did not exist.
    Created,
    /// It was changed.
    Configured,
    /// It was so already.
    Unchanged,
}

impl Outcome {
    /// The word as printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Created => "created",
            Outcome::Configured => "configured",
            Outcome::Unchanged => "unchanged",
        }
    }
}

/// What the controller would do for one gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayPlan {
    /// The gateway.
    pub key: ObjectKey,
    /// The steps, one line each, in their order.
    pub steps: Vec<String>,
    /// What is in the way of the rest: conditions that do not hold, and servers that cannot run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// When the host was last looked at; absent when it never was, for a gateway that is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<DateTime<Utc>>,
}

/// The answer to a deletion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteResponse {
    /// The object.
    pub key: ObjectKey,
    /// Its uid.
    pub uid: Uuid,
    /// Whether it is gone already; if not, the controller still takes down what it holds.
    pub gone: bool,
    /// The volumes that go with it, as `server/volume`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
}

/// One volume of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeItem {
    /// Namespace of its tenant.
    pub namespace: String,
    /// Registry key of the server that has it.
    pub server: String,
    /// Its name in the server's catalog entry.
    pub name: String,
    /// The host that it is on.
    pub host: String,
    /// Its name on the Engine; absent before it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_name: Option<String>,
    /// The gateway that uses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_by: Option<GatewayKey>,
    /// When it was first wanted or seen.
    pub created_at: DateTime<Utc>,
    /// When its removal was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removal_asked_at: Option<DateTime<Utc>>,
    /// Why it could not be removed when that was tried last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removal_problem: Option<String>,
}

/// Volumes, by namespace, server and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeList {
    /// The volumes.
    pub items: Vec<VolumeItem>,
}

/// `POST …/tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenRequest {
    /// What the bearer is called, for people.
    pub label: String,
    /// Seconds until the token is refused; absent is never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
}

/// A token that was just made: the only time that it is readable.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenCreated {
    /// Public id, for `token revoke`.
    pub id: String,
    /// The token.
    pub token: String,
    /// The gateway accepts it from the moment that `status.tokensRevision` has reached this.
    pub revision: i64,
    /// From when on it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}

impl std::fmt::Debug for TokenCreated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let TokenCreated { id, token: _, revision, expires_at } = self;
        f.debug_struct("TokenCreated")
            .field("id", id)
            .field("revision", revision)
            .field("expires_at", expires_at)
            .finish_non_exhaustive()
    }
}

/// One token of a gateway, without the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenItem {
    /// Public id.
    pub id: String,
    /// What the bearer is called.
    pub label: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// From when on it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}

/// The tokens of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenList {
    /// The tokens, oldest first.
    pub items: Vec<TokenItem>,
}

/// The answer to a revocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenRevoked {
    /// The gateway refuses the token from the moment that `status.tokensRevision` has reached this.
    pub revision: i64,
}

/// The events of an object, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventList {
    /// The events.
    pub items: Vec<bowline_core::object::Event>,
}

/// An event and what it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectEvent {
    /// The object.
    pub object: ObjectKey,
    /// Its uid.
    pub uid: Uuid,
    /// What happened.
    #[serde(flatten)]
    pub event: bowline_core::object::Event,
}

/// `GET /v1/events`, and with `watch=true` one line of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectEventList {
    /// The events, the one that happened last at the end.
    pub items: Vec<ObjectEvent>,
    /// Whether there are older ones that are not in the list.
    #[serde(default)]
    pub truncated: bool,
}

/// `POST …/restart` and `POST …/retry`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnitRequest {
    /// `gateway`, `server:<name>`, or `*` for all of them.
    pub unit: String,
}

/// The answer to a request for a restart or another try that was noted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnitRequested {
    /// The gateway.
    pub key: ObjectKey,
    /// The unit, as it was asked.
    pub unit: String,
    /// How many requests the gateway has had, this one included. The controller has seen this one when
    /// `status.observedRequests` has reached it.
    pub revision: i64,
}

/// One line of `GET /v1/watch`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "object", rename_all = "UPPERCASE")]
pub enum WatchEvent {
    /// The first time that this stream shows the object. A client that resumes a watch may know it already.
    Added(Box<Object>),
    /// The object has changed since this stream showed it.
    Modified(Box<Object>),
    /// The object is gone.
    Deleted(DeletedObject),
    /// Nothing below this version is still to come.
    Bookmark(Bookmark),
    /// The stream ends here, for this reason.
    Error(Box<Problem>),
}

/// What is left of an object that is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeletedObject {
    /// Its key.
    #[serde(flatten)]
    pub key: ObjectKey,
    /// Its uid.
    pub uid: Uuid,
}

/// A place in the order of versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bookmark {
    /// The version to give to a watch that goes on from here.
    pub resource_version: i64,
}

/// What became of a file of the spec directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SpecState {
    /// What it declares is written.
    Applied,
    /// It has errors and keeps what it declared before.
    Invalid,
    /// It declares nothing and keeps what it declared before.
    Empty,
    /// It is no file that is read: a link, a FIFO, too great. It keeps what it declared before.
    Unreadable,
    /// It declares what another file holds, or what was written or deleted by force.
    Conflict,
    /// It waits for the end of a deletion.
    Pending,
    /// Writing or removing what it says would break others.
    Refused,
    /// It is gone, and what it declared is still there.
    Missing,
}

impl SpecState {
    /// Every state.
    pub const ALL: [SpecState; 8] = [
        SpecState::Applied,
        SpecState::Invalid,
        SpecState::Empty,
        SpecState::Unreadable,
        SpecState::Conflict,
        SpecState::Pending,
        SpecState::Refused,
        SpecState::Missing,
    ];

    /// The word as printed.
    pub fn as_str(self) -> &'static str {
        match self {
            SpecState::Applied => "Applied",
            SpecState::Invalid => "Invalid",
            SpecState::Empty => "Empty",
            SpecState::Unreadable => "Unreadable",
            SpecState::Conflict => "Conflict",
            SpecState::Pending => "Pending",
            SpecState::Refused => "Refused",
            SpecState::Missing => "Missing",
        }
    }
}

/// One file of the spec directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpecFile {
    /// Its path within the directory.
    pub file: String,
    /// What became of it.
    pub state: SpecState,
    /// What to know about it; empty when there is nothing to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What is wrong with it, and where.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Diagnostic>,
    /// The objects that it holds.
    pub objects: Vec<ObjectKey>,
    /// Since when state and message are so.
    pub changed_at: DateTime<Utc>,
}

/// `GET /v1/specs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpecList {
    /// The directory; absent when none is followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<SpecDirectoryStatus>,
    /// Its files by path, and those that are gone and still hold objects.
    pub items: Vec<SpecFile>,
    /// A great removal that waits to be confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldRemovals>,
}

/// The spec directory itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpecDirectoryStatus {
    /// Its path on the host.
    pub path: String,
    /// Why it cannot be read: nothing is removed meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Removals that happen when they are confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldRemovals {
    /// Stands for exactly these objects.
    pub id: String,
    /// Since when the first of them is held.
    pub since: DateTime<Utc>,
    /// What would be removed.
    pub objects: Vec<HeldObject>,
}

/// An object whose removal is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldObject {
    /// The object.
    pub key: ObjectKey,
    /// The file that declared it.
    pub file: String,
}

/// `POST /v1/specs/confirm`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfirmRequest {
    /// [`HeldRemovals::id`] of what was shown.
    pub id: String,
}

/// The answer to a confirmation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfirmResponse {
    /// What is removed now.
    pub objects: Vec<ObjectKey>,
}

/// `GET /v1/version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionInfo {
    /// Version of the program.
    pub version: String,
    /// [`API_VERSION`].
    pub api_version: String,
    /// Name of the instance.
    pub instance: String,
    /// Id of the installation.
    pub installation: Uuid,
}
