//! Volumes of tenants: listed, and removed when no gateway uses them.

use axum::Json;
use axum::extract::State;
use bowline_core::volume::VolumeKey;
use bowline_store::{RemovalAnswer, VolumeRow};
use serde::Deserialize;

use super::Context;
use crate::body::Path;
use crate::problem::Problem;
use crate::wire::{VolumeItem, VolumeList};

/// The variable parts of a volume's path.
#[derive(Debug, Deserialize)]
pub(super) struct VolumePath {
    namespace: String,
    server: String,
    volume: String,
}

pub(super) async fn list_all(State(context): State<Context>) -> Result<Json<VolumeList>, Problem> {
    list(&context, None).await
}

pub(super) async fn list_of_namespace(
    State(context): State<Context>,
    Path(namespace): Path<String>,
) -> Result<Json<VolumeList>, Problem> {
    list(&context, Some(&namespace)).await
}

/// Asks for the removal; it goes on after the answer.
pub(super) async fn remove(
    State(context): State<Context>,
    Path(VolumePath { namespace, server, volume }): Path<VolumePath>,
) -> Result<Json<VolumeList>, Problem> {
    let key = VolumeKey { server, volume };
    match context.store.remove_volume(&namespace, &key).await? {
        RemovalAnswer::Asked => {
            let rows = context.store.volumes(Some(&namespace)).await?;
            Ok(Json(VolumeList { items: rows.into_iter().filter(|row| row.key == key).map(item).collect() }))
        }
        RemovalAnswer::InUse(gateway) => Err(Problem::volume_in_use(&namespace, &key, &gateway)),
        RemovalAnswer::Absent => {
            Err(Problem::nothing_there(format!("the namespace {namespace} has no volume {key}"))
                .with_hint(format!("bowline get volumes -n {namespace}")))
        }
    }
}

async fn list(context: &Context, namespace: Option<&str>) -> Result<Json<VolumeList>, Problem> {
    let rows = context.store.volumes(namespace).await?;
    Ok(Json(VolumeList { items: rows.into_iter().map(item).collect() }))
}

fn item(row: VolumeRow) -> VolumeItem {
    let VolumeRow {
        namespace,
        key,
        host,
        engine_name,
        holder,
        created_at,
        removal_asked_at,
        removal_problem,
    } = row;
    VolumeItem {
        namespace,
        server: key.server,
        name: key.volume,
        host,
        engine_name,
        used_by: holder,
        created_at,
        removal_asked_at,
        removal_problem,
    }
}
