//! References to container images, read and normalised as Docker does.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_TAG: &str = "latest";
const MAX_NAME: usize = 255;

/// An image reference: as it was written, and what it means.
///
/// `Display` and serde show it as written; [`canonical`](Self::canonical) is the form to compare and to give to
/// an Engine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageReference {
    written: String,
    target: Target,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Target {
    Named { registry: String, repository: String, tag: Option<String>, digest: Option<String> },
    Id(String),
}

/// Why a text is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageReferenceError {
    /// Nothing was written.
    #[error("an image reference may not be empty")]
    Empty,
    /// The registry's host name or port is malformed.
    #[error("`{0}` is not a registry host")]
    Registry(String),
    /// A part of the repository path is malformed.
    #[error(
        "`{0}` is not a repository name: lower-case letters and digits, separated by `.`, `_`, `__` or `-`"
    )]
    Repository(String),
    /// The repository has upper-case letters.
    #[error("repository names are lower-case, `{0}` is not")]
    Uppercase(String),
    /// The tag is malformed.
    #[error(
        "`{0}` is not a tag: at most 128 letters, digits, `_`, `.` and `-`, not starting with `.` or `-`"
    )]
    Tag(String),
    /// The digest is malformed.
    #[error("`{0}` is not a digest: `sha256:` and 64 hexadecimal digits")]
    Digest(String),
    /// Registry and repository together are too long.
    #[error("the name is longer than 255 characters")]
    TooLong,
}

impl ImageReference {
    /// The full form: registry and `library/` filled in, and `:latest` where neither tag nor digest is given.
    pub fn canonical(&self) -> String {
        match &self.target {
            Target::Id(hex) => format!("sha256:{hex}"),
            Target::Named { registry, repository, tag, digest } => {
                let tag = tag.as_deref().or(digest.is_none().then_some(DEFAULT_TAG));
                let tag = tag.map(|tag| format!(":{tag}")).unwrap_or_default();
                let digest = digest.as_ref().map(|digest| format!("@{digest}")).unwrap_or_default();
                format!("{registry}/{repository}{tag}{digest}")
            }
        }
    }

    /// Registry and repository without tag and digest, such as `docker.io/mcp/time`; `None` for an image id.
    pub fn repository(&self) -> Option<String> {
        match &self.target {
            Target::Named { registry, repository, .. } => Some(format!("{registry}/{repository}")),
            Target::Id(_) => None,
        }
    }

    /// The registry's host, `docker.io` where none was written; `None` for an image id.
    pub fn registry(&self) -> Option<&str> {
        match &self.target {
            Target::Named { registry, .. } => Some(registry),
            Target::Id(_) => None,
        }
    }

    /// The tag as written; `None` when there is none.
    pub fn tag(&self) -> Option<&str> {
        match &self.target {
            Target::Named { tag, .. } => tag.as_deref(),
            Target::Id(_) => None,
        }
    }

    /// The content digest, `sha256:…`; `None` when there is none.
    pub fn digest(&self) -> Option<&str> {
        match &self.target {
            Target::Named { digest, .. } => digest.as_deref(),
            Target::Id(_) => None,
        }
    }

    /// Whether this is the id of a local image, which no registry can answer for.
    pub fn is_id(&self) -> bool {
        matches!(self.target, Target::Id(_))
    }
}

impl FromStr for ImageReference {
    type Err = ImageReferenceError;

    fn from_str(written: &str) -> Result<Self, Self::Err> {
        if written.is_empty() {
            return Err(ImageReferenceError::Empty);
        }
        let target = match written.strip_prefix("sha256:") {
            Some(hex) if is_hex64(hex) => Target::Id(hex.to_owned()),
            _ => named(written)?,
        };
        Ok(Self { written: written.to_owned(), target })
    }
}

fn named(written: &str) -> Result<Target, ImageReferenceError> {
    let (rest, digest) = match written.split_once('@') {
        Some((rest, digest)) if digest.strip_prefix("sha256:").is_some_and(is_hex64) => {
            (rest, Some(digest.to_owned()))
        }
        Some((_, digest)) => return Err(ImageReferenceError::Digest(digest.to_owned())),
        None => (written, None),
    };
    // The first part is a registry only when it cannot be a Docker Hub account: `localhost`, a dot or a port.
    let (registry, path) = match rest.split_once('/') {
        Some((host, path)) if host == "localhost" || host.contains(['.', ':']) => (host, path),
        _ => (DEFAULT_REGISTRY, rest),
    };
    let (path, tag) = match path.rsplit_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (path, None),
    };
    if !is_host(registry) {
        return Err(ImageReferenceError::Registry(registry.to_owned()));
    }
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(ImageReferenceError::Uppercase(path.to_owned()));
    }
    if !path.split('/').all(is_path_component) {
        return Err(ImageReferenceError::Repository(path.to_owned()));
    }
    if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
        return Err(ImageReferenceError::Tag(tag.to_owned()));
    }
    let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
    let repository = if registry == DEFAULT_REGISTRY && !path.contains('/') {
        format!("library/{path}")
    } else {
        path.to_owned()
    };
    if registry.len() + 1 + repository.len() > MAX_NAME {
        return Err(ImageReferenceError::TooLong);
    }
    Ok(Target::Named { registry: registry.to_owned(), repository, tag: tag.map(str::to_owned), digest })
}

fn is_hex64(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    name.split('.').all(is_part) && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// `alpha-numeric (separator alpha-numeric)*`, separators being `.`, `_`, `__` and any number of `-`.
fn is_path_component(part: &str) -> bool {
    let is_letter = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    let edges = bytes.first().is_some_and(is_letter) && bytes.last().is_some_and(is_letter);
    let separators = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    edges
        && separators
            .into_iter()
            .all(|sep| matches!(sep, "" | "." | "_" | "__") || sep.bytes().all(|b| b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|b| is_word(b) || b == b'.' || b == b'-')
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl Serialize for ImageReference {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.written)
    }
}

impl<'de> Deserialize<'de> for ImageReference {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
