//! Every flag of every verb, and where its value comes from: read once, here.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::client::Client;
use crate::failure::Failure;
use crate::serve::args::{EngineArgs, ServeArgs, StoreArgs};
use crate::target::{GatewayName, Selector};

mod ask;
mod connection;
mod duration;
mod edit;
mod keys;
mod mcp;
mod secret;
mod specs;
mod volume;

pub(crate) use ask::{
    EventType, EventsArgs, ExplainArgs, RestartCommand, RestartGatewayArgs, RestartServerArgs, RetryArgs,
};
pub(crate) use connection::{Api, Place};
pub(crate) use duration::{Span, describe};
pub(crate) use edit::{
    AnnotateArgs, CreateCommand, CreateGatewayArgs, DiffArgs, DocumentFormat, ServersArgs, Waiting,
};
pub(crate) use keys::{KeysCommand, KeysFormat, KeysGenerateArgs, KeysRotateArgs, KeysStatusArgs};
pub(crate) use mcp::{
    CallArgs, CallFormat, ConnectArgs, McpClient, TokenCommand, TokenListArgs, TokenRevokeArgs, ToolsArgs,
};
pub(crate) use secret::{KeyFile, SecretCommand, SecretDeleteArgs, SecretListArgs, SecretSetArgs};
pub(crate) use specs::{SpecsArgs, SpecsCommand, SpecsConfirmArgs};
pub(crate) use volume::{VolumeCommand, VolumeRmArgs};

/// Declared MCP gateways become running ones on this host, and stay so.
#[derive(Debug, Parser)]
#[command(name = "bowline", version, about, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the controller and the API of this host
    Serve(Box<ServeArgs>),
    /// Declare objects from files: created, configured or unchanged
    Apply(ApplyArgs),
    /// Show what `apply` would change; exits 0 for nothing, 1 for something, 2 for trouble
    Diff(DiffArgs),
    /// Create an object without a file
    #[command(subcommand)]
    Create(CreateCommand),
    /// Let servers of a gateway run; one that the gateway does not have is added
    Enable(ServersArgs),
    /// Let servers of a gateway not run, and keep what is said of them
    Disable(ServersArgs),
    /// Set and remove annotations
    ///
    /// `dev.bowline.paused=true` keeps a gateway from being reconciled, `dev.bowline.paused-` lets it go on.
    Annotate(AnnotateArgs),
    /// Show objects
    Get(GetArgs),
    /// Show one object in full: conditions, servers, events, next try
    Describe(DescribeArgs),
    /// Say what a field is for: its type, default, words and fields
    Explain(ExplainArgs),
    /// Show what happened to objects
    Events(EventsArgs),
    /// Delete objects, and wait until what they held is given back
    Delete(DeleteArgs),
    /// Wait until objects are Ready or gone
    Wait(WaitArgs),
    /// Restart a gateway's container or servers behind it
    #[command(subcommand)]
    Restart(RestartCommand),
    /// Try again, now, what has failed of a gateway, and what was rolled back
    Retry(RetryArgs),
    /// Print what a gateway or one of its servers writes
    Logs(LogsArgs),
    /// Show the files of the spec directory, and confirm a great removal
    Specs(SpecsArgs),
    /// List the tools that a gateway offers
    Tools(ToolsArgs),
    /// Call a tool through a gateway
    Call(CallArgs),
    /// Make a token for an MCP client and print the client's configuration
    Connect(ConnectArgs),
    /// List and revoke the tokens of a gateway
    #[command(subcommand)]
    Token(TokenCommand),
    /// Set, list and delete the keys of Secrets; values are never shown
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Make, show and replace the keys that open secrets
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Remove volumes; `get volumes` lists them
    #[command(subcommand)]
    Volume(VolumeCommand),
    /// Take over gateways that run on this host into an empty database
    ///
    /// Give the flags that `serve` had, --state-dir and --runtime-dir above all: containers carry paths below
    /// them, and those made with other paths would be made anew by the next `serve`.
    Adopt(AdoptArgs),
    /// Remove everything of an instance from the Docker Engine; needs no database
    Teardown(TeardownArgs),
    /// Print the versions of this program and of the API
    Version(VersionArgs),
    /// Print a completion script for a shell
    Completion {
        /// The shell
        shell: Shell,
    },
}

/// Shells with completion.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Shell {
    /// GNU Bash
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
}

/// The namespace of a verb.
#[derive(Debug, Clone, Args)]
pub(crate) struct Namespace {
    /// The namespace: the user or team that owns the objects
    #[arg(short, long, visible_short_alias = 'u', visible_alias = "user", value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,
}

/// How objects are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One line an object
    Table,
    /// A table with more columns
    Wide,
    /// YAML documents that `apply -f -` takes back
    Yaml,
    /// JSON
    Json,
    /// Kind and name, one a line
    Name,
}

/// Arguments of `apply`.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// File, directory (its *.yaml, *.yml and *.json files) or - for standard input; may be repeated
    #[arg(short, long = "filename", required = true, value_name = "FILE")]
    pub(crate) filename: Vec<PathBuf>,
    /// Change nothing; print what would be done, and the plan of steps of every gateway concerned
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Also drop catalog entries and keys of Secrets that gateways use, and write objects that a spec file declares
    #[arg(long)]
    pub(crate) force: bool,
    /// Wait until the applied gateways, and all that use a catalog which this changes, are Ready with it
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) wait: bool,
    /// How long --wait waits
    #[arg(long, value_name = "DURATION", default_value = "2m")]
    pub(crate) timeout: Span,
    #[command(flatten)]
    pub(crate) api: Api,
}

/// Arguments of `get`.
#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// KIND, KIND NAME…, or KIND/NAME…: gateways, catalogs, clustercatalogs, secrets, gateway/u1/default, volumes
    #[arg(required = true, value_name = "RESOURCE")]
    pub(crate) resource: Vec<String>,
    #[command(flatten)]
    pub(crate) namespace: Namespace,
    /// All namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub(crate) all_namespaces: bool,
    /// Only objects with these labels: KEY=VALUE or KEY, separated by commas
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub(crate) selector: Option<Selector>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// Go on printing changes
    #[arg(short, long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) api: Api,
}

/// Arguments of `describe`.
#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// KIND NAME or KIND/NAME: gateway/u1/default, catalog/u1/tools, clustercatalog/base, secret/u1/work
    #[arg(required = true, value_name = "RESOURCE")]
    pub(crate) resource: Vec<String>,
    #[command(flatten)]
    pub(crate) namespace: Namespace,
    #[command(flatten)]
    pub(crate) api: Api,
}

/// Arguments of `delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// KIND NAME… or KIND/NAME…
    #[arg(required_unless_present = "filename", conflicts_with = "filename", value_name = "RESOURCE")]
    pub(crate) resource: Vec<String>,
    #[command(flatten)]
    pub(crate) namespace: Namespace,
    /// Delete what these files declare
    #[arg(short, long = "filename", value_name = "FILE")]
    pub(crate) filename: Vec<PathBuf>,
    /// Wait until what the objects held is given back
    #[arg(long, action = clap::ArgAction::Set, default_value_t = true, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) wait: bool,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "2m")]
    pub(crate) timeout: Span,
    /// Also delete a catalog or a Secret that gateways use, and objects that a spec file declares
    #[arg(long)]
    pub(crate) force: bool,
    /// An object that does not exist is no error
    #[arg(long)]
    pub(crate) ignore_not_found: bool,
    /// Also remove the volumes that the gateways use, with all that is in them
    #[arg(long)]
    pub(crate) volumes: bool,
    #[command(flatten)]
    pub(crate) api: Api,
}

/// What `wait` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitFor {
    /// `condition=Ready` and its like.
    Condition(bowline_core::status::ConditionType),
    /// `delete`.
    Delete,
}

impl std::str::FromStr for WaitFor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        use bowline_core::status::ConditionType;

        if text == "delete" {
            return Ok(WaitFor::Delete);
        }
        let name = text.strip_prefix("condition=").unwrap_or_default();
        let known = ConditionType::ALL.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(name));
        known.map(WaitFor::Condition).ok_or_else(|| {
            let all: Vec<_> = ConditionType::ALL.iter().map(|known| known.as_str()).collect();
            format!("write `delete` or `condition=` and one of {}", all.join(", "))
        })
    }
}

/// Arguments of `wait`.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// KIND NAME… or KIND/NAME…; a kind alone with -n is all of the namespace
    #[arg(required = true, value_name = "RESOURCE")]
    pub(crate) resource: Vec<String>,
    #[command(flatten)]
    pub(crate) namespace: Namespace,
    /// `condition=Ready` or `delete`
    #[arg(long = "for", value_name = "WHAT")]
    pub(crate) wait_for: WaitFor,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "2m")]
    pub(crate) timeout: Span,
    #[command(flatten)]
    pub(crate) api: Api,
}

/// Arguments of `logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// NAMESPACE or NAMESPACE/NAME of the gateway
    #[arg(value_name = "NS[/NAME]")]
    pub(crate) gateway: GatewayName,
    /// Go on printing
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only so many of the last lines
    #[arg(long, value_name = "N")]
    pub(crate) tail: Option<u32>,
    /// Only what was written in this last time, for example 5m
    #[arg(long, value_name = "DURATION")]
    pub(crate) since: Option<Span>,
    /// Begin each line with its time
    #[arg(long)]
    pub(crate) timestamps: bool,
    /// A server behind the gateway, instead of the gateway itself
    #[arg(long, value_name = "NAME")]
    pub(crate) server: Option<String>,
    /// The API to talk to, as `--server` of the other verbs
    #[arg(long, env = "BOWLINE_SERVER", value_name = "SOCKET", help_heading = "Connection")]
    api: Option<String>,
    #[command(flatten)]
    place: Place,
}

impl LogsArgs {
    /// A client for the API that the flags name.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        self.place.client(self.api.as_deref())
    }
}

/// Arguments of `version`.
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Only the version of this program
    #[arg(long)]
    pub(crate) client: bool,
    #[command(flatten)]
    pub(crate) api: Api,
}

/// Arguments of `adopt`.
#[derive(Debug, Args)]
pub(crate) struct AdoptArgs {
    /// The instance whose gateways are taken over
    #[arg(long, env = "BOWLINE_INSTANCE", value_name = "NAME", default_value = "default")]
    pub(crate) instance: String,
    /// Name of this host, as `serve` has it [default: the machine's host name]
    #[arg(long, env = "BOWLINE_HOST_NAME", value_name = "NAME")]
    pub(crate) host_name: Option<String>,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

/// Arguments of `teardown`.
#[derive(Debug, Args)]
pub(crate) struct TeardownArgs {
    /// The instance to remove
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: String,
    /// Only what this installation made, when the Engine carries several
    #[arg(long, value_name = "ID")]
    pub(crate) installation: Option<uuid::Uuid>,
    /// Also remove the volumes of its tenants, with all that is in them
    #[arg(long)]
    pub(crate) volumes: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

/// Prints what clap has to say. Help goes to standard output; a wrong command line is the user's fault, and trouble
/// for `diff`, whose 1 is an answer.
pub(crate) fn report(error: &clap::Error) -> ExitCode {
    // A closed pipe is no reason for a panic.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ if std::env::args_os().nth(1).is_some_and(|verb| verb == "diff") => ExitCode::from(2),
        _ => ExitCode::from(1),
    }
}

/// The time-out of a flag as a deadline from now.
pub(crate) fn deadline(timeout: Span) -> tokio::time::Instant {
    // Beyond 30 years tokio's clock may overflow; nobody waits for that long.
    tokio::time::Instant::now() + timeout.0.min(Duration::from_secs(30 * 365 * 24 * 3600))
}

#[cfg(test)]
pub(crate) mod tests;
