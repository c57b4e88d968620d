//! One server of a catalog.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::image_reference::ImageReference;
use crate::resource::read::Reader;
use crate::yaml::Node;

mod read;

pub(super) use read::is_variable;

/// A catalog entry: the document as it was written, and the fields of it that mean something here.
///
/// Serialises as the document, so that fields which are not used are kept. The document is the truth; the
/// fields are derived from it once, when it is read, and a document whose fields have wrong types never
/// becomes an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerEntry {
    document: Map<String, Value>,
    fields: ServerFields,
}

/// Why a JSON value is not a catalog entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct EntryError {
    /// The field.
    pub path: String,
    /// What is wrong with it.
    pub message: String,
}

/// What decides how a server is reached, in docker/mcp-gateway's order of precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServerKind {
    /// An MCP server somewhere else (`remote.url` or `sseEndpoint`).
    Remote,
    /// A container that speaks MCP on stdin and stdout (`image`).
    Container,
    /// A set of tools, each of which is a container per call (neither of the two).
    Poci,
}

/// The fields of an entry whose meaning is known. Absent and null are one; lists are empty when absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerFields {
    /// Name for humans.
    pub title: Option<String>,
    /// What the server is for.
    pub description: Option<String>,
    /// The word in `type`: `server`, `remote` or `poci`; what the server is, is told by [`ServerEntry::kind`].
    pub declared_type: Option<String>,
    /// The container's image.
    pub image: Option<ImageReference>,
    /// Arguments after the image's entry point, with templates.
    pub command: Vec<String>,
    /// Environment, with templates, in order.
    pub env: Vec<EnvVar>,
    /// Secrets that the server wants.
    pub secrets: Vec<SecretDeclaration>,
    /// Volumes, with templates.
    pub volumes: Vec<String>,
    /// User of the container, with templates.
    pub user: Option<String>,
    /// Whether the container has no network.
    pub disable_network: bool,
    /// Hosts that may be reached; `None` when nothing is said, which is not the same as an empty list.
    pub allow_hosts: Option<Vec<String>>,
    /// Additional lines for the container's `/etc/hosts`.
    pub extra_hosts: Vec<String>,
    /// What tool names are prefixed with.
    pub prefix: Option<String>,
    /// JSON Schema fragments of the configuration.
    pub config: Vec<Value>,
    /// Where a remote server is.
    pub remote: Option<Remote>,
    /// The older way to say where a remote server is.
    pub sse_endpoint: Option<String>,
    /// Whether one container serves a whole session; every session here is long-lived.
    pub long_lived: bool,
    /// Whether an OAuth flow is declared.
    pub oauth: bool,
}

/// One environment variable of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvVar {
    /// Its name.
    pub name: String,
    /// Its value, with templates.
    pub value: String,
}

/// One secret that an entry declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretDeclaration {
    /// Its name in the catalog, such as `github.personal_access_token`.
    pub name: String,
    /// The environment variable that carries its value.
    pub env: String,
}

/// Where a remote server is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remote {
    /// Its URL.
    pub url: Option<String>,
    /// Its transport, as written.
    pub transport_type: Option<String>,
    /// Additional request headers.
    pub headers: BTreeMap<String, String>,
}

impl ServerEntry {
    /// The document as written.
    pub fn document(&self) -> &Map<String, Value> {
        &self.document
    }

    /// The fields whose meaning is known.
    pub fn fields(&self) -> &ServerFields {
        &self.fields
    }

    /// How the server is reached.
    pub fn kind(&self) -> ServerKind {
        let fields = &self.fields;
        let url = fields.remote.as_ref().and_then(|remote| remote.url.as_deref());
        if [fields.sse_endpoint.as_deref(), url].into_iter().flatten().any(|url| !url.is_empty()) {
            ServerKind::Remote
        } else if fields.image.is_some() {
            ServerKind::Container
        } else {
            ServerKind::Poci
        }
    }

    /// The image of a container; `None` for an entry that is reached in another way, whatever image it names.
    pub fn container_image(&self) -> Option<&ImageReference> {
        self.fields.image.as_ref().filter(|_| self.kind() == ServerKind::Container)
    }

    /// An entry from a JSON document.
    ///
    /// # Errors
    /// The first field whose type or form is wrong.
    pub fn from_json(document: &Value) -> Result<Self, EntryError> {
        let mut reader = Reader::default();
        let entry = Self::read(&mut reader, &Node::from_json(document));
        let first = reader.into_diagnostics().into_iter().find(crate::diagnostic::Diagnostic::is_error);
        match (entry, first) {
            (Some(entry), None) => Ok(entry),
            (_, Some(found)) => Err(EntryError { path: found.path, message: found.message }),
            (None, None) => Err(EntryError { path: String::new(), message: "not an entry".to_owned() }),
        }
    }
}

impl Serialize for ServerEntry {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.document.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ServerEntry {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let document = Value::deserialize(deserializer)?;
        Self::from_json(&document).map_err(serde::de::Error::custom)
    }
}
