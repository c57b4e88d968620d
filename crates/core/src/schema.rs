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
use crate::resource::{catalog, metadata, parse, secret};
use crate::tool_filter::{MAX_PATTERN, MAX_PATTERNS};

mod secrets;

const DNS_LABEL: &str = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";
const REGISTRY_KEY: &str = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$";
const ENV_NAME: &str = "^[A-Za-z_][A-Za-z0-9_]*$";

/// The schema of the documents of one kind.
pub fn schema_for(kind: Kind) -> Value {
    let spec = match kind {
        Kind::Gateway => gateway_spec(),
        Kind::ClusterCatalog | Kind::Catalog => catalog_spec(),
        // Its values are beside `metadata`.
        Kind::Secret => Value::Null,
    };
    let mut metadata = object(
        metadata::FIELDS,
        &["name"],
        &[
            (
                "name",
                json!({
                    "type": "string",
                    "pattern": DNS_LABEL,
                    "description": "Its name, unique among the objects of its kind in its namespace.",
                }),
            ),
            (
                "namespace",
                json!({
                    "type": "string",
                    "pattern": DNS_LABEL,
                    "description": "The tenant: the user or team that owns it.",
                }),
            ),
            ("labels", said(string_map(), "To select by, as in `bowline get gateways -l team=data`.")),
            (
                "annotations",
                said(
                    string_map(),
                    "Notes, which no decision reads; but `dev.bowline.paused: \"true\"` keeps a gateway from being \
                     reconciled.",
                ),
            ),
        ],
    );
    if kind.is_namespaced() {
        metadata["required"] = json!(["name", "namespace"]);
    } else if let Some(properties) = metadata["properties"].as_object_mut() {
        properties.remove("namespace");
    }
    let (fields, required): (_, &[&str]) = match kind {
        Kind::Secret => (secret::FIELDS, &["apiVersion", "kind", "metadata"]),
        Kind::Gateway | Kind::ClusterCatalog | Kind::Catalog => {
            (parse::FIELDS, &["apiVersion", "kind", "metadata", "spec"])
        }
    };
    let mut schema = object(
        fields,
        required,
        &[
            ("apiVersion", json!({ "const": API_VERSION, "description": "The version of this schema." })),
            ("kind", json!({ "const": kind.as_str(), "description": "What the object is." })),
            ("metadata", said(metadata, "Who it is.")),
            ("spec", said(spec, "What is wanted.")),
            ("stringData", secrets::values()),
        ],
    );
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!(kind.as_str());
    said(schema, purpose(kind))
}

/// What an object of this kind is for.
fn purpose(kind: Kind) -> &'static str {
    match kind {
        Kind::Gateway => "One MCP endpoint of a tenant: a gateway container, and the servers behind it.",
        Kind::ClusterCatalog => "MCP servers that gateways of every tenant can name, written by the admin.",
        Kind::Catalog => "MCP servers of one tenant.",
        Kind::Secret => "Values that only the servers see that declare them, written and never shown again.",
    }
}

fn gateway_spec() -> Value {
    let catalog = catalog_reference();
    let server_name = json!({
        "type": "string",
        "pattern": REGISTRY_KEY,
        "description": "Its name in the catalogs.",
    });
    let server = object(
        gateway::SERVER_FIELDS,
        &["name"],
        &[
            ("name", server_name.clone()),
            (
                "enabled",
                json!({ "type": ["boolean", "null"], "default": true, "description": "Whether it runs." }),
            ),
            (
                "config",
                json!({
                        "type": ["object", "null"],
                "maxProperties": gateway::MAX_CONFIG_KEYS,
                "description": "Values for the templates of its catalog entry.",
                    }),
            ),
            ("resources", said(resources(64), "Resources of its container; `serverDefaults` complete them.")),
            ("profile", profile()),
            (
                "tools",
                said(tool_filter(), "Which of its tools are offered, by the server's own names for them."),
            ),
            ("secrets", secrets::bindings()),
        ],
    );
    let defaults = object(
        gateway::SERVER_DEFAULTS_FIELDS,
        &[],
        &[
            ("resources", said(resources(64), "Resources of each server's container.")),
            ("profile", profile()),
        ],
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
                        "description": "Catalogs, lowest first: a later one's entry replaces an earlier one's.",
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
            (
                "serverDefaults",
                said(nullable(defaults), "What servers get that do not say it themselves, field by field."),
            ),
            ("secretRefs", secrets::references()),
            (
                "mode",
                default(
                    "Static",
                    "How server containers come about: Static ones are made by the controller.",
                    supported(gateway::MODES.iter().map(|(word, mode)| (*word, mode.is_some())).collect()),
                ),
            ),
            (
                "transport",
                default(
                    "StreamableHTTP",
                    "How MCP clients talk to the gateway.",
                    supported(
                        gateway::TRANSPORTS
                            .iter()
                            .map(|(word, transport)| (*word, transport.is_some()))
                            .collect(),
                    ),
                ),
            ),
            ("resources", said(resources(128), "Resources of the gateway's own container.")),
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
                "progressDeadlineSeconds",
                json!({
                    "type": ["integer", "null"],
                    "minimum": gateway::PROGRESS_DEADLINES.start(),
                    "maximum": gateway::PROGRESS_DEADLINES.end(),
                    "default": 60,
                    "description": "Within how many seconds a container that replaces another must answer; after \
                                    that the other one is started again.",
                }),
            ),
            (
                "suspend",
                json!({
                    "type": ["boolean", "null"],
                    "default": false,
                    "description": "Whether its containers are stopped while its leases are kept.",
                }),
            ),
        ],
    )
}

/// A ClusterCatalog's name, or a reference that says the kind.
fn catalog_reference() -> Value {
    let name = json!({ "type": "string", "pattern": DNS_LABEL, "description": "Its name." });
    let kind = |kind: Kind| json!({ "const": kind.as_str(), "description": "Whether it is everybody's or one tenant's." });
    let cluster = object(
        gateway::CATALOG_REFERENCE_FIELDS,
        &["kind", "name"],
        &[
            ("kind", kind(Kind::ClusterCatalog)),
            ("name", name.clone()),
            ("namespace", json!({ "type": "null" })),
        ],
    );
    let namespace = json!({
        "type": ["string", "null"],
        "pattern": DNS_LABEL,
        "description": "Whose it is; the gateway's own namespace when absent.",
    });
    let namespaced = object(
        gateway::CATALOG_REFERENCE_FIELDS,
        &["kind", "name"],
        &[("kind", kind(Kind::Catalog)), ("name", name.clone()), ("namespace", namespace)],
    );
    json!({ "anyOf": [name, cluster, namespaced] })
}

fn catalog_spec() -> Value {
    object(
        catalog::FIELDS,
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
    let about = |schema: &Value, description: &str| said(schema.clone(), description);
    let secret = json!({ "type": "object", "properties": {
        "name": about(&text, "Name of the secret."),
        "env": about(&text, "Environment variable that the server finds it in."),
    } });
    let name = json!({ "type": "string", "pattern": ENV_NAME, "description": "Name of the variable." });
    let variable = json!({
        "type": "object",
        "properties": { "name": name, "value": about(&text, "Its value; may be a template.") },
        "required": ["name"],
    });
    let kinds = json!({ "enum": ["server", "remote", "poci", null] });
    let remote = json!({
        "type": ["object", "null"],
        "properties": {
            "url": about(&text, "Where the server is."),
            "transport_type": about(&text, "How it is spoken to: streamable-http or sse."),
            "headers": {
                "type": ["object", "null"],
                "additionalProperties": text,
                "description": "Headers of every request to it.",
            },
        },
        "description": "Where a server of type remote is.",
    });
    json!({
        "type": "object",
        "properties": {
            "title": about(&text, "Its name for people."),
            "description": about(&text, "What it is for."),
            "type": about(&kinds, "Whether it is a container image (server) or somewhere else (remote)."),
            "image": about(&text, "The image of a server's container."),
            "command": about(&texts, "Arguments of the image's entrypoint; may be templates."),
            "env": {
                "type": ["array", "null"],
                "items": variable,
                "description": "Environment variables of its process.",
            },
            "secrets": {
                "type": ["array", "null"],
                "items": secret,
                "description": "Secrets that it needs in its environment.",
            },
            "volumes": about(&texts, "Volumes as `name:/path` or `name:/path:ro`; may be templates."),
            "user": about(&text, "The user that its process runs as."),
            "disableNetwork": about(&flag, "Whether its container has no network."),
            "allowHosts": about(&texts, "Hosts that it may reach, `host:port`; an empty list is no network."),
            "extraHosts": about(&texts, "Names that its container resolves itself, `name:address`."),
            "prefix": about(&text, "What the names of its tools begin with."),
            "config": {
                "type": ["array", "null"],
                "description": "Schemas of the configuration that its templates take.",
            },
            "remote": remote,
            "sseEndpoint": about(&text, "Where a remote server is that speaks SSE, in an older notation."),
            "longLived": about(&flag, "Whether its process outlives a call; here every process does, per connection."),
        },
        "description": "One server, by its name; fields that are not known are kept.",
    })
}

fn tool_filter() -> Value {
    let patterns = |description: &str| {
        json!({
            "type": ["array", "null"],
            "items": { "type": "string", "minLength": 1, "maxLength": MAX_PATTERN, "pattern": "^[^\\s]*$" },
            "maxItems": MAX_PATTERNS,
            "description": description,
        })
    };
    let allow =
        patterns("The only tools that are offered, by the server's own names; `*` stands for anything.");
    let deny = patterns("Tools that are not offered, whatever `allow` says.");
    nullable(object(gateway::TOOLS_FIELDS, &[], &[("allow", allow), ("deny", deny)]))
}

/// Requests and limits of a container that gets `pids` processes where nothing is said.
fn resources(pids: u32) -> Value {
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
    let requests = object(gateway::REQUESTS_FIELDS, &[], &[("cpu", cpu.clone()), ("memory", memory.clone())]);
    let pids = json!({
        "type": ["integer", "null"],
        "minimum": 1,
        "maximum": MAX_PIDS,
        "default": pids,
        "description": "Processes and threads at the same time.",
    });
    let limit = |mut schema: Value, value: &str| {
        schema["default"] = json!(value);
        schema
    };
    let limits = [("cpu", limit(cpu, "1")), ("memory", limit(memory, "256Mi")), ("pids", pids)];
    let limits = object(gateway::LIMITS_FIELDS, &[], &limits);
    let both = [
        ("requests", said(nullable(requests), "What it gets when the machine is busy.")),
        ("limits", said(nullable(limits), "What it never gets more of.")),
    ];
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

fn profile() -> Value {
    let words = words(gateway::PROFILES.iter().map(|(word, _)| *word));
    let description = "How tightly the container is closed: `restricted` has a leased user and a read-only root, \
                       `baseline` the image's own user and a writable root.";
    default("restricted", description, words)
}

/// The schema with what the value is for.
fn said(mut schema: Value, description: &str) -> Value {
    schema["description"] = json!(description);
    schema
}

/// The schema with what the value is for, and what it is when absent.
fn default(value: &str, description: &str, mut schema: Value) -> Value {
    schema["default"] = json!(value);
    said(schema, description)
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
