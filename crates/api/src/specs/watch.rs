//! News from the kernel that something in the directory may have changed. Only hints: they carry no path and no
//! kind, and whoever hears one looks at everything.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RemoveKind};
use notify::{Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch as channel;

use super::scan::{Directory, is_spec_name};

/// A watch on the directories of the last scan, and on the one above them for the day when the directory itself is
/// replaced. Each is watched by itself: a recursive watch would follow hidden directories, too.
pub(super) struct Watch {
    root: PathBuf,
    news: channel::Sender<()>,
    watcher: Option<RecommendedWatcher>,
    covered: BTreeSet<Directory>,
    /// Set when a watch may have ended: the kernel drops it with its directory, and one that is made anew or comes
    /// back may look the same to a scan.
    ended: Arc<AtomicBool>,
    warned: bool,
}

/// What is watched now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cover {
    /// What was watched before.
    Same,
    /// Other directories than before: what happened in them until now was not seen.
    Anew,
    /// Nothing: the kernel gives no watch.
    None,
}

impl Watch {
    /// A watch on nothing yet, and where its news come out.
    pub(super) fn new(root: &Path) -> (Self, channel::Receiver<()>) {
        let (news, receiver) = channel::channel(());
        let (root, ended) = (root.to_owned(), Arc::new(AtomicBool::new(false)));
        (Watch { root, news, watcher: None, covered: BTreeSet::new(), ended, warned: false }, receiver)
    }

    /// Watches these directories.
    pub(super) fn cover(&mut self, directories: &BTreeSet<Directory>) -> Cover {
        let is_whole = self.watcher.is_some() && !self.ended.load(Ordering::Acquire);
        if is_whole && self.covered == *directories {
            return Cover::Same;
        }
        match self.begin(directories) {
            Ok((watcher, ended)) => {
                // The old one ends only now: between the two nothing is lost.
                self.watcher = Some(watcher);
                self.ended = ended;
                self.covered.clone_from(directories);
                self.warned = false;
                Cover::Anew
            }
            Err(error) => {
                if !self.warned {
                    tracing::warn!(%error, "spec directory cannot be watched; looking at it every two seconds");
                    self.warned = true;
                }
                self.watcher = None;
                Cover::None
            }
        }
    }

    /// Watches these directories, and says what is set when that may be so no longer.
    fn begin(
        &self,
        directories: &BTreeSet<Directory>,
    ) -> notify::Result<(RecommendedWatcher, Arc<AtomicBool>)> {
        let (root, news, ended) = (self.root.clone(), self.news.clone(), Arc::new(AtomicBool::new(false)));
        let mut watched: BTreeSet<PathBuf> =
            directories.iter().map(|directory| directory.path.clone()).collect();
        watched.extend(root.parent().map(Path::to_owned));
        let (told, paths) = (Arc::clone(&ended), watched.clone());
        let handler = move |event: notify::Result<Event>| {
            let ends = event.as_ref().map_or(true, |event| may_end(event, &paths));
            if ends {
                told.store(true, Ordering::Release);
            }
            if ends || !event.is_ok_and(|event| !concerns(&event, &root)) {
                news.send_replace(());
            }
        };
        let config = Config::default().with_follow_symlinks(false);
        let mut watcher = RecommendedWatcher::new(handler, config)?;
        for path in &watched {
            match watcher.watch(path, RecursiveMode::NonRecursive) {
                // Without it, the directory is found anew by looking now and then.
                Err(error) if Some(path.as_path()) == self.root.parent() => {
                    tracing::debug!(%error, "directory above the spec directory cannot be watched");
                }
                done => done?,
            }
        }
        Ok((watcher, ended))
    }
}

/// Whether one of the `watched` directories may be watched no longer, or what happened to them was lost.
fn may_end(event: &Event, watched: &BTreeSet<PathBuf>) -> bool {
    let moves = matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)));
    event.need_rescan() || (moves && event.paths.iter().any(|path| watched.contains(path)))
}

/// Whether the event may be a change of what is declared: not what reading causes, and not what happens to other
/// files in the directory or beside it.
fn concerns(event: &Event, root: &Path) -> bool {
    let of_directories = match event.kind {
        EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write) => {
            return event.need_rescan();
        }
        EventKind::Create(CreateKind::Folder) | EventKind::Remove(RemoveKind::Folder) => true,
        // A directory may have any name, and its renaming does not say that it is one.
        EventKind::Modify(ModifyKind::Name(_)) => true,
        _ => false,
    };
    let concerns = |path: &PathBuf| {
        let is_spec = || path.file_name().and_then(|name| name.to_str()).is_some_and(is_spec_name);
        path.starts_with(root) && (of_directories || path == root || is_spec())
    };
    event.need_rescan() || event.paths.is_empty() || event.paths.iter().any(concerns)
}

#[cfg(test)]
mod tests;
