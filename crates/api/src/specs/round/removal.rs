//! What nobody declares any more goes: after a second look, and when it is not too much at once.

use std::collections::BTreeSet;
use std::time::Duration;

use bowline_core::object::{EventType, Kind, ObjectKey};
use bowline_store::{FileObject, SpecDirectoryRow};
use chrono::Utc;
use tokio::time::Instant;
use uuid::Uuid;

use super::super::judge::{AT_REST, Reading, Verdict, is_at_rest, is_great};
use super::super::scan::Content;
use super::super::{SETTLE, Trouble, is_of};
use super::{Round, Rounded, judged};
use crate::routes::{Deleter, delete_object};
use crate::wire::SpecState;

/// What nobody declares any more.
pub(super) struct Undeclared {
    /// What goes after a second look.
    pub(super) due: Vec<FileObject>,
    /// What is missing from a file that was written a moment ago, and may be about to come back.
    pub(super) fresh: Vec<FileObject>,
    /// How many objects files hold in all.
    total: usize,
}

impl Round<'_> {
    /// Removes what nobody declares any more, unless it is too much at once.
    pub(super) async fn remove_all(&mut self) -> Result<Rounded, Trouble> {
        let Undeclared { due, fresh, total } = self.undeclared();
        let uids: BTreeSet<Uuid> = due.iter().map(|object| object.uid).collect();
        self.memory.due.retain(|uid, _| uids.contains(uid));
        let now = Instant::now();
        for uid in &uids {
            self.memory.due.entry(*uid).or_insert(now);
        }
        let confirmed: BTreeSet<Uuid> =
            self.removals.iter().filter(|held| held.confirmed_at.is_some()).map(|held| held.uid).collect();
        let held: BTreeSet<Uuid> =
            self.removals.iter().map(|held| held.uid).filter(|uid| !confirmed.contains(uid)).collect();
        // Declared again, or gone: neither held nor confirmed any more.
        let is_fresh = |uid: &Uuid| fresh.iter().any(|object| object.uid == *uid);
        let released: Vec<_> = self
            .removals
            .iter()
            .map(|held| held.uid)
            .filter(|uid| !uids.contains(uid) && !is_fresh(uid))
            .collect();
        let is_new = |object: &&FileObject| !confirmed.contains(&object.uid);
        let unconfirmed: Vec<_> = due.iter().filter(is_new).collect();
        let count = unconfirmed.len() + fresh.iter().filter(is_new).count();
        let is_held = unconfirmed.iter().any(|object| held.contains(&object.uid))
            || self.is_elsewhere()
            || is_great(count, total);
        if !uids.iter().all(|uid| self.is_ripe(*uid)) {
            self.context.store.hold_removals(&[], &released, Utc::now()).await?;
            return Ok(Rounded::Unsettled(SETTLE));
        }
        let new: Vec<_> = match is_held {
            true => unconfirmed.into_iter().filter(|object| !held.contains(&object.uid)).collect(),
            false => Vec::new(),
        };
        self.hold(&new, &released).await?;
        let mut go: Vec<_> =
            due.iter().filter(|object| !is_held || confirmed.contains(&object.uid)).collect();
        // What refers goes before what is referred to.
        go.sort_by_key(|object| Kind::ALL.iter().rev().position(|kind| *kind == object.key.kind));
        for object in go {
            // Each removal takes its time, and what was seen grows old.
            if !self.is_ripe(object.uid) {
                return Ok(Rounded::Unsettled(SETTLE));
            }
            self.remove(object).await?;
        }
        Ok(if fresh.is_empty() { Rounded::Settled } else { Rounded::Unsettled(Duration::from_secs(AT_REST)) })
    }

    /// Whether the object has been undeclared for long enough, as the directory is now.
    fn is_ripe(&self, uid: Uuid) -> bool {
        self.memory.due.get(&uid).is_some_and(|since| since.elapsed() >= self.look.patience())
    }

    /// What nobody declares any more. What a readable file declares is never in it, whether or not that file can have
    /// it: it waits for the file to be put right.
    pub(super) fn undeclared(&self) -> Undeclared {
        let standing = || self.objects.iter().filter(|object| !object.terminating);
        let declared: BTreeSet<&ObjectKey> = self
            .look
            .readings
            .0
            .values()
            .filter_map(|(_, reading)| match reading {
                Reading::Declares(keys) => Some(keys),
                Reading::Invalid(_) | Reading::HoldsSecret(_) | Reading::Empty => None,
            })
            .flatten()
            .collect();
        let is_undeclared = |object: &&FileObject| {
            let FileObject { key, path, .. } = object;
            !self.claims(path, key) && !declared.contains(key) && self.look.scan.may_hide(path).is_none()
        };
        let now = Utc::now().timestamp();
        let is_fresh = |object: &FileObject| match self.look.scan.files.get(&object.path) {
            Some(Content::Text { modified, .. }) => !is_at_rest(*modified, now),
            Some(Content::Unreadable(_)) | None => false,
        };
        let (fresh, due) = standing().filter(is_undeclared).cloned().partition(is_fresh);
        Undeclared { due, fresh, total: standing().count() }
    }

    /// Whether another directory was followed before: whoever has mistyped a path must not lose anything by it.
    fn is_elsewhere(&self) -> bool {
        self.memory.directory.as_ref().is_some_and(|row| !is_of(row, self.look.directory))
    }

    /// Takes the directory for the one to follow, when nothing has to be removed for it that waits for a word.
    pub(super) async fn accept_directory(&mut self) -> Result<(), Trouble> {
        if self.is_elsewhere() && self.removals.iter().all(|removal| removal.confirmed_at.is_some()) {
            let path = self.look.directory.display().to_string();
            let row = SpecDirectoryRow { path, error: None, changed_at: Utc::now() };
            self.context.store.put_spec_directory(&row).await?;
            self.memory.directory = Some(row);
        }
        Ok(())
    }

    /// Holds these removals, and those of `released` no longer.
    async fn hold(&self, new: &[&FileObject], released: &[Uuid]) -> Result<(), Trouble> {
        let store = &self.context.store;
        let (uids, now): (Vec<_>, _) = (new.iter().map(|object| object.uid).collect(), Utc::now());
        store.hold_removals(&uids, released, now).await?;
        if new.is_empty() {
            return Ok(());
        }
        tracing::warn!(objects = new.len(), "great removal held until `bowline specs confirm`");
        let why = match self.is_elsewhere() {
            true => "and the spec directory is another one than before",
            false => "with many others at once",
        };
        for object in new {
            let message =
                format!("no longer declared by {}, {why}; `bowline specs confirm` removes it", object.path);
            store.record_event(object.uid, EventType::Warning, "RemovalHeld", &message, now).await?;
        }
        Ok(())
    }

    /// Removes one object through the function of `DELETE`, which refuses what is in use.
    async fn remove(&mut self, object: &FileObject) -> Result<(), Trouble> {
        let FileObject { key, path, .. } = object;
        match delete_object(self.context, key.clone(), Deleter::File(path)).await {
            Ok(_) => tracing::info!(object = %key, file = path, "object removed with its declaration"),
            Err(problem) if problem.status == 404 => {}
            Err(problem) => {
                let verdict = judged(problem)?;
                let message = format!("cannot be removed yet: {}", verdict.message);
                self.verdicts.insert(path.clone(), Verdict::new(SpecState::Refused, message));
            }
        }
        Ok(())
    }
}
