//! What is declared: the first argument of every plan, as the store and the settings of `serve` have it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::catalog::{self, Merged, ServerKind};
use crate::container::spec_hash;
use crate::gateway_file::TokenVerifier;
use crate::labels::Owner;
use crate::lease::{Holder, LeaseKind, LeaseSlot, Leases, Ranges};
use crate::object::{GatewayKey, StoredMeta};
use crate::plan::Unit;
use crate::resource::{CatalogRef, CatalogSpec, GatewaySpec, PAUSED_ANNOTATION, ServerSpec};
use crate::rollout::Rollouts;
use crate::secret::SecretFacts;
use crate::template::render_server;
use crate::volume::{self, VolumeClaims, VolumeKey, VolumeRequest};

/// What `serve` was started with, as far as it goes into what is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Instance and installation.
    pub owner: Owner,
    /// Name of this host.
    pub host: String,
    /// Absolute path of the runtime directory, on tmpfs.
    pub runtime_dir: String,
    /// Absolute path of the directory that holds the bridge.
    pub bridge_dir: String,
    /// Image of gateways that name none.
    pub gateway_image: String,
    /// Address on which gateways are published.
    pub publish_address: IpAddr,
    /// Whether gateways may dial remote servers at private and loopback addresses.
    pub allow_private_remotes: bool,
    /// Where leases come from.
    pub ranges: Ranges,
}

impl Settings {
    /// Absolute path of a Gateway's tree.
    pub fn tree(&self, uid: Uuid) -> String {
        format!("{}/gateways/{uid}", self.runtime_dir)
    }
}

/// The key of [`Declared::requests`] for all units of a gateway.
const ALL_UNITS: &str = "*";

/// Everything that is declared about one gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Declared {
    /// The Gateway's metadata.
    pub metadata: StoredMeta,
    /// Its specification.
    pub spec: GatewaySpec,
    /// The catalogs that the specification names and that exist, lowest first.
    pub catalogs: Vec<Layer>,
    /// Epoch of its placement.
    pub epoch: i64,
    /// The leases that it holds.
    pub leases: Leases,
    /// Why leases that it needs were not given.
    pub lease_problems: BTreeMap<LeaseSlot, String>,
    /// Verifiers of its tokens.
    pub tokens: Vec<TokenVerifier>,
    /// Revision of the set of tokens.
    pub tokens_revision: i64,
    /// The image ids that this generation was resolved to.
    pub pins: Pins,
    /// What the store says of the volumes that it needs.
    #[serde(default)]
    pub volumes: VolumeClaims,
    /// What the store knows of the Secrets that it needs, by name: those of [`Declared::secret_needs`] that exist.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretFacts>,
    /// Which revision of each container is proven, on trial, or failed.
    pub rollouts: Rollouts,
    /// What users asked for beside the specification, by unit: `gateway`, `server:<registry key>` or `*`.
    pub requests: BTreeMap<String, Requests>,
}

/// How often something was asked of one unit. A count, so that nothing is carried out twice or lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Requests {
    /// `bowline restart`.
    pub restart: i64,
    /// `bowline retry`.
    pub retry: i64,
}

impl Requests {
    /// How many requests of any kind these are: what [`crate::status::GatewayStatus::observed_requests`] counts.
    pub fn total(of_units: &BTreeMap<String, Requests>) -> i64 {
        of_units.values().map(|Requests { restart, retry }| restart + retry).sum()
    }
}

/// One of a gateway's catalogs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Layer {
    /// How the gateway names it.
    pub reference: CatalogRef,
    /// The version of the catalog that this is.
    pub resource_version: i64,
    /// What it says.
    pub spec: CatalogSpec,
}

impl Declared {
    /// Namespace and name.
    pub fn key(&self) -> GatewayKey {
        GatewayKey {
            namespace: self.metadata.key.namespace.clone().unwrap_or_default(),
            name: self.metadata.key.name.clone(),
        }
    }

    /// Whether an annotation keeps this gateway from being reconciled.
    pub fn is_paused(&self) -> bool {
        self.metadata.annotations.get(PAUSED_ANNOTATION).is_some_and(|value| value == "true")
    }

    fn requested(&self, unit: &Unit) -> impl Iterator<Item = Requests> {
        let own = match unit {
            Unit::Gateway => Some("gateway".to_owned()),
            Unit::Server(server) => Some(format!("server:{server}")),
            Unit::Shared | Unit::Reload | Unit::Cleanup => None,
        };
        let keys = own.into_iter().chain([ALL_UNITS.to_owned()]);
        keys.filter_map(|key| self.requests.get(&key).copied())
    }

    /// How often a restart of a container was asked for.
    pub(super) fn restarts(&self, unit: &Unit) -> i64 {
        self.requested(unit).map(|requests| requests.restart).sum()
    }

    /// How often another try of a container was asked for.
    pub(super) fn retries(&self, unit: &Unit) -> i64 {
        self.requested(unit).map(|requests| requests.retry).sum()
    }

    /// The catalogs' entries, later catalogs winning.
    pub(crate) fn entries(&self) -> BTreeMap<&str, Merged<'_>> {
        catalog::merge(self.catalogs.iter().map(|layer| (&layer.reference, &layer.spec)))
    }

    /// The newest version of a catalog among those that the gateway names; 0 where it has none. Versions are one
    /// count over all objects, so that this reaches the version of an edit exactly when the edit is in `catalogs`.
    pub fn catalog_revision(&self) -> i64 {
        self.catalogs.iter().map(|layer| layer.resource_version).max().unwrap_or_default()
    }

    /// The catalogs that the specification names and that do not exist.
    pub(super) fn missing_catalogs(&self) -> impl Iterator<Item = &CatalogRef> {
        let is_there = |wanted: &CatalogRef| self.catalogs.iter().any(|layer| layer.reference == *wanted);
        self.spec.catalogs.iter().filter(move |wanted| !is_there(wanted))
    }

    /// Digest of what was written about this gateway: its own specification, the catalog entries that it uses, and the
    /// versions of the secrets that it names.
    /// What failed for one revision says nothing about another.
    pub fn revision(&self) -> String {
        let entries = self.entries();
        let used: Vec<_> = self
            .spec
            .servers
            .iter()
            .map(|server| entries.get(server.name.as_str()).map(|merged| merged.entry))
            .collect();
        let written = (self.metadata.uid, self.metadata.generation, &self.spec, used, &self.requests);
        spec_hash(&(written, &self.secrets))
    }

    /// The leases that the specification needs: uids only for servers that can run in a container.
    pub fn lease_needs(&self) -> Vec<LeaseSlot> {
        let mut needs = vec![
            LeaseSlot::new(LeaseKind::Port, Holder::Gateway),
            LeaseSlot::new(LeaseKind::Uid, Holder::Gateway),
            LeaseSlot::new(LeaseKind::Subnet, Holder::Gateway),
        ];
        let entries = self.entries();
        needs.extend(
            self.spec
                .servers
                .iter()
                .filter(|server| {
                    let entry = entries.get(server.name.as_str()).map(|merged| merged.entry);
                    server.is_enabled() && entry.is_some_and(|entry| entry.kind() != ServerKind::Remote)
                })
                .map(|server| LeaseSlot::new(LeaseKind::Uid, Holder::Server(server.name.clone()))),
        );
        needs
    }

    /// The volumes that its servers need, as far as their entries can be rendered.
    pub fn volume_needs(&self) -> BTreeSet<VolumeKey> {
        let servers = self.spec.servers.iter();
        let requests = servers.filter_map(|server| Some((server, self.volume_requests(server)?.ok()?)));
        requests
            .flat_map(|(server, requests)| {
                requests.into_iter().map(|request| VolumeKey::new(&server.name, request.volume))
            })
            .collect()
    }

    /// The Secrets of its namespace that the specification names, and those that its proven containers were made with:
    /// whose facts [`Declared::secrets`] must have.
    pub fn secret_needs(&self) -> BTreeSet<String> {
        let proven = self.rollouts.servers.values().filter_map(|rollout| rollout.proven.as_ref());
        let earlier = proven.flat_map(|proven| &proven.container.secrets);
        let earlier = earlier.map(|source| source.secret.as_str());
        self.spec.secret_names().chain(earlier).map(str::to_owned).collect()
    }

    /// Whether an enabled server's entry declares a secret.
    pub(crate) fn declares_secrets(&self) -> bool {
        let entries = self.entries();
        let enabled = self.spec.servers.iter().filter(|server| server.is_enabled());
        let mut used = enabled.filter_map(|server| entries.get(server.name.as_str()));
        used.any(|merged| !merged.entry.fields().secrets.is_empty())
    }

    /// Whether a server may go on using a volume. One whose entry cannot be rendered just now may: what runs stays.
    pub fn may_use(&self, key: &VolumeKey) -> bool {
        let server = self.spec.servers.iter().find(|server| server.name == key.server);
        match server.and_then(|server| self.volume_requests(server)) {
            None => false,
            Some(Err(_)) => true,
            Some(Ok(requests)) => requests.iter().any(|request| request.volume == key.volume),
        }
    }

    /// What an enabled server's entry asks for; `None` where there is no such entry.
    fn volume_requests(&self, server: &ServerSpec) -> Option<Result<Vec<VolumeRequest>, Unreadable>> {
        let entries = self.entries();
        let entry = entries.get(server.name.as_str()).filter(|_| server.is_enabled())?.entry;
        // A remote server has no container, and so nothing that a volume could be mounted in.
        if entry.fields().volumes.is_empty() || entry.kind() == ServerKind::Remote {
            return Some(Ok(Vec::new()));
        }
        if !catalog::unsupported(entry).is_empty() {
            return Some(Err(Unreadable));
        }
        let rendered = render_server(&server.name, entry, &server.config).map_err(|_| Unreadable);
        Some(rendered.and_then(|rendered| volume::read_all(&rendered.volumes).map_err(|_| Unreadable)))
    }

    /// The image references and pinned image ids whose state an observation must tell.
    pub fn images(&self, settings: &Settings) -> BTreeSet<String> {
        let entries = self.entries();
        let mut images = BTreeSet::from([self.gateway_image(settings)]);
        for server in self.spec.servers.iter().filter(|server| server.is_enabled()) {
            if let Some(image) = entries.get(server.name.as_str()).and_then(|m| m.entry.container_image()) {
                images.insert(image.to_string());
            }
        }
        images.extend(self.pins.images.values().map(|pin| pin.image.clone()));
        images
    }

    /// Reference of the gateway's image.
    pub(super) fn gateway_image(&self, settings: &Settings) -> String {
        self.spec.image.as_ref().map_or_else(|| settings.gateway_image.clone(), ToString::to_string)
    }

    pub(super) fn lease(&self, kind: LeaseKind, holder: Holder) -> Option<i64> {
        self.leases.get(&LeaseSlot::new(kind, holder)).copied()
    }
}

/// An entry's volumes cannot be read, or nothing can be made of the entry; why is told where its container is desired.
struct Unreadable;

/// The image ids to which one generation's references were resolved. A tag that moves changes nothing until the
/// next generation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pins {
    /// The generation that resolved them.
    pub generation: i64,
    /// One per container, by `gateway` or `server <registry key>`.
    pub images: BTreeMap<String, Pin>,
}

/// What one container's image was resolved to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pin {
    /// Reference as written.
    pub reference: String,
    /// Image id.
    pub image: String,
    /// How often a restart had been asked for then: the next one resolves the reference anew.
    #[serde(default)]
    pub restarts: i64,
}

#[cfg(test)]
mod tests;
