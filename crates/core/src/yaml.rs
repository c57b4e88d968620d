//! YAML as a tree in which every value knows its position.
//!
//! Built on the event stream of `granit-parser`, the parser beneath serde-saphyr, and not on serde-saphyr
//! itself: serde stops at the first error, tells a deserializer nothing of duplicate keys but that they are
//! there, and gives positions only to types that were declared for it. From events, one reading gives all
//! documents, all duplicate keys, all later type errors with their places, and after a syntax error the
//! documents behind it. Writing is serde-saphyr's.
//!
//! Scalars are those of the YAML 1.2 core schema. What readers of YAML disagree about (`010`, `1_000`) and what
//! JSON cannot hold (`.inf`, integers beyond 64 bits) stays the text that was written; `yes` and `on` are text.

use serde::Serialize;
use serde_json::{Map, Number, Value};

use crate::diagnostic::{Code, Diagnostic, FieldPath, Position, Segment};

mod build;
mod place;
mod scalar;

/// The greatest text that is read, in bytes.
pub const MAX_TEXT: usize = 4 << 20;
/// How deeply collections may nest, aliases expanded.
pub const MAX_DEPTH: usize = 64;
/// What a document may grow to when its aliases are expanded, in bytes, 64 being counted for every node.
pub const MAX_EXPANDED: usize = 32 << 20;

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where it begins.
    pub position: Position,
    /// What it is.
    pub kind: NodeKind,
}

/// A value. Scalars that are not text keep what was written beside what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`, and how it was spelt.
    Bool(bool, String),
    /// A number, and how it was spelt.
    Number(Number, String),
    /// Text: quoted, in a block, or plain and nothing else.
    String(String),
    /// A sequence.
    Seq(Vec<Node>),
    /// A mapping in the order written, no key twice.
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping; scalars other than text are keys by their spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Where it begins.
    pub position: Position,
    /// The key.
    pub name: String,
}

/// A document that could be read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its value.
    pub root: Node,
    /// Whether it is without findings. What is not clean may be looked at for more findings, and used for
    /// nothing else.
    pub is_clean: bool,
}

/// The documents of `text` and everything that is wrong with it as YAML.
///
/// A document that breaks off is not returned, those before and after it are. Empty documents are left out.
pub fn parse(text: &str) -> (Vec<Document>, Vec<Diagnostic>) {
    if text.len() > MAX_TEXT {
        let message = format!("the text has {} bytes, more than the {MAX_TEXT} that are read", text.len());
        let start = Position { line: 1, column: 1 };
        let found = Diagnostic::new(Code::InputTooLarge, start, &FieldPath::root(), message);
        return (Vec::new(), vec![found.with_hint("divide it into several files")]);
    }
    build::documents(text)
}

/// `value` as one YAML document, for people to read and for [`parse`] to read back.
///
/// # Errors
/// The value cannot be written as YAML, such as a map with keys that are not scalars.
pub fn to_string<T: Serialize>(value: &T) -> Result<String, WriteError> {
    serde_saphyr::to_string(value).map_err(|error| WriteError(error.to_string()))
}

/// A value that YAML cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot be written as YAML: {0}")]
pub struct WriteError(String);

impl Node {
    /// The value of `key`, when this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.kind {
            NodeKind::Map(entries) => entries.iter().find(|(k, _)| k.name == key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// Whether this is nothing.
    pub fn is_null(&self) -> bool {
        self.kind == NodeKind::Null
    }

    /// Whether this is nothing or a collection without items.
    pub fn is_empty(&self) -> bool {
        match &self.kind {
            NodeKind::Null => true,
            NodeKind::Seq(items) => items.is_empty(),
            NodeKind::Map(entries) => entries.is_empty(),
            NodeKind::Bool(..) | NodeKind::Number(..) | NodeKind::String(_) => false,
        }
    }

    /// What this is, as a word for a message.
    pub fn type_name(&self) -> &'static str {
        match self.kind {
            NodeKind::Null => "nothing",
            NodeKind::Bool(..) => "a boolean",
            NodeKind::Number(..) => "a number",
            NodeKind::String(_) => "a string",
            NodeKind::Seq(_) => "a list",
            NodeKind::Map(_) => "a mapping",
        }
    }

    /// Where the value at `path` begins, or the nearest value around it that there is. The place of a
    /// mapping's entry is its key.
    pub fn locate(&self, path: &FieldPath) -> Position {
        self.walk(path).1
    }

    /// The value at `path`.
    pub fn find(&self, path: &FieldPath) -> Option<&Node> {
        self.walk(path).0
    }

    fn walk(&self, path: &FieldPath) -> (Option<&Node>, Position) {
        let mut node = self;
        let mut position = self.position;
        for segment in path.segments() {
            let next = match (segment, &node.kind) {
                (Segment::Key(name), NodeKind::Map(entries)) => {
                    entries.iter().find(|(key, _)| key.name == *name).map(|(key, node)| (key.position, node))
                }
                (Segment::Index(index), NodeKind::Seq(items)) => {
                    items.get(*index).map(|node| (node.position, node))
                }
                _ => None,
            };
            let Some((place, value)) = next else {
                return (None, position);
            };
            (position, node) = (place, value);
        }
        (Some(node), position)
    }

    /// The same value as JSON.
    pub fn to_json(&self) -> Value {
        match &self.kind {
            NodeKind::Null => Value::Null,
            NodeKind::Bool(value, _) => Value::Bool(*value),
            NodeKind::Number(value, _) => Value::Number(value.clone()),
            NodeKind::String(text) => Value::String(text.clone()),
            NodeKind::Seq(items) => items.iter().map(Node::to_json).collect(),
            NodeKind::Map(entries) => Value::Object(map_to_json(entries)),
        }
    }

    /// A JSON value as a node without positions.
    pub fn from_json(value: &Value) -> Self {
        let kind = match value {
            Value::Null => NodeKind::Null,
            Value::Bool(value) => NodeKind::Bool(*value, value.to_string()),
            Value::Number(value) => NodeKind::Number(value.clone(), value.to_string()),
            Value::String(text) => NodeKind::String(text.clone()),
            Value::Array(items) => NodeKind::Seq(items.iter().map(Self::from_json).collect()),
            Value::Object(map) => {
                let key = |name: &String| Key { position: Position::default(), name: name.clone() };
                NodeKind::Map(map.iter().map(|(name, value)| (key(name), Self::from_json(value))).collect())
            }
        };
        Self { position: Position::default(), kind }
    }
}

/// The entries of a mapping as a JSON object.
pub(crate) fn map_to_json(entries: &[(Key, Node)]) -> Map<String, Value> {
    entries.iter().map(|(key, node)| (key.name.clone(), node.to_json())).collect()
}

#[cfg(test)]
mod tests;
