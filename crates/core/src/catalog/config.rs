//! A server's configuration against the JSON Schema fragments of its catalog entry.
//!
//! Real catalogs write a small part of JSON Schema: an object with typed properties, `required`, and `anyOf` of
//! requirements. That part is checked; what else a fragment may say is not read.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::ServerEntry;
use crate::diagnostic::{FieldPath, did_you_mean};

/// One thing that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The key, from the configuration's root.
    pub path: FieldPath,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Where `config` does not fit the fragment that `entry` has for the server `name`: a required key is absent, a
/// value has another type. Null counts as absent. Numbers and booleans may be written as strings, because
/// docker/mcp-gateway wants them so in some places.
pub fn check_config(name: &str, entry: &ServerEntry, config: &Map<String, Value>) -> Vec<ConfigProblem> {
    let mut problems = Vec::new();
    for fragment in fragments(name, entry) {
        check_object(fragment, config, &FieldPath::root(), &mut problems);
    }
    problems
}

/// Keys of `config` that neither a fragment of `entry` nor one of its templates knows: probably typing errors.
pub fn unused_config(name: &str, entry: &ServerEntry, config: &Map<String, Value>) -> Vec<ConfigProblem> {
    let mut known: BTreeSet<String> = crate::template::config_keys(name, entry).into_iter().collect();
    for fragment in fragments(name, entry) {
        let properties = fragment.get("properties").and_then(Value::as_object);
        known.extend(properties.into_iter().flat_map(Map::keys).cloned());
    }
    let unknown = config.keys().filter(|key| !known.contains(*key));
    unknown
        .map(|key| ConfigProblem {
            path: FieldPath::root().key(key),
            message: format!("the server `{name}` has no use for `{key}`"),
            hint: did_you_mean(key, known.iter().map(String::as_str)),
        })
        .collect()
}

/// The fragments of this server: those of its name, with dots as underscores, and those without a name.
fn fragments<'e>(name: &str, entry: &'e ServerEntry) -> impl Iterator<Item = &'e Map<String, Value>> {
    let underscored = name.replace('.', "_");
    let name = name.to_owned();
    entry.fields().config.iter().filter_map(Value::as_object).filter(move |fragment| {
        let of = fragment.get("name").and_then(Value::as_str);
        of.is_none_or(|of| of == name || of == underscored)
    })
}

fn check_object(
    schema: &Map<String, Value>,
    config: &Map<String, Value>,
    path: &FieldPath,
    problems: &mut Vec<ConfigProblem>,
) {
    for key in absent(schema, config) {
        problems.push(ConfigProblem {
            path: path.key(key),
            message: format!("the configuration needs `{key}`"),
            hint: describe(schema, key),
        });
    }
    let choices = schema.get("anyOf").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let choices: Vec<Vec<&str>> =
        choices.iter().filter_map(Value::as_object).map(|choice| absent(choice, config)).collect();
    if !choices.is_empty() && !choices.iter().any(Vec::is_empty) {
        let words: Vec<String> = choices.iter().map(|keys| format!("`{}`", keys.join("` and `"))).collect();
        let message = format!("the configuration needs {}", words.join(" or "));
        problems.push(ConfigProblem { path: path.clone(), message, hint: None });
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for (key, schema) in properties.into_iter().flatten() {
        if let (Some(schema), Some(value)) = (schema.as_object(), present(config, key)) {
            check_value(schema, value, &path.key(key), problems);
        }
    }
}

fn check_value(
    schema: &Map<String, Value>,
    value: &Value,
    path: &FieldPath,
    problems: &mut Vec<ConfigProblem>,
) {
    let wanted = schema.get("type").and_then(Value::as_str).unwrap_or_default();
    if !has_type(wanted, value) {
        let message = format!("the configuration wants {} here", article(wanted));
        problems.push(ConfigProblem { path: path.clone(), message, hint: None });
        return;
    }
    match value {
        Value::Object(config) => check_object(schema, config, path, problems),
        Value::Array(items) => {
            let Some(schema) = schema.get("items").and_then(Value::as_object) else {
                return;
            };
            for (index, item) in items.iter().enumerate() {
                check_value(schema, item, &path.index(index), problems);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn has_type(wanted: &str, value: &Value) -> bool {
    let reads_as = |is: fn(&Value) -> bool| match value {
        Value::String(text) => serde_json::from_str(text).is_ok_and(|value| is(&value)),
        value => is(value),
    };
    match wanted {
        // Written without quotes, `team_id: 42` is what the user means, and env values are text anyway.
        "string" => matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_)),
        "integer" => reads_as(|value| value.is_i64() || value.is_u64()),
        "number" => reads_as(Value::is_number),
        "boolean" => reads_as(Value::is_boolean),
        "array" => value.is_array(),
        "object" => value.is_object(),
        // A type that is not known here is not checked.
        _ => true,
    }
}

fn article(wanted: &str) -> String {
    match wanted {
        "array" => "a list".to_owned(),
        "object" => "a mapping".to_owned(),
        "integer" => "a whole number".to_owned(),
        other => format!("a {other}"),
    }
}

fn present<'c>(config: &'c Map<String, Value>, key: &str) -> Option<&'c Value> {
    config.get(key).filter(|value| !value.is_null())
}

/// The required keys of a schema that `config` does not have.
fn absent<'s>(schema: &'s Map<String, Value>, config: &Map<String, Value>) -> Vec<&'s str> {
    let required = schema.get("required").and_then(Value::as_array);
    let keys = required.into_iter().flatten().filter_map(Value::as_str);
    keys.filter(|key| present(config, key).is_none()).collect()
}

fn describe(schema: &Map<String, Value>, key: &str) -> Option<String> {
    let description = schema.get("properties")?.get(key)?.get("description")?.as_str()?;
    Some(format!("{key}: {}", description.trim()))
}

#[cfg(test)]
mod tests;
