//! The spec directory as its readers see it, and the word that lets a great removal happen.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use bowline_store::{FileObject, SpecFileRow, SpecsRecord};
use chrono::Utc;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::Context;
use crate::body::Json as Body;
use crate::problem::Problem;
use crate::wire::{
    ConfirmRequest, ConfirmResponse, HeldObject, HeldRemovals, SpecDirectoryStatus, SpecFile, SpecList,
    SpecState,
};

pub(super) async fn list(State(context): State<Context>) -> Result<Json<SpecList>, Problem> {
    let record = context.store.specs().await?;
    let held = held(&record);
    let SpecsRecord { directory: seen, files, objects, removals: _ } = record;
    let directory = context.specs.as_ref().map(|specs| {
        let path = specs.path().display().to_string();
        // What is stored of another directory was so before the last start, and stays until this one takes its place.
        let seen = seen.filter(|seen| seen.path == path);
        let error = specs.trouble().or_else(|| seen.and_then(|seen| seen.error));
        SpecDirectoryStatus { error, path }
    });
    let items = files.into_iter().map(|row| file(row, &objects)).collect();
    Ok(Json(SpecList { directory, items, held }))
}

pub(super) async fn confirm(
    State(context): State<Context>,
    Body(ConfirmRequest { id }): Body<ConfirmRequest>,
) -> Result<Json<ConfirmResponse>, Problem> {
    let Some(specs) = &context.specs else {
        return Err(Problem::nothing_there("no spec directory is followed")
            .with_hint("start `bowline serve` with --spec-dir"));
    };
    let record = context.store.specs().await?;
    let Some(held) = held(&record) else {
        return Err(Problem::nothing_there("no removal is held"));
    };
    let uids: BTreeSet<Uuid> = record.held().map(|(object, _)| object.uid).collect();
    if held.id != id || !context.store.confirm_removals(&uids, Utc::now()).await? {
        return Err(Problem::conflict("other removals are held than those that were shown"));
    }
    tracing::info!(objects = held.objects.len(), "great removal confirmed");
    specs.look();
    Ok(Json(ConfirmResponse { objects: held.objects.into_iter().map(|object| object.key).collect() }))
}

/// What is held, with an id that stands for exactly these objects.
fn held(record: &SpecsRecord) -> Option<HeldRemovals> {
    let held: Vec<_> = record.held().collect();
    let since = held.iter().map(|(_, since)| *since).min()?;
    let mut hash = Sha256::new();
    let uids: BTreeSet<Uuid> = held.iter().map(|(object, _)| object.uid).collect();
    uids.iter().for_each(|uid| hash.update(uid));
    let objects = held.into_iter().map(|(object, _)| {
        let FileObject { key, path, .. } = object.clone();
        HeldObject { key, file: path }
    });
    Some(HeldRemovals { id: hex::encode(&hash.finalize()[..8]), since, objects: objects.collect() })
}

fn file(row: SpecFileRow, objects: &[FileObject]) -> SpecFile {
    let SpecFileRow { path, state, message, diagnostics, sha256: _, applied_sha256: _, changed_at } = row;
    let held = objects.iter().filter(|object| object.path == path && !object.terminating);
    SpecFile {
        objects: held.map(|object| object.key.clone()).collect(),
        // A word of a later version is none that is known here.
        state: SpecState::ALL.into_iter().find(|known| known.as_str() == state).unwrap_or(SpecState::Pending),
        message,
        diagnostics: serde_json::from_value(diagnostics).unwrap_or_default(),
        changed_at,
        file: path,
    }
}
