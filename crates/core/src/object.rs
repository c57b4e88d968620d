//! Identity and metadata of stored objects, in Kubernetes' meaning of each word.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// `apiVersion` of every kind.
pub const API_VERSION: &str = "bowline.dev/v1alpha1";

/// The kinds whose objects are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// Servers for everybody, written by the admin; cluster-scoped.
    ClusterCatalog,
    /// Servers of one tenant; namespaced.
    Catalog,
    /// Write-only values of one tenant; namespaced.
    Secret,
    /// One MCP endpoint of a tenant; namespaced.
    Gateway,
}

impl Kind {
    /// Every kind, in the order in which an apply writes them: what is referred to comes first.
    pub const ALL: [Kind; 4] = [Kind::ClusterCatalog, Kind::Catalog, Kind::Secret, Kind::Gateway];

    /// The kind as written in a spec file.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::ClusterCatalog => "ClusterCatalog",
            Kind::Catalog => "Catalog",
            Kind::Secret => "Secret",
            Kind::Gateway => "Gateway",
        }
    }

    /// The lower-case singular, as in `gateway/u1/default`.
    pub fn singular(self) -> &'static str {
        match self {
            Kind::ClusterCatalog => "clustercatalog",
            Kind::Catalog => "catalog",
            Kind::Secret => "secret",
            Kind::Gateway => "gateway",
        }
    }

    /// The lower-case plural, as in a URL.
    pub fn plural(self) -> &'static str {
        match self {
            Kind::ClusterCatalog => "clustercatalogs",
            Kind::Catalog => "catalogs",
            Kind::Secret => "secrets",
            Kind::Gateway => "gateways",
        }
    }

    /// Whether objects of this kind live in a namespace.
    pub fn is_namespaced(self) -> bool {
        match self {
            Kind::ClusterCatalog => false,
            Kind::Catalog | Kind::Secret | Kind::Gateway => true,
        }
    }

    /// Whether objects of this kind hold servers that gateways name.
    pub fn is_catalog(self) -> bool {
        match self {
            Kind::ClusterCatalog | Kind::Catalog => true,
            Kind::Secret | Kind::Gateway => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no resource type {0:?}; there are gateway (gw), catalog (cat), clustercatalog (cc) and secret")]
pub struct UnknownKind(pub String);

impl FromStr for Kind {
    type Err = UnknownKind;

    /// Reads what kubectl would: the kind, its singular, plural or short name, in any case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "gateway" | "gateways" | "gw" => Ok(Kind::Gateway),
            "clustercatalog" | "clustercatalogs" | "cc" => Ok(Kind::ClusterCatalog),
            "catalog" | "catalogs" | "cat" => Ok(Kind::Catalog),
            "secret" | "secrets" => Ok(Kind::Secret),
            _ => Err(UnknownKind(text.to_owned())),
        }
    }
}

/// What names one object for people. A re-created object has the same key and another uid.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectKey {
    /// The kind.
    pub kind: Kind,
    /// The tenant, for namespaced kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The name, unique within kind and namespace.
    pub name: String,
}

impl ObjectKey {
    /// The key of a Gateway.
    pub fn gateway(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        ObjectKey { kind: Kind::Gateway, namespace: Some(namespace.into()), name: name.into() }
    }

    /// The key of a Catalog.
    pub fn catalog(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        ObjectKey { kind: Kind::Catalog, namespace: Some(namespace.into()), name: name.into() }
    }

    /// The key of a Secret.
    pub fn secret(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        ObjectKey { kind: Kind::Secret, namespace: Some(namespace.into()), name: name.into() }
    }

    /// The key of a ClusterCatalog.
    pub fn cluster_catalog(name: impl Into<String>) -> Self {
        ObjectKey { kind: Kind::ClusterCatalog, namespace: None, name: name.into() }
    }
}

impl fmt::Display for ObjectKey {
    /// `gateway/u1/default` or `clustercatalog/base`, as every verb prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{}/{}/{}", self.kind.singular(), namespace, self.name),
            None => write!(f, "{}/{}", self.kind.singular(), self.name),
        }
    }
}

/// Namespace and name of one Gateway: the key of the work queue.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GatewayKey {
    /// The tenant.
    pub namespace: String,
    /// The gateway's name within the tenant, usually `default`.
    pub name: String,
}

impl GatewayKey {
    /// The key of `namespace/name`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        GatewayKey { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for GatewayKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Metadata of a stored object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredMeta {
    /// The object's key.
    #[serde(flatten)]
    pub key: ObjectKey,
    /// UUIDv7, new for every creation.
    pub uid: Uuid,
    /// Grows by one with every change of `spec`.
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
    /// When its deletion was asked for; the object stays until the last thing it holds is given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<DateTime<Utc>>,
    /// Who declared it: `cli`, `api` or `file:<path>`.
    pub managed_by: String,
}

/// A stored object of any kind: metadata, the specification as written, and the last reported status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stored {
    /// The metadata.
    pub metadata: StoredMeta,
    /// The specification in the kind's canonical JSON, defaults not filled in.
    pub spec: serde_json::Value,
    /// The last status that the controller wrote; absent before the first and for kinds without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<serde_json::Value>,
}

/// Whether an event is news or trouble; the words are Kubernetes'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventType {
    /// Something expected happened.
    Normal,
    /// Something to look at.
    Warning,
}

/// One deduplicated event of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// News or trouble.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// CamelCase word for machines.
    pub reason: String,
    /// Sentence for people.
    pub message: String,
    /// How often it happened.
    pub count: i32,
    /// When it happened first.
    pub first_timestamp: DateTime<Utc>,
    /// When it happened last.
    pub last_timestamp: DateTime<Utc>,
}
