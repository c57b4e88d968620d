//! Who may speak: bearer tokens checked against their verifiers, and the brake on guessing.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bowline_core::gateway_file::TokensFile;
use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use crate::config::digest_bytes;

/// The tokens in force.
#[derive(Debug, Default)]
pub struct Verifiers {
    revision: i64,
    known: Vec<Verifier>,
}

#[derive(Debug)]
struct Verifier {
    digest: [u8; 32],
    grant: Grant,
}

/// What a correct token gives. It ends when the token is revoked or expires.
#[derive(Debug, Clone)]
pub struct Grant {
    id: String,
    expires_at: Option<DateTime<Utc>>,
    revoked: CancellationToken,
}

impl Grant {
    /// Public id of the token.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether the token is good at `now`.
    pub fn holds(&self, now: DateTime<Utc>) -> bool {
        !self.revoked.is_cancelled() && self.expires_at.is_none_or(|end| now < end)
    }

    /// Completes when the token is revoked or has expired.
    pub async fn ended(self) {
        let expiry = async {
            // Looked at once a minute: a monotonic timer alone would follow neither a corrected clock nor sleep.
            while let Some(left) = self.expires_at.map(|end| end - Utc::now()) {
                let Ok(left) = left.to_std() else { return };
                tokio::time::sleep(left.min(Duration::from_secs(60))).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = self.revoked.cancelled() => {}
            () = expiry => {}
        }
    }
}

impl Verifiers {
    /// The set that `file` describes. Grants of tokens that stay as they are stay valid; those of all others
    /// end. Expects a file that [`crate::config::load`] has accepted.
    #[must_use]
    pub fn renewed(&self, file: &TokensFile) -> Self {
        let known: Vec<_> = file
            .tokens
            .iter()
            .filter_map(|token| {
                let digest = digest_bytes(&token.sha256)?;
                let before = self.known.iter().find(|verifier| {
                    verifier.digest == digest
                        && verifier.grant.id == token.id
                        && verifier.grant.expires_at == token.expires_at
                });
                let grant = before.map_or_else(
                    || Grant {
                        id: token.id.clone(),
                        expires_at: token.expires_at,
                        revoked: CancellationToken::new(),
                    },
                    |verifier| verifier.grant.clone(),
                );
                Some(Verifier { digest, grant })
            })
            .collect();
        for gone in &self.known {
            let stays = known.iter().any(|verifier| {
                verifier.digest == gone.digest
                    && verifier.grant.id == gone.grant.id
                    && verifier.grant.expires_at == gone.grant.expires_at
            });
            if !stays {
                gone.grant.revoked.cancel();
            }
        }
        Self { revision: file.revision, known }
    }

    /// [`TokensFile::revision`] of the set.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The grant of `token`, if it is a good one. Every verifier is compared, and each of them whole: the time
    /// that this takes says nothing about the token.
    pub fn verify(&self, token: &[u8], now: DateTime<Utc>) -> Option<Grant> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let mut found = None;
        for verifier in &self.known {
            let difference =
                digest.iter().zip(&verifier.digest).fold(0, |sum, (a, b)| black_box(sum | (a ^ b)));
            if difference == 0 {
                found = Some(&verifier.grant);
            }
        }
        found.filter(|grant| grant.holds(now)).cloned()
    }
}

/// A bucket of failures: a burst is free, then one is added each [`Throttle::REFILL`]. It is one for the whole
/// gateway, because behind a published port every client has the same address. A correct token never gets here.
#[derive(Debug)]
pub struct Throttle {
    left: u32,
    since: Instant,
}

impl Throttle {
    /// Failures that are answered as such before the brake is on.
    pub const BURST: u32 = 20;
    /// Time after which one more failure is answered as such.
    pub const REFILL: Duration = Duration::from_secs(2);

    /// A full bucket.
    pub fn new(now: Instant) -> Self {
        Self { left: Self::BURST, since: now }
    }

    /// Counts one failure.
    ///
    /// # Errors
    /// The time until the next one is answered, when there have been too many.
    pub fn failure(&mut self, now: Instant) -> Result<(), Duration> {
        let elapsed = now.saturating_duration_since(self.since);
        let refills = u32::try_from(elapsed.as_millis() / Self::REFILL.as_millis()).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(refills).min(Self::BURST);
        // A full bucket forgets the time; otherwise what was not yet worth a refill is kept.
        self.since = if self.left == Self::BURST { now } else { self.since + Self::REFILL * refills };
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err((self.since + Self::REFILL).saturating_duration_since(now)),
        }
    }
}

#[cfg(test)]
mod tests;
