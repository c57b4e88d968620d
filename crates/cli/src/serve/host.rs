//! The host: an Engine that carries nothing of another installation, and a runtime directory that will do.

use std::collections::BTreeSet;

use bowline_core::labels::Owner;
use bowline_host::{ConnectError, Engine, Host, Prepared, SharedFileSystem};

use super::settings::Settings;
use crate::failure::Failure;

/// Directory of installed bridges below the state directory; the runtime directory may be mounted `noexec`.
const BRIDGE_STORE: &str = "bridge";

/// Connects to the Engine that the flags name.
pub(crate) async fn engine(docker_host: Option<&str>) -> Result<Engine, Failure> {
    Engine::connect(docker_host).await.map_err(|error: ConnectError| {
        Failure::ours("the Docker Engine cannot be used")
            .because(&error)
            .hint("--docker-host or DOCKER_HOST names another Engine")
    })
}

/// Connects, refuses what belongs to somebody else, and prepares the runtime directory.
pub(crate) async fn connect(settings: &Settings, owner: &Owner) -> Result<(Host, Prepared), Failure> {
    let engine = engine(settings.docker_host.as_deref()).await?;
    refuse_strangers(&engine, owner).await?;
    let host = Host::new(
        engine,
        bowline_host::Settings {
            owner: owner.clone(),
            host: settings.host_name.clone(),
            runtime_dir: settings.runtime_dir.clone(),
            bridge: settings.bridge.clone(),
            bridge_store: settings.store.state_dir.join(BRIDGE_STORE),
            publish: settings.publish_address,
            uids: settings.ranges.uids,
        },
    );
    let prepared = host
        .prepare()
        .await
        .map_err(|error| Failure::ours("this host cannot carry gateways").because(&error))?;
    for warning in &prepared.warnings {
        tracing::warn!(warning, "about this Engine");
    }
    if let SharedFileSystem::Unproven { reason } = &prepared.shared {
        tracing::warn!(reason, "not proven that the Engine sees the runtime directory");
    }
    tracing::info!(
        engine = prepared.engine_version,
        api = prepared.api_version,
        cgroup = prepared.cgroup_version,
        "Engine connected"
    );
    Ok((host, prepared))
}

/// With an empty or another database, everything on the Engine would look undeclared and be removed.
async fn refuse_strangers(engine: &Engine, owner: &Owner) -> Result<(), Failure> {
    let found = engine
        .found(&owner.instance, None, None)
        .await
        .map_err(|error| Failure::ours("the Docker Engine cannot be looked at").because(&error))?;
    let gateways: BTreeSet<_> =
        found.of_others(owner).into_iter().map(|identity| format!("gateway/{}", identity.key)).collect();
    if gateways.is_empty() {
        return Ok(());
    }
    let gateways: Vec<_> = gateways.into_iter().collect();
    Err(Failure::user(format!(
        "this Engine carries gateways of the instance {:?} that are not in this database: {}",
        owner.instance,
        gateways.join(", ")
    ))
    .hint(format!(
        "name the database that declares them, take them over with `bowline adopt --instance {0}`, \
         or remove them with `bowline teardown --instance {0}`",
        owner.instance
    )))
}
