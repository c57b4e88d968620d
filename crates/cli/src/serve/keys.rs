//! The keys that open secrets: checked before anything is touched, made when there are none, replaced when asked.

use std::time::Duration;

use bowline_core::causes::with_causes;
use bowline_store::{
    DbError, EstablishKeysError, EstablishedKeys, KeyFileError, KeySource, Keyring, KeyringError, Scope,
    Store, UnopenableValue,
};
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;

/// Values that are sealed anew in one transaction: those who write them wait no longer than for this many.
const BATCH: u16 = 64;
/// Rest before what the database refused is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// Rest before values are looked at again that somebody was writing.
const BUSY: Duration = Duration::from_millis(500);

/// The keys of this process, and where they come from.
#[derive(Debug)]
pub(crate) struct Keys {
    source: KeySource,
    ring: Keyring,
}

impl Keys {
    /// Reads the keys. Every file must be one that can be used.
    pub(crate) fn load(source: &KeySource) -> Result<Self, Failure> {
        let keys = source.load().map_err(|error| unusable(&error))?;
        Ok(Keys { source: source.clone(), ring: keys.into_iter().collect() })
    }

    /// The keys themselves; who holds them sees those that come later, too.
    pub(crate) fn ring(&self) -> Keyring {
        self.ring.clone()
    }

    /// Refuses a database that has sealed for keys which are not here.
    pub(crate) async fn check(&self, store: &Store) -> Result<(), Failure> {
        match store.check_keyring(&self.ring).await {
            Ok(_) => Ok(()),
            Err(error @ KeyringError::Missing(_)) => {
                let directory = self.source.path().display();
                Err(Failure::user(format!("secrets cannot be opened with the keys in {directory}"))
                    .because(&error)
                    .hint(format!(
                        "put their files back into {directory}, or name the right one with --keys-dir"
                    )))
            }
            Err(error @ KeyringError::Db(_)) => {
                Err(Failure::ours("the keys cannot be compared with the database").because(&error))
            }
        }
    }

    /// Makes the database know the keys, and makes the first key where there was never one.
    pub(crate) async fn establish(&self, store: &Store) -> Result<(), Failure> {
        match store.establish_keys(&self.source, &self.ring).await {
            Ok(established) => {
                told(&established);
                Ok(())
            }
            // A key that was asked for and cannot be made is no reason to stay away: `keep` tells, and tries again.
            Err(EstablishKeysError::File(error)) if self.are_known(store).await => {
                tracing::error!(error = &error as &dyn std::error::Error, "no new key");
                Ok(())
            }
            Err(EstablishKeysError::File(error)) => Err(unusable(&error)),
            Err(error @ EstablishKeysError::Db(_)) => {
                Err(Failure::ours("cannot write the keys into the database").because(&error))
            }
        }
    }

    /// Whether the database knows keys, and all that it needs are here.
    async fn are_known(&self, store: &Store) -> bool {
        matches!(store.check_keyring(&self.ring).await, Ok(true))
    }

    /// Makes a new key whenever one is asked for, and seals everything for the newest one; until told to stop.
    pub(crate) async fn keep(self, store: Store, stop: CancellationToken) {
        let mut hints = store.watch(Scope::Keys);
        loop {
            let rest = match self.round(&store).await {
                Ok(true) => None,
                Ok(false) => Some(BUSY),
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "keys not replaced yet; trying again"
                    );
                    Some(RETRY)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                _ = hints.next() => {}
                () = async { tokio::time::sleep(rest.unwrap_or_default()).await }, if rest.is_some() => {}
            }
        }
    }

    /// One round. Whether everything is sealed for the newest key that can be.
    async fn round(&self, store: &Store) -> Result<bool, DbError> {
        let mut problem = None;
        match store.establish_keys(&self.source, &self.ring).await {
            Ok(established) => told(&established),
            Err(EstablishKeysError::Db(error)) => return Err(error),
            Err(EstablishKeysError::File(error)) => {
                tracing::error!(error = &error as &dyn std::error::Error, "no new key");
                problem = Some(with_causes(&error));
            }
        }
        let done = store
            .replace_keys(&self.ring, BATCH, |batch| {
                if batch.rewrapped > 0 {
                    tracing::info!(values = batch.rewrapped, "sealed for the newest key");
                }
            })
            .await?;
        for value in &done.unopenable {
            tracing::error!(
                namespace = value.namespace,
                secret = value.secret,
                key = value.key,
                why = value.why,
                "value cannot be sealed for the newest key; set it again"
            );
        }
        if problem.is_none() {
            problem = done.unopenable.first().map(|value| {
                let UnopenableValue { namespace, secret, key, why } = value;
                format!("the value of {key:?} in secret/{namespace}/{secret} cannot be opened: {why}")
            });
        }
        store.note_rotation_problem(problem.as_deref()).await?;
        let remaining = store.rotation_status().await?.remaining;
        Ok(usize::try_from(remaining).unwrap_or(usize::MAX) <= done.unopenable.len())
    }
}

fn told(established: &EstablishedKeys) {
    if let Some(made) = &established.made {
        tracing::info!(id = %made.id, file = %made.path.display(), "key made; a backup of the database needs it, too");
    }
    for id in &established.new {
        tracing::info!(%id, "key taken in");
    }
}

fn unusable(error: &KeyFileError) -> Failure {
    Failure::user("the keys of secrets cannot be used").because(error)
}

#[cfg(test)]
mod tests;
