//! Names of containers, networks and directories.
//!
//! Names are a courtesy to people; identity is labels. Still no two different things may ask for one name, so
//! every part is kept apart by a character that the parts cannot contain: a DNS label has neither `.` nor `_`.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::object::GatewayKey;

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

/// The name to take when somebody else's object has `name`: the instance spelt out and eight digits of the uid
/// behind it, which no name of the forms above has.
pub fn fallback(name: &str, instance: &str, uid: Uuid) -> String {
    let base = name.split('_').next().unwrap_or(name);
    // The last digits: the first ones of a UUIDv7 are a clock, alike for objects made together.
    let digits = uid.simple().to_string();
    format!("{base}_{instance}_{}", &digits[24..])
}

/// A registry key as one part of a name or path: itself when it is a DNS label, else lower-case and cleaned,
/// with a dot and eight hexadecimal digits of its hash behind it.
pub fn path_label(server: &str) -> String {
    if is_dns_label(server) {
        return server.to_owned();
    }
    let cleaned: String = server
        .chars()
        .map(|c| match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9') => c,
            _ => '-',
        })
        .take(63)
        .collect();
    let cleaned = cleaned.trim_matches('-');
    let digest = hex::encode(&Sha256::digest(server.as_bytes())[..4]);
    format!("{}.{digest}", if cleaned.is_empty() { "server" } else { cleaned })
}

fn with_instance(base: String, instance: &str) -> String {
    if instance == DEFAULT_INSTANCE { base } else { format!("{base}_{instance}") }
}

#[cfg(test)]
mod tests;
