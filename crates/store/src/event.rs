//! Events of objects, deduplicated and forgotten in time; and the pruning of what has had its time.

use bowline_core::object::{Event, EventType, Kind, ObjectKey};
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::Store;
use crate::error::{DbError, violated};
use crate::object;

/// How many events an object keeps.
const PER_OBJECT: i64 = 100;
/// How long an event is kept after it happened last.
const EVENT_RETENTION: TimeDelta = TimeDelta::days(7);
/// How long a watch may be away and still learn of a deletion without listing again.
const TOMBSTONE_RETENTION: TimeDelta = TimeDelta::hours(1);
/// The same event within this time of the last is not counted.
const QUIET: TimeDelta = TimeDelta::seconds(1);
/// Longest message that is kept, in characters; Kubernetes' limit.
const MESSAGE: usize = 1024;

/// Which objects' events [`Store::events_of_objects`] reads; what is absent does not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Objects of this kind.
    pub kind: Option<Kind>,
    /// Objects in this namespace.
    pub namespace: Option<String>,
    /// Objects of this name.
    pub name: Option<String>,
    /// Events that happened last at this time or later.
    pub since: Option<DateTime<Utc>>,
}

/// An event and the object that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectEvent {
    /// The object.
    pub object: ObjectKey,
    /// Its uid: a re-created object has the same key.
    pub uid: Uuid,
    /// What happened to it.
    pub event: Event,
}

/// What [`Store::prune`] forgot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Events older than their retention.
    pub events: u64,
    /// Tombstones older than theirs.
    pub tombstones: u64,
    /// Expired port reservations.
    pub reservations: u64,
}

impl Store {
    /// Notes that something happened to an object. The same thing again is counted, not repeated, and not even
    /// counted within a second. Returns whether anything was written; for an object that is gone, nothing is.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn record_event(
        &self,
        object: Uuid,
        event_type: EventType,
        reason: &str,
        message: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, DbError> {
        let event_type = word(event_type);
        // NUL cannot be stored; a server's last words may well hold one.
        let message: String = message.chars().filter(|c| *c != '\0').take(MESSAGE).collect();
        let written = sqlx::query_scalar!(
            "INSERT INTO events (object_uid, type, reason, message, first_at, last_at)
             SELECT $1, $2, $3, $4, $5, $5
             WHERE NOT EXISTS (SELECT FROM events WHERE object_uid = $1 AND type = $2 AND reason = $3
                               AND md5(message) = md5($4) AND last_at > $6)
             ON CONFLICT (object_uid, type, reason, md5(message))
             DO UPDATE SET count = events.count + 1, last_at = greatest(events.last_at, excluded.last_at)
             RETURNING count",
            object,
            event_type,
            reason,
            message,
            now,
            now - QUIET
        )
        .fetch_optional(self.pool())
        .await;
        let count = match written {
            Ok(Some(count)) => count,
            Ok(None) => return Ok(false),
            Err(error) if violated(&error) == Some("events_object") => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        if count == 1 {
            self.keep_newest(object).await?;
        }
        Ok(true)
    }

    /// The events of an object, the one that happened last at the end.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn events(&self, object: Uuid) -> Result<Vec<Event>, DbError> {
        let rows = sqlx::query!(
            "SELECT type AS event_type, reason, message, count, first_at, last_at FROM events
             WHERE object_uid = $1 ORDER BY last_at, first_at, reason, message",
            object
        )
        .fetch_all(self.pool())
        .await?;
        let events = rows.into_iter().map(|row| Event {
            event_type: event_type(&row.event_type),
            reason: row.reason,
            message: row.message,
            count: row.count,
            first_timestamp: row.first_at,
            last_timestamp: row.last_at,
        });
        Ok(events.collect())
    }

    /// The newest events of all objects that `filter` lets pass, at most `limit`, the one that happened last at
    /// the end.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn events_of_objects(
        &self,
        filter: &EventFilter,
        limit: i64,
    ) -> Result<Vec<ObjectEvent>, DbError> {
        let EventFilter { kind, namespace, name, since } = filter;
        let rows = sqlx::query!(
            "SELECT objects.uid, objects.kind, objects.namespace, objects.name, events.type AS event_type,
                    events.reason, events.message, events.count, events.first_at, events.last_at
             FROM events JOIN objects ON objects.uid = events.object_uid
             WHERE ($1::text IS NULL OR objects.kind = $1) AND ($2::text IS NULL OR objects.namespace = $2)
               AND ($3::text IS NULL OR objects.name = $3)
               AND ($4::timestamptz IS NULL OR events.last_at >= $4)
             ORDER BY events.last_at DESC, events.first_at DESC, objects.uid, events.reason, events.message
             LIMIT $5",
            kind.map(Kind::as_str),
            namespace.as_deref(),
            name.as_deref(),
            *since,
            limit
        )
        .fetch_all(self.pool())
        .await?;
        let events = rows.into_iter().rev().map(|row| {
            Ok(ObjectEvent {
                object: object::key(&row.kind, row.namespace, row.name)?,
                uid: row.uid,
                event: Event {
                    event_type: event_type(&row.event_type),
                    reason: row.reason,
                    message: row.message,
                    count: row.count,
                    first_timestamp: row.first_at,
                    last_timestamp: row.last_at,
                },
            })
        });
        events.collect()
    }

    /// Forgets what is older than its retention at `now`. Writes nothing when there is nothing to forget.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn prune(&self, now: DateTime<Utc>) -> Result<Pruned, DbError> {
        let events = sqlx::query!("DELETE FROM events WHERE last_at < $1", now - EVENT_RETENTION)
            .execute(self.pool())
            .await?
            .rows_affected();
        let reservations = sqlx::query!("DELETE FROM port_reservations WHERE reserved_until <= $1", now)
            .execute(self.pool())
            .await?
            .rows_affected();
        let mut transaction = self.transaction().await?;
        let graves = sqlx::query_scalar!(
            "DELETE FROM tombstones WHERE deleted_at < $1 RETURNING version",
            now - TOMBSTONE_RETENTION
        )
        .fetch_all(&mut *transaction)
        .await?;
        if let Some(newest) = graves.iter().max() {
            sqlx::query!("UPDATE object_version SET horizon = greatest(horizon, $1)", newest)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(Pruned { events, tombstones: graves.len() as u64, reservations })
    }

    async fn keep_newest(&self, object: Uuid) -> Result<(), DbError> {
        sqlx::query!(
            "DELETE FROM events WHERE ctid IN (
                 SELECT ctid FROM events WHERE object_uid = $1 ORDER BY last_at DESC, first_at DESC OFFSET $2)",
            object,
            PER_OBJECT
        )
        .execute(self.pool())
        .await?;
        Ok(())
    }
}

fn word(event_type: EventType) -> &'static str {
    match event_type {
        EventType::Normal => "Normal",
        EventType::Warning => "Warning",
    }
}

fn event_type(word: &str) -> EventType {
    if word == self::word(EventType::Warning) { EventType::Warning } else { EventType::Normal }
}

#[cfg(test)]
mod tests;
