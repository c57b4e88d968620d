//! `serve`: everything wired together, from the settings to the clean end.
//!
//! Order of start: settings, keys, database, the lock of this host, Engine and runtime directory, API, controller. What
//! is there twice waits at the lock; what cannot work says so before anything is touched. The end is the
//! reverse: sources of work and queue, then the API, then the connections, then an embedded Postgres.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bowline_api::{Api, Preview, SpecDirectory};
use bowline_controller::{Progress, RunError};
use bowline_core::desired;
use bowline_core::labels::Owner;
use bowline_host::Host;
use bowline_store::{DbError, HostLock, HostLocking, Store};
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;

pub(crate) mod args;
mod bridge;
mod database;
mod host;
mod keys;
mod notify;
mod settings;
mod signals;

pub(crate) use database::open;
pub(crate) use host::engine;
pub(crate) use settings::{StoreSettings, absolute, check_instance, host_name, key_source};

use args::ServeArgs;
use keys::Keys;
use settings::Settings;

/// The controller's socket below the runtime directory.
const CONTROLLER_SOCKET: &str = "controller/controller.sock";
/// Between two attempts to take this host's lock again, or to begin with the database.
const REST: Duration = Duration::from_secs(1);

/// Runs until a signal ends it or something fails.
pub(crate) async fn run(args: ServeArgs) -> Result<(), Failure> {
    let settings = Settings::of(args)?;
    settings.log.start();
    let stop = signals::stop_on_signal()?;
    let keys = Keys::load(&settings.keys)?;
    let Some(opened) = database::open(&settings.store, &settings.instance, &stop).await? else {
        return Ok(());
    };
    let served = Box::pin(serve(&settings, &opened.store, keys, &stop)).await;
    // Also when it failed: what was started here ends here.
    stop.cancel();
    opened.close().await;
    tracing::info!("ended");
    served
}

async fn serve(
    settings: &Settings,
    store: &Store,
    keys: Keys,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    keys.check(store).await?;
    let Some(lock) = lock(settings, store, stop).await? else { return Ok(()) };
    let row = store
        .register_host(&settings.host_name)
        .await
        .map_err(|error| Failure::ours("cannot write this host into the database").because(&error))?;
    let owner = Owner { instance: settings.instance.clone(), installation: store.installation() };
    let (host, prepared) = host::connect(settings, &owner).await?;
    keys.establish(store).await?;

    let desired = desired::Settings {
        owner,
        host: settings.host_name.clone(),
        runtime_dir: settings.runtime_dir.display().to_string(),
        bridge_dir: prepared.bridge_dir,
        gateway_image: settings.gateway_image.clone(),
        publish_address: settings.publish_address,
        allow_private_remotes: settings.allow_private_remotes,
        ranges: settings.ranges,
    };
    let specs = settings.spec_dir.clone().map(SpecDirectory::new);
    let api = Api::bind(bowline_api::Settings {
        socket: settings.socket.clone(),
        controller_socket: controller_socket(settings),
        version: env!("CARGO_PKG_VERSION"),
        preview: Preview { host: row.id, settings: desired.clone() },
        specs: specs.clone(),
    })
    .await
    .map_err(|error| Failure::ours("cannot open the API's socket").because(&error))?;
    tracing::info!(socket = %settings.socket.display(), "API listens");

    let api_stop = CancellationToken::new();
    let api = tokio::spawn(api.run(store.clone(), api_stop.clone()));
    let controller = bowline_controller::Settings {
        desired,
        concurrency: settings.concurrency,
        resync: settings.resync,
        socket: controller_socket(settings),
        keyring: keys.ring(),
        progress: Arc::new(Progress::default()),
    };
    let keys = tokio::spawn(keys.keep(store.clone(), stop.clone()));
    let watchdog = notify::watchdog().map(|period| {
        let progress = Arc::clone(&controller.progress);
        tokio::spawn(async move { notify::feed(period, |limit| progress.stalled(limit)).await })
    });
    let worked =
        Box::pin(work(settings, store, &Arc::new(host), &controller, specs.as_ref(), lock, stop)).await;
    notify::stopping();
    if let Some(watchdog) = watchdog {
        watchdog.abort();
    }
    // What it was doing is undone by the database, and the next start goes on with it.
    keys.abort();
    api_stop.cancel();
    if let Err(error) = api.await {
        tracing::error!(%error, "API ended badly");
    }
    worked
}

/// Runs the controller, and follows the spec directory, while this host's lock is held. It is lost with its session when Postgres goes away, and
/// somebody else may hold it by then: nothing is changed until it is ours again. The gateways do not notice, and
/// the API goes on and says itself that the database is away.
///
/// A database that goes away again before the controller has begun is the same loss, only noticed by another query.
async fn work(
    settings: &Settings,
    store: &Store,
    host: &Arc<Host>,
    controller: &bowline_controller::Settings,
    specs: Option<&SpecDirectory>,
    mut lock: HostLock,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    loop {
        let pause = stop.child_token();
        let listed = || {
            tracing::info!("everything listed; acting from now on");
            notify::ready();
        };
        let (controller, store_too, host) = (controller.clone(), store.clone(), Arc::clone(host));
        let working = bowline_controller::run(controller, store_too, host, pause.clone(), listed);
        tokio::pin!(working);
        let permit = specs.map(SpecDirectory::permit);
        let ended = tokio::select! {
            ended = working.as_mut() => Some(ended),
            () = lock.lost() => None,
        };
        drop(permit);
        match ended {
            Some(Err(RunError::Register(error))) if error.is_unavailable() => {
                tracing::error!(%error, "the database went away; nothing is changed until it is back");
                // Its session may have outlived the failure, and would stand in the way of the next.
                lock.release().await;
                if stop.run_until_cancelled(tokio::time::sleep(REST)).await.is_none() {
                    return Ok(());
                }
            }
            Some(ended) => {
                lock.release().await;
                return ended.map_err(|error| Failure::ours("the controller ended").because(&error));
            }
            None => {
                tracing::error!("lock of this host lost; nothing is changed until it is held again");
                pause.cancel();
                if let Err(error) = working.await {
                    tracing::error!(%error, "the controller ended badly");
                }
            }
        }
        lock = loop {
            match acquire(settings, store, stop).await {
                Ok(Some(lock)) => break lock,
                Ok(None) => return Ok(()),
                Err(error) => {
                    tracing::warn!(%error, "lock of this host not held yet; trying again");
                    if stop.run_until_cancelled(tokio::time::sleep(REST)).await.is_none() {
                        return Ok(());
                    }
                }
            }
        };
        tracing::info!("lock of this host held again");
    }
}

fn controller_socket(settings: &Settings) -> PathBuf {
    settings.runtime_dir.join(CONTROLLER_SOCKET)
}

/// The lock of this host for the first time: a database that does not give it is an error then.
async fn lock(
    settings: &Settings,
    store: &Store,
    stop: &CancellationToken,
) -> Result<Option<HostLock>, Failure> {
    let failed = |error: DbError| Failure::ours("cannot lock this host in the database").because(&error);
    acquire(settings, store, stop).await.map_err(failed)
}

/// The lock of this host; waits while somebody else has it, and says who. `None` when told to stop meanwhile.
async fn acquire(
    settings: &Settings,
    store: &Store,
    stop: &CancellationToken,
) -> Result<Option<HostLock>, DbError> {
    match store.try_lock_host(&settings.host_name).await? {
        HostLocking::Locked(lock) => return Ok(Some(lock)),
        HostLocking::Busy(holder) => {
            let (holder, since) = holder.map(|holder| (holder.application, holder.since)).unzip();
            tracing::warn!(
                host = settings.host_name,
                holder,
                since = ?since.flatten(),
                "another serve works on this host; waiting until it ends"
            );
        }
    }
    stop.run_until_cancelled(store.lock_host(&settings.host_name)).await.transpose()
}
