//! The labels that make an object of the Engine ours, and the reading of them.
//!
//! Only instance *and* installation together mean "ours": the instance is a name that an admin may give twice,
//! the installation is random and lives in the database.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::object::GatewayKey;

/// Prefix of every label and annotation of ours.
pub const PREFIX: &str = "dev.bowline.";
/// The instance's name.
pub const INSTANCE: &str = "dev.bowline.instance";
/// The installation id.
pub const INSTALLATION: &str = "dev.bowline.installation";
/// The host's name.
pub const HOST: &str = "dev.bowline.host";
/// The gateway's namespace.
pub const NAMESPACE: &str = "dev.bowline.namespace";
/// The gateway's name.
pub const GATEWAY: &str = "dev.bowline.gateway";
/// The Gateway object's uid.
pub const UID: &str = "dev.bowline.uid";
/// `gateway`, `server`, `network` or `volume`.
pub const ROLE: &str = "dev.bowline.role";
/// The tenant's uid, on volumes.
pub const TENANT: &str = "dev.bowline.tenant";
/// The volume's name in its catalog entry, on volumes.
pub const VOLUME: &str = "dev.bowline.volume";
/// The registry key, on server containers and volumes.
pub const SERVER: &str = "dev.bowline.server";
/// Digest of the specification from which the object was made.
pub const SPEC_HASH: &str = "dev.bowline.spec-hash";
/// The generation that made the object.
pub const GENERATION: &str = "dev.bowline.generation";
/// The placement's epoch.
pub const EPOCH: &str = "dev.bowline.epoch";

/// What an object of ours is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The gateway container.
    Gateway,
    /// The container of the server with this registry key.
    Server(String),
    /// The gateway's network.
    Network,
}

/// Whose labels are ours.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// Name that the admin gave.
    pub instance: String,
    /// Random id from the database.
    pub installation: Uuid,
}

/// The labels of one object of ours, read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Instance and installation.
    pub owner: Owner,
    /// Name of the host.
    pub host: String,
    /// Namespace and name of the gateway.
    pub key: GatewayKey,
    /// Uid of the Gateway object.
    pub uid: Uuid,
    /// What the object is for.
    pub role: Role,
    /// Digest of what it was made from.
    pub spec_hash: String,
    /// Generation that made it.
    pub generation: i64,
    /// Epoch of the placement that made it.
    pub epoch: i64,
}

impl Identity {
    /// All labels of the object.
    pub fn to_labels(&self) -> BTreeMap<String, String> {
        let Identity { owner, host, key, uid, role, spec_hash, generation, epoch } = self;
        let mut labels = BTreeMap::from([
            (INSTANCE.to_owned(), owner.instance.clone()),
            (INSTALLATION.to_owned(), owner.installation.to_string()),
            (HOST.to_owned(), host.clone()),
            (NAMESPACE.to_owned(), key.namespace.clone()),
            (GATEWAY.to_owned(), key.name.clone()),
            (UID.to_owned(), uid.to_string()),
            (SPEC_HASH.to_owned(), spec_hash.clone()),
            (GENERATION.to_owned(), generation.to_string()),
            (EPOCH.to_owned(), epoch.to_string()),
        ]);
        let word = match role {
            Role::Gateway => "gateway",
            Role::Network => "network",
            Role::Server(server) => {
                labels.insert(SERVER.to_owned(), server.clone());
                "server"
            }
        };
        labels.insert(ROLE.to_owned(), word.to_owned());
        labels
    }

    /// Reads the labels of an object; `None` when one is missing or malformed, so that what merely looks like
    /// ours is never taken for ours.
    pub fn from_labels(labels: &HashMap<String, String>) -> Option<Self> {
        let text = |key: &str| labels.get(key).cloned();
        let role = match labels.get(ROLE)?.as_str() {
            "gateway" => Role::Gateway,
            "network" => Role::Network,
            "server" => Role::Server(text(SERVER)?),
            _ => return None,
        };
        Some(Identity {
            owner: Owner { instance: text(INSTANCE)?, installation: text(INSTALLATION)?.parse().ok()? },
            host: text(HOST)?,
            key: GatewayKey { namespace: text(NAMESPACE)?, name: text(GATEWAY)? },
            uid: text(UID)?.parse().ok()?,
            role,
            spec_hash: text(SPEC_HASH)?,
            generation: text(GENERATION)?.parse().ok()?,
            epoch: text(EPOCH)?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(role: Role) -> Identity {
        Identity {
            owner: Owner { instance: "default".to_owned(), installation: Uuid::from_u128(7) },
            host: "h1".to_owned(),
            key: GatewayKey::new("u1", "default"),
            uid: Uuid::from_u128(8),
            role,
            spec_hash: "abc".to_owned(),
            generation: 3,
            epoch: 1,
        }
    }

    #[test]
    fn labels_survive_the_round_trip() {
        for role in [Role::Gateway, Role::Network, Role::Server("SQLite".to_owned())] {
            let labels = identity(role.clone()).to_labels().into_iter().collect();
            assert_eq!(Identity::from_labels(&labels), Some(identity(role)));
        }
    }

    #[test]
    fn an_object_that_lacks_any_one_label_is_not_ours() {
        let labels: HashMap<String, String> =
            identity(Role::Server("time".to_owned())).to_labels().into_iter().collect();
        for key in labels.keys() {
            let mut fewer = labels.clone();
            fewer.remove(key);
            assert_eq!(Identity::from_labels(&fewer), None, "without {key}");
        }
    }
}
