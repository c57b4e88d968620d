//! Objects as text: tables, YAML, JSON, names.

use bowline_api::wire::{Object, SecretStatus};
use bowline_core::object::{Kind, ObjectKey};
use bowline_core::resource::{CatalogRef, stored_secret_keys};
use bowline_core::status::GatewayStatus;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::args::{Format, describe as age};
use crate::failure::Failure;

mod describe;
mod table;

pub(crate) use describe::{Described, description};
pub(crate) use table::Table;

/// The status of a gateway; the default one while there is none, or where it is of a version that we cannot read.
pub(crate) fn status_of(object: &Object) -> GatewayStatus {
    let status = object.status.clone().and_then(|status| serde_json::from_value(status).ok());
    status.unwrap_or_default()
}

/// What is known of a Secret's values; the keys alone where the object came without a status, as in a watch.
pub(crate) fn secret_status_of(object: &Object) -> SecretStatus {
    let status = object.status.clone().and_then(|status| serde_json::from_value(status).ok());
    status.unwrap_or_default()
}

/// The gateways that name a Secret, as in a column.
pub(crate) fn users_of(status: &SecretStatus) -> String {
    let users: Vec<_> = status.used_by.iter().map(|gateway| format!("gateway/{gateway}")).collect();
    if users.is_empty() { dash() } else { users.join(",") }
}

/// The catalogs that a gateway names; what is of a version that we cannot read is left out.
pub(crate) fn catalogs_of(gateway: &Object) -> Vec<ObjectKey> {
    let named = gateway.spec["catalogs"].as_array().map(Vec::as_slice).unwrap_or_default();
    named.iter().filter_map(|named| Some(CatalogRef::deserialize(named).ok()?.key())).collect()
}

/// The `STATUS` column.
fn summary(object: &Object, status: &GatewayStatus) -> String {
    if object.metadata.deletion_timestamp.is_some() {
        return "Terminating".to_owned();
    }
    // What was reported of an older generation says nothing of this one.
    if status.observed_generation < object.metadata.generation && !status.conditions.is_empty() {
        return "Updating".to_owned();
    }
    status.summary()
}

/// The head of a table of `kind`.
pub(crate) fn head(kind: Kind, format: Format) -> Vec<&'static str> {
    match (kind, format) {
        (Kind::Gateway, Format::Wide) => {
            vec!["NAMESPACE", "NAME", "READY", "STATUS", "HOST", "PORT", "AGE", "SERVERS", "URL"]
        }
        (Kind::Gateway, _) => vec!["NAMESPACE", "NAME", "READY", "STATUS", "HOST", "PORT", "AGE"],
        (Kind::ClusterCatalog, Format::Wide) => vec!["NAME", "SERVERS", "AGE", "GENERATION", "MANAGED-BY"],
        (Kind::ClusterCatalog, _) => vec!["NAME", "SERVERS", "AGE"],
        (Kind::Catalog, format) => {
            let mut head = self::head(Kind::ClusterCatalog, format);
            head.insert(0, "NAMESPACE");
            head
        }
        (Kind::Secret, Format::Wide) => {
            vec!["NAMESPACE", "NAME", "KEYS", "AGE", "KEY-NAMES", "USED-BY", "MANAGED-BY"]
        }
        (Kind::Secret, _) => vec!["NAMESPACE", "NAME", "KEYS", "AGE"],
    }
}

/// One row of a table.
pub(crate) fn row(object: &Object, format: Format, now: DateTime<Utc>) -> Vec<String> {
    let metadata = &object.metadata;
    let name = metadata.name.clone();
    let age = age(now - metadata.creation_timestamp);
    let mut row = match object.kind {
        Kind::Gateway => {
            let status = status_of(object);
            let (ready, wanted) = match status.conditions.is_empty() {
                true => (0, declared_servers(object)),
                false => status.ready_count(),
            };
            let port = status.endpoint.as_ref().map_or_else(dash, |endpoint| endpoint.port.to_string());
            vec![
                metadata.namespace.clone().unwrap_or_default(),
                name,
                format!("{ready}/{wanted}"),
                summary(object, &status),
                status.host.clone().unwrap_or_else(dash),
                port,
                age,
            ]
        }
        Kind::ClusterCatalog | Kind::Catalog => {
            let servers = object.spec["registry"].as_object().map_or(0, serde_json::Map::len);
            metadata.namespace.iter().cloned().chain([name, servers.to_string(), age]).collect()
        }
        Kind::Secret => {
            let namespace = metadata.namespace.clone().unwrap_or_default();
            vec![namespace, name, stored_secret_keys(&object.spec).count().to_string(), age]
        }
    };
    if format == Format::Wide {
        match object.kind {
            Kind::Gateway => {
                let status = status_of(object);
                let servers: Vec<_> = status
                    .servers
                    .iter()
                    .map(|server| format!("{}={}", server.name, server.state.as_str()))
                    .collect();
                let servers = if servers.is_empty() { dash() } else { servers.join(",") };
                row.extend([servers, status.endpoint.map_or_else(dash, |endpoint| endpoint.url)]);
            }
            Kind::ClusterCatalog | Kind::Catalog => {
                row.extend([metadata.generation.to_string(), metadata.managed_by.clone()]);
            }
            Kind::Secret => {
                let keys: Vec<_> = stored_secret_keys(&object.spec).collect();
                let keys = if keys.is_empty() { dash() } else { keys.join(",") };
                row.extend([keys, users_of(&secret_status_of(object)), metadata.managed_by.clone()]);
            }
        }
    }
    row
}

/// Enabled servers of a specification on which nobody has reported yet.
fn declared_servers(object: &Object) -> usize {
    let servers = object.spec["servers"].as_array().map(Vec::as_slice).unwrap_or_default();
    servers.iter().filter(|server| server["enabled"].as_bool() != Some(false)).count()
}

fn dash() -> String {
    "-".to_owned()
}

/// Objects of one kind in any format; the empty text for none, but for JSON and tables without rows.
pub(crate) fn objects(
    kind: Kind,
    objects: &[Object],
    format: Format,
    single: bool,
    now: DateTime<Utc>,
) -> Result<String, Failure> {
    match format {
        Format::Table | Format::Wide if objects.is_empty() => Ok(String::new()),
        Format::Table | Format::Wide => {
            let mut table = Table::new(&head(kind, format));
            for object in objects {
                table.push(row(object, format, now));
            }
            Ok(table.to_string())
        }
        Format::Name => Ok(objects.iter().map(|object| format!("{}\n", object.key())).collect()),
        Format::Yaml => {
            let documents: Result<Vec<_>, _> = objects.iter().map(yaml).collect();
            Ok(documents?.join("---\n"))
        }
        Format::Json => match objects {
            [object] if single => json(object),
            objects => json(&json!({
                "apiVersion": bowline_core::object::API_VERSION,
                "kind": "List",
                "items": objects,
            })),
        },
    }
}

/// One YAML document with its end of line.
pub(crate) fn yaml(value: &impl Serialize) -> Result<String, Failure> {
    let text = bowline_core::yaml::to_string(value)
        .map_err(|error| Failure::ours("cannot print as YAML").because(&error))?;
    Ok(if text.ends_with('\n') { text } else { text + "\n" })
}

/// Indented JSON with an end of line.
pub(crate) fn json(value: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::ours("cannot print as JSON").because(&error))?;
    Ok(text + "\n")
}

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
