//! Whether a value that was written again is the same value.

use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::{Stored, load};
use crate::Store;
use crate::error::DbError;
use crate::seal::Keyring;

impl Store {
    /// Compares the values of a namespace that were written since with those that are in use, and puts them in their
    /// place. An equal one keeps the effective version, so that nothing is recreated for it; any other one, and one
    /// that cannot be opened, counts as changed. Nothing is written when nothing waits.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn settle_secrets(&self, keyring: &Keyring, namespace: &str) -> Result<(), DbError> {
        let waiting = sqlx::query_scalar!(
            "SELECT DISTINCT stored.secret_uid FROM secret_values AS stored JOIN objects ON objects.uid = stored.secret_uid
             WHERE objects.namespace = $1 AND NOT stored.compared",
            namespace
        )
        .fetch_all(self.pool())
        .await?;
        for secret in waiting {
            self.settle(keyring, namespace, secret).await?;
        }
        Ok(())
    }

    async fn settle(&self, keyring: &Keyring, namespace: &str, secret: Uuid) -> Result<(), DbError> {
        let mut transaction = self.transaction().await?;
        // Whoever writes values of this Secret holds this row, and so does whoever else settles it.
        sqlx::query!("SELECT uid FROM objects WHERE uid = $1 FOR NO KEY UPDATE", secret)
            .fetch_optional(&mut *transaction)
            .await?;
        let stored = load(&mut transaction, namespace, &[secret], None).await?;
        let (mut keys, mut versions, mut effectives) = (Vec::new(), Vec::new(), Vec::new());
        for new in stored.iter().filter(|value| !value.compared) {
            let old = stored.iter().find(|value| value.compared && value.key == new.key);
            let same = old.filter(|old| is_same(old, new, keyring));
            keys.push(new.key.clone());
            versions.push(new.version);
            effectives.push(same.map_or(new.version, |old| old.effective));
        }
        sqlx::query!(
            "DELETE FROM secret_values WHERE secret_uid = $1 AND key = ANY ($2) AND compared",
            secret,
            &keys
        )
        .execute(&mut *transaction)
        .await?;
        sqlx::query!(
            "UPDATE secret_values AS stored SET compared = true, effective = given.effective
             FROM unnest($2::text[], $3::bigint[], $4::bigint[]) AS given (key, version, effective)
             WHERE stored.secret_uid = $1 AND stored.key = given.key AND stored.version = given.version",
            secret,
            &keys,
            &versions,
            &effectives
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }
}

/// Whether both can be opened and hold the same.
fn is_same(old: &Stored, new: &Stored, keyring: &Keyring) -> bool {
    match (old.open(keyring), new.open(keyring)) {
        (Ok(old), Ok(new)) => old.as_slice().ct_eq(new.as_slice()).into(),
        _ => false,
    }
}
