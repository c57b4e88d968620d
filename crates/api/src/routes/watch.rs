//! The watch: every change from a version on, in the order in which they were committed.
//!
//! The database is the truth and the hints only say when to read it again, so that a watch neither misses a
//! version nor shows one twice, whatever happens to the hints.

use std::collections::HashSet;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bowline_core::object::{Kind, ObjectKey};
use bowline_store::{Changed, ChangesError, DbError};
use futures::StreamExt;
use hyper::body::Bytes;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use uuid::Uuid;

use super::Context;
use crate::body::Query;
use crate::problem::Problem;
use crate::wire::{Bookmark, DeletedObject, Object, WatchEvent};

/// Media type of a stream with one JSON document a line.
const MEDIA_TYPE: &str = "application/x-ndjson";
/// Changes that are read at a time.
const BATCH: i64 = 200;
/// How often a quiet stream carries a bookmark, so that both ends notice when the other is gone.
const QUIET: Duration = Duration::from_secs(30);
/// Gateways of a namespace that its watch asks for; who watches more asks for none in particular.
const FEW: usize = 8;
/// Rest before the database is asked again after it did not answer.
const REST: Duration = Duration::from_secs(1);

/// The query of a watch.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WatchQuery {
    kind: Option<String>,
    namespace: Option<String>,
    /// Only changes behind this version; absent begins with everything that there is.
    since: Option<i64>,
}

pub(super) async fn watch(
    State(context): State<Context>,
    Query(query): Query<WatchQuery>,
) -> Result<Response, Problem> {
    let kind = match query.kind.as_deref().map(str::parse::<Kind>) {
        None => None,
        Some(Ok(kind)) => Some(kind),
        Some(Err(error)) => return Err(Problem::bad_request(error.to_string())),
    };
    // An answer of 410 is possible only before the stream begins.
    if let Some(since) = query.since {
        match context.store.changes_since(since, 1).await {
            Ok(_) => {}
            Err(ChangesError::Db(error)) => return Err(error.into()),
            Err(ChangesError::Expired { asked: _ }) => return Err(Problem::gone(since)),
        }
    }
    let (lines, receiver) = mpsc::channel(64);
    let stop = context.stop.clone();
    let pump = Pump { context, kind, namespace: query.namespace, seen: HashSet::new(), lines };
    tokio::spawn(async move { stop.run_until_cancelled(pump.run(query.since)).await });
    let body = Body::from_stream(ReceiverStream::new(receiver).map(Ok::<_, Infallible>));
    Ok(([(header::CONTENT_TYPE, MEDIA_TYPE)], body).into_response())
}

/// Fills one stream.
struct Pump {
    context: Context,
    kind: Option<Kind>,
    namespace: Option<String>,
    /// Objects that this stream has shown.
    seen: HashSet<Uuid>,
    lines: mpsc::Sender<Bytes>,
}

/// Why a stream ends.
enum Ended {
    /// The client is gone.
    ClientGone,
    /// The client must list again: it was away for longer than deletions are remembered.
    Expired(i64),
    /// The database does not answer.
    Db(DbError),
}

impl Pump {
    async fn run(mut self, since: Option<i64>) {
        let mut hints = self.context.hub.subscribe();
        let mut version = since;
        loop {
            hints.mark_unchanged();
            let pause = match self.catch_up(version).await {
                Ok(reached) => {
                    version = Some(reached);
                    let bookmark = WatchEvent::Bookmark(Bookmark { resource_version: reached });
                    if self.send(&bookmark).await.is_err() {
                        return;
                    }
                    QUIET
                }
                Err(Ended::ClientGone) => return,
                Err(Ended::Expired(since)) => {
                    let error = WatchEvent::Error(Box::new(Problem::gone(since)));
                    // A client that is gone needs no reason.
                    let _ = self.send(&error).await;
                    return;
                }
                Err(Ended::Db(error)) => {
                    tracing::debug!(%error, "watch waits for the database");
                    REST
                }
            };
            tokio::select! {
                heard = hints.changed() => if heard.is_err() { return },
                () = tokio::time::sleep(pause) => {}
                () = self.lines.closed() => return,
            }
        }
    }

    /// Sends everything behind `version`, or everything that there is, and says how far that is.
    async fn catch_up(&mut self, version: Option<i64>) -> Result<i64, Ended> {
        let mut version = match version {
            Some(version) => version,
            None => self.list().await?,
        };
        loop {
            let changes = match self.context.store.changes_since(version, BATCH).await {
                Ok(changes) => changes,
                Err(ChangesError::Expired { asked: _ }) => return Err(Ended::Expired(version)),
                Err(ChangesError::Db(error)) => return Err(Ended::Db(error)),
            };
            for change in changes.items {
                match change.what {
                    Changed::Object(stored) if self.wants(&stored.metadata.key) => {
                        self.show(stored.into()).await?;
                    }
                    Changed::Deleted { key, uid } if self.wants(&key) => {
                        self.seen.remove(&uid);
                        self.send(&WatchEvent::Deleted(DeletedObject { key, uid })).await?;
                    }
                    Changed::Object(_) | Changed::Deleted { .. } => {}
                }
            }
            version = changes.version;
            if !changes.more {
                return Ok(version);
            }
        }
    }

    /// Sends all objects, and gives the version from which changes go on: of the first listing, so that a
    /// change between two listings is shown twice rather than never.
    async fn list(&mut self) -> Result<i64, Ended> {
        let mut version = i64::MAX;
        for kind in Kind::ALL {
            if self.kind.is_some_and(|wanted| wanted != kind) {
                continue;
            }
            let namespace = if kind.is_namespaced() { self.namespace.as_deref() } else { None };
            let listing = self.context.store.list(kind, namespace).await.map_err(Ended::Db)?;
            version = version.min(listing.version);
            // Who waits for a gateway, or for its token to be loaded, watches the gateways of its namespace.
            if kind == Kind::Gateway && namespace.is_some() && listing.items.len() <= FEW {
                listing.items.iter().for_each(|gateway| self.context.asked.about(gateway));
            }
            for stored in listing.items {
                if self.wants(&stored.metadata.key) {
                    self.show(stored.into()).await?;
                }
            }
        }
        Ok(version)
    }

    fn wants(&self, key: &ObjectKey) -> bool {
        self.kind.is_none_or(|kind| kind == key.kind)
            && self.namespace.as_ref().is_none_or(|namespace| key.namespace.as_ref() == Some(namespace))
    }

    async fn show(&mut self, object: Object) -> Result<(), Ended> {
        let new = self.seen.insert(object.metadata.uid);
        let object = Box::new(object);
        let event = if new { WatchEvent::Added(object) } else { WatchEvent::Modified(object) };
        self.send(&event).await
    }

    async fn send(&self, event: &WatchEvent) -> Result<(), Ended> {
        let mut line = match serde_json::to_vec(event) {
            Ok(line) => line,
            Err(error) => {
                tracing::error!(%error, "event cannot be written");
                return Err(Ended::ClientGone);
            }
        };
        line.push(b'\n');
        self.lines.send(line.into()).await.map_err(|_| Ended::ClientGone)
    }
}
