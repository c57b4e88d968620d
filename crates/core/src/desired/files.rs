//! The directories and files of a gateway.
//!
//! Directories 0755 and files 0444 beneath a parent of 0700: every uid in a container reads its own, nobody else
//! on the host reaches any, and no chown is needed. Directories of sockets are 0777: the gateway's leased uid
//! makes its sockets there, and no server has them writable.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::servers::Announced;
use super::{DesiredFile, DesiredSecretFile, Pins, Rendering, Requests, secrets};
use crate::container::spec_hash;
use crate::gateway_file::{GATEWAY_FILE, GatewayFile, GatewayServer, ServerPlace, TOKENS_FILE, TokensFile};
use crate::labels::Role;
use crate::lease::Leases;
use crate::names;
use crate::object::{Stored, StoredMeta};
use crate::resource::CatalogSpec;
use crate::rollout::{Failed, Rollout, Rollouts};
use crate::step::Content;

/// Directory of the gateway's configuration, below its tree.
pub(super) const CONFIG: &str = "config";
/// Directory of all sockets, below the tree.
pub(super) const SOCKETS: &str = "sockets";
/// Directory of the control socket.
const CONTROL: &str = "sockets/control";
/// Directory of the servers' socket directories.
pub(super) const SERVER_SOCKETS: &str = "sockets/servers";
/// Directory of the servers' secret directories, below the tree.
pub const SECRETS: &str = "secrets";
/// What `bowline adopt` rebuilds a lost database from, below the tree and bound into no container.
pub const RECOVERY_FILE: &str = "recovery.json";

/// Content of [`RECOVERY_FILE`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recovery {
    /// The Gateway as stored, without status and with resourceVersion 0.
    pub object: Stored,
    /// Of each catalog that it names, by [`CatalogRef`](crate::resource::CatalogRef) as text, the entries that it uses.
    pub catalogs: BTreeMap<String, CatalogSpec>,
    /// The leases that it holds, by `<kind>/<holder>`.
    pub leases: BTreeMap<String, i64>,
    /// Epoch of its placement.
    pub epoch: i64,
    /// The image ids that its containers were made from: a tag that moved since must not recreate them.
    pub pins: Pins,
    /// Which revision of each container is proven or failed, and none on trial: a trial begins anew.
    #[serde(default)]
    pub rollouts: Rollouts,
    /// What users asked for beside the specification, as in [`Declared`](super::Declared): how often a container was
    /// restarted is part of what it was made from.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, Requests>,
}

/// The name of a server's directory.
pub fn server_directory(server: &str) -> String {
    names::path_label(server)
}

/// The directories of a tree that a container of this role has bound; `has_secrets` tells whether it was made with a
/// secret file.
pub fn bound_directories(role: &Role, has_secrets: bool) -> Vec<String> {
    match role {
        Role::Gateway => vec![CONFIG.to_owned(), SOCKETS.to_owned()],
        Role::Server(server) => {
            let sockets = format!("{SERVER_SOCKETS}/{}", server_directory(server));
            let secrets = has_secrets.then(|| secrets::directory(server));
            std::iter::once(sockets).chain(secrets).collect()
        }
        Role::Network => Vec::new(),
    }
}

/// The directories of a tree that nobody but us writes to: a change in one of them is worth a look.
/// Where there are secrets, so is one in [`SECRETS`] and in each directory beneath it.
pub fn watched_directories() -> [&'static str; 4] {
    ["", CONFIG, SOCKETS, SERVER_SOCKETS]
}

/// All directories, parents first.
pub(super) fn directories(servers: &[Announced], secret_files: &[DesiredSecretFile]) -> Vec<(String, u32)> {
    let mut directories = vec![
        (String::new(), 0o755),
        (CONFIG.to_owned(), 0o755),
        (SOCKETS.to_owned(), 0o755),
        (CONTROL.to_owned(), 0o777),
        (SERVER_SOCKETS.to_owned(), 0o755),
    ];
    directories.extend(servers.iter().filter_map(|server| match &server.place {
        ServerPlace::Bridge { directory, .. } => Some((format!("{SERVER_SOCKETS}/{directory}"), 0o777)),
        ServerPlace::Remote(_) => None,
    }));
    if !secret_files.is_empty() {
        directories.push((SECRETS.to_owned(), 0o755));
        let own = secret_files.iter().filter_map(|file| file.path.rsplit_once('/'));
        directories.extend(own.map(|(directory, _)| (directory.to_owned(), 0o755)));
    }
    directories
}

impl Rendering<'_> {
    /// `gateway.json` and its revision.
    pub(super) fn gateway_file(&self, servers: &[Announced]) -> (DesiredFile, String) {
        let mut file = GatewayFile {
            revision: String::new(),
            gateway: self.key.to_string(),
            allowed_hosts: vec![self.settings.publish_address.to_string()],
            allow_private_remotes: self.settings.allow_private_remotes,
            servers: servers.iter().map(GatewayServer::from).collect(),
        };
        file.revision = spec_hash(&file);
        let revision = file.revision.clone();
        (self.file(format!("{CONFIG}/{GATEWAY_FILE}"), 0o444, &file), revision)
    }

    /// `tokens.json`.
    pub(super) fn tokens_file(&self) -> DesiredFile {
        let file =
            TokensFile { revision: self.declared.tokens_revision, tokens: self.declared.tokens.clone() };
        self.file(format!("{CONFIG}/{TOKENS_FILE}"), 0o444, &file)
    }

    /// `recovery.json`.
    pub(super) fn recovery_file(&self, pins: &Pins, rollouts: &Rollouts) -> DesiredFile {
        let entries = self.declared.entries();
        let mut catalogs: BTreeMap<String, CatalogSpec> = self
            .declared
            .catalogs
            .iter()
            .map(|layer| (layer.reference.to_string(), CatalogSpec::default()))
            .collect();
        for server in &self.declared.spec.servers {
            if let Some(merged) = entries.get(server.name.as_str())
                && let Some(catalog) = catalogs.get_mut(&merged.catalog.to_string())
            {
                catalog.registry.insert(server.name.clone(), merged.entry.clone());
            }
        }
        let file = Recovery {
            object: Stored {
                // Versions change with every status; this file must not.
                metadata: StoredMeta { resource_version: 0, ..self.declared.metadata.clone() },
                spec: serde_json::to_value(&self.declared.spec).unwrap_or_default(),
                status: None,
            },
            catalogs,
            leases: lease_texts(&self.declared.leases),
            epoch: self.declared.epoch,
            pins: pins.clone(),
            rollouts: without_trials(rollouts),
            requests: self.declared.requests.clone(),
        };
        self.file(RECOVERY_FILE.to_owned(), 0o400, &file)
    }

    fn file<T: Serialize>(&self, path: String, mode: u32, value: &T) -> DesiredFile {
        // Plain structs with string keys always serialise.
        let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
        text.push('\n');
        DesiredFile { path, mode, content: Content(text) }
    }
}

impl From<&Announced> for GatewayServer {
    fn from(server: &Announced) -> Self {
        let Announced { name, place, prefix, tools } = server;
        Self { name: name.clone(), place: place.clone(), prefix: prefix.clone(), tools: tools.clone() }
    }
}

/// The records as far as they hold for long. The file changes with what is proven, not with what is tried.
fn without_trials(rollouts: &Rollouts) -> Rollouts {
    let settled = |rollout: &Rollout| Rollout {
        trial: None,
        failed: rollout.failed.clone().map(|failed| Failed { answered: BTreeSet::new(), ..failed }),
        ..rollout.clone()
    };
    let servers = rollouts.servers.iter().map(|(name, rollout)| (name.clone(), settled(rollout)));
    Rollouts {
        gateway: settled(&rollouts.gateway),
        servers: servers.filter(|(_, rollout)| *rollout != Rollout::default()).collect(),
    }
}

fn lease_texts(leases: &Leases) -> BTreeMap<String, i64> {
    leases.iter().map(|(slot, value)| (format!("{}/{}", slot.kind, slot.holder), *value)).collect()
}
