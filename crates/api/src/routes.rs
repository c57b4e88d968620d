//! The routes.

use std::path::PathBuf;
use std::sync::Arc;

use axum::routing::{delete, get, post};
use axum::{Router, middleware};
use bowline_core::object::{API_VERSION, GatewayKey, ObjectKey, Stored};
use bowline_store::Store;
use tokio_util::sync::CancellationToken;

use crate::hub::Hub;
use crate::middleware::around;
use crate::problem::Problem;
use crate::server::Settings;
use crate::wire::VersionInfo;

mod apply;
mod logs;
mod objects;
mod plan;
mod tokens;
mod watch;

pub use plan::Preview;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) store: Store,
    pub(crate) hub: Hub,
    pub(crate) stop: CancellationToken,
    pub(crate) service_uid: u32,
    version: &'static str,
    controller_socket: Arc<PathBuf>,
    preview: Arc<Preview>,
}

impl Context {
    pub(crate) fn new(store: Store, settings: Settings, hub: Hub, stop: CancellationToken) -> Self {
        let Settings { socket: _, controller_socket, version, preview } = settings;
        Context {
            store,
            hub,
            stop,
            service_uid: rustix::process::geteuid().as_raw(),
            version,
            controller_socket: Arc::new(controller_socket),
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
    Router::new()
        .route("/v1/version", get(version))
        .route("/v1/apply", post(apply::apply))
        .route("/v1/watch", get(watch::watch))
        .route("/v1/clustercatalogs", get(objects::list_catalogs))
        .route("/v1/clustercatalogs/{name}", get(objects::get_catalog).delete(objects::delete_catalog))
        .route("/v1/gateways", get(objects::list_all_gateways))
        .route("/v1/namespaces/{namespace}/gateways", get(objects::list_gateways))
        .route(GATEWAY, get(objects::get_gateway).delete(objects::delete_gateway))
        .route(&format!("{GATEWAY}/events"), get(objects::events))
        .route(&format!("{GATEWAY}/logs"), get(logs::logs))
        .route(&format!("{GATEWAY}/tokens"), get(tokens::list).post(tokens::create))
        .route(&format!("{GATEWAY}/tokens/{{id}}"), delete(tokens::revoke))
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
