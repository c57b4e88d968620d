//! The server containers of a gateway.

use std::collections::BTreeMap;

use super::{
    DesiredServer, Pins, Rendering, TMP_BYTES, Wanted, files, limits, server_defaults, server_directory,
};
use crate::catalog::{self, Merged, Network, ServerEntry};
use crate::container::{Bind, ContainerSpec, NetworkMode};
use crate::gateway_file as contract;
use crate::labels::Role;
use crate::lease::{Holder, LeaseKind};
use crate::names;
use crate::observed::{ImageFacts, ImageState};
use crate::resource::{Profile, ServerSpec};
use crate::template::{RenderedServer, render_server};

/// A server that the gateway is told of: its container is there or on its way.
pub(super) struct Announced {
    /// Registry key.
    pub(super) name: String,
    /// User id of the peer on its socket.
    pub(super) uid: u32,
    /// The catalog's prefix.
    pub(super) prefix: Option<String>,
}

/// Why there is no container.
enum Hindrance {
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
    pub(super) fn servers(&self, pins: &mut Pins) -> (Vec<DesiredServer>, Vec<Announced>) {
        let entries = self.declared.entries();
        let mut announced = Vec::new();
        let servers = self
            .declared
            .spec
            .servers
            .iter()
            .map(|server| {
                let entry = entries.get(server.name.as_str()).map(|merged| merged.entry);
                let image = entry.and_then(|e| e.fields().image.as_ref()).map(ToString::to_string);
                let wanted = match self.server(server, entries.get(server.name.as_str()), pins) {
                    Ok((wanted, told)) => {
                        announced.extend(told);
                        wanted
                    }
                    Err(hindrance) => hindrance.into(),
                };
                DesiredServer {
                    name: server.name.clone(),
                    image_outdated: image.as_deref().is_some_and(|image| self.is_outdated(image, pins)),
                    egress_unenforced: server.is_enabled()
                        && entry.is_some_and(catalog::egress_is_unenforced),
                    image,
                    wanted,
                }
            })
            .collect();
        (servers, announced)
    }

    /// Whether the reference names another image by now than the one it is pinned to.
    fn is_outdated(&self, reference: &str, pins: &Pins) -> bool {
        match (pins.images.get(reference), self.observed.images.get(reference)) {
            (Some(pinned), Some(ImageState::Present(now))) => *pinned != now.id,
            _ => false,
        }
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
        let rendered = render(server, entry)?;
        let holder = Holder::Server(server.name.clone());
        if let Some(missing) = self.missing_lease(&[(LeaseKind::Uid, holder.clone())]) {
            return Err(Hindrance::Other(Box::new(missing)));
        }
        let lease = self.declared.lease(LeaseKind::Uid, holder).and_then(|lease| u32::try_from(lease).ok());
        let Some(lease) = lease else {
            return Err(Hindrance::Never("BadLease", "its leased uid is out of range".to_owned()));
        };
        let profile = self.declared.spec.profile_of(server);
        let image = match self.image(&rendered.image.to_string(), pins) {
            Ok(image) => image,
            Err(state) => {
                let told = self.still_running(server, profile, lease);
                let told =
                    told.map(|uid| Announced { name: server.name.clone(), uid, prefix: rendered.prefix });
                return Ok((Wanted::Image(*state), told));
            }
        };
        let uid = peer_uid(profile, lease, &image)?;
        let spec = self.server_container(server, &rendered, &image, profile, lease)?;
        let name = names::server_container(&self.settings.owner.instance, &self.key, &server.name);
        let wanted = self.container(self.free_name(name), Role::Server(server.name.clone()), spec);
        Ok((wanted, Some(Announced { name: server.name.clone(), uid, prefix: rendered.prefix })))
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

    fn unknown_server(&self, name: &str) -> String {
        let missing: Vec<_> =
            self.declared.spec.catalogs.iter().filter(|c| !self.declared.catalogs.contains_key(*c)).collect();
        if missing.is_empty() {
            format!("no catalog of this gateway has a server {name:?}; add it to a catalog or remove it here")
        } else {
            let missing = missing.iter().map(|c| c.as_str()).collect::<Vec<_>>().join(", ");
            format!(
                "no catalog of this gateway has a server {name:?}, and the catalog {missing} does not exist"
            )
        }
    }

    fn server_container(
        &self,
        server: &ServerSpec,
        rendered: &RenderedServer,
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

/// Renders an entry with its configuration, after asking whether all that it uses exists.
fn render(server: &ServerSpec, entry: &ServerEntry) -> Result<RenderedServer, Hindrance> {
    let unsupported = catalog::unsupported(entry);
    if !unsupported.is_empty() {
        let texts: Vec<_> = unsupported.iter().map(|u| format!("{}: {}", u.field, u.message)).collect();
        return Err(Hindrance::Never("Unsupported", texts.join("; ")));
    }
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
