//! Desired state, status, leases and events in Postgres.
//!
//! This crate owns every table and every query; nobody else speaks SQL. The API writes desired state through
//! [`WriteTx`] and reads through [`Store`]; the controller reads one gateway's whole record in one snapshot,
//! takes and returns leases, and reports status. Both learn of changes through a [`ChangeListener`], whose
//! hints carry an opaque uid or nothing, never a name: `NOTIFY` knows no row-level security.
//!
//! Promises:
//! - versions become visible in commit order, so a reader at version *n* never misses a lower one;
//! - what did not change is not written: no row, no version, no notification;
//! - the database's own words never appear in the `Display` of an error, only in its source, for the log.

mod adopt;
mod changes;
mod database;
mod delete;
pub mod embedded;
mod error;
mod event;
mod host;
mod lease;
mod lock;
mod object;
mod observation;
mod open;
mod record;
mod requests;
mod seal;
mod secret;
pub mod settings;
mod specs;
mod status;
mod token;
mod version;
mod volume;
mod watch;
mod write;

pub use adopt::{ADOPTED_LABEL, AdoptError, AdoptedGateway, AdoptedVolume, Adoption};
pub use changes::{Change, Changed, Changes, ChangesError};
pub use database::{BadUrl, Database};
pub use delete::FinishDeleteError;
pub use error::{DbError, GatewayError};
pub use event::{EventFilter, ObjectEvent, Pruned};
pub use host::HostRow;
pub use lease::Take;
pub use lock::{HostLock, HostLocking, LockHolder};
pub use object::Listing;
pub use open::{OpenError, Store};
pub use record::{GatewayRecord, Observed, Placement};
pub use seal::{
    KeyFileError, KeyId, KeySource, Keyring, NewKeyFile, PrivateKey, PublicKey, SealError, Unopenable,
};
pub use secret::{
    EstablishKeysError, EstablishedKeys, KeyringError, OpenSecretsError, OtherKeys, Rewrapped,
    RotationStatus, SealingKey, SecretKeyRow, SetSecretError, UnopenableValue, ValuePosition,
};
pub use specs::{FILE_MANAGER, FileObject, HeldRemoval, SpecDirectoryRow, SpecFileRow, SpecsRecord};
pub use status::StatusWrite;
pub use token::{NewToken, TokenError, TokenInfo, TokenRow};
pub use volume::{DueRemoval, RemovalAnswer, VolumeRow};
pub use watch::{ChangeListener, Hint, Scope};
pub use write::{Applied, Marked, Outcome, Put, PutError, WriteTx};

#[cfg(test)]
mod testing;
