//! The keys for which secrets are sealed: shown, and replaced when asked. The controller does the replacing.

use axum::Json;
use axum::extract::State;
use bowline_store::SealingKey;

use super::Context;
use crate::problem::Problem;
use crate::wire::{KeysStatus, SealingKeyItem};

pub(super) async fn status(State(context): State<Context>) -> Result<Json<KeysStatus>, Problem> {
    // In this order: when no new key is awaited any more, it is among the keys.
    let rotation = context.store.rotation_status().await?;
    let keys = context.store.sealing_keys().await?;
    Ok(Json(KeysStatus {
        items: keys.into_iter().map(item).collect(),
        asked_at: rotation.asked_at,
        problem: rotation.problem,
        remaining: rotation.remaining,
    }))
}

/// Asks for a new key; it is made after the answer.
pub(super) async fn rotate(State(context): State<Context>) -> Result<Json<KeysStatus>, Problem> {
    context.store.ask_rotation().await?;
    status(State(context)).await
}

fn item(key: SealingKey) -> SealingKeyItem {
    let SealingKey { id, newest, on_disk, values, created_at, retired_at } = key;
    SealingKeyItem { id: id.to_string(), newest, on_disk, values, created_at, retired_at }
}
