//! What can go wrong between us and the database, sorted by what cures it.

use std::borrow::Cow;

use sqlx::error::DatabaseError;

/// A query that did not succeed. `Display` is constant: what the database said may quote values, belongs in
/// the log, and is the `source`.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The database is away, starting, stopping, or too busy to answer in time. Time cures it.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// Two transactions stood in each other's way. Repeating the whole operation cures it.
    #[error("the database was busy with a conflicting write")]
    Contended(#[source] sqlx::Error),
    /// The database refused, or answered what we cannot read.
    #[error("the database could not do what was asked")]
    Failed(#[source] sqlx::Error),
}

impl DbError {
    /// Whether the database is away, so that waiting for it is the right thing to do.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, DbError::Unavailable(_))
    }

    /// Whether repeating the operation cannot help: the schema or a right is not what this program needs.
    /// What is not known to be permanent is not terminal.
    pub fn is_terminal(&self) -> bool {
        let DbError::Failed(error) = self else {
            return false;
        };
        match error {
            // Class 42: unknown table or column, insufficient privilege.
            sqlx::Error::Database(error) => error.code().is_some_and(|code| code.starts_with("42")),
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) | sqlx::Error::Decode(_) => {
                true
            }
            _ => false,
        }
    }
}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => DbError::Unavailable(error),
            sqlx::Error::Database(database) => match code_of(database.as_ref()).as_str() {
                // Deadlock and serialisation failure.
                "40P01" | "40001" => DbError::Contended(error),
                // A time-out of ours, and the class of lost connections; class 53 is "out of" disk, memory or
                // connections; 57P0x is a server that starts, stops or has crashed; 25P03 is our own
                // transaction that was idle for too long; 25006 is a standby.
                "57014" | "55P03" | "57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "25006" => {
                    DbError::Unavailable(error)
                }
                code if code.starts_with("08") || code.starts_with("53") => DbError::Unavailable(error),
                _ => DbError::Failed(error),
            },
            _ => DbError::Failed(error),
        }
    }
}

/// The five-character SQLSTATE, or an empty text.
fn code_of(error: &dyn DatabaseError) -> String {
    error.code().map(Cow::into_owned).unwrap_or_default()
}

/// The name of the constraint that a write violated.
pub(crate) fn violated(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error().and_then(|error| error.constraint())
}

/// Whether the write holds text that the database cannot store as JSON: the character NUL, or half of a
/// surrogate pair.
pub(crate) fn is_unstorable(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| matches!(code_of(error).as_str(), "22P05" | "22021"))
}

/// A write that belongs to one gateway and did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// There is no gateway of this uid (any more).
    #[error("the gateway no longer exists")]
    Gone,
    /// The database did not do it.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl GatewayError {
    /// Maps the foreign key `constraint` to [`GatewayError::Gone`].
    pub(crate) fn from_write(error: sqlx::Error, constraint: &str) -> Self {
        if violated(&error) == Some(constraint) { GatewayError::Gone } else { GatewayError::Db(error.into()) }
    }
}
