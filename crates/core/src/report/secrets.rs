//! Whether the servers of a gateway have their secrets.

use super::{Facts, Verdict};
use crate::desired::Wanted;
use crate::secret;
use crate::status::{ConditionStatus, ConditionType};

/// The reason of a server, and of what follows from it, while a secret that it declares has no value.
pub(super) const SECRET_MISSING: &str = "SecretMissing";

impl Facts<'_> {
    /// Whether every secret that an enabled server declares has a value that it can be given.
    pub(super) fn secrets_resolved(&self) -> Verdict {
        let verdict = |status, reason, message: String| {
            Verdict::new(ConditionType::SecretsResolved, status, reason, message)
        };
        let mut reason = None;
        let mut messages = Vec::new();
        for server in &self.desired.servers {
            let (why, message) = match &server.wanted {
                Wanted::MissingSecret { message } => (SECRET_MISSING, message),
                Wanted::Never { reason, message } => match secret::UNUSABLE.iter().find(|of| *of == reason) {
                    Some(why) => (*why, message),
                    None => continue,
                },
                Wanted::Container(_)
                | Wanted::Image(_)
                | Wanted::Remote
                | Wanted::Disabled
                | Wanted::Lease { .. } => continue,
            };
            if reason != Some(SECRET_MISSING) {
                reason = Some(why);
            }
            messages.push(format!("server {}: {message}", server.name));
        }
        if let Some(reason) = reason {
            return verdict(ConditionStatus::False, reason, messages.join("; "));
        }
        let reason = if self.declared.declares_secrets() { "Resolved" } else { "NoSecrets" };
        verdict(ConditionStatus::True, reason, String::new())
    }
}
