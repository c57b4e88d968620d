//! What nobody declares any more goes: after a second look, and when it is not too much at once.

use std::collections::BTreeSet;

use bowline_core::object::{EventType, Kind};
use bowline_store::FileObject;
use chrono::Utc;
use tokio::time::Instant;
use uuid::Uuid;

use super::super::judge::{Verdict, is_great};
use super::super::{RESTLESS, SETTLE, Trouble};
use super::{Round, Rounded, judged};
use crate::routes::{Deleter, delete_object};
use crate::wire::SpecState;

impl Round<'_> {
    /// Removes what nobody declares any more, unless it is too much at once.
    pub(super) async fn remove_all(&mut self) -> Result<Rounded, Trouble> {
        let (due, total) = self.due();
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
        let released: Vec<_> =
            self.removals.iter().map(|held| held.uid).filter(|uid| !uids.contains(uid)).collect();
        let unconfirmed: Vec<_> = due.iter().filter(|object| !confirmed.contains(&object.uid)).collect();
        let is_held =
            unconfirmed.iter().any(|object| held.contains(&object.uid)) || is_great(unconfirmed.len(), total);
        let enough = if self.quiet { SETTLE } else { RESTLESS };
        if self.memory.due.values().any(|since| now - *since < enough) {
            self.context.store.hold_removals(&[], &released, Utc::now()).await?;
            return Ok(Rounded::Unsettled);
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
            self.remove(object).await?;
        }
        Ok(Rounded::Settled)
    }

    /// The objects that nobody declares any more, and how many there are in all.
    pub(super) fn due(&self) -> (Vec<FileObject>, usize) {
        let standing = || self.objects.iter().filter(|object| !object.terminating);
        let due = standing().filter(|object| !self.claims(&object.path, &object.key)).cloned();
        (due.collect(), standing().count())
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
        for object in new {
            let message = format!(
                "no longer declared by {}, with many others at once; `bowline specs confirm` removes it",
                object.path
            );
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
