//! The servers of a gateway: their containers, and the remote ones that the gateway dials by itself.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    DesiredSecretFile, DesiredServer, Pins, Rendering, TMP_BYTES, Wanted, files, limits, secrets,
    server_defaults, server_directory,
};
use crate::catalog::{self, Merged, Network, ServerEntry, ServerKind};
use crate::container::{Bind, ContainerSpec, NetworkMode, VolumeMount};
use crate::gateway_file::{self as contract, RemotePlace, ServerPlace};
use crate::labels::Role;
use crate::lease::{Holder, LeaseKind};
use crate::observed::{ImageFacts, ImageState};
use crate::plan::Unit;
use crate::resource::{Profile, ServerSpec};
use crate::rollout::{Rollout, Rollouts};
use crate::secret::{self, SecretSource};
use crate::template::{RenderedServer, render_server};
use crate::tool_filter::ToolFilter;

/// A server that the gateway is told of: it is a remote one, or its container is there or on its way.
pub(super) struct Announced {
    /// Registry key.
    pub(super) name: String,
    /// Where it is.
    pub(super) place: ServerPlace,
    /// The catalog's prefix.
    pub(super) prefix: Option<String>,
    /// Which of its tools are offered.
    pub(super) tools: ToolFilter,
}

impl Announced {
    fn peer_uid(&self) -> Option<u32> {
        match &self.place {
            ServerPlace::Bridge { uid, .. } => Some(*uid),
            ServerPlace::Remote(_) => None,
        }
    }

    /// A server whose bridge dials as this user.
    fn bridged(server: &ServerSpec, uid: u32, prefix: Option<String>) -> Self {
        let place = ServerPlace::Bridge { directory: server_directory(&server.name), uid };
        Self { name: server.name.clone(), place, prefix, tools: server.tools.clone() }
    }
}

/// Why there is no container.
pub(super) enum Hindrance {
    Disabled,
    Never(&'static str, String),
    Other(Box<Wanted>),
}

impl From<Hindrance> for Wanted {
    fn from(hindrance: Hindrance) -> Self {
        match hindrance {
            Hindrance::Disabled => Wanted::Disabled,
            Hindrance::Never(reason, message) => Wanted::Never { reason: reason.to_owned(), message },
            Hindrance::Other(wanted) => *wanted,
        }
    }
}

/// What the servers of a specification come to.
pub(super) struct Servers {
    /// Every one, in the order of the specification.
    pub(super) servers: Vec<DesiredServer>,
    /// Those that the gateway is told of.
    pub(super) announced: Vec<Announced>,
    /// The secret files of those that have one.
    pub(super) secret_files: Vec<DesiredSecretFile>,
}

/// What one server comes to.
struct Outcome {
    wanted: Wanted,
    told: Option<Announced>,
    /// The lines of its secret file, where nothing runs in its place.
    secrets: Vec<SecretSource>,
}

impl From<Hindrance> for Outcome {
    fn from(hindrance: Hindrance) -> Self {
        Outcome { wanted: hindrance.into(), told: None, secrets: Vec::new() }
    }
}

impl Rendering<'_> {
    /// Every server of the specification.
    pub(super) fn servers(&self, pins: &mut Pins, rollouts: &mut Rollouts) -> Servers {
        let entries = self.declared.entries();
        let mut announced = Vec::new();
        let mut secret_files = Vec::new();
        let servers = self
            .declared
            .spec
            .servers
            .iter()
            .map(|server| {
                let entry = entries.get(server.name.as_str()).map(|merged| merged.entry);
                let image = entry.and_then(ServerEntry::container_image).map(ToString::to_string);
                let outcome = self.server(server, entries.get(server.name.as_str()), pins);
                let Outcome { wanted, told, secrets } = outcome.unwrap_or_else(Outcome::from);
                let unit = Unit::Server(server.name.clone());
                let peer = told.as_ref().and_then(Announced::peer_uid);
                let settled = self.settle(&unit, &wanted, peer, "", &BTreeSet::new());
                announced.extend(match settled.peer_uid {
                    // What runs is an earlier revision; the gateway goes on serving it.
                    Some(uid) => {
                        let prefix = entry.and_then(|entry| entry.fields().prefix.clone());
                        Some(Announced::bridged(server, uid, prefix))
                    }
                    None => told,
                });
                let lines = settled.instead.as_ref().map_or(secrets, |instead| instead.secrets.clone());
                secret_files.extend(secrets::file(&server.name, lines));
                if settled.rollout != Rollout::default() {
                    rollouts.servers.insert(server.name.clone(), settled.rollout);
                }
                DesiredServer {
                    name: server.name.clone(),
                    image_outdated: self.is_outdated(&unit, pins),
                    egress_unenforced: server.is_enabled()
                        && entry.is_some_and(catalog::egress_is_unenforced),
                    image,
                    wanted,
                    instead: settled.instead,
                }
            })
            .collect();
        Servers { servers, announced, secret_files }
    }

    /// Whether the reference names another image by now than the one it is pinned to.
    fn is_outdated(&self, unit: &Unit, pins: &Pins) -> bool {
        pins.images.get(&unit.to_string()).is_some_and(|pin| {
            let now = self.observed.images.get(&pin.reference);
            matches!(now, Some(ImageState::Present(now)) if now.id != pin.image)
        })
    }

    fn server(
        &self,
        server: &ServerSpec,
        merged: Option<&Merged<'_>>,
        pins: &mut Pins,
    ) -> Result<Outcome, Hindrance> {
        if !server.is_enabled() {
            return Err(Hindrance::Disabled);
        }
        let Some(Merged { entry, .. }) = merged else {
            return Err(Hindrance::Never("UnknownServer", self.unknown_server(&server.name)));
        };
        require_supported(entry)?;
        if entry.kind() == ServerKind::Remote {
            let place = ServerPlace::Remote(self.remote(entry)?);
            let prefix = entry.fields().prefix.clone();
            let told = Announced { name: server.name.clone(), place, prefix, tools: server.tools.clone() };
            return Ok(Outcome { wanted: Wanted::Remote, told: Some(told), secrets: Vec::new() });
        }
        let rendered = render(server, entry)?;
        let (volumes, mounts) = self.volumes(server, &rendered)?;
        let holder = Holder::Server(server.name.clone());
        let secrets = self.secrets(server, entry)?;
        if let Some(wanted) = self.missing_lease(&[(LeaseKind::Uid, holder.clone())]) {
            // What runs still reads its file.
            return Ok(Outcome { wanted, told: None, secrets });
        }
        let lease = self.declared.lease(LeaseKind::Uid, holder).and_then(|lease| u32::try_from(lease).ok());
        let Some(lease) = lease else {
            return Err(Hindrance::Never("BadLease", "its leased uid is out of range".to_owned()));
        };
        let profile = self.declared.spec.profile_of(server);
        let unit = Unit::Server(server.name.clone());
        let image = match self.image(&unit, &rendered.image.to_string(), pins) {
            Ok(image) => image,
            Err(state) => {
                let told = self.still_running(server, profile, lease);
                let told = told.map(|uid| Announced::bridged(server, uid, rendered.prefix));
                return Ok(Outcome { wanted: Wanted::Image(*state), told, secrets });
            }
        };
        let uid = peer_uid(profile, lease, &image)?;
        let parts = Parts { rendered: &rendered, volumes: mounts, secrets: &secrets, image: &image };
        let spec = self.server_container(server, parts, profile, lease)?;
        let mut wanted = self.container(Role::Server(server.name.clone()), spec);
        if let Wanted::Container(container) = &mut wanted {
            container.volumes = volumes;
            container.secrets.clone_from(&secrets);
        }
        let told = Some(Announced::bridged(server, uid, rendered.prefix));
        Ok(Outcome { wanted, told, secrets })
    }

    /// The peer uid of a container that stays although its next image is not there: the gateway goes on serving it.
    fn still_running(&self, server: &ServerSpec, profile: Profile, lease: u32) -> Option<u32> {
        let container = self.observed.containers.iter().find(|seen| {
            seen.identity.uid == self.uid() && seen.identity.role == Role::Server(server.name.clone())
        })?;
        match self.observed.images.get(&container.image) {
            Some(ImageState::Present(image)) => peer_uid(profile, lease, image).ok(),
            _ => Some(lease),
        }
    }

    /// Where the gateway dials. An address that may not be dialled is seen there, when the name is resolved.
    fn remote(&self, entry: &ServerEntry) -> Result<RemotePlace, Hindrance> {
        let place = catalog::remote_place(entry.fields()).map_err(|problems| unsupported(&problems))?;
        if place.url.starts_with("http://") && !self.settings.allow_private_remotes {
            let message = format!(
                "{} is not encrypted; use https. `bowline serve --allow-private-remotes` allows http to private \
                 addresses",
                // A query may be a credential.
                place.url.split('?').next().unwrap_or_default()
            );
            return Err(Hindrance::Never("InsecureRemote", message));
        }
        Ok(place)
    }

    fn unknown_server(&self, name: &str) -> String {
        let missing: Vec<_> = self.declared.missing_catalogs().map(ToString::to_string).collect();
        if missing.is_empty() {
            format!("no catalog of this gateway has a server {name:?}; add it to a catalog or remove it here")
        } else {
            let missing = missing.join(", ");
            format!(
                "no catalog of this gateway has a server {name:?}, and the catalog {missing} does not exist"
            )
        }
    }

    fn server_container(
        &self,
        server: &ServerSpec,
        parts: Parts<'_>,
        profile: Profile,
        lease: u32,
    ) -> Result<ContainerSpec, Hindrance> {
        let Parts { rendered, volumes, secrets, image } = parts;
        let program = image.entrypoint.iter();
        let arguments = if rendered.command.is_empty() { &image.command } else { &rendered.command };
        let command: Vec<String> = program.chain(arguments).cloned().collect();
        if command.is_empty() {
            let message = "its image has neither entrypoint nor command; give the entry a `command`";
            return Err(Hindrance::Never("NoCommand", message.to_owned()));
        }
        if command.iter().any(|text| text.contains('\0')) {
            let message = "the image's entrypoint or command has a NUL in it; use another image";
            return Err(Hindrance::Never("InvalidImage", message.to_owned()));
        }
        let mut env: BTreeMap<String, String> = rendered.env.iter().cloned().collect();
        let restricted = profile == Profile::Restricted;
        if restricted {
            // The root is read-only, so an image's own home is not writable.
            env.entry("HOME".to_owned()).or_insert_with(|| "/tmp".to_owned());
        }
        let socket = format!("{}/{}", contract::SOCKETS_DIR, contract::SERVER_SOCKET);
        let mut bridge = vec!["--socket".to_owned(), socket];
        let tree = |path: &str, target| self.bind(path, target, true);
        let sockets = format!("{}/{}", files::SERVER_SOCKETS, server_directory(&server.name));
        let mut binds = vec![
            Bind {
                source: self.settings.bridge_dir.clone(),
                target: contract::BRIDGE_DIR.to_owned(),
                read_only: true,
            },
            tree(&sockets, contract::SOCKETS_DIR),
        ];
        if !secrets.is_empty() {
            binds.push(tree(&secrets::directory(&server.name), contract::SECRETS_DIR));
            let file = format!("{}/{}", contract::SECRETS_DIR, contract::SECRETS_FILE);
            bridge.extend(["--env-file".to_owned(), file]);
        }
        bridge.push("--".to_owned());
        Ok(ContainerSpec {
            image: image.id.clone(),
            entrypoint: vec![format!("{}/{}", contract::BRIDGE_DIR, contract::BRIDGE_FILE)],
            command: bridge.into_iter().chain(command).collect(),
            env,
            user: restricted.then_some(lease),
            read_only_root: restricted,
            binds,
            volumes,
            tmp_bytes: TMP_BYTES,
            network: match rendered.network {
                Network::None => NetworkMode::None,
                Network::Egress => NetworkMode::Named(self.network_name()),
            },
            publish: None,
            limits: limits(self.declared.spec.resources_of(server), server_defaults()),
            secrets: if secrets.is_empty() { String::new() } else { secret::revision(secrets) },
        })
    }
}

/// What a server's container is made from beside its place in the specification.
struct Parts<'a> {
    rendered: &'a RenderedServer,
    volumes: Vec<VolumeMount>,
    secrets: &'a [SecretSource],
    image: &'a ImageFacts,
}

/// Whether all that an entry uses exists.
fn require_supported(entry: &ServerEntry) -> Result<(), Hindrance> {
    let missing = catalog::unsupported(entry);
    if missing.is_empty() { Ok(()) } else { Err(unsupported(&missing)) }
}

fn unsupported(missing: &[catalog::Unsupported]) -> Hindrance {
    let texts: Vec<_> = missing.iter().map(|one| format!("{}: {}", one.field, one.message)).collect();
    Hindrance::Never("Unsupported", texts.join("; "))
}

/// Renders an entry with its configuration.
fn render(server: &ServerSpec, entry: &ServerEntry) -> Result<RenderedServer, Hindrance> {
    render_server(&server.name, entry, &server.config).map_err(|errors| {
        let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
        Hindrance::Never("InvalidConfig", texts.join("; "))
    })
}

/// The user id that the gateway will see on the server's socket.
fn peer_uid(profile: Profile, lease: u32, image: &ImageFacts) -> Result<u32, Hindrance> {
    match profile {
        Profile::Restricted => Ok(lease),
        Profile::Baseline => match image.user.split(':').next().unwrap_or_default() {
            "" | "root" => Ok(0),
            user => user.parse().map_err(|_| {
                let message = format!(
                    "profile baseline runs the image as its own user {user:?}, whose number the image does not \
                     say; use an image with a numeric user, or profile restricted"
                );
                Hindrance::Never("UnknownImageUser", message)
            }),
        },
    }
}

#[cfg(test)]
mod tests;
