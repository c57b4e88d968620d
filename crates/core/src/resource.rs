//! The objects a user declares: what they look like, how they are read from YAML, and what they refer to.
//!
//! [`parse()`] turns a text into [`Resource`]s with every finding at once; [`Parsed::check_references`] judges
//! them against each other and against the catalogs that exist already. The `spec` types are the canonical form that
//! the store keeps and compares: enum words and quantities in our spelling, short forms written out, absent
//! fields absent. **No default is filled in here**; the planner does that, so that a new default reaches old
//! objects.
//!
//! `status` and the metadata that the server owns (`uid`, `generation`, `resourceVersion`,
//! `creationTimestamp`, `deletionTimestamp`, `finalizers`, `managedBy`) are read over in an input, as kubectl
//! does it, because `get -o yaml | apply -f -` must work. They are the one exception to the rule that a field
//! is refused or acted on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::object::{Kind, ObjectKey};
use crate::secret::SecretText;

pub(crate) mod catalog;
mod catalog_ref;
pub(crate) mod gateway;
pub(crate) mod metadata;
pub(crate) mod parse;
pub(crate) mod quantity;
pub(crate) mod read;
mod references;
pub(crate) mod secret;

pub use catalog::{CatalogSpec, catalog_from_plain};
pub use catalog_ref::{CatalogRef, InvalidCatalogRef};
pub use gateway::{
    GatewaySpec, Mode, Profile, SecretBinding, SecretKeyRef, SecretRef, ServerDefaults, ServerSpec,
    Transport, ValueFrom,
};
pub use metadata::{ObjectMeta, PAUSED_ANNOTATION, is_registry_key};
pub use parse::{Located, Origin, Parsed, parse};
pub use quantity::{Cpu, Limits, Memory, QuantityError, Requests, Resources};
pub use secret::{stored_keys as stored_secret_keys, stored_spec as stored_secret_spec};

/// A `kind: Gateway` as declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayObject {
    /// Who it is.
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: GatewaySpec,
}

/// A `kind: ClusterCatalog` or `kind: Catalog` as declared: they differ in who owns them, not in what they say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogObject {
    /// Who it is.
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: CatalogSpec,
}

/// A `kind: Secret` as declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretObject {
    /// Who it is.
    pub metadata: ObjectMeta,
    /// All its values by key: a key that is not there goes. `None` where the input says nothing of values, as what
    /// `get -o yaml` shows does: then the values that are there stay. Never serialised.
    #[serde(skip)]
    pub values: Option<BTreeMap<String, SecretText>>,
}

/// A declared object of any kind. Serialises with `kind` beside `metadata` and `spec`; of a Secret without values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub enum Resource {
    /// One MCP endpoint.
    Gateway(Box<GatewayObject>),
    /// Servers for everybody.
    ClusterCatalog(CatalogObject),
    /// Servers of one tenant.
    Catalog(CatalogObject),
    /// Write-only values of one tenant.
    Secret(SecretObject),
}

impl Resource {
    /// The kind of this object.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Gateway(_) => Kind::Gateway,
            Self::ClusterCatalog(_) => Kind::ClusterCatalog,
            Self::Catalog(_) => Kind::Catalog,
            Self::Secret(_) => Kind::Secret,
        }
    }

    /// The declared metadata.
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Gateway(object) => &object.metadata,
            Self::ClusterCatalog(object) | Self::Catalog(object) => &object.metadata,
            Self::Secret(object) => &object.metadata,
        }
    }

    /// Kind, namespace and name.
    pub fn key(&self) -> ObjectKey {
        let ObjectMeta { namespace, name, .. } = self.metadata();
        ObjectKey { kind: self.kind(), namespace: namespace.clone(), name: name.clone() }
    }

    /// The canonical `spec` as JSON: what the store keeps, and what decides whether an object changed. Of a Secret
    /// the keys of its values, `{"keys": […]}`; of one whose values stay as they are, `{}`: its writer has to take the
    /// keys that are stored.
    pub fn spec_json(&self) -> serde_json::Value {
        let json = match self {
            Self::Gateway(object) => serde_json::to_value(&object.spec),
            Self::ClusterCatalog(object) | Self::Catalog(object) => serde_json::to_value(&object.spec),
            Self::Secret(SecretObject { values: Some(values), .. }) => {
                return secret::stored_spec(values.keys().map(String::as_str));
            }
            Self::Secret(SecretObject { values: None, .. }) => return serde_json::json!({}),
        };
        // Every map of a spec has string keys, which is all that this conversion can fail on.
        json.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
