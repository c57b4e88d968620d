//! `metadata` of a declared object.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::read::{Field, Reader, Use};
use crate::diagnostic::Code;
use crate::names::is_dns_label;
use crate::object::Kind;
use crate::yaml::{Node, NodeKind};

/// The prefix of keys that only Bowline writes.
const RESERVED_PREFIX: &str = "dev.bowline.";
/// The annotation that keeps a gateway from being reconciled while its value is `true`: the one key with our prefix
/// that people write.
pub const PAUSED_ANNOTATION: &str = "dev.bowline.paused";
/// Kubernetes' bound on all annotations of an object together.
const MAX_ANNOTATIONS: usize = 256 << 10;

pub(crate) const FIELDS: &[Field] = &[
    ("namespace", Use::Works),
    ("name", Use::Works),
    ("labels", Use::Works),
    ("annotations", Use::Works),
    ("uid", Use::Server),
    ("generation", Use::Server),
    ("resourceVersion", Use::Server),
    ("creationTimestamp", Use::Server),
    ("deletionTimestamp", Use::Server),
    ("finalizers", Use::Server),
    ("managedBy", Use::Server),
];

/// What a user says about an object's identity.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectMeta {
    /// The tenant; absent exactly for cluster kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The name, a DNS label.
    pub name: String,
    /// To select by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// For notes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Whether `text` can be a server's name in a catalog: `[A-Za-z0-9][A-Za-z0-9_.-]{0,62}`.
pub fn is_registry_key(text: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    text.len() <= 63 && text.bytes().all(is_inner) && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// What to say of a text that is no DNS label, and what to write instead.
fn dns_label(reader: &mut Reader, node: &Node) -> Option<String> {
    let text = reader.string(node)?;
    if is_dns_label(&text) {
        return Some(text);
    }
    let cleaned: String = text
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
        .take(63)
        .collect();
    let cleaned = cleaned.trim_matches('-');
    let found = reader.report(Code::InvalidName, node.position, format!("{text:?} is not a DNS label"));
    let rule = "1 to 63 lower-case letters, digits and `-`, not beginning or ending with `-`";
    found.hint = Some(match is_dns_label(cleaned) {
        true => format!("use {rule}, such as `{cleaned}`"),
        false => format!("use {rule}"),
    });
    None
}

/// Reads `metadata` of an object of `kind`.
pub(super) fn read(reader: &mut Reader, node: &Node, kind: Kind) -> Option<ObjectMeta> {
    let fields = reader.fields(node, FIELDS)?;
    let name = fields.require(reader, "name", dns_label);
    let namespace = if kind.is_namespaced() {
        if fields.get("namespace").is_none() {
            reader.in_key("namespace", |reader| {
                let message = format!("a {kind} lives in a namespace, and none is given");
                reader.report(Code::MissingNamespace, node.position, message).hint = Some(
                    "add `namespace:` with the name of the user or team; there is no default".to_owned(),
                );
            });
        }
        fields.read(reader, "namespace", dns_label)
    } else {
        if let Some(namespace) = fields.get("namespace") {
            reader.in_key("namespace", |reader| {
                let message = format!("a {kind} belongs to the cluster and has no namespace");
                reader.report(Code::NamespaceNotAllowed, namespace.position, message).hint =
                    Some("remove `namespace:`".to_owned());
            });
        }
        None
    };
    let labels = fields.read(reader, "labels", |reader, node| pairs(reader, node, |_| false, is_label_value));
    let annotations = fields.read(reader, "annotations", annotations);
    let annotations = annotations.unwrap_or_default();
    if annotations.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > MAX_ANNOTATIONS {
        let message = format!("the annotations have more than {MAX_ANNOTATIONS} bytes");
        reader.in_key("annotations", |reader| {
            reader.report(Code::InvalidLabel, node.position, message);
        });
    }
    if kind.is_namespaced() && namespace.is_none() {
        return None;
    }
    Some(ObjectMeta { namespace, name: name?, labels: labels.unwrap_or_default(), annotations })
}

fn annotations(reader: &mut Reader, node: &Node) -> Option<BTreeMap<String, String>> {
    let is_paused = |key: &str| key == PAUSED_ANNOTATION;
    let mut read = pairs(reader, node, is_paused, |_| true)?;
    if read.get(PAUSED_ANNOTATION).is_some_and(|value| value != "true" && value != "false") {
        reader.in_key(PAUSED_ANNOTATION, |reader| {
            let found =
                reader.report(Code::InvalidValue, node.position, "it is neither \"true\" nor \"false\"");
            found.hint = Some("write \"true\" with its quotes, or remove it".to_owned());
        });
        read.remove(PAUSED_ANNOTATION);
    }
    Some(read)
}

fn pairs(
    reader: &mut Reader,
    node: &Node,
    is_ours: fn(&str) -> bool,
    is_value: fn(&str) -> bool,
) -> Option<BTreeMap<String, String>> {
    let entries = reader.mapping(node)?;
    let mut pairs = BTreeMap::new();
    for (key, value) in entries {
        reader.in_key(&key.name, |reader| {
            if let Err((problem, hint)) = check_key(&key.name)
                && !is_ours(&key.name)
            {
                reader.report(Code::InvalidLabel, key.position, problem).hint = Some(hint.to_owned());
            }
            // As in Kubernetes, a null value is no value.
            let text = if value.kind == NodeKind::Null { Some(String::new()) } else { reader.string(value) };
            let Some(text) = text else { return };
            if is_value(&text) {
                pairs.insert(key.name.clone(), text);
            } else {
                reader
                    .report(Code::InvalidLabel, value.position, format!("{text:?} is not a label's value"))
                    .hint = Some(
                    "use at most 63 letters, digits, `-`, `_` and `.`, letters or digits at both ends"
                        .to_owned(),
                );
            }
        });
    }
    Some(pairs)
}

fn check_key(key: &str) -> Result<(), (String, &'static str)> {
    if key.starts_with(RESERVED_PREFIX) {
        return Err((
            format!("keys that begin with `{RESERVED_PREFIX}` are Bowline's own"),
            "use a prefix of yours",
        ));
    }
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let prefix_is_good =
        prefix.is_none_or(|prefix| prefix.len() <= 253 && prefix.split('.').all(is_dns_label));
    if prefix_is_good && !name.is_empty() && is_label_value(name) {
        return Ok(());
    }
    let hint = "use `name` or `domain/name`, the name of at most 63 letters, digits, `-`, `_` and `.`";
    Err((format!("{key:?} is not a key of labels or annotations"), hint))
}

fn is_label_value(value: &str) -> bool {
    let is_edge = |c: char| c.is_ascii_alphanumeric();
    value.is_empty()
        || (value.len() <= 63
            && value.starts_with(is_edge)
            && value.ends_with(is_edge)
            && value.chars().all(|c| is_edge(c) || matches!(c, '-' | '_' | '.')))
}
