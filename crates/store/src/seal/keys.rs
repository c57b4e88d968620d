//! The keys: public ones, for which values are sealed, and private ones, which open them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hpke::kem::{Kem, X25519HkdfSha256};
use hpke::{Deserializable, Serializable};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// What the one line of a key file begins with.
const PREFIX: &str = "bowline-key-v1 ";
/// Bytes of a private key and of a public key.
const KEY: usize = 32;
/// Characters of a key id.
const ID: usize = 16;

type HpkePublic = <X25519HkdfSha256 as Kem>::PublicKey;
type HpkePrivate = <X25519HkdfSha256 as Kem>::PrivateKey;

/// Which key pair: the first 16 hexadecimal digits of the SHA-256 of its public key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

impl KeyId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id that a row carries, whatever it is: only a lookup will tell whether there is such a key.
    pub(crate) fn of_row(text: String) -> Self {
        KeyId(text)
    }

    fn of(public: &[u8]) -> Self {
        let mut text = hex::encode(Sha256::digest(public));
        text.truncate(ID);
        KeyId(text)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key for which values can be sealed, and which opens none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    id: KeyId,
    key: HpkePublic,
}

impl PublicKey {
    /// The key with these bytes; `None` when they are not as many as a key has.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let key = HpkePublic::from_bytes(bytes).ok()?;
        Some(PublicKey { id: KeyId::of(bytes), key })
    }

    /// The bytes of the key.
    pub fn to_bytes(&self) -> [u8; KEY] {
        self.key.to_bytes().into()
    }

    /// The id of the pair.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    pub(super) fn hpke(&self) -> &HpkePublic {
        &self.key
    }
}

/// A key that opens values. Its memory is wiped in the end, and `Debug` shows its id only.
pub struct PrivateKey {
    // In a box: moving the key about would leave copies behind.
    key: Box<HpkePrivate>,
    public: PublicKey,
}

impl PrivateKey {
    /// Draws a key.
    ///
    /// # Panics
    /// When the operating system gives no random bytes.
    pub fn generate() -> Self {
        let (private, _) = X25519HkdfSha256::gen_keypair();
        Self::new(private)
    }

    /// Reads the one line of a key file. `None` when it is not one; nothing of it is ever repeated.
    pub fn from_text(text: &str) -> Option<Self> {
        let encoded = text.trim_end().strip_prefix(PREFIX)?;
        let decoded = Zeroizing::new(STANDARD.decode(encoded).ok()?);
        Some(Self::new(HpkePrivate::from_bytes(&decoded).ok()?))
    }

    /// The one line of a key file.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; KEY]);
        self.key.write_exact(bytes.as_mut());
        // Large enough from the beginning: a text that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + KEY * 2));
        text.push_str(PREFIX);
        STANDARD.encode_string(bytes.as_ref(), &mut text);
        text.push('\n');
        text
    }

    /// The key for which values are sealed that this one opens.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The id of the pair.
    pub fn id(&self) -> &KeyId {
        self.public.id()
    }

    pub(super) fn hpke(&self) -> &HpkePrivate {
        &self.key
    }

    fn new(private: HpkePrivate) -> Self {
        let key = X25519HkdfSha256::sk_to_pk(&private);
        let id = KeyId::of(&key.to_bytes());
        PrivateKey { key: Box::new(private), public: PublicKey { id, key } }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey").field("id", self.id()).finish_non_exhaustive()
    }
}

/// All private keys of this process. Cheap to clone; clones see keys that are added later.
#[derive(Clone, Default)]
pub struct Keyring {
    keys: Arc<RwLock<BTreeMap<KeyId, Arc<PrivateKey>>>>,
}

impl Keyring {
    /// Adds the keys of another one. Those that are there already stay.
    pub(crate) fn join(&self, other: &Keyring) {
        let more = other.keys.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        for (id, key) in more {
            keys.entry(id).or_insert(key);
        }
    }

    /// Which keys there are.
    pub fn ids(&self) -> BTreeSet<KeyId> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// The public halves of all keys.
    pub(crate) fn public_keys(&self) -> Vec<PublicKey> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.values().map(|key| key.public().clone()).collect()
    }

    pub(super) fn get(&self, id: &KeyId) -> Option<Arc<PrivateKey>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }
}

impl FromIterator<PrivateKey> for Keyring {
    fn from_iter<T: IntoIterator<Item = PrivateKey>>(keys: T) -> Self {
        let keys = keys.into_iter().map(|key| (key.id().clone(), Arc::new(key)));
        Keyring { keys: Arc::new(RwLock::new(keys.collect())) }
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("ids", &self.ids()).finish_non_exhaustive()
    }
}
