//! Events of all objects, once or as they happen.
//!
//! Events have no place in the order of versions: they are counted in place and forgotten in time. A stream
//! therefore reads again what happened lately, once a second, and shows what it has not shown. It looks back
//! further than one second, because the time of an event is the writer's and its commit comes later.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bowline_core::object::{EventType, Kind};
use bowline_store::{DbError, EventFilter};
use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use hyper::body::Bytes;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use uuid::Uuid;

use super::Context;
use crate::body::Query;
use crate::problem::Problem;
use crate::wire::{ObjectEvent, ObjectEventList};

/// Media type of a stream with one JSON document a line.
const MEDIA_TYPE: &str = "application/x-ndjson";
/// Most events of one answer; older ones are left out.
const LIMIT: usize = 2000;
/// How often a stream looks.
const TICK: Duration = Duration::from_secs(1);
/// How far a stream looks back from the newest event that it has shown.
const OVERLAP: TimeDelta = TimeDelta::seconds(60);
/// How often a quiet stream carries an empty list, so that both ends notice when the other is gone.
const QUIET: Duration = Duration::from_secs(30);

/// The query of a listing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    kind: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    /// Go on with what happens.
    #[serde(default)]
    watch: bool,
}

pub(super) async fn events(
    State(context): State<Context>,
    Query(query): Query<EventsQuery>,
) -> Result<Response, Problem> {
    let EventsQuery { kind, namespace, name, watch } = query;
    let kind = kind.map(|word| word.parse::<Kind>()).transpose();
    let kind = kind.map_err(|error| Problem::bad_request(error.to_string()))?;
    let filter = EventFilter { kind, namespace, name, since: None };
    let mut pump = Pump { context, filter, shown: Shown::default() };
    let first = pump.news().await?;
    if !watch {
        return Ok(Json(first).into_response());
    }
    let (lines, receiver) = mpsc::channel(16);
    let stop = pump.context.stop.clone();
    tokio::spawn(async move { stop.run_until_cancelled(pump.run(first, lines)).await });
    let body = Body::from_stream(ReceiverStream::new(receiver).map(Ok::<_, Infallible>));
    Ok(([(header::CONTENT_TYPE, MEDIA_TYPE)], body).into_response())
}

/// What makes an event the same one: object, whether it warns, reason and message.
type Identity = (Uuid, bool, String, String);

/// What one stream has shown of late.
#[derive(Debug, Default)]
struct Shown {
    /// How often each had happened, and when last.
    events: HashMap<Identity, (i32, DateTime<Utc>)>,
    newest: Option<DateTime<Utc>>,
}

impl Shown {
    /// From when on there may be something that was not shown.
    fn since(&self) -> Option<DateTime<Utc>> {
        self.newest.map(|newest| newest - OVERLAP)
    }

    /// Notes that an event is shown; `false` when it was so already.
    fn is_news(&mut self, found: &ObjectEvent) -> bool {
        let event = &found.event;
        let warns = event.event_type == EventType::Warning;
        let identity = (found.uid, warns, event.reason.clone(), event.message.clone());
        let now = (event.count, event.last_timestamp);
        self.newest = self.newest.max(Some(event.last_timestamp));
        self.events.insert(identity, now) != Some(now)
    }

    /// Forgets what no later reading can bring again.
    fn forget(&mut self) {
        if let Some(since) = self.since() {
            self.events.retain(|_, (_, last)| *last >= since);
        }
    }
}

/// Fills one stream.
struct Pump {
    context: Context,
    filter: EventFilter,
    shown: Shown,
}

impl Pump {
    /// What has happened and was not shown.
    async fn news(&mut self) -> Result<ObjectEventList, DbError> {
        self.filter.since = self.shown.since();
        let mut items = Vec::new();
        // One more than is shown tells whether there are more.
        let mut found = self.context.store.events_of_objects(&self.filter, LIMIT as i64 + 1).await?;
        let truncated = found.len() > LIMIT;
        found.drain(..found.len().saturating_sub(LIMIT));
        for bowline_store::ObjectEvent { object, uid, event } in found {
            let event = ObjectEvent { object, uid, event };
            if self.shown.is_news(&event) {
                items.push(event);
            }
        }
        self.shown.forget();
        Ok(ObjectEventList { items, truncated })
    }

    async fn run(mut self, first: ObjectEventList, lines: mpsc::Sender<Bytes>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut spoken = Instant::now();
        let mut news = Some(first);
        loop {
            if let Some(list) = news.take() {
                if send(&lines, &list).await.is_err() {
                    return;
                }
                spoken = Instant::now();
            }
            tokio::select! {
                _tick = ticks.tick() => {}
                () = lines.closed() => return,
            }
            match self.news().await {
                Ok(list) if !list.items.is_empty() || spoken.elapsed() >= QUIET => news = Some(list),
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "events wait for the database"),
            }
        }
    }
}

/// The client is gone.
struct ClientGone;

async fn send(lines: &mpsc::Sender<Bytes>, list: &ObjectEventList) -> Result<(), ClientGone> {
    let mut line = serde_json::to_vec(list).map_err(|error| {
        tracing::error!(%error, "events cannot be written");
        ClientGone
    })?;
    line.push(b'\n');
    lines.send(line.into()).await.map_err(|_closed| ClientGone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(message: &str, count: i32, second: i64) -> ObjectEvent {
        let at = DateTime::from_timestamp(1_900_000_000 + second, 0).unwrap();
        serde_json::from_value(serde_json::json!({
            "object": { "kind": "Gateway", "namespace": "u1", "name": "default" }, "uid": Uuid::nil(),
            "type": "Normal", "reason": "R", "message": message, "count": count,
            "firstTimestamp": at, "lastTimestamp": at,
        }))
        .unwrap()
    }

    #[test]
    fn an_event_is_news_once_and_again_when_it_happened_again() {
        let mut shown = Shown::default();
        assert!(shown.is_news(&event("a", 1, 100)));
        assert!(!shown.is_news(&event("a", 1, 100)));
        assert!(shown.is_news(&event("a", 2, 130)));
        // Written earlier, committed later.
        assert!(shown.is_news(&event("b", 1, 120)));
        assert_eq!(shown.since(), Some(event("", 1, 70).event.last_timestamp));
        assert!(shown.is_news(&event("c", 1, 185)));
        shown.forget();
        assert_eq!(shown.events.len(), 2, "what is older than the next reading is forgotten");
        assert!(!shown.is_news(&event("a", 2, 130)));
    }
}
