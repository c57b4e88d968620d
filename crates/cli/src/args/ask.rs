//! Flags of the verbs that ask something of what runs, or about it.

use clap::{Args, Subcommand, ValueEnum};

use super::edit::Waiting;
use super::{Api, Format, Namespace};

/// What `restart` restarts.
#[derive(Debug, Subcommand)]
pub(crate) enum RestartCommand {
    /// Restart the gateway's own container; its servers go on
    #[command(visible_alias = "gw")]
    Gateway(RestartGatewayArgs),
    /// Restart servers behind a gateway, each on its own
    Server(RestartServerArgs),
}

/// Arguments of `restart gateway`.
#[derive(Debug, Args)]
pub(crate) struct RestartGatewayArgs {
    /// NAMESPACE or NAMESPACE/NAME of the gateway; with -n its name
    #[arg(value_name = "[NS/]NAME")]
    pub(crate) gateway: Option<String>,
    #[command(flatten)]
    pub(crate) namespace: Namespace,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
    #[command(flatten)]
    pub(crate) api: Api,
}

/// Arguments of `restart server`.
#[derive(Debug, Args)]
pub(crate) struct RestartServerArgs {
    /// With -n servers; without it NAMESPACE or NAMESPACE/NAME of the gateway, then servers
    #[arg(required = true, value_name = "[NS[/NAME]] SERVER")]
    pub(crate) words: Vec<String>,
    #[command(flatten)]
    pub(crate) namespace: Namespace,
    /// Name of the gateway, with -n
    #[arg(long, value_name = "NAME", requires = "namespace")]
    pub(crate) gateway: Option<String>,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
    #[command(flatten)]
    pub(crate) api: Api,
}

/// Arguments of `retry`.
#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    /// NAMESPACE or NAMESPACE/NAME of the gateway; with -n its name
    #[arg(value_name = "[NS/]NAME")]
    pub(crate) gateway: Option<String>,
    #[command(flatten)]
    pub(crate) namespace: Namespace,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
    #[command(flatten)]
    pub(crate) api: Api,
}

/// The two types of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub(crate) enum EventType {
    /// Something expected happened
    Normal,
    /// Something to look at
    Warning,
}

/// Arguments of `events`.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    #[command(flatten)]
    pub(crate) namespace: Namespace,
    /// All namespaces, as without -n
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub(crate) all_namespaces: bool,
    /// Only events of this object: KIND/NAME, gateway/u1/default
    #[arg(long = "for", value_name = "RESOURCE")]
    pub(crate) about: Option<String>,
    /// Only events of these types, separated by commas
    #[arg(long, value_enum, ignore_case = true, value_delimiter = ',', value_name = "TYPE,…")]
    pub(crate) types: Vec<EventType>,
    /// Go on printing what happens
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) api: Api,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// KIND or KIND.FIELD…: gateway, gateway.spec.servers.resources
    #[arg(value_name = "KIND[.FIELD…]")]
    pub(crate) path: String,
    /// Also the fields of the fields, by name and type
    #[arg(long)]
    pub(crate) recursive: bool,
}
