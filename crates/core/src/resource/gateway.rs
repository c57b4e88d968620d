//! `kind: Gateway`: the canonical form of its `spec`.

use serde::{Deserialize, Serialize};

use super::CatalogRef;
use super::quantity::Resources;
use crate::image_reference::ImageReference;
use crate::tool_filter::ToolFilter;

pub(crate) mod read;
pub(crate) mod secrets;

pub use secrets::{SecretBinding, SecretKeyRef, SecretRef, ValueFrom};

/// What a user wants of one gateway. Absent means "the default", which is not filled in here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewaySpec {
    /// The catalogs, lowest first: of two entries of one name the later catalog's wins, whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub catalogs: Vec<CatalogRef>,
    /// The servers behind this gateway, in the order given, no name twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<ServerSpec>,
    /// What servers get that do not say it themselves.
    #[serde(default, skip_serializing_if = "ServerDefaults::is_empty")]
    pub server_defaults: ServerDefaults,
    /// Secrets whose keys are names of declared secrets, first one first: what a server declares and says no source
    /// for is looked for there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_refs: Vec<SecretRef>,
    /// How server containers come about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// How MCP clients talk to the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// Resources of the gateway container itself.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
    /// Another build of our gateway image than the one `serve` was started with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageReference>,
    /// A fixed port on the host, 1024 to 65535, instead of one leased from the range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How many seconds a container that takes another's place has to answer before the other one comes back, 5 to
    /// 3600; 60 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_deadline_seconds: Option<u32>,
    /// Whether all containers of this gateway are stopped while its leases are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// One server of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerSpec {
    /// Its registry key in the catalogs.
    pub name: String,
    /// Whether it runs; true when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Values for the catalog entry's templates, without the server's name around them.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub config: serde_json::Map<String, serde_json::Value>,
    /// Resources of its container.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
    /// How tightly its container is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// Which of its tools are offered.
    #[serde(default, skip_serializing_if = "ToolFilter::is_empty")]
    pub tools: ToolFilter,
    /// Where the values of secrets come from that its catalog entry declares, no name twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretBinding>,
}

impl ServerSpec {
    /// Whether the server is to run.
    pub fn is_enabled(&self) -> bool {
        self.enabled.unwrap_or(true)
    }
}

/// What servers get that do not say it themselves.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerDefaults {
    /// Resources, completed field by field.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
    /// The profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
}

impl ServerDefaults {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl GatewaySpec {
    /// Whether the gateway is suspended.
    pub fn is_suspended(&self) -> bool {
        self.suspend.unwrap_or(false)
    }

    /// The Secrets that it names, in `secretRefs` and in the `secrets` of its enabled servers.
    pub fn secret_names(&self) -> impl Iterator<Item = &str> {
        let servers = self.servers.iter().filter(|server| server.is_enabled());
        let bindings = servers.flat_map(|server| &server.secrets);
        let bound = bindings.map(|binding| binding.value_from.secret_key_ref.name.as_str());
        self.secret_refs.iter().map(|reference| reference.name.as_str()).chain(bound)
    }

    /// What a server's resources are with this gateway's `serverDefaults`; the rest is the planner's.
    pub fn resources_of(&self, server: &ServerSpec) -> Resources {
        server.resources.or(self.server_defaults.resources)
    }

    /// A server's profile with this gateway's `serverDefaults`: `restricted` when neither says one.
    pub fn profile_of(&self, server: &ServerSpec) -> Profile {
        server.profile.or(self.server_defaults.profile).unwrap_or_default()
    }
}

/// How server containers come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Mode {
    /// The controller makes them.
    Static,
}

/// How MCP clients talk to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Transport {
    /// MCP streamable HTTP at `/mcp`.
    #[serde(rename = "StreamableHTTP")]
    StreamableHttp,
}

/// How tightly a server's container is closed, after the Pod Security Standards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// A leased user id and a read-only root file system.
    #[default]
    Restricted,
    /// The image's own user and a writable root file system.
    Baseline,
}
