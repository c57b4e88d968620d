//! What files declare is written, each file in one transaction, as far as it is theirs to take.

use std::collections::BTreeSet;

use bowline_core::object::ObjectKey;
use bowline_core::resource::parse;
use bowline_store::{DbError, SpecFileRow};

use super::super::Trouble;
use super::super::judge::{Reading, Verdict};
use super::super::scan::Content;
use super::{Round, judged, new_row};
use crate::routes::{Apply, ApplyError};
use crate::wire::SpecState;

impl Round<'_> {
    /// Applies what is new until that changes nothing more: files may refer to each other in any order.
    pub(super) async fn apply_all(&mut self) -> Result<(), Trouble> {
        // Each pass brings one file further at least; the bound is for what nobody has thought of.
        for _ in 0..=self.look.readings.0.len() {
            let mut paths: Vec<_> =
                self.look.readings.0.keys().filter(|path| self.is_to_be_applied(path)).cloned().collect();
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
        let (Some(Reading::Declares(keys)), Some(Content::Text { text, sha256, modified: _ })) =
            (self.reading(path), self.look.scan.files.get(path))
        else {
            return Ok(false);
        };
        let others = || self.others(path, keys);
        if let Some(verdict) = conflict(others().filter(|(key, holder)| self.claims(holder, key))) {
            let was_known = self.is_in_conflict(path);
            self.verdicts.insert(path.to_owned(), verdict);
            return Ok(!was_known);
        }
        if let Some(key) = self.forced(path, keys).await? {
            let message = format!(
                "{key} was written or deleted with --force and belongs to no file; any change of this file takes it"
            );
            let was_known = self.is_in_conflict(path);
            self.verdicts.insert(path.to_owned(), Verdict::new(SpecState::Conflict, message));
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
            Err(ApplyError::Db(error)) if error.is_unavailable() => return Err(error.into()),
            Err(ApplyError::Db(error)) => {
                self.verdicts.insert(path.to_owned(), judged(error.into())?);
                return Ok(false);
            }
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

    /// What this file must leave as it is although no file holds it: while the file stood in conflict as it reads now,
    /// somebody has taken the object by force, which is not undone by the next in line.
    async fn forced(&self, path: &str, keys: &BTreeSet<ObjectKey>) -> Result<Option<ObjectKey>, DbError> {
        let seen = self.look.readings.0.get(path).map(|(sha256, _)| sha256);
        let stood =
            |row: &&SpecFileRow| row.state == SpecState::Conflict.as_str() && row.sha256.as_ref() == seen;
        if self.rows.get(path).filter(stood).is_none() {
            return Ok(None);
        }
        for key in keys.iter().filter(|key| !self.holders.contains_key(key)) {
            let stored = self.context.store.get(key).await?;
            let is_there = stored.is_some_and(|stored| stored.metadata.deletion_timestamp.is_none());
            if is_there || self.is_lost(key, path) {
                return Ok(Some(key.clone()));
            }
        }
        Ok(None)
    }

    /// Whether another file than `path` has written the object, declares it still, and has it no more.
    fn is_lost(&self, key: &ObjectKey, path: &str) -> bool {
        let declares = |reading: &Reading| matches!(reading, Reading::Declares(keys) if keys.contains(key));
        let mut others = self.look.readings.0.iter().filter(|(other, _)| *other != path);
        others.any(|(other, (_, reading))| declares(reading) && self.is_applied(other))
    }

    /// The objects of `keys` that other files than `path` hold.
    pub(super) fn others<'k>(
        &'k self,
        path: &'k str,
        keys: &'k BTreeSet<ObjectKey>,
    ) -> impl Iterator<Item = (&'k ObjectKey, &'k str)> {
        let holders = keys.iter().filter_map(|key| Some((key, self.holders.get(key)?.as_str())));
        holders.filter(move |(_, holder)| *holder != path)
    }
}

/// What `managedBy` says of the objects of a file.
fn manager(path: &str) -> String {
    format!("{}{path}", bowline_store::FILE_MANAGER)
}

/// The verdict on a file that declares what others hold.
pub(super) fn conflict<'o>(others: impl Iterator<Item = (&'o ObjectKey, &'o str)>) -> Option<Verdict> {
    let others: Vec<_> = others.map(|(key, holder)| format!("{key} is held by {holder}")).collect();
    (!others.is_empty()).then(|| Verdict::new(SpecState::Conflict, others.join(", ")))
}
