//! The servers of a gateway: their containers, and the remote ones that the gateway dials by itself.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    DesiredServer, Pins, Rendering, TMP_BYTES, Wanted, files, limits, server_defaults, server_directory,
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

impl Rendering<'_> {
    /// Every server of the specification, and those of them that the gateway is told of.
    pub(super) fn servers(
        &self,
        pins: &mut Pins,
        rollouts: &mut Rollouts,
    ) -> (Vec<DesiredServer>, Vec<Announced>) {
        let entries = self.declared.entries();
        let mut announced = Vec::new();
        let servers = self
            .declared
            .spec
            .servers
            .iter()
            .map(|server| {
                let entry = entries.get(server.name.as_str()).map(|merged| merged.entry);
                let image = entry.and_then(ServerEntry::container_image).map(ToString::to_string);
                let (wanted, told) = match self.server(server, entries.get(server.name.as_str()), pins) {
                    Ok((wanted, told)) => (wanted, told),
                    Err(hindrance) => (hindrance.into(), None),
                };
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
        (servers, announced)
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
    ) -> Result<(Wanted, Option<Announced>), Hindrance> {
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
            return Ok((Wanted::Remote, Some(told)));
        }
        let rendered = render(server, entry)?;
        let (volumes, mounts) = self.volumes(server, &rendered)?;
        let holder = Holder::Server(server.name.clone());
        if let Some(missing) = self.missing_lease(&[(LeaseKind::Uid, holder.clone())]) {
            return Err(Hindrance::Other(Box::new(missing)));
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
                return Ok((Wanted::Image(*state), told));
            }
        };
        let uid = peer_uid(profile, lease, &image)?;
        let spec = self.server_container(server, &rendered, mounts, &image, profile, lease)?;
        let mut wanted = self.container(Role::Server(server.name.clone()), spec);
        if let Wanted::Container(container) = &mut wanted {
            container.volumes = volumes;
        }
        Ok((wanted, Some(Announced::bridged(server, uid, rendered.prefix))))
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
        rendered: &RenderedServer,
        volumes: Vec<VolumeMount>,
        image: &ImageFacts,
        profile: Profile,
        lease: u32,
    ) -> Result<ContainerSpec, Hindrance> {
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
        let bridge = ["--socket".to_owned(), socket, "--".to_owned()];
        Ok(ContainerSpec {
            image: image.id.clone(),
            entrypoint: vec![format!("{}/{}", contract::BRIDGE_DIR, contract::BRIDGE_FILE)],
            command: bridge.into_iter().chain(command).collect(),
            env,
            user: restricted.then_some(lease),
            read_only_root: restricted,
            binds: vec![
                Bind {
                    source: self.settings.bridge_dir.clone(),
                    target: contract::BRIDGE_DIR.to_owned(),
                    read_only: true,
                },
                self.bind(
                    &format!("{}/{}", files::SERVER_SOCKETS, server_directory(&server.name)),
                    contract::SOCKETS_DIR,
                    true,
                ),
            ],
            volumes,
            tmp_bytes: TMP_BYTES,
            network: match rendered.network {
                Network::None => NetworkMode::None,
                Network::Egress => NetworkMode::Named(self.network_name()),
            },
            publish: None,
            limits: limits(self.declared.spec.resources_of(server), server_defaults()),
        })
    }
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
