//! Names of containers, networks, volumes and directories.
//!
//! Names are a courtesy to people; identity is labels. Still no two different things may ask for one name, so
//! every part is kept apart by a character that the parts cannot contain: a DNS label has neither `.` nor `_`.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::object::GatewayKey;
use crate::volume::VolumeKey;

/// The instance whose names carry no suffix.
pub const DEFAULT_INSTANCE: &str = "default";
/// The gateway name that container names leave out.
pub const DEFAULT_GATEWAY: &str = "default";

/// Whether `text` is an RFC 1123 DNS label: 1 to 63 of `a-z 0-9 -`, beginning and ending with no hyphen.
pub fn is_dns_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
        && bytes[0] != b'-'
        && bytes[bytes.len() - 1] != b'-'
}

/// `mcp-gateway-<namespace>` for the gateway named `default`, else `mcp-gateway-<namespace>.<name>`.
pub fn gateway_container(instance: &str, key: &GatewayKey) -> String {
    let base = if key.name == DEFAULT_GATEWAY {
        format!("mcp-gateway-{}", key.namespace)
    } else {
        format!("mcp-gateway-{}.{}", key.namespace, key.name)
    };
    with_instance(base, instance)
}

/// `mcp-server-<namespace>.<name>.<key>`.
pub fn server_container(instance: &str, key: &GatewayKey, server: &str) -> String {
    with_instance(format!("mcp-server-{}.{}.{}", key.namespace, key.name, path_label(server)), instance)
}

/// `mcp-net-<namespace>.<name>`.
pub fn network(instance: &str, key: &GatewayKey) -> String {
    with_instance(format!("mcp-net-{}.{}", key.namespace, key.name), instance)
}

/// `mcp-vol-<namespace>.<server>.<volume>`; where a part is no short DNS label both are cleaned, and a hash of both
/// is a part of its own, so that no pair of labels reads like another pair.
pub fn volume(instance: &str, namespace: &str, key: &VolumeKey) -> String {
    let VolumeKey { server, volume } = key;
    // 255 bytes are the longest name that the Engine can make a directory of.
    if is_dns_label(server) && is_dns_label(volume) && volume.len() <= 32 {
        return with_instance(format!("mcp-vol-{namespace}.{server}.{volume}"), instance);
    }
    let digest = hex::encode(&Sha256::digest(format!("{server}/{volume}"))[..4]);
    let base = format!("mcp-vol-{namespace}.{}.{}.{digest}", cleaned(server, 63), cleaned(volume, 32));
    with_instance(base, instance)
}

/// The name to take when somebody else's object has `name`: the instance spelt out and eight digits of the uid
/// behind it, which no name of the forms above has.
pub fn fallback(name: &str, instance: &str, uid: Uuid) -> String {
    let base = name.split('_').next().unwrap_or(name);
    // The last digits: the first ones of a UUIDv7 are a clock, alike for objects made together.
    let digits = uid.simple().to_string();
    format!("{base}_{instance}_{}", &digits[24..])
}

/// The name of a container while another one has, or is about to take, `name`: the one that will replace it or the
/// one that was retired. Two underscores in a row occur in no name of the forms above.
pub fn beside(name: &str, spec_hash: &str) -> String {
    format!("{name}__{}", spec_hash.get(..8).unwrap_or(spec_hash))
}

/// A registry key as one part of a name or path: itself when it is a DNS label, else lower-case and cleaned,
/// with a dot and eight hexadecimal digits of its hash behind it.
pub fn path_label(server: &str) -> String {
    if is_dns_label(server) {
        return server.to_owned();
    }
    let digest = hex::encode(&Sha256::digest(server.as_bytes())[..4]);
    format!("{}.{digest}", cleaned(server, 63))
}

/// A registry key in lower case with only what a DNS label has, cut to `most` characters.
fn cleaned(text: &str, most: usize) -> String {
    let cleaned: String = text
        .chars()
        .map(|c| match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9') => c,
            _ => '-',
        })
        .take(most)
        .collect();
    match cleaned.trim_matches('-') {
        "" => "server".to_owned(),
        cleaned => cleaned.to_owned(),
    }
}

fn with_instance(base: String, instance: &str) -> String {
    if instance == DEFAULT_INSTANCE { base } else { format!("{base}_{instance}") }
}

#[cfg(test)]
mod tests;
