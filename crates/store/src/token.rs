//! The verifiers of the gateways' bearer tokens. No token can be made from what is stored here.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Store;
use crate::error::{DbError, GatewayError, is_unstorable, violated};
use crate::version::notify;
use crate::watch::Scope;

/// A token to be accepted from now on.
#[derive(Debug, Clone, Copy)]
pub struct NewToken<'a> {
    /// Public id, unique within the gateway.
    pub id: &'a str,
    /// Lower-case hexadecimal SHA-256 of the whole token text.
    pub sha256: &'a str,
    /// What the user calls it.
    pub label: &'a str,
    /// From this instant on it is refused.
    pub expires_at: Option<DateTime<Utc>>,
}

/// What the gateway is told of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// Public id, unique within the gateway.
    pub id: String,
    /// Lower-case hexadecimal SHA-256 of the whole token text.
    pub sha256: String,
    /// What the user calls it.
    pub label: String,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// From this instant on it is refused.
    pub expires_at: Option<DateTime<Utc>>,
}

/// What users are told of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    /// Public id, unique within the gateway.
    pub id: String,
    /// What the user calls it.
    pub label: String,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// From this instant on it is refused.
    pub expires_at: Option<DateTime<Utc>>,
}

/// A token that was not added.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// There is no gateway of this uid (any more).
    #[error("the gateway no longer exists")]
    Gone,
    /// The gateway has a token of this id, or some gateway has this very token.
    #[error("there is such a token already")]
    Duplicate,
    /// The hash is not 64 lower-case hexadecimal digits, or a text holds the character NUL.
    #[error("the token cannot be stored")]
    Malformed,
    /// The database did not do it.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Store {
    /// Adds a token to a gateway and wakes the controller. Returns the revision of the set that has it.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn add_token(&self, gateway: Uuid, token: NewToken<'_>) -> Result<i64, TokenError> {
        let NewToken { id, sha256, label, expires_at } = token;
        let mut transaction = self.transaction().await?;
        let revision = sqlx::query_scalar!(
            "INSERT INTO token_sets (gateway_uid, revision) VALUES ($1, 1)
             ON CONFLICT (gateway_uid) DO UPDATE SET revision = token_sets.revision + 1 RETURNING revision",
            gateway
        )
        .fetch_one(&mut *transaction)
        .await
        .map_err(|error| match GatewayError::from_write(error, "token_sets_gateway") {
            GatewayError::Gone => TokenError::Gone,
            GatewayError::Db(error) => TokenError::Db(error),
        })?;
        sqlx::query!(
            "INSERT INTO tokens (gateway_uid, id, sha256, label, expires_at) VALUES ($1, $2, $3, $4, $5)",
            gateway,
            id,
            sha256,
            label,
            expires_at
        )
        .execute(&mut *transaction)
        .await
        .map_err(|error| match violated(&error) {
            Some("tokens_id" | "tokens_sha256") => TokenError::Duplicate,
            Some("tokens_sha256_hex") => TokenError::Malformed,
            _ if is_unstorable(&error) => TokenError::Malformed,
            _ => TokenError::Db(error.into()),
        })?;
        notify(&mut transaction, Scope::Desired, &[gateway]).await?;
        transaction.commit().await.map_err(DbError::from)?;
        Ok(revision)
    }

    /// The tokens of a gateway, oldest first.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn list_tokens(&self, gateway: Uuid) -> Result<Vec<TokenInfo>, DbError> {
        Ok(sqlx::query_as!(
            TokenInfo,
            "SELECT id, label, created_at, expires_at FROM tokens WHERE gateway_uid = $1 ORDER BY created_at, id",
            gateway
        )
        .fetch_all(self.pool())
        .await?)
    }

    /// Removes a token and wakes the controller. Returns the revision of the set without it, or `None` when
    /// there is no such token.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn revoke_token(&self, gateway: Uuid, id: &str) -> Result<Option<i64>, DbError> {
        let mut transaction = self.transaction().await?;
        // The set's row comes first, as in `add_token`: one order of locks, and no deadlock.
        let revision = sqlx::query_scalar!(
            "UPDATE token_sets SET revision = revision + 1
             WHERE gateway_uid = $1 AND EXISTS (SELECT FROM tokens WHERE gateway_uid = $1 AND id = $2)
             RETURNING revision",
            gateway,
            id
        )
        .fetch_optional(&mut *transaction)
        .await?;
        let removed = sqlx::query!("DELETE FROM tokens WHERE gateway_uid = $1 AND id = $2", gateway, id)
            .execute(&mut *transaction)
            .await?;
        if revision.is_none() || removed.rows_affected() == 0 {
            transaction.rollback().await?;
            return Ok(None);
        }
        notify(&mut transaction, Scope::Desired, &[gateway]).await?;
        transaction.commit().await?;
        Ok(revision)
    }

    /// Removes the tokens that are expired at `now` and wakes the controller. Returns their gateways.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn prune_expired_tokens(&self, now: DateTime<Utc>) -> Result<Vec<Uuid>, DbError> {
        let expired =
            sqlx::query_scalar!("SELECT DISTINCT gateway_uid FROM tokens WHERE expires_at <= $1", now)
                .fetch_all(self.pool())
                .await?;
        // A gateway at a time: the sets' rows are never locked in two orders.
        for gateway in &expired {
            let mut transaction = self.transaction().await?;
            sqlx::query!("UPDATE token_sets SET revision = revision + 1 WHERE gateway_uid = $1", gateway)
                .execute(&mut *transaction)
                .await?;
            sqlx::query!("DELETE FROM tokens WHERE gateway_uid = $1 AND expires_at <= $2", gateway, now)
                .execute(&mut *transaction)
                .await?;
            notify(&mut transaction, Scope::Desired, &[*gateway]).await?;
            transaction.commit().await?;
        }
        Ok(expired)
    }
}

/// The verifiers of a gateway, by id.
pub(crate) async fn verifiers(
    connection: &mut PgConnection,
    gateway: Uuid,
) -> Result<Vec<TokenRow>, DbError> {
    Ok(sqlx::query_as!(
        TokenRow,
        "SELECT id, sha256, label, created_at, expires_at FROM tokens WHERE gateway_uid = $1 ORDER BY id",
        gateway
    )
    .fetch_all(connection)
    .await?)
}

#[cfg(test)]
mod tests;
