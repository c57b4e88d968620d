//! One look at the directory and what follows from it: renames, writes, removals, and what is told of each file.
//!
//! Who may have an object is decided from three things: who holds it in the database, what each file says now, and
//! whether what it says has been applied. A file *claims* what it holds unless it is gone, or says something good
//! that does not declare it. What nobody claims is free: for a file that declares it, else for removal. What a file
//! declares that cannot take it yet is free for that file alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bowline_core::object::ObjectKey;
use bowline_store::{FileObject, HeldRemoval, SpecDirectoryRow, SpecFileRow, SpecsRecord};
use chrono::Utc;
use tokio::sync::watch as channel;
use tokio::time::Instant;
use uuid::Uuid;

use super::judge::{Reading, Verdict};
use super::scan::{Content, Scan};
use super::{RESTLESS, SETTLE, Trouble};
use crate::problem::Problem;
use crate::routes::Context;
use crate::wire::SpecState;

mod apply;
mod removal;
mod report;

/// What a loop remembers between its rounds. All of it may be forgotten: it costs another look, nothing else.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// What each file was last read to say.
    readings: Readings,
    /// Since when each object is seen to be undeclared.
    due: BTreeMap<Uuid, Instant>,
    /// What the database says of the directory itself.
    pub(super) directory: Option<SpecDirectoryRow>,
}

impl Memory {
    /// What the files were last read to say, for the next look; afterwards it is not remembered.
    pub(super) fn take_readings(&mut self) -> Readings {
        std::mem::take(&mut self.readings)
    }

    /// Nothing counts as seen to be undeclared.
    pub(super) fn forget_due(&mut self) {
        self.due.clear();
    }
}

/// What each text says, with its hash, by the file's path.
#[derive(Debug, Default)]
pub(super) struct Readings(BTreeMap<String, (String, Reading)>);

impl Readings {
    /// Reads every text that was not `known` before.
    pub(super) fn of(scan: &Scan, mut known: Readings) -> Self {
        let mut readings = BTreeMap::new();
        for (path, content) in &scan.files {
            let Content::Text { text, sha256, modified: _ } = content else { continue };
            let known = known.0.remove(path).filter(|(hash, _)| hash == sha256);
            let reading = known.unwrap_or_else(|| (sha256.clone(), Reading::of(text, path)));
            readings.insert(path.clone(), reading);
        }
        Readings(readings)
    }
}

/// How a round left things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rounded {
    /// Nothing is to be done before there is news.
    Settled,
    /// Something waits for another look, after this time.
    Unsettled(Duration),
}

/// A look at the directory.
pub(super) struct Look<'a> {
    /// Its path.
    pub(super) directory: &'a Path,
    /// What is in it.
    pub(super) scan: Scan,
    /// What its files say.
    pub(super) readings: Readings,
    /// When that was read,
    pub(super) at: Instant,
    /// whether the directory had come to rest then,
    pub(super) quiet: bool,
    /// and where it is heard that something has happened since.
    pub(super) news: channel::Receiver<()>,
}

impl Look<'_> {
    /// How long an object must be undeclared before it is removed for what was seen. A directory that changes, or was
    /// looked at a while ago, may be about to declare it again.
    fn patience(&self) -> Duration {
        let is_old = self.at.elapsed() > SETTLE || self.news.has_changed().unwrap_or(true);
        if self.quiet && !is_old { SETTLE } else { RESTLESS }
    }
}

/// One round.
pub(super) struct Round<'a> {
    context: &'a Context,
    memory: &'a mut Memory,
    look: Look<'a>,
    rows: BTreeMap<String, SpecFileRow>,
    /// What files hold, as the database said last.
    objects: Vec<FileObject>,
    /// Who holds what, with what this round has written since.
    holders: BTreeMap<ObjectKey, String>,
    removals: Vec<HeldRemoval>,
    verdicts: BTreeMap<String, Verdict>,
}

impl<'a> Round<'a> {
    /// Reads what there is.
    pub(super) async fn begin(
        context: &'a Context,
        memory: &'a mut Memory,
        look: Look<'a>,
    ) -> Result<Self, Trouble> {
        let mut round = Round {
            context,
            memory,
            look,
            rows: BTreeMap::new(),
            objects: Vec::new(),
            holders: BTreeMap::new(),
            removals: Vec::new(),
            verdicts: BTreeMap::new(),
        };
        round.load().await?;
        Ok(round)
    }

    /// Does everything that follows.
    pub(super) async fn run(mut self) -> Result<Rounded, Trouble> {
        self.follow_renames().await?;
        self.apply_all().await?;
        // What was written has changed who holds what.
        self.load_objects().await?;
        self.settle();
        let rounded = self.remove_all().await?;
        let stored = self.load_objects().await?;
        self.report(&stored).await?;
        if rounded == Rounded::Settled {
            self.accept_directory().await?;
        }
        let waits = self.verdicts.values().any(|verdict| verdict.state == SpecState::Pending);
        self.memory.readings = self.look.readings;
        Ok(if waits { Rounded::Unsettled(SETTLE) } else { rounded })
    }

    async fn load(&mut self) -> Result<(), Trouble> {
        let files = self.load_objects().await?;
        self.rows = files.into_iter().map(|row| (row.path.clone(), row)).collect();
        Ok(())
    }

    /// Reads who holds what; the states of the files are returned, for `rows` may be ahead of them.
    async fn load_objects(&mut self) -> Result<Vec<SpecFileRow>, Trouble> {
        let SpecsRecord { directory, files, objects, removals } = self.context.store.specs().await?;
        self.holders = objects.iter().map(|object| (object.key.clone(), object.path.clone())).collect();
        self.objects = objects;
        self.removals = removals;
        self.memory.directory = directory;
        Ok(files)
    }

    /// What the file says, where it can be read.
    fn reading(&self, path: &str) -> Option<&Reading> {
        self.look.readings.0.get(path).map(|(_, reading)| reading)
    }

    /// Whether what the file says now is what was written of it last.
    fn is_applied(&self, path: &str) -> bool {
        let written = self.rows.get(path).and_then(|row| row.applied_sha256.as_ref());
        written.is_some() && written == self.look.readings.0.get(path).map(|(sha256, _)| sha256)
    }

    /// Whether all that keeps the file from being applied is that others hold what it declares.
    fn is_in_conflict(&self, path: &str) -> bool {
        self.verdicts.get(path).is_some_and(|verdict| verdict.state == SpecState::Conflict)
    }

    /// Whether the file at `path`, which holds the object, still wants it.
    fn claims(&self, path: &str, key: &ObjectKey) -> bool {
        match self.reading(path) {
            // Nothing is wrong with a file that waits for another one's object: two files that exchange theirs would
            // wait for each other for ever.
            Some(Reading::Declares(keys)) if self.is_applied(path) || self.is_in_conflict(path) => {
                keys.contains(key)
            }
            // What is wrong, empty, refused or not tried yet keeps its last good state.
            Some(_) => true,
            // It cannot be read, or it is where nothing can be seen, or it is gone.
            None => !self.is_gone(path),
        }
    }

    /// Whether there is no such file any more.
    fn is_gone(&self, path: &str) -> bool {
        !self.look.scan.files.contains_key(path) && self.look.scan.cannot_see(path).is_none()
    }

    /// A file that has come with the content of one that has gone is that file: its holdings and its state go along,
    /// even when the content is wrong or empty.
    async fn follow_renames(&mut self) -> Result<(), Trouble> {
        let mut gone: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for row in self.rows.values().rev() {
            let path = row.path.as_str();
            if !self.is_gone(path) {
                continue;
            }
            let holds = || self.holders.values().any(|holder| holder == path);
            if let Some(sha256) = &row.sha256
                && holds()
            {
                gone.entry(sha256).or_default().push(path);
            }
        }
        let mut renames = Vec::new();
        for (path, (sha256, _)) in &self.look.readings.0 {
            if !self.rows.contains_key(path)
                && let Some(from) = gone.get_mut(sha256.as_str()).and_then(Vec::pop)
            {
                renames.push((from.to_owned(), path.clone()));
            }
        }
        if renames.is_empty() {
            return Ok(());
        }
        let mut write = self.context.store.begin_write().await?;
        write.exclude_others().await?;
        for (from, to) in &renames {
            let objects = write.rename_spec_file(from, to).await?;
            tracing::info!(from, to, objects, "spec file renamed");
        }
        write.commit().await?;
        self.load().await
    }
}

fn new_row(path: &str) -> SpecFileRow {
    SpecFileRow {
        path: path.to_owned(),
        state: String::new(),
        message: String::new(),
        diagnostics: serde_json::Value::Array(Vec::new()),
        sha256: None,
        applied_sha256: None,
        changed_at: Utc::now(),
    }
}

/// The verdict of a refusal, unless it says nothing of the file.
fn judged(problem: Problem) -> Result<Verdict, Trouble> {
    let detail = problem.detail.clone();
    Verdict::refused(problem).ok_or(Trouble::Busy(detail))
}

#[cfg(test)]
mod tests;
