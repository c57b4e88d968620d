//! What of an instance is on a host, told by labels and marks alone: for `adopt`, for `teardown`, and for the
//! refusal to start beside another installation's objects. No database is needed.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use bollard::models::{ContainerInspectResponse, Network};
use bollard::query_parameters::RemoveContainerOptionsBuilder;
use bowline_core::desired::RECOVERY_FILE;
use bowline_core::gateway_file::TOKENS_FILE;
use bowline_core::labels::{self, Identity, Owner};
use bowline_core::lease::{SUBNET_PREFIX, Subnet};
use bowline_core::volume::ObservedVolume;
use futures::{StreamExt, TryStreamExt, stream};
use rustix::fs::{self, AtFlags};
use rustix::io::Errno;
use uuid::Uuid;

use crate::blocking;
use crate::engine::{CHANGE, Engine, INSPECT, absent, within};
use crate::error::{CallError, HostError};
use crate::execute::containers::published;
use crate::files::{self, GATEWAYS, KEY_FILE, Mark, Trees, remove_entry};
use crate::prepare::{INSTANCE_FILE, read_instance};
use crate::tries::parse_subnet;
use crate::volumes::mounted_volumes;

/// Directory of a tree that is bound as the gateway's configuration.
const CONFIG_DIRECTORY: &str = "config";
/// No recovery file is larger.
const RECOVERY_BYTES: u64 = 1 << 20;
/// Calls to the Engine at a time.
const PARALLEL: usize = 8;

/// Everything of one instance on one host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Containers in any state, by name.
    pub containers: Vec<FoundContainer>,
    /// Networks, by name.
    pub networks: Vec<FoundNetwork>,
    /// Volumes, by name. They belong to tenants, and no teardown of gateways removes them.
    pub volumes: Vec<ObservedVolume>,
    /// Directory trees, by uid.
    pub trees: Vec<FoundTree>,
    /// The runtime directory that was looked at, when it is this instance's.
    runtime_dir: Option<(PathBuf, Owner)>,
}

/// A container of the instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundContainer {
    /// Full id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Its labels.
    pub identity: Identity,
    /// Whether it runs.
    pub running: bool,
    /// Where it is published.
    pub published: Option<SocketAddr>,
    /// The uid that it runs as, when that is a number.
    pub uid: Option<u32>,
    /// Names of the volumes that it has.
    pub volumes: BTreeSet<String>,
}

/// A network of the instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundNetwork {
    /// Full id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Its labels.
    pub identity: Identity,
    /// Its subnet, when it is of the size that we lease.
    pub subnet: Option<Subnet>,
}

/// A directory tree of the instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundTree {
    /// Whose it is.
    pub mark: Mark,
    /// Content of its [`RECOVERY_FILE`].
    pub recovery: Option<String>,
    /// Content of its file with the verifiers of the gateway's tokens.
    pub tokens: Option<String>,
    /// The runtime directory that it is in.
    runtime_dir: PathBuf,
}

/// What a teardown did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TornDown {
    /// What was removed, as in `container mcp-gateway-u1`.
    pub removed: Vec<String>,
    /// What was not, and why.
    pub failed: Vec<(String, String)>,
}

impl Found {
    /// Whether nothing was found, volumes aside.
    pub fn is_empty(&self) -> bool {
        let Found { containers, networks, volumes: _, trees, runtime_dir } = self;
        containers.is_empty() && networks.is_empty() && trees.is_empty() && runtime_dir.is_none()
    }

    /// Whose containers and networks there are.
    pub fn installations(&self) -> BTreeSet<Uuid> {
        self.identities().map(|identity| identity.owner.installation).collect()
    }

    /// Whose volumes there are. They are kept when the rest of an installation is removed, so that they may be of others
    /// than the containers and networks.
    pub fn installations_of_volumes(&self) -> BTreeSet<Uuid> {
        self.volumes.iter().map(|volume| volume.identity.owner.installation).collect()
    }

    /// Labels of containers and networks that are not of `owner`'s installation.
    pub fn of_others(&self, owner: &Owner) -> Vec<&Identity> {
        self.identities().filter(|identity| identity.owner != *owner).collect()
    }

    fn identities(&self) -> impl Iterator<Item = &Identity> {
        let containers = self.containers.iter().map(|container| &container.identity);
        containers.chain(self.networks.iter().map(|network| &network.identity))
    }
}

impl Engine {
    /// Everything that carries the labels of `instance` (and `installation`, if given), and every tree with its
    /// mark below `runtime_dir`, if given.
    ///
    /// # Errors
    /// When anything could not be looked at: a list that is not complete is none.
    pub async fn found(
        &self,
        instance: &str,
        installation: Option<Uuid>,
        runtime_dir: Option<&Path>,
    ) -> Result<Found, HostError> {
        let text = installation.map(|installation| installation.to_string());
        let mut filter = vec![(labels::INSTANCE, instance)];
        filter.extend(text.as_deref().map(|installation| (labels::INSTALLATION, installation)));

        let ids = self.containers(&filter).await?.into_iter().filter_map(|container| container.id);
        let mut containers: Vec<FoundContainer> = stream::iter(ids)
            .map(|id| async move { self.container(&id).await })
            .buffer_unordered(PARALLEL)
            .map_err(HostError::call("inspect a container"))
            .try_filter_map(|found| async move { Ok(found.and_then(found_container)) })
            .try_collect()
            .await?;
        containers.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        let mut networks: Vec<FoundNetwork> =
            self.networks(&filter).await?.into_iter().filter_map(found_network).collect();
        networks.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));

        let mut volumes = self.volumes(&filter).await?;
        volumes.retain(|volume| {
            let owner = &volume.identity.owner;
            owner.instance == instance && installation.is_none_or(|id| id == owner.installation)
        });
        let mut found = Found { containers, networks, volumes, trees: Vec::new(), runtime_dir: None };
        if let Some(runtime_dir) = runtime_dir {
            let (path, instance) = (runtime_dir.to_owned(), instance.to_owned());
            let wanted = move |owner: &Owner| {
                owner.instance == instance && installation.is_none_or(|id| id == owner.installation)
            };
            let name = path.display().to_string();
            (found.trees, found.runtime_dir) =
                blocking(move || found_files(&path, &wanted)).await.map_err(HostError::files(name))?;
        }
        Ok(found)
    }

    /// Removes exactly what was found: containers, then networks, then directories. Labels and marks are read
    /// again before each; what cannot be removed holds up nothing else.
    pub async fn teardown(&self, found: &Found) -> TornDown {
        let mut torn = TornDown::default();
        let containers = stream::iter(&found.containers)
            .map(|container| async move {
                (format!("container {}", container.name), self.tear_container(container).await)
            })
            .buffered(PARALLEL);
        let networks =
            stream::iter(&found.networks)
                .map(|network| async move {
                    (format!("network {}", network.name), self.tear_network(network).await)
                })
                .buffered(1);
        let mut all = std::pin::pin!(containers.chain(networks));
        while let Some((what, result)) = all.next().await {
            torn.note(what, result.map_err(|error| error.to_string()));
        }
        let (trees, runtime_dir) = (found.trees.clone(), found.runtime_dir.clone());
        for (what, result) in blocking(move || tear_files(trees, runtime_dir)).await {
            torn.note(what, result);
        }
        torn
    }

    /// Removes exactly the volumes that were found. One that a container has is left, and named with the reason.
    pub async fn teardown_volumes(&self, found: &Found) -> TornDown {
        let mut torn = TornDown::default();
        for volume in &found.volumes {
            let removed = self.remove_volume(volume).await;
            torn.note(format!("volume {}", volume.name), removed.map_err(|error| error.to_string()));
        }
        torn
    }

    async fn tear_container(&self, container: &FoundContainer) -> Result<(), CallError> {
        match self.container(&container.id).await?.map(found_container) {
            None => return Ok(()),
            Some(Some(again)) if again.identity == container.identity => {}
            Some(_) => return Err(CallError::Other("its labels are not what they were".to_owned())),
        }
        let options = RemoveContainerOptionsBuilder::new().v(true).force(true).build();
        absent(within(CHANGE, self.docker.remove_container(&container.id, Some(options))).await).map(drop)
    }

    async fn tear_network(&self, network: &FoundNetwork) -> Result<(), CallError> {
        let inspect = within(INSPECT, self.docker.inspect_network(&network.id, None)).await;
        let Some(again) = absent(inspect)? else {
            return Ok(());
        };
        if again.labels.as_ref().and_then(Identity::from_labels).as_ref() != Some(&network.identity) {
            return Err(CallError::Other("its labels are not what they were".to_owned()));
        }
        absent(within(CHANGE, self.docker.remove_network(&network.id)).await).map(drop)
    }
}

impl TornDown {
    fn note(&mut self, what: String, result: Result<(), String>) {
        match result {
            Ok(()) => self.removed.push(what),
            Err(error) => self.failed.push((what, error)),
        }
    }
}

fn found_container(container: ContainerInspectResponse) -> Option<FoundContainer> {
    let published = published(&container);
    let volumes = mounted_volumes(&container).into_iter().map(str::to_owned).collect();
    let config = container.config?;
    let user = config.user.unwrap_or_default();
    Some(FoundContainer {
        id: container.id?,
        name: container.name?.trim_start_matches('/').to_owned(),
        identity: Identity::from_labels(config.labels.as_ref()?)?,
        running: container.state.and_then(|state| state.running).unwrap_or_default(),
        published,
        uid: user.split(':').next().and_then(|uid| uid.parse().ok()),
        volumes,
    })
}

fn found_network(network: Network) -> Option<FoundNetwork> {
    let subnet =
        network.ipam.and_then(|ipam| ipam.config).unwrap_or_default().into_iter().find_map(|config| {
            let (address, prefix) = parse_subnet(&config.subnet?)?;
            (prefix == u32::from(SUBNET_PREFIX)).then_some(Subnet(address))
        });
    Some(FoundNetwork {
        id: network.id?,
        name: network.name?,
        identity: Identity::from_labels(network.labels.as_ref()?)?,
        subnet,
    })
}

type FoundFiles = (Vec<FoundTree>, Option<(PathBuf, Owner)>);

fn found_files(runtime_dir: &Path, wanted: &dyn Fn(&Owner) -> bool) -> std::io::Result<FoundFiles> {
    let owner = match files::open_absolute(runtime_dir) {
        Err(Errno::NOENT) => return Ok((Vec::new(), None)),
        other => read_instance(other?.as_fd())?.filter(|owner| wanted(owner)),
    };
    let runtime = owner.map(|owner| (runtime_dir.to_owned(), owner));
    let gateways = match files::open_absolute(&runtime_dir.join(GATEWAYS)) {
        Err(Errno::NOENT) => return Ok((Vec::new(), runtime)),
        other => other?,
    };
    let mut trees = Vec::new();
    for name in files::names(gateways.as_fd())? {
        let Ok(uid) = name.parse::<Uuid>() else { continue };
        let Ok(tree) = files::open_directory(gateways.as_fd(), &name) else {
            continue;
        };
        if let Some(mark) = files::read_mark(tree.as_fd(), uid).filter(|mark| wanted(&mark.owner)) {
            let text = |directory: BorrowedFd<'_>, name| {
                let bytes = files::read_regular(directory, name, RECOVERY_BYTES).ok().flatten();
                bytes.and_then(|bytes| String::from_utf8(bytes).ok())
            };
            let config = files::open_directory(tree.as_fd(), CONFIG_DIRECTORY).ok();
            let tokens = config.and_then(|config| text(config.as_fd(), TOKENS_FILE));
            let recovery = text(tree.as_fd(), RECOVERY_FILE);
            trees.push(FoundTree { mark, recovery, tokens, runtime_dir: runtime_dir.to_owned() });
        }
    }
    trees.sort_by_key(|tree| tree.mark.uid);
    Ok((trees, runtime))
}

fn tear_files(
    trees: Vec<FoundTree>,
    runtime_dir: Option<(PathBuf, Owner)>,
) -> Vec<(String, Result<(), String>)> {
    let mut done = Vec::new();
    for FoundTree { mark, recovery: _, tokens: _, runtime_dir } in trees {
        let files = Trees::new(&runtime_dir, mark.owner);
        let what = format!("directory {}", files.path(mark.uid).display());
        done.push((what, files.remove(&mark.key, mark.uid, "").map_err(|error| error.to_string())));
    }
    let Some((path, owner)) = runtime_dir else { return done };
    let rest = || -> std::io::Result<()> {
        Trees::new(&path, owner.clone()).sweep()?;
        let runtime = files::open_absolute(&path)?;
        // Only when nothing of anybody is left in it.
        match fs::unlinkat(&runtime, GATEWAYS, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(()),
            other => other?,
        }
        if read_instance(runtime.as_fd())? == Some(owner) {
            // There is no secret file left that it could prove.
            remove_entry(runtime.as_fd(), KEY_FILE)?;
            fs::unlinkat(&runtime, INSTANCE_FILE, AtFlags::empty())?;
        }
        Ok(())
    };
    let what = format!("mark of {}", path.display());
    done.push((what, rest().map_err(|error| error.to_string())));
    done
}
