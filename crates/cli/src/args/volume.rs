//! Flags of `volume`.

use std::str::FromStr;

use bowline_core::volume::{VolumeKey, is_name};
use clap::{Args, Subcommand};

use super::{Api, Span};

/// What is done with volumes.
#[derive(Debug, Subcommand)]
pub(crate) enum VolumeCommand {
    /// Remove a volume that no gateway uses, with all that is in it
    Rm(VolumeRmArgs),
}

/// Arguments of `volume rm`.
#[derive(Debug, Args)]
pub(crate) struct VolumeRmArgs {
    /// SERVER/VOLUME, as `get volumes` shows them
    #[arg(required = true, value_name = "SERVER/VOLUME")]
    pub(crate) volumes: Vec<VolumeName>,
    /// The namespace: the user or team that owns the volumes
    #[arg(short, long, visible_short_alias = 'u', visible_alias = "user", value_name = "NAMESPACE")]
    pub(crate) namespace: String,
    /// Wait until they are gone
    #[arg(long, action = clap::ArgAction::Set, default_value_t = true, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) wait: bool,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "2m")]
    pub(crate) timeout: Span,
    #[command(flatten)]
    pub(crate) api: Api,
}

/// `SERVER/VOLUME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VolumeName(pub(crate) VolumeKey);

impl FromStr for VolumeName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            // Registry keys are made of the same characters.
            Some((server, volume)) if is_name(server) && is_name(volume) => {
                Ok(VolumeName(VolumeKey::new(server, volume)))
            }
            _ => Err(format!("{text:?} is not SERVER/VOLUME, as `bowline get volumes` shows them")),
        }
    }
}
