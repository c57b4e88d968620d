//! What is declared: the first argument of every plan, as the store and the settings of `serve` have it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::catalog::{self, Merged};
use crate::container::spec_hash;
use crate::gateway_file::TokenVerifier;
use crate::labels::Owner;
use crate::lease::{Holder, LeaseKind, LeaseSlot, Leases, Ranges};
use crate::object::{GatewayKey, StoredMeta};
use crate::resource::{ClusterCatalogSpec, GatewaySpec};

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
    /// Where leases come from.
    pub ranges: Ranges,
}

impl Settings {
    /// Absolute path of a Gateway's tree.
    pub fn tree(&self, uid: Uuid) -> String {
        format!("{}/gateways/{uid}", self.runtime_dir)
    }
}

/// Everything that is declared about one gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Declared {
    /// The Gateway's metadata.
    pub metadata: StoredMeta,
    /// Its specification.
    pub spec: GatewaySpec,
    /// The catalogs that the specification names and that exist.
    pub catalogs: BTreeMap<String, ClusterCatalogSpec>,
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
}

impl Declared {
    /// Namespace and name.
    pub fn key(&self) -> GatewayKey {
        GatewayKey {
            namespace: self.metadata.key.namespace.clone().unwrap_or_default(),
            name: self.metadata.key.name.clone(),
        }
    }

    /// The catalogs' entries, later catalogs winning.
    pub(super) fn entries(&self) -> BTreeMap<&str, Merged<'_>> {
        catalog::merge(
            self.spec
                .catalogs
                .iter()
                .filter_map(|name| self.catalogs.get(name).map(|spec| (name.as_str(), spec))),
        )
    }

    /// Digest of what was written about this gateway: its own specification and the catalog entries that it uses.
    /// What failed for one revision says nothing about another.
    pub fn revision(&self) -> String {
        let entries = self.entries();
        let used: Vec<_> = self
            .spec
            .servers
            .iter()
            .map(|server| entries.get(server.name.as_str()).map(|merged| merged.entry))
            .collect();
        spec_hash(&(self.metadata.uid, self.metadata.generation, &self.spec, used))
    }

    /// The leases that the specification needs: uids only for servers that can run.
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
                .filter(|server| server.is_enabled() && entries.contains_key(server.name.as_str()))
                .map(|server| LeaseSlot::new(LeaseKind::Uid, Holder::Server(server.name.clone()))),
        );
        needs
    }

    /// The image references and pinned image ids whose state an observation must tell.
    pub fn images(&self, settings: &Settings) -> BTreeSet<String> {
        let entries = self.entries();
        let mut images = BTreeSet::from([self.gateway_image(settings)]);
        for server in self.spec.servers.iter().filter(|server| server.is_enabled()) {
            if let Some(image) =
                entries.get(server.name.as_str()).and_then(|m| m.entry.fields().image.as_ref())
            {
                images.insert(image.to_string());
            }
        }
        images.extend(self.pins.images.values().cloned());
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

/// The image ids to which one generation's references were resolved. A tag that moves changes nothing until the
/// next generation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pins {
    /// The generation that resolved them.
    pub generation: i64,
    /// Reference as written to image id.
    pub images: BTreeMap<String, String>,
}
