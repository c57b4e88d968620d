//! What has to hold before `serve` may begin: a runtime directory on tmpfs that is ours alone and that the Engine
//! sees, too, and the bridge where containers can run it.

use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType, SystemInfo};
use bollard::query_parameters::{CreateContainerOptions, RemoveContainerOptionsBuilder};
use bowline_core::gateway_file::BRIDGE_FILE;
use bowline_core::labels::Owner;
use rustix::fs::{self, Mode, StatVfsMountFlags};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::engine::{CHANGE, Engine, LIST, within};
use crate::error::{CallError, HostError};
use crate::files::{self, GATEWAYS, KEY_FILE, NEW, read_regular, remove_entry, write_atomically};
use crate::{Host, blocking};

/// Name, in the runtime directory, of the file that says whose it is.
pub(crate) const INSTANCE_FILE: &str = "instance.json";
/// No such file is larger.
const INSTANCE_BYTES: u64 = 4096;
/// Directories of the API's and the controller's sockets in the runtime directory.
const API: &str = "api";
const CONTROLLER: &str = "controller";
/// The flags that name the runtime directory and the one with the bridges.
const RUNTIME_FLAG: &str = "--runtime-dir";
const STATE_FLAG: &str = "--state-dir";
/// File system types that live in memory.
const TMPFS_MAGIC: i64 = 0x0102_1994;
const RAMFS_MAGIC: i64 = 0x8584_58f6;
/// Since this version the Engine keeps neighbours from ports published on loopback (moby#45610).
const GUARDS_LOOPBACK: u32 = 28;

/// What was found and made at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Version of the Engine.
    pub engine_version: String,
    /// Version of the API in use.
    pub api_version: String,
    /// `1` or `2`; empty when the Engine does not say.
    pub cgroup_version: String,
    /// The Engine's own directory, which no bind may have as source.
    pub docker_root: String,
    /// Directory with the bridge: the source of the bind at `BRIDGE_DIR` in every server's container.
    pub bridge_dir: String,
    /// Whether the Engine sees our files.
    pub shared: SharedFileSystem,
    /// What an admin should know about this Engine.
    pub warnings: Vec<String>,
}

/// Whether we and the Engine see the same files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SharedFileSystem {
    /// A directory that we made just now, under a random name, is there for the Engine, and one that we did not
    /// make is not.
    Proven,
    /// The Engine did not look at bind sources when it was asked to.
    Unproven {
        /// What it did instead.
        reason: String,
    },
}

/// Why `serve` cannot begin on this host.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The runtime directory is no absolute path.
    #[error("the runtime directory {0} is not an absolute path (--runtime-dir)")]
    Relative(PathBuf),
    /// The runtime directory is on a disk.
    #[error(
        "the runtime directory {0} is not on tmpfs, and secrets must not reach a disk; name one that is with \
         --runtime-dir, for example below /dev/shm"
    )]
    NotTmpfs(PathBuf),
    /// The runtime directory is another instance's or installation's.
    #[error(
        "the runtime directory {path} belongs to instance {:?} with installation {}; name another with --runtime-dir",
        .owner.instance, .owner.installation
    )]
    Taken {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: Owner,
    },
    /// A directory of ours was made by another user, who could have put anything into it.
    #[error(
        "{path} belongs to the user with uid {uid} and not to us (uid {}), so nothing in it can be trusted; remove \
         it, or name another directory with {flag}",
        rustix::process::geteuid().as_raw()
    )]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
        /// The flag that names it or a directory above it.
        flag: &'static str,
    },
    /// Others may change what is in a directory of ours.
    #[error(
        "{path} can be written to by others (mode {mode:04o}), so nothing in it can be trusted; remove it, or name \
         another directory with {flag}"
    )]
    Writable {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The flag that names it or a directory above it.
        flag: &'static str,
    },
    /// The Engine does not see our files.
    #[error(
        "the Docker Engine does not see {0}: it runs on another machine or in another mount namespace, but \
         containers need directories of this one"
    )]
    NotShared(PathBuf),
    /// The bridge is no program.
    #[error("the bridge {0} is no ELF program")]
    BridgeKind(PathBuf),
    /// Nothing can be run where bridges are installed.
    #[error(
        "{0} is on a file system that is mounted with noexec, and containers must run the bridge from there"
    )]
    NoExec(PathBuf),
    /// The file system refused.
    #[error("cannot {what} {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The Engine could not be asked.
    #[error(transparent)]
    Host(#[from] HostError),
}

impl Host {
    /// Makes the runtime directory ready and installs the bridge; repeatable. To be called once before anything
    /// else that writes files.
    ///
    /// # Errors
    /// See [`PrepareError`]; each says what to do.
    pub async fn prepare(&self) -> Result<Prepared, PrepareError> {
        let (runtime, owner) = (self.settings.runtime_dir.clone(), self.settings.owner.clone());
        blocking(move || prepare_runtime(&runtime, &owner)).await?;
        let trees = Arc::clone(&self.trees);
        let gateways = self.settings.runtime_dir.join(GATEWAYS);
        blocking(move || trees.sweep()).await.map_err(io_at("sweep", &gateways))?;
        let (trees, file_key) = (Arc::clone(&self.trees), self.settings.runtime_dir.join(KEY_FILE));
        blocking(move || trees.file_key()).await.map_err(io_at("read or make", &file_key))?;
        let (bridge, store) = (self.settings.bridge.clone(), self.settings.bridge_store.clone());
        let bridge_dir = blocking(move || install_bridge(&bridge, &store)).await?;
        let shared = self.prove_shared().await?;
        let info = within(LIST, self.engine.docker.info())
            .await
            .map_err(HostError::call("ask the Engine about itself"))?;
        let version = self.engine.version();
        Ok(Prepared {
            engine_version: version.engine.clone(),
            api_version: version.api.clone(),
            cgroup_version: info.cgroup_version.map(|version| version.to_string()).unwrap_or_default(),
            docker_root: info.docker_root_dir.clone().unwrap_or_default(),
            bridge_dir: bridge_dir.display().to_string(),
            shared,
            warnings: warnings(&self.engine, &info),
        })
    }

    async fn prove_shared(&self) -> Result<SharedFileSystem, PrepareError> {
        let runtime = &self.settings.runtime_dir;
        // Named as unfinished trees are, so that the next sweep takes what a crash leaves.
        let fresh = || runtime.join(GATEWAYS).join(format!("{NEW}{}", Uuid::now_v7()));
        let (there, missing) = (fresh(), fresh());
        tokio::fs::create_dir(&there).await.map_err(io_at("make", &there))?;
        let answers = async {
            Ok::<_, HostError>((self.engine.sees(&missing).await?, self.engine.sees(&there).await?))
        };
        let answers = answers.await;
        tokio::fs::remove_dir(&there).await.map_err(io_at("remove", &there))?;
        match answers? {
            (false, true) => Ok(SharedFileSystem::Proven),
            (_, false) => Err(PrepareError::NotShared(runtime.clone())),
            (true, true) => Ok(SharedFileSystem::Unproven {
                reason: "the Engine accepted a bind source that does not exist".to_owned(),
            }),
        }
    }
}

impl Engine {
    /// Whether the Engine finds a directory: it checks the sources of mounts before it looks for the image, and
    /// here there is none, so that nothing is made either way (400 for the source, 404 for the image).
    async fn sees(&self, directory: &Path) -> Result<bool, HostError> {
        const WHAT: &str = "ask the Engine for a directory";
        let mount = Mount {
            typ: Some(MountType::BIND),
            source: Some(directory.display().to_string()),
            target: Some("/proof".to_owned()),
            read_only: Some(true),
            ..Mount::default()
        };
        let body = ContainerCreateBody {
            image: Some(format!("bowline-no-such-image:{}", Uuid::now_v7().simple())),
            host_config: Some(HostConfig { mounts: Some(vec![mount]), ..HostConfig::default() }),
            ..ContainerCreateBody::default()
        };
        match within(CHANGE, self.docker.create_container(None::<CreateContainerOptions>, body)).await {
            Err(CallError::Status { code: 400, .. }) => Ok(false),
            Err(CallError::Status { code: 404, .. }) => Ok(true),
            Err(error) => Err(HostError::call(WHAT)(error)),
            // An image of that very name: take back what was made.
            Ok(made) => {
                let options = RemoveContainerOptionsBuilder::new().v(true).force(true).build();
                within(CHANGE, self.docker.remove_container(&made.id, Some(options)))
                    .await
                    .map_err(HostError::call(WHAT))?;
                Ok(true)
            }
        }
    }
}

/// Whose a runtime directory is, by its mark.
pub(crate) fn read_instance(runtime: BorrowedFd<'_>) -> io::Result<Option<Owner>> {
    match read_regular(runtime, INSTANCE_FILE, INSTANCE_BYTES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes.unwrap_or_default())?)),
    }
}

/// Makes a directory and what is missing above it, whatever the umask leaves to others.
fn make_directory(path: &Path, mode: u32) -> Result<(), PrepareError> {
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(io_at("make", path))
}

/// Refuses a directory that somebody else owns or may write to. To be asked of the opened directory, before its
/// mode is set: a name may lead elsewhere later, and setting the mode would hide that it was open to others.
fn require_ours(directory: impl AsFd, path: &Path, flag: &'static str) -> Result<(), PrepareError> {
    let stat = fs::fstat(directory).map_err(errno_at("look at", path))?;
    let path = || path.to_owned();
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(PrepareError::NotOurs { path: path(), uid: stat.st_uid, flag });
    }
    let mode = Mode::from_raw_mode(stat.st_mode);
    if mode.intersects(Mode::WGRP | Mode::WOTH) {
        return Err(PrepareError::Writable { path: path(), mode: mode.as_raw_mode() & 0o7777, flag });
    }
    Ok(())
}

fn prepare_runtime(path: &Path, owner: &Owner) -> Result<(), PrepareError> {
    if !path.is_absolute() {
        return Err(PrepareError::Relative(path.to_owned()));
    }
    make_directory(path, 0o711)?;
    let runtime = files::open_absolute(path).map_err(errno_at("open", path))?;
    let kind = fs::fstatfs(&runtime).map_err(errno_at("look at", path))?.f_type as i64;
    if kind != TMPFS_MAGIC && kind != RAMFS_MAGIC {
        return Err(PrepareError::NotTmpfs(path.to_owned()));
    }
    // Whoever could have made it before us, in a place like /dev/shm, could exchange all that is in it.
    require_ours(&runtime, path, RUNTIME_FLAG)?;
    for name in [API, CONTROLLER] {
        let below = path.join(name);
        match files::open_directory(runtime.as_fd(), name) {
            Ok(directory) => require_ours(&directory, &below, RUNTIME_FLAG)?,
            Err(rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(errno_at("open", &below)(errno)),
        }
    }
    match read_instance(runtime.as_fd()).map_err(io_at("read the mark of", path))? {
        Some(other) if other != *owner => {
            return Err(PrepareError::Taken { path: path.to_owned(), owner: other });
        }
        Some(_) => {}
        None => {
            let mark = serde_json::to_vec(owner).map_err(|error| io_at("mark", path)(error.into()))?;
            write_atomically(runtime.as_fd(), INSTANCE_FILE, 0o444, &mark).map_err(io_at("mark", path))?;
        }
    }
    // Others may pass through to the API's socket, and list nothing.
    fs::fchmod(&runtime, Mode::from_raw_mode(0o711)).map_err(errno_at("set the mode of", path))?;

    let gateways = path.join(GATEWAYS);
    match fs::mkdirat(&runtime, GATEWAYS, Mode::RWXU) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(errno) => return Err(errno_at("make", &gateways)(errno)),
    }
    let directory = files::open_directory(runtime.as_fd(), GATEWAYS).map_err(errno_at("open", &gateways))?;
    require_ours(&directory, &gateways, RUNTIME_FLAG)?;
    // The wall around every file of every gateway.
    fs::fchmod(&directory, Mode::RWXU).map_err(errno_at("set the mode of", &gateways))
}

/// Copies the bridge to `<store>/<digest>/bridge`. Versions stand side by side, so that no file changes under a
/// running container; a container moves to the new one when it is made anew.
fn install_bridge(bridge: &Path, store: &Path) -> Result<PathBuf, PrepareError> {
    let program = std::fs::read(bridge).map_err(io_at("read the bridge", bridge))?;
    if !program.starts_with(b"\x7fELF") {
        return Err(PrepareError::BridgeKind(bridge.to_owned()));
    }
    let digest = hex::encode(&Sha256::digest(&program)[..8]);
    let directory = store.join(digest);
    make_directory(&directory, 0o755)?;
    let opened_store = files::open_absolute(store).map_err(errno_at("open", store))?;
    require_ours(&opened_store, store, STATE_FLAG)?;
    let opened = files::open_absolute(&directory).map_err(errno_at("open", &directory))?;
    require_ours(&opened, &directory, STATE_FLAG)?;
    let flags = fs::fstatvfs(&opened).map_err(errno_at("look at", &directory))?.f_flag;
    if flags.contains(StatVfsMountFlags::NOEXEC) {
        return Err(PrepareError::NoExec(directory));
    }
    fs::fchmod(&opened, Mode::from_raw_mode(0o755)).map_err(errno_at("set the mode of", &directory))?;
    let limit = program.len() as u64;
    if read_regular(opened.as_fd(), BRIDGE_FILE, limit).ok().flatten().as_deref() != Some(&program) {
        // What an interrupted copy left goes, so that the rename meets nothing unexpected.
        remove_entry(opened.as_fd(), BRIDGE_FILE).map_err(io_at("replace", &directory))?;
        write_atomically(opened.as_fd(), BRIDGE_FILE, 0o555, &program)
            .map_err(io_at("write to", &directory))?;
    }
    std::fs::canonicalize(&directory).map_err(io_at("resolve", &directory))
}

fn warnings(engine: &Engine, info: &SystemInfo) -> Vec<String> {
    let mut warnings = Vec::new();
    if engine.version().major().is_some_and(|major| major < GUARDS_LOOPBACK) {
        warnings.push(format!(
            "Docker Engine {} lets neighbours on the local network reach ports published on loopback \
             (moby#45610, cured in 28); the bearer token is what guards a gateway there",
            engine.version().engine
        ));
    }
    let options: BTreeSet<&str> = info
        .security_options
        .iter()
        .flatten()
        .filter_map(|option| option.split(',').next()?.strip_prefix("name="))
        .collect();
    if !options.contains("seccomp") {
        warnings.push("this Docker Engine applies no seccomp profile to containers".to_owned());
    }
    for (name, what) in [("userns", "remaps user ids"), ("rootless", "runs rootless")] {
        if options.contains(name) {
            warnings.push(format!(
                "this Docker Engine {what}: uids in containers are not those of the host, so gateways will refuse \
                 their servers"
            ));
        }
    }
    warnings
}

fn io_at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PrepareError {
    let path = path.to_owned();
    move |cause| PrepareError::Io { what, path, cause }
}

fn errno_at(what: &'static str, path: &Path) -> impl FnOnce(rustix::io::Errno) -> PrepareError {
    let at = io_at(what, path);
    move |errno| at(errno.into())
}

#[cfg(test)]
mod tests;
