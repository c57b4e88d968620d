//! Where the values of declared secrets come from: `secrets` of a server, and `secretRefs` of the gateway.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::read::{has_at_most, label};
use crate::diagnostic::Code;
use crate::resource::read::{Field, Reader, Use};
use crate::secret::{KEY_RULE, MAX_KEYS, is_key};
use crate::yaml::Node;

pub(crate) const BINDING_FIELDS: &[Field] = &[("name", Use::Works), ("valueFrom", Use::Works)];
pub(crate) const VALUE_FROM_FIELDS: &[Field] = &[("secretKeyRef", Use::Works)];
pub(crate) const KEY_REF_FIELDS: &[Field] = &[("name", Use::Works), ("key", Use::Works)];
pub(crate) const REFERENCE_FIELDS: &[Field] = &[("name", Use::Works)];

/// More Secrets than anybody lays over each other, and more bindings than an entry declares secrets.
pub(crate) const MAX_REFERENCES: usize = MAX_KEYS;

/// The source of one secret that a catalog entry declares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretBinding {
    /// The name that the entry declares, such as `github.personal_access_token`.
    pub name: String,
    /// Where its value is.
    pub value_from: ValueFrom,
}

/// Where a value is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ValueFrom {
    /// In a Secret of the gateway's own namespace.
    pub secret_key_ref: SecretKeyRef,
}

/// One value of a Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKeyRef {
    /// Name of the Secret.
    pub name: String,
    /// Key of the value in it.
    pub key: String,
}

/// A Secret by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretRef {
    /// Name of the Secret, in the gateway's own namespace.
    pub name: String,
}

/// Reads `secretRefs`.
pub(super) fn references(reader: &mut Reader, node: &Node) -> Vec<SecretRef> {
    let mut seen = BTreeSet::new();
    if !has_at_most(reader, node, MAX_REFERENCES) {
        return Vec::new();
    }
    reader.list(node, |reader, item| {
        let fields = reader.fields(item, REFERENCE_FIELDS)?;
        let name = fields.require(reader, "name", |r, n| label(r, n, "a Secret"))?;
        if !seen.insert(name.clone()) {
            let message = format!("the Secret `{name}` is listed twice");
            reader.report(Code::DuplicateName, item.position, message);
            return None;
        }
        Some(SecretRef { name })
    })
}

/// Reads `secrets` of a server.
pub(super) fn bindings(reader: &mut Reader, node: &Node) -> Vec<SecretBinding> {
    let mut seen = BTreeSet::new();
    if !has_at_most(reader, node, MAX_REFERENCES) {
        return Vec::new();
    }
    reader.list(node, |reader, item| {
        let fields = reader.fields(item, BINDING_FIELDS)?;
        let name = fields.require(reader, "name", Reader::string);
        let value_from = fields.require(reader, "valueFrom", |reader, node| {
            let fields = reader.fields(node, VALUE_FROM_FIELDS)?;
            let secret_key_ref = fields.require(reader, "secretKeyRef", key_reference)?;
            Some(ValueFrom { secret_key_ref })
        });
        let name = name?;
        if !seen.insert(name.clone()) {
            let message = format!("the secret `{name}` is given twice");
            reader.report(Code::DuplicateName, item.position, message);
            return None;
        }
        Some(SecretBinding { name, value_from: value_from? })
    })
}

fn key_reference(reader: &mut Reader, node: &Node) -> Option<SecretKeyRef> {
    let fields = reader.fields(node, KEY_REF_FIELDS)?;
    let name = fields.require(reader, "name", |r, n| label(r, n, "a Secret"));
    let key = fields.require(reader, "key", |reader, node| {
        let key = reader.string(node)?;
        if is_key(&key) {
            return Some(key);
        }
        reader
            .report(Code::InvalidName, node.position, format!("{key:?} cannot be a key of a Secret"))
            .hint = Some(KEY_RULE.to_owned());
        None
    });
    Some(SecretKeyRef { name: name?, key: key? })
}
