//! What the schemas say of secrets: the values of a Secret, and where a gateway takes them from.

use serde_json::{Value, json};

use super::{DNS_LABEL, object, said};
use crate::resource::gateway::secrets as fields;
use crate::secret::{MAX_KEYS, MAX_VALUE};

const SECRET_KEY: &str = "^[-._a-zA-Z0-9]{1,253}$";

/// The values of a Secret.
pub(super) fn values() -> Value {
    json!({
        "type": ["object", "null"],
        "propertyNames": { "pattern": SECRET_KEY },
        "additionalProperties": { "type": "string", "maxLength": MAX_VALUE },
        "maxProperties": MAX_KEYS,
        "description": "All its values by key; without this field the values that are there stay.",
    })
}

/// Names of Secrets whose keys are names of declared secrets.
pub(super) fn references() -> Value {
    let name = json!({ "type": "string", "pattern": DNS_LABEL, "description": "Its name." });
    json!({
        "type": ["array", "null"],
        "items": object(fields::REFERENCE_FIELDS, &["name"], &[("name", name)]),
        "maxItems": fields::MAX_REFERENCES,
        "description": "Secrets whose keys are names of declared secrets; the first one that has a key counts.",
    })
}

/// Where the values of a server's declared secrets come from.
pub(super) fn bindings() -> Value {
    let secret = json!({ "type": "string", "pattern": DNS_LABEL, "description": "Name of the Secret." });
    let key = json!({ "type": "string", "pattern": SECRET_KEY, "description": "Key of the value in it." });
    let key_ref = object(fields::KEY_REF_FIELDS, &["name", "key"], &[("name", secret), ("key", key)]);
    let value_from = object(
        fields::VALUE_FROM_FIELDS,
        &["secretKeyRef"],
        &[("secretKeyRef", said(key_ref, "A value of a Secret of the gateway's own namespace."))],
    );
    let name = json!({ "type": "string", "description": "Its name in the catalog entry." });
    let properties = [("name", name), ("valueFrom", said(value_from, "Where its value is."))];
    json!({
        "type": ["array", "null"],
        "items": object(fields::BINDING_FIELDS, &["name", "valueFrom"], &properties),
        "maxItems": fields::MAX_REFERENCES,
        "description": "Where the values of secrets come from that its catalog entry declares; `secretRefs` of the \
                        gateway have the others.",
    })
}
