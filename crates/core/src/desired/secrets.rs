//! The secret file of a server: which values go into it, and why there is none.

use super::files::{SECRETS, server_directory};
use super::servers::Hindrance;
use super::{DesiredSecretFile, Rendering, Wanted, WantedContainer};
use crate::catalog::ServerEntry;
use crate::gateway_file::SECRETS_FILE;
use crate::labels::Role;
use crate::resource::ServerSpec;
use crate::secret::{self, Bindings, SecretSource, Unresolved};

/// What of a path in the tree is below the directory of all secrets; `None` elsewhere.
pub fn below_secrets(path: &str) -> Option<&str> {
    path.strip_prefix(SECRETS)?.strip_prefix('/')
}

/// The directory of a server's secret file, below the tree.
pub(crate) fn directory(server: &str) -> String {
    format!("{SECRETS}/{}", server_directory(server))
}

/// The secret file of a server with these lines; none without lines.
pub(super) fn file(server: &str, sources: Vec<SecretSource>) -> Option<DesiredSecretFile> {
    let path = format!("{}/{SECRETS_FILE}", directory(server));
    let revision = secret::revision(&sources);
    (!sources.is_empty()).then_some(DesiredSecretFile { path, revision, sources })
}

/// The path of a server's secret file; `None` for what is no server.
pub(crate) fn path(role: &Role) -> Option<String> {
    match role {
        Role::Server(server) => Some(format!("{}/{SECRETS_FILE}", directory(server))),
        Role::Gateway | Role::Network => None,
    }
}

impl Rendering<'_> {
    /// The lines of one server's secret file; none for an entry that declares no secret.
    pub(super) fn secrets(
        &self,
        server: &ServerSpec,
        entry: &ServerEntry,
    ) -> Result<Vec<SecretSource>, Hindrance> {
        let bindings = Bindings { explicit: &server.secrets, references: &self.declared.spec.secret_refs };
        let resolved = secret::resolve(&entry.fields().secrets, bindings, &self.declared.secrets);
        resolved.map_err(|unresolved| self.hindrance(&unresolved))
    }

    /// What is missing goes before what is there and cannot be used: the first is a matter of waiting.
    fn hindrance(&self, unresolved: &[Unresolved<'_>]) -> Hindrance {
        let namespace = &self.key.namespace;
        let mut missing = Vec::new();
        let mut unusable = Vec::new();
        for why in unresolved {
            match why {
                Unresolved::Unbound { declared } => missing.push(format!(
                    "nothing says where its secret `{declared}` comes from; name a Secret that has this key in the \
                     gateway's `secretRefs`, or give it in the server's `secrets`"
                )),
                Unresolved::Missing { declared, secret, key } => missing.push(format!(
                    "the Secret `{secret}` has no key `{key}`{}; `bowline secret set -n {namespace} {secret} {key}` \
                     sets it",
                    if declared == key { String::new() } else { format!(" for its secret `{declared}`") }
                )),
                Unresolved::Unusable { secret, key, why } => {
                    unusable.push((why.reason(), format!("the value `{key}` of the Secret `{secret}` {why}")));
                }
            }
        }
        match unusable.first() {
            Some((reason, _)) if missing.is_empty() => {
                let texts: Vec<_> = unusable.iter().map(|(_, text)| text.as_str()).collect();
                Hindrance::Never(reason, texts.join("; "))
            }
            _ => Hindrance::Other(Box::new(Wanted::MissingSecret { message: missing.join("; ") })),
        }
    }

    /// An earlier revision as it can be made now: with today's values of its secrets.
    pub(super) fn with_todays_secrets(&self, proven: &WantedContainer) -> Option<WantedContainer> {
        let secrets = secret::refresh(&proven.secrets, &self.declared.secrets)?;
        Some(WantedContainer { secrets, ..proven.clone() })
    }
}
