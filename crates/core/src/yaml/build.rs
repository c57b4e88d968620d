//! From parser events to nodes, within bounds.

use std::collections::HashMap;
use std::collections::hash_map;

use granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError, StrInput, Tag, options};

use super::place::{self, Lines};
use super::{Document, Key, MAX_DEPTH, MAX_EXPANDED, Node, NodeKind, scalar};
use crate::diagnostic::{Code, Diagnostic, FieldPath, Position};

/// What every node counts beside its text.
const NODE_WEIGHT: usize = 64;

/// YAML 1.1's key for "and these fields, too".
const MERGE: &str = "<<";

/// A finished node and what it costs to copy it.
#[derive(Clone)]
struct Built {
    node: Node,
    weight: usize,
    /// Levels of collections in it; 0 for a scalar.
    depth: usize,
}

enum Frame {
    Seq {
        position: Position,
        anchor: usize,
        items: Vec<Node>,
    },
    Map {
        position: Position,
        anchor: usize,
        entries: Vec<(Key, Node)>,
        names: HashMap<String, u32>,
        key: Option<Key>,
    },
}

struct Open {
    frame: Frame,
    weight: usize,
    depth: usize,
}

struct Builder {
    lines: Lines,
    documents: Vec<Document>,

    diagnostics: Vec<Diagnostic>,
    stack: Vec<Open>,
    root: Option<Node>,
    anchors: HashMap<usize, Built>,
    expanded: usize,
    /// How many diagnostics there were before this document.
    clean: usize,
}

/// The rest of the document cannot be read.
struct Abandon;

pub(super) fn documents(text: &str) -> (Vec<Document>, Vec<Diagnostic>) {
    let options = options! { emit_comments: false };
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder {
        lines: Lines::of(text),
        documents: Vec::new(),
        diagnostics: Vec::new(),
        stack: Vec::new(),
        root: None,
        anchors: HashMap::new(),
        expanded: 0,
        clean: 0,
    };
    while let Some(next) = parser.next() {
        let abandoned = match next {
            Ok((event, span)) => builder.event(event, span.start).is_err(),
            Err(error) => {
                builder.syntax_error(&error);
                true
            }
        };
        if abandoned && !builder.skip(&mut parser) {
            break;
        }
    }
    (builder.documents, builder.diagnostics)
}

impl Builder {
    /// Goes on behind a document that cannot be read; false when there is nothing behind it.
    fn skip<'t>(&mut self, parser: &mut Parser<'t, StrInput<'t>>) -> bool {
        self.forget();
        match parser.proceed_next_document() {
            Ok(more) => more,
            Err(error) => {
                // The same error again is what the document was abandoned for.
                let line = self.lines.clamped(*error.marker()).line;
                if self.diagnostics.last().is_none_or(|last| last.line != line) {
                    self.syntax_error(&error);
                }
                false
            }
        }
    }

    fn forget(&mut self) {
        self.stack.clear();
        self.root = None;
        self.anchors.clear();
        self.clean = self.diagnostics.len();
    }

    fn report(&mut self, code: Code, position: Position, message: impl Into<String>) -> &mut Diagnostic {
        let found = Diagnostic::new(code, position, &self.path(), message);
        self.diagnostics.push(found);
        let last = self.diagnostics.len() - 1;
        &mut self.diagnostics[last]
    }

    fn syntax_error(&mut self, error: &ScanError) {
        let position = self.lines.clamped(*error.marker());
        self.report(Code::SyntaxError, position, error.info());
    }

    fn event(&mut self, event: Event<'_>, start: Marker) -> Result<(), Abandon> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let position = place::of(start);
                let kind = self.scalar(position, &text, style, tag.as_deref())?;
                let weight = NODE_WEIGHT + text.len();
                self.finish(Built { node: Node { position, kind }, weight, depth: 0 }, anchor, weight)
            }
            Event::SequenceStart(_, anchor, tag) => {
                let position = place::of(start);
                self.check_tag(position, tag.as_deref(), "seq");
                self.open(Frame::Seq { position, anchor, items: Vec::new() }, position)
            }
            Event::MappingStart(_, anchor, tag) => {
                let position = place::of(start);
                self.check_tag(position, tag.as_deref(), "map");
                let (entries, names) = (Vec::new(), HashMap::new());
                self.open(Frame::Map { position, anchor, entries, names, key: None }, position)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => {
                let position = place::of(start);
                let Some(mut target) = self.anchors.get(&anchor).cloned() else {
                    self.report(
                        Code::UnsupportedYaml,
                        position,
                        "an alias refers to the value that it is part of",
                    );
                    return Err(Abandon);
                };
                target.node.position = position;
                let cost = target.weight;
                self.finish(target, 0, cost)
            }
            Event::DocumentEnd => {
                let is_clean = self.diagnostics.len() == self.clean;
                if let Some(root) = self.root.take().filter(|root| !root.is_null()) {
                    self.documents.push(Document { root, is_clean });
                }
                self.forget();
                Ok(())
            }
            // Starts say nothing that is needed; comments are off; unresolved aliases stay errors.
            _ => Ok(()),
        }
    }

    fn open(&mut self, frame: Frame, position: Position) -> Result<(), Abandon> {
        if self.stack.len() >= MAX_DEPTH {
            return self.too_deep(position);
        }
        self.stack.push(Open { frame, weight: NODE_WEIGHT, depth: 0 });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Abandon> {
        let Some(Open { frame, weight, depth }) = self.stack.pop() else {
            return Ok(());
        };
        let (position, anchor, kind) = match frame {
            Frame::Seq { position, anchor, items } => (position, anchor, NodeKind::Seq(items)),
            Frame::Map { position, anchor, entries, .. } => (position, anchor, NodeKind::Map(entries)),
        };
        // Its items were counted one by one.
        self.finish(Built { node: Node { position, kind }, weight, depth: depth + 1 }, anchor, NODE_WEIGHT)
    }

    /// Puts a finished node where it belongs; `cost` is what it adds to the size of the document.
    fn finish(&mut self, built: Built, anchor: usize, cost: usize) -> Result<(), Abandon> {
        let position = built.node.position;
        if self.stack.len() + built.depth > MAX_DEPTH {
            return self.too_deep(position);
        }
        // A node with an anchor is kept a second time for its aliases.
        self.expanded += if anchor == 0 { cost } else { cost + built.weight };
        if self.expanded > MAX_EXPANDED {
            let message = format!("the input grows beyond {MAX_EXPANDED} bytes");
            self.report(Code::InputTooLarge, position, message).hint =
                Some("use fewer aliases, or divide it into several files".to_owned());
            return Err(Abandon);
        }
        if anchor != 0 {
            self.anchors.insert(anchor, built.clone());
        }
        let Built { node, weight, depth } = built;
        let Some(parent) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        parent.weight += weight;
        parent.depth = parent.depth.max(depth);
        match &mut parent.frame {
            Frame::Seq { items, .. } => items.push(node),
            Frame::Map { key: key @ None, names, .. } => {
                let name = match node.kind {
                    NodeKind::String(name) | NodeKind::Bool(_, name) | NodeKind::Number(_, name) => name,
                    NodeKind::Null | NodeKind::Seq(_) | NodeKind::Map(_) => {
                        self.report(
                            Code::UnsupportedYaml,
                            position,
                            "a key must be a plain word or a string",
                        );
                        return Err(Abandon);
                    }
                };
                let first = match names.entry(name.clone()) {
                    hash_map::Entry::Occupied(first) => Some(*first.get()),
                    hash_map::Entry::Vacant(free) => {
                        free.insert(position.line);
                        None
                    }
                };
                *key = Some(Key { position, name: name.clone() });
                self.check_key(position, &name, first);
            }
            Frame::Map { key, entries, .. } => {
                // A merge key was told; as a field it would be told again.
                entries.extend(key.take().filter(|key| key.name != MERGE).map(|key| (key, node)));
            }
        }
        Ok(())
    }

    fn check_key(&mut self, position: Position, name: &str, first: Option<u32>) {
        if let Some(line) = first {
            self.report(Code::DuplicateKey, position, format!("the key `{name}` occurs twice")).hint =
                Some(format!("the first one is in line {line}"));
        }
        if name == MERGE {
            self.report(Code::UnsupportedYaml, position, "merge keys are not read").hint =
                Some("write the fields out, or use an alias for the whole value".to_owned());
        }
    }

    fn too_deep(&mut self, position: Position) -> Result<(), Abandon> {
        let message = format!("more than {MAX_DEPTH} levels of collections");
        self.report(Code::InputTooLarge, position, message).hint =
            Some("nothing that is read here is nested so deeply".to_owned());
        Err(Abandon)
    }

    fn scalar(
        &mut self,
        position: Position,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
    ) -> Result<NodeKind, Abandon> {
        let is_plain = style == ScalarStyle::Plain;
        let as_written = || {
            if is_plain { scalar::resolve(text) } else { NodeKind::String(text.to_owned()) }
        };
        let Some(tag) = tag else { return Ok(as_written()) };
        let kind = match tag.core_suffix() {
            Some("str") => Some(NodeKind::String(text.to_owned())),
            Some(wanted) => Some(scalar::resolve(text)).filter(|kind| {
                matches!(
                    (wanted, kind),
                    ("null", NodeKind::Null)
                        | ("bool", NodeKind::Bool(..))
                        | ("int" | "float", NodeKind::Number(..))
                )
            }),
            None => None,
        };
        match kind {
            Some(kind) => Ok(kind),
            None => {
                self.foreign_tag(position, tag);
                Ok(NodeKind::String(text.to_owned()))
            }
        }
    }

    fn check_tag(&mut self, position: Position, tag: Option<&Tag>, expected: &str) {
        if let Some(tag) = tag.filter(|tag| tag.core_suffix() != Some(expected)) {
            self.foreign_tag(position, tag);
        }
    }

    fn foreign_tag(&mut self, position: Position, tag: &Tag) {
        self.report(Code::UnsupportedYaml, position, format!("the tag `{tag}` is not read here")).hint =
            Some("write the value without a tag".to_owned());
    }

    /// Where the reading is: the keys and items that are being read, outermost first.
    fn path(&self) -> FieldPath {
        self.stack.iter().fold(FieldPath::root(), |path, open| match &open.frame {
            Frame::Seq { items, .. } => path.index(items.len()),
            Frame::Map { key: Some(key), .. } => path.key(&key.name),
            Frame::Map { key: None, .. } => path,
        })
    }
}
