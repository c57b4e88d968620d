//! What `serve` works with: read once, checked as a whole.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bowline_core::image_reference::ImageReference;
use bowline_core::lease::Ranges;
use bowline_core::names::is_dns_label;
use bowline_store::KeySource;
use tracing_subscriber::EnvFilter;

use super::args::{KeysArgs, LogFormat, ServeArgs, StoreArgs};
use super::bridge;
use crate::failure::Failure;

/// The settings of `serve`.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) store: StoreSettings,
    pub(crate) keys: KeySource,
    pub(crate) runtime_dir: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) docker_host: Option<String>,
    pub(crate) instance: String,
    pub(crate) host_name: String,
    pub(crate) ranges: Ranges,
    pub(crate) publish_address: IpAddr,
    pub(crate) allow_private_remotes: bool,
    pub(crate) gateway_image: String,
    pub(crate) bridge: PathBuf,
    pub(crate) concurrency: usize,
    pub(crate) resync: Duration,
    pub(crate) spec_dir: Option<PathBuf>,
    pub(crate) log: LogSettings,
}

/// Where the database is.
#[derive(Debug, Clone)]
pub(crate) struct StoreSettings {
    pub(crate) state_dir: PathBuf,
    pub(crate) runtime_dir: PathBuf,
    pub(crate) database_url_file: Option<PathBuf>,
}

impl StoreSettings {
    /// The settings of these flags.
    pub(crate) fn of(args: StoreArgs, runtime_dir: &Path) -> Result<Self, Failure> {
        let StoreArgs { state_dir, database_url_file, database_url } = args;
        if database_url.is_some() {
            return Err(Failure::user("--database-url is refused: a password in a command line can be read by everybody on this machine")
                .hint("put the URL into a file of mode 0600 and give --database-url-file, or set DATABASE_URL"));
        }
        Ok(StoreSettings {
            state_dir: absolute(&state_dir)?,
            runtime_dir: runtime_dir.to_owned(),
            database_url_file,
        })
    }
}

/// Where systemd puts a service's credentials.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// Directory of the keys below the state directory.
const KEYS_DIR: &str = "keys";

/// Where the keys are that these flags name.
pub(crate) fn key_source(args: KeysArgs, state_dir: &Path) -> Result<KeySource, Failure> {
    let KeysArgs { keys_dir } = args;
    let asked = keys_dir.map(|dir| absolute(&dir)).transpose()?;
    let credentials = std::env::var_os(CREDENTIALS).map(PathBuf::from);
    KeySource::choose(asked, absolute(&state_dir.join(KEYS_DIR))?, credentials)
        .map_err(|error| Failure::user("the service's credentials cannot be read").because(&error))
}

/// How the log is written.
#[derive(Debug, Clone)]
pub(crate) struct LogSettings {
    format: LogFormat,
    filter: String,
}

impl LogSettings {
    /// What `serve` logs when nobody says.
    const DEFAULT: &'static str = "info,sqlx::postgres::notice=warn";

    fn of(format: LogFormat) -> Self {
        let filter = ["BOWLINE_LOG", "RUST_LOG"].iter().find_map(|name| std::env::var(name).ok());
        LogSettings { format, filter: filter.unwrap_or_else(|| Self::DEFAULT.to_owned()) }
    }

    /// Sends the log of this process to standard error.
    pub(crate) fn start(&self) {
        let filter = EnvFilter::try_new(&self.filter).unwrap_or_else(|_| EnvFilter::new(Self::DEFAULT));
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        match self.format {
            LogFormat::Text => builder.with_ansi(false).with_target(false).init(),
            LogFormat::Json => builder.json().flatten_event(true).init(),
        }
    }
}

impl Settings {
    /// Checks the flags as a whole.
    pub(crate) fn of(args: ServeArgs) -> Result<Self, Failure> {
        let ServeArgs {
            store,
            keys,
            engine,
            instance,
            host_name: given_host_name,
            port_range,
            uid_range,
            subnet_pool,
            publish_address,
            insecure_publish,
            allow_private_remotes,
            gateway_image,
            concurrency,
            resync,
            spec_dir,
            log_format,
        } = args;
        check_instance(&instance)?;
        if publish_address.to_canonical().is_unspecified() {
            return Err(Failure::user(format!("{publish_address} is no address that a client can be told"))
                .hint("name the address itself, with --insecure-publish where others can reach it"));
        }
        if !publish_address.is_loopback() && !insecure_publish {
            return Err(Failure::user(format!("{publish_address} can be reached by others"))
                .hint("publish on 127.0.0.1 behind a proxy with TLS, or give --insecure-publish"));
        }
        if port_range.first < 1024 || port_range.last > 65535 {
            return Err(Failure::user(format!("--port-range {port_range} goes beyond 1024-65535")));
        }
        if uid_range.first < 1000 {
            return Err(Failure::user(format!(
                "--uid-range {uid_range} has the system's own accounts in it"
            )));
        }
        if let Err(error) = gateway_image.parse::<ImageReference>() {
            return Err(
                Failure::user(format!("--gateway-image {gateway_image:?} is no image")).because(&error)
            );
        }
        if resync.0.is_zero() {
            return Err(Failure::user("--resync 0s would never rest"));
        }
        let runtime_dir = absolute(&engine.place.runtime_dir)?;
        let socket = absolute(&engine.place.socket())?;
        let store = StoreSettings::of(store, &runtime_dir)?;
        Ok(Settings {
            keys: key_source(keys, &store.state_dir)?,
            store,
            socket,
            runtime_dir,
            docker_host: engine.docker_host,
            host_name: host_name(given_host_name)?,
            instance,
            ranges: Ranges { ports: port_range, uids: uid_range, subnets: subnet_pool },
            publish_address,
            allow_private_remotes,
            gateway_image,
            bridge: bridge::find()?,
            concurrency: usize::from(concurrency),
            resync: resync.0,
            spec_dir: spec_dir.as_deref().map(absolute).transpose()?,
            log: LogSettings::of(log_format),
        })
    }
}

/// An instance's name goes into names of containers and into labels.
pub(crate) fn check_instance(instance: &str) -> Result<(), Failure> {
    if is_dns_label(instance) {
        return Ok(());
    }
    Err(Failure::user(format!(
        "{instance:?} is no name of an instance: lower-case letters, digits and - only"
    )))
}

/// The name that was given, or the machine's.
pub(crate) fn host_name(given: Option<String>) -> Result<String, Failure> {
    let name = match given {
        Some(name) => name,
        None => {
            let uname = rustix::system::uname();
            let name = uname.nodename().to_string_lossy().to_ascii_lowercase();
            // The first label: names of hosts in labels and rows are short.
            name.split('.').next().unwrap_or_default().to_owned()
        }
    };
    if is_dns_label(&name) {
        return Ok(name);
    }
    Err(Failure::user(format!("{name:?} is no name of a host: lower-case letters, digits and - only"))
        .hint("--host-name gives another"))
}

/// The path from the root, without a look at what is there.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|error| Failure::user(format!("{} is no path", path.display())).because(&error))
}

#[cfg(test)]
mod tests;
