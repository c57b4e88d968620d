//! The flags of `serve`, some of which `adopt` and `teardown` share.

use std::net::IpAddr;
use std::path::PathBuf;

use bowline_core::lease::{Range, SubnetPool};
use clap::{Args, ValueEnum};

use crate::args::{Place, Span};

/// Where the database is.
#[derive(Debug, Clone, Args)]
pub(crate) struct StoreArgs {
    /// Directory for what outlives a reboot: the private database, when no other is named
    #[arg(long, env = "BOWLINE_STATE_DIR", value_name = "DIR", default_value = "/var/lib/bowline")]
    pub(crate) state_dir: PathBuf,
    /// File with the URL of a Postgres database; without it DATABASE_URL counts, and without that a private
    /// Postgres is run in the state directory
    #[arg(long, env = "BOWLINE_DATABASE_URL_FILE", value_name = "FILE")]
    pub(crate) database_url_file: Option<PathBuf>,
    /// Refused: what stands in a command line can be read by everybody on the machine
    #[arg(long, hide = true, value_name = "URL")]
    pub(crate) database_url: Option<String>,
}

/// Where the private keys are that open secrets.
#[derive(Debug, Clone, Args)]
pub(crate) struct KeysArgs {
    /// Directory of the keys that open secrets, `*.key` files of mode 0400 [default: the service's credentials when
    /// a key is among them, else `keys` in the state directory]
    #[arg(long, env = "BOWLINE_KEYS_DIR", value_name = "DIR")]
    pub(crate) keys_dir: Option<PathBuf>,
}

/// Where the Engine is, and the files that belong to its containers.
#[derive(Debug, Clone, Args)]
pub(crate) struct EngineArgs {
    /// The Docker Engine: unix:///PATH or a path [default: DOCKER_HOST, or the Engine's default socket]
    #[arg(long, env = "BOWLINE_DOCKER_HOST", value_name = "HOST")]
    pub(crate) docker_host: Option<String>,
    #[command(flatten)]
    pub(crate) place: Place,
}

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    #[command(flatten)]
    pub(crate) keys: KeysArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    /// Name of this installation on the Engine; a second one beside it needs another name
    #[arg(long, env = "BOWLINE_INSTANCE", value_name = "NAME", default_value = "default")]
    pub(crate) instance: String,
    /// Name of this host [default: the machine's host name]
    #[arg(long, env = "BOWLINE_HOST_NAME", value_name = "NAME")]
    pub(crate) host_name: Option<String>,
    /// Host ports for gateways
    #[arg(long, env = "BOWLINE_PORT_RANGE", value_name = "FIRST-LAST", default_value = "20000-29999")]
    pub(crate) port_range: Range,
    /// User ids for containers; no account and no process of the host may have one of them
    #[arg(
        long,
        env = "BOWLINE_UID_RANGE",
        value_name = "FIRST-LAST",
        default_value = "1900000000-1900065535"
    )]
    pub(crate) uid_range: Range,
    /// Private network that gateways' networks are cut from, 62 containers each
    #[arg(long, env = "BOWLINE_SUBNET_POOL", value_name = "NETWORK", default_value = "10.213.0.0/16")]
    pub(crate) subnet_pool: SubnetPool,
    /// Address on which gateways are published
    #[arg(long, env = "BOWLINE_PUBLISH_ADDRESS", value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub(crate) publish_address: IpAddr,
    /// Allow a publish address that others can reach: tokens then cross the network unencrypted
    #[arg(long, env = "BOWLINE_INSECURE_PUBLISH")]
    pub(crate) insecure_publish: bool,
    /// Let gateways dial remote servers at private and loopback addresses, and there without TLS
    #[arg(long, env = "BOWLINE_ALLOW_PRIVATE_REMOTES")]
    pub(crate) allow_private_remotes: bool,
    /// Image of the gateway containers
    #[arg(long, env = "BOWLINE_GATEWAY_IMAGE", value_name = "IMAGE",
          default_value = concat!("bowline/gateway:", env!("CARGO_PKG_VERSION")))]
    pub(crate) gateway_image: String,
    /// Gateways that are worked on at the same time
    #[arg(long, env = "BOWLINE_CONCURRENCY", value_name = "N", default_value_t = 8,
          value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) concurrency: u16,
    /// How often every gateway is looked at although nothing happened
    #[arg(long, env = "BOWLINE_RESYNC", value_name = "DURATION", default_value = "10m")]
    pub(crate) resync: Span,
    /// Directory of specifications to apply and follow: its *.yaml, *.yml and *.json files, subdirectories too
    #[arg(long, env = "BOWLINE_SPEC_DIR", value_name = "DIR")]
    pub(crate) spec_dir: Option<PathBuf>,
    /// Form of the log on standard error; BOWLINE_LOG or RUST_LOG filters it
    #[arg(long, env = "BOWLINE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

/// Forms of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
}
