//! What of ours is there: the cheap list of everything, and the complete look at one gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bollard::models::{
    ContainerInspectResponse, ContainerState as EngineState, ContainerStateStatusEnum as Status,
    ImageInspect, Network, RestartPolicyNameEnum,
};
use bowline_core::container::Limits;
use bowline_core::labels::{self, Identity, Role};
use bowline_core::object::GatewayKey;
use bowline_core::observed::{
    ContainerState, ImageFacts, ImageState, Live, Observed, ObservedContainer, ObservedNetwork, Tree,
};
use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{Host, HostError, blocking};

/// Calls to the Engine that one look makes at a time.
const PARALLEL: usize = 8;
/// A name that nobody was seen to have is believed to be taken for this long: Docker can keep a name reserved for a
/// container that is gone.
const PHANTOM: Duration = Duration::from_secs(600);
/// A name must be found taken, with nobody to be seen, twice and this far apart before that is believed: a container
/// that is being removed is gone from every listing a moment before its name is free.
const LEAVING: Duration = Duration::from_secs(2);
/// Two such findings further apart than this have nothing to do with each other.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// What is known of a name that was found taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// A look at the name finds a container or network: the name is free when that is gone.
    Seen,
    /// Nobody was seen to have it at this time: most likely it is free by now.
    Leaving(Instant),
    /// Nothing can be found by the name: believed until then.
    Until(Instant),
}

impl Taken {
    /// What cannot be looked up by its name, a volume say, or was not found for long enough.
    pub(crate) fn unseen() -> Self {
        Self::Until(Instant::now() + PHANTOM)
    }
}

/// All that is ours on this host, as far as one list call per kind tells. Compared with the one before, it shows
/// what events missed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// What there is, by gateway.
    pub gateways: BTreeMap<GatewayKey, BTreeSet<InventoryItem>>,
}

impl Inventory {
    /// The gateways of which something differs between the two.
    pub fn changed(&self, other: &Inventory) -> BTreeSet<GatewayKey> {
        let keys = self.gateways.keys().chain(other.gateways.keys());
        keys.filter(|key| self.gateways.get(*key) != other.gateways.get(*key)).cloned().collect()
    }
}

/// One thing of ours in an [`Inventory`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum InventoryItem {
    /// A container in any state.
    Container {
        /// Full id.
        id: String,
        /// Uid of the Gateway object.
        uid: Uuid,
        /// What it is for.
        role: Role,
        /// Digest of what it was made from.
        spec_hash: String,
        /// The Engine's word: `created`, `running`, `exited`, ….
        state: String,
        /// Its name.
        name: String,
        /// Ids of the networks that it is attached to.
        networks: BTreeSet<String>,
    },
    /// A network.
    Network {
        /// Full id.
        id: String,
        /// Uid of the Gateway object.
        uid: Uuid,
        /// Digest of what it was made from.
        spec_hash: String,
    },
    /// A directory tree.
    Tree {
        /// Uid of the Gateway object.
        uid: Uuid,
    },
}

impl Host {
    /// Lists everything of ours: three cheap calls, whatever the number of gateways.
    ///
    /// # Errors
    /// When a list is not complete. Then nothing is known, which is not the same as nothing being there.
    pub async fn inventory(&self) -> Result<Inventory, HostError> {
        let installation = self.settings.owner.installation.to_string();
        let ours = self.owner_labels(&installation);
        let (containers, networks, trees) =
            tokio::try_join!(self.engine.containers(&ours), self.engine.networks(&ours), self.marked())?;
        let mut inventory = Inventory::default();
        let mut put = |key, item| {
            inventory.gateways.entry(key).or_default().insert(item);
        };
        for container in containers {
            if let Some(identity) = self.identity(container.labels.as_ref()) {
                let Identity { key, uid, role, spec_hash, .. } = identity;
                let id = container.id.unwrap_or_default();
                let state = container.state.map(|state| state.to_string()).unwrap_or_default();
                let name = container.names.unwrap_or_default().pop().unwrap_or_default();
                let networks = container.network_settings.and_then(|settings| settings.networks);
                let networks = networks.unwrap_or_default().into_values();
                let networks = networks.filter_map(|endpoint| endpoint.network_id).collect();
                put(key, InventoryItem::Container { id, uid, role, spec_hash, state, name, networks });
            }
        }
        for network in networks {
            if let Some(identity) = self.identity(network.labels.as_ref()) {
                let Identity { key, uid, spec_hash, .. } = identity;
                put(key, InventoryItem::Network { id: network.id.unwrap_or_default(), uid, spec_hash });
            }
        }
        for (uid, key) in trees {
            put(key, InventoryItem::Tree { uid });
        }
        Ok(inventory)
    }

    /// Looks at everything of one gateway, and at these images (references as written, or ids). The probe and the volumes are left
    /// out.
    ///
    /// # Errors
    /// When anything could not be looked at: there is no partial observation.
    pub async fn observe(&self, key: &GatewayKey, images: &BTreeSet<String>) -> Result<Observed, HostError> {
        let (containers, networks, trees, images, taken_names) = tokio::try_join!(
            self.observe_containers(key),
            self.observe_networks(key),
            self.observe_trees(key),
            self.observe_images(key, images),
            self.observe_taken(key),
        )?;
        let volumes = Vec::new();
        Ok(Observed { containers, networks, trees, images, volumes, taken_names, probe: None })
    }

    /// Remembers that something that is not this gateway's to use has a name that it wanted.
    pub(crate) fn note_taken(&self, key: &GatewayKey, name: &str, what: Taken) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.entry(key.clone()).or_default().insert(name.to_owned(), what);
    }

    /// Remembers that a name is taken and nobody is seen to have it. Whether that has been so for long enough to
    /// look for another name.
    pub(crate) fn note_unseen(&self, key: &GatewayKey, name: &str) -> bool {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let names = taken.entry(key.clone()).or_default();
        let first = match names.get(name) {
            Some(Taken::Leaving(first)) if first.elapsed() < FORGOTTEN => *first,
            _ => Instant::now(),
        };
        let believed = first.elapsed() >= LEAVING;
        let what = if believed { Taken::unseen() } else { Taken::Leaving(first) };
        names.insert(name.to_owned(), what);
        believed
    }

    /// The labels' identity when they are complete and this owner's.
    pub(crate) fn identity(
        &self,
        labels: Option<&std::collections::HashMap<String, String>>,
    ) -> Option<Identity> {
        Identity::from_labels(labels?).filter(|identity| identity.owner == self.settings.owner)
    }

    fn owner_labels<'a>(&'a self, installation: &'a str) -> Vec<(&'static str, &'a str)> {
        vec![(labels::INSTANCE, &self.settings.owner.instance), (labels::INSTALLATION, installation)]
    }

    async fn marked(&self) -> Result<std::collections::HashMap<Uuid, GatewayKey>, HostError> {
        let trees = Arc::clone(&self.trees);
        let path = self.settings.runtime_dir.display().to_string();
        blocking(move || trees.marked()).await.map_err(HostError::files(path))
    }

    async fn observe_containers(&self, key: &GatewayKey) -> Result<Vec<ObservedContainer>, HostError> {
        let installation = self.settings.owner.installation.to_string();
        let mut filter = self.owner_labels(&installation);
        filter.extend([(labels::NAMESPACE, key.namespace.as_str()), (labels::GATEWAY, key.name.as_str())]);
        let listed = self.engine.containers(&filter).await?;
        let ids = listed.into_iter().filter_map(|container| container.id);
        let found: Vec<_> = stream::iter(ids)
            .map(|id| async move { self.engine.container(&id).await })
            .buffer_unordered(PARALLEL)
            .map_err(HostError::call("inspect a container"))
            .try_collect()
            .await?;
        let mut seen: Vec<ObservedContainer> = found
            .into_iter()
            // Gone since it was listed: then it is not there.
            .flatten()
            .filter_map(|found| self.observed(found))
            .filter(|container| container.identity.key == *key)
            .collect();
        seen.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Ok(seen)
    }

    async fn observe_networks(&self, key: &GatewayKey) -> Result<Vec<ObservedNetwork>, HostError> {
        let installation = self.settings.owner.installation.to_string();
        let mut filter = self.owner_labels(&installation);
        filter.extend([(labels::NAMESPACE, key.namespace.as_str()), (labels::GATEWAY, key.name.as_str())]);
        let mut seen: Vec<ObservedNetwork> = self
            .engine
            .networks(&filter)
            .await?
            .into_iter()
            .filter_map(|Network { id, name, labels, .. }| {
                let identity = self.identity(labels.as_ref()).filter(|identity| identity.key == *key)?;
                Some(ObservedNetwork { id: id?, name: name?, identity })
            })
            .collect();
        seen.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Ok(seen)
    }

    async fn observe_trees(&self, key: &GatewayKey) -> Result<BTreeMap<Uuid, Tree>, HostError> {
        let (trees, key) = (Arc::clone(&self.trees), key.clone());
        let path = self.settings.runtime_dir.display().to_string();
        let look = move || {
            let mut seen = BTreeMap::new();
            for uid in trees.marked()?.into_iter().filter(|(_, owner)| *owner == key).map(|(uid, _)| uid) {
                if let Some(tree) = trees.listing(&key, uid)? {
                    seen.insert(uid, tree);
                }
            }
            Ok(seen)
        };
        blocking(look).await.map_err(HostError::files(path))
    }

    async fn observe_images(
        &self,
        key: &GatewayKey,
        images: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, ImageState>, HostError> {
        // Owned references: a closure over borrowed ones is not general enough for a `Send` future.
        stream::iter(images.clone())
            .map(|reference| async move {
                let found =
                    self.engine.image(&reference).await.map_err(HostError::call("inspect an image"))?;
                let state = match found {
                    Some(image) => ImageState::Present(facts(image)),
                    None => self.pulls.state(&reference, key),
                };
                Ok((reference, state))
            })
            .buffer_unordered(PARALLEL)
            .try_collect()
            .await
    }

    /// Names that were found taken, as far as they still are.
    pub(crate) async fn observe_taken(&self, key: &GatewayKey) -> Result<BTreeSet<String>, HostError> {
        let noted = {
            let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            taken.get(key).cloned().unwrap_or_default()
        };
        let mut still = BTreeSet::new();
        for (name, what) in noted {
            let container =
                self.engine.container(&name).await.map_err(HostError::call("inspect a container"))?;
            let held = match (container, what) {
                (Some(found), _) => self.observed(found).is_none_or(|ours| lingers(ours.state)),
                // No reason to look for another name yet, and none to forget it.
                (None, Taken::Leaving(first)) if first.elapsed() < FORGOTTEN => continue,
                (None, _) => {
                    let networks = self.engine.networks(&[]).await?;
                    let mut holders = networks.iter().filter(|network| network.name.as_ref() == Some(&name));
                    holders.any(|network| self.identity(network.labels.as_ref()).is_none())
                        || matches!(what, Taken::Until(until) if Instant::now() < until)
                }
            };
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            if held {
                still.insert(name);
            } else if let Some(names) = taken.get_mut(key) {
                names.remove(&name);
            }
        }
        Ok(still)
    }

    /// The normal form of an inspected container of this owner; `None` when it is not.
    pub(crate) fn observed(&self, container: ContainerInspectResponse) -> Option<ObservedContainer> {
        let identity = self.identity(container.config.as_ref()?.labels.as_ref())?;
        let live = Live { unheld: self.engine.unheld().clone(), ..live(&container) };
        let state = container.state.unwrap_or_default();
        let policy = container.host_config.and_then(|config| config.restart_policy?.name);
        Some(ObservedContainer {
            id: container.id?,
            name: container.name?.trim_start_matches('/').to_owned(),
            identity,
            image: container.image.unwrap_or_default(),
            restarts: matches!(
                policy,
                Some(RestartPolicyNameEnum::UNLESS_STOPPED | RestartPolicyNameEnum::ALWAYS)
            ),
            restart_count: container.restart_count.unwrap_or_default(),
            started_at: instant(state.started_at.as_deref()),
            finished_at: instant(state.finished_at.as_deref()),
            error: state.error.clone().unwrap_or_default(),
            live,
            state: container_state(&state),
        })
    }
}

/// Whether a container keeps its name and can nevermore be started. Docker can be about to remove one for ever.
pub(crate) fn lingers(state: ContainerState) -> bool {
    matches!(state, ContainerState::Dead | ContainerState::Removing)
}

/// What can be changed of a container without making it anew. The Engine writes 0 for what is not set.
fn live(container: &ContainerInspectResponse) -> Live {
    let config = container.host_config.clone().unwrap_or_default();
    let networks = container.network_settings.as_ref().and_then(|settings| settings.networks.clone());
    let networks = networks.unwrap_or_default().into_iter();
    Live {
        limits: Limits {
            memory: config.memory.unwrap_or_default(),
            nano_cpus: config.nano_cpus.filter(|cpus| *cpus != 0),
            cpu_shares: config.cpu_shares.filter(|shares| *shares != 0),
            pids: config.pids_limit.unwrap_or_default(),
        },
        memory_swap: config.memory_swap.unwrap_or_default(),
        unheld: BTreeSet::new(),
        // Docker's own `none` is no network; one that was only named at create has no id yet.
        networks: networks
            .filter(|(name, _)| name != "none")
            .filter_map(|(_, endpoint)| endpoint.network_id.filter(|id| !id.is_empty()))
            .collect(),
    }
}

fn container_state(state: &EngineState) -> ContainerState {
    match state.status {
        Some(Status::RUNNING | Status::STOPPING) => ContainerState::Running,
        Some(Status::PAUSED) => ContainerState::Paused,
        Some(Status::RESTARTING) => ContainerState::Restarting,
        Some(Status::EXITED) => ContainerState::Exited { code: state.exit_code.unwrap_or_default() },
        Some(Status::DEAD) => ContainerState::Dead,
        Some(Status::REMOVING) => ContainerState::Removing,
        Some(Status::CREATED | Status::EMPTY) | None => ContainerState::Created,
    }
}

/// The Engine writes the year 1 for "never".
fn instant(text: Option<&str>) -> Option<DateTime<Utc>> {
    let instant = DateTime::parse_from_rfc3339(text?).ok()?.to_utc();
    (instant > DateTime::UNIX_EPOCH).then_some(instant)
}

fn facts(image: ImageInspect) -> ImageFacts {
    let config = image.config.unwrap_or_default();
    let env = config.env.unwrap_or_default();
    ImageFacts {
        id: image.id.unwrap_or_default(),
        digest: image.repo_digests.unwrap_or_default().into_iter().next(),
        entrypoint: config.entrypoint.unwrap_or_default(),
        command: config.cmd.unwrap_or_default(),
        user: config.user.unwrap_or_default(),
        env_names: env
            .iter()
            .map(|variable| variable.split_once('=').map_or(variable.as_str(), |(name, _)| name).to_owned())
            .collect(),
        volumes: config.volumes.unwrap_or_default().into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_is_no_instant() {
        assert_eq!(instant(Some("0001-01-01T00:00:00Z")), None);
        assert_eq!(instant(None), None);
        assert!(instant(Some("2026-01-02T03:04:05.678901234Z")).is_some());
    }

    #[test]
    fn an_inventory_tells_whose_things_changed() {
        let (a, b) = (GatewayKey::new("a", "default"), GatewayKey::new("b", "default"));
        let tree = |uid| BTreeSet::from([InventoryItem::Tree { uid: Uuid::from_u128(uid) }]);
        let before = Inventory { gateways: BTreeMap::from([(a.clone(), tree(1)), (b.clone(), tree(2))]) };
        let after = Inventory { gateways: BTreeMap::from([(a, tree(1)), (b.clone(), tree(3))]) };
        assert_eq!(before.changed(&after), BTreeSet::from([b.clone()]));
        let gone = Inventory { gateways: before.gateways.clone().into_iter().take(1).collect() };
        assert_eq!(before.changed(&gone), BTreeSet::from([b]));
        assert!(before.changed(&before).is_empty());
    }
}
