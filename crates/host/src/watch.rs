//! Changes of the rendered files as hints about what to look at.
//!
//! Only directories that nobody but us writes to are watched: the tree's own, that of the configuration, those
//! above the sockets, and those of the secret files. A container that floods its own directories with files wakes
//! nobody.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bowline_core::desired::{SECRETS, watched_directories};
use bowline_core::object::GatewayKey;
use futures::{Stream, stream};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use crate::files::Trees;
use crate::{Host, HostHint, blocking};

/// Between two looks at which trees there are; a new one is seen at once by the event of its making.
const RESCAN: Duration = Duration::from_secs(10);
/// Events that may wait. What does not fit is one hint to look at everything.
const PENDING: usize = 1024;

impl Host {
    /// Hints without end, from inotify on the directories of all gateways. To be called within a runtime; ends when
    /// the stream is dropped. Where inotify is not to be had nothing is told, and the listings have to find out.
    pub fn file_hints(&self) -> impl Stream<Item = HostHint> + Send + 'static {
        let (hints, receiver) = mpsc::channel(PENDING);
        let (trees, gateways) = (Arc::clone(&self.trees), self.trees.root().to_owned());
        tokio::spawn(async move {
            let closed = hints.clone();
            tokio::select! {
                () = watch(trees, gateways, hints) => {}
                () = closed.closed() => {}
            }
        });
        stream::unfold(
            receiver,
            |mut receiver| async move { receiver.recv().await.map(|hint| (hint, receiver)) },
        )
    }
}

async fn watch(trees: Arc<Trees>, gateways: PathBuf, hints: mpsc::Sender<HostHint>) {
    let (changed, mut news) = mpsc::channel(PENDING);
    let teller = Teller { changed, lost: Arc::default() };
    let watches = loop {
        match Watches::new(&gateways, teller.clone()) {
            Ok(watches) => break watches,
            Err(error) => {
                tracing::warn!(%error, "files are not watched, trying again");
                tokio::time::sleep(RESCAN).await;
            }
        }
    };
    let mut followed = Followed { trees, watches, known: HashMap::new() };
    let mut rescan = tokio::time::interval(RESCAN);
    rescan.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let told = tokio::select! {
            told = news.recv() => match told {
                Some(paths) => Some(paths),
                None => return,
            },
            _ = rescan.tick() => None,
        };
        // All that waits is one look. A flood costs as much as one event.
        let is_due = told.is_none();
        let waiting = std::iter::from_fn(|| news.try_recv().ok());
        let paths = told.into_iter().chain(waiting).flatten();
        let changed: BTreeSet<Uuid> = paths.filter_map(|path| tree_of(&gateways, &path)).collect();
        let lost = teller.lost.swap(false, Ordering::AcqRel);
        let is_new = |uid: &Uuid| !followed.known.contains_key(uid);
        if lost || is_due || changed.iter().any(is_new) {
            followed = followed.rescan(lost).await;
        }
        for hint in followed.concerned(&changed, lost) {
            if hints.send(hint).await.is_err() {
                return;
            }
        }
    }
}

/// The uid of the tree that a path is in.
fn tree_of(gateways: &Path, path: &Path) -> Option<Uuid> {
    let first = path.strip_prefix(gateways).ok()?.components().next()?;
    first.as_os_str().to_str()?.parse().ok()
}

/// The watcher's own thread's end: it never waits.
#[derive(Clone)]
struct Teller {
    changed: mpsc::Sender<Vec<PathBuf>>,
    /// Events were lost, here or in the kernel, and nobody has looked at everything since.
    lost: Arc<AtomicBool>,
}

impl Teller {
    fn tell(&self, event: notify::Result<notify::Event>) {
        let paths = match event {
            Ok(event) if event.need_rescan() => None,
            Ok(event) if matters(&event.kind) => Some(event.paths),
            Ok(_) => return,
            Err(_) => None,
        };
        if paths.is_none() {
            self.lost.store(true, Ordering::Release);
        }
        // Nothing to tell is told, too: it wakes whoever looks at `lost`. Where the channel is full, somebody is awake.
        if self.changed.try_send(paths.unwrap_or_default()).is_err() {
            self.lost.store(true, Ordering::Release);
        }
    }
}

/// Whether the kind of event can mean that something differs: not a look alone.
fn matters(kind: &EventKind) -> bool {
    !matches!(kind, EventKind::Access(_))
}

/// The trees that are known and watched.
struct Followed {
    trees: Arc<Trees>,
    watches: Watches,
    known: HashMap<Uuid, GatewayKey>,
}

impl Followed {
    /// Looks which trees there are, and watches what of them is not watched yet; after a loss, everything anew.
    async fn rescan(mut self, lost: bool) -> Self {
        blocking(move || {
            match self.trees.marked() {
                Ok(marked) => self.known = marked,
                Err(error) => {
                    tracing::debug!(%error, "the trees cannot be listed, going on with those known");
                }
            }
            if lost {
                self.watches.watched.clear();
            }
            self.watches.follow(self.known.keys().copied());
            self
        })
        .await
    }

    /// What to look at after changes in these trees. Watches their directories again first, so that what changes
    /// from now on is told, and what changed until now is seen by that look.
    fn concerned(&mut self, changed: &BTreeSet<Uuid>, lost: bool) -> Vec<HostHint> {
        if lost {
            return vec![HostHint::All];
        }
        let Self { watches, known, .. } = self;
        // One that is not known carries no mark of ours.
        let ours = changed.iter().filter_map(|uid| Some((*uid, known.get(uid)?)));
        ours.map(|(uid, key)| {
            watches.renew(uid);
            HostHint::Key(key.clone())
        })
        .collect()
    }
}

/// The directories that are watched.
struct Watches {
    watcher: RecommendedWatcher,
    gateways: PathBuf,
    watched: BTreeSet<(Uuid, String)>,
}

impl Watches {
    fn new(gateways: &Path, teller: Teller) -> notify::Result<Self> {
        let mut watcher = notify::recommended_watcher(move |event| teller.tell(event))?;
        watcher.watch(gateways, RecursiveMode::NonRecursive)?;
        Ok(Self { watcher, gateways: gateways.to_owned(), watched: BTreeSet::new() })
    }

    /// Watches the directories of these trees, and no others; those that are watched already are left alone.
    fn follow(&mut self, trees: impl Iterator<Item = Uuid>) {
        let wanted: BTreeSet<_> = trees.flat_map(|uid| self.directories(uid)).collect();
        for (uid, directory) in self.watched.difference(&wanted).cloned().collect::<Vec<_>>() {
            // Gone with its directory, most likely.
            let _ = self.watcher.unwatch(&self.path(uid, &directory));
            self.watched.remove(&(uid, directory));
        }
        for (uid, directory) in wanted.difference(&self.watched).cloned().collect::<Vec<_>>() {
            self.watch(uid, directory);
        }
    }

    /// Watches all directories of a tree again. The kernel drops a watch with its directory, so one that was made
    /// anew is watched by watching it again; for one that is watched already this changes nothing.
    fn renew(&mut self, uid: Uuid) {
        for directory in tree_directories() {
            self.watch(uid, directory);
        }
        // Listed only now that their parent is watched: one that is made after the list is told of.
        for directory in self.secret_directories(uid) {
            self.watch(uid, directory);
        }
    }

    /// A directory that is not there yet is tried again by the next [`Watches::follow`].
    fn watch(&mut self, uid: Uuid, directory: String) {
        let path = self.path(uid, &directory);
        if self.watcher.watch(&path, RecursiveMode::NonRecursive).is_ok() {
            self.watched.insert((uid, directory));
        } else {
            self.watched.remove(&(uid, directory));
        }
    }

    fn path(&self, uid: Uuid, directory: &str) -> PathBuf {
        let tree = self.gateways.join(uid.to_string());
        if directory.is_empty() { tree } else { tree.join(directory) }
    }

    /// All directories of a tree that are to be watched.
    fn directories(&self, uid: Uuid) -> impl Iterator<Item = (Uuid, String)> {
        tree_directories().chain(self.secret_directories(uid)).map(move |directory| (uid, directory))
    }

    /// The directories of the secret files that are there, one for each server that has any.
    fn secret_directories(&self, uid: Uuid) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(uid, SECRETS)).into_iter().flatten().flatten();
        // Not a link: what it leads to is not ours.
        let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let names = directories.filter_map(|directory| directory.file_name().into_string().ok());
        names.map(|name| format!("{SECRETS}/{name}")).collect()
    }
}

/// The directories that every tree has, its own first, and the one that holds those of the secret files.
fn tree_directories() -> impl Iterator<Item = String> {
    watched_directories().into_iter().chain([SECRETS]).map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests;
