//! The connection to the Engine: where it is, which version it speaks, and a deadline on every call.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use bollard::models::{ContainerInspectResponse, ContainerSummary, ImageInspect, Network, SystemInfo};
use bollard::query_parameters::{
    InspectContainerOptions, ListContainersOptionsBuilder, ListNetworksOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use bowline_core::observed::Limit;

use crate::error::{CallError, HostError};

/// Where the Engine listens unless told otherwise.
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";
/// The oldest API that we speak: Engine 19.03; 20.10 speaks 1.41.
const OLDEST_API: (usize, usize) = (1, 40);
/// Deadlines by kind of call; an Engine can hang in any one of them while it answers the others.
pub(crate) const CONNECT: Duration = Duration::from_secs(5);
pub(crate) const LIST: Duration = Duration::from_secs(10);
pub(crate) const INSPECT: Duration = Duration::from_secs(5);
pub(crate) const CHANGE: Duration = Duration::from_secs(60);
/// What bollard itself waits for response headers: beyond every deadline of ours, which alone decide.
const CLIENT_SECONDS: u64 = 3600;

/// Versions of a connected Engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineVersion {
    /// Of the program, as in `20.10.24`.
    pub engine: String,
    /// Of the API in use, as in `1.41`: the newest that both sides speak.
    pub api: String,
}

impl EngineVersion {
    /// The leading number of the program's version.
    pub(crate) fn major(&self) -> Option<u32> {
        self.engine.split('.').next()?.parse().ok()
    }
}

/// Why there is no connection to an Engine.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is of a kind that is not spoken.
    #[error(
        "cannot use {0:?} as Docker host; it may be a path, unix:///PATH or tcp://HOST:PORT (without TLS)"
    )]
    Address(String),
    /// Nothing is at the address.
    #[error("there is no Docker Engine at {0}; is dockerd running?")]
    NotRunning(String),
    /// The socket may not be opened.
    #[error(
        "no permission to use the Docker Engine at {0}; run as root or as a member of the group `docker`"
    )]
    Permission(String),
    /// Somebody is there and does not answer as an Engine does.
    #[error("the Docker Engine at {host} does not answer")]
    NoAnswer {
        /// The address.
        host: String,
        /// What was tried and how it ended.
        #[source]
        cause: CallError,
    },
    /// The Engine is too old.
    #[error("the Docker Engine {engine} speaks API {api}; 1.40 (Engine 19.03) or newer is needed")]
    TooOld {
        /// Version of the program.
        engine: String,
        /// Newest API that it speaks.
        api: String,
    },
}

/// A connected Engine. Clones share the connection.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(crate) docker: Docker,
    pub(crate) address: Address,
    version: EngineVersion,
    unheld: BTreeSet<Limit>,
}

/// Where an Engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// Path of a unix socket.
    Unix(String),
    /// `host:port`.
    Tcp(String),
}

impl Address {
    /// Reads what `--docker-host` and `DOCKER_HOST` may say.
    fn parse(text: &str) -> Result<Self, ConnectError> {
        if let Some(path) = text.strip_prefix("unix://").or_else(|| text.starts_with('/').then_some(text)) {
            if path.starts_with('/') {
                return Ok(Address::Unix(path.to_owned()));
            }
        } else if let Some(rest) = text.strip_prefix("tcp://").or_else(|| text.strip_prefix("http://")) {
            let rest = rest.trim_end_matches('/');
            if !rest.is_empty() && !rest.contains('/') {
                return Ok(Address::Tcp(rest.to_owned()));
            }
        }
        Err(ConnectError::Address(text.to_owned()))
    }
}

impl Engine {
    /// Connects to the Engine at `docker_host` (a path, `unix:///PATH` or `tcp://HOST:PORT`), or at `DOCKER_HOST`,
    /// or at the default socket, and agrees on an API version.
    ///
    /// # Errors
    /// [`ConnectError`] says what to do about it; except for `Address` and `TooOld`, time may cure it.
    pub async fn connect(docker_host: Option<&str>) -> Result<Engine, ConnectError> {
        let host = match docker_host {
            Some(host) => host.to_owned(),
            None => std::env::var("DOCKER_HOST")
                .ok()
                .filter(|host| !host.is_empty())
                .unwrap_or_else(|| DEFAULT_HOST.to_owned()),
        };
        let address = Address::parse(&host)?;
        if let Address::Unix(path) = &address {
            reachable(path, &host).await?;
        }
        let no_answer = |cause| ConnectError::NoAnswer { host: host.clone(), cause };
        let docker = match &address {
            Address::Unix(path) => Docker::connect_with_unix(path, CLIENT_SECONDS, API_DEFAULT_VERSION),
            Address::Tcp(at) => {
                Docker::connect_with_http(&format!("tcp://{at}"), CLIENT_SECONDS, API_DEFAULT_VERSION)
            }
        }
        .map_err(|error| no_answer(error.into()))?;
        // The one request that carries no version in its path, so any Engine answers it.
        let docker = within(CONNECT, docker.negotiate_version()).await.map_err(&no_answer)?;
        let engine = within(CONNECT, docker.version()).await.map_err(&no_answer)?;
        let api = docker.client_version();
        let version = EngineVersion {
            engine: engine.version.unwrap_or_default(),
            api: format!("{}.{}", api.major_version, api.minor_version),
        };
        if (api.major_version, api.minor_version) < OLDEST_API {
            return Err(ConnectError::TooOld { engine: version.engine, api: version.api });
        }
        let info = within(LIST, docker.info()).await.map_err(&no_answer)?;
        Ok(Engine { docker, address, version, unheld: unheld(&info) })
    }

    /// Versions of the Engine.
    pub fn version(&self) -> &EngineVersion {
        &self.version
    }

    /// The limits that the Engine drops because the kernel cannot hold them; it does not change while the host runs.
    pub(crate) fn unheld(&self) -> &BTreeSet<Limit> {
        &self.unheld
    }

    /// Containers in any state that carry all these labels.
    pub(crate) async fn containers(
        &self,
        labels: &[(&str, &str)],
    ) -> Result<Vec<ContainerSummary>, HostError> {
        let options = ListContainersOptionsBuilder::new().all(true).filters(&label_filter(labels)).build();
        within(LIST, self.docker.list_containers(Some(options)))
            .await
            .map_err(HostError::call("list containers"))
    }

    /// Networks that carry all these labels; all networks when there are none.
    pub(crate) async fn networks(&self, labels: &[(&str, &str)]) -> Result<Vec<Network>, HostError> {
        let options = ListNetworksOptionsBuilder::new().filters(&label_filter(labels)).build();
        within(LIST, self.docker.list_networks(Some(options))).await.map_err(HostError::call("list networks"))
    }

    /// One container by id or name; `None` when there is none.
    pub(crate) async fn container(&self, id: &str) -> Result<Option<ContainerInspectResponse>, CallError> {
        absent(within(INSPECT, self.docker.inspect_container(id, None::<InspectContainerOptions>)).await)
    }

    /// One image by reference or id; `None` when the Engine has none.
    pub(crate) async fn image(&self, reference: &str) -> Result<Option<ImageInspect>, CallError> {
        absent(within(INSPECT, self.docker.inspect_image(reference)).await)
    }
}

/// What an Engine says of itself that it cannot hold. Of what it does not mention it is believed to.
fn unheld(info: &SystemInfo) -> BTreeSet<Limit> {
    let told = [
        (Limit::Memory, info.memory_limit),
        // Without a limit on memory the Engine drops the one on swap, too.
        (Limit::Swap, info.memory_limit.filter(|held| !held).or(info.swap_limit)),
        (Limit::CpuShares, info.cpu_shares),
        (Limit::Pids, info.pids_limit),
    ];
    told.into_iter().filter(|(_, held)| *held == Some(false)).map(|(limit, _)| limit).collect()
}

/// A 404 is an answer, too.
pub(crate) fn absent<T>(result: Result<T, CallError>) -> Result<Option<T>, CallError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(CallError::Status { code: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Runs one call to the Engine with a deadline.
pub(crate) async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<T, bollard::errors::Error>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(deadline, call).await {
        Ok(result) => result.map_err(CallError::from),
        Err(_) => Err(CallError::Deadline(deadline)),
    }
}

pub(crate) fn label_filter(labels: &[(&str, &str)]) -> HashMap<String, Vec<String>> {
    if labels.is_empty() {
        return HashMap::new();
    }
    let labels = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    HashMap::from([("label".to_owned(), labels)])
}

/// Tells a missing Engine from a forbidden one before the client library folds both into one error.
async fn reachable(path: &str, host: &str) -> Result<(), ConnectError> {
    use std::io::ErrorKind;
    let connected = tokio::time::timeout(CONNECT, tokio::net::UnixStream::connect(Path::new(path))).await;
    match connected {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(match error.kind() {
            ErrorKind::PermissionDenied => ConnectError::Permission(host.to_owned()),
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => ConnectError::NotRunning(host.to_owned()),
            _ => ConnectError::NoAnswer {
                host: host.to_owned(),
                cause: CallError::Connection(error.to_string()),
            },
        }),
        Err(_) => Err(ConnectError::NoAnswer { host: host.to_owned(), cause: CallError::Deadline(CONNECT) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_docker_host_is_a_path_or_a_unix_or_tcp_address() {
        let unix = |path: &str| Address::Unix(path.to_owned());
        assert_eq!(Address::parse("/run/d.sock").unwrap(), unix("/run/d.sock"));
        assert_eq!(Address::parse("unix:///run/d.sock").unwrap(), unix("/run/d.sock"));
        assert_eq!(
            Address::parse("tcp://127.0.0.1:2375").unwrap(),
            Address::Tcp("127.0.0.1:2375".to_owned())
        );
        for wrong in
            ["", "run/d.sock", "unix://run/d.sock", "ssh://h", "https://h:2376", "tcp://", "tcp://h/x"]
        {
            assert!(matches!(Address::parse(wrong), Err(ConnectError::Address(_))), "{wrong}");
        }
    }

    #[test]
    fn an_engine_that_cannot_hold_a_limit_says_so() {
        let without = |change: fn(&mut SystemInfo)| {
            let mut info = SystemInfo {
                memory_limit: Some(true),
                swap_limit: Some(true),
                cpu_shares: Some(true),
                pids_limit: Some(true),
                ..SystemInfo::default()
            };
            change(&mut info);
            Vec::from_iter(unheld(&info))
        };
        assert_eq!(without(|_| {}), []);
        assert_eq!(without(|info| info.swap_limit = Some(false)), [Limit::Swap]);
        assert_eq!(without(|info| info.memory_limit = Some(false)), [Limit::Memory, Limit::Swap]);
        assert_eq!(without(|info| info.cpu_shares = Some(false)), [Limit::CpuShares]);
        assert_eq!(without(|info| info.pids_limit = Some(false)), [Limit::Pids]);
        assert_eq!(Vec::from_iter(unheld(&SystemInfo::default())), [], "what is not said is not lacking");
    }

    #[tokio::test]
    async fn a_missing_engine_is_named_with_a_hint() {
        let error = Engine::connect(Some("/nonexistent/docker.sock")).await.unwrap_err();
        assert!(matches!(error, ConnectError::NotRunning(_)), "{error}");
    }
}
