//! Flags of the verbs that change one object, and of `diff`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{Api, Namespace, Span};
use crate::target::GatewayName;

/// How a verb that makes or asks for something prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DocumentFormat {
    /// A YAML document that `apply -f -` takes
    Yaml,
    /// JSON
    Json,
    /// Kind and name
    Name,
}

/// Whether to wait for the gateway after a change.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Waiting {
    /// Wait until the gateway is Ready
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long --wait waits
    #[arg(long, value_name = "DURATION", default_value = "2m")]
    pub(crate) timeout: Span,
}

/// Arguments of `diff`.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// File, directory (its *.yaml, *.yml and *.json files) or - for standard input; may be repeated
    #[arg(short, long = "filename", required = true, value_name = "FILE")]
    pub(crate) filename: Vec<PathBuf>,
    /// Judge as `apply --force` would
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) api: Api,
}

/// What `create` makes.
#[derive(Debug, Subcommand)]
pub(crate) enum CreateCommand {
    /// Create a gateway that does not exist yet
    #[command(visible_alias = "gw")]
    Gateway(CreateGatewayArgs),
}

/// Arguments of `create gateway`.
#[derive(Debug, Args)]
pub(crate) struct CreateGatewayArgs {
    /// NAMESPACE or NAMESPACE/NAME of the gateway
    #[arg(value_name = "NS[/NAME]")]
    pub(crate) gateway: GatewayName,
    /// The servers behind it, separated by commas
    #[arg(long, required = true, value_delimiter = ',', value_name = "SERVER,…")]
    pub(crate) servers: Vec<String>,
    /// Name of the gateway, where NS alone is given
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// ClusterCatalog to take servers from; may be repeated, a later one wins
    /// [default: all that have one of the servers, in the order of their names]
    #[arg(long = "catalog", value_name = "NAME")]
    pub(crate) catalogs: Vec<String>,
    /// Create nothing; say, or with -o print, what would be created
    #[arg(long, conflicts_with = "wait")]
    pub(crate) dry_run: bool,
    /// How to print it
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<DocumentFormat>,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
    #[command(flatten)]
    pub(crate) api: Api,
}

/// Arguments of `enable` and `disable`.
#[derive(Debug, Args)]
pub(crate) struct ServersArgs {
    /// NAMESPACE or NAMESPACE/NAME of the gateway
    #[arg(value_name = "NS[/NAME]")]
    pub(crate) gateway: GatewayName,
    /// Servers of the gateway
    #[arg(required = true, value_name = "SERVER")]
    pub(crate) servers: Vec<String>,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
    #[command(flatten)]
    pub(crate) api: Api,
}

/// Arguments of `annotate`.
#[derive(Debug, Args)]
pub(crate) struct AnnotateArgs {
    /// KIND NAME or KIND/NAME, then KEY=VALUE to set and KEY- to remove
    #[arg(required = true, num_args = 2.., value_name = "RESOURCE KEY=VALUE|KEY-")]
    pub(crate) words: Vec<String>,
    #[command(flatten)]
    pub(crate) namespace: Namespace,
    /// Change annotations that have another value already
    #[arg(long)]
    pub(crate) overwrite: bool,
    #[command(flatten)]
    pub(crate) api: Api,
}
