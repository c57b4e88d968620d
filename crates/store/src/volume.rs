//! Volumes of tenants: who has them, where they are, and which of them are to go.
//!
//! A volume is claimed by a gateway before it is made and for as long as a container may use it; the row's `holder`
//! says by whom, so that two gateways of a namespace never have one volume at the same time. What is to go goes
//! when nobody holds it, and nobody can claim what is to go: neither needs the other's good will.

use std::collections::BTreeSet;

use bowline_core::object::GatewayKey;
use bowline_core::volume::{ObservedVolume, VolumeClaims, VolumeKey, VolumeProblem};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::Store;
use crate::error::{DbError, GatewayError};

mod removal;

pub use removal::{DueRemoval, RemovalAnswer};

/// How often a claim looks again at volumes whose holders change meanwhile.
const ATTEMPTS: u32 = 8;

/// A volume as users see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeRow {
    /// Namespace of its tenant.
    pub namespace: String,
    /// Server and name.
    pub key: VolumeKey,
    /// Name of the host that has it.
    pub host: String,
    /// Its name on the Engine; absent before it was made.
    pub engine_name: Option<String>,
    /// The gateway that may use it.
    pub holder: Option<GatewayKey>,
    /// When it was first wanted or seen.
    pub created_at: DateTime<Utc>,
    /// When its removal was asked for.
    pub removal_asked_at: Option<DateTime<Utc>>,
    /// Why it could not be removed when that was tried last.
    pub removal_problem: Option<String>,
}

/// What the store knows of one wanted volume.
struct Known {
    server: String,
    name: String,
    holder: Option<Uuid>,
    removing: bool,
    holder_namespace: Option<String>,
    holder_name: Option<String>,
}

impl Store {
    /// Claims volumes of the namespace on `host` for a gateway. Those of one server go together: where another gateway
    /// has one of them, or one is being removed, none is claimed, since two gateways that each had a part would wait
    /// for each other for ever. What the gateway has already is not written again.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn claim_volumes(
        &self,
        host: Uuid,
        gateway: Uuid,
        namespace: &str,
        keys: &BTreeSet<VolumeKey>,
    ) -> Result<VolumeClaims, GatewayError> {
        let tenant = sqlx::query_scalar!("SELECT uid FROM tenants WHERE namespace = $1", namespace)
            .fetch_optional(self.pool())
            .await
            .map_err(DbError::from)?
            // A namespace has one from its first object to its end.
            .ok_or(GatewayError::Gone)?;
        for _ in 0..ATTEMPTS {
            let known = self.known_volumes(tenant, host, keys).await?;
            let is_own = |key: &VolumeKey| {
                known.iter().any(|row| {
                    row.server == key.server && row.name == key.volume && row.holder == Some(gateway)
                })
            };
            let blocked: BTreeSet<&str> = known
                .iter()
                .filter(|row| row.holder != Some(gateway) && (row.holder.is_some() || row.removing))
                .map(|row| row.server.as_str())
                .collect();
            let free: Vec<&VolumeKey> =
                keys.iter().filter(|key| !is_own(key) && !blocked.contains(key.server.as_str())).collect();
            if free.is_empty() {
                return Ok(claims(tenant, gateway, known));
            }
            self.claim_free(tenant, host, gateway, &free).await?;
        }
        Err(DbError::Contended(sqlx::Error::RowNotFound).into())
    }

    /// What [`Store::claim_volumes`] would say, without claiming anything.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn foresee_volumes(
        &self,
        host: Uuid,
        gateway: Uuid,
        namespace: &str,
        keys: &BTreeSet<VolumeKey>,
    ) -> Result<VolumeClaims, DbError> {
        let tenant = sqlx::query_scalar!("SELECT uid FROM tenants WHERE namespace = $1", namespace)
            .fetch_optional(self.pool())
            .await?;
        match tenant {
            Some(tenant) => Ok(claims(tenant, gateway, self.known_volumes(tenant, host, keys).await?)),
            None => Ok(VolumeClaims::default()),
        }
    }

    async fn claim_free(
        &self,
        tenant: Uuid,
        host: Uuid,
        gateway: Uuid,
        keys: &[&VolumeKey],
    ) -> Result<(), GatewayError> {
        // In the order of the keys: two gateways never wait for each other in a ring.
        let servers: Vec<String> = keys.iter().map(|key| key.server.clone()).collect();
        let names: Vec<String> = keys.iter().map(|key| key.volume.clone()).collect();
        sqlx::query!(
            "INSERT INTO volumes (tenant_uid, host_id, server, name, holder)
             SELECT $1, $2, given.server, given.name, $3 FROM unnest($4::text[], $5::text[]) AS given (server, name)
             ON CONFLICT (tenant_uid, host_id, server, name) DO UPDATE SET holder = excluded.holder
             WHERE volumes.holder IS NULL AND volumes.removal_asked_at IS NULL",
            tenant,
            host,
            gateway,
            &servers,
            &names
        )
        .execute(self.pool())
        .await
        .map_err(|error| GatewayError::from_write(error, "volumes_holder"))?;
        Ok(())
    }

    async fn known_volumes(
        &self,
        tenant: Uuid,
        host: Uuid,
        keys: &BTreeSet<VolumeKey>,
    ) -> Result<Vec<Known>, DbError> {
        let servers: Vec<String> = keys.iter().map(|key| key.server.clone()).collect();
        let names: Vec<String> = keys.iter().map(|key| key.volume.clone()).collect();
        Ok(sqlx::query_as!(
            Known,
            r#"SELECT volumes.server, volumes.name, volumes.holder, volumes.removal_asked_at IS NOT NULL AS "removing!",
                      objects.namespace AS "holder_namespace?", objects.name AS "holder_name?"
               FROM volumes
               JOIN unnest($3::text[], $4::text[]) AS given (server, name)
                 ON volumes.server = given.server AND volumes.name = given.name
               LEFT JOIN objects ON objects.uid = volumes.holder
               WHERE volumes.tenant_uid = $1 AND volumes.host_id = $2"#,
            tenant,
            host,
            &servers,
            &names
        )
        .fetch_all(self.pool())
        .await?)
    }

    /// The volumes that a gateway has claimed.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn held_volumes(&self, gateway: Uuid) -> Result<Vec<VolumeKey>, DbError> {
        let rows = sqlx::query!(
            "SELECT DISTINCT server, name FROM volumes WHERE holder = $1 ORDER BY server, name",
            gateway
        )
        .fetch_all(self.pool())
        .await?;
        Ok(rows.into_iter().map(|row| VolumeKey::new(row.server, row.name)).collect())
    }

    /// Gives volumes up that a gateway has claimed; another gateway of the namespace may have them now.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn release_volumes(&self, gateway: Uuid, keys: &[VolumeKey]) -> Result<(), DbError> {
        let servers: Vec<String> = keys.iter().map(|key| key.server.clone()).collect();
        let names: Vec<String> = keys.iter().map(|key| key.volume.clone()).collect();
        sqlx::query!(
            "UPDATE volumes SET holder = NULL FROM unnest($2::text[], $3::text[]) AS given (server, name)
             WHERE volumes.holder = $1 AND volumes.server = given.server AND volumes.name = given.name",
            gateway,
            &servers,
            &names
        )
        .execute(self.pool())
        .await?;
        Ok(())
    }

    /// Enters volumes that were seen on `host`, with their names there. Those of tenants that this database does not
    /// know are left out.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn record_volumes(&self, host: Uuid, seen: &[ObservedVolume]) -> Result<(), DbError> {
        let mut seen: Vec<&ObservedVolume> = seen.iter().collect();
        // One row per volume, in one order of locks.
        seen.sort_by_key(|one| (one.identity.tenant, &one.identity.key, &one.name));
        seen.dedup_by_key(|one| (one.identity.tenant, &one.identity.key));
        let tenants: Vec<Uuid> = seen.iter().map(|one| one.identity.tenant).collect();
        let servers: Vec<String> = seen.iter().map(|one| one.identity.key.server.clone()).collect();
        let names: Vec<String> = seen.iter().map(|one| one.identity.key.volume.clone()).collect();
        let engine_names: Vec<String> = seen.iter().map(|one| one.name.clone()).collect();
        sqlx::query!(
            "INSERT INTO volumes (tenant_uid, host_id, server, name, engine_name)
             SELECT given.tenant, $1, given.server, given.name, given.engine_name
             FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[]) AS given (tenant, server, name, engine_name)
             JOIN tenants ON tenants.uid = given.tenant
             ON CONFLICT (tenant_uid, host_id, server, name) DO UPDATE SET engine_name = excluded.engine_name
             WHERE volumes.engine_name IS DISTINCT FROM excluded.engine_name",
            host,
            &tenants,
            &servers,
            &names,
            &engine_names
        )
        .execute(self.pool())
        .await?;
        Ok(())
    }

    /// Forgets volumes of `host` that nobody uses and that a complete listing, begun at `listed_at`, did not show: those
    /// that are gone, and those that were claimed once and never made.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn forget_volumes(
        &self,
        host: Uuid,
        shown: &[ObservedVolume],
        listed_at: DateTime<Utc>,
    ) -> Result<(), DbError> {
        let names: Vec<String> = shown.iter().map(|one| one.name.clone()).collect();
        sqlx::query!(
            "DELETE FROM volumes
             WHERE host_id = $1 AND holder IS NULL AND (engine_name IS NULL OR engine_name <> ALL ($2))
               AND created_at < $3",
            host,
            &names,
            listed_at
        )
        .execute(self.pool())
        .await?;
        Ok(())
    }

    /// The volumes of one namespace or of all.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn volumes(&self, namespace: Option<&str>) -> Result<Vec<VolumeRow>, DbError> {
        let rows = sqlx::query!(
            r#"SELECT tenants.namespace, volumes.server, volumes.name, hosts.name AS host, volumes.engine_name,
                      volumes.created_at, volumes.removal_asked_at, volumes.removal_problem,
                      objects.namespace AS "holder_namespace?", objects.name AS "holder_name?"
               FROM volumes
               JOIN tenants ON tenants.uid = volumes.tenant_uid
               JOIN hosts ON hosts.id = volumes.host_id
               LEFT JOIN objects ON objects.uid = volumes.holder
               WHERE $1::text IS NULL OR tenants.namespace = $1
               ORDER BY tenants.namespace, volumes.server, volumes.name, hosts.name"#,
            namespace
        )
        .fetch_all(self.pool())
        .await?;
        let volumes = rows.into_iter().map(|row| VolumeRow {
            namespace: row.namespace,
            key: VolumeKey::new(row.server, row.name),
            host: row.host,
            engine_name: row.engine_name,
            holder: gateway_key(row.holder_namespace, row.holder_name),
            created_at: row.created_at,
            removal_asked_at: row.removal_asked_at,
            removal_problem: row.removal_problem,
        });
        Ok(volumes.collect())
    }
}

fn claims(tenant: Uuid, gateway: Uuid, known: Vec<Known>) -> VolumeClaims {
    let mut claims = VolumeClaims { tenant, ..VolumeClaims::default() };
    for Known { server, name, holder, removing, holder_namespace, holder_name } in known {
        let problem = match gateway_key(holder_namespace, holder_name) {
            _ if holder == Some(gateway) => continue,
            Some(other) => VolumeProblem::InUse(other),
            None if removing => VolumeProblem::Removing,
            // Free: a claim would have it.
            None => continue,
        };
        claims.problems.insert(VolumeKey::new(server, name).to_string(), problem);
    }
    claims
}

fn gateway_key(namespace: Option<String>, name: Option<String>) -> Option<GatewayKey> {
    Some(GatewayKey { namespace: namespace?, name: name? })
}

#[cfg(test)]
mod tests;
