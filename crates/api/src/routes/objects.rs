//! Reading and deleting objects.

use axum::Json;
use axum::extract::State;
use bowline_core::object::{GatewayKey, Kind, ObjectKey};
use bowline_store::Marked;
use serde::Deserialize;

use super::holder::file_of;
use super::{Context, catalogs, secret_users};
use crate::body::{Path, Query};
use crate::problem::Problem;
use crate::wire::{DeleteResponse, EventList, Object, ObjectList};

pub(super) async fn list_cluster_catalogs(
    State(context): State<Context>,
) -> Result<Json<ObjectList>, Problem> {
    list(&context, Kind::ClusterCatalog, None).await
}

pub(super) async fn list_all_catalogs(State(context): State<Context>) -> Result<Json<ObjectList>, Problem> {
    list(&context, Kind::Catalog, None).await
}

pub(super) async fn list_catalogs(
    State(context): State<Context>,
    Path(namespace): Path<String>,
) -> Result<Json<ObjectList>, Problem> {
    list(&context, Kind::Catalog, Some(&namespace)).await
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

pub(super) async fn get_cluster_catalog(
    State(context): State<Context>,
    Path(name): Path<String>,
) -> Result<Json<Object>, Problem> {
    get(&context, &ObjectKey::cluster_catalog(name)).await
}

pub(super) async fn get_catalog(
    State(context): State<Context>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Json<Object>, Problem> {
    get(&context, &ObjectKey::catalog(namespace, name)).await
}

pub(super) async fn get_gateway(
    State(context): State<Context>,
    Path(key): Path<GatewayKey>,
) -> Result<Json<Object>, Problem> {
    let gateway = context.gateway(&key).await?;
    context.asked.about(&gateway);
    Ok(Json(gateway.into()))
}

/// The query of a deletion.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteQuery {
    #[serde(default)]
    force: bool,
}

/// The query of a gateway's deletion.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteGatewayQuery {
    #[serde(default)]
    force: bool,
    /// Whether the volumes of its servers go, too.
    #[serde(default)]
    volumes: bool,
}

pub(super) async fn delete_cluster_catalog(
    State(context): State<Context>,
    Path(name): Path<String>,
    Query(query): Query<DeleteQuery>,
) -> Result<Json<DeleteResponse>, Problem> {
    let deleter = Deleter::Client { force: query.force, volumes: false };
    delete(&context, ObjectKey::cluster_catalog(name), deleter).await.map(Json)
}

pub(super) async fn delete_catalog(
    State(context): State<Context>,
    Path((namespace, name)): Path<(String, String)>,
    Query(query): Query<DeleteQuery>,
) -> Result<Json<DeleteResponse>, Problem> {
    let key = ObjectKey::catalog(namespace, name);
    delete(&context, key, Deleter::Client { force: query.force, volumes: false }).await.map(Json)
}

pub(super) async fn delete_secret(
    State(context): State<Context>,
    Path((namespace, name)): Path<(String, String)>,
    Query(query): Query<DeleteQuery>,
) -> Result<Json<DeleteResponse>, Problem> {
    let key = ObjectKey::secret(namespace, name);
    delete(&context, key, Deleter::Client { force: query.force, volumes: false }).await.map(Json)
}

pub(super) async fn delete_gateway(
    State(context): State<Context>,
    Path(key): Path<GatewayKey>,
    Query(DeleteGatewayQuery { force, volumes }): Query<DeleteGatewayQuery>,
) -> Result<Json<DeleteResponse>, Problem> {
    let deleter = Deleter::Client { force, volumes };
    delete(&context, ObjectKey::gateway(key.namespace, key.name), deleter).await.map(Json)
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

/// Who asks for a deletion.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Deleter<'a> {
    /// A client, who may insist: on an object that a file declares, and on a catalog or a Secret that is in use. With
    /// `volumes` the volumes that a gateway uses go with it.
    Client { force: bool, volumes: bool },
    /// The file of this path, which has declared the object and does so no more.
    File(&'a str),
}

/// Asks for the deletion of `key`.
pub(crate) async fn delete(
    context: &Context,
    key: ObjectKey,
    deleter: Deleter<'_>,
) -> Result<DeleteResponse, Problem> {
    let mut write = context.store.begin_write().await?;
    write.exclude_others().await?;
    let stored = write.get(&key).await?.ok_or_else(|| Problem::not_found(&key))?;
    let file = file_of(&stored.metadata.managed_by);
    let force = match (deleter, file) {
        (Deleter::Client { force: false, .. }, Some(file)) => {
            return Err(Problem::managed(&[(key, file.to_owned())]));
        }
        // Somebody else has taken it meanwhile: what this file had is gone.
        (Deleter::File(path), file) if file != Some(path) => return Err(Problem::not_found(&key)),
        (Deleter::Client { force, .. }, _) => force,
        (Deleter::File(_), _) => false,
    };
    if !force {
        catalogs::refuse_if_used(&mut write, &key).await?;
        secret_users::refuse_if_used(&mut write, &key).await?;
    }
    let (uid, gone) = match write.mark_deleted(&key).await? {
        Marked::Absent => return Err(Problem::not_found(&key)),
        Marked::Removed(uid) => (uid, true),
        Marked::Terminating(uid) | Marked::AlreadyTerminating(uid) => (uid, false),
    };
    let volumes = match deleter {
        Deleter::Client { volumes: true, .. } => write.remove_held_volumes(uid).await?,
        Deleter::Client { volumes: false, .. } | Deleter::File(_) => Vec::new(),
    };
    write.commit().await?;
    Ok(DeleteResponse { key, uid, gone, volumes: volumes.iter().map(ToString::to_string).collect() })
}
