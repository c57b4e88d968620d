//! docker/mcp-gateway's templates: `{{ server.path | filter }}` from the configuration and `$NAME` from the
//! environment, rendered into the command and environment of a container.
//!
//! The language is that gateway's, its silent losses are not: what it drops, empties or prints as `<int Value>`
//! is a [`TemplateError`] here. Where both render something, they render the same, with one exception: a `$` in
//! a configuration value stays what it is, where docker/mcp-gateway would expand it inside `command`.
//!
//! Names of variables are any names (`PATH`, `LD_…` included): the entry writes them, and until there is a
//! policy everybody who writes entries is an admin. A configuration chooses values, never names.
//!
//! | what | docker/mcp-gateway | here |
//! |---|---|---|
//! | a lone `{` or `}` in a templated string | vanishes | error |
//! | a filter that does not exist | ignored | error; `safe`, which real catalogs write, does nothing |
//! | a value that is not configured, alone in `env` | variable not set | the same |
//! | a value that is not configured, elsewhere | empty text | error, unless `or:` gives another |
//! | a number or boolean alone in `command` | `<int Value>` | error |
//! | a list or mapping inside text | Go's notation | error |
//! | a path that does not begin with the server's name | empty text | error, unless `or:` gives another |
//! | `$$`, `$1`, `${`, `$UNKNOWN` | vanishes | error |
//! | `$NAME` of a declared secret | its value, in `inspect` and in the gateway's log | error |
//! | a configured value that begins with `-`, as a whole argument | becomes a flag | error |

use std::fmt;

use serde_json::{Map, Value};

use crate::catalog::{Network, ServerEntry, ServerKind, network};
use crate::diagnostic::FieldPath;
use crate::image_reference::ImageReference;

mod dollar;
mod lint;
mod render;
mod term;

/// What a container server's entry and configuration come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedServer {
    /// The image.
    pub image: ImageReference,
    /// Arguments after the image's entry point; the image's own command when empty.
    pub command: Vec<String>,
    /// Environment in the entry's order, every name once.
    pub env: Vec<(String, String)>,
    /// Items of `volumes` as rendered; [`crate::volume::read_all`] says what they ask for.
    pub volumes: Vec<String>,
    /// The network that the entry asks for.
    pub network: Network,
    /// What tool names are prefixed with.
    pub prefix: Option<String>,
}

/// One thing that keeps an entry from being rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct TemplateError {
    /// The field of the entry, such as `command[1]`.
    pub path: FieldPath,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a templated field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// A `{` or `}` that belongs to no `{{…}}`.
    StrayBrace,
    /// The text between the braces is no path with filters.
    Malformed(String),
    /// A filter that does not exist.
    UnknownFilter(String),
    /// A space before `or:` or `mount_as:`.
    SpaceBeforeFilter(String),
    /// The path does not begin with the server's name.
    ForeignPath {
        /// The path as written.
        path: String,
        /// What it should begin with.
        server: String,
    },
    /// The configuration has no value there.
    Missing(String),
    /// A number or a boolean is a whole item of a list.
    BareScalar(String),
    /// A list or a mapping where text is needed.
    NotText(String),
    /// A `$` that would vanish.
    LostDollar(String),
    /// A variable that is neither a secret nor declared further up.
    UnknownVariable(String),
    /// A declared variable that has no value, because its own template has none.
    UnsetVariable(String),
    /// A variable whose value is a secret.
    SecretVariable(String),
    /// A configured value that would be taken for a flag.
    Flag(String),
    /// A character that no argument and no variable may have.
    ControlCharacter,
    /// More text than a program can be given.
    TooLong,
    /// The entry is no container.
    NoImage,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StrayBrace => f.write_str("a single `{` or `}` would vanish"),
            Self::Malformed(term) => write!(f, "`{{{{{term}}}}}` is not a path with filters"),
            Self::UnknownFilter(filter) => write!(f, "there is no filter `{filter}`"),
            Self::SpaceBeforeFilter(filter) => write!(f, "a space before `{filter}` makes it no filter"),
            Self::ForeignPath { path, server } => {
                write!(f, "`{path}` does not begin with `{server}.`, so it never has a value")
            }
            Self::Missing(path) => write!(f, "there is no value for `{path}` in the configuration"),
            Self::BareScalar(path) => {
                write!(f, "the value of `{path}` is not text and stands alone in a list")
            }
            Self::NotText(path) => write!(f, "the value of `{path}` is a list or a mapping, text is needed"),
            Self::LostDollar(text) => write!(f, "`{text}` would vanish"),
            Self::UnknownVariable(name) => {
                write!(f, "`${name}` is neither a secret nor a variable further up")
            }
            Self::UnsetVariable(name) => write!(f, "`${name}` has no value"),
            Self::SecretVariable(name) => {
                write!(f, "`${name}` is a secret, and a secret is in no argument and no other variable")
            }
            Self::Flag(path) => {
                write!(f, "the value of `{path}` begins with `-` and would be taken for a flag")
            }
            Self::ControlCharacter => f.write_str("a control character or a line break is in the text"),
            Self::TooLong => f.write_str("the text is longer than a program can be given"),
            Self::NoImage => f.write_str("the entry has no image"),
        }
    }
}

impl Problem {
    /// What to do about it, where more can be said than the opposite of the problem.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::StrayBrace => "braces cannot be written in a templated string",
            Self::Malformed(_) => "write `{{server.key}}` or `{{server.key|filter}}`",
            Self::UnknownFilter(_) => {
                "the filters are volume, volume-target, into, first, last, or:…, mount_as:… and safe"
            }
            Self::SpaceBeforeFilter(_) => "write it right behind the bar",
            Self::ForeignPath { .. } => {
                "templates begin with the registry key, dots in it written as underscores"
            }
            Self::Missing(_) => "give it in the server's `config`",
            Self::BareScalar(_) => "write the value in quotes in the server's `config`",
            Self::LostDollar(_) => "a literal `$` cannot be written here",
            Self::UnknownVariable(_) => "variables are the names in `env` and `secrets`",
            Self::UnsetVariable(_) => "give the value that its own template wants",
            Self::Flag(_) => "the entry itself must write the flag, as in `--name={{server.name}}`",
            Self::SecretVariable(name) => {
                return Some(format!("the program finds it in its environment, as `{name}`"));
            }
            Self::NotText(_) | Self::ControlCharacter | Self::TooLong | Self::NoImage => {
                return None;
            }
        };
        Some(hint.to_owned())
    }
}

/// The container of the server `name`, with the values that a gateway gives for it.
///
/// `config` is the server's own map, without the server's name around it. Whether the entry can run at all is
/// told by [`crate::catalog::unsupported`]; this looks at image, command, environment and volumes only.
///
/// # Errors
/// Everything that keeps the entry from being rendered.
pub fn render_server(
    name: &str,
    entry: &ServerEntry,
    config: &Map<String, Value>,
) -> Result<RenderedServer, Vec<TemplateError>> {
    let fields = entry.fields();
    let render::Container { command, env, volumes, mut errors } = render::container(name, fields, config);
    match (&fields.image, errors.is_empty()) {
        (Some(image), true) => Ok(RenderedServer {
            image: image.clone(),
            command,
            env,
            volumes,
            network: network(entry),
            prefix: fields.prefix.clone(),
        }),
        (Some(_), false) => Err(errors),
        (None, _) => {
            errors.push(TemplateError { path: FieldPath::of_keys("image"), problem: Problem::NoImage });
            Err(errors)
        }
    }
}

/// What is wrong with an entry's templates whatever the configuration is. Nothing for an entry that is no
/// container.
pub(crate) fn lint(name: &str, entry: &ServerEntry) -> Vec<TemplateError> {
    match entry.kind() {
        ServerKind::Container => lint::fields(name, entry.fields()),
        ServerKind::Remote | ServerKind::Poci => Vec::new(),
    }
}

/// The first keys of every path into the configuration that the entry's templates have.
pub(crate) fn config_keys(name: &str, entry: &ServerEntry) -> Vec<String> {
    let fields = entry.fields();
    let env = fields.env.iter().map(|variable| &variable.value);
    let texts = env.chain(&fields.command).chain(&fields.volumes).chain(&fields.user);
    texts
        .filter_map(|text| term::parse_with_variables(text).ok())
        .flatten()
        .filter_map(|part| match part {
            term::Part::Term(term) => term.key_in(&top_key(name)).map(str::to_owned),
            term::Part::Text(_) => None,
        })
        .collect()
}

/// The key that a server's configuration has in templates.
fn top_key(name: &str) -> String {
    name.replace('.', "_")
}

#[cfg(test)]
mod tests;
