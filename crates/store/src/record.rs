//! What the controller reads: which gateways there are, and everything about one of them.

use std::collections::BTreeMap;

use bowline_core::desired::Requests;
use bowline_core::lease::{Holder, LeaseKind, LeaseSlot, Leases};
use bowline_core::object::{GatewayKey, ObjectKey, Stored};
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Store;
use crate::error::{DbError, GatewayError};
use crate::object::{ObjectRow, select_objects};
use crate::requests;
use crate::token::{self, TokenRow};

/// Where a gateway runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// The id of the host.
    pub host: Uuid,
    /// Grows when the gateway moves; writes of an older epoch are refused.
    pub epoch: i64,
}

/// What the controller last saw of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The observation in normal form.
    pub value: Value,
    /// When it was first seen so.
    pub at: DateTime<Utc>,
}

/// Everything that is stored about one gateway, as it was at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayRecord {
    /// The Gateway itself.
    pub object: Stored,
    /// Where it runs; absent before [`Store::ensure_placement`].
    pub placement: Option<Placement>,
    /// What it holds on that host.
    pub leases: Leases,
    /// The verifiers of its tokens, expired ones included, by id.
    pub tokens: Vec<TokenRow>,
    /// Grows with every change of the tokens; 0 when there never was one.
    pub tokens_revision: i64,
    /// The catalogs that its specification names, as far as they exist.
    pub catalogs: BTreeMap<ObjectKey, Stored>,
    /// What was last seen of it.
    pub observed: Option<Observed>,
    /// The image ids that it was given.
    pub pins: Option<Value>,
    /// Which revision of each of its containers is proven, on trial, or failed.
    pub rollouts: Option<Value>,
    /// What users have asked of it, by unit.
    pub requests: BTreeMap<String, Requests>,
}

impl Store {
    /// Key and uid of every Gateway, those that are being deleted included: the complete listing before which
    /// nothing runs.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn desired_keys(&self) -> Result<Vec<(GatewayKey, Uuid)>, DbError> {
        let rows = sqlx::query!(
            "SELECT namespace, name, uid FROM objects WHERE kind = 'Gateway' ORDER BY namespace, name"
        )
        .fetch_all(self.pool())
        .await?;
        Ok(rows.into_iter().map(|row| (GatewayKey::new(row.namespace, row.name), row.uid)).collect())
    }

    /// Places the gateway on `host` when it has no place; returns its place, which may be another host.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn ensure_placement(&self, uid: Uuid, host: Uuid) -> Result<Placement, GatewayError> {
        loop {
            let placed = sqlx::query_as!(
                Placement,
                "SELECT host_id AS host, epoch FROM placements WHERE gateway_uid = $1",
                uid
            )
            .fetch_optional(self.pool())
            .await
            .map_err(DbError::from)?;
            if let Some(placement) = placed {
                return Ok(placement);
            }
            sqlx::query!(
                "INSERT INTO placements (gateway_uid, host_id) VALUES ($1, $2) ON CONFLICT (gateway_uid) DO NOTHING",
                uid,
                host
            )
            .execute(self.pool())
            .await
            .map_err(|error| GatewayError::from_write(error, "placements_gateway"))?;
        }
    }

    /// Everything about the gateway `key`, read in one snapshot; `None` when there is no such gateway.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn load_gateway(&self, key: &GatewayKey) -> Result<Option<GatewayRecord>, DbError> {
        let mut snapshot = self.snapshot().await?;
        let row = select_objects!(
            "WHERE kind = 'Gateway' AND namespace = $1 AND name = $2",
            key.namespace,
            key.name
        )
        .fetch_optional(&mut *snapshot)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let object = Stored::try_from(row)?;
        let uid = object.metadata.uid;
        let beside = sqlx::query!(
            r#"SELECT placements.host_id AS "host?", placements.epoch AS "epoch?", token_sets.revision AS "revision?",
                      observations.observed AS "observed?", observations.observed_at AS "observed_at?",
                      observations.pins AS "pins?", observations.rollouts AS "rollouts?"
               FROM objects
               LEFT JOIN placements ON placements.gateway_uid = objects.uid
               LEFT JOIN token_sets ON token_sets.gateway_uid = objects.uid
               LEFT JOIN observations ON observations.gateway_uid = objects.uid
               WHERE objects.uid = $1"#,
            uid
        )
        .fetch_one(&mut *snapshot)
        .await?;
        let placement = beside.host.zip(beside.epoch).map(|(host, epoch)| Placement { host, epoch });
        let leases = match placement {
            Some(placement) => leases(&mut snapshot, uid, placement.host).await?,
            None => Leases::new(),
        };
        let tokens = token::verifiers(&mut snapshot, uid).await?;
        let catalogs = catalogs(&mut snapshot, uid).await?;
        let requests = requests::of_gateway(&mut snapshot, uid).await?;
        snapshot.commit().await?;
        Ok(Some(GatewayRecord {
            object,
            placement,
            leases,
            tokens,
            tokens_revision: beside.revision.unwrap_or(0),
            catalogs,
            observed: beside.observed.zip(beside.observed_at).map(|(value, at)| Observed { value, at }),
            pins: beside.pins,
            rollouts: beside.rollouts,
            requests,
        }))
    }
}

async fn leases(connection: &mut PgConnection, uid: Uuid, host: Uuid) -> Result<Leases, DbError> {
    let rows = sqlx::query!(
        "SELECT kind, holder, value FROM leases WHERE gateway_uid = $1 AND host_id = $2",
        uid,
        host
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|row| Ok((slot(&row.kind, &row.holder)?, row.value))).collect()
}

/// The slot that a row of `leases` names.
fn slot(kind: &str, holder: &str) -> Result<LeaseSlot, DbError> {
    let kind = [LeaseKind::Port, LeaseKind::Uid, LeaseKind::Subnet]
        .into_iter()
        .find(|known| known.as_str() == kind)
        .ok_or_else(|| sqlx::Error::Decode(format!("unknown kind of lease {kind:?}").into()))?;
    let holder: Holder = holder.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    Ok(LeaseSlot::new(kind, holder))
}

async fn catalogs(
    connection: &mut PgConnection,
    gateway: Uuid,
) -> Result<BTreeMap<ObjectKey, Stored>, DbError> {
    let rows: Vec<ObjectRow> = select_objects!(
        "WHERE (kind, namespace, name) IN
           (SELECT named.kind, named.namespace, named.name
            FROM objects AS gateway, catalogs_of(gateway.spec) AS named WHERE gateway.uid = $1)",
        gateway
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let stored = Stored::try_from(row)?;
            Ok((stored.metadata.key.clone(), stored))
        })
        .collect()
}

#[cfg(test)]
mod tests;
