//! The keys for which secrets are sealed, over the wire: ids and counts, never a key.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A key for which secrets are sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SealingKeyItem {
    /// The first 16 hexadecimal digits of the SHA-256 of its public half.
    pub id: String,
    /// Whether it is the one that seals.
    pub newest: bool,
    /// Whether the server had its private half when it looked last.
    pub on_disk: bool,
    /// How many values are sealed for it.
    pub values: i64,
    /// When the database came to know it.
    pub created_at: DateTime<Utc>,
    /// Since when nothing needs it any more, but backups of the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_at: Option<DateTime<Utc>>,
}

/// All keys, and how far replacing them has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeysStatus {
    /// The keys, the newest first.
    pub items: Vec<SealingKeyItem>,
    /// When somebody asked for a new key that is not there yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<DateTime<Utc>>,
    /// What stands in the way of replacing the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// How many values are still sealed for an older key than the newest.
    pub remaining: i64,
}
