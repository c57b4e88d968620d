//! Reading and deleting objects.

use axum::Json;
use axum::extract::State;
use bowline_core::object::{GatewayKey, Kind, ObjectKey};
use bowline_store::Marked;
use serde::Deserialize;

use super::Context;
use crate::body::{Path, Query};
use crate::problem::Problem;
use crate::wire::{DeleteResponse, EventList, Object, ObjectList};

pub(super) async fn list_catalogs(State(context): State<Context>) -> Result<Json<ObjectList>, Problem> {
    list(&context, Kind::ClusterCatalog, None).await
}

pub(super) async fn list_all_gateways(State(context): State<Context>) -> Result<Json<ObjectList>, Problem> {
    list(&context, Kind::Gateway, None).await
}

pub(super) async fn list_gateways(
    State(context): State<Context>,
    Path(namespace): Path<String>,
) -> Result<Json<ObjectList>, Problem> {
    list(&context, Kind::Gateway, Some(&namespace)).await
}

pub(super) async fn get_catalog(
    State(context): State<Context>,
    Path(name): Path<String>,
) -> Result<Json<Object>, Problem> {
    get(&context, &ObjectKey::cluster_catalog(name)).await
}

pub(super) async fn get_gateway(
    State(context): State<Context>,
    Path(key): Path<GatewayKey>,
) -> Result<Json<Object>, Problem> {
    Ok(Json(context.gateway(&key).await?.into()))
}

/// The query of a deletion.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteQuery {
    #[serde(default)]
    force: bool,
}

pub(super) async fn delete_catalog(
    State(context): State<Context>,
    Path(name): Path<String>,
    Query(query): Query<DeleteQuery>,
) -> Result<Json<DeleteResponse>, Problem> {
    delete(&context, ObjectKey::cluster_catalog(name), query.force).await
}

pub(super) async fn delete_gateway(
    State(context): State<Context>,
    Path(key): Path<GatewayKey>,
    Query(query): Query<DeleteQuery>,
) -> Result<Json<DeleteResponse>, Problem> {
    delete(&context, ObjectKey::gateway(key.namespace, key.name), query.force).await
}

pub(super) async fn events(
    State(context): State<Context>,
    Path(key): Path<GatewayKey>,
) -> Result<Json<EventList>, Problem> {
    let uid = context.gateway(&key).await?.metadata.uid;
    Ok(Json(EventList { items: context.store.events(uid).await? }))
}

async fn list(context: &Context, kind: Kind, namespace: Option<&str>) -> Result<Json<ObjectList>, Problem> {
    let listing = context.store.list(kind, namespace).await?;
    let items = listing.items.into_iter().map(Object::from).collect();
    Ok(Json(ObjectList { items, resource_version: listing.version }))
}

async fn get(context: &Context, key: &ObjectKey) -> Result<Json<Object>, Problem> {
    let stored = context.store.get(key).await?.ok_or_else(|| Problem::not_found(key))?;
    Ok(Json(stored.into()))
}

async fn delete(context: &Context, key: ObjectKey, force: bool) -> Result<Json<DeleteResponse>, Problem> {
    let mut write = context.store.begin_write().await?;
    write.exclude_others().await?;
    if key.kind == Kind::ClusterCatalog && !force {
        let mut users = Vec::new();
        for user in write.gateways_using(&key.name).await? {
            let gateway = write.get(&ObjectKey::gateway(&user.namespace, &user.name)).await?;
            // One that is being deleted needs no catalog any more.
            if gateway.is_some_and(|gateway| gateway.metadata.deletion_timestamp.is_none()) {
                users.push(user);
            }
        }
        if !users.is_empty() {
            return Err(Problem::in_use(&key.to_string(), &users));
        }
    }
    let (uid, gone) = match write.mark_deleted(&key).await? {
        Marked::Absent => return Err(Problem::not_found(&key)),
        Marked::Removed(uid) => (uid, true),
        Marked::Terminating(uid) | Marked::AlreadyTerminating(uid) => (uid, false),
    };
    write.commit().await?;
    Ok(Json(DeleteResponse { key, uid, gone }))
}
