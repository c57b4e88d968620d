//! Catalogs in the docker/mcp-gateway format: their entries, how layers of them merge, and which of their
//! features exist in this version.
//!
//! Fed by [`crate::resource`]; read by reference checks and by the planner, which turns an entry and a
//! gateway's configuration into a container with [`crate::template`].

use std::collections::BTreeMap;

use crate::resource::{CatalogRef, CatalogSpec};

mod config;
mod entry;
mod remote;
mod support;
mod uses;

pub use config::{ConfigProblem, check_config, unused_config};
pub use entry::{EntryError, EnvVar, Remote, SecretDeclaration, ServerEntry, ServerFields, ServerKind};
pub use remote::remote_place;
pub use support::{Unsupported, egress_is_unenforced, unsupported};
pub use uses::{LostEntry, lost_entries};

/// Whether a server's container has a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Network {
    /// None at all: only the unix socket to its gateway.
    None,
    /// A network of its own with a way out.
    Egress,
}

/// The network that an entry asks for: absent `allowHosts` is a way out, `[]` or `disableNetwork` is none.
///
/// A list of hosts gives the way out, too, and is not enforced: see [`egress_is_unenforced`].
pub fn network(entry: &ServerEntry) -> Network {
    let fields = entry.fields();
    if fields.disable_network || fields.allow_hosts.as_ref().is_some_and(Vec::is_empty) {
        Network::None
    } else {
        Network::Egress
    }
}

/// An entry and the catalog that it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Merged<'a> {
    /// The layer.
    pub catalog: &'a CatalogRef,
    /// The entry, whole.
    pub entry: &'a ServerEntry,
}

/// All servers of several catalogs, lowest layer first: of two entries of one name the later layer's wins as a
/// whole, no field of the earlier one is left.
pub fn merge<'a>(
    layers: impl IntoIterator<Item = (&'a CatalogRef, &'a CatalogSpec)>,
) -> BTreeMap<&'a str, Merged<'a>> {
    let mut merged = BTreeMap::new();
    for (catalog, spec) in layers {
        for (name, entry) in &spec.registry {
            merged.insert(name.as_str(), Merged { catalog, entry });
        }
    }
    merged
}

#[cfg(test)]
mod tests;
