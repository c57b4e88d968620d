//! Fixtures of the crate's own tests: a declaration from YAML, and a world in memory that carries steps out.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeZone, Utc};
use uuid::Uuid;

use crate::container::NetworkMode;
use crate::desired::{Declared, Desired, Layer, Moment, Pins, Settings, desire};
use crate::gateway_file::{GatewayState, ServerPhase, ServerReport};
use crate::labels::{Owner, Role};
use crate::lease::Ranges;
use crate::object::{ObjectKey, StoredMeta};
use crate::observed::{
    ContainerState, Entry, ImageFacts, ImageState, Live, Observed, ObservedContainer, ObservedNetwork, Probe,
};
use crate::plan::{Holds, Plan, plan};
use crate::resource::{CatalogRef, GatewaySpec, Resource, parse};
use crate::rollout::{Rollouts, Troubles};
use crate::secret::FILE_MODE;
use crate::step::Step;
use crate::volume::{ObservedVolume, VolumeClaims};

pub(crate) fn settings() -> Settings {
    Settings {
        owner: Owner { instance: "default".to_owned(), installation: Uuid::from_u128(1) },
        host: "h1".to_owned(),
        runtime_dir: "/run/bowline".to_owned(),
        bridge_dir: "/var/lib/bowline/bridge/0123456789abcdef".to_owned(),
        gateway_image: "bowline/gateway:test".to_owned(),
        publish_address: "127.0.0.1".parse().unwrap(),
        allow_private_remotes: false,
        ranges: Ranges {
            ports: "20000-20099".parse().unwrap(),
            uids: "1900000000-1900000099".parse().unwrap(),
            subnets: "10.213.0.0/16".parse().unwrap(),
        },
    }
}

pub(crate) fn at(seconds: i64) -> DateTime<Utc> {
    Utc.timestamp_opt(1_800_000_000 + seconds, 0).unwrap()
}

/// The first Gateway of the text with the catalogs of the text, leases given.
pub(crate) fn declare(yaml: &str) -> Declared {
    let parsed = parse(yaml, None);
    assert!(parsed.is_ok(), "{:?}", parsed.diagnostics);
    let mut catalogs = Vec::new();
    let mut gateway = None;
    for located in parsed.resources {
        match located.resource {
            Resource::Gateway(object) => gateway = gateway.or(Some(object)),
            resource @ (Resource::ClusterCatalog(_) | Resource::Catalog(_)) => catalogs.push(resource),
            Resource::Secret(_) => {}
        }
    }
    let gateway = gateway.unwrap();
    let catalogs = layers(&gateway.spec, &catalogs);
    let namespace = gateway.metadata.namespace.clone().unwrap();
    let mut declared = Declared {
        metadata: StoredMeta {
            key: ObjectKey::gateway(namespace, gateway.metadata.name.clone()),
            uid: Uuid::from_u128(42),
            generation: 1,
            resource_version: 1,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            creation_timestamp: at(0),
            deletion_timestamp: None,
            managed_by: "cli".to_owned(),
        },
        spec: gateway.spec,
        catalogs,
        epoch: 1,
        leases: BTreeMap::new(),
        lease_problems: BTreeMap::new(),
        tokens: Vec::new(),
        tokens_revision: 0,
        pins: Pins::default(),
        secrets: BTreeMap::new(),
        rollouts: Rollouts::default(),
        requests: BTreeMap::new(),
        volumes: VolumeClaims { tenant: Uuid::from_u128(7), ..VolumeClaims::default() },
    };
    lease(&mut declared);
    declared
}

/// Those of the catalogs that the gateway names, in its order; each has its place in the text as its version.
pub(crate) fn layers(gateway: &GatewaySpec, catalogs: &[Resource]) -> Vec<Layer> {
    let layer = |reference: &CatalogRef| {
        let found = catalogs.iter().zip(1..).find(|(resource, _)| resource.key() == reference.key());
        let (Resource::ClusterCatalog(object) | Resource::Catalog(object), version) = found? else {
            return None;
        };
        Some(Layer { reference: reference.clone(), resource_version: version, spec: object.spec.clone() })
    };
    gateway.catalogs.iter().filter_map(layer).collect()
}

/// Gives every lease that is needed and missing.
pub(crate) fn lease(declared: &mut Declared) {
    let ranges = settings().ranges;
    let none = std::collections::BTreeSet::new();
    for slot in declared.lease_needs() {
        if !declared.leases.contains_key(&slot) {
            let taken =
                declared.leases.iter().filter(|(held, _)| held.kind == slot.kind).map(|(_, v)| *v).collect();
            let value = ranges.next_free(slot.kind, &taken, &none, &none, None).unwrap();
            declared.leases.insert(slot, value);
        }
    }
}

/// A world that does what steps say.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) observed: Observed,
    pub(crate) now: i64,
    /// As the store keeps them between runs.
    pub(crate) rollouts: Rollouts,
    pub(crate) troubles: Troubles,
    made: u32,
    /// The network that a container joins when it starts, by container id.
    network_of: BTreeMap<String, String>,
}

impl World {
    /// A world in which every image that the declaration asks for is present.
    pub(crate) fn with_images(declared: &Declared) -> Self {
        let mut world = World::default();
        world.add_images(declared);
        world
    }

    pub(crate) fn add_images(&mut self, declared: &Declared) {
        for image in declared.images(&settings()) {
            let facts = image_facts(&image);
            self.observed.images.insert(facts.id.clone(), ImageState::Present(facts.clone()));
            self.observed.images.insert(image, ImageState::Present(facts));
        }
    }

    pub(crate) fn desire(&self, declared: &Declared) -> Desired {
        let declared = Declared { rollouts: self.rollouts.clone(), ..declared.clone() };
        let moment = Moment { now: at(self.now), troubles: &self.troubles };
        desire(&declared, &self.observed, &settings(), moment)
    }

    pub(crate) fn plan(&self, declared: &Declared) -> Plan {
        self.plan_held(declared, &Holds::new())
    }

    pub(crate) fn plan_held(&self, declared: &Declared, holds: &Holds) -> Plan {
        plan(Some(&self.desire(declared)), &self.observed, holds, at(self.now))
    }

    /// Plans and executes once; returns the plan.
    pub(crate) fn reconcile(&mut self, declared: &Declared) -> Plan {
        let plan = self.plan(declared);
        self.rollouts = self.desire(declared).rollouts;
        for planned in &plan.steps {
            self.execute(&planned.step);
        }
        plan
    }

    pub(crate) fn container(&mut self, name: &str) -> &mut ObservedContainer {
        self.observed.containers.iter_mut().find(|c| c.name == name).unwrap()
    }

    /// Lets the gateway answer with every one of these servers running.
    pub(crate) fn answer(&mut self, declared: &Declared, servers: &[&str]) {
        let report = |name: &&str| ServerReport {
            name: (*name).to_owned(),
            phase: ServerPhase::Running,
            tools: 1,
            tools_digest: None,
            server_info: None,
            restarts: 0,
            last_error: None,
        };
        let state = GatewayState {
            version: "1".to_owned(),
            config_revision: self.desire(declared).config_revision,
            tokens_revision: declared.tokens_revision,
            servers: servers.iter().map(report).collect(),
        };
        self.observed.probe = Some(Probe { healthy: true, misses: 0, state: Some(state) });
    }

    fn by_id(&mut self, id: &str) -> &mut ObservedContainer {
        self.observed.containers.iter_mut().find(|c| c.id == id || c.name == id).unwrap()
    }

    pub(crate) fn execute(&mut self, step: &Step) {
        match step {
            Step::PullImage { reference } => {
                let facts = image_facts(reference);
                self.observed.images.insert(reference.clone(), ImageState::Present(facts));
            }
            Step::EnsureDirectory { uid, path, mode } => {
                let tree = self.observed.trees.entry(*uid).or_default();
                if let Some((parent, _)) = path.rsplit_once('/') {
                    assert!(tree.contains_key(parent), "{path} has no parent");
                }
                tree.insert(path.clone(), Entry::Directory { mode: *mode });
            }
            Step::WriteFile { uid, path, mode, content } => {
                let entry = Entry::File { mode: *mode, sha256: content.sha256() };
                self.observed.trees.get_mut(uid).unwrap().insert(path.clone(), entry);
            }
            Step::WriteSecrets { uid, path, revision, sources } => {
                let tree = self.observed.trees.get_mut(uid).unwrap();
                let (parent, _) = path.rsplit_once('/').unwrap();
                assert!(tree.contains_key(parent), "{path} has no parent");
                assert!(!sources.is_empty(), "{path} would be empty");
                tree.insert(path.clone(), Entry::Secret { mode: FILE_MODE, revision: revision.clone() });
            }
            Step::RemovePath { uid, path } if path.is_empty() => {
                assert!(self.observed.containers.iter().all(|c| c.identity.uid != *uid), "files in use");
                self.observed.trees.remove(uid);
            }
            Step::RemovePath { uid, path } => {
                let below = format!("{path}/");
                self.observed.trees.get_mut(uid).unwrap().retain(|p, _| p != path && !p.starts_with(&below));
            }
            Step::CreateNetwork { name, identity, .. } => {
                assert!(self.observed.networks.iter().all(|n| n.name != *name), "{name} exists");
                self.made += 1;
                let id = format!("n{}", self.made);
                let network = ObservedNetwork { id, name: name.clone(), identity: identity.clone() };
                self.observed.networks.push(network);
            }
            Step::RemoveNetwork { id, .. } => self.observed.networks.retain(|n| n.id != *id),
            Step::CreateVolume { name, identity } => {
                assert!(self.observed.volumes.iter().all(|v| v.name != *name), "{name} exists");
                let volume = ObservedVolume { name: name.clone(), identity: identity.clone() };
                self.observed.volumes.push(volume);
            }
            Step::CreateContainer { name, identity, spec } => {
                for mount in &spec.volumes {
                    let there = self.observed.volumes.iter().any(|volume| volume.name == mount.name);
                    assert!(there, "{} is missing", mount.name);
                }
                assert!(self.observed.containers.iter().all(|c| c.name != *name), "{name} exists");
                self.made += 1;
                let limits = spec.limits.clone();
                if let NetworkMode::Named(network) = &spec.network {
                    self.network_of.insert(format!("c{}", self.made), network.clone());
                }
                self.observed.containers.push(ObservedContainer {
                    id: format!("c{}", self.made),
                    name: name.clone(),
                    identity: identity.clone(),
                    image: spec.image.clone(),
                    state: ContainerState::Created,
                    restarts: true,
                    restart_count: 0,
                    started_at: None,
                    finished_at: None,
                    error: String::new(),
                    live: Live { memory_swap: limits.memory, limits, ..Live::default() },
                });
            }
            Step::StartContainer { id, .. } => {
                let now = at(self.now);
                let full = self.by_id(id).id.clone();
                let network = self.network_of.get(&full);
                let joined = network.map(|name| {
                    let found = self.observed.networks.iter().find(|network| network.name == *name);
                    found.expect("its network exists").id.clone()
                });
                let twin = self.by_id(id).identity.clone();
                let runs = |c: &&ObservedContainer| c.id != full && c.state == ContainerState::Running;
                let mut others = self.observed.containers.iter().filter(runs);
                assert!(
                    !others.any(|c| (c.identity.uid, &c.identity.role) == (twin.uid, &twin.role)),
                    "two of {:?} run",
                    twin.role
                );
                let container = self.by_id(id);
                container.state = ContainerState::Running;
                container.started_at = Some(now);
                container.live.networks = joined.into_iter().collect();
            }
            Step::RenameContainer { id, to, .. } => {
                assert!(self.observed.containers.iter().all(|c| c.name != *to), "{to} exists");
                self.by_id(id).name = to.clone();
            }
            Step::UpdateContainer { id, limits, .. } => {
                let live = &mut self.by_id(id).live;
                live.memory_swap = limits.memory;
                live.limits = limits.clone();
            }
            Step::ConnectNetwork { id, network, .. } => {
                let found = self.observed.networks.iter().find(|seen| seen.name == *network);
                let network = found.expect("the network exists").id.clone();
                self.by_id(id).live.networks.insert(network);
            }
            Step::DisconnectNetwork { id, network, .. } => {
                self.by_id(id).live.networks.remove(network);
            }
            Step::UnpauseContainer { id, .. } => self.by_id(id).state = ContainerState::Running,
            Step::SetRestart { id, restart, .. } => self.by_id(id).restarts = *restart,
            Step::StopContainer { id, .. } => {
                let now = at(self.now);
                let container = self.by_id(id);
                container.state = ContainerState::Exited { code: 0 };
                container.finished_at = Some(now);
            }
            Step::RemoveContainer { id, .. } => {
                let state = self.by_id(id).state;
                assert!(!matches!(state, ContainerState::Running | ContainerState::Paused), "{id} runs");
                self.observed.containers.retain(|c| c.id != *id);
            }
            Step::ReloadGateway { .. } => {}
        }
    }
}

fn image_facts(reference: &str) -> ImageFacts {
    let digest = crate::step::Content(reference.to_owned()).sha256();
    ImageFacts {
        id: if reference.starts_with("sha256:") { reference.to_owned() } else { format!("sha256:{digest}") },
        command: vec!["serve".to_owned()],
        ..ImageFacts::default()
    }
}

/// Names of the containers of a role, for short assertions.
pub(crate) fn names(observed: &Observed, role: fn(&Role) -> bool) -> Vec<&str> {
    observed.containers.iter().filter(|c| role(&c.identity.role)).map(|c| c.name.as_str()).collect()
}
