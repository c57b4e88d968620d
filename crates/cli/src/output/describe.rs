//! `describe`: everything about one object, for reading.

use std::fmt::{self, Write};

use bowline_api::wire::Object;
use bowline_core::object::{Event, Kind, ObjectKey};
use bowline_core::resource::CatalogRef;
use bowline_core::status::GatewayStatus;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;

use super::{Table, age, catalogs_of, dash, secret_status_of, status_of, summary};

/// Users of a catalog that are named; of more it says how many.
const USERS_SHOWN: usize = 20;

/// What `describe` shows.
#[derive(Debug, Clone)]
pub(crate) struct Described<'a> {
    /// The object.
    pub(crate) object: &'a Object,
    /// Its events, oldest first.
    pub(crate) events: &'a [Event],
    /// Of a catalog: the gateways that name it.
    pub(crate) users: &'a [ObjectKey],
    /// The moment that ages count to.
    pub(crate) now: DateTime<Utc>,
}

/// The text of `describe`.
pub(crate) fn description(described: &Described<'_>) -> String {
    let mut text = String::new();
    // Writing to a `String` does not fail.
    let _ = write_all(&mut text, described);
    text
}

fn write_all(text: &mut String, described: &Described<'_>) -> fmt::Result {
    let Described { object, events, users, now } = described;
    let metadata = &object.metadata;
    field(text, "Name", &metadata.name)?;
    if let Some(namespace) = &metadata.namespace {
        field(text, "Namespace", namespace)?;
    }
    field(text, "Kind", object.kind.as_str())?;
    map(text, "Labels", &metadata.labels)?;
    map(text, "Annotations", &metadata.annotations)?;
    field(text, "UID", &metadata.uid.to_string())?;
    field(text, "Generation", &metadata.generation.to_string())?;
    field(text, "Managed by", &metadata.managed_by)?;
    field(text, "Created", &moment(metadata.creation_timestamp, *now))?;
    if let Some(deleted) = metadata.deletion_timestamp {
        field(text, "Terminating", &format!("since {}", moment(deleted, *now)))?;
    }
    match object.kind {
        Kind::Gateway => gateway(text, object, *now)?,
        Kind::ClusterCatalog | Kind::Catalog => catalog(text, object, users)?,
        Kind::Secret => secret(text, object, *now)?,
    }
    if object.kind == Kind::Gateway {
        write_events(text, events, *now)?;
    }
    Ok(())
}

fn gateway(text: &mut String, object: &Object, now: DateTime<Utc>) -> fmt::Result {
    let status = status_of(object);
    field(text, "Status", &summary(object, &status))?;
    field(text, "Host", status.host.as_deref().unwrap_or("<none>"))?;
    field(text, "Endpoint", status.endpoint.as_ref().map_or("<none>", |endpoint| &endpoint.url))?;
    if let Some(next) = status.next_attempt_time {
        let wait = next - now;
        let wait =
            if wait > chrono::TimeDelta::zero() { format!("in {}", age(wait)) } else { "now".to_owned() };
        field(text, "Next try", &format!("{} ({wait})", timestamp(next)))?;
    }
    if object.metadata.deletion_timestamp.is_some() {
        text.push_str("Still to be removed:\n");
        if status.remaining.is_empty() {
            text.push_str("  <not known yet>\n");
        }
        for left in &status.remaining {
            writeln!(text, "  {left}")?;
        }
    }
    let catalogs: Vec<_> = catalogs_of(object).iter().map(named).collect();
    spec(text, &object.spec, &catalogs)?;
    conditions(text, object, &status, now)?;
    servers(text, &status)
}

/// The specification without its servers, which have their own part.
fn spec(text: &mut String, spec: &Value, catalogs: &[String]) -> fmt::Result {
    let names = |value: &Value| {
        let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
        let names = items.iter().filter_map(|item| item.as_str().or_else(|| item["name"].as_str()));
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    field(text, "Catalogs", &joined(catalogs))?;
    field(text, "Servers", &joined(&names(&spec["servers"])))?;
    let shown = ["catalogs", "servers"];
    for (name, value) in
        spec.as_object().into_iter().flatten().filter(|(name, _)| !shown.contains(&name.as_str()))
    {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        field(text, &format!("spec.{name}"), &value)?;
    }
    Ok(())
}

fn conditions(text: &mut String, object: &Object, status: &GatewayStatus, now: DateTime<Utc>) -> fmt::Result {
    text.push_str("Conditions:\n");
    if status.conditions.is_empty() {
        text.push_str("  <none yet>\n");
        return Ok(());
    }
    let mut table = Table::new(&["TYPE", "STATUS", "REASON", "AGE", "MESSAGE"]);
    for condition in &status.conditions {
        table.push(vec![
            condition.condition_type.as_str().to_owned(),
            condition.status.as_str().to_owned(),
            condition.reason.clone(),
            age(now - condition.last_transition_time),
            condition.message.replace('\n', " "),
        ]);
    }
    indented(text, &table.to_string())?;
    if status.observed_generation < object.metadata.generation {
        writeln!(
            text,
            "  (of generation {}; generation {} has not been looked at yet)",
            status.observed_generation, object.metadata.generation
        )?;
    }
    Ok(())
}

fn servers(text: &mut String, status: &GatewayStatus) -> fmt::Result {
    if status.servers.is_empty() {
        return Ok(());
    }
    text.push_str("Server states:\n");
    let mut table = Table::new(&["NAME", "STATE", "REASON", "TOOLS", "RESTARTS", "IMAGE"]);
    for server in &status.servers {
        let image = server.image.clone().unwrap_or_else(dash);
        table.push(vec![
            server.name.clone(),
            server.state.as_str().to_owned(),
            server.reason.clone().unwrap_or_else(dash),
            server.tools.to_string(),
            server.restarts.to_string(),
            if server.image_outdated {
                format!("{image} (outdated: the tag names another image now)")
            } else {
                image
            },
        ]);
    }
    indented(text, &table.to_string())?;
    for server in &status.servers {
        if let Some(error) = &server.last_error {
            writeln!(text, "  Last error of {}:", server.name)?;
            error.lines().try_for_each(|line| writeln!(text, "    {line}"))?;
        }
    }
    Ok(())
}

/// A catalog as a gateway names it.
fn named(key: &ObjectKey) -> String {
    CatalogRef::to(key).map_or_else(|| key.to_string(), |reference| reference.to_string())
}

fn catalog(text: &mut String, object: &Object, users: &[ObjectKey]) -> fmt::Result {
    used_by(text, users)?;
    let registry = object.spec["registry"].as_object();
    text.push_str("Servers:\n");
    let mut table = Table::new(&["NAME", "TYPE", "IMAGE", "TITLE"]);
    for (name, entry) in registry.into_iter().flatten() {
        let word = |field: &str| entry[field].as_str().map_or_else(dash, str::to_owned);
        table.push(vec![name.clone(), word("type"), word("image"), word("title").replace('\n', " ")]);
    }
    indented(text, &table.to_string())
}

fn secret(text: &mut String, object: &Object, now: DateTime<Utc>) -> fmt::Result {
    let status = secret_status_of(object);
    let users = status.used_by.iter().map(|user| ObjectKey::gateway(&user.namespace, &user.name));
    used_by(text, &users.collect::<Vec<_>>())?;
    if status.keys.is_empty() {
        return field(text, "Keys", "<none>");
    }
    text.push_str("Keys:\n");
    let mut table = Table::new(&["NAME", "VERSION", "AGE"]);
    for key in &status.keys {
        table.push(vec![key.name.clone(), key.version.to_string(), age(now - key.written_at)]);
    }
    indented(text, &table.to_string())
}

fn used_by(text: &mut String, users: &[ObjectKey]) -> fmt::Result {
    let mut shown: Vec<_> = users.iter().take(USERS_SHOWN).map(ToString::to_string).collect();
    if let more @ 1.. = users.len().saturating_sub(USERS_SHOWN) {
        shown.push(format!("{more} more"));
    }
    field(text, "Used by", &joined(&shown))
}

fn write_events(text: &mut String, events: &[Event], now: DateTime<Utc>) -> fmt::Result {
    if events.is_empty() {
        text.push_str("Events:          <none>\n");
        return Ok(());
    }
    text.push_str("Events:\n");
    let mut table = Table::new(&["TYPE", "REASON", "AGE", "MESSAGE"]);
    for event in events {
        let last = age(now - event.last_timestamp);
        let age = match event.count {
            ..=1 => last,
            count => format!("{last} (x{count} over {})", age(now - event.first_timestamp)),
        };
        let kind = format!("{:?}", event.event_type);
        table.push(vec![kind, event.reason.clone(), age, event.message.replace('\n', " ")]);
    }
    indented(text, &table.to_string())
}

fn field(text: &mut String, name: &str, value: &str) -> fmt::Result {
    writeln!(text, "{:<16} {value}", format!("{name}:"))
}

fn map(text: &mut String, name: &str, map: &std::collections::BTreeMap<String, String>) -> fmt::Result {
    let pairs: Vec<_> = map.iter().map(|(key, value)| format!("{key}={value}")).collect();
    field(text, name, &joined(&pairs))
}

fn joined(words: &[String]) -> String {
    if words.is_empty() { "<none>".to_owned() } else { words.join(", ") }
}

fn indented(text: &mut String, lines: &str) -> fmt::Result {
    lines.lines().try_for_each(|line| writeln!(text, "  {line}"))
}

fn timestamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn moment(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    format!("{} ({} ago)", timestamp(at), age(now - at))
}
