//! Flags of `keys`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{Api, Span};
use crate::serve::args::KeysArgs;

/// What is done with the keys that open secrets.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key file; needs no server
    ///
    /// `serve` takes it in when it starts and at the next `keys rotate`, and seals with it from then on. It makes its
    /// first key itself.
    Generate(KeysGenerateArgs),
    /// Show the keys that the server knows, and how many values are sealed for each
    Status(KeysStatusArgs),
    /// Replace the key that seals, and seal everything anew for the new one
    ///
    /// Takes in key files that `serve` does not know yet, and makes one when there is none. Goes on in the server
    /// when this command is interrupted.
    Rotate(KeysRotateArgs),
}

/// Arguments of `keys generate`.
#[derive(Debug, Args)]
pub(crate) struct KeysGenerateArgs {
    #[command(flatten)]
    pub(crate) keys: KeysArgs,
    /// The state directory of `serve`
    #[arg(long, env = "BOWLINE_STATE_DIR", value_name = "DIR", default_value = "/var/lib/bowline")]
    pub(crate) state_dir: PathBuf,
}

/// Arguments of `keys status`.
#[derive(Debug, Args)]
pub(crate) struct KeysStatusArgs {
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = KeysFormat::Table)]
    pub(crate) output: KeysFormat,
    #[command(flatten)]
    pub(crate) api: Api,
}

/// Forms of `keys status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeysFormat {
    /// One line a key
    Table,
    /// YAML
    Yaml,
    /// JSON
    Json,
}

/// Arguments of `keys rotate`.
#[derive(Debug, Args)]
pub(crate) struct KeysRotateArgs {
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    pub(crate) timeout: Span,
    #[command(flatten)]
    pub(crate) api: Api,
}
