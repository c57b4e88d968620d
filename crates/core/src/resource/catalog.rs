//! `kind: ClusterCatalog` and `kind: Catalog`: a docker/mcp-gateway catalog, given to everybody or to one tenant.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::is_registry_key;
use super::read::{Field, Fields, Reader, Use};
use crate::catalog::ServerEntry;
use crate::diagnostic::{Code, Diagnostic, Position};
use crate::template::lint;
use crate::yaml::{self, Document, Key, Node};

/// The servers of a catalog.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CatalogSpec {
    /// Registry key to entry, in the docker/mcp-gateway format, unknown fields kept.
    pub registry: BTreeMap<String, ServerEntry>,
}

pub(crate) const FIELDS: &[Field] = &[("registry", Use::Works)];

/// What a docker/mcp-gateway catalog file has beside `registry`; none of it changes what a server is.
const PLAIN_FIELDS: [&str; 4] = ["version", "name", "displayName", "policy"];

/// Whether a document without `apiVersion` is a docker/mcp-gateway catalog file.
pub(super) fn looks_plain(document: &Node) -> bool {
    document.get("apiVersion").is_none()
        && document.get("kind").is_none()
        && document.get("registry").is_some()
}

/// Reads `spec` of a catalog of either kind.
pub(super) fn spec(reader: &mut Reader, node: &Node) -> Option<CatalogSpec> {
    let fields = reader.fields(node, FIELDS)?;
    let registry = fields.require(reader, "registry", registry)?;
    Some(CatalogSpec { registry })
}

fn registry(reader: &mut Reader, node: &Node) -> Option<BTreeMap<String, ServerEntry>> {
    let entries = reader.mapping(node)?;
    let mut lower: BTreeMap<String, &Key> = BTreeMap::new();
    let mut registry = BTreeMap::new();
    for (key, value) in entries {
        reader.in_key(&key.name, |reader| {
            if !is_registry_key(&key.name) {
                let message = format!("{:?} cannot be the name of a server", key.name);
                reader.report(Code::InvalidName, key.position, message).hint = Some(
                    "use 1 to 63 letters, digits, `_`, `.` and `-`, beginning with a letter or digit"
                        .to_owned(),
                );
            }
            if let Some(first) = lower.insert(key.name.to_lowercase(), key) {
                let message = format!("`{}` and `{}` differ only in case", first.name, key.name);
                let hint = format!("the first one is in line {}", first.position.line);
                reader.report(Code::DuplicateName, key.position, message).hint = Some(hint);
            }
            if let Some(entry) = ServerEntry::read(reader, value) {
                for error in lint(&key.name, &entry) {
                    let path = reader.path().join(&error.path);
                    let position = value.locate(&error.path);
                    let found =
                        Diagnostic::new(Code::SuspiciousTemplate, position, &path, error.problem.to_string());
                    let hint = error.problem.hint();
                    reader.extend([Diagnostic { hint, ..found }]);
                }
                registry.insert(key.name.clone(), entry);
            }
        });
    }
    Some(registry)
}

/// The servers of a docker/mcp-gateway catalog file: `registry` at the top, without our wrapping.
///
/// # Errors
/// Everything that is wrong with it; warnings alone do not make it fail.
pub fn catalog_from_plain(text: &str) -> Result<CatalogSpec, Vec<Diagnostic>> {
    let (documents, diagnostics) = yaml::parse(text);
    let mut reader = Reader::default();
    reader.extend(diagnostics);
    let spec = match documents.as_slice() {
        [Document { root: document, .. }] => reader.mapping(document).and_then(|entries| {
            for (key, _) in entries {
                if key.name != "registry" && !PLAIN_FIELDS.contains(&key.name.as_str()) {
                    reader.in_key(&key.name, |reader| {
                        let message = format!("unknown field `{}`", key.name);
                        reader.report(Code::UnknownField, key.position, message);
                    });
                }
            }
            let registry = Fields::of(document).require(&mut reader, "registry", registry)?;
            Some(CatalogSpec { registry })
        }),
        _ => {
            if reader.error_count() == 0 {
                let start = Position { line: 1, column: 1 };
                reader.report(Code::WrongType, start, "a catalog file has exactly one document");
            }
            None
        }
    };
    match (spec, reader.error_count()) {
        (Some(spec), 0) => Ok(spec),
        _ => Err(reader.into_diagnostics()),
    }
}
