//! How objects are named on the command line.

use std::str::FromStr;

use bowline_core::names::{DEFAULT_GATEWAY, is_dns_label};
use bowline_core::object::{GatewayKey, Kind, ObjectKey};

use crate::failure::Failure;

/// `NS` or `NS/NAME`: the gateway of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GatewayName(pub(crate) GatewayKey);

impl FromStr for GatewayName {
    type Err = String;

    /// Also reads `gateway/NS/NAME`, as other verbs print it.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<_> = text.split('/').collect();
        let (namespace, name) = match parts[..] {
            [namespace] => (namespace, DEFAULT_GATEWAY),
            [namespace, name] => (namespace, name),
            [kind, namespace, name] if kind.parse() == Ok(Kind::Gateway) => (namespace, name),
            _ => return Err(format!("{text:?} is not NAMESPACE or NAMESPACE/NAME")),
        };
        if !is_dns_label(namespace) || !is_dns_label(name) {
            return Err(format!(
                "{text:?} is not NAMESPACE or NAMESPACE/NAME of lower-case letters, digits and -"
            ));
        }
        Ok(GatewayName(GatewayKey::new(namespace, name)))
    }
}

/// The gateway of `[NS/]NAME` and the namespace of `-n`: one of them names the namespace, and the name is `default`
/// where neither says it.
pub(crate) fn gateway(word: Option<&str>, namespace: Option<&str>) -> Result<GatewayKey, Failure> {
    let text = match (word, namespace) {
        (Some(word), None) => word.to_owned(),
        (Some(word), Some(namespace)) if word.contains('/') => {
            let named: GatewayName = word.parse().map_err(Failure::user)?;
            if named.0.namespace != namespace {
                return Err(Failure::user(format!("{word:?} is not in the namespace {namespace:?}")));
            }
            word.to_owned()
        }
        (Some(word), Some(namespace)) => format!("{namespace}/{word}"),
        (None, Some(namespace)) => namespace.to_owned(),
        (None, None) => {
            return Err(Failure::user("which gateway?").hint("give -n NAMESPACE, or write NAMESPACE/NAME"));
        }
    };
    text.parse::<GatewayName>().map(|name| name.0).map_err(Failure::user)
}

/// One `key=value` of a label selector, or the key alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Requirement {
    key: String,
    value: Option<String>,
}

/// Every requirement of `-l a=b,c`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selector(Vec<Requirement>);

impl Selector {
    /// Whether these labels have everything that is required.
    pub(crate) fn matches(&self, labels: &std::collections::BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| {
            labels
                .get(&requirement.key)
                .is_some_and(|value| requirement.value.as_ref().is_none_or(|wanted| wanted == value))
        })
    }
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let requirement = |part: &str| {
            let (key, value) = match part.split_once('=') {
                Some((key, value)) => (key, Some(value.strip_prefix('=').unwrap_or(value).to_owned())),
                None => (part, None),
            };
            // `!=`, `!key` and sets are kubectl's and not read here: refused, never taken for something else.
            if key.is_empty() || key.contains(['!', '(', ' ']) {
                return Err(format!("{part:?} is not KEY or KEY=VALUE"));
            }
            Ok(Requirement { key: key.to_owned(), value })
        };
        text.split(',').map(requirement).collect::<Result<_, _>>().map(Selector)
    }
}

/// What `get`, `delete`, `describe` and `wait` name: a kind, and perhaps objects of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Targets {
    /// The kind.
    pub(crate) kind: Kind,
    /// The namespace, where one was given.
    pub(crate) namespace: Option<String>,
    /// The objects; empty is all.
    pub(crate) keys: Vec<ObjectKey>,
}

/// Reads `KIND`, `KIND NAME…`, `KIND/NAME…`, `gateway/NS/NAME…`, with the namespace of `-n`.
pub(crate) fn read(words: &[String], namespace: Option<&str>) -> Result<Targets, Failure> {
    let Some((first, rest)) = words.split_first() else {
        return Err(Failure::user("no resource named").hint("name a kind: gateways, catalogs"));
    };
    if !first.contains('/') {
        let kind = kind(first)?;
        let keys = rest.iter().map(|name| key(kind, name, namespace)).collect::<Result<_, _>>()?;
        return Ok(Targets { kind, namespace: namespace.map(str::to_owned), keys });
    }
    let mut kinds = None;
    let mut keys = Vec::with_capacity(words.len());
    for word in words {
        let Some((kind_word, name)) = word.split_once('/') else {
            return Err(Failure::user(format!("{word:?} names no kind"))
                .hint("write KIND/NAME for each, or KIND NAME…"));
        };
        let kind = kind(kind_word)?;
        if kinds.is_some_and(|first| first != kind) {
            return Err(Failure::user("objects of different kinds in one command"));
        }
        kinds = Some(kind);
        keys.push(key(kind, name, namespace)?);
    }
    Ok(Targets { kind: kinds.unwrap_or(Kind::Gateway), namespace: namespace.map(str::to_owned), keys })
}

/// The kind that a word names.
pub(crate) fn kind(word: &str) -> Result<Kind, Failure> {
    word.parse().map_err(|error: bowline_core::object::UnknownKind| Failure::user(error.to_string()))
}

fn key(kind: Kind, name: &str, namespace: Option<&str>) -> Result<ObjectKey, Failure> {
    let parts: Vec<_> = name.split('/').collect();
    let (namespace, name) = match (kind.is_namespaced(), &parts[..]) {
        (false, [name]) => (None, *name),
        (true, [namespace, name]) => (Some(*namespace), *name),
        (true, [name]) => match namespace {
            Some(namespace) => (Some(namespace), *name),
            None => {
                let word = kind.singular();
                let mut hint = format!("give -n NAMESPACE, or write {word}/NAMESPACE/{name}");
                if kind == Kind::Catalog {
                    hint.push_str(&format!("; the cluster's is clustercatalog/{name}"));
                }
                return Err(Failure::user(format!("which namespace is {word} {name:?} in?")).hint(hint));
            }
        },
        _ => return Err(Failure::user(format!("{name:?} is no name of a {kind}"))),
    };
    let key = ObjectKey { kind, namespace: namespace.map(str::to_owned), name: name.to_owned() };
    let labels = [key.namespace.as_deref(), Some(key.name.as_str())];
    if labels.into_iter().flatten().any(|label| !is_dns_label(label)) {
        return Err(Failure::user(format!("{name:?} is no name: lower-case letters, digits and - only")));
    }
    Ok(key)
}

#[cfg(test)]
mod tests;
