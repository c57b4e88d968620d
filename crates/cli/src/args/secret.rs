//! Flags of `secret`.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use bowline_api::wire::HiddenText;
use clap::{Args, Subcommand};

use super::{Api, Format, Namespace};

/// What is done with Secrets.
#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Set keys of a Secret, which is created where there is none; its other keys stay as they are
    ///
    /// A KEY without a value is asked for on the terminal, without echo, or read from standard input. Of a value
    /// that is read, one line end at its end is taken off.
    Set(SecretSetArgs),
    /// List the keys of Secrets with their versions; values are never shown
    #[command(visible_alias = "ls")]
    List(SecretListArgs),
    /// Delete keys of a Secret, or the whole Secret where no KEY is named
    Delete(SecretDeleteArgs),
}

/// Arguments of `secret set`.
#[derive(Debug, Args)]
pub(crate) struct SecretSetArgs {
    /// NAME of the Secret with -n, or NAMESPACE/NAME
    #[arg(value_name = "NAME")]
    pub(crate) secret: String,
    /// KEY, or KEY=VALUE: such a value is in the shell's history and readable by others in `ps`
    #[arg(value_name = "KEY[=VALUE]", required_unless_present_any = ["from_file", "from_env_file"])]
    pub(crate) words: Vec<SecretWord>,
    /// Read the value of the one KEY without a value from standard input, even at a terminal
    #[arg(long)]
    pub(crate) from_stdin: bool,
    /// Set KEY to what the file at PATH holds (- is standard input); may be repeated
    #[arg(long, value_name = "KEY=PATH")]
    pub(crate) from_file: Vec<KeyFile>,
    /// Set a key for each KEY=VALUE line of the file at PATH (- is standard input); may be repeated
    #[arg(long, value_name = "PATH")]
    pub(crate) from_env_file: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) namespace: Namespace,
    #[command(flatten)]
    pub(crate) api: Api,
}

/// Arguments of `secret list`.
#[derive(Debug, Args)]
pub(crate) struct SecretListArgs {
    #[command(flatten)]
    pub(crate) namespace: Namespace,
    /// All namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub(crate) all_namespaces: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) api: Api,
}

/// Arguments of `secret delete`.
#[derive(Debug, Args)]
pub(crate) struct SecretDeleteArgs {
    /// NAME of the Secret with -n, or NAMESPACE/NAME
    #[arg(value_name = "NS/NAME")]
    pub(crate) secret: String,
    /// Keys to delete; none is the whole Secret
    #[arg(value_name = "KEY")]
    pub(crate) keys: Vec<String>,
    /// Also delete what gateways use: the servers that need it stop until it is there again
    #[arg(long)]
    pub(crate) force: bool,
    /// A Secret or a key that does not exist is no error
    #[arg(long)]
    pub(crate) ignore_not_found: bool,
    #[command(flatten)]
    pub(crate) namespace: Namespace,
    #[command(flatten)]
    pub(crate) api: Api,
}

/// `KEY` or `KEY=VALUE`.
///
/// Every text is one: what is wrong with a key is found later, because clap's refusals quote the whole word, with
/// the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SecretWord {
    /// What is before the first `=`.
    pub(crate) key: String,
    /// What is behind it.
    pub(crate) value: Option<HiddenText>,
}

impl FromStr for SecretWord {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.split_once('=') {
            Some((key, value)) => {
                SecretWord { key: key.to_owned(), value: Some(HiddenText::from(value.to_owned())) }
            }
            None => SecretWord { key: text.to_owned(), value: None },
        })
    }
}

/// `KEY=PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyFile {
    /// The key.
    pub(crate) key: String,
    /// The file with its value.
    pub(crate) path: PathBuf,
}

impl FromStr for KeyFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, path)) if !key.is_empty() && !path.is_empty() => {
                Ok(KeyFile { key: key.to_owned(), path: PathBuf::from(path) })
            }
            _ => Err("it is not KEY=PATH".to_owned()),
        }
    }
}
