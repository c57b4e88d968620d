//! Following objects until something holds: over the API's watch, across its restarts.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use bowline_api::problem::Problem;
use bowline_api::wire::{DeletedObject, Object, WatchEvent};
use bowline_core::object::{Kind, ObjectKey};
use tokio::time::Instant;

use crate::client::{Client, RequestError, with_query};
use crate::failure::Failure;

/// Rest before a watch that broke is begun anew.
const REST: Duration = Duration::from_millis(500);
/// A stream that is silent for this long is dead: bookmarks come every 30 s.
const SILENCE: Duration = Duration::from_secs(90);

/// What is followed.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    /// The kind.
    pub(crate) kind: Kind,
    /// Only objects of this namespace.
    pub(crate) namespace: Option<String>,
}

impl Scope {
    /// The narrowest scope that has all these objects in it.
    pub(crate) fn of(kind: Kind, keys: &[ObjectKey]) -> Self {
        let first = keys.first().and_then(|key| key.namespace.clone());
        let same = keys.iter().all(|key| key.namespace == first);
        Scope { kind, namespace: first.filter(|_| same) }
    }
}

/// The objects of a scope as the watch shows them.
#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    /// The objects.
    pub(crate) objects: BTreeMap<ObjectKey, Object>,
    /// Whether everything that there is has been shown: before, "not there" means nothing.
    pub(crate) is_complete: bool,
}

/// What just happened to a [`World`].
#[derive(Debug, Clone)]
pub(crate) enum News {
    /// This object is new or different.
    Object(Box<Object>),
    /// This object is gone.
    Gone(DeletedObject),
    /// The world is complete, or still is.
    UpToDate,
}

/// How following ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Followed {
    /// `each` has broken it off.
    Done,
    /// The deadline passed.
    TimedOut,
}

/// Calls `each` with every change until it breaks off or the deadline passes. A connection that breaks is made
/// again, with a world that is complete again later; one that cannot be made at first is an error at once.
pub(crate) async fn follow(
    client: &Client,
    scope: &Scope,
    deadline: Option<Instant>,
    mut each: impl FnMut(&World, News) -> Result<ControlFlow<()>, Failure>,
) -> Result<Followed, Failure> {
    let pairs = [("kind", Some(scope.kind.singular().to_owned())), ("namespace", scope.namespace.clone())];
    let path = with_query("/v1/watch", &pairs);
    let mut connected = false;
    let following = async {
        loop {
            match one_stream(client, &path, &mut connected, &mut each).await? {
                Ok(()) => return Ok(()),
                Err(error) if connected && (error.is_transient() || error.status() == Some(410)) => {
                    tokio::time::sleep(REST).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    };
    match deadline {
        None => following.await.map(|()| Followed::Done),
        Some(deadline) => match tokio::time::timeout_at(deadline, following).await {
            Ok(ended) => ended.map(|()| Followed::Done),
            Err(_elapsed) => Ok(Followed::TimedOut),
        },
    }
}

/// One watch from its beginning: `Ok(Ok(()))` when `each` has broken it off.
async fn one_stream(
    client: &Client,
    path: &str,
    connected: &mut bool,
    each: &mut impl FnMut(&World, News) -> Result<ControlFlow<()>, Failure>,
) -> Result<Result<(), RequestError>, Failure> {
    let mut world = World::default();
    let mut stream = match client.stream(path).await {
        Ok(stream) => stream,
        Err(error) => return Ok(Err(error)),
    };
    *connected = true;
    loop {
        let line = match tokio::time::timeout(SILENCE, stream.line()).await {
            Ok(Ok(Some(line))) => line,
            Ok(Ok(None)) => return Ok(Err(RequestError::Broken("the API ended the watch".to_owned()))),
            Ok(Err(error)) => return Ok(Err(error)),
            Err(_elapsed) => return Ok(Err(RequestError::Broken("the watch went silent".to_owned()))),
        };
        let event: WatchEvent = serde_json::from_slice(&line)
            .map_err(|error| Failure::ours("cannot read the API's watch").because(&error))?;
        let news = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                world.objects.insert(object.key(), (*object).clone());
                News::Object(object)
            }
            WatchEvent::Deleted(deleted) => {
                // A re-created object has the same key and is not the one that went.
                if world.objects.get(&deleted.key).is_some_and(|known| known.metadata.uid == deleted.uid) {
                    world.objects.remove(&deleted.key);
                }
                News::Gone(deleted)
            }
            WatchEvent::Bookmark(_) => {
                world.is_complete = true;
                News::UpToDate
            }
            WatchEvent::Error(problem) => return Ok(Err(Problem::clone(&problem).into())),
        };
        if each(&world, news)?.is_break() {
            return Ok(Ok(()));
        }
    }
}
