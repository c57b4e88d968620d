//! What is wrong with an input, where, and what to do about it.
//!
//! A [`Diagnostic`] is plain data: `core` makes it, the API sends it, the command line prints it the way a
//! compiler would. The [`Code`] is the stable part: scripts and documentation may rely on it, texts change.

use std::fmt;

use serde::{Deserialize, Serialize};

mod hint;
mod path;

pub use hint::did_you_mean;
pub use path::{FieldPath, Segment};

/// A position in an input text, both parts counted from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Position {
    /// Line, from 1; 0 where the value did not come from a text.
    pub line: u32,
    /// Column in characters, from 1; 0 where the value did not come from a text.
    pub column: u32,
}

/// Whether a finding stops the input from being accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The input is refused.
    Error,
    /// The input is accepted; the reader should know this.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// Defines [`Code`] from one table, so that a code, its severity and its place in [`Code::ALL`] cannot drift.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident: $severity:ident,)+) => {
        /// The stable name of a kind of finding.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Code { $($(#[doc = $doc])+ $name,)+ }

        impl Code {
            /// Every code, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name as printed between brackets and as serialised.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// Whether a finding of this code refuses the input.
            pub fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)+ }
            }
        }
    };
}

codes! {
    /// The text is not YAML.
    SyntaxError: Error,
    /// The text is larger, deeper or expands further than is read.
    InputTooLarge: Error,
    /// A YAML feature that is not read here: a tag of its own, a merge key, a key that is not a scalar.
    UnsupportedYaml: Error,
    /// A key occurs twice in one mapping.
    DuplicateKey: Error,
    /// `apiVersion` is not ours.
    UnknownApiVersion: Error,
    /// `kind` is none that exists.
    UnknownKind: Error,
    /// A docker/mcp-gateway catalog file that is not wrapped into a `ClusterCatalog`.
    PlainCatalog: Error,
    /// A field that does not exist at this place.
    UnknownField: Error,
    /// A required field is absent.
    MissingField: Error,
    /// The value has another type than the field.
    WrongType: Error,
    /// The word is none of the words of this field.
    UnknownValue: Error,
    /// The number is outside its range.
    OutOfRange: Error,
    /// The value has the right type and the wrong form, such as a control character in an argument.
    InvalidValue: Error,
    /// The field exists in the model, its behaviour not yet in this version.
    NotSupportedYet: Error,
    /// A name that is not a DNS label, or not a registry key.
    InvalidName: Error,
    /// A label or an annotation that breaks the rules for keys and values.
    InvalidLabel: Error,
    /// A namespaced object without a namespace.
    MissingNamespace: Error,
    /// A cluster object with a namespace.
    NamespaceNotAllowed: Error,
    /// A quantity of memory or CPU that cannot be read.
    InvalidQuantity: Error,
    /// A request that is greater than its limit.
    RequestExceedsLimit: Error,
    /// An image reference that does not parse.
    InvalidImage: Error,
    /// The same object twice in one input.
    DuplicateObject: Error,
    /// The same catalog or server twice in one gateway, or two registry keys that differ only in case.
    DuplicateName: Error,
    /// A gateway names a catalog that does not exist.
    UnknownCatalog: Error,
    /// A gateway names a server that none of its catalogs has.
    UnknownServer: Error,
    /// A gateway gives a server a secret that its catalog entry does not declare.
    UnknownSecretName: Error,
    /// The configuration given for a server does not fit what its catalog entry asks for.
    InvalidConfig: Error,
    /// The catalog entry of an enabled server cannot be rendered with the configuration given.
    InvalidTemplate: Error,
    /// A template of a catalog entry that will fail when its server is enabled.
    SuspiciousTemplate: Warning,
    /// A configuration key that neither the catalog entry's schema nor its templates know.
    UnusedConfig: Warning,
    /// An enabled server needs a catalog feature whose behaviour does not exist yet: it will be `Failed`.
    UnsupportedEntry: Warning,
    /// An enabled server has a list of allowed hosts, which is not enforced in this version.
    EgressNotEnforced: Warning,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One finding about one place of an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnostic {
    /// What kind of finding; stable.
    pub code: Code,
    /// Whether it refuses the input.
    pub severity: Severity,
    /// The file, as its reader called it; absent for standard input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Line from 1; 0 when the finding has no place in a text.
    pub line: u32,
    /// Column in characters from 1; 0 when the finding has no place in a text.
    pub column: u32,
    /// The field, such as `spec.servers[1].name`; empty when the finding concerns no field.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A finding at `position` about the field `path`, with the severity of `code`. Control characters of the texts
    /// that are given here and below are escaped: they may be quoted from anybody's input.
    pub fn new(code: Code, position: Position, path: &FieldPath, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: code.severity(),
            file: None,
            line: position.line,
            column: position.column,
            path: path.to_string(),
            message: printable(message),
            hint: None,
        }
    }

    /// The same finding with advice.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(printable(hint));
        self
    }

    /// The same finding in the named file.
    #[must_use]
    pub fn in_file(mut self, file: Option<&str>) -> Self {
        self.file = file.map(printable);
        self
    }

    /// Whether this finding refuses the input.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// The text with its control characters as escapes, line breaks and tabs excepted: a terminal obeys the others, and
/// Postgres stores no NUL.
pub fn printable(text: impl Into<String>) -> String {
    let text = text.into();
    let is_escaped = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(is_escaped) {
        return text;
    }
    let mut clean = String::with_capacity(text.len() * 2);
    for c in text.chars() {
        match is_escaped(c) {
            true => clean.extend(c.escape_default()),
            false => clean.push(c),
        }
    }
    clean
}

/// As a compiler prints it: a headline, the place, the hint; no line break at the end.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]: {}", self.severity, self.code, self.message)?;
        let place = match (&self.file, self.line) {
            (Some(file), 0) => file.clone(),
            (None, 0) => String::new(),
            (Some(file), line) => format!("{file}:{line}:{}", self.column),
            (None, line) => format!("<stdin>:{line}:{}", self.column),
        };
        if !(place.is_empty() && self.path.is_empty()) {
            write!(f, "\n  --> {}", format!("{place} {}", self.path).trim())?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
