//! Reading nodes into typed values, collecting every finding on the way.

use std::fmt::Display;
use std::ops::RangeInclusive;

use crate::diagnostic::{Code, Diagnostic, FieldPath, Position, did_you_mean};
use crate::yaml::{Key, Node, NodeKind};

/// What becomes of a field that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// It is read.
    Works,
    /// It belongs to the model, its behaviour does not exist yet; the text says what to do meanwhile.
    NotYet(&'static str),
    /// It is the server's to write, and is read over.
    Server,
}

/// A field of a mapping.
pub(crate) type Field = (&'static str, Use);

/// Collects findings while a document is read, and knows where the reading is.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    path: FieldPath,
    diagnostics: Vec<Diagnostic>,
    errors: usize,
}

impl Reader {
    /// Everything found so far.
    pub(crate) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics
    }

    /// How many errors there are so far.
    pub(crate) fn error_count(&self) -> usize {
        self.errors
    }

    /// Where the reading is.
    pub(crate) fn path(&self) -> &FieldPath {
        &self.path
    }

    /// Takes over findings made elsewhere.
    pub(crate) fn extend(&mut self, found: impl IntoIterator<Item = Diagnostic>) {
        for found in found {
            self.errors += usize::from(found.is_error());
            self.diagnostics.push(found);
        }
    }

    /// Notes a finding at the present path.
    pub(crate) fn report(&mut self, code: Code, at: Position, message: impl Display) -> &mut Diagnostic {
        self.extend([Diagnostic::new(code, at, &self.path, message.to_string())]);
        let last = self.diagnostics.len() - 1;
        &mut self.diagnostics[last]
    }

    /// Notes that `node` is not `expected`.
    pub(crate) fn wrong_type(&mut self, node: &Node, expected: &str) -> &mut Diagnostic {
        self.report(
            Code::WrongType,
            node.position,
            format!("{expected} is expected, this is {}", node.type_name()),
        )
    }

    /// Reads the value of a key.
    pub(crate) fn in_key<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let inner = self.path.key(key);
        let outer = std::mem::replace(&mut self.path, inner);
        let value = read(self);
        self.path = outer;
        value
    }

    /// Reads an item of a sequence.
    pub(crate) fn in_index<T>(&mut self, index: usize, read: impl FnOnce(&mut Self) -> T) -> T {
        let inner = self.path.index(index);
        let outer = std::mem::replace(&mut self.path, inner);
        let value = read(self);
        self.path = outer;
        value
    }

    /// The entries of a mapping; a finding and `None` when it is something else.
    pub(crate) fn mapping<'n>(&mut self, node: &'n Node) -> Option<&'n [(Key, Node)]> {
        match &node.kind {
            NodeKind::Map(entries) => Some(entries),
            _ => {
                self.wrong_type(node, "a mapping");
                None
            }
        }
    }

    /// A mapping of known fields: everything else in it is a finding, and so is what does not work yet.
    pub(crate) fn fields<'n>(&mut self, node: &'n Node, known: &[Field]) -> Option<Fields<'n>> {
        let entries = self.mapping(node)?;
        for (key, value) in entries {
            match known.iter().find(|(name, _)| *name == key.name).map(|(_, usage)| usage) {
                Some(Use::Works | Use::Server) => {}
                Some(Use::NotYet(_)) if value.is_empty() => {}
                Some(Use::NotYet(hint)) => self.in_key(&key.name, |reader| {
                    let message = format!("`{}` is not supported yet", key.name);
                    reader.report(Code::NotSupportedYet, key.position, message).hint =
                        Some((*hint).to_owned());
                }),
                None => self.in_key(&key.name, |reader| {
                    let works =
                        || known.iter().filter(|(_, usage)| *usage == Use::Works).map(|(name, _)| *name);
                    let hint = did_you_mean(&key.name, works()).unwrap_or_else(|| {
                        format!("the fields here are {}", works().collect::<Vec<_>>().join(", "))
                    });
                    reader
                        .report(Code::UnknownField, key.position, format!("unknown field `{}`", key.name))
                        .hint = Some(hint);
                }),
            }
        }
        Some(Fields { node })
    }

    /// A string of our own kinds: nothing else will do, so that `1.10` never becomes `1.1`.
    pub(crate) fn string(&mut self, node: &Node) -> Option<String> {
        match &node.kind {
            NodeKind::String(text) => Some(text.clone()),
            NodeKind::Bool(_, text) | NodeKind::Number(_, text) => {
                self.wrong_type(node, "a string").hint = Some(format!("write \"{text}\" in quotes"));
                None
            }
            _ => {
                self.wrong_type(node, "a string");
                None
            }
        }
    }

    /// A string as docker/mcp-gateway reads it: other scalars are taken by their spelling, where JSON keeps it.
    pub(crate) fn lenient_string(&mut self, node: &Node) -> Option<String> {
        match &node.kind {
            NodeKind::Bool(value, text) if value.to_string() == *text => Some(text.clone()),
            NodeKind::Number(value, text) if value.to_string() == *text => Some(text.clone()),
            _ => self.string(node),
        }
    }

    /// A boolean.
    pub(crate) fn boolean(&mut self, node: &Node) -> Option<bool> {
        match &node.kind {
            NodeKind::Bool(value, _) => Some(*value),
            NodeKind::String(text) => {
                let hint = match text.to_ascii_lowercase().as_str() {
                    "true" | "yes" | "on" | "y" => Some("write true, without quotes"),
                    "false" | "no" | "off" | "n" => Some("write false, without quotes"),
                    _ => None,
                };
                self.wrong_type(node, "a boolean").hint = hint.map(str::to_owned);
                None
            }
            _ => {
                self.wrong_type(node, "a boolean");
                None
            }
        }
    }

    /// A whole number within a range.
    pub(crate) fn integer(&mut self, node: &Node, range: RangeInclusive<u32>) -> Option<u32> {
        let NodeKind::Number(number, _) = &node.kind else {
            let hint = match &node.kind {
                NodeKind::String(text) if text.parse::<u32>().is_ok() => {
                    Some("write it without quotes".to_owned())
                }
                _ => None,
            };
            self.wrong_type(node, "a whole number").hint = hint;
            return None;
        };
        let found = number.as_u64().and_then(|number| u32::try_from(number).ok());
        let found = found.filter(|number| range.contains(number));
        if found.is_none() {
            let message =
                format!("{number} is not a whole number between {} and {}", range.start(), range.end());
            self.report(Code::OutOfRange, node.position, message);
        }
        found
    }

    /// One of a field's words, several of which may mean the same.
    pub(crate) fn word<T: Copy>(&mut self, node: &Node, words: &[(&str, T)]) -> Option<T> {
        let word = self.string(node)?;
        let found = words.iter().find(|(known, _)| *known == word).map(|(_, value)| *value);
        if found.is_none() {
            let known = || words.iter().map(|(known, _)| *known);
            let hint = did_you_mean(&word, known())
                .unwrap_or_else(|| format!("the words here are {}", known().collect::<Vec<_>>().join(", ")));
            self.report(
                Code::UnknownValue,
                node.position,
                format!("`{word}` is none of the words of this field"),
            )
            .hint = Some(hint);
        }
        found
    }

    /// A list whose items are read one by one; items with findings are left out.
    pub(crate) fn list<T>(
        &mut self,
        node: &Node,
        mut read: impl FnMut(&mut Self, &Node) -> Option<T>,
    ) -> Vec<T> {
        let NodeKind::Seq(items) = &node.kind else {
            self.wrong_type(node, "a list").hint = Some("begin each item with `- `".to_owned());
            return Vec::new();
        };
        let items = items.iter().enumerate();
        items.filter_map(|(index, item)| self.in_index(index, |reader| read(reader, item))).collect()
    }

    /// The value of `text` as `T`, its error as a finding of `code`.
    pub(crate) fn parsed<T: std::str::FromStr<Err: Display>>(
        &mut self,
        code: Code,
        node: &Node,
        text: &str,
    ) -> Option<T> {
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.report(code, node.position, error);
                None
            }
        }
    }
}

/// A mapping whose fields are read by name. Null counts as absent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'n> {
    node: &'n Node,
}

impl<'n> Fields<'n> {
    /// The fields of a mapping whose keys were judged elsewhere.
    pub(crate) fn of(node: &'n Node) -> Self {
        Self { node }
    }

    /// The value of a field, when there is one.
    pub(crate) fn get(&self, name: &str) -> Option<&'n Node> {
        self.node.get(name).filter(|value| !value.is_null())
    }

    /// Reads a field when there is one.
    pub(crate) fn read<T>(
        &self,
        reader: &mut Reader,
        name: &str,
        read: impl FnOnce(&mut Reader, &'n Node) -> Option<T>,
    ) -> Option<T> {
        let value = self.get(name)?;
        reader.in_key(name, |reader| read(reader, value))
    }

    /// Reads a field that must be there.
    pub(crate) fn require<T>(
        &self,
        reader: &mut Reader,
        name: &str,
        read: impl FnOnce(&mut Reader, &'n Node) -> Option<T>,
    ) -> Option<T> {
        if self.get(name).is_none() {
            reader.in_key(name, |reader| {
                reader.report(Code::MissingField, self.node.position, format!("`{name}` is missing")).hint =
                    Some(format!("add `{name}:`"));
            });
        }
        self.read(reader, name, read)
    }
}
