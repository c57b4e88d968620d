//! `explain`: the fields of a kind, from the schema that editors read, too. Needs no server.

use std::collections::BTreeSet;
use std::fmt::{self, Write};

use bowline_core::diagnostic::did_you_mean;
use bowline_core::object::{API_VERSION, Kind};
use bowline_core::schema::schema_for;
use serde_json::{Map, Value, json};

use crate::args::ExplainArgs;
use crate::failure::Failure;
use crate::target;
use crate::ui::Ui;

/// What is said of a value that a schema limits beyond its type, and how.
const LIMITS: [(&str, &str); 6] = [
    ("minimum", "at least"),
    ("maximum", "at most"),
    ("maxItems", "items at most"),
    ("maxProperties", "keys at most"),
    ("minItems", "items at least"),
    ("pattern", "pattern"),
];
/// Longest line of a description.
const WIDTH: usize = 80;

/// Runs `explain`.
pub(crate) fn run(args: &ExplainArgs, ui: &mut Ui) -> Result<(), Failure> {
    let mut words = args.path.split('.');
    let kind = target::kind(words.next().unwrap_or_default())?;
    let words: Vec<&str> = words.collect();
    ui.out(explanation(kind, &words, args.recursive)?)
}

/// The text of `explain`.
fn explanation(kind: Kind, path: &[&str], recursive: bool) -> Result<String, Failure> {
    let mut node = schema_for(kind);
    for (depth, word) in path.iter().enumerate() {
        let mut fields = fields(&node);
        node = match fields.remove(*word) {
            Some(below) => below,
            None => return Err(unknown(kind, &path[..depth], word, &fields)),
        };
    }
    let mut text = String::new();
    // Writing to a `String` does not fail.
    let _ = write_all(&mut text, kind, path.last().copied(), &node, recursive);
    Ok(text)
}

fn unknown(kind: Kind, above: &[&str], word: &str, fields: &Map<String, Value>) -> Failure {
    let place = std::iter::once(kind.singular()).chain(above.iter().copied()).collect::<Vec<_>>().join(".");
    let failure = Failure::user(format!("{place} has no field {word:?}"));
    if fields.is_empty() {
        return failure.hint(format!("{place} has no fields at all"));
    }
    let similar = did_you_mean(word, fields.keys().map(String::as_str));
    failure.hint(similar.unwrap_or_else(|| format!("bowline explain {place}")))
}

fn write_all(
    text: &mut String,
    kind: Kind,
    field: Option<&str>,
    node: &Value,
    recursive: bool,
) -> fmt::Result {
    writeln!(text, "KIND:       {kind}\nVERSION:    {API_VERSION}\n")?;
    if let Some(field) = field {
        writeln!(text, "FIELD: {field} <{}>\n", type_of(node))?;
    }
    if let Some(words) = words_of(node) {
        writeln!(text, "ENUM:\n    {}\n", words.join("\n    "))?;
    }
    if let Some(default) = node.get("default") {
        writeln!(text, "DEFAULT:\n    {}\n", plain(default))?;
    }
    let limits = limits_of(node);
    if !limits.is_empty() {
        writeln!(text, "LIMITS:\n    {}\n", limits.join("\n    "))?;
    }
    writeln!(text, "DESCRIPTION:")?;
    paragraph(text, description(node), 4)?;
    let fields = fields(node);
    if !fields.is_empty() {
        writeln!(text, "\nFIELDS:")?;
        write_fields(text, &required_of(node), &fields, 2, recursive)?;
    }
    Ok(())
}

/// The fields of an object, each with its type and, unless the whole tree is shown, what it is for.
fn write_fields(
    text: &mut String,
    required: &BTreeSet<String>,
    fields: &Map<String, Value>,
    indent: usize,
    recursive: bool,
) -> fmt::Result {
    for (index, (name, below)) in fields.iter().enumerate() {
        if index > 0 && !recursive {
            text.push('\n');
        }
        let mark = if required.contains(name) { " -required-" } else { "" };
        writeln!(text, "{:indent$}{name}\t<{}>{mark}", "", type_of(below))?;
        if let Some(words) = words_of(below) {
            writeln!(text, "{:indent$}enum: {}", "", words.join(", "))?;
        }
        if recursive {
            write_fields(text, &required_of(below), &self::fields(below), indent + 2, recursive)?;
            continue;
        }
        if let Some(default) = below.get("default") {
            writeln!(text, "{:indent$}default: {}", "", plain(default))?;
        }
        paragraph(text, description(below), indent + 2)?;
    }
    Ok(())
}

/// The objects that a value is, or that its items or alternatives are: lists and maps have no names of their own in
/// a path, as for kubectl.
fn objects(node: &Value) -> Vec<&Value> {
    if node["properties"].is_object() {
        return vec![node];
    }
    let inner = ["items", "additionalProperties"].into_iter().filter_map(|inside| node.get(inside));
    let alternatives = node["anyOf"].as_array().into_iter().flatten();
    inner.chain(alternatives).flat_map(objects).collect()
}

/// The fields of all these objects; of one that several have, all words and the type that is more than null.
fn fields(node: &Value) -> Map<String, Value> {
    let mut fields: Map<String, Value> = Map::new();
    for (name, field) in
        objects(node).into_iter().filter_map(|object| object["properties"].as_object()).flatten()
    {
        match fields.get_mut(name) {
            None => drop(fields.insert(name.clone(), field.clone())),
            Some(known) if known["type"] == "null" => *known = field.clone(),
            Some(known) if known.get("const").is_some() && known["const"] != field["const"] => {
                let mut both = json!({ "enum": [known["const"], field["const"]] });
                both["description"] = known["description"].clone();
                *known = both;
            }
            Some(_) => {}
        }
    }
    fields
}

/// The fields that none of these objects is without.
fn required_of(node: &Value) -> BTreeSet<String> {
    let required = objects(node).into_iter().map(|object| {
        let names = object["required"].as_array().into_iter().flatten();
        names.filter_map(Value::as_str).map(str::to_owned).collect::<BTreeSet<_>>()
    });
    required.reduce(|all, more| &all & &more).unwrap_or_default()
}

/// The type in kubectl's way: `string`, `[]Object`, `map[string]string`; alternatives with a bar between them.
fn type_of(node: &Value) -> String {
    if let Some(alternatives) = node["anyOf"].as_array() {
        let mut types: Vec<_> = alternatives.iter().map(type_of).collect();
        types.dedup();
        return types.join("|");
    }
    if let Some(value) = node.get("const") {
        return if value.is_string() { "string".to_owned() } else { plain(value) };
    }
    if node["enum"].is_array() {
        return "string".to_owned();
    }
    let named = |name: &str| match name {
        "array" => format!("[]{}", type_of(&node["items"])),
        "object" if node["properties"].is_object() => "Object".to_owned(),
        "object" => format!("map[string]{}", type_of(&node["additionalProperties"])),
        name => name.to_owned(),
    };
    match &node["type"] {
        Value::String(name) => named(name),
        // Null is how YAML leaves a field out; it is no type.
        Value::Array(names) => {
            let names = names.iter().filter_map(Value::as_str).filter(|name| *name != "null");
            names.map(named).collect::<Vec<_>>().join("|")
        }
        _ => "any".to_owned(),
    }
}

fn words_of(node: &Value) -> Option<Vec<String>> {
    if let Some(value) = node.get("const") {
        return Some(vec![plain(value)]);
    }
    let words = node["enum"].as_array()?.iter().filter(|word| !word.is_null());
    Some(words.map(plain).collect())
}

fn limits_of(node: &Value) -> Vec<String> {
    let limits = LIMITS.iter().filter_map(|(key, said)| Some((*key, *said, node.get(*key)?)));
    limits
        .map(|(key, said, value)| match key {
            "minimum" | "maximum" | "pattern" => format!("{said} {}", plain(value)),
            _ => format!("{} {said}", plain(value)),
        })
        .collect()
}

fn description(node: &Value) -> &str {
    node["description"].as_str().unwrap_or("<none>")
}

/// A text as written, anything else as JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Writes `words` in lines of a fair width.
fn paragraph(text: &mut String, words: &str, indent: usize) -> fmt::Result {
    let mut line = String::new();
    for word in words.split_whitespace() {
        if !line.is_empty() && indent + line.chars().count() + 1 + word.chars().count() > WIDTH {
            writeln!(text, "{:indent$}{line}", "")?;
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    writeln!(text, "{:indent$}{line}", "")
}

#[cfg(test)]
mod tests;
