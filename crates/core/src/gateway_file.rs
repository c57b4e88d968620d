//! What the controller and a gateway container say to each other: two files that the controller renders
//! into the gateway's configuration directory, and the answers of the gateway's control socket.
//!
//! Owned by `core` because both sides compile it: the planner renders [`GatewayFile`] and [`TokensFile`], the
//! gateway reads them, and the controller's prober reads [`GatewayState`] back. The gateway is given this
//! rendering and not the catalog itself: it needs no image, command, volume or configuration value of a
//! server, so a compromised gateway cannot read one.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::tool_filter::ToolFilter;

/// Where the configuration directory is bound, read-only, in a gateway container.
pub const CONFIG_DIR: &str = "/etc/bowline";
/// Name of the [`GatewayFile`] in [`CONFIG_DIR`].
pub const GATEWAY_FILE: &str = "gateway.json";
/// Name of the [`TokensFile`] in [`CONFIG_DIR`].
pub const TOKENS_FILE: &str = "tokens.json";
/// Where the directory of all sockets of a gateway is bound, writable, in its container.
pub const SOCKETS_DIR: &str = "/run/bowline";
/// Path of the control socket below [`SOCKETS_DIR`].
pub const CONTROL_SOCKET: &str = "control/control.sock";
/// Name of a server's socket in its own directory, `<SOCKETS_DIR>/servers/<ServerPlace::Bridge::directory>/`; in the
/// server's container that directory alone is bound, read-only, at [`SOCKETS_DIR`].
pub const SERVER_SOCKET: &str = "mcp.sock";
/// TCP port on which a gateway container listens for MCP clients.
pub const GATEWAY_PORT: u16 = 8811;
/// Path of the MCP endpoint (streamable HTTP).
pub const MCP_PATH: &str = "/mcp";
/// Path of the liveness answer: 200 and nothing else, without authentication.
pub const HEALTH_PATH: &str = "/health";
/// On the control socket: `GET` answers a [`GatewayState`].
pub const CONTROL_STATE_PATH: &str = "/v1/state";
/// On the control socket: `POST` reads both files again and answers a [`GatewayState`]; 422 with a
/// [`ReloadRefused`] when a file is invalid, and the last good configuration stays.
pub const CONTROL_RELOAD_PATH: &str = "/v1/reload";

/// Where the directory with the bridge is bound, read-only, in every server container.
pub const BRIDGE_DIR: &str = "/bowline";
/// The bridge's file name in [`BRIDGE_DIR`].
pub const BRIDGE_FILE: &str = "bridge";
/// Where the directory with a server's secret file is bound, read-only, in its container.
pub const SECRETS_DIR: &str = "/run/bowline-secrets";
/// Name of the secret file: one `KEY=VALUE` a line.
pub const SECRETS_FILE: &str = "env";
/// Method of the JSON-RPC notification that the bridge sends as the last line of a connection, with a
/// [`ServerExit`] as its parameters, after the server's process has ended.
pub const EXIT_NOTIFICATION: &str = "notifications/dev.bowline/exit";

/// The whole configuration of one gateway, `gateway.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayFile {
    /// Digest of the rest of this file; the gateway repeats it in [`GatewayState::config_revision`].
    pub revision: String,
    /// `namespace/name`, for logs and for the name that the gateway tells its clients.
    pub gateway: String,
    /// Values of the `Host` header that are served, without port. Loopback names are always served.
    pub allowed_hosts: Vec<String>,
    /// Whether a remote server may be at a private or a loopback address, and without TLS there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_private_remotes: bool,
    /// The enabled servers, in the order of the Gateway's `servers`.
    pub servers: Vec<GatewayServer>,
}

/// One server of a [`GatewayFile`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayServer {
    /// Registry key of the catalog.
    pub name: String,
    /// Where it is.
    pub place: ServerPlace,
    /// The catalog's `prefix`: tools are shown as `<prefix>__<tool>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Which of its tools are offered, by its own names for them.
    #[serde(default, skip_serializing_if = "ToolFilter::is_empty")]
    pub tools: ToolFilter,
}

/// How the gateway reaches a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ServerPlace {
    /// By its bridge, which dials the gateway.
    #[serde(rename_all = "camelCase")]
    Bridge {
        /// Name of the directory of this server's socket below `<SOCKETS_DIR>/servers`.
        directory: String,
        /// The user id that a peer on this server's socket must have.
        uid: u32,
    },
    /// Over the network: the gateway dials it.
    Remote(RemotePlace),
}

/// Where a remote server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RemotePlace {
    /// Absolute `http` or `https` URL, without user and fragment.
    pub url: String,
    /// Its protocol.
    pub transport: RemoteTransport,
    /// Request headers, sent to the origin of `url` and to no other.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// How MCP is spoken to a remote server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RemoteTransport {
    /// Streamable HTTP, one URL for everything.
    #[serde(rename = "streamable-http")]
    StreamableHttp,
    /// HTTP with server-sent events, as of 2024-11-05: a stream for answers, and another URL for requests.
    #[serde(rename = "sse")]
    Sse,
}

/// The verifiers of one gateway's bearer tokens, `tokens.json`. No token can be made from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokensFile {
    /// Grows with every change of the set; the gateway repeats it in [`GatewayState::tokens_revision`].
    pub revision: i64,
    /// One per token that is neither revoked nor past its expiry when the file was rendered.
    pub tokens: Vec<TokenVerifier>,
}

/// What proves one token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenVerifier {
    /// Public id of the token.
    pub id: String,
    /// Lower-case hexadecimal SHA-256 of the whole token text.
    pub sha256: String,
    /// From this instant on the token is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}

/// What a gateway says of itself on its control socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayState {
    /// Version of the gateway program.
    pub version: String,
    /// [`GatewayFile::revision`] of the configuration in force.
    pub config_revision: String,
    /// [`TokensFile::revision`] of the verifiers in force.
    pub tokens_revision: i64,
    /// Every server of the configuration in force, in its order.
    pub servers: Vec<ServerReport>,
}

/// How far a gateway is with one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerPhase {
    /// No bridge has dialled yet, or the first exchange (dialling, `initialize`, listing) is under way.
    Starting,
    /// The server has answered and its tools are offered.
    Running,
    /// The last attempt failed; the next one is made after a back-off.
    Failed,
}

/// One server in a [`GatewayState`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerReport {
    /// Registry key of the catalog.
    pub name: String,
    /// How far the gateway is with it.
    pub phase: ServerPhase,
    /// Number of tools offered, after the filter; of the last successful listing while the server is away.
    pub tools: u32,
    /// `sha256:` and the digest over names, descriptions and schemas of all its tools, whatever the filter, once a
    /// listing has succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools_digest: Option<String>,
    /// Name and version that the server gave of itself, `name version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_info: Option<String>,
    /// How often the connection was made again since the gateway started.
    pub restarts: u32,
    /// Why the last attempt or connection ended, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<ServerError>,
}

/// Why a server's connection ended or could not be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerError {
    /// One sentence.
    pub message: String,
    /// The end of the server's process, when the bridge told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<ServerExit>,
    /// When it happened.
    pub at: DateTime<Utc>,
}

/// How a server's process ended, as its bridge saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerExit {
    /// Exit code, when the process ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// Signal number, when a signal ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The last lines of its standard error, at most 20 of at most 400 bytes each.
    #[serde(default)]
    pub stderr: Vec<String>,
}

/// The answer to a reload that was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReloadRefused {
    /// What is wrong with which file.
    pub message: String,
}
