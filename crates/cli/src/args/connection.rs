//! Where the API is.

use std::path::PathBuf;

use clap::Args;

use crate::client::Client;
use crate::failure::Failure;

/// Runtime directory when nobody names one.
const RUNTIME_DIR: &str = "/run/bowline";
/// The API's socket below the runtime directory.
const SOCKET: &str = "api/bowline.sock";

/// Where the sockets of this host are.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Place {
    /// Path of the API's unix socket, where `serve` listens and the other verbs connect
    /// [default: <RUNTIME_DIR>/api/bowline.sock]
    #[arg(long, env = "BOWLINE_SOCKET", value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Directory on tmpfs for sockets, secrets and rendered files
    #[arg(long, env = "BOWLINE_RUNTIME_DIR", value_name = "DIR", default_value = RUNTIME_DIR)]
    pub(crate) runtime_dir: PathBuf,
}

impl Place {
    /// The API's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| self.runtime_dir.join(SOCKET))
    }

    /// A client for the API at `server`, or for this host's own.
    pub(super) fn client(&self, server: Option<&str>) -> Result<Client, Failure> {
        let Some(server) = server else { return Ok(Client::new(self.socket())) };
        let path = server.strip_prefix("unix://").unwrap_or(server);
        if path.is_empty() || path.contains("://") {
            return Err(Failure::user(format!("{server:?} is no API that can be reached"))
                .hint("name the path of a unix socket, or unix:///PATH"));
        }
        Ok(Client::new(PathBuf::from(path)))
    }
}

/// Where the API is, for the verbs that talk to it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Api {
    /// The API to talk to: path of its unix socket, or unix:///PATH
    #[arg(long, env = "BOWLINE_SERVER", value_name = "SOCKET")]
    server: Option<String>,
    #[command(flatten)]
    place: Place,
}

impl Api {
    /// A client for the API that the flags name.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        self.place.client(self.server.as_deref())
    }
}
