//! Apply: everything that is sent, in one transaction, or nothing.
//!
//! The last write wins: a `metadata.resourceVersion` in the input is read over. It grows with every status that
//! the controller writes, so that to demand it would refuse `get -o yaml | apply -f -` whenever the status moved
//! in between. A guard against a second writer would have to compare `generation`, which a status leaves alone.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use bowline_core::diagnostic::Diagnostic;
use bowline_core::object::{GatewayKey, Kind, ObjectKey, Stored};
use bowline_core::resource::{ClusterCatalogSpec, GatewaySpec, Parsed, Resource, parse};
use bowline_store::{Applied, DbError, Put, PutError, WriteTx};
use serde::de::DeserializeOwned;

use super::{Context, plan};
use crate::body::{Json as Body, LARGE};
use crate::problem::Problem;
use crate::wire::{AppliedObject, ApplyRequest, ApplyResponse, Outcome};

/// How often an apply is repeated that met another writer in the database.
const ATTEMPTS: u32 = 3;
/// Longest `managedBy` in bytes.
const MAX_MANAGER: usize = 4096;

pub(super) async fn apply(
    State(context): State<Context>,
    Body(request): Body<ApplyRequest, LARGE>,
) -> Result<Json<ApplyResponse>, Problem> {
    let ApplyRequest { files, dry_run, force, managed_by } = request;
    check_manager(&managed_by)?;
    let parsed = files
        .iter()
        .map(|file| parse(&file.text, file.name.as_deref()))
        .reduce(Parsed::and)
        .unwrap_or_default();
    if parsed.resources.is_empty() && parsed.is_ok() {
        return Err(Problem::unprocessable("there is no object in the input"));
    }
    let apply = Apply { context: &context, parsed: &parsed, dry_run, force, managed_by: &managed_by };
    for _ in 1..ATTEMPTS {
        match apply.once().await {
            Err(ApplyError::Db(DbError::Contended(_))) => tracing::debug!("apply repeated"),
            done => return Ok(Json(done?)),
        }
    }
    Ok(Json(apply.once().await?))
}

fn check_manager(managed_by: &str) -> Result<(), Problem> {
    let known = matches!(managed_by, "cli" | "api") || managed_by.starts_with("file:");
    if !known || managed_by.len() > MAX_MANAGER || managed_by.chars().any(char::is_control) {
        return Err(Problem::unprocessable("managedBy is `cli`, `api` or `file:<path>`"));
    }
    Ok(())
}

/// Why an apply did nothing.
enum ApplyError {
    /// It is refused.
    Refused(Box<Problem>),
    /// The database did not do it.
    Db(DbError),
}

impl From<DbError> for ApplyError {
    fn from(error: DbError) -> Self {
        ApplyError::Db(error)
    }
}

impl From<Problem> for ApplyError {
    fn from(problem: Problem) -> Self {
        ApplyError::Refused(Box::new(problem))
    }
}

impl From<PutError> for ApplyError {
    fn from(error: PutError) -> Self {
        match error {
            PutError::Terminating(key) => Problem::terminating(&key).into(),
            PutError::Conflict { .. } => Problem::conflict(error.to_string()).into(),
            PutError::Unstorable(_) => Problem::unprocessable(error.to_string()).into(),
            PutError::Db(error) => ApplyError::Db(error),
        }
    }
}

impl From<ApplyError> for Problem {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Refused(problem) => *problem,
            ApplyError::Db(error) => error.into(),
        }
    }
}

/// One apply.
struct Apply<'a> {
    context: &'a Context,
    parsed: &'a Parsed,
    dry_run: bool,
    force: bool,
    managed_by: &'a str,
}

impl Apply<'_> {
    async fn once(&self) -> Result<ApplyResponse, ApplyError> {
        let mut write = self.context.store.begin_write().await?;
        write.exclude_others().await?;
        let before = catalogs(&mut write).await?;
        let mut diagnostics = self.parsed.diagnostics.clone();
        diagnostics.extend(self.parsed.check_references(|name| before.get(name)));
        if diagnostics.iter().any(Diagnostic::is_error) {
            return Err(Problem::invalid(diagnostics).into());
        }
        if !self.force {
            self.refuse_dropped_entries(&mut write, &before).await?;
        }
        let applied = self.put_all(&mut write).await?;
        let plans = if self.dry_run {
            let concerned = self.concerned(&mut write, &applied).await?;
            let catalogs = catalogs(&mut write).await?;
            // Nothing of this is written: the plans are made from what the transaction sees, then it is dropped.
            drop(write);
            plan::plans(self.context, &concerned, &catalogs).await?
        } else {
            write.commit().await?;
            Vec::new()
        };
        let objects = applied.into_iter().map(|applied| AppliedObject {
            outcome: outcome(applied.outcome),
            generation: applied.object.metadata.generation,
            key: applied.object.metadata.key,
        });
        Ok(ApplyResponse { objects: objects.collect(), warnings: diagnostics, plans })
    }

    /// Writes all objects: what is referred to first, each kind in the order of the input.
    async fn put_all(&self, write: &mut WriteTx) -> Result<Vec<Applied>, ApplyError> {
        let mut applied = Vec::with_capacity(self.parsed.resources.len());
        for kind in Kind::ALL {
            for located in self.parsed.resources.iter().filter(|located| located.resource.kind() == kind) {
                let metadata = located.resource.metadata();
                let put = Put {
                    key: &located.resource.key(),
                    spec: &located.resource.spec_json(),
                    labels: &metadata.labels,
                    annotations: &metadata.annotations,
                    managed_by: self.managed_by,
                    expected_version: None,
                };
                applied.push(write.put(put).await?);
            }
        }
        Ok(applied)
    }

    /// Refuses a catalog without an entry that it had and that a gateway uses which is not applied with it.
    async fn refuse_dropped_entries(
        &self,
        write: &mut WriteTx,
        before: &BTreeMap<String, ClusterCatalogSpec>,
    ) -> Result<(), ApplyError> {
        let new = |name: &str| {
            self.parsed.resources.iter().find_map(|located| match &located.resource {
                Resource::ClusterCatalog(object) if object.metadata.name == name => Some(&object.spec),
                _ => None,
            })
        };
        let drops = |name: &String, old: &ClusterCatalogSpec| {
            new(name).is_some_and(|new| old.registry.keys().any(|entry| !new.registry.contains_key(entry)))
        };
        if !before.iter().any(|(name, old)| drops(name, old)) {
            return Ok(());
        }
        let applied: BTreeSet<ObjectKey> = self.parsed.resources.iter().map(|l| l.resource.key()).collect();
        let mut dropped: BTreeMap<String, Vec<GatewayKey>> = BTreeMap::new();
        for gateway in write.list(Kind::Gateway, None).await? {
            let key = &gateway.metadata.key;
            if gateway.metadata.deletion_timestamp.is_some() || applied.contains(key) {
                continue;
            }
            let spec: GatewaySpec = stored_spec(&gateway)?;
            for server in &spec.servers {
                let source = spec.catalogs.iter().rev().find(|catalog| {
                    before.get(*catalog).is_some_and(|spec| spec.registry.contains_key(&server.name))
                });
                let still_there = spec.catalogs.iter().any(|catalog| {
                    new(catalog)
                        .or_else(|| before.get(catalog))
                        .is_some_and(|spec| spec.registry.contains_key(&server.name))
                });
                if let (Some(source), false) = (source, still_there) {
                    let what = format!("entry {} of {}", server.name, ObjectKey::cluster_catalog(source));
                    let user = GatewayKey::new(key.namespace.clone().unwrap_or_default(), &key.name);
                    dropped.entry(what).or_default().push(user);
                }
            }
        }
        match dropped.into_iter().next() {
            Some((what, users)) => Err(Problem::in_use(&what, &users).into()),
            None => Ok(()),
        }
    }

    /// The gateways that this apply changes: those in it, and those that use a catalog in it.
    async fn concerned(&self, write: &mut WriteTx, applied: &[Applied]) -> Result<Vec<Stored>, ApplyError> {
        let mut keys = BTreeSet::new();
        for applied in applied {
            let key = &applied.object.metadata.key;
            match key.kind {
                Kind::Gateway => {
                    keys.insert(key.clone());
                }
                Kind::ClusterCatalog if applied.outcome == bowline_store::Outcome::Unchanged => {}
                Kind::ClusterCatalog => {
                    let users = write.gateways_using(&key.name).await?;
                    keys.extend(users.into_iter().map(|user| ObjectKey::gateway(user.namespace, user.name)));
                }
            }
        }
        let mut gateways = Vec::with_capacity(keys.len());
        for key in keys {
            gateways.extend(write.get(&key).await?);
        }
        Ok(gateways)
    }
}

/// All ClusterCatalogs as the transaction sees them.
async fn catalogs(write: &mut WriteTx) -> Result<BTreeMap<String, ClusterCatalogSpec>, ApplyError> {
    let mut catalogs = BTreeMap::new();
    for stored in write.list(Kind::ClusterCatalog, None).await? {
        let spec = stored_spec(&stored)?;
        catalogs.insert(stored.metadata.key.name, spec);
    }
    Ok(catalogs)
}

/// The specification of a stored object. Every one was written by this function's counterpart, so that one
/// which cannot be read is a defect, not the caller's fault.
pub(super) fn stored_spec<T: DeserializeOwned>(stored: &Stored) -> Result<T, Problem> {
    serde_json::from_value(stored.spec.clone()).map_err(|error| {
        tracing::error!(object = %stored.metadata.key, %error, "stored specification cannot be read");
        Problem::internal()
    })
}

fn outcome(outcome: bowline_store::Outcome) -> Outcome {
    match outcome {
        bowline_store::Outcome::Created => Outcome::Created,
        bowline_store::Outcome::Configured => Outcome::Configured,
        bowline_store::Outcome::Unchanged => Outcome::Unchanged,
    }
}
