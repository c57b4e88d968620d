//! One look at the directory and what follows from it: renames, writes, removals, and what is told of each file.
//!
//! Who may have an object is decided from three things: who holds it in the database, what each file says now, and
//! whether what it says has been applied. A file *claims* what it holds unless it is gone, or says something good
//! that does not declare it. What nobody claims is free: for a file that declares it, else for removal.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::object::ObjectKey;
use bowline_core::resource::parse;
use bowline_store::{FileObject, HeldRemoval, SpecDirectoryRow, SpecFileRow, SpecsRecord};
use chrono::Utc;
use tokio::time::Instant;
use uuid::Uuid;

use super::Trouble;
use super::judge::{Reading, Verdict};
use super::scan::{Content, Scan};
use crate::problem::Problem;
use crate::routes::{Apply, ApplyError, Context};
use crate::wire::SpecState;

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
            let Content::Text { text, sha256 } = content else { continue };
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
    /// Something waits for another look, soon.
    Unsettled,
}

/// One round.
pub(super) struct Round<'a> {
    context: &'a Context,
    memory: &'a mut Memory,
    scan: Scan,
    /// Whether the directory had come to rest: else nothing is removed.
    quiet: bool,
    rows: BTreeMap<String, SpecFileRow>,
    /// What files hold, as the database said last.
    objects: Vec<FileObject>,
    /// Who holds what, with what this round has written since.
    holders: BTreeMap<ObjectKey, String>,
    removals: Vec<HeldRemoval>,
    readings: Readings,
    verdicts: BTreeMap<String, Verdict>,
}

impl<'a> Round<'a> {
    /// Reads what there is.
    pub(super) async fn begin(
        context: &'a Context,
        memory: &'a mut Memory,
        (scan, readings): (Scan, Readings),
        quiet: bool,
    ) -> Result<Self, Trouble> {
        let mut round = Round {
            context,
            memory,
            scan,
            quiet,
            rows: BTreeMap::new(),
            objects: Vec::new(),
            holders: BTreeMap::new(),
            removals: Vec::new(),
            readings,
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
        let waits = self.verdicts.values().any(|verdict| verdict.state == SpecState::Pending);
        self.memory.readings = self.readings;
        Ok(if waits { Rounded::Unsettled } else { rounded })
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
        self.readings.0.get(path).map(|(_, reading)| reading)
    }

    /// Whether what the file says now is what was written of it last.
    fn is_applied(&self, path: &str) -> bool {
        let written = self.rows.get(path).and_then(|row| row.applied_sha256.as_ref());
        written.is_some() && written == self.readings.0.get(path).map(|(sha256, _)| sha256)
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
            None => self.scan.files.contains_key(path) || self.scan.cannot_see(path).is_some(),
        }
    }

    /// A file that has come with the content of one that has gone is that file: its holdings and its state go along,
    /// even when the content is wrong or empty.
    async fn follow_renames(&mut self) -> Result<(), Trouble> {
        let mut gone: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for row in self.rows.values().rev() {
            let path = row.path.as_str();
            if self.scan.files.contains_key(path) || self.scan.cannot_see(path).is_some() {
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
        for (path, (sha256, _)) in &self.readings.0 {
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

    /// Applies what is new until that changes nothing more: files may refer to each other in any order.
    async fn apply_all(&mut self) -> Result<(), Trouble> {
        // Each pass brings one file further at least; the bound is for what nobody has thought of.
        for _ in 0..=self.readings.0.len() {
            let mut paths: Vec<_> =
                self.readings.0.keys().filter(|path| self.is_to_be_applied(path)).cloned().collect();
            paths.sort_by_key(|path| !self.reading(path).is_some_and(Reading::is_referred_to));
            let mut progress = false;
            for path in paths {
                progress |= self.apply(&path).await?;
            }
            if !progress {
                break;
            }
        }
        Ok(())
    }

    /// Whether the file declares what was not written yet, or what is free now and was not when it was.
    fn is_to_be_applied(&self, path: &str) -> bool {
        let Some(Reading::Declares(keys)) = self.reading(path) else { return false };
        let free = |key: &ObjectKey| {
            self.holders.get(key).is_some_and(|holder| holder != path && !self.claims(holder, key))
        };
        !self.is_applied(path) || keys.iter().any(free)
    }

    /// Applies one file in one transaction, through the function of `POST /v1/apply`; returns whether it was done, or
    /// whether that it was not may free something for others.
    async fn apply(&mut self, path: &str) -> Result<bool, Trouble> {
        let (Some(Reading::Declares(keys)), Some(Content::Text { text, sha256 })) =
            (self.reading(path), self.scan.files.get(path))
        else {
            return Ok(false);
        };
        let others = || self.others(path, keys);
        if let Some(verdict) = conflict(others().filter(|(key, holder)| self.claims(holder, key))) {
            let was_known = self.is_in_conflict(path);
            self.verdicts.insert(path.to_owned(), verdict);
            return Ok(!was_known);
        }
        let takes_over = others().map(|(key, holder)| (key.clone(), holder.to_owned())).collect();
        let (parsed, sha256) = (parse(text, Some(path)), sha256.clone());
        let managed_by = manager(path);
        let apply = Apply {
            context: self.context,
            parsed: &parsed,
            dry_run: false,
            force: false,
            managed_by: &managed_by,
            takes_over: Some(&takes_over),
            expected_version: None,
        };
        let response = match apply.run().await {
            Ok(response) => response,
            Err(ApplyError::Db(error)) => return Err(error.into()),
            Err(ApplyError::Refused(problem)) => {
                self.verdicts.insert(path.to_owned(), judged(*problem)?);
                return Ok(false);
            }
        };
        tracing::info!(file = path, objects = response.objects.len(), "spec file applied");
        self.verdicts.insert(path.to_owned(), Verdict::applied(response.warnings));
        let row = self.rows.entry(path.to_owned()).or_insert_with(|| new_row(path));
        row.applied_sha256 = Some(sha256);
        let holds = response.objects.into_iter().map(|object| (object.key, path.to_owned()));
        self.holders.extend(holds);
        Ok(true)
    }

    /// The objects of `keys` that other files than `path` hold.
    fn others<'k>(
        &'k self,
        path: &'k str,
        keys: &'k BTreeSet<ObjectKey>,
    ) -> impl Iterator<Item = (&'k ObjectKey, &'k str)> {
        let holders = keys.iter().filter_map(|key| Some((key, self.holders.get(key)?.as_str())));
        holders.filter(move |(_, holder)| *holder != path)
    }

    /// Judges the files that were not applied in this round.
    fn settle(&mut self) {
        let mut verdicts = BTreeMap::new();
        let live =
            self.objects.iter().filter(|object| !object.terminating).map(|object| &object.key).collect();
        for (path, content) in &self.scan.files {
            let verdict = match (content, self.reading(path)) {
                (Content::Unreadable(why), _) => Verdict::new(SpecState::Unreadable, why),
                (_, Some(Reading::Invalid(found))) => Verdict::invalid(found.clone()),
                (_, Some(Reading::Declares(keys))) => match self.verdicts.get(path) {
                    Some(verdict) => verdict.clone(),
                    None => self.standing(path, keys, &live),
                },
                (_, Some(Reading::Empty) | None) => {
                    let message =
                        "declares nothing and keeps what it declared; remove the file to remove that";
                    Verdict::new(SpecState::Empty, message)
                }
            };
            verdicts.insert(path.clone(), verdict);
        }
        for path in self.rows.keys() {
            if let Some(why) = self.scan.cannot_see(path) {
                verdicts.insert(path.clone(), Verdict::new(SpecState::Unreadable, why));
            }
        }
        self.verdicts = verdicts;
    }

    /// The verdict on a file that has been applied as it is: whether it still has what it declares, of all that is
    /// `live`.
    fn standing(&self, path: &str, keys: &BTreeSet<ObjectKey>, live: &BTreeSet<&ObjectKey>) -> Verdict {
        if let Some(verdict) = conflict(self.others(path, keys)) {
            return verdict;
        }
        let lost = keys.iter().find(|key| !live.contains(key));
        if let Some(key) = lost {
            let message = format!(
                "{key} was written or deleted with --force and belongs to this file no more; any change of the file \
                 takes it back"
            );
            return Verdict::new(SpecState::Conflict, message);
        }
        // Warnings are those of its last application.
        let known = self.rows.get(path).filter(|row| row.state == SpecState::Applied.as_str());
        let diagnostics = known.and_then(|row| serde_json::from_value(row.diagnostics.clone()).ok());
        Verdict::applied(diagnostics.unwrap_or_default())
    }
}

/// What `managedBy` says of the objects of a file.
fn manager(path: &str) -> String {
    format!("{}{path}", bowline_store::FILE_MANAGER)
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

/// The verdict on a file that declares what others hold.
fn conflict<'o>(others: impl Iterator<Item = (&'o ObjectKey, &'o str)>) -> Option<Verdict> {
    let others: Vec<_> = others.map(|(key, holder)| format!("{key} is held by {holder}")).collect();
    (!others.is_empty()).then(|| Verdict::new(SpecState::Conflict, others.join(", ")))
}

/// The verdict of a refusal, unless it says nothing of the file.
fn judged(problem: Problem) -> Result<Verdict, Trouble> {
    let detail = problem.detail.clone();
    Verdict::refused(problem).ok_or(Trouble::Busy(detail))
}
