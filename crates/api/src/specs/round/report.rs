//! What is told of each file: its row in the database, and a line in the log when it says something new.

use std::collections::BTreeMap;

use bowline_store::SpecFileRow;
use chrono::Utc;

use super::super::Trouble;
use super::super::judge::Verdict;
use super::{Round, new_row};
use crate::wire::SpecState;

impl Round<'_> {
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
        let mut undeclared: BTreeMap<String, usize> = BTreeMap::new();
        for object in self.due().0 {
            *undeclared.entry(object.path).or_default() += 1;
        }
        let is_held = self.removals.iter().any(|removal| removal.confirmed_at.is_none());
        for (path, count) in undeclared {
            let is_new = !self.verdicts.contains_key(&path);
            let verdict = self.verdicts.entry(path).or_insert_with(|| Verdict::new(SpecState::Missing, ""));
            if is_held {
                verdict.message = format!(
                    "the removal of {count} objects is held: `bowline specs confirm` shows and removes them"
                );
            } else if is_new {
                "its objects are removed in a moment".clone_into(&mut verdict.message);
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
            tracing::info!(file = path, state, message, "spec file judged");
        } else if is_news {
            tracing::warn!(file = path, state, message, "spec file judged");
        }
        let seen = self.readings.0.get(path).map(|(sha256, _)| sha256.clone());
        SpecFileRow {
            path: old.path,
            state: state.to_owned(),
            message: message.clone(),
            diagnostics: serde_json::to_value(diagnostics).unwrap_or_default(),
            sha256: seen.or(old.sha256),
            applied_sha256: old.applied_sha256,
            changed_at: if is_news { Utc::now() } else { old.changed_at },
        }
    }
}
