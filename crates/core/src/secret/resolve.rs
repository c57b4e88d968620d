//! From the secrets that an entry declares to the values that a gateway gives for them.

use std::collections::BTreeMap;

use super::{KeyFacts, SecretFacts, SecretSource, Unusable};
use crate::catalog::SecretDeclaration;
use crate::resource::{SecretBinding, SecretKeyRef, SecretRef};

/// What a gateway says about the secrets of one server.
#[derive(Debug, Clone, Copy)]
pub struct Bindings<'a> {
    /// The server's own `secrets`.
    pub explicit: &'a [SecretBinding],
    /// The gateway's `secretRefs`.
    pub references: &'a [SecretRef],
}

/// Why a declared secret has no value that a server could be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unresolved<'a> {
    /// The gateway does not say where it comes from.
    Unbound {
        /// The name that the entry declares.
        declared: &'a str,
    },
    /// It comes from a Secret or a key that does not exist.
    Missing {
        /// The name that the entry declares.
        declared: &'a str,
        /// Name of the Secret: of several that could have it, the first.
        secret: &'a str,
        /// The key.
        key: &'a str,
    },
    /// The value is there and cannot be delivered.
    Unusable {
        /// Name of the Secret.
        secret: &'a str,
        /// The key.
        key: &'a str,
        /// Why.
        why: &'a Unusable,
    },
}

/// The values of all secrets that an entry declares, sorted by variable; of two that go into one variable the later
/// one. What the server's own `secrets` name comes from there and from nowhere else; everything else from the first of
/// the `secretRefs` that has a key of its name.
///
/// # Errors
/// Every declared secret that has no value.
pub fn resolve<'a>(
    declared: &'a [SecretDeclaration],
    bindings: Bindings<'a>,
    known: &'a BTreeMap<String, SecretFacts>,
) -> Result<Vec<SecretSource>, Vec<Unresolved<'a>>> {
    let mut sources = BTreeMap::new();
    let mut unresolved = Vec::new();
    for SecretDeclaration { name, env } in declared {
        match find(name, bindings, known) {
            Ok((secret, facts, key, version)) => {
                let source = SecretSource {
                    env: env.clone(),
                    secret: secret.to_owned(),
                    secret_uid: facts.uid,
                    key: key.to_owned(),
                    version,
                };
                sources.insert(env, source);
            }
            Err(why) => unresolved.push(why),
        }
    }
    if unresolved.is_empty() { Ok(sources.into_values().collect()) } else { Err(unresolved) }
}

type Found<'a> = (&'a str, &'a SecretFacts, &'a str, i64);

fn find<'a>(
    declared: &'a str,
    bindings: Bindings<'a>,
    known: &'a BTreeMap<String, SecretFacts>,
) -> Result<Found<'a>, Unresolved<'a>> {
    let value = |secret: &str, key: &str| {
        let facts = known.get(secret)?;
        Some((facts, facts.keys.get(key)?))
    };
    let explicit = bindings.explicit.iter().find(|binding| binding.name == declared);
    let (secret, key) = match explicit {
        Some(binding) => {
            let SecretKeyRef { name, key } = &binding.value_from.secret_key_ref;
            (name.as_str(), key.as_str())
        }
        None => {
            let mut references = bindings.references.iter().map(|reference| reference.name.as_str());
            let having = references.clone().find(|secret| value(secret, declared).is_some());
            let place = having.or_else(|| references.next());
            (place.ok_or(Unresolved::Unbound { declared })?, declared)
        }
    };
    match value(secret, key) {
        None => Err(Unresolved::Missing { declared, secret, key }),
        Some((_, KeyFacts { unusable: Some(why), .. })) => Err(Unresolved::Unusable { secret, key, why }),
        Some((facts, KeyFacts { version, unusable: None })) => Ok((secret, facts, key, *version)),
    }
}

/// The same values as they are now, for a container that was made with earlier ones; `None` where one of them is no
/// more.
pub fn refresh(sources: &[SecretSource], known: &BTreeMap<String, SecretFacts>) -> Option<Vec<SecretSource>> {
    let now = |source: &SecretSource| {
        let facts = known.get(&source.secret).filter(|facts| facts.uid == source.secret_uid)?;
        let key = facts.keys.get(&source.key).filter(|key| key.unusable.is_none())?;
        Some(SecretSource { version: key.version, ..source.clone() })
    };
    sources.iter().map(now).collect()
}

#[cfg(test)]
mod tests;
