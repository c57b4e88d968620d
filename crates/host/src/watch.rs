//! Changes of the rendered files as hints about what to look at.
//!
//! Only directories that nobody but us writes to are watched: the tree's own, that of the configuration, and those
//! above the sockets. A container that floods its own directories with files wakes nobody.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bowline_core::desired::watched_directories;
use bowline_core::object::GatewayKey;
use futures::{Stream, stream};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::files::Trees;
use crate::{Host, HostHint, blocking};

/// Between two looks at which trees there are; a new one is seen at once by the event of its making.
const RESCAN: Duration = Duration::from_secs(10);
/// Events that may wait. What does not fit is one hint to look at everything.
const PENDING: usize = 1024;

/// What the watcher's own thread tells.
enum News {
    Changed(Vec<PathBuf>),
    /// Events were lost, here or in the kernel.
    Lost,
}

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
    let (tell, mut news) = mpsc::channel(PENDING);
    let mut watches = loop {
        match Watches::new(&gateways, tell.clone()) {
            Ok(watches) => break watches,
            Err(error) => {
                tracing::warn!(%error, "files are not watched, trying again");
                tokio::time::sleep(RESCAN).await;
            }
        }
    };
    loop {
        let known = {
            let trees = Arc::clone(&trees);
            blocking(move || trees.marked()).await.unwrap_or_default()
        };
        watches.follow(known.keys().copied());
        let told = tokio::select! {
            told = news.recv() => told,
            () = tokio::time::sleep(RESCAN) => continue,
        };
        let hint = match told {
            None => return,
            Some(News::Lost) => BTreeSet::from([None]),
            Some(News::Changed(paths)) => concerned(&gateways, &paths, &known),
        };
        for key in hint {
            let hint = key.map_or(HostHint::All, HostHint::Key);
            if hints.send(hint).await.is_err() {
                return;
            }
        }
    }
}

/// The gateways whose trees these paths are in; `None` for one that is not known yet.
fn concerned(
    gateways: &Path,
    paths: &[PathBuf],
    known: &HashMap<Uuid, GatewayKey>,
) -> BTreeSet<Option<GatewayKey>> {
    let uid = |path: &PathBuf| {
        let first = path.strip_prefix(gateways).ok()?.components().next()?;
        first.as_os_str().to_str()?.parse::<Uuid>().ok()
    };
    // A tree that is unknown is new, and whoever made it knows; or it is gone, and its name tells the uid.
    paths.iter().filter_map(uid).filter_map(|uid| known.get(&uid).cloned().map(Some)).collect()
}

/// The directories that are watched.
struct Watches {
    watcher: RecommendedWatcher,
    gateways: PathBuf,
    watched: BTreeSet<(Uuid, &'static str)>,
}

impl Watches {
    fn new(gateways: &Path, tell: mpsc::Sender<News>) -> notify::Result<Self> {
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let news = match event {
                Ok(event) if event.need_rescan() => News::Lost,
                Ok(event) if matters(&event.kind) => News::Changed(event.paths),
                Ok(_) => return,
                Err(_) => News::Lost,
            };
            // A full channel means that a look at many things is due anyway; the listings follow soon.
            let _ = tell.try_send(news);
        })?;
        watcher.watch(gateways, RecursiveMode::NonRecursive)?;
        Ok(Self { watcher, gateways: gateways.to_owned(), watched: BTreeSet::new() })
    }

    /// Watches the directories of these trees, and no others. A directory that is not there yet is tried again.
    fn follow(&mut self, trees: impl Iterator<Item = Uuid>) {
        let wanted: BTreeSet<_> =
            trees.flat_map(|uid| watched_directories().map(move |directory| (uid, directory))).collect();
        for (uid, directory) in self.watched.difference(&wanted).copied().collect::<Vec<_>>() {
            // Gone with its directory, most likely.
            let _ = self.watcher.unwatch(&self.path(uid, directory));
            self.watched.remove(&(uid, directory));
        }
        // The kernel drops a watch with its directory, so one that was made anew is watched by watching it again;
        // for one that is watched already this changes nothing.
        for (uid, directory) in wanted {
            let path = self.path(uid, directory);
            if self.watcher.watch(&path, RecursiveMode::NonRecursive).is_ok() {
                self.watched.insert((uid, directory));
            }
        }
    }

    fn path(&self, uid: Uuid, directory: &str) -> PathBuf {
        let tree = self.gateways.join(uid.to_string());
        if directory.is_empty() { tree } else { tree.join(directory) }
    }
}

/// Whether the kind of event can mean that something differs: not a look alone.
fn matters(kind: &EventKind) -> bool {
    !matches!(kind, EventKind::Access(_))
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    #[test]
    fn only_paths_of_trees_that_are_ours_concern_anybody() {
        let gateways = Path::new("/run/bowline/gateways");
        let uid = Uuid::from_u128(7);
        let known = HashMap::from([(uid, GatewayKey::new("u1", "default"))]);
        let told = |path: &str| concerned(gateways, &[gateways.join(path)], &known);
        assert_eq!(
            told(&format!("{uid}/config/gateway.json")),
            BTreeSet::from([Some(GatewayKey::new("u1", "default"))])
        );
        assert!(told(&format!("{}/config", Uuid::from_u128(8))).is_empty());
        assert!(told("not-a-uid").is_empty());
    }

    #[tokio::test]
    async fn a_change_of_a_file_is_told_and_a_flood_in_a_sockets_directory_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let (tell, news) = mpsc::channel(16);
        let uid = Uuid::from_u128(7);
        let tree = directory.path().join(uid.to_string());
        std::fs::create_dir_all(tree.join("config")).unwrap();
        std::fs::create_dir_all(tree.join("sockets/servers/time")).unwrap();
        let mut watches = Watches::new(directory.path(), tell).unwrap();
        watches.follow([uid].into_iter());
        std::fs::write(tree.join("sockets/servers/time/flood"), "x").unwrap();
        std::fs::write(tree.join("config/gateway.json"), "x").unwrap();
        let told = stream::unfold(news, |mut news| async move { news.recv().await.map(|told| (told, news)) });
        let first = std::pin::pin!(told).next().await.unwrap();
        let News::Changed(paths) = first else { panic!("events were lost") };
        assert_eq!(paths, [tree.join("config/gateway.json")]);
    }
}
