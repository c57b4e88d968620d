//! Which features of a catalog entry exist in this version.

use super::{ServerEntry, ServerFields, ServerKind};

/// A feature that an entry needs and that does not exist yet. A server whose entry has one is not started; its
/// state says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    /// The entry's field.
    pub field: &'static str,
    /// What does not exist yet.
    pub message: String,
}

/// Every feature of `entry` that does not exist yet; empty for an entry that runs.
///
/// `longLived` is satisfied (every server lives as long as its gateway), and so are `tools`, `prompts` and all
/// fields that only describe.
pub fn unsupported(entry: &ServerEntry) -> Vec<Unsupported> {
    let ServerFields { secrets, volumes, user, extra_hosts, oauth, .. } = entry.fields();
    let mut missing = Vec::new();
    let mut lacks = |condition: bool, field, message: &str| {
        if condition {
            missing.push(Unsupported { field, message: message.to_owned() });
        }
    };
    match entry.kind() {
        ServerKind::Container => {}
        ServerKind::Remote if entry.fields().sse_endpoint.is_some() => {
            lacks(true, "sseEndpoint", "remote servers are not supported yet");
        }
        ServerKind::Remote => lacks(true, "remote", "remote servers are not supported yet"),
        ServerKind::Poci => lacks(true, "type", "an entry without an image (poci) is not supported yet"),
    }
    lacks(!secrets.is_empty(), "secrets", "secrets are not supported yet");
    lacks(!volumes.is_empty(), "volumes", "volumes are not supported yet");
    lacks(user.is_some(), "user", "a user of the entry's own is not supported yet");
    lacks(!extra_hosts.is_empty(), "extraHosts", "additional host names are not supported yet");
    lacks(*oauth, "oauth", "OAuth is not supported yet");
    missing
}

/// Whether the entry names the hosts that its server may reach: it gets a network, and the list is not enforced
/// in this version.
pub fn egress_is_unenforced(entry: &ServerEntry) -> bool {
    let fields = entry.fields();
    !fields.disable_network && fields.allow_hosts.as_ref().is_some_and(|hosts| !hosts.is_empty())
}
