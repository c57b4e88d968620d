//! What users ask of a running gateway beside its specification: restart, and try again what has failed.
//!
//! A request is a count, never an order that is taken off a list: the controller compares the count with the one
//! that it has carried out, so that a crash between the two neither loses a request nor repeats one.

use std::collections::BTreeMap;

use bowline_core::desired::Requests;
use sqlx::{PgConnection, Postgres, Transaction};
use uuid::Uuid;

use crate::Store;
use crate::error::{DbError, GatewayError};
use crate::version::notify;
use crate::watch::Scope;

impl Store {
    /// Asks for a restart of a unit of the gateway `uid` and wakes the controller. Returns how many requests of
    /// any kind the gateway has had, this one included: a status that has seen as many has seen this one.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn request_restart(&self, uid: Uuid, unit: &str) -> Result<i64, GatewayError> {
        let mut transaction = self.asking(uid).await?;
        sqlx::query!(
            "INSERT INTO object_requests (uid, unit, restart) VALUES ($1, $2, 1)
             ON CONFLICT (uid, unit) DO UPDATE SET restart = object_requests.restart + 1",
            uid,
            unit
        )
        .execute(&mut *transaction)
        .await
        .map_err(DbError::from)?;
        Ok(noted(transaction, uid).await?)
    }

    /// Asks to try again, now, what has failed of a unit of the gateway `uid`, and wakes the controller. Returns
    /// as [`Store::request_restart`].
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn request_retry(&self, uid: Uuid, unit: &str) -> Result<i64, GatewayError> {
        let mut transaction = self.asking(uid).await?;
        sqlx::query!(
            "INSERT INTO object_requests (uid, unit, retry) VALUES ($1, $2, 1)
             ON CONFLICT (uid, unit) DO UPDATE SET retry = object_requests.retry + 1",
            uid,
            unit
        )
        .execute(&mut *transaction)
        .await
        .map_err(DbError::from)?;
        Ok(noted(transaction, uid).await?)
    }

    /// Begins the transaction of a request of the object `uid`. Requests of one object wait for each other here:
    /// otherwise two of different units would not count each other, and whoever waits for the one would be told of
    /// the other.
    async fn asking(&self, uid: Uuid) -> Result<Transaction<'static, Postgres>, GatewayError> {
        let mut transaction = self.transaction().await?;
        sqlx::query_scalar!("SELECT uid FROM objects WHERE uid = $1 FOR NO KEY UPDATE", uid)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(DbError::from)?
            .ok_or(GatewayError::Gone)?;
        Ok(transaction)
    }
}

/// Ends the transaction of a request: counts all requests of the gateway, and wakes the controller.
async fn noted(mut transaction: Transaction<'static, Postgres>, uid: Uuid) -> Result<i64, DbError> {
    let total = sqlx::query_scalar!(
        r#"SELECT coalesce(sum(restart + retry), 0)::bigint AS "total!" FROM object_requests WHERE uid = $1"#,
        uid
    )
    .fetch_one(&mut *transaction)
    .await?;
    notify(&mut transaction, Scope::Desired, &[uid]).await?;
    transaction.commit().await?;
    Ok(total)
}

/// Everything that was asked of a gateway, by unit.
pub(crate) async fn of_gateway(
    connection: &mut PgConnection,
    gateway: Uuid,
) -> Result<BTreeMap<String, Requests>, DbError> {
    let rows = sqlx::query!("SELECT unit, restart, retry FROM object_requests WHERE uid = $1", gateway)
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().map(|row| (row.unit, Requests { restart: row.restart, retry: row.retry })).collect())
}

#[cfg(test)]
mod tests;
