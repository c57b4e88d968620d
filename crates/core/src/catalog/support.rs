//! Which features of a catalog entry exist in this version.

use super::entry::is_variable;
use super::{EnvVar, SecretDeclaration, ServerEntry, ServerFields, ServerKind, remote_place};

/// A feature that an entry needs and that does not exist yet. A server whose entry has one is not started; its
/// state says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    /// The entry's field.
    pub field: &'static str,
    /// What does not exist yet.
    pub message: String,
}

/// Every feature of `entry` that does not exist yet, and what keeps a remote server from being dialled; empty for
/// an entry that runs.
///
/// `longLived` is satisfied (every server lives as long as its gateway), and so are `tools`, `prompts` and all
/// fields that only describe.
pub fn unsupported(entry: &ServerEntry) -> Vec<Unsupported> {
    let ServerFields { secrets, env, user, extra_hosts, oauth, .. } = entry.fields();
    let mut missing = Vec::new();
    let mut lacks = |condition: bool, field, message: &str| {
        if condition {
            missing.push(Unsupported { field, message: message.to_owned() });
        }
    };
    match entry.kind() {
        ServerKind::Container => {}
        ServerKind::Remote => {
            let closed = entry.fields().disable_network;
            lacks(closed, "disableNetwork", "a remote server cannot be reached without a network");
        }
        ServerKind::Poci => lacks(true, "type", "an entry without an image (poci) is not supported yet"),
    }
    let remote = entry.kind() == ServerKind::Remote && !secrets.is_empty();
    lacks(remote, "secrets", "secrets of a remote server are not supported yet");
    for problem in secrets.iter().filter_map(|secret| secret_problem(secret, env)) {
        lacks(true, "secrets", &problem);
    }
    lacks(user.is_some(), "user", "a user of the entry's own is not supported yet");
    lacks(!extra_hosts.is_empty(), "extraHosts", "additional host names are not supported yet");
    lacks(*oauth, "oauth", "OAuth is not supported yet");
    if entry.kind() == ServerKind::Remote {
        missing.extend(remote_place(entry.fields()).err().unwrap_or_default());
    }
    missing
}

/// What keeps a declared secret from being given to the server. An entry that is written so was accepted once, when no
/// server with secrets could run, and is in the database.
fn secret_problem(secret: &SecretDeclaration, env: &[EnvVar]) -> Option<String> {
    let SecretDeclaration { name, env: variable } = secret;
    if name.is_empty() {
        return Some("a secret has no name".to_owned());
    }
    if !is_variable(variable) {
        return Some(format!("`env` of the secret {name:?} is {variable:?}, which cannot be a variable"));
    }
    env.iter().any(|other| other.name == *variable).then(|| {
        format!("the variable {variable} is the secret {name:?} and is in `env`, too; only one can be meant")
    })
}

/// Whether the entry names the hosts that its server may reach: it gets a network, and the list is not enforced
/// in this version.
pub fn egress_is_unenforced(entry: &ServerEntry) -> bool {
    let fields = entry.fields();
    // Of a remote server the gateway dials the declared URL and what it redirects to, nothing else.
    entry.kind() != ServerKind::Remote
        && !fields.disable_network
        && fields.allow_hosts.as_ref().is_some_and(|hosts| !hosts.is_empty())
}
