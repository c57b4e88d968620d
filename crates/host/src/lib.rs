//! The only crate that looks at or changes the host: the Docker Engine and the files below the runtime directory.
//!
//! [`Engine`] is the connection alone; it can say what of an instance is on the Engine and take it away, with no
//! database behind it. [`Host`] adds whose objects are ours and where their files live: it observes one gateway,
//! executes one step of a plan, and tells by [`Host::events`] when it may be worth looking again.
//!
//! What is ours is said by labels (instance *and* installation) and, for directories, by a mark in their root.
//! Every call that changes an existing object reads its labels first and goes by its full id; every file operation
//! starts at an opened directory whose mark was read, and follows no link.

mod create;
mod engine;
mod error;
mod events;
mod execute;
mod files;
mod found;
mod http;
mod logs;
mod observe;
mod prepare;
mod probe;
mod pulls;
mod tries;
mod volumes;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bowline_core::labels::{Identity, Owner};
use bowline_core::lease::Range;
use bowline_core::object::GatewayKey;
use uuid::Uuid;

pub use create::create_body;
pub use engine::{ConnectError, Engine, EngineVersion};
pub use error::HostError;
pub use events::HostHint;
pub use files::{MARK_FILE, Mark};
pub use found::{Found, FoundContainer, FoundNetwork, FoundTree, TornDown};
pub use logs::{LogLine, LogOptions, LogStream, LogsError};
pub use observe::{Inventory, InventoryItem};
pub use prepare::{PrepareError, Prepared, SharedFileSystem};
pub use probe::{ProbeAnswer, ReloadError};

use files::Trees;
use pulls::Pulls;
use volumes::Walks;

/// What a [`Host`] is told once, at start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whose labels and marks are ours.
    pub owner: Owner,
    /// Name of this host, for the labels.
    pub host: String,
    /// Directory on tmpfs that holds the files of all gateways. Absolute.
    pub runtime_dir: PathBuf,
    /// The static bridge binary.
    pub bridge: PathBuf,
    /// Directory below which bridges are installed; on a file system that is mounted without `noexec` (Debian
    /// mounts `/run` with it), so usually below the state directory.
    pub bridge_store: PathBuf,
    /// Address on which gateways are published.
    pub publish: IpAddr,
    /// The uids that containers are given: whose volumes are given on.
    pub uids: Range,
}

/// This host: its Engine and its files, as one owner sees them.
#[derive(Debug)]
pub struct Host {
    engine: Engine,
    settings: Settings,
    trees: Arc<Trees>,
    pulls: Pulls,
    walks: Walks,
    /// Names that were found taken.
    taken: Mutex<BTreeMap<GatewayKey, BTreeMap<String, observe::Taken>>>,
}

impl Host {
    /// The host behind `engine`. Touches nothing: see [`Host::prepare`].
    pub fn new(engine: Engine, settings: Settings) -> Self {
        let trees = Arc::new(Trees::new(&settings.runtime_dir, settings.owner.clone()));
        let pulls = Pulls::new(engine.clone());
        Host { engine, settings, trees, pulls, walks: Walks::default(), taken: Mutex::default() }
    }

    /// The connection to the Engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Directory of one gateway's files, `<runtime directory>/gateways/<uid>`: the prefix of its bind sources.
    pub fn tree_path(&self, uid: Uuid) -> PathBuf {
        self.trees.path(uid)
    }

    /// Lets those of these images that could not be pulled be tried again at once: somebody asked for it.
    pub fn forget_failed_pulls(&self, references: &BTreeSet<String>) {
        self.pulls.forget_failures(references);
    }

    /// Whether labels that were read say: this owner's, and this gateway's.
    fn owns(&self, identity: &Identity, key: &GatewayKey) -> bool {
        identity.owner == self.settings.owner && identity.key == *key
    }
}

/// Runs file operations where they hold up no task. A panic goes on in the caller.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that is shutting down cancels, and then nobody waits for the value.
            Err(_) => std::future::pending().await,
        },
    }
}
