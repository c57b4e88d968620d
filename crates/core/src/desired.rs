//! From what is declared to what shall be there: one [`Gateway`](crate::object::Kind::Gateway) with its
//! catalogs, leases, tokens and image facts becomes containers, a network, directories and files.
//!
//! Everything is decided here; the planner only compares. What cannot be made (an image that is absent, an entry
//! that needs what does not exist yet, a lease that could not be given) is a [`Wanted`] variant of its own, so
//! that one server's trouble is that server's state and nobody else's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::container::{Bind, ContainerSpec, Limits, NetworkMode, NetworkSpec, Publish, spec_hash};
use crate::gateway_file as contract;
use crate::labels::{Identity, Role};
use crate::lease::{Holder, LeaseKind, LeaseSlot, Subnet};
use crate::names;
use crate::object::GatewayKey;
use crate::observed::{ImageFacts, ImageState, Observed};
use crate::plan::Unit;
use crate::resource::{Cpu, Memory, Resources};
use crate::rollout::Rollouts;
use crate::secret::SecretSource;
use crate::step::Content;
use crate::volume::VolumeIdentity;

use servers::Servers;

mod declared;
mod files;
mod rollouts;
pub(crate) mod secrets;
mod servers;
mod volumes;

pub use declared::{Declared, Layer, Pin, Pins, Requests, Settings};
pub use files::{RECOVERY_FILE, Recovery, SECRETS, bound_directories, server_directory, watched_directories};
pub use rollouts::Moment;
pub use secrets::below_secrets;

/// What shall be there for one gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Desired {
    /// Namespace and name.
    pub key: GatewayKey,
    /// Uid of the Gateway object.
    pub uid: Uuid,
    /// Whether every container shall be stopped.
    pub suspended: bool,
    /// The network; absent while its lease is missing.
    pub network: Option<DesiredNetwork>,
    /// Directories below the tree, parents first, with their permission bits.
    pub directories: Vec<(String, u32)>,
    /// Files below the tree.
    pub files: Vec<DesiredFile>,
    /// Secret files of servers, below the tree.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_files: Vec<DesiredSecretFile>,
    /// Revision of the gateway's configuration file.
    pub config_revision: String,
    /// Revision of the gateway's token file.
    pub tokens_revision: i64,
    /// The gateway container.
    pub gateway: Wanted,
    /// Image reference of the gateway container.
    pub gateway_image: String,
    /// One per server of the specification, in its order.
    pub servers: Vec<DesiredServer>,
    /// What this generation's references are resolved to.
    pub pins: Pins,
    /// What runs in the place of the declared gateway container: the last one that answered.
    pub gateway_instead: Option<Box<WantedContainer>>,
    /// The record of every container after this look; written before anything is done because of it.
    pub rollouts: Rollouts,
}

impl Desired {
    /// The gateway container that shall run: the declared one, or the one that stays in its place.
    pub fn gateway_target(&self) -> Option<&WantedContainer> {
        match (&self.gateway_instead, &self.gateway) {
            (Some(instead), _) => Some(instead),
            (None, Wanted::Container(container)) => Some(container),
            (None, _) => None,
        }
    }
}

/// A network that shall be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredNetwork {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub identity: Identity,
    /// What it is.
    pub spec: NetworkSpec,
}

/// A file that shall be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredFile {
    /// Path below the tree.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Content.
    pub content: Content,
}

/// A server's secret file that shall be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredSecretFile {
    /// Path below the tree.
    pub path: String,
    /// [Revision](crate::secret::revision) of its lines.
    pub revision: String,
    /// Its lines, sorted by variable.
    pub sources: Vec<SecretSource>,
}

/// One server of the specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredServer {
    /// Registry key.
    pub name: String,
    /// Image reference of the catalog, if the entry has one.
    pub image: Option<String>,
    /// What shall be there for it.
    pub wanted: Wanted,
    /// What runs in the place of it: the last revision that answered.
    pub instead: Option<Box<WantedContainer>>,
    /// Whether the entry's `allowHosts` list is not enforced.
    pub egress_unenforced: bool,
    /// Whether the reference now names another image than the pinned one.
    pub image_outdated: bool,
}

/// What shall be there for one container, or why nothing can be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Wanted {
    /// This container.
    Container(Box<WantedContainer>),
    /// A container, once its image is there.
    Image(ImageState),
    /// None: the gateway dials a remote server by itself.
    Remote,
    /// None: switched off in the specification.
    Disabled,
    /// None, until the specification or the catalog changes.
    Never {
        /// CamelCase word for machines.
        reason: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// None yet: a secret that it declares has no value.
    MissingSecret {
        /// Which one, and what to do.
        message: String,
    },
    /// None yet: a lease is missing.
    Lease {
        /// What is wrong and what to do; `None` while nobody has tried to take the lease.
        problem: Option<String>,
    },
}

/// A container that shall be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WantedContainer {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub identity: Identity,
    /// What it is.
    pub spec: ContainerSpec,
    /// The volumes that must be there before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<DesiredVolume>,
    /// The lines of the secret file that must be there before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretSource>,
}

/// A volume that shall be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredVolume {
    /// Its name on the Engine.
    pub name: String,
    /// Its labels.
    pub identity: VolumeIdentity,
}

/// Size of `/tmp` in every container: 64 MiB.
const TMP_BYTES: i64 = 64 << 20;

/// What a gateway container gets where the specification says nothing.
fn gateway_defaults() -> Resources {
    let mut defaults = server_defaults();
    defaults.limits.pids = Some(128);
    defaults
}

/// What a server container gets where the specification says nothing: 256 MiB, one CPU, 64 processes.
fn server_defaults() -> Resources {
    let mut defaults = Resources::default();
    defaults.limits.memory = Some(Memory::from_mib(256));
    defaults.limits.cpu = Some(Cpu::from_millis(1000));
    defaults.limits.pids = Some(64);
    defaults
}

/// Docker's words for resources: `requests.cpu` becomes `CpuShares` (1024 a CPU), `limits.cpu` `NanoCpus`.
fn limits(resources: Resources, defaults: Resources) -> Limits {
    let Resources { requests, limits } = resources.or(defaults);
    Limits {
        memory: limits.memory.map_or(0, |memory| i64::try_from(memory.bytes()).unwrap_or(i64::MAX)),
        nano_cpus: limits.cpu.map(|cpu| i64::from(cpu.millis()) * 1_000_000),
        // Two shares are the least that the kernel takes.
        cpu_shares: requests.cpu.map(|cpu| (i64::from(cpu.millis()) * 1024 / 1000).max(2)),
        pids: i64::from(limits.pids.unwrap_or_default()),
    }
}

/// Decides what shall be there.
pub fn desire(declared: &Declared, observed: &Observed, settings: &Settings, moment: Moment<'_>) -> Desired {
    Rendering { declared, observed, settings, moment, key: declared.key() }.desired()
}

/// One rendering: what all its parts need.
struct Rendering<'a> {
    declared: &'a Declared,
    observed: &'a Observed,
    settings: &'a Settings,
    moment: Moment<'a>,
    key: GatewayKey,
}

impl Rendering<'_> {
    fn desired(&self) -> Desired {
        let mut pins = self.pins_of_this_generation();
        let mut rollouts = Rollouts::default();
        let Servers { servers, announced: rendered, secret_files } = self.servers(&mut pins, &mut rollouts);
        let (config, config_revision) = self.gateway_file(&rendered);
        let gateway_image = self.declared.gateway_image(self.settings);
        let gateway = self.gateway(&gateway_image, &mut pins);
        // Remote servers have no record that would tell whether they are the same: they do not count.
        let steady = rollouts.servers.iter().filter(|(_, rollout)| rollout.trial.is_none());
        let unchanged = steady.map(|(name, _)| name.clone()).collect();
        let settled = self.settle(&Unit::Gateway, &gateway, None, &config_revision, &unchanged);
        rollouts.gateway = settled.rollout;
        Desired {
            key: self.key.clone(),
            uid: self.uid(),
            suspended: self.declared.spec.is_suspended(),
            network: self.network(),
            directories: files::directories(&rendered, &secret_files),
            files: vec![config, self.tokens_file(), self.recovery_file(&pins, &rollouts)],
            secret_files,
            config_revision,
            tokens_revision: self.declared.tokens_revision,
            gateway,
            gateway_instead: settled.instead,
            gateway_image,
            servers,
            pins,
            rollouts,
        }
    }

    fn uid(&self) -> Uuid {
        self.declared.metadata.uid
    }

    /// The name, or the fallback where somebody else has it.
    fn free_name(&self, name: String) -> String {
        if self.observed.taken_names.contains(&name) {
            names::fallback(&name, &self.settings.owner.instance, self.uid())
        } else {
            name
        }
    }

    fn identity(&self, role: Role, spec_hash: String) -> Identity {
        Identity {
            owner: self.settings.owner.clone(),
            host: self.settings.host.clone(),
            key: self.key.clone(),
            uid: self.uid(),
            role,
            spec_hash,
            generation: self.declared.metadata.generation,
            epoch: self.declared.epoch,
        }
    }

    /// The name of our network: the one that it has, or else a free one. (Which names are taken is not known at
    /// once after a start, and must not move containers to somebody else's network then.)
    fn network_name(&self) -> String {
        let uid = self.uid();
        let own = self.observed.networks.iter().find(|seen| {
            seen.identity.uid == uid
                && self.network_spec().is_some_and(|spec| spec_hash(&spec) == seen.identity.spec_hash)
        });
        own.map_or_else(
            || self.free_name(names::network(&self.settings.owner.instance, &self.key)),
            |own| own.name.clone(),
        )
    }

    fn network_spec(&self) -> Option<NetworkSpec> {
        let lease = self.declared.lease(LeaseKind::Subnet, Holder::Gateway)?;
        Some(NetworkSpec { subnet: Subnet::from_lease(lease)? })
    }

    fn network(&self) -> Option<DesiredNetwork> {
        let spec = self.network_spec()?;
        let identity = self.identity(Role::Network, spec_hash(&spec));
        Some(DesiredNetwork { name: self.network_name(), identity, spec })
    }

    /// The first lease of these that is missing, as a [`Wanted`].
    fn missing_lease(&self, slots: &[(LeaseKind, Holder)]) -> Option<Wanted> {
        slots.iter().find_map(|(kind, holder)| {
            let slot = LeaseSlot::new(*kind, holder.clone());
            (!self.declared.leases.contains_key(&slot))
                .then(|| Wanted::Lease { problem: self.declared.lease_problems.get(&slot).cloned() })
        })
    }

    /// The name of a container of this role.
    fn name_of(&self, role: &Role) -> String {
        let instance = &self.settings.owner.instance;
        self.free_name(match role {
            Role::Server(server) => names::server_container(instance, &self.key, server),
            Role::Gateway | Role::Network => names::gateway_container(instance, &self.key),
        })
    }

    /// What is pinned already of the containers that are still declared: a passing hindrance unpins nothing.
    fn pins_of_this_generation(&self) -> Pins {
        let Declared { metadata, spec, pins, .. } = self.declared;
        let generation = metadata.generation;
        let mut images = BTreeMap::new();
        if pins.generation == generation {
            let servers = spec.servers.iter().filter(|server| server.is_enabled());
            let units = servers.map(|server| Unit::Server(server.name.clone())).chain([Unit::Gateway]);
            images.extend(units.filter_map(|unit| pins.images.get_key_value(&unit.to_string())));
        }
        let images = images.into_iter().map(|(unit, pin)| (unit.clone(), pin.clone())).collect();
        Pins { generation, images }
    }

    /// The image for a reference: the pinned id while this generation lasts, nobody asked for a restart, and the
    /// image is there; else what the reference names now. Pins it. After a failure what the reference names now
    /// comes first: another image is another chance.
    fn image(&self, unit: &Unit, reference: &str, pins: &mut Pins) -> Result<ImageFacts, Box<ImageState>> {
        let present = |name: &str| match self.observed.images.get(name) {
            Some(ImageState::Present(facts)) => Some(facts.clone()),
            _ => None,
        };
        let restarts = self.declared.restarts(unit);
        let pinned = (self.declared.pins.generation == self.declared.metadata.generation)
            .then(|| self.declared.pins.images.get(&unit.to_string()))
            .flatten()
            .filter(|pin| pin.reference == reference && pin.restarts == restarts);
        let failed = self.declared.rollouts.of(unit).is_some_and(|rollout| rollout.failed.is_some());
        let latest = || present(reference);
        let found = match pinned {
            Some(_) if failed && latest().is_some() => latest(),
            Some(pin) => present(&pin.image).or_else(latest),
            None => latest(),
        };
        let pin = |image: &str| Pin { reference: reference.to_owned(), image: image.to_owned(), restarts };
        match found {
            Some(facts) => {
                pins.images.insert(unit.to_string(), pin(&facts.id));
                Ok(facts)
            }
            None => {
                // What runs was made from it still.
                if let Some(known) = pinned {
                    pins.images.insert(unit.to_string(), known.clone());
                }
                let state = self.observed.images.get(reference).cloned();
                Err(Box::new(state.unwrap_or(ImageState::Absent)))
            }
        }
    }

    fn bind(&self, path: &str, target: &str, read_only: bool) -> Bind {
        Bind {
            source: format!("{}/{path}", self.settings.tree(self.uid())),
            target: target.to_owned(),
            read_only,
        }
    }

    fn gateway(&self, reference: &str, pins: &mut Pins) -> Wanted {
        let slots = [LeaseKind::Port, LeaseKind::Uid, LeaseKind::Subnet].map(|kind| (kind, Holder::Gateway));
        if let Some(missing) = self.missing_lease(&slots) {
            return missing;
        }
        let number = |kind| self.declared.lease(kind, Holder::Gateway).unwrap_or_default();
        let (Ok(host_port), Ok(user)) =
            (u16::try_from(number(LeaseKind::Port)), u32::try_from(number(LeaseKind::Uid)))
        else {
            return Wanted::Never {
                reason: "BadLease".to_owned(),
                message: "a leased number is out of range; delete and apply the gateway again".to_owned(),
            };
        };
        let image = match self.image(&Unit::Gateway, reference, pins) {
            Ok(facts) => facts,
            Err(state) => return Wanted::Image(*state),
        };
        let spec = ContainerSpec {
            image: image.id,
            entrypoint: Vec::new(),
            command: Vec::new(),
            env: BTreeMap::new(),
            user: Some(user),
            read_only_root: true,
            binds: vec![
                self.bind(files::CONFIG, contract::CONFIG_DIR, true),
                self.bind(files::SOCKETS, contract::SOCKETS_DIR, false),
            ],
            volumes: Vec::new(),
            tmp_bytes: TMP_BYTES,
            network: NetworkMode::Named(self.network_name()),
            publish: Some(Publish {
                address: self.settings.publish_address,
                host_port,
                container_port: contract::GATEWAY_PORT,
            }),
            limits: limits(self.declared.spec.resources, gateway_defaults()),
            secrets: String::new(),
        };
        self.container(Role::Gateway, spec)
    }

    fn container(&self, role: Role, spec: ContainerSpec) -> Wanted {
        let name = self.name_of(&role);
        let restarts = self.declared.restarts(&Unit::of(&role));
        let identity = self.identity(role, spec.made_from(restarts));
        Wanted::Container(Box::new(WantedContainer {
            name,
            identity,
            spec,
            volumes: Vec::new(),
            secrets: Vec::new(),
        }))
    }
}
