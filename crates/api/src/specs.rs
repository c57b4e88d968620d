//! The spec directory: what its files declare is applied, and goes when the files do.
//!
//! One loop per directory, and only while this process holds the lock of its host: scan ([`mod@scan`]), judge and write
//! ([`round`]), wait for news ([`watch`]). Every round begins with the whole directory and with what the database
//! says of it, so a lost event, a burst and a restart are the same case. The loop is a client of the function behind
//! `POST /v1/apply`, with the file as the manager of what it declares.
//!
//! What holds, whatever is written into the directory:
//! - an object has one holder, its `managedBy`; a file never takes an object that another file still declares;
//! - a file that cannot be read, is empty, or is refused keeps what it held: its last good state;
//! - an object that a readable file declares is never removed, even while that file cannot have it;
//! - an object is removed when nobody declares it in two looks that are [`SETTLE`] apart and nothing has happened
//!   since, so that a file which an editor is about to put back costs nothing, and a great removal waits until somebody
//!   confirms it; so does any removal as long as another directory than before is new to this one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bowline_core::causes::with_causes;
use bowline_store::{DbError, SpecDirectoryRow};
use chrono::Utc;
use tokio::sync::{Notify, watch as channel};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::routes::Context;

mod judge;
mod round;
mod scan;
mod watch;

use round::{Look, Memory, Readings, Round, Rounded};
use scan::{Scan, ScanError, scan};
use watch::{Cover, Watch};

/// A burst of changes is over when nothing has happened for this long.
const QUIET: Duration = Duration::from_millis(300);
/// A burst that does not end is looked at after this long; nothing is removed then before [`RESTLESS`].
const MAX_WAIT: Duration = Duration::from_secs(5);
/// How long an object must be undeclared before it is removed.
const SETTLE: Duration = Duration::from_secs(1);
/// The same in a directory that does not come to rest.
const RESTLESS: Duration = Duration::from_secs(60);
/// How often the directory is looked at although nothing happened.
const RESCAN: Duration = Duration::from_secs(30);
/// The same where the kernel gives no watch.
const POLL: Duration = Duration::from_secs(2);
/// Rest after a look that failed, for want of the directory or of the database.
const RETRY: Duration = Duration::from_secs(1);

/// A directory to follow. Clones are handles of the same one.
#[derive(Debug, Clone)]
pub struct SpecDirectory {
    path: Arc<Path>,
    wake: Arc<Notify>,
    permitted: channel::Sender<bool>,
    /// Why it could not be read when this process looked last.
    trouble: channel::Sender<Option<String>>,
}

/// The right to apply and remove what the directory says; dropping it ends the work at the next step.
#[derive(Debug)]
#[must_use = "the directory is followed only while this lives"]
pub struct Permit(channel::Sender<bool>);

impl SpecDirectory {
    /// The directory at `path`, which need not exist yet. Nothing happens before [`SpecDirectory::permit`].
    pub fn new(path: PathBuf) -> Self {
        SpecDirectory {
            path: path.into(),
            wake: Arc::new(Notify::new()),
            permitted: channel::Sender::new(false),
            trouble: channel::Sender::new(None),
        }
    }

    /// Lets the loop work while the permit lives: two processes must not follow one directory, so it is given by
    /// whoever holds the lock of the host.
    pub fn permit(&self) -> Permit {
        self.permitted.send_replace(true);
        Permit(self.permitted.clone())
    }

    /// The path as it was given.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Why it cannot be read, where this process has seen that.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// Asks for a look now.
    pub(crate) fn look(&self) {
        self.wake.notify_one();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

/// Follows the directory until `stop`, whenever that is permitted.
pub(crate) async fn follow(context: Context, directory: SpecDirectory, stop: CancellationToken) {
    let mut permitted = directory.permitted.subscribe();
    loop {
        let allowed = permitted.wait_for(|allowed| *allowed);
        if !matches!(stop.run_until_cancelled(allowed).await, Some(Ok(_))) {
            return;
        }
        tracing::info!(directory = %directory.path.display(), "spec directory followed");
        // What is dropped in the middle was a transaction that is undone, or a look that changes nothing.
        tokio::select! {
            () = stop.cancelled() => return,
            _ = permitted.wait_for(|allowed| !*allowed) => {}
            () = Box::pin(Follower::new(&context, &directory).run()) => {}
        }
        directory.trouble.send_replace(None);
        tracing::info!(directory = %directory.path.display(), "spec directory let go");
    }
}

/// One stretch of following.
struct Follower<'a> {
    context: &'a Context,
    directory: &'a SpecDirectory,
    news: channel::Receiver<()>,
    /// Absent only while a look at the directory has it.
    watch: Option<Watch>,
    memory: Memory,
    /// Whether the last burst had come to rest when it was looked at.
    quiet: bool,
}

/// Why a look came to nothing.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the spec directory cannot be read; nothing is removed")]
    Scan(#[from] ScanError),
    #[error("the spec directory waits for the database; nothing is removed")]
    Db(#[from] DbError),
    #[error("the spec directory waits: {0}")]
    Busy(String),
    #[error("the spec directory could not be looked at")]
    Defect(#[from] tokio::task::JoinError),
}

impl<'a> Follower<'a> {
    fn new(context: &'a Context, directory: &'a SpecDirectory) -> Self {
        let (watch, news) = Watch::new(directory.path());
        let memory = Memory::default();
        Follower { context, directory, news, watch: Some(watch), memory, quiet: true }
    }

    async fn run(mut self) {
        let mut said = None;
        loop {
            let rest = match self.look().await {
                Ok(rest) => {
                    said = None;
                    rest
                }
                Err(trouble) => {
                    // What was due must be seen to be due anew.
                    self.memory.forget_due();
                    let text = with_causes(&trouble).to_string();
                    if said.as_ref() != Some(&text) {
                        tracing::warn!(directory = %self.directory.path().display(), error = text, "spec directory not applied");
                        said = Some(text);
                    }
                    RETRY
                }
            };
            self.rest(rest).await;
        }
    }

    /// Looks once at the whole directory and does what follows from it; returns how long to rest.
    async fn look(&mut self) -> Result<Duration, Trouble> {
        self.news.borrow_and_update();
        let (scanned, covered) = self.scan().await?;
        let at = Instant::now();
        let (scan, readings) = match scanned {
            Ok(scanned) => scanned,
            Err(error) => {
                self.note_directory(Some(error.to_string())).await?;
                return Err(error.into());
            }
        };
        self.note_directory(None).await?;
        let (directory, quiet, news) = (self.directory.path(), self.quiet, self.news.clone());
        let look = Look { directory, scan, readings, at, quiet, news };
        let rounded = Round::begin(self.context, &mut self.memory, look).await?.run().await?;
        Ok(match (covered, rounded) {
            // Something may have come into a directory before it was watched.
            (Cover::Anew, _) => QUIET,
            (Cover::None, Rounded::Unsettled(rest)) => rest.min(POLL),
            (Cover::Same, Rounded::Unsettled(rest)) => rest,
            (Cover::None, Rounded::Settled) => POLL,
            (Cover::Same, Rounded::Settled) => RESCAN,
        })
    }

    /// The directory as it is and what its files say, away from the threads that must not block.
    async fn scan(&mut self) -> Result<(Result<(Scan, Readings), ScanError>, Cover), Trouble> {
        let path = Arc::clone(&self.directory.path);
        let mut watch = self.watch.take().unwrap_or_else(|| {
            let (watch, news) = Watch::new(&path);
            self.news = news;
            watch
        });
        let known = self.memory.take_readings();
        let (watch, scanned, covered) = tokio::task::spawn_blocking(move || {
            let scanned = scan(&path).map(|scan| {
                let readings = Readings::of(&scan, known);
                (scan, readings)
            });
            let none = std::collections::BTreeSet::new();
            let covered = watch.cover(scanned.as_ref().map_or(&none, |(scan, _)| &scan.directories));
            (watch, scanned, covered)
        })
        .await?;
        self.watch = Some(watch);
        Ok((scanned, covered))
    }

    /// Writes how the directory was found, when that is news. While another one is known, that one stays known: a round
    /// says when this one may take its place.
    async fn note_directory(&mut self, error: Option<String>) -> Result<(), DbError> {
        self.directory.trouble.send_replace(error.clone());
        if self.memory.directory.is_none() {
            self.memory.directory = self.context.store.specs().await?.directory;
        }
        let path = self.directory.path();
        let is_news = match &self.memory.directory {
            Some(row) => is_of(row, path) && row.error != error,
            None => true,
        };
        if is_news {
            let path = path.display().to_string();
            let row = SpecDirectoryRow { path, error, changed_at: Utc::now() };
            self.context.store.put_spec_directory(&row).await?;
            self.memory.directory = Some(row);
        }
        Ok(())
    }

    /// Waits for news at most for `rest`, and then until the burst is over.
    async fn rest(&mut self, rest: Duration) {
        self.quiet = wait(rest, &self.directory.wake, &mut self.news, self.quiet).await;
    }
}

/// Whether the row is of the directory at `path`.
fn is_of(row: &SpecDirectoryRow, path: &Path) -> bool {
    Path::new(&row.path) == Path::new(path.to_string_lossy().as_ref())
}

/// Waits at most for `rest`, for somebody who asks for a look, or for news and then until their burst is over. Returns
/// whether all is at rest then; somebody's question changes nothing of what it `was` before.
async fn wait(rest: Duration, wake: &Notify, news: &mut channel::Receiver<()>, was: bool) -> bool {
    tokio::select! {
        biased;
        Ok(()) = news.changed() => {}
        () = wake.notified() => return was,
        () = sleep(rest) => return true,
    }
    let end = Instant::now() + MAX_WAIT;
    loop {
        let quiet = Instant::now() + QUIET;
        let Ok(Ok(())) = timeout_at(quiet.min(end), news.changed()).await else {
            return quiet <= end;
        };
    }
}

#[cfg(test)]
mod tests;
