//! Apply: everything that is sent, in one transaction, or nothing.
//!
//! The last write wins: a `metadata.resourceVersion` in the input is read over. It grows with every status that
//! the controller writes, so that to demand it would refuse `get -o yaml | apply -f -` whenever the status moved
//! in between. A guard against a second writer would have to compare `generation`, which a status leaves alone.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use bowline_core::diagnostic::Diagnostic;
use bowline_core::object::{Kind, Stored};
use bowline_core::resource::{CatalogRef, GatewaySpec, Parsed, Resource, SecretObject, parse};
use bowline_core::secret::{KeyFacts, SecretFacts, Unusable};
use bowline_store::{Applied, DbError, Put, PutError, WriteTx};
use serde::de::DeserializeOwned;

use super::catalogs::{self, Catalogs};
use super::holder::{TakesOver, holder_against};
use super::plan::Secrets;
use super::{Context, plan, secret_users, secrets};
use crate::body::{LARGE, SecretJson};
use crate::problem::Problem;
use crate::wire::{AppliedObject, ApplyRequest, ApplyResponse, Outcome};

/// How often an apply is repeated that met another writer in the database.
pub(super) const ATTEMPTS: u32 = 3;

pub(super) async fn apply(
    State(context): State<Context>,
    SecretJson(request): SecretJson<ApplyRequest, LARGE>,
) -> Result<Json<ApplyResponse>, Problem> {
    let ApplyRequest { files, dry_run, force, managed_by } = request;
    check_manager(&managed_by)?;
    let parsed = files
        .iter()
        .map(|file| parse(file.text.expose(), file.name.as_deref()))
        .reduce(Parsed::and)
        .unwrap_or_default();
    if parsed.resources.is_empty() && parsed.is_ok() {
        return Err(Problem::unprocessable("there is no object in the input"));
    }
    let apply = Apply {
        context: &context,
        parsed: &parsed,
        dry_run,
        force,
        managed_by: &managed_by,
        takes_over: None,
        expected_version: None,
    };
    Ok(Json(apply.run().await?))
}

pub(super) fn check_manager(managed_by: &str) -> Result<(), Problem> {
    match managed_by {
        "cli" | "api" => Ok(()),
        // `file:<path>` is for those who read the file.
        _ => Err(Problem::unprocessable("managedBy is `cli` or `api`")),
    }
}

/// Why an apply did nothing.
pub(crate) enum ApplyError {
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
            PutError::Conflict { key, current: Some(_), expected: Put::ABSENT } => {
                Problem::exists(&key).into()
            }
            PutError::Conflict { key, current: None, .. } => Problem::not_found(&key).into(),
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
pub(crate) struct Apply<'a> {
    pub(crate) context: &'a Context,
    pub(crate) parsed: &'a Parsed,
    pub(crate) dry_run: bool,
    pub(crate) force: bool,
    pub(crate) managed_by: &'a str,
    /// What a file may take from other files.
    pub(crate) takes_over: Option<&'a TakesOver>,
    /// The version that the writer of the objects has seen, as [`Put::expected_version`].
    pub(crate) expected_version: Option<i64>,
}

impl Apply<'_> {
    /// Does it, again when another writer was met in the database.
    pub(crate) async fn run(&self) -> Result<ApplyResponse, ApplyError> {
        for _ in 1..ATTEMPTS {
            match self.once().await {
                Err(ApplyError::Db(DbError::Contended(_))) => tracing::debug!("apply repeated"),
                done => return done,
            }
        }
        self.once().await
    }

    async fn once(&self) -> Result<ApplyResponse, ApplyError> {
        let mut write = self.context.store.begin_write().await?;
        write.exclude_others().await?;
        let named = Catalogs::read(&mut write, &self.parsed.catalogs_named()).await?;
        let mut diagnostics = self.parsed.diagnostics.clone();
        diagnostics.extend(self.parsed.check_references(|reference| named.get(reference)));
        if diagnostics.iter().any(Diagnostic::is_error) {
            return Err(Problem::invalid(diagnostics).into());
        }
        if !self.force {
            self.refuse_objects_of_files(&mut write).await?;
            catalogs::refuse_lost_entries(&mut write, self.parsed).await?;
            secret_users::refuse_dropped_keys(&mut write, self.parsed).await?;
        }
        let mut applied = self.put_all(&mut write).await?;
        let plans = if self.dry_run {
            let concerned = self.concerned(&mut write, &applied).await?;
            let secrets = self.secrets_as_applied(&applied);
            let named = named_by(&concerned)?;
            let catalogs = Catalogs::read(&mut write, &named).await?;
            // Nothing of this is written: the plans are made from what the transaction sees, then it is dropped.
            drop(write);
            plan::plans(self.context, &concerned, &catalogs, &secrets).await?
        } else {
            let versions = write.commit().await?;
            for Applied { object, .. } in &mut applied {
                // What was unchanged keeps its version.
                if let Some(version) = versions.get(&object.metadata.uid) {
                    object.metadata.resource_version = *version;
                }
            }
            Vec::new()
        };
        let objects = applied.into_iter().map(|applied| AppliedObject {
            outcome: outcome(applied.outcome),
            generation: applied.object.metadata.generation,
            resource_version: applied.object.metadata.resource_version,
            key: applied.object.metadata.key.clone(),
            object: self.dry_run.then(|| Box::new(applied.object.into())),
        });
        Ok(ApplyResponse { objects: objects.collect(), warnings: diagnostics, plans })
    }

    /// Refuses objects that other files of the spec directory hold.
    async fn refuse_objects_of_files(&self, write: &mut WriteTx) -> Result<(), ApplyError> {
        let mut held = Vec::new();
        for located in &self.parsed.resources {
            let key = located.resource.key();
            if let Some(stored) = write.get(&key).await?
                && let Some(file) = holder_against(self.managed_by, self.takes_over, &stored)
            {
                held.push((key, file.to_owned()));
            }
        }
        if held.is_empty() { Ok(()) } else { Err(Problem::managed(&held).into()) }
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
                    expected_version: self.expected_version,
                };
                applied.push(match &located.resource {
                    Resource::Secret(object) => secrets::put(write, put, object.values.as_ref()).await?,
                    Resource::Gateway(_) | Resource::ClusterCatalog(_) | Resource::Catalog(_) => {
                        write.put(put).await?
                    }
                });
            }
        }
        Ok(applied)
    }

    /// What will be known of the Secrets whose values this apply sets. Each value counts as a new one: whether it is,
    /// only the controller can see.
    fn secrets_as_applied(&self, applied: &[Applied]) -> Secrets {
        let mut known = Secrets::new();
        for located in &self.parsed.resources {
            let Resource::Secret(SecretObject { values: Some(values), metadata: _ }) = &located.resource
            else {
                continue;
            };
            let key = located.resource.key();
            let object = applied.iter().find(|applied| applied.object.metadata.key == key);
            let Some(uid) = object.map(|applied| applied.object.metadata.uid) else { continue };
            let keys = values.iter().map(|(name, value)| {
                let unusable = value.expose().contains(['\n', '\r']).then_some(Unusable::LineBreak);
                (name.clone(), KeyFacts { version: i64::MAX, unusable })
            });
            known.insert(key, SecretFacts { uid, keys: keys.collect() });
        }
        known
    }

    /// The gateways that this apply changes: those in it, and those that use a catalog or a Secret in it.
    async fn concerned(&self, write: &mut WriteTx, applied: &[Applied]) -> Result<Vec<Stored>, ApplyError> {
        let mut keys = BTreeSet::new();
        for applied in applied {
            let key = &applied.object.metadata.key;
            match key.kind {
                Kind::Gateway => {
                    keys.insert(key.clone());
                }
                Kind::ClusterCatalog | Kind::Catalog | Kind::Secret
                    if applied.outcome == bowline_store::Outcome::Unchanged => {}
                Kind::Secret => keys.extend(secret_users::users_of(write, key).await?),
                Kind::ClusterCatalog | Kind::Catalog => {
                    keys.extend(catalogs::users_of(write, key).await?);
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

/// The catalogs that these gateways name.
fn named_by(gateways: &[Stored]) -> Result<BTreeSet<CatalogRef>, Problem> {
    let mut named = BTreeSet::new();
    for gateway in gateways {
        named.extend(stored_spec::<GatewaySpec>(gateway)?.catalogs);
    }
    Ok(named)
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
