//! Secrets: what is known of one without opening it, and which value goes into which variable.
//!
//! Nothing here holds a value but [`SecretText`], which is what an input is read into on its way to be sealed. All
//! the other types name values: a plan, a status, an observation and `recovery.json` may hold them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::container::spec_hash;

mod resolve;

pub use resolve::{Bindings, Unresolved, refresh, resolve};

/// Most keys of one Secret.
pub const MAX_KEYS: usize = 64;
/// Longest key, in bytes.
pub const MAX_KEY: usize = 253;
/// What a key is, as a hint to whoever wrote none; [`is_key`] decides.
pub const KEY_RULE: &str = "use 1 to 253 letters, digits, `-`, `_` and `.`";
/// Longest value, in bytes.
pub const MAX_VALUE: usize = 32 << 10;
/// Permission bits of a server's secret file: its directory is beneath a parent of 0700.
pub const FILE_MODE: u32 = 0o444;

/// What is known of a Secret without opening it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretFacts {
    /// Uid of the Secret object: one that is made again has none of the earlier one's values.
    pub uid: Uuid,
    /// The keys that have a value.
    pub keys: BTreeMap<String, KeyFacts>,
}

/// What is known of one value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyFacts {
    /// The effective version: it grows only when the value really changed.
    pub version: i64,
    /// Why no server can be given it, as far as somebody has opened it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unusable: Option<Unusable>,
}

/// Why a value cannot be given to a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
pub enum Unusable {
    /// The file that a server gets has one line for each value.
    #[error("has a line break in it, and a server gets each value as one line; store it in base64")]
    LineBreak,
    /// It cannot be opened: its key is not there, or it was tampered with. Never a part of the value.
    #[error("cannot be opened: {0}")]
    Unreadable(String),
}

impl Unusable {
    /// CamelCase word for machines, as in a server's status.
    pub fn reason(&self) -> &'static str {
        match self {
            Unusable::LineBreak => "SecretUnusable",
            Unusable::Unreadable(_) => "SecretUnreadable",
        }
    }
}

/// Every reason of [`Unusable`].
pub(crate) const UNUSABLE: [&str; 2] = ["SecretUnusable", "SecretUnreadable"];

/// One line of a server's secret file: which value goes into which variable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretSource {
    /// The environment variable.
    pub env: String,
    /// Name of the Secret.
    pub secret: String,
    /// Its uid.
    pub secret_uid: Uuid,
    /// Key of the value.
    pub key: String,
    /// The effective version of the value, as [`KeyFacts::version`].
    pub version: i64,
}

/// The revision of a secret file with these lines: 32 hexadecimal digits over names and versions, never values.
pub fn revision(sources: &[SecretSource]) -> String {
    spec_hash(&sources)
}

/// Text that nobody sees: `Debug` does not show it, nothing serialises it, and its memory is wiped in the end.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes the text over.
    pub fn new(text: impl Into<Zeroizing<String>>) -> Self {
        SecretText(text.into())
    }

    /// The text, for those who seal it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

/// Why a key or a value cannot be part of a Secret. Says nothing of the value but its length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    /// The key has characters that no key has, or is too long.
    #[error("{0:?} cannot be a key: use 1 to {MAX_KEY} letters, digits, `-`, `_` and `.`")]
    Key(String),
    /// The value is too long.
    #[error("the value of `{key}` has {length} bytes, and {MAX_VALUE} is the most")]
    TooLong {
        /// Whose value.
        key: String,
        /// Its length in bytes.
        length: usize,
    },
    /// The value has a NUL, which no environment variable can hold.
    #[error("the value of `{0}` has a NUL in it, which no environment variable can hold; store it in base64")]
    Nul(String),
    /// There are too many keys.
    #[error("{0} keys are more than the {MAX_KEYS} that a Secret can have")]
    TooManyKeys(usize),
}

/// Whether `text` can be the key of a value: `[-._a-zA-Z0-9]{1,253}`.
pub fn is_key(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    (1..=MAX_KEY).contains(&text.len()) && text.bytes().all(good)
}

/// Checks one value and its key.
///
/// # Errors
/// The first thing that is wrong with them.
pub fn check_value(key: &str, value: &str) -> Result<(), InvalidSecret> {
    if !is_key(key) {
        return Err(InvalidSecret::Key(key.to_owned()));
    }
    if value.len() > MAX_VALUE {
        return Err(InvalidSecret::TooLong { key: key.to_owned(), length: value.len() });
    }
    if value.contains('\0') {
        return Err(InvalidSecret::Nul(key.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
