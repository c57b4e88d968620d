//! The JSON Schema of each kind, for editors and other tools.
//!
//! Made from the tables that the reader uses, so that a field cannot be in one and not in the other. A schema
//! says what works: a field whose behaviour does not exist yet is not in it. What a schema cannot say (references,
//! requests beyond limits, keys that differ only in case) only the reader says.

use serde_json::{Map, Value, json};

use crate::object::{API_VERSION, Kind};
use crate::resource::gateway::read as gateway;
use crate::resource::quantity::MAX_PIDS;
use crate::resource::read::{Field, Use};
use crate::resource::{cluster_catalog, metadata, parse};

const DNS_LABEL: &str = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";
const REGISTRY_KEY: &str = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$";
const ENV_NAME: &str = "^[A-Za-z_][A-Za-z0-9_]*$";

/// The schema of the documents of one kind.
pub fn schema_for(kind: Kind) -> Value {
    let spec = match kind {
        Kind::Gateway => gateway_spec(),
        Kind::ClusterCatalog => cluster_catalog_spec(),
    };
    let mut metadata = object(
        metadata::FIELDS,
        &["name"],
        &[
            ("name", json!({ "type": "string", "pattern": DNS_LABEL })),
            ("namespace", json!({ "type": "string", "pattern": DNS_LABEL, "description": "The tenant." })),
            ("labels", string_map()),
            ("annotations", string_map()),
        ],
    );
    if kind.is_namespaced() {
        metadata["required"] = json!(["name", "namespace"]);
    } else if let Some(properties) = metadata["properties"].as_object_mut() {
        properties.remove("namespace");
    }
    let mut schema = object(
        parse::FIELDS,
        &["apiVersion", "kind", "metadata", "spec"],
        &[
            ("apiVersion", json!({ "const": API_VERSION })),
            ("kind", json!({ "const": kind.as_str() })),
            ("metadata", metadata),
            ("spec", spec),
        ],
    );
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!(kind.as_str());
    schema
}

fn gateway_spec() -> Value {
    let catalog_name = json!({ "type": "string", "pattern": DNS_LABEL });
    let catalog = json!({ "anyOf": [catalog_name, {
        "type": "object",
        "properties": { "kind": { "const": "ClusterCatalog" }, "name": catalog_name },
        "required": ["kind", "name"],
        "additionalProperties": false,
    }] });
    let server_name = json!({ "type": "string", "pattern": REGISTRY_KEY });
    let server = object(
        gateway::SERVER_FIELDS,
        &["name"],
        &[
            ("name", server_name.clone()),
            (
                "enabled",
                json!({ "type": ["boolean", "null"], "description": "Whether it runs; true when absent." }),
            ),
            (
                "config",
                json!({
                        "type": ["object", "null"],
                "maxProperties": gateway::MAX_CONFIG_KEYS,
                "description": "Values for the templates of its catalog entry.",
                    }),
            ),
            ("resources", resources()),
            ("profile", words(gateway::PROFILES.iter().map(|(word, _)| *word))),
        ],
    );
    let defaults = object(
        gateway::SERVER_DEFAULTS_FIELDS,
        &[],
        &[("resources", resources()), ("profile", words(gateway::PROFILES.iter().map(|(word, _)| *word)))],
    );
    let supported = |words: Vec<(&'static str, bool)>| {
        self::words(words.into_iter().filter(|(_, works)| *works).map(|(word, _)| word))
    };
    object(
        gateway::FIELDS,
        &[],
        &[
            (
                "catalogs",
                json!({
                        "type": ["array", "null"],
                "items": catalog,
                "maxItems": gateway::MAX_CATALOGS,
                        "description": "ClusterCatalogs, lowest first: a later one's entry replaces an earlier one's.",
                    }),
            ),
            (
                "servers",
                json!({
                        "type": ["array", "null"],
                        "items": { "anyOf": [server_name, server] },
                "maxItems": gateway::MAX_SERVERS,
                        "description": "The servers behind the gateway; a string is short for a mapping with that name.",
                    }),
            ),
            ("serverDefaults", nullable(defaults)),
            ("mode", supported(gateway::MODES.iter().map(|(word, mode)| (*word, mode.is_some())).collect())),
            (
                "transport",
                supported(
                    gateway::TRANSPORTS
                        .iter()
                        .map(|(word, transport)| (*word, transport.is_some()))
                        .collect(),
                ),
            ),
            ("resources", resources()),
            (
                "image",
                json!({
                    "type": ["string", "null"],
                    "description": "Another build of Bowline's gateway image.",
                }),
            ),
            (
                "port",
                json!({
                    "type": ["integer", "null"],
                    "minimum": gateway::PORTS.start(),
                    "maximum": gateway::PORTS.end(),
                    "description": "A fixed port on the host instead of a leased one.",
                }),
            ),
            (
                "suspend",
                json!({
                    "type": ["boolean", "null"],
                    "description": "Whether its containers are stopped while its leases are kept.",
                }),
            ),
        ],
    )
}

fn cluster_catalog_spec() -> Value {
    object(
        cluster_catalog::FIELDS,
        &["registry"],
        &[(
            "registry",
            json!({
                "type": "object",
                "propertyNames": { "pattern": REGISTRY_KEY },
                "additionalProperties": server_entry(),
                "description": "Servers in the docker/mcp-gateway catalog format.",
            }),
        )],
    )
}

/// An entry is open: fields that mean nothing here are kept.
fn server_entry() -> Value {
    let text = json!({ "type": ["string", "number", "boolean", "null"] });
    let item = json!({ "type": ["string", "number", "boolean"] });
    let texts = json!({ "type": ["array", "null"], "items": item });
    let flag = json!({ "type": ["boolean", "null"] });
    let secret = json!({ "type": "object", "properties": { "name": text, "env": text } });
    let variable = json!({
        "type": "object",
        "properties": { "name": { "type": "string", "pattern": ENV_NAME }, "value": text },
        "required": ["name"],
    });
    json!({
        "type": "object",
        "properties": {
            "title": text,
            "description": text,
            "type": { "enum": ["server", "remote", "poci", null] },
            "image": text,
            "command": texts,
            "env": { "type": ["array", "null"], "items": variable },
            "secrets": { "type": ["array", "null"], "items": secret },
            "volumes": texts,
            "user": text,
            "disableNetwork": flag,
            "allowHosts": texts,
            "extraHosts": texts,
            "prefix": text,
            "config": { "type": ["array", "null"] },
            "remote": {
                "type": ["object", "null"],
                "properties": {
                    "url": text,
                    "transport_type": text,
                    "headers": { "type": ["object", "null"], "additionalProperties": text },
                },
            },
            "sseEndpoint": text,
            "longLived": flag,
        },
    })
}

fn resources() -> Value {
    let cpu = json!({
        "type": ["string", "number", "null"],
        "pattern": "^([0-9]+m|[0-9]*\\.?[0-9]*)$",
        "description": "Cores or thousandths of a core: `1`, `0.5`, `500m`.",
    });
    let memory = json!({
        "type": ["string", "number", "null"],
        "pattern": "^[0-9]*\\.?[0-9]*(Ki|Mi|Gi|Ti|k|M|G|T)?$",
        "description": "Bytes or a Kubernetes quantity, at least 6Mi.",
    });
    let pids = json!({ "type": ["integer", "null"], "minimum": 1, "maximum": MAX_PIDS });
    let fields = [("cpu", cpu), ("memory", memory), ("pids", pids)];
    let requests = object(gateway::REQUESTS_FIELDS, &[], &fields);
    let limits = object(gateway::LIMITS_FIELDS, &[], &fields);
    let both = [("requests", nullable(requests)), ("limits", nullable(limits))];
    nullable(object(gateway::RESOURCES_FIELDS, &[], &both))
}

/// A closed mapping of the fields in the reader's table that work, described by `properties`. What the server
/// writes is read over, and so is of any type.
fn object(table: &[Field], required: &[&str], properties: &[(&str, Value)]) -> Value {
    let described =
        |name: &str| properties.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    let properties: Map<String, Value> = table
        .iter()
        .filter_map(|(name, usage)| match usage {
            // A field of the table without a description has no schema, which the test over all tables sees.
            Use::Works => Some(((*name).to_owned(), described(name).unwrap_or(Value::Null))),
            Use::Server => Some(((*name).to_owned(), json!({ "description": "Written by the server." }))),
            Use::NotYet(_) => None,
        })
        .collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn nullable(mut schema: Value) -> Value {
    schema["type"] = json!([schema["type"], "null"]);
    schema
}

fn words<'w>(words: impl Iterator<Item = &'w str>) -> Value {
    let words: Vec<Value> = words.map(Value::from).chain([Value::Null]).collect();
    json!({ "enum": words })
}

fn string_map() -> Value {
    json!({ "type": ["object", "null"], "additionalProperties": { "type": ["string", "null"] } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_undescribed_field(schema: &Value) -> bool {
        let properties = schema.get("properties").and_then(Value::as_object);
        properties.is_some_and(|properties| properties.values().any(Value::is_null))
            || schema.as_object().into_iter().flat_map(|map| map.values()).any(has_undescribed_field)
            || schema.as_array().into_iter().flatten().any(has_undescribed_field)
    }

    #[test]
    fn every_field_that_works_is_described() {
        assert!(has_undescribed_field(&json!({ "anyOf": [{ "properties": { "x": null } }] })));
        for kind in Kind::ALL {
            assert!(!has_undescribed_field(&schema_for(kind)), "{kind}");
        }
    }
}
