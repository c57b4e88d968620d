//! The routes.

use std::sync::Arc;

use axum::routing::{delete, get, post, put};
use axum::{Router, middleware};
use bowline_core::object::{API_VERSION, GatewayKey, ObjectKey, Stored};
use bowline_store::Store;
use tokio_util::sync::CancellationToken;

use crate::asked::Asked;
use crate::controller::Controller;
use crate::hub::Hub;
use crate::middleware::around;
use crate::problem::Problem;
use crate::server::Settings;
use crate::specs::SpecDirectory;
use crate::wire::VersionInfo;

mod apply;
mod catalogs;
mod edit;
mod events;
mod holder;
mod keys;
mod logs;
mod objects;
mod plan;
mod requests;
mod secret_users;
mod secrets;
mod specs;
mod tokens;
mod volumes;
mod watch;

pub(crate) use apply::{Apply, ApplyError};
pub(crate) use objects::{Deleter, delete as delete_object};
pub use plan::Preview;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) store: Store,
    pub(crate) hub: Hub,
    pub(crate) stop: CancellationToken,
    pub(crate) service_uid: u32,
    /// The spec directory, where one is followed.
    specs: Option<SpecDirectory>,
    version: &'static str,
    controller: Controller,
    asked: Asked,
    preview: Arc<Preview>,
}

impl Context {
    pub(crate) fn new(store: Store, settings: Settings, hub: Hub, stop: CancellationToken) -> Self {
        let Settings { socket: _, controller_socket, version, preview, specs } = settings;
        let controller = Controller::at(controller_socket);
        Context {
            asked: Asked::new(controller.clone(), stop.clone()),
            store,
            hub,
            stop,
            service_uid: rustix::process::geteuid().as_raw(),
            specs,
            version,
            controller,
            preview: Arc::new(preview),
        }
    }

    /// The Gateway of this key.
    async fn gateway(&self, key: &GatewayKey) -> Result<Stored, Problem> {
        let key = ObjectKey::gateway(&key.namespace, &key.name);
        self.store.get(&key).await?.ok_or_else(|| Problem::not_found(&key))
    }
}

/// All routes, each behind the check of the peer.
pub(crate) fn router(context: Context) -> Router {
    const GATEWAY: &str = "/v1/namespaces/{namespace}/gateways/{name}";
    const CATALOG: &str = "/v1/namespaces/{namespace}/catalogs/{name}";
    const SECRET: &str = "/v1/namespaces/{namespace}/secrets/{name}";
    Router::new()
        .route("/v1/version", get(version))
        .route("/v1/apply", post(apply::apply))
        .route("/v1/specs", get(specs::list))
        .route("/v1/specs/confirm", post(specs::confirm))
        .route("/v1/watch", get(watch::watch))
        .route("/v1/clustercatalogs", get(objects::list_cluster_catalogs))
        .route(
            "/v1/clustercatalogs/{name}",
            get(objects::get_cluster_catalog).delete(objects::delete_cluster_catalog),
        )
        .route("/v1/clustercatalogs/{name}", put(edit::replace_cluster_catalog))
        .route("/v1/catalogs", get(objects::list_all_catalogs))
        .route("/v1/namespaces/{namespace}/catalogs", get(objects::list_catalogs))
        .route(CATALOG, get(objects::get_catalog).delete(objects::delete_catalog))
        .route(CATALOG, put(edit::replace_catalog))
        .route("/v1/keys", get(keys::status))
        .route("/v1/keys/rotate", post(keys::rotate))
        .route("/v1/secrets", get(secrets::list_all))
        .route("/v1/namespaces/{namespace}/secrets", get(secrets::list_of_namespace))
        .route(SECRET, get(secrets::get).put(edit::replace_secret).delete(objects::delete_secret))
        .route(&format!("{SECRET}/keys"), put(secrets::set_keys))
        .route(&format!("{SECRET}/keys/{{key}}"), delete(secrets::delete_key))
        .route("/v1/events", get(events::events))
        .route("/v1/gateways", get(objects::list_all_gateways))
        .route("/v1/namespaces/{namespace}/gateways", get(objects::list_gateways).post(edit::create_gateway))
        .route(GATEWAY, get(objects::get_gateway).delete(objects::delete_gateway))
        .route(GATEWAY, put(edit::replace_gateway))
        .route(&format!("{GATEWAY}/restart"), post(requests::restart))
        .route(&format!("{GATEWAY}/retry"), post(requests::retry))
        .route(&format!("{GATEWAY}/events"), get(objects::events))
        .route(&format!("{GATEWAY}/logs"), get(logs::logs))
        .route(&format!("{GATEWAY}/tokens"), get(tokens::list).post(tokens::create))
        .route(&format!("{GATEWAY}/tokens/{{id}}"), delete(tokens::revoke))
        .route("/v1/volumes", get(volumes::list_all))
        .route("/v1/namespaces/{namespace}/volumes", get(volumes::list_of_namespace))
        .route("/v1/namespaces/{namespace}/volumes/{server}/{volume}", delete(volumes::remove))
        .fallback(async || Problem::nothing_there("there is nothing at this path"))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(middleware::from_fn_with_state(context.clone(), around))
        .with_state(context)
}

async fn version(axum::extract::State(context): axum::extract::State<Context>) -> axum::Json<VersionInfo> {
    axum::Json(VersionInfo {
        version: context.version.to_owned(),
        api_version: API_VERSION.to_owned(),
        instance: context.store.instance().to_owned(),
        installation: context.store.installation(),
    })
}
