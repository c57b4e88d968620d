//! Taking over what runs on a host into a database that declares no gateway: after a database was lost, the host
//! still knows what it carries.
//!
//! Uids, generations, epochs, leases and verifiers stay as they are, because containers and files carry them:
//! what is unchanged is not touched by the next `serve`.

use std::collections::BTreeMap;

use bowline_core::desired::Requests;
use bowline_core::gateway_file::TokensFile;
use bowline_core::lease::Leases;
use bowline_core::object::{ObjectKey, Stored};
use bowline_core::volume::ObservedVolume;
use serde_json::Value;
use sqlx::types::Json;
use uuid::Uuid;

use crate::Store;
use crate::error::DbError;
use crate::object::namespace_of;
use crate::write::{Put, PutError, WriteTx};

/// Everything that is taken over.
#[derive(Debug, Clone, PartialEq)]
pub struct Adoption {
    /// The installation whose labels the containers carry; the database takes it as its own.
    pub installation: Uuid,
    /// Name of the host.
    pub host: String,
    /// Uids of the tenants that volumes on the host carry, by namespace.
    pub tenants: BTreeMap<String, Uuid>,
    /// The catalogs, as specifications.
    pub catalogs: BTreeMap<ObjectKey, Value>,
    /// The gateways.
    pub gateways: Vec<AdoptedGateway>,
    /// The volumes of these tenants.
    pub volumes: Vec<AdoptedVolume>,
}

/// A volume that is taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptedVolume {
    /// What it is, and its name on the host.
    pub seen: ObservedVolume,
    /// Uid of the gateway that has it: one of those that are adopted.
    pub holder: Option<Uuid>,
}

/// One gateway that is taken over.
#[derive(Debug, Clone, PartialEq)]
pub struct AdoptedGateway {
    /// The object as it was stored.
    pub object: Stored,
    /// Epoch of its placement.
    pub epoch: i64,
    /// What it holds on the host.
    pub leases: Leases,
    /// The verifiers of its tokens.
    pub tokens: TokensFile,
    /// The image ids that its references were resolved to, as [`Store::put_pins`] takes them.
    pub pins: Value,
    /// Which revision of each container is proven or failed, as [`Store::put_rollouts`] takes it.
    pub rollouts: Value,
    /// What users asked of it beside its specification, by unit.
    pub requests: BTreeMap<String, Requests>,
}

/// What tokens are called whose labels went with the lost database.
pub const ADOPTED_LABEL: &str = "adopted";

/// An adoption that was not done. Nothing was written then.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// The database declares gateways of its own.
    #[error("the database declares {0} gateways of its own")]
    NotEmpty(i64),
    /// Two gateways hold the same lease, or one token, or have one name: the host's files contradict each other.
    #[error("what was found for {0} contradicts what was found for another gateway")]
    Contradiction(ObjectKey),
    /// A catalog could not be written.
    #[error(transparent)]
    Put(#[from] PutError),
    /// The database did not do it.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Store {
    /// Takes everything over, in one transaction. A catalog that the database has already stays as it is. This
    /// handle still says the old installation afterwards: open the database again.
    ///
    /// # Errors
    /// [`AdoptError`].
    pub async fn adopt(&self, adoption: &Adoption) -> Result<(), AdoptError> {
        let Adoption { installation, host, tenants, catalogs, gateways, volumes } = adoption;
        let host = self.register_host(host).await?.id;
        let mut write = self.begin_write().await?;
        write.exclude_others().await?;
        let declared =
            sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM objects WHERE kind = 'Gateway'"#)
                .fetch_one(write.connection())
                .await
                .map_err(DbError::from)?;
        if declared > 0 {
            return Err(AdoptError::NotEmpty(declared));
        }
        sqlx::query!("UPDATE installation SET id = $1", installation)
            .execute(write.connection())
            .await
            .map_err(DbError::from)?;
        // Before the first object of a namespace, which would give it a uid that no volume has.
        for (namespace, uid) in tenants {
            sqlx::query!(
                "INSERT INTO tenants (namespace, uid) VALUES ($1, $2)
                 ON CONFLICT (namespace) DO UPDATE SET uid = excluded.uid
                 WHERE NOT EXISTS (SELECT FROM volumes WHERE volumes.tenant_uid = tenants.uid)",
                namespace,
                uid
            )
            .execute(write.connection())
            .await
            .map_err(DbError::from)?;
        }
        for (key, spec) in catalogs {
            if write.get(key).await?.is_none() {
                let none = BTreeMap::new();
                let put = Put {
                    key,
                    spec,
                    labels: &none,
                    annotations: &none,
                    managed_by: "cli",
                    expected_version: None,
                };
                write.put(put).await?;
            }
        }
        for gateway in gateways {
            write.adopt_gateway(gateway, host).await.map_err(|error| match error.as_database_error() {
                Some(database) if database.is_unique_violation() => {
                    AdoptError::Contradiction(gateway.object.metadata.key.clone())
                }
                _ => AdoptError::Db(error.into()),
            })?;
        }
        for volume in volumes {
            write.adopt_volume(volume, host).await?;
        }
        // Where only volumes are left, no object is written.
        write.commit_always().await?;
        Ok(())
    }
}

impl WriteTx {
    async fn adopt_gateway(&mut self, gateway: &AdoptedGateway, host: Uuid) -> Result<(), sqlx::Error> {
        let AdoptedGateway { object, epoch, leases, tokens, pins, rollouts, requests } = gateway;
        let meta = &object.metadata;
        sqlx::query!(
            "INSERT INTO objects (uid, kind, namespace, name, generation, spec, labels, annotations, managed_by,
                                  created_at, deletion_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            meta.uid,
            meta.key.kind.as_str(),
            namespace_of(&meta.key),
            meta.key.name,
            meta.generation,
            object.spec,
            Json(&meta.labels) as _,
            Json(&meta.annotations) as _,
            meta.managed_by,
            meta.creation_timestamp,
            meta.deletion_timestamp
        )
        .execute(self.connection())
        .await?;
        sqlx::query!(
            "INSERT INTO placements (gateway_uid, host_id, epoch) VALUES ($1, $2, $3)",
            meta.uid,
            host,
            epoch
        )
        .execute(self.connection())
        .await?;
        sqlx::query!(
            "INSERT INTO observations (gateway_uid, pins, rollouts) VALUES ($1, $2, $3)",
            meta.uid,
            pins,
            rollouts
        )
        .execute(self.connection())
        .await?;
        for (unit, Requests { restart, retry }) in requests {
            sqlx::query!(
                "INSERT INTO object_requests (uid, unit, restart, retry) VALUES ($1, $2, $3, $4)",
                meta.uid,
                unit,
                restart,
                retry
            )
            .execute(self.connection())
            .await?;
        }
        for (slot, value) in leases {
            sqlx::query!(
                "INSERT INTO leases (host_id, kind, value, gateway_uid, holder) VALUES ($1, $2, $3, $4, $5)",
                host,
                slot.kind.as_str(),
                value,
                meta.uid,
                slot.holder.to_string()
            )
            .execute(self.connection())
            .await?;
        }
        sqlx::query!(
            "INSERT INTO token_sets (gateway_uid, revision) VALUES ($1, $2)",
            meta.uid,
            tokens.revision
        )
        .execute(self.connection())
        .await?;
        for token in &tokens.tokens {
            sqlx::query!(
                "INSERT INTO tokens (gateway_uid, id, sha256, label, expires_at) VALUES ($1, $2, $3, $4, $5)",
                meta.uid,
                token.id,
                token.sha256,
                ADOPTED_LABEL,
                token.expires_at
            )
            .execute(self.connection())
            .await?;
        }
        self.touch(meta.uid);
        Ok(())
    }

    /// Enters a volume with its holder, so that no other gateway gets what a container of this one runs on. One of a
    /// tenant that the database knows by another uid is nobody's and left out.
    async fn adopt_volume(&mut self, volume: &AdoptedVolume, host: Uuid) -> Result<(), DbError> {
        let AdoptedVolume { seen: ObservedVolume { name, identity }, holder } = volume;
        sqlx::query!(
            "INSERT INTO volumes (tenant_uid, host_id, server, name, engine_name, holder)
             SELECT uid, $2, $3, $4, $5, $6 FROM tenants WHERE uid = $1
             ON CONFLICT (tenant_uid, host_id, server, name) DO UPDATE
             SET engine_name = excluded.engine_name, holder = coalesce(volumes.holder, excluded.holder)",
            identity.tenant,
            host,
            identity.key.server,
            identity.key.volume,
            name,
            *holder
        )
        .execute(self.connection())
        .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
