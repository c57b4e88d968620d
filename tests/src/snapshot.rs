//! Everything that one instance is, as seen from outside: its containers and networks as the Engine inspects
//! them, its files, its leases. Two pictures of the same declarations are equal, whatever happened in between.
//!
//! What differs from one life to the next is masked: ids, times, addresses, the uids of objects, and which number
//! of a range went to whom. A leased number is replaced by the name of its holder, so that a container with
//! another port than the database has for it is a difference all the same.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use serde_json::Value;

use crate::bowline::Bowline;
use crate::engine::{Engine, id, label};
use crate::postgres::Postgres;

/// Fields of an inspect that say when and where, not what.
const VOLATILE: [&str; 26] = [
    "Id",
    "Created",
    "Pid",
    "StartedAt",
    "FinishedAt",
    "RestartCount",
    "ResolvConfPath",
    "HostnamePath",
    "HostsPath",
    "LogPath",
    "GraphDriver",
    "SandboxID",
    "SandboxKey",
    "NetworkID",
    "EndpointID",
    "Gateway",
    "IPAddress",
    "MacAddress",
    "IPv4Address",
    "Hostname",
    "Aliases",
    "dev.bowline.spec-hash",
    "specHash",
    "creationTimestamp",
    // When a revision failed, as `recovery.json` has it.
    "at",
    "revision",
];

/// Fields that say in which instance, and after how many edits and requests.
const HISTORY: [&str; 7] = [
    "\"generation\":",
    "\"dev.bowline.generation\":",
    "\"dev.bowline.instance\":",
    "\"dev.bowline.installation\":",
    "\"instance\":",
    "\"installation\":",
    "\"restarts\":",
];

/// One picture: a text for each object, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<String, String>);

impl Snapshot {
    /// Takes a picture of the instance.
    #[must_use]
    pub fn take(bowline: &Bowline, postgres: &Postgres) -> Self {
        let (engine, instance) = (bowline.engine(), bowline.allotment().instance());
        let (mut masks, leases) = masks(postgres);
        masks.push((bowline.runtime_dir().display().to_string(), "<runtime directory>".to_owned()));
        masks.push((bowline.state_dir().display().to_string(), "<state directory>".to_owned()));
        masks.push((format!("_{instance}"), "_<instance>".to_owned()));
        masks.sort_by_key(|(from, _)| std::cmp::Reverse(from.len()));
        let mut objects = BTreeMap::from([("leases".to_owned(), leases)]);
        for listed in engine.containers_of(instance) {
            let Some(inspect) = still_there(engine, &format!("/containers/{}/json", id(&listed))) else {
                continue;
            };
            let name = inspect["Name"].as_str().expect("a name").to_owned();
            objects.insert(format!("container {}", replaced(name, &masks)), masked(inspect, &masks));
        }
        for listed in engine.networks_of(instance) {
            let Some(mut inspect) = still_there(engine, &format!("/networks/{}", id(&listed))) else {
                continue;
            };
            // By id of the container; its name is what stays.
            if let Some(attached) = inspect["Containers"].as_object() {
                let mut names: Vec<_> = attached.values().map(|one| one["Name"].clone()).collect();
                names.sort_by_key(Value::to_string);
                inspect["Containers"] = Value::Array(names);
            }
            let name = label(&listed, "dev.bowline.namespace").expect("a namespace").to_owned();
            objects.insert(format!("network of {name}"), masked(inspect, &masks));
        }
        let root = bowline.runtime_dir().join("gateways");
        walk(&root, &root, &masks, &mut objects);
        Self(objects)
    }

    /// Without what tells of edits and instances: two pictures of one specification are equal, whoever has it and
    /// however often it was written before.
    #[must_use]
    pub fn of_specification(mut self) -> Self {
        for text in self.0.values_mut() {
            // One field is one line.
            let kept =
                text.lines().filter(|line| !HISTORY.iter().any(|field| line.trim_start().starts_with(field)));
            *text = kept.map(|line| format!("{line}\n")).collect();
        }
        self
    }

    /// How many objects are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Lines that only one of the two has, by object; empty when they are equal.
    #[must_use]
    pub fn difference(&self, other: &Self) -> String {
        let mut text = String::new();
        let names: std::collections::BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        for name in names {
            let lines = |snapshot: &Self| -> Vec<String> {
                snapshot.0.get(name).map(|text| text.lines().map(str::to_owned).collect()).unwrap_or_default()
            };
            let (ours, theirs) = (lines(self), lines(other));
            if ours != theirs {
                let only = |sign, some: &[String], others: &[String]| -> String {
                    let missing = some.iter().filter(|line| !others.contains(line));
                    missing.map(|line| format!("{sign} {line}\n")).collect()
                };
                let _written =
                    write!(text, "{name}\n{}{}", only('-', &ours, &theirs), only('+', &theirs, &ours));
            }
        }
        text
    }
}

/// What the Engine says of an object that it has just listed, unless it is gone.
fn still_there(engine: &Engine, target: &str) -> Option<Value> {
    let reply = engine.call("GET", target, b"");
    assert!([200, 404].contains(&reply.status), "GET {target}: {} {}", reply.status, reply.body);
    (reply.status == 200).then_some(reply.body)
}

/// What to replace by what, and the leases in words.
fn masks(postgres: &Postgres) -> (Vec<(String, String)>, String) {
    let mut masks = Vec::new();
    let objects = postgres.query("select uid, namespace || '/' || name from objects where kind = 'Gateway'");
    for (uid, key) in objects.lines().filter_map(|line| line.split_once('|')) {
        masks.push((uid.to_owned(), format!("<uid of {key}>")));
    }
    let mut leases = String::new();
    let rows = postgres.query(
        "select o.namespace || '/' || o.name, l.kind, l.holder, l.value \
         from leases l join objects o on o.uid = l.gateway_uid order by 1, 2, 3",
    );
    for row in rows.lines() {
        let [key, kind, holder, value] = row.split('|').collect::<Vec<_>>()[..] else { panic!("{row}") };
        let _written = writeln!(leases, "{key} {kind} {holder}");
        masks.push((value.to_owned(), format!("<{kind} of {key} {holder}>")));
        if kind == "subnet" {
            let address = Ipv4Addr::from(value.parse::<u32>().expect("an address"));
            masks.push((address.to_string(), format!("<subnet of {key}>")));
        }
    }
    (masks, leases)
}

fn masked(mut value: Value, masks: &[(String, String)]) -> String {
    strip(&mut value);
    // The Engine lists mount points in any order.
    if let Some(mounts) = value["Mounts"].as_array_mut() {
        mounts.sort_by_key(Value::to_string);
    }
    replaced(format!("{value:#}"), masks)
}

fn replaced(text: String, masks: &[(String, String)]) -> String {
    masks.iter().fold(text, |text, (from, to)| with_mask(&text, from, to))
}

/// Replaces whole words only: a leased port may by chance be a part of some digest.
fn with_mask(text: &str, from: &str, to: &str) -> String {
    let is_word = |character: Option<char>| character.is_some_and(|c| c.is_ascii_alphanumeric());
    let (head, tail) = (is_word(from.chars().next()), is_word(from.chars().last()));
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(from) {
        let (before, after) = (&rest[..at], &rest[at + from.len()..]);
        let last = before.chars().last().or(out.chars().last());
        let within = (head && is_word(last)) || (tail && is_word(after.chars().next()));
        out.push_str(before);
        out.push_str(if within { from } else { to });
        rest = after;
    }
    out.push_str(rest);
    out
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            // A setting that nobody made is null or empty, as it happens: a dockerd that was restarted writes the other.
            let unset = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
            fields.retain(|name, value| !VOLATILE.contains(&name.as_str()) && !unset(value));
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// Every directory, file and socket below `folder`, with mode, owner and, of a file, its content.
fn walk(root: &Path, folder: &Path, masks: &[(String, String)], objects: &mut BTreeMap<String, String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.filter_map(Result::ok) {
        let (path, Ok(found)) = (entry.path(), entry.metadata()) else { continue };
        let shown = path.strip_prefix(root).expect("it is below").display().to_string();
        let kind = found.file_type();
        let content = match fs::read_to_string(&path) {
            Ok(text) if kind.is_file() => match serde_json::from_str::<Value>(&text) {
                Ok(value) => masked(value, masks),
                Err(_) => replaced(text, masks),
            },
            _ if kind.is_socket() => "a socket".to_owned(),
            _ => String::new(),
        };
        let owner = replaced(format!("{}:{}", found.uid(), found.gid()), masks);
        let about = format!("mode {:o} owner {owner}\n{content}", found.mode());
        objects.insert(format!("path {}", replaced(shown, masks)), about);
        if kind.is_dir() {
            walk(root, &path, masks, objects);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_covers_whole_words_only() {
        let masks =
            [("_t1-2".to_owned(), "_<instance>".to_owned()), ("2300".to_owned(), "<port>".to_owned())];
        let text = "mcp-gateway-u1_t1-2 127.0.0.1:2300 sha256:a2300b _t1-22 23001 2300".to_owned();
        let expected = "mcp-gateway-u1_<instance> 127.0.0.1:<port> sha256:a2300b _t1-22 23001 <port>";
        assert_eq!(replaced(text, &masks), expected);
    }
}
