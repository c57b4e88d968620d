//! What users ask of a gateway that runs: restart a part of it, or try again what has failed.

use axum::Json;
use axum::extract::State;
use bowline_core::catalog::{ServerKind, merge};
use bowline_core::object::{GatewayKey, ObjectKey, Stored};
use bowline_core::resource::{CatalogRef, CatalogSpec, GatewaySpec};
use bowline_store::GatewayError;

use super::Context;
use super::apply::stored_spec;
use crate::body::{Json as Body, Path};
use crate::problem::Problem;
use crate::wire::{UnitRequest, UnitRequested};

pub(super) async fn restart(
    State(context): State<Context>,
    Path(key): Path<GatewayKey>,
    Body(UnitRequest { unit }): Body<UnitRequest>,
) -> Result<Json<UnitRequested>, Problem> {
    let gateway = context.gateway(&key).await?;
    let key = gateway.metadata.key.clone();
    let spec = check(&gateway, &unit)?;
    if spec.is_suspended() {
        return Err(Problem::unprocessable(format!("{key} is suspended: nothing of it runs"))
            .with_hint("apply it with `suspend: false`, which starts it"));
    }
    let disabled = spec.servers.iter().find(|server| server_of(&unit) == Some(&server.name));
    if let Some(server) = disabled.filter(|server| !server.is_enabled()) {
        return Err(Problem::unprocessable(format!("server {} of {key} is disabled", server.name))
            .with_hint(format!("bowline enable {} {}", short(&key), server.name)));
    }
    if let Some(server) = server_of(&unit)
        && is_remote(&context, &gateway, &spec, server).await?
    {
        return Err(Problem::unprocessable(format!(
            "server {server} of {key} is a remote one: nothing of it runs here that could be restarted"
        ))
        .with_hint(format!("bowline restart gateway {} connects to its remote servers anew", short(&key))));
    }
    let revision = noted(context.store.request_restart(gateway.metadata.uid, &unit).await, &key)?;
    Ok(Json(UnitRequested { key, unit, revision }))
}

pub(super) async fn retry(
    State(context): State<Context>,
    Path(key): Path<GatewayKey>,
    Body(UnitRequest { unit }): Body<UnitRequest>,
) -> Result<Json<UnitRequested>, Problem> {
    let gateway = context.gateway(&key).await?;
    let key = gateway.metadata.key.clone();
    check_unit(&unit)?;
    // One that is being deleted may be retried: what cannot be removed waits for its next try, too.
    if gateway.metadata.deletion_timestamp.is_none() {
        check(&gateway, &unit)?;
    }
    let revision = noted(context.store.request_retry(gateway.metadata.uid, &unit).await, &key)?;
    Ok(Json(UnitRequested { key, unit, revision }))
}

/// The server of the unit `server:<name>`.
fn server_of(unit: &str) -> Option<&str> {
    unit.strip_prefix("server:")
}

fn check_unit(unit: &str) -> Result<(), Problem> {
    if matches!(unit, "*" | "gateway") || server_of(unit).is_some_and(|server| !server.is_empty()) {
        return Ok(());
    }
    Err(Problem::unprocessable(format!("{unit:?} is no part of a gateway"))
        .with_hint("name `gateway`, `server:<name>`, or `*` for all of them"))
}

/// Refuses a unit that this gateway does not have; gives its specification.
fn check(gateway: &Stored, unit: &str) -> Result<GatewaySpec, Problem> {
    let key = &gateway.metadata.key;
    check_unit(unit)?;
    if gateway.metadata.deletion_timestamp.is_some() {
        return Err(Problem::terminating(key));
    }
    let spec: GatewaySpec = stored_spec(gateway)?;
    if let Some(server) = server_of(unit)
        && !spec.servers.iter().any(|known| known.name == server)
    {
        let known: Vec<_> = spec.servers.iter().map(|server| server.name.as_str()).collect();
        let known =
            if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) };
        return Err(Problem::nothing_there(format!("{key} has no server {server:?}")).with_hint(known));
    }
    Ok(spec)
}

/// Whether a server of the gateway is an address elsewhere. One that no catalog has is nothing yet, and not that.
async fn is_remote(
    context: &Context,
    gateway: &Stored,
    spec: &GatewaySpec,
    server: &str,
) -> Result<bool, Problem> {
    let namespace = gateway.metadata.key.namespace.clone().unwrap_or_default();
    let key = GatewayKey::new(namespace, &gateway.metadata.key.name);
    let Some(record) = context.store.load_gateway(&key).await? else { return Ok(false) };
    let mut layers: Vec<(&CatalogRef, CatalogSpec)> = Vec::with_capacity(spec.catalogs.len());
    for reference in &spec.catalogs {
        if let Some(stored) = record.catalogs.get(&reference.key()) {
            layers.push((reference, stored_spec(stored)?));
        }
    }
    let entries = merge(layers.iter().map(|(reference, spec)| (*reference, spec)));
    Ok(entries.get(server).is_some_and(|merged| merged.entry.kind() == ServerKind::Remote))
}

fn noted(revision: Result<i64, GatewayError>, key: &ObjectKey) -> Result<i64, Problem> {
    revision.map_err(|error| match error {
        GatewayError::Gone => Problem::not_found(key),
        GatewayError::Db(error) => error.into(),
    })
}

/// `NS/NAME`, as the verbs read a gateway.
fn short(key: &ObjectKey) -> String {
    format!("{}/{}", key.namespace.as_deref().unwrap_or_default(), key.name)
}
