//! Sealing: what makes a value unreadable for everybody but the controller, and unmovable for everybody.
//!
//! Each version of a value has a data key of its own, drawn at random and used once, under which the value is
//! encrypted with AES-256-GCM. The data key is wrapped for each recipient with HPKE (RFC 9180, base mode, DHKEM
//! X25519 with HKDF-SHA256, AES-256-GCM): whoever seals needs public keys only. Both ciphertexts are bound to the
//! place they are stored at, so that a row that was moved, swapped or put back opens nothing.
//!
//! What this does not hold against: somebody who writes rows and knows a public key can seal a value of their own
//! for any place. They can then replace a value, never read one.

use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, OpModeR, OpModeS, Serializable, single_shot_open, single_shot_seal};
use rand::TryRngCore;
use rand::rngs::OsRng;
use uuid::Uuid;
use zeroize::Zeroizing;

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, Key, KeyInit, Nonce};

mod files;
mod keys;

pub use files::{KeyFileError, KeySource, NewKeyFile};
pub use keys::{KeyId, Keyring, PrivateKey, PublicKey};

/// What every ciphertext of this format is bound to. Another format gets another name.
const FORMAT: &str = "bowline/secret/v1";
/// The table of the encrypted values.
const VALUES: &str = "secret_values";
/// The table of the wrapped data keys.
const WRAPS: &str = "secret_wraps";
/// Bytes of a data key.
const DATA_KEY: usize = 32;
/// Bytes of a nonce of AES-GCM.
const NONCE: usize = 12;

/// Where a sealed value belongs. Nothing that was sealed for one place opens at another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place<'a> {
    /// Uid of the tenant.
    pub(crate) tenant: Uuid,
    /// Uid of the Secret: one that is made again under the same name is another place.
    pub(crate) secret_uid: Uuid,
    /// Name of the Secret.
    pub(crate) secret: &'a str,
    /// Key of the value.
    pub(crate) key: &'a str,
    /// Version of the value.
    pub(crate) version: i64,
}

impl Place<'_> {
    /// All fields and `more`, each behind its length, so that no two places have the same bytes.
    fn bytes(&self, table: &str, more: &[u8]) -> Vec<u8> {
        let Place { tenant, secret_uid, secret, key, version } = self;
        let mut bytes = Vec::with_capacity(160 + secret.len() + key.len());
        for field in [
            FORMAT.as_bytes(),
            table.as_bytes(),
            tenant.as_bytes(),
            secret_uid.as_bytes(),
            secret.as_bytes(),
            key.as_bytes(),
            &version.to_be_bytes(),
            more,
        ] {
            bytes.extend((field.len() as u64).to_be_bytes());
            bytes.extend(field);
        }
        bytes
    }
}

/// A data key, wrapped for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrap {
    /// Whose private key opens it.
    pub(crate) key_id: KeyId,
    /// The sender's share of the key exchange.
    pub(crate) encapsulated: Vec<u8>,
    /// The encrypted data key.
    pub(crate) wrapped: Vec<u8>,
}

/// A value that only the recipients of its wraps can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// The nonce.
    pub(crate) nonce: Vec<u8>,
    /// The encrypted value.
    pub(crate) ciphertext: Vec<u8>,
    /// The data key, once for each recipient.
    pub(crate) wraps: Vec<Wrap>,
}

/// A value that could not be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Randomness(#[source] <OsRng as TryRngCore>::Error),
    /// A public key that nothing can be sealed for: it was not made by a private key.
    #[error("nothing can be sealed for the key {0}")]
    Recipient(KeyId),
    /// The cipher refused the value; it does so for none that is shorter than gigabytes.
    #[error("the value cannot be encrypted")]
    Cipher,
}

/// Why a value cannot be opened. Names keys, never a part of the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unopenable {
    /// No private key for it is at hand.
    #[error("it was sealed for {}, and no such key is here", list(.0))]
    UnknownKey(Vec<KeyId>),
    /// It was sealed for nobody.
    #[error("nothing says for which key it was sealed")]
    NoWrap,
    /// What is stored is not what was sealed there: altered, cut off, moved, or put back.
    #[error("it was altered since it was sealed for the key {0}, or does not belong there")]
    Altered(KeyId),
}

/// Key ids as in a sentence.
fn list(ids: &[KeyId]) -> String {
    let ids: Vec<String> = ids.iter().map(|id| format!("the key {id}")).collect();
    ids.join(" and ")
}

/// Seals a value for `place`, with a data key and a nonce that were never used before.
pub(crate) fn seal(place: &Place<'_>, value: &[u8], recipients: &[PublicKey]) -> Result<Sealed, SealError> {
    let mut data_key = Zeroizing::new([0; DATA_KEY]);
    let mut nonce = [0; NONCE];
    OsRng.try_fill_bytes(data_key.as_mut()).map_err(SealError::Randomness)?;
    OsRng.try_fill_bytes(&mut nonce).map_err(SealError::Randomness)?;
    let associated = place.bytes(VALUES, &[]);
    let ciphertext = Aes256Gcm::new(<&Key<Aes256Gcm>>::from(&*data_key))
        .encrypt(<&Nonce<_>>::from(&nonce), Payload { msg: value, aad: &associated })
        .map_err(|_| SealError::Cipher)?;
    let wraps = recipients.iter().map(|recipient| wrap(place, &data_key, recipient));
    Ok(Sealed { nonce: nonce.to_vec(), ciphertext, wraps: wraps.collect::<Result<_, _>>()? })
}

/// Opens the value of `place` with whichever key of `keyring` it was sealed for.
pub(crate) fn open(
    place: &Place<'_>,
    sealed: &Sealed,
    keyring: &Keyring,
) -> Result<Zeroizing<Vec<u8>>, Unopenable> {
    let (data_key, key_id) = data_key(place, &sealed.wraps, keyring)?;
    let altered = || Unopenable::Altered(key_id.clone());
    let nonce: &[u8; NONCE] = sealed.nonce.as_slice().try_into().map_err(|_| altered())?;
    let associated = place.bytes(VALUES, &[]);
    Aes256Gcm::new(<&Key<Aes256Gcm>>::from(&*data_key))
        .decrypt(<&Nonce<_>>::from(nonce), Payload { msg: &sealed.ciphertext, aad: &associated })
        .map(Zeroizing::new)
        .map_err(|_| altered())
}

/// Wraps the data key of `place` for another recipient. The value itself is not touched.
pub(crate) fn rewrap(
    place: &Place<'_>,
    wraps: &[Wrap],
    keyring: &Keyring,
    recipient: &PublicKey,
) -> Result<Wrap, RewrapError> {
    let (data_key, _) = data_key(place, wraps, keyring)?;
    Ok(wrap(place, &data_key, recipient)?)
}

/// A data key that could not be wrapped anew.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RewrapError {
    /// It cannot be opened.
    #[error(transparent)]
    Unopenable(#[from] Unopenable),
    /// It cannot be sealed for that key.
    #[error(transparent)]
    Seal(#[from] SealError),
}

fn wrap(place: &Place<'_>, data_key: &[u8; DATA_KEY], recipient: &PublicKey) -> Result<Wrap, SealError> {
    let info = place.bytes(WRAPS, recipient.id().as_str().as_bytes());
    let (encapsulated, wrapped) = single_shot_seal::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
        &OpModeS::Base,
        recipient.hpke(),
        &info,
        data_key,
        &[],
    )
    .map_err(|_| SealError::Recipient(recipient.id().clone()))?;
    Ok(Wrap { key_id: recipient.id().clone(), encapsulated: encapsulated.to_bytes().to_vec(), wrapped })
}

/// The data key of `place`, and the key that opened it.
fn data_key(
    place: &Place<'_>,
    wraps: &[Wrap],
    keyring: &Keyring,
) -> Result<(Zeroizing<[u8; DATA_KEY]>, KeyId), Unopenable> {
    let mut altered = None;
    for wrap in wraps {
        let Some(private) = keyring.get(&wrap.key_id) else { continue };
        match unwrap(place, wrap, &private) {
            Some(data_key) => return Ok((data_key, wrap.key_id.clone())),
            None => altered = Some(wrap.key_id.clone()),
        }
    }
    Err(match altered {
        Some(key_id) => Unopenable::Altered(key_id),
        None if wraps.is_empty() => Unopenable::NoWrap,
        None => Unopenable::UnknownKey(wraps.iter().map(|wrap| wrap.key_id.clone()).collect()),
    })
}

fn unwrap(place: &Place<'_>, wrap: &Wrap, private: &PrivateKey) -> Option<Zeroizing<[u8; DATA_KEY]>> {
    let info = place.bytes(WRAPS, wrap.key_id.as_str().as_bytes());
    let encapsulated = Deserializable::from_bytes(&wrap.encapsulated).ok()?;
    let opened = single_shot_open::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        private.hpke(),
        &encapsulated,
        &info,
        &wrap.wrapped,
        &[],
    );
    let opened = Zeroizing::new(opened.ok()?);
    let mut data_key = Zeroizing::new([0; DATA_KEY]);
    (opened.len() == DATA_KEY).then(|| data_key.copy_from_slice(&opened))?;
    Some(data_key)
}

#[cfg(test)]
mod tests;
