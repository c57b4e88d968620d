//! Asking a gateway how it is: `GET /health` through its published address, and its control socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use bowline_core::gateway_file::{
    CONTROL_RELOAD_PATH, CONTROL_SOCKET, CONTROL_STATE_PATH, GatewayState, HEALTH_PATH, ReloadRefused,
};
use bytes::Bytes;
use hyper::{Method, StatusCode};
use rustix::fs::{self, FileType, Mode, OFlags};
use tokio::net::{TcpStream, UnixStream};
use uuid::Uuid;

use crate::files::Trees;
use crate::http::exchange;
use crate::{Host, blocking};

/// Directory of a gateway's sockets in its tree; bound at `SOCKETS_DIR` in its container.
const SOCKETS: &str = "sockets";
/// A gateway that lives answers in milliseconds.
const PROBE: Duration = Duration::from_secs(2);
/// A reload reads two small files.
const RELOAD: Duration = Duration::from_secs(5);

/// What one probe found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProbeAnswer {
    /// Whether `GET /health` through the published address was answered with 200 within two seconds.
    pub healthy: bool,
    /// What the control socket said, if it answered within two seconds.
    pub state: Option<GatewayState>,
}

/// Why a gateway did not read its files again.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// Its control socket is not there or does not answer.
    #[error("the gateway's control socket does not answer: {0}")]
    Unreachable(String),
    /// It found a file invalid and keeps what it had.
    #[error("the gateway refused its configuration: {0}")]
    Refused(String),
    /// It answered something else.
    #[error("the gateway's control socket gave no valid answer: {0}")]
    Invalid(String),
}

impl Host {
    /// Asks the gateway of the object `uid`, published at `port`, how it is. Opens no session, starts no server
    /// and takes at most two seconds.
    pub async fn probe(&self, uid: Uuid, port: u16) -> ProbeAnswer {
        let at = SocketAddr::new(reachable(self.settings.publish), port);
        let (healthy, state) =
            tokio::join!(healthy(at), self.control(uid, Method::GET, CONTROL_STATE_PATH, PROBE));
        let state = state.ok().and_then(|(status, body)| {
            if status == StatusCode::OK { serde_json::from_slice(&body).ok() } else { None }
        });
        ProbeAnswer { healthy, state }
    }

    /// Has the gateway of the object `uid` read its files again, and gives its state afterwards.
    ///
    /// # Errors
    /// See [`ReloadError`]; what it refuses it does not load in part.
    pub async fn reload(&self, uid: Uuid) -> Result<GatewayState, ReloadError> {
        let (status, body) = self
            .control(uid, Method::POST, CONTROL_RELOAD_PATH, RELOAD)
            .await
            .map_err(ReloadError::Unreachable)?;
        match status {
            StatusCode::OK => {
                serde_json::from_slice(&body).map_err(|error| ReloadError::Invalid(error.to_string()))
            }
            StatusCode::UNPROCESSABLE_ENTITY => match serde_json::from_slice::<ReloadRefused>(&body) {
                Ok(refused) => Err(ReloadError::Refused(refused.message)),
                Err(error) => Err(ReloadError::Invalid(error.to_string())),
            },
            other => Err(ReloadError::Invalid(format!("status {other}"))),
        }
    }

    async fn control(
        &self,
        uid: Uuid,
        method: Method,
        path: &str,
        deadline: Duration,
    ) -> Result<(StatusCode, Bytes), String> {
        let trees = Arc::clone(&self.trees);
        let ask = async {
            let socket = blocking(move || open_socket(&trees, uid)).await?;
            // Through the descriptor: the path may be longer than the 108 bytes of a socket address, and what was
            // looked at is what is dialled.
            let stream = UnixStream::connect(format!("/proc/self/fd/{}", socket.as_raw_fd()))
                .await
                .map_err(|error| error.to_string())?;
            exchange(stream, method, path, "bowline", Bytes::new()).await
        };
        tokio::time::timeout(deadline, ask)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", deadline.as_secs())))
    }
}

/// Opens the control socket itself, following no link: its directory can be written by the gateway's container,
/// which might point us at another socket of the host.
fn open_socket(trees: &Trees, uid: Uuid) -> Result<OwnedFd, String> {
    let path = format!("{SOCKETS}/{CONTROL_SOCKET}");
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", &path));
    let directory = trees.open_below(uid, directory).map_err(|error| error.to_string())?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let socket = fs::openat(&directory, name, flags, Mode::empty()).map_err(|error| error.to_string())?;
    let stat = fs::fstat(&socket).map_err(|error| error.to_string())?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Socket => Ok(socket),
        _ => Err(format!("{name} is no socket")),
    }
}

async fn healthy(at: SocketAddr) -> bool {
    let ask = async {
        let stream = TcpStream::connect(at).await.map_err(|error| error.to_string())?;
        exchange(stream, Method::GET, HEALTH_PATH, &at.to_string(), Bytes::new()).await
    };
    matches!(tokio::time::timeout(PROBE, ask).await, Ok(Ok((StatusCode::OK, _))))
}

/// Where something that is published on all addresses can be reached from here.
fn reachable(publish: IpAddr) -> IpAddr {
    match publish {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}
