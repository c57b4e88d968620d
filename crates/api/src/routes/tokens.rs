//! Tokens of a gateway: made, listed without themselves, revoked.

use axum::Json;
use axum::extract::State;
use bowline_core::object::GatewayKey;
use bowline_store::{NewToken, TokenError};
use chrono::{TimeDelta, Utc};
use serde::Deserialize;

use super::Context;
use crate::body::{Json as Body, Path};
use crate::problem::Problem;
use crate::token;
use crate::wire::{TokenCreated, TokenItem, TokenList, TokenRequest, TokenRevoked};

/// Longest label in bytes.
const MAX_LABEL: usize = 100;
/// Longest life of a token that expires, in seconds: ten years.
const MAX_TTL: u64 = 10 * 366 * 24 * 3600;

pub(super) async fn list(
    State(context): State<Context>,
    Path(key): Path<GatewayKey>,
) -> Result<Json<TokenList>, Problem> {
    let uid = context.gateway(&key).await?.metadata.uid;
    let items = context.store.list_tokens(uid).await?;
    let items = items.into_iter().map(|token| TokenItem {
        id: token.id,
        label: token.label,
        created_at: token.created_at,
        expires_at: token.expires_at,
    });
    Ok(Json(TokenList { items: items.collect() }))
}

pub(super) async fn create(
    State(context): State<Context>,
    Path(key): Path<GatewayKey>,
    Body(request): Body<TokenRequest>,
) -> Result<Json<TokenCreated>, Problem> {
    let TokenRequest { label, ttl_seconds } = request;
    if label.trim().is_empty() || label.len() > MAX_LABEL || label.chars().any(char::is_control) {
        let detail = format!("a label has 1 to {MAX_LABEL} bytes and no control character");
        return Err(Problem::unprocessable(detail));
    }
    let expires_at = match ttl_seconds {
        None => None,
        Some(0) => {
            return Err(Problem::unprocessable("a token that lives 0 seconds is of no use"));
        }
        Some(seconds) if seconds > MAX_TTL => {
            return Err(Problem::unprocessable("a token lives at most ten years"));
        }
        Some(seconds) => i64::try_from(seconds).ok().map(|seconds| Utc::now() + TimeDelta::seconds(seconds)),
    };
    let stored = context.gateway(&key).await?;
    if stored.metadata.deletion_timestamp.is_some() {
        return Err(Problem::terminating(&stored.metadata.key));
    }
    let minted = token::mint().map_err(|error| {
        tracing::error!(%error, "no randomness from the operating system");
        Problem::internal()
    })?;
    let new = NewToken { id: &minted.id, sha256: &minted.sha256, label: &label, expires_at };
    let revision = match context.store.add_token(stored.metadata.uid, new).await {
        Ok(revision) => revision,
        Err(TokenError::Gone) => return Err(Problem::not_found(&stored.metadata.key)),
        Err(TokenError::Db(error)) => return Err(error.into()),
        Err(error @ (TokenError::Duplicate | TokenError::Malformed)) => {
            tracing::error!(%error, "a token of ours was refused");
            return Err(Problem::internal());
        }
    };
    // A token is made to be used: somebody is about to connect.
    context.asked.about(&stored);
    Ok(Json(TokenCreated { id: minted.id, token: minted.token, revision, expires_at }))
}

/// The variable parts of a token's path.
#[derive(Debug, Deserialize)]
pub(super) struct TokenPath {
    namespace: String,
    name: String,
    id: String,
}

pub(super) async fn revoke(
    State(context): State<Context>,
    Path(TokenPath { namespace, name, id }): Path<TokenPath>,
) -> Result<Json<TokenRevoked>, Problem> {
    let stored = context.gateway(&GatewayKey { namespace, name }).await?;
    match context.store.revoke_token(stored.metadata.uid, &id).await? {
        Some(revision) => Ok(Json(TokenRevoked { revision })),
        None => Err(Problem::nothing_there(format!("{} has no token {id}", stored.metadata.key))),
    }
}
