//! How a gateway names a catalog.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::names::is_dns_label;
use crate::object::{Kind, ObjectKey};

/// A catalog that a gateway names: one of the cluster, or one of a namespace.
///
/// In a specification the first is its name alone and the second `{kind: Catalog, name: …, namespace: …}`; as text,
/// in messages and as the key of a map, `base` and `data-team/tools`. A namespace that was not written is the
/// gateway's own and is filled in when the gateway is read, so that a reference means the same wherever it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub enum CatalogRef {
    /// The ClusterCatalog of this name.
    Cluster(String),
    /// A Catalog.
    Namespaced {
        /// Whose it is.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl CatalogRef {
    /// A reference to the object of this key; `None` when it is no catalog.
    pub fn to(key: &ObjectKey) -> Option<Self> {
        let ObjectKey { kind, namespace, name } = key;
        match (kind, namespace) {
            (Kind::ClusterCatalog, None) => Some(Self::Cluster(name.clone())),
            (Kind::Catalog, Some(namespace)) => {
                Some(Self::Namespaced { namespace: namespace.clone(), name: name.clone() })
            }
            _ => None,
        }
    }

    /// The key of the catalog.
    pub fn key(&self) -> ObjectKey {
        match self {
            Self::Cluster(name) => ObjectKey::cluster_catalog(name),
            Self::Namespaced { namespace, name } => ObjectKey::catalog(namespace, name),
        }
    }
}

impl fmt::Display for CatalogRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster(name) => f.write_str(name),
            Self::Namespaced { namespace, name } => write!(f, "{namespace}/{name}"),
        }
    }
}

/// Why a text or a document names no catalog.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of a catalog")]
pub struct InvalidCatalogRef(String);

impl FromStr for CatalogRef {
    type Err = InvalidCatalogRef;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<_> = text.split('/').collect();
        if !parts.iter().all(|part| is_dns_label(part)) {
            return Err(InvalidCatalogRef(text.to_owned()));
        }
        match parts[..] {
            [name] => Ok(Self::Cluster(name.to_owned())),
            [namespace, name] => {
                Ok(Self::Namespaced { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(InvalidCatalogRef(text.to_owned())),
        }
    }
}

/// The form in a specification.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Name(String),
    Full(ObjectKey),
}

impl From<CatalogRef> for Written {
    fn from(reference: CatalogRef) -> Self {
        match reference {
            CatalogRef::Cluster(name) => Written::Name(name),
            CatalogRef::Namespaced { .. } => Written::Full(reference.key()),
        }
    }
}

impl TryFrom<Written> for CatalogRef {
    type Error = InvalidCatalogRef;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        match written {
            Written::Name(name) => Ok(CatalogRef::Cluster(name)),
            Written::Full(key) => CatalogRef::to(&key).ok_or_else(|| InvalidCatalogRef(key.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reference_has_one_form_in_a_specification_and_one_as_text() {
        let cluster = CatalogRef::Cluster("base".to_owned());
        let team = CatalogRef::Namespaced { namespace: "data-team".to_owned(), name: "tools".to_owned() };
        let written = json!({ "kind": "Catalog", "namespace": "data-team", "name": "tools" });
        for (reference, document, text) in
            [(cluster, json!("base"), "base"), (team, written, "data-team/tools")]
        {
            assert_eq!(serde_json::to_value(&reference).unwrap(), document);
            assert_eq!(serde_json::from_value::<CatalogRef>(document).unwrap(), reference);
            assert_eq!(reference.to_string(), text);
            assert_eq!(text.parse::<CatalogRef>().as_ref(), Ok(&reference));
            assert_eq!(CatalogRef::to(&reference.key()), Some(reference));
        }
    }

    #[test]
    fn what_names_no_catalog_is_refused() {
        for text in ["", "Base", "a/b/c", "a/", "/a"] {
            assert!(text.parse::<CatalogRef>().is_err(), "{text}");
        }
        assert_eq!(CatalogRef::to(&ObjectKey::gateway("u1", "default")), None);
        for document in [
            json!({ "kind": "Gateway", "namespace": "u1", "name": "default" }),
            json!({ "kind": "Catalog", "name": "tools" }),
            json!({ "kind": "ClusterCatalog", "namespace": "u1", "name": "tools" }),
        ] {
            assert!(serde_json::from_value::<CatalogRef>(document.clone()).is_err(), "{document}");
        }
    }
}
