//! `kind: Secret`: values that are written and never shown again.
//!
//! What is stored as the object is the list of its keys; the values are sealed beside it. No finding here repeats a
//! value, whatever is wrong with it, and what was read is wiped from the document.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::read::{Field, Reader, Use};
use crate::diagnostic::{Code, Diagnostic};
use crate::secret::{InvalidSecret, KEY_RULE, MAX_KEYS, SecretText, check_value, is_key};
use crate::yaml::{Node, NodeKind};

/// The field of the values.
pub(super) const VALUES: &str = "stringData";
/// The field of a stored Secret's `spec`.
const KEYS: &str = "keys";

pub(crate) const FIELDS: &[Field] = &[
    ("apiVersion", Use::Works),
    ("kind", Use::Works),
    ("metadata", Use::Works),
    (VALUES, Use::Works),
    ("data", Use::NotYet("write the values as they are, not in base64, under `stringData`")),
    // What `get -o yaml` shows: the keys.
    ("spec", Use::Server),
    ("status", Use::Server),
];

/// The `spec` of a stored Secret: its keys, never a value.
pub fn stored_spec<'k>(keys: impl IntoIterator<Item = &'k str>) -> Value {
    json!({ KEYS: keys.into_iter().collect::<Vec<_>>() })
}

/// The keys in the `spec` of a stored Secret.
pub fn stored_keys(spec: &Value) -> impl Iterator<Item = &str> {
    spec[KEYS].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Reads `stringData`.
pub(super) fn values(reader: &mut Reader, node: &Node) -> Option<BTreeMap<String, SecretText>> {
    let entries = reader.mapping(node)?;
    if entries.len() > MAX_KEYS {
        let error = InvalidSecret::TooManyKeys(entries.len());
        reader.report(Code::OutOfRange, node.position, error).hint =
            Some("divide it into several Secrets".to_owned());
        return None;
    }
    let mut values = BTreeMap::new();
    for (key, node) in entries {
        if !is_key(&key.name) {
            // A value that was indented wrongly looks like a key, so it is not repeated.
            reader.report(Code::InvalidName, key.position, "this cannot be a key of a Secret").hint =
                Some(KEY_RULE.to_owned());
            continue;
        }
        let value = reader.in_key(&key.name, |reader| value(reader, &key.name, node));
        values.extend(value.map(|value| (key.name.clone(), value)));
    }
    Some(values)
}

/// Looks at `spec`: what is shown of a Secret is read over, values that were written there are not.
pub(super) fn shown(reader: &mut Reader, node: &Node) -> Option<()> {
    let entries = reader.mapping(node)?;
    for (key, _) in entries.iter().filter(|(key, _)| key.name != KEYS) {
        let message = "a Secret has no `spec` but the list of its keys, which is read over";
        reader.report(Code::UnknownField, key.position, message).hint =
            Some(format!("write values under `{VALUES}`, beside `metadata`"));
    }
    Some(())
}

fn value(reader: &mut Reader, key: &str, node: &Node) -> Option<SecretText> {
    let NodeKind::String(text) = &node.kind else {
        let hint = match &node.kind {
            NodeKind::Bool(..) | NodeKind::Number(..) => Some("write it in quotes".to_owned()),
            NodeKind::Null => Some("write \"\" for an empty value, or leave the key out".to_owned()),
            _ => None,
        };
        reader.wrong_type(node, "a string").hint = hint;
        return None;
    };
    match check_value(key, text) {
        Ok(()) => Some(SecretText::new(text.clone())),
        Err(error) => {
            let code =
                if matches!(error, InvalidSecret::Nul(_)) { Code::InvalidValue } else { Code::OutOfRange };
            reader.report(code, node.position, error);
            None
        }
    }
}

/// A document without the values that were written into it; positions stay.
pub(super) fn without_values(mut document: Node) -> Node {
    if let NodeKind::Map(entries) = &mut document.kind {
        let has_values = |key: &str| [VALUES, "data", "spec"].contains(&key);
        entries.iter_mut().filter(|(key, _)| has_values(&key.name)).for_each(|(_, node)| wipe(node));
    }
    document
}

fn wipe(node: &mut Node) {
    use zeroize::Zeroize as _;
    match &mut node.kind {
        NodeKind::Null => {}
        NodeKind::Bool(_, text) | NodeKind::Number(_, text) | NodeKind::String(text) => text.zeroize(),
        NodeKind::Seq(items) => items.iter_mut().for_each(wipe),
        NodeKind::Map(entries) => entries.iter_mut().for_each(|(_, node)| wipe(node)),
    }
    if !matches!(node.kind, NodeKind::Seq(_) | NodeKind::Map(_)) {
        node.kind = NodeKind::Null;
    }
}

/// A finding of the YAML reader, which knows nothing of kinds, without the text that it may repeat of a value.
pub(super) fn without_excerpt(found: Diagnostic) -> Diagnostic {
    let of_a_value = found.path.strip_prefix(VALUES).is_some_and(|rest| rest.starts_with(['.', '[']));
    if !of_a_value || found.code == Code::InputTooLarge {
        return found;
    }
    let path = VALUES.to_owned();
    if found.code == Code::DuplicateKey {
        // Its hint names a line.
        return Diagnostic { message: "a key occurs twice".to_owned(), path, ..found };
    }
    let hint = Some("write the value in quotes, or as a block behind `|`".to_owned());
    Diagnostic { message: "this value cannot be read".to_owned(), hint, path, ..found }
}

#[cfg(test)]
mod tests;
