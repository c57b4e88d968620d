//! From a text to resources, with every finding at once.

use std::collections::{BTreeMap, BTreeSet};

use super::read::{Field, Fields, Reader, Use};
use super::{
    CatalogObject, GatewayObject, GatewaySpec, Resource, SecretObject, catalog, gateway, metadata, secret,
};
use crate::diagnostic::{Code, Diagnostic, FieldPath, Position, did_you_mean};
use crate::object::{API_VERSION, Kind, ObjectKey};
use crate::yaml::{self, Document, Node};

pub(crate) const FIELDS: &[Field] = &[
    ("apiVersion", Use::Works),
    ("kind", Use::Works),
    ("metadata", Use::Works),
    ("spec", Use::Works),
    ("status", Use::Server),
];

/// Kinds of the model that do not exist in this version.
const LATER_KINDS: [&str; 4] = ["User", "Team", "Policy", "Host"];

/// Where something was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file; `None` for standard input.
    pub file: Option<String>,
    document: Node,
}

impl Origin {
    /// Where the field at `path` is written, or the nearest place around it.
    pub fn position(&self, path: &FieldPath) -> Position {
        self.document.locate(path)
    }

    /// A finding about the field at `path`, with its place.
    pub fn diagnostic(&self, code: Code, path: &FieldPath, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(code, self.position(path), path, message).in_file(self.file.as_deref())
    }

    /// The value at `path`.
    pub(super) fn find(&self, path: &FieldPath) -> Option<&Node> {
        self.document.find(path)
    }
}

/// A resource and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The resource.
    pub resource: Resource,
    /// Where it was written.
    pub origin: Origin,
}

/// A gateway with errors: what could be read of it still has references to judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) spec: GatewaySpec,
    pub(super) origin: Origin,
}

/// What an input has in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The resources without errors, in the order written.
    pub resources: Vec<Located>,
    /// Everything found, by file and position.
    pub diagnostics: Vec<Diagnostic>,
    /// Objects that are there and have errors: nobody who refers to them is at fault.
    broken: BTreeSet<ObjectKey>,
    drafts: Vec<Draft>,
}

impl Parsed {
    /// Whether nothing refuses this input; there may be warnings.
    pub fn is_ok(&self) -> bool {
        !self.diagnostics.iter().any(Diagnostic::is_error)
    }

    /// Whether an object of this key was written and has errors.
    pub(super) fn is_broken(&self, key: &ObjectKey) -> bool {
        self.broken.contains(key)
    }

    /// The gateways with errors.
    pub(super) fn drafts(&self) -> &[Draft] {
        &self.drafts
    }

    /// This input and another one as one, such as the files of a directory: an object that both have is an
    /// error at its second place.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        let Self { resources, diagnostics, broken, drafts } = other;
        self.diagnostics.extend(diagnostics);
        self.broken.extend(broken);
        self.drafts.extend(drafts);
        let mut seen: BTreeMap<ObjectKey, String> =
            self.resources.iter().map(|located| (located.resource.key(), place(&located.origin))).collect();
        for located in resources {
            let key = located.resource.key();
            if let Some(first) = seen.get(&key) {
                let path = FieldPath::of_keys("metadata.name");
                let found =
                    located.origin.diagnostic(Code::DuplicateObject, &path, format!("{key} is there twice"));
                self.diagnostics.push(found.with_hint(format!("the first one is at {first}")));
                self.broken.insert(key);
            } else {
                seen.insert(key, place(&located.origin));
                self.resources.push(located);
            }
        }
        self
    }
}

fn place(origin: &Origin) -> String {
    let line = origin.document.position.line;
    match &origin.file {
        Some(file) => format!("{file}:{line}"),
        None => format!("line {line}"),
    }
}

/// The resources of `text`, which its reader calls `file`, and everything that is wrong with it.
pub fn parse(text: &str, file: Option<&str>) -> Parsed {
    let (documents, diagnostics) = yaml::parse(text);
    let mut found: Vec<Diagnostic> = diagnostics.into_iter().map(secret::without_excerpt).collect();
    let mut one_by_one = Vec::new();
    let mut parsed = Parsed::default();
    for Document { root, is_clean } in documents {
        let mut reader = Reader::default();
        let Reading { key, resource, draft } = object(&mut reader, &root);
        let is_secret = key.as_ref().is_none_or(|key| key.kind == Kind::Secret);
        let is_good = is_clean && reader.error_count() == 0;
        found.extend(reader.into_diagnostics());
        let document = if is_secret { secret::without_values(root) } else { root };
        let origin = Origin { file: file.map(str::to_owned), document };
        match resource.filter(|_| is_good) {
            Some(resource) => one_by_one.push(Located { resource, origin }),
            None => {
                parsed.broken.extend(key);
                parsed.drafts.extend(draft.map(|spec| Draft { spec, origin }));
            }
        }
    }
    parsed.diagnostics = found.into_iter().map(|found| found.in_file(file)).collect();
    let mut parsed = parsed.and(Parsed { resources: one_by_one, ..Parsed::default() });
    parsed.diagnostics.sort_by_key(|found| (found.line, found.column));
    parsed
}

/// What could be read of a document.
#[derive(Default)]
struct Reading {
    key: Option<ObjectKey>,
    resource: Option<Resource>,
    draft: Option<GatewaySpec>,
}

fn object(reader: &mut Reader, document: &Node) -> Reading {
    if catalog::looks_plain(document) {
        let message = "this is a docker/mcp-gateway catalog, not an object";
        reader.report(Code::PlainCatalog, document.position, message).hint = Some(format!(
            "put it into one: `apiVersion: {API_VERSION}`, `kind: ClusterCatalog`, `metadata: {{name: …}}`, and \
             `registry:` beneath `spec:`"
        ));
        return Reading::default();
    }
    // Without a kind, which fields there should be is not known.
    let Some(kind) = reader.mapping(document).and_then(|_| kind(reader, document)) else {
        return Reading::default();
    };
    let known = if kind == Kind::Secret { secret::FIELDS } else { FIELDS };
    let Some(fields) = reader.fields(document, known) else {
        return Reading::default();
    };
    let metadata = fields.require(reader, "metadata", |reader, node| metadata::read(reader, node, kind));
    let key = metadata.as_ref().map(|metadata| ObjectKey {
        kind,
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
    });
    match kind {
        Kind::Gateway => {
            let own = key.as_ref().and_then(|key| key.namespace.as_deref());
            let spec = fields.require(reader, "spec", |reader, node| gateway::read::spec(reader, node, own));
            let draft = spec.clone();
            let object =
                metadata.zip(spec).map(|(metadata, spec)| Box::new(GatewayObject { metadata, spec }));
            Reading { key, resource: object.map(Resource::Gateway), draft }
        }
        Kind::ClusterCatalog | Kind::Catalog => {
            let spec = fields.require(reader, "spec", catalog::spec);
            let object = metadata.zip(spec).map(|(metadata, spec)| CatalogObject { metadata, spec });
            let wrap = if kind == Kind::Catalog { Resource::Catalog } else { Resource::ClusterCatalog };
            Reading { key, resource: object.map(wrap), draft: None }
        }
        Kind::Secret => {
            fields.read(reader, "spec", secret::shown);
            let values = fields.read(reader, secret::VALUES, secret::values);
            let object = metadata.map(|metadata| SecretObject { metadata, values });
            Reading { key, resource: object.map(Resource::Secret), draft: None }
        }
    }
}

/// The document's kind, unless it or `apiVersion` is one that does not exist. A document without `apiVersion`
/// is judged as one of ours.
fn kind(reader: &mut Reader, document: &Node) -> Option<Kind> {
    let fields = Fields::of(document);
    let mut is_ours = true;
    fields.require(reader, "apiVersion", |reader, node| {
        let version = reader.string(node)?;
        is_ours = version == API_VERSION;
        if !is_ours {
            let message = format!("`{version}` is not an API version that is known here");
            reader.report(Code::UnknownApiVersion, node.position, message).hint =
                Some(format!("write `{API_VERSION}`"));
        }
        Some(())
    });
    let kind = fields.require(reader, "kind", |reader, node| {
        let word = reader.string(node)?;
        let found = Kind::ALL.iter().find(|kind| kind.as_str() == word).copied();
        if found.is_none() {
            let known = || Kind::ALL.iter().map(|kind| kind.as_str());
            let hint = did_you_mean(&word, known())
                .unwrap_or_else(|| format!("the kinds are {}", known().collect::<Vec<_>>().join(", ")));
            let (code, message) = match LATER_KINDS.contains(&word.as_str()) {
                true => (Code::NotSupportedYet, format!("kind {word} is not supported yet")),
                false => (Code::UnknownKind, format!("there is no kind `{word}`")),
            };
            reader.report(code, node.position, message).hint = Some(hint);
        }
        found
    });
    kind.filter(|_| is_ours)
}
