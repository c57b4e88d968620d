//! News from the kernel that something in the directory may have changed. Only hints: they carry no path and no
//! kind, and whoever hears one looks at everything.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

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
        let root = root.to_owned();
        (Watch { root, news, watcher: None, covered: BTreeSet::new(), warned: false }, receiver)
    }

    /// Watches these directories.
    pub(super) fn cover(&mut self, directories: &BTreeSet<Directory>) -> Cover {
        if self.watcher.is_some() && self.covered == *directories {
            return Cover::Same;
        }
        match self.begin(directories) {
            Ok(watcher) => {
                // The old one ends only now: between the two nothing is lost.
                self.watcher = Some(watcher);
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

    fn begin(&self, directories: &BTreeSet<Directory>) -> notify::Result<RecommendedWatcher> {
        let (root, news) = (self.root.clone(), self.news.clone());
        let handler = move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| !concerns(&event, &root)) {
                return;
            }
            news.send_replace(());
        };
        let config = Config::default().with_follow_symlinks(false);
        let mut watcher = RecommendedWatcher::new(handler, config)?;
        if let Some(parent) = self.root.parent() {
            watcher.watch(parent, RecursiveMode::NonRecursive)?;
        }
        for directory in directories {
            watcher.watch(&directory.path, RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    }
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
