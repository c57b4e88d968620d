//! Flags of `specs`.

use clap::{Args, Subcommand};

use super::{Api, Format};

/// Arguments of `specs`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct SpecsArgs {
    #[command(subcommand)]
    pub(crate) command: Option<SpecsCommand>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) api: Api,
}

/// What is done with the spec directory.
#[derive(Debug, Subcommand)]
pub(crate) enum SpecsCommand {
    /// Let a removal happen that is held because it is great, after showing what would go
    Confirm(SpecsConfirmArgs),
}

/// Arguments of `specs confirm`.
#[derive(Debug, Args)]
pub(crate) struct SpecsConfirmArgs {
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) api: Api,
}
