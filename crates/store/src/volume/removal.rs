//! The end of a volume: asked for by a user, carried out by the controller of its host when nobody uses it.

use std::collections::BTreeSet;

use bowline_core::object::GatewayKey;
use bowline_core::volume::VolumeKey;
use uuid::Uuid;

use crate::Store;
use crate::error::DbError;
use crate::write::WriteTx;

/// What asking for a removal gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemovalAnswer {
    /// It goes as soon as the controller gets to it.
    Asked,
    /// Nothing was done: this gateway uses it.
    InUse(GatewayKey),
    /// There is no such volume.
    Absent,
}

/// A volume that nobody uses and that is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueRemoval {
    /// Uid of its tenant.
    pub tenant: Uuid,
    /// Namespace of its tenant.
    pub namespace: String,
    /// Server and name.
    pub key: VolumeKey,
}

impl Store {
    /// Asks for the removal of a volume that nobody uses, and wakes the controllers that have it.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn remove_volume(&self, namespace: &str, key: &VolumeKey) -> Result<RemovalAnswer, DbError> {
        let mut transaction = self.transaction().await?;
        // Locked: nobody claims between the look and the word.
        let rows = sqlx::query!(
            "SELECT volumes.holder FROM volumes JOIN tenants ON tenants.uid = volumes.tenant_uid
             WHERE tenants.namespace = $1 AND volumes.server = $2 AND volumes.name = $3
             ORDER BY volumes.host_id FOR UPDATE OF volumes",
            namespace,
            key.server,
            key.volume
        )
        .fetch_all(&mut *transaction)
        .await?;
        if rows.is_empty() {
            return Ok(RemovalAnswer::Absent);
        }
        if let Some(holder) = rows.iter().find_map(|row| row.holder) {
            let row = sqlx::query!("SELECT namespace, name FROM objects WHERE uid = $1", holder)
                .fetch_one(&mut *transaction)
                .await?;
            return Ok(RemovalAnswer::InUse(GatewayKey::new(row.namespace, row.name)));
        }
        sqlx::query!(
            "UPDATE volumes SET removal_asked_at = now() FROM tenants
             WHERE tenants.uid = volumes.tenant_uid AND tenants.namespace = $1 AND volumes.server = $2
               AND volumes.name = $3",
            namespace,
            key.server,
            key.volume
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(RemovalAnswer::Asked)
    }

    /// The volumes of `host` that are to go and that nobody uses.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn due_volume_removals(&self, host: Uuid) -> Result<Vec<DueRemoval>, DbError> {
        let rows = sqlx::query!(
            "SELECT volumes.tenant_uid, tenants.namespace, volumes.server, volumes.name
             FROM volumes JOIN tenants ON tenants.uid = volumes.tenant_uid
             WHERE volumes.host_id = $1 AND volumes.removal_asked_at IS NOT NULL AND volumes.holder IS NULL
             ORDER BY volumes.removal_asked_at, volumes.server, volumes.name",
            host
        )
        .fetch_all(self.pool())
        .await?;
        let due = rows.into_iter().map(|row| DueRemoval {
            tenant: row.tenant_uid,
            namespace: row.namespace,
            key: VolumeKey::new(row.server, row.name),
        });
        Ok(due.collect())
    }

    /// A volume that was to go is gone from `host`.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn volume_removed(&self, host: Uuid, removal: &DueRemoval) -> Result<(), DbError> {
        let DueRemoval { tenant, namespace: _, key } = removal;
        sqlx::query!(
            "DELETE FROM volumes WHERE tenant_uid = $1 AND host_id = $2 AND server = $3 AND name = $4
               AND removal_asked_at IS NOT NULL AND holder IS NULL",
            tenant,
            host,
            key.server,
            key.volume
        )
        .execute(self.pool())
        .await?;
        Ok(())
    }

    /// A volume that was to go could not be removed; it stays to go.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn volume_not_removed(
        &self,
        host: Uuid,
        removal: &DueRemoval,
        problem: &str,
    ) -> Result<(), DbError> {
        let DueRemoval { tenant, namespace: _, key } = removal;
        sqlx::query!(
            "UPDATE volumes SET removal_problem = $5
             WHERE tenant_uid = $1 AND host_id = $2 AND server = $3 AND name = $4
               AND removal_problem IS DISTINCT FROM $5",
            tenant,
            host,
            key.server,
            key.volume,
            problem
        )
        .execute(self.pool())
        .await?;
        Ok(())
    }
}

impl WriteTx {
    /// Asks for the removal of every volume that a gateway has, once the gateway is gone. Returns them.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn remove_held_volumes(&mut self, gateway: Uuid) -> Result<Vec<VolumeKey>, DbError> {
        let rows = sqlx::query!(
            "UPDATE volumes SET removal_asked_at = coalesce(removal_asked_at, now()) WHERE holder = $1
             RETURNING server, name",
            gateway
        )
        .fetch_all(self.connection())
        .await?;
        if !rows.is_empty() {
            // A deletion that was asked for before changes nothing else, and is to be committed all the same.
            self.touch(gateway);
        }
        let keys: BTreeSet<_> = rows.into_iter().map(|row| VolumeKey::new(row.server, row.name)).collect();
        Ok(keys.into_iter().collect())
    }
}
