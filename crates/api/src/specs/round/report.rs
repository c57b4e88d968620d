//! What is told of each file: its row in the database, and a line in the log when it says something new.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::object::ObjectKey;
use bowline_store::SpecFileRow;
use chrono::Utc;
use uuid::Uuid;

use super::super::Trouble;
use super::super::judge::{Reading, Verdict};
use super::super::scan::Content;
use super::apply::conflict;
use super::removal::Undeclared;
use super::{Round, new_row};
use crate::wire::SpecState;

impl Round<'_> {
    /// Judges the files that were not applied in this round.
    pub(super) fn settle(&mut self) {
        let mut verdicts = BTreeMap::new();
        let live =
            self.objects.iter().filter(|object| !object.terminating).map(|object| &object.key).collect();
        for (path, content) in &self.look.scan.files {
            let verdict = match (content, self.reading(path)) {
                (Content::Unreadable(why), _) => Verdict::new(SpecState::Unreadable, why),
                (_, Some(Reading::Invalid(found) | Reading::HoldsSecret(found))) => {
                    Verdict::invalid(found.clone())
                }
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
        let scan = &self.look.scan;
        for path in self.rows.keys() {
            if let Some(why) = scan.cannot_see(path) {
                verdicts.insert(path.clone(), Verdict::new(SpecState::Unreadable, why));
            }
        }
        let holders = self.objects.iter().filter(|object| !object.terminating).map(|object| &object.path);
        for path in holders.filter(|path| self.is_gone(path)) {
            if let Some(why) = scan.may_hide(path) {
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

    /// Writes what has changed of the files' states since they were `stored`.
    pub(super) async fn report(&mut self, stored: &[SpecFileRow]) -> Result<(), Trouble> {
        self.judge_undeclared();
        let rows: Vec<_> = self.verdicts.iter().map(|(path, verdict)| self.row(path, verdict)).collect();
        let is_told: BTreeMap<&str, &SpecFileRow> =
            stored.iter().map(|row| (row.path.as_str(), row)).collect();
        let gone: Vec<_> = is_told
            .keys()
            .filter(|path| !self.verdicts.contains_key(**path))
            .map(|path| (*path).to_owned())
            .collect();
        let changed: Vec<_> = rows
            .into_iter()
            .filter(|row| is_told.get(row.path.as_str()).is_none_or(|told| *told != row))
            .collect();
        self.context.store.put_spec_files(&changed, &gone).await?;
        Ok(())
    }

    /// Judges the files that hold what they do not declare: those that are gone above all.
    fn judge_undeclared(&mut self) {
        let Undeclared { due, fresh, .. } = self.undeclared();
        let waiting = self.removals.iter().filter(|removal| removal.confirmed_at.is_none());
        let waiting: BTreeSet<Uuid> = waiting.map(|removal| removal.uid).collect();
        // How many objects of each file go, and the removal of how many is held.
        let mut undeclared: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for object in due.into_iter().chain(fresh) {
            let (all, held) = undeclared.entry(object.path).or_default();
            *all += 1;
            *held += usize::from(waiting.contains(&object.uid));
        }
        let gone: Vec<_> = self
            .objects
            .iter()
            .filter(|object| !object.terminating && !self.verdicts.contains_key(&object.path))
            .map(|object| object.path.clone())
            .collect();
        for path in gone {
            let message = match undeclared.get(&path) {
                Some((_, 0)) => "its objects are removed in a moment",
                Some(_) => "",
                None => "other files declare what it held, and cannot take it yet",
            };
            self.verdicts.insert(path, Verdict::new(SpecState::Missing, message));
        }
        for (path, (_, held)) in undeclared {
            if held > 0
                && let Some(verdict) = self.verdicts.get_mut(&path)
            {
                verdict.add(&format!(
                    "the removal of {held} objects is held: `bowline specs confirm` shows and removes them"
                ));
            }
        }
    }

    /// The row of a file; when it says something new, that is logged.
    fn row(&self, path: &str, verdict: &Verdict) -> SpecFileRow {
        let Verdict { state, message, diagnostics } = verdict;
        let state = state.as_str();
        let old = self.rows.get(path).cloned().unwrap_or_else(|| new_row(path));
        let is_news = old.state != state || old.message != *message;
        if is_news && matches!(verdict.state, SpecState::Applied | SpecState::Missing) {
            tracing::info!(file = path, state, reason = message, "spec file judged");
        } else if is_news {
            tracing::warn!(file = path, state, reason = message, "spec file judged");
        }
        let sha256 = match self.look.readings.0.get(path) {
            // Nor that of an earlier text: the value may have been in it already.
            Some((_, Reading::HoldsSecret(_))) => None,
            Some((sha256, _)) => Some(sha256.clone()),
            None => old.sha256,
        };
        SpecFileRow {
            path: old.path,
            state: state.to_owned(),
            message: message.clone(),
            diagnostics: serde_json::to_value(diagnostics).unwrap_or_default(),
            sha256,
            // A file that comes back is written anew: what it declared may be gone.
            applied_sha256: old.applied_sha256.filter(|_| !self.is_gone(path)),
            changed_at: if is_news { Utc::now() } else { old.changed_at },
        }
    }
}
