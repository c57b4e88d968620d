//! From nodes to a [`ServerEntry`], as leniently as docker/mcp-gateway reads one where that loses nothing.

use super::{EnvVar, Remote, SecretDeclaration, ServerEntry, ServerFields};
use crate::diagnostic::Code;
use crate::image_reference::ImageReference;
use crate::resource::read::{Fields, Reader};
use crate::yaml::{Node, NodeKind, map_to_json};

/// Longer ones leave no room for a tool's own name.
const MAX_PREFIX: usize = 32;

impl ServerEntry {
    /// Reads an entry. Unknown fields are kept and no finding; known fields of a wrong type are.
    pub(crate) fn read(reader: &mut Reader, node: &Node) -> Option<Self> {
        let before = reader.error_count();
        let entries = reader.mapping(node)?;
        let document = map_to_json(entries);
        let fields = read_fields(reader, Fields::of(node));
        (reader.error_count() == before).then_some(Self { document, fields })
    }
}

fn read_fields(reader: &mut Reader, fields: Fields<'_>) -> ServerFields {
    let text = |reader: &mut Reader, name| fields.read(reader, name, Reader::lenient_string);
    let texts = |reader: &mut Reader, name| fields.read(reader, name, |r, n| Some(strings(r, n)));
    let flag = |reader: &mut Reader, name| fields.read(reader, name, Reader::boolean).unwrap_or_default();
    ServerFields {
        title: text(reader, "title"),
        description: text(reader, "description"),
        declared_type: fields.read(reader, "type", declared_type),
        image: fields.read(reader, "image", image),
        command: texts(reader, "command").unwrap_or_default(),
        env: fields.read(reader, "env", |r, n| Some(r.list(n, env_var))).unwrap_or_default(),
        secrets: fields.read(reader, "secrets", |r, n| Some(r.list(n, secret))).unwrap_or_default(),
        volumes: texts(reader, "volumes").unwrap_or_default(),
        user: text(reader, "user").filter(|user| !user.is_empty()),
        disable_network: flag(reader, "disableNetwork"),
        allow_hosts: texts(reader, "allowHosts"),
        extra_hosts: texts(reader, "extraHosts").unwrap_or_default(),
        prefix: fields.read(reader, "prefix", prefix),
        config: fields
            .read(reader, "config", |r, n| Some(r.list(n, |_, item| Some(item.to_json()))))
            .unwrap_or_default(),
        remote: fields.read(reader, "remote", remote),
        sse_endpoint: text(reader, "sseEndpoint"),
        long_lived: flag(reader, "longLived"),
        oauth: fields.get("oauth").is_some(),
    }
}

fn strings(reader: &mut Reader, node: &Node) -> Vec<String> {
    reader.list(node, Reader::lenient_string)
}

fn declared_type(reader: &mut Reader, node: &Node) -> Option<String> {
    let words = [("server", ()), ("remote", ()), ("poci", ())];
    reader.word(node, &words).and_then(|()| reader.string(node))
}

/// An empty image is none, as docker/mcp-gateway takes it.
fn image(reader: &mut Reader, node: &Node) -> Option<ImageReference> {
    let text = reader.lenient_string(node)?;
    if text.is_empty() { None } else { reader.parsed(Code::InvalidImage, node, &text) }
}

fn prefix(reader: &mut Reader, node: &Node) -> Option<String> {
    let text = reader.lenient_string(node).filter(|text| !text.is_empty())?;
    let is_good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if text.len() <= MAX_PREFIX && text.bytes().all(is_good) {
        return Some(text);
    }
    reader
        .report(Code::InvalidValue, node.position, format!("{text:?} cannot begin the name of a tool"))
        .hint = Some(format!("use at most {MAX_PREFIX} letters, digits, `_`, `.` and `-`"));
    None
}

fn env_var(reader: &mut Reader, node: &Node) -> Option<EnvVar> {
    reader.mapping(node)?;
    let fields = Fields::of(node);
    let name = fields.require(reader, "name", env_name)?;
    let value = fields.read(reader, "value", Reader::lenient_string).unwrap_or_default();
    Some(EnvVar { name, value })
}

fn env_name(reader: &mut Reader, node: &Node) -> Option<String> {
    let name = reader.lenient_string(node)?;
    if is_variable(&name) {
        return Some(name);
    }
    let message = format!("{name:?} is not the name of an environment variable");
    reader.report(Code::InvalidName, node.position, message).hint =
        Some("use letters, digits and `_`, no digit first".to_owned());
    None
}

/// Whether `name` can name an environment variable: letters, digits and `_`, no digit first.
pub(in crate::catalog) fn is_variable(name: &str) -> bool {
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(is_first) && name.chars().all(|c| is_first(c) || c.is_ascii_digit())
}

fn secret(reader: &mut Reader, node: &Node) -> Option<SecretDeclaration> {
    reader.mapping(node)?;
    let fields = Fields::of(node);
    let name = fields.read(reader, "name", Reader::lenient_string).unwrap_or_default();
    let env = fields.read(reader, "env", Reader::lenient_string).unwrap_or_default();
    Some(SecretDeclaration { name, env })
}

fn remote(reader: &mut Reader, node: &Node) -> Option<Remote> {
    reader.mapping(node)?;
    let fields = Fields::of(node);
    let url = fields.read(reader, "url", Reader::lenient_string);
    let transport_type = fields.read(reader, "transport_type", Reader::lenient_string);
    let headers = fields.read(reader, "headers", |reader, node| {
        let entries = reader.mapping(node)?;
        let read = |reader: &mut Reader, value: &Node| match value.kind {
            NodeKind::Null => Some(String::new()),
            _ => reader.lenient_string(value),
        };
        Some(
            entries
                .iter()
                .filter_map(|(key, value)| {
                    let value = reader.in_key(&key.name, |reader| read(reader, value))?;
                    Some((key.name.clone(), value))
                })
                .collect(),
        )
    });
    Some(Remote { url, transport_type, headers: headers.unwrap_or_default() })
}
