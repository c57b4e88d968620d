//! Leases: that no value has two holders is a unique constraint, not a promise of the caller.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::lease::{LeaseKind, LeaseSlot};
use bowline_core::object::GatewayKey;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::Store;
use crate::error::{DbError, GatewayError};

/// What trying to take a lease gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// The slot holds this value: the one asked for, or one that it had already.
    Held(i64),
    /// The value has another holder; the next one may be free.
    Taken,
}

impl Store {
    /// All values of `kind` that are leased on `host`.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn taken(&self, host: Uuid, kind: LeaseKind) -> Result<BTreeSet<i64>, DbError> {
        let values = sqlx::query_scalar!(
            "SELECT value FROM leases WHERE host_id = $1 AND kind = $2",
            host,
            kind.as_str()
        )
        .fetch_all(self.pool())
        .await?;
        Ok(values.into_iter().collect())
    }

    /// Leases `value` on `host` to the slot of a gateway. A slot that holds a value keeps it.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn take_lease(
        &self,
        host: Uuid,
        gateway: Uuid,
        slot: &LeaseSlot,
        value: i64,
    ) -> Result<Take, GatewayError> {
        let LeaseSlot { kind, holder } = slot;
        let (kind, holder) = (kind.as_str(), holder.to_string());
        let taken = sqlx::query_scalar!(
            "INSERT INTO leases (host_id, kind, value, gateway_uid, holder) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT DO NOTHING RETURNING value",
            host,
            kind,
            value,
            gateway,
            holder
        )
        .fetch_optional(self.pool())
        .await
        .map_err(|error| GatewayError::from_write(error, "leases_gateway"))?;
        if let Some(value) = taken {
            return Ok(Take::Held(value));
        }
        let held = sqlx::query_scalar!(
            "SELECT value FROM leases WHERE gateway_uid = $1 AND host_id = $2 AND kind = $3 AND holder = $4",
            gateway,
            host,
            kind,
            holder
        )
        .fetch_optional(self.pool())
        .await
        .map_err(DbError::from)?;
        Ok(held.map_or(Take::Taken, Take::Held))
    }

    /// Gives these leases of a gateway back; returns how many there were.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn release_leases(&self, gateway: Uuid, slots: &[LeaseSlot]) -> Result<u64, DbError> {
        let kinds: Vec<String> = slots.iter().map(|slot| slot.kind.as_str().to_owned()).collect();
        let holders: Vec<String> = slots.iter().map(|slot| slot.holder.to_string()).collect();
        let done = sqlx::query!(
            "DELETE FROM leases USING unnest($2::text[], $3::text[]) AS given (kind, holder)
             WHERE leases.gateway_uid = $1 AND leases.kind = given.kind AND leases.holder = given.holder",
            gateway,
            &kinds,
            &holders
        )
        .execute(self.pool())
        .await?;
        Ok(done.rows_affected())
    }

    /// Gives all leases of a gateway back; returns how many there were.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn release_all(&self, gateway: Uuid) -> Result<u64, DbError> {
        let done =
            sqlx::query!("DELETE FROM leases WHERE gateway_uid = $1", gateway).execute(self.pool()).await?;
        Ok(done.rows_affected())
    }

    /// Keeps `port` of `host` for the name of a gateway until `until`, in place of an earlier reservation of
    /// the name or the port.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn reserve_port(
        &self,
        host: Uuid,
        key: &GatewayKey,
        port: i64,
        until: DateTime<Utc>,
    ) -> Result<(), DbError> {
        let GatewayKey { namespace, name } = key;
        let mut transaction = self.transaction().await?;
        sqlx::query!(
            "DELETE FROM port_reservations
             WHERE host_id = $1 AND port = $2 AND (namespace, name) <> ($3, $4)",
            host,
            port,
            namespace,
            name
        )
        .execute(&mut *transaction)
        .await?;
        sqlx::query!(
            "INSERT INTO port_reservations (host_id, port, namespace, name, reserved_until) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (host_id, namespace, name)
             DO UPDATE SET port = excluded.port, reserved_until = excluded.reserved_until",
            host,
            port,
            namespace,
            name,
            until
        )
        .execute(&mut *transaction)
        .await?;
        Ok(transaction.commit().await?)
    }

    /// The ports of `host` that are kept for a name at `now`.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn reservations(
        &self,
        host: Uuid,
        now: DateTime<Utc>,
    ) -> Result<BTreeMap<i64, GatewayKey>, DbError> {
        let rows = sqlx::query!(
            "SELECT port, namespace, name FROM port_reservations WHERE host_id = $1 AND reserved_until > $2",
            host,
            now
        )
        .fetch_all(self.pool())
        .await?;
        Ok(rows.into_iter().map(|row| (row.port, GatewayKey::new(row.namespace, row.name))).collect())
    }
}

#[cfg(test)]
mod tests;
