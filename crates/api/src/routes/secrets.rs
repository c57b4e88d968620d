//! Secrets: read without values, and single keys set and deleted. Whole Secrets are written by `apply`.
//!
//! What is asked for most of a Secret is who uses it. A gateway uses what its specification names: a Secret in its
//! `secretRefs` with every key that one of its servers declares, and the keys in its servers' `secrets`.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use bowline_core::causes::with_causes;
use bowline_core::names::is_dns_label;
use bowline_core::object::{Kind, ObjectKey, Stored};
use bowline_core::resource::{stored_secret_keys, stored_secret_spec};
use bowline_core::secret::{InvalidSecret, KEY_RULE, SecretText};
use bowline_store::{
    Applied, DbError, OtherKeys, Outcome as Written, Put, SecretKeyRow, SetSecretError, WriteTx,
};
use serde::Deserialize;

use super::Context;
use super::apply::{ATTEMPTS, ApplyError, check_manager};
use super::secret_users::{refuse_lost_keys, users_by_secret};
use crate::body::{LARGE, Path, Query, SecretJson};
use crate::problem::Problem;
use crate::wire::{
    AppliedObject, Object, ObjectList, Outcome, SecretKeyStatus, SecretKeysRequest, SecretStatus,
};

pub(super) async fn list_all(State(context): State<Context>) -> Result<Json<ObjectList>, Problem> {
    list(&context, None).await
}

pub(super) async fn list_of_namespace(
    State(context): State<Context>,
    Path(namespace): Path<String>,
) -> Result<Json<ObjectList>, Problem> {
    list(&context, Some(&namespace)).await
}

pub(super) async fn get(
    State(context): State<Context>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Json<Object>, Problem> {
    let key = ObjectKey::secret(&namespace, &name);
    let stored = context.store.get(&key).await?.ok_or_else(|| Problem::not_found(&key))?;
    let mut objects = with_status(&context, vec![stored], (Some(&namespace), Some(&name))).await?;
    objects.pop().map(Json).ok_or_else(|| Problem::not_found(&key))
}

async fn list(context: &Context, namespace: Option<&str>) -> Result<Json<ObjectList>, Problem> {
    let listing = context.store.list(Kind::Secret, namespace).await?;
    let items = with_status(context, listing.items, (namespace, None)).await?;
    Ok(Json(ObjectList { items, resource_version: listing.version }))
}

/// These Secrets, each with what is known of its values and its users now.
async fn with_status(
    context: &Context,
    secrets: Vec<Stored>,
    (namespace, name): (Option<&str>, Option<&str>),
) -> Result<Vec<Object>, Problem> {
    let gateways = context.store.list(Kind::Gateway, namespace).await?.items;
    let mut users = users_by_secret(&gateways)?;
    let mut keys: BTreeMap<ObjectKey, Vec<SecretKeyStatus>> = BTreeMap::new();
    for row in context.store.secret_keys(namespace, name).await? {
        let SecretKeyRow { namespace, secret, key, version, effective: _, written_at } = row;
        let status = SecretKeyStatus { name: key, version, written_at };
        keys.entry(ObjectKey::secret(namespace, secret)).or_default().push(status);
    }
    let objects = secrets.into_iter().map(|stored| {
        let status = SecretStatus {
            keys: keys.remove(&stored.metadata.key).unwrap_or_default(),
            used_by: users.remove(&stored.metadata.key).unwrap_or_default(),
        };
        // Names, numbers and times: nothing that this conversion can fail on.
        let status = serde_json::to_value(status).ok();
        Object { status, ..Object::from(stored) }
    });
    Ok(objects.collect())
}

/// The query of a change of keys.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SetQuery {
    /// Who declares the Secret, where there was none.
    #[serde(default = "super::edit::api")]
    managed_by: String,
}

pub(super) async fn set_keys(
    State(context): State<Context>,
    Path((namespace, name)): Path<(String, String)>,
    Query(SetQuery { managed_by }): Query<SetQuery>,
    SecretJson(SecretKeysRequest { string_data }): SecretJson<SecretKeysRequest, LARGE>,
) -> Result<Json<AppliedObject>, Problem> {
    check_manager(&managed_by)?;
    if !is_dns_label(&namespace) || !is_dns_label(&name) {
        let rule = "1 to 63 lower-case letters, digits and `-`, not beginning or ending with `-`";
        return Err(Problem::unprocessable(format!("{namespace}/{name} is no name of a Secret"))
            .with_hint(format!("use {rule}, for the namespace and for the name")));
    }
    if string_data.is_empty() {
        return Err(Problem::unprocessable("there is no key in `stringData`"));
    }
    let values: BTreeMap<String, SecretText> =
        string_data.into_iter().map(|(key, value)| (key, value.into())).collect();
    change(&context, &ObjectKey::secret(namespace, name), &Change::Set { values, managed_by }).await
}

/// The variable parts of a key's path.
#[derive(Debug, Deserialize)]
pub(super) struct KeyPath {
    namespace: String,
    name: String,
    key: String,
}

/// The query of a key's deletion.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteKeyQuery {
    #[serde(default)]
    force: bool,
}

pub(super) async fn delete_key(
    State(context): State<Context>,
    Path(KeyPath { namespace, name, key }): Path<KeyPath>,
    Query(DeleteKeyQuery { force }): Query<DeleteKeyQuery>,
) -> Result<Json<AppliedObject>, Problem> {
    change(&context, &ObjectKey::secret(namespace, name), &Change::Remove { key, force }).await
}

/// What a key that is none, or a value that cannot be stored, is answered with. A text that is no key is not
/// repeated: it may be a value at the wrong place.
fn refused(error: &InvalidSecret) -> Problem {
    match error {
        InvalidSecret::Key(_) => {
            Problem::unprocessable("a name in `stringData` cannot be a key of a Secret").with_hint(KEY_RULE)
        }
        InvalidSecret::TooLong { .. } | InvalidSecret::Nul(_) | InvalidSecret::TooManyKeys(_) => {
            Problem::unprocessable(error.to_string())
        }
    }
}

/// A change of single keys.
enum Change {
    /// Sets these, and creates the Secret where there is none.
    Set { values: BTreeMap<String, SecretText>, managed_by: String },
    /// Removes this one.
    Remove { key: String, force: bool },
}

/// Makes the change, again when another writer was met in the database.
async fn change(
    context: &Context,
    secret: &ObjectKey,
    change: &Change,
) -> Result<Json<AppliedObject>, Problem> {
    for _ in 1..ATTEMPTS {
        match once(context, secret, change).await {
            Err(ApplyError::Db(DbError::Contended(_))) => tracing::debug!("change of a Secret repeated"),
            done => return Ok(Json(done?)),
        }
    }
    Ok(Json(once(context, secret, change).await?))
}

async fn once(context: &Context, secret: &ObjectKey, change: &Change) -> Result<AppliedObject, ApplyError> {
    let mut write = context.store.begin_write().await?;
    write.exclude_others().await?;
    let created = match change {
        Change::Set { values, managed_by } => {
            let created = ensure(&mut write, secret, managed_by).await?;
            write.set_secret_values(secret, values, OtherKeys::Keep).await?;
            created
        }
        Change::Remove { key, force } => {
            let stored = write.get(secret).await?.ok_or_else(|| Problem::not_found(secret))?;
            if !stored_secret_keys(&stored.spec).any(|known| known == key) {
                return Err(Problem::nothing_there(format!("{secret} has no such key")).into());
            }
            let keys = BTreeSet::from([key.clone()]);
            if !force {
                refuse_lost_keys(&mut write, &[(secret.clone(), keys.clone())], &BTreeSet::new()).await?;
            }
            write.remove_secret_keys(secret, &keys).await?;
            false
        }
    };
    let object = write.get(secret).await?.ok_or_else(|| Problem::not_found(secret))?;
    let versions = write.commit().await?;
    let metadata = object.metadata;
    Ok(AppliedObject {
        outcome: if created { Outcome::Created } else { Outcome::Configured },
        generation: metadata.generation,
        resource_version: versions.get(&metadata.uid).copied().unwrap_or(metadata.resource_version),
        key: metadata.key,
        object: None,
    })
}

/// Creates the Secret where there is none; returns whether it did.
async fn ensure(write: &mut WriteTx, secret: &ObjectKey, managed_by: &str) -> Result<bool, ApplyError> {
    if write.get(secret).await?.is_some() {
        return Ok(false);
    }
    let put = Put {
        key: secret,
        spec: &stored_secret_spec([]),
        labels: &BTreeMap::new(),
        annotations: &BTreeMap::new(),
        managed_by,
        expected_version: None,
    };
    write.put(put).await?;
    Ok(true)
}

/// Writes a Secret of an apply: all its values, or its metadata alone where the input says nothing of values.
pub(super) async fn put(
    write: &mut WriteTx,
    put: Put<'_>,
    values: Option<&BTreeMap<String, SecretText>>,
) -> Result<Applied, ApplyError> {
    // The list of keys follows the values, and nothing else changes it.
    let spec = match write.get(put.key).await? {
        Some(stored) => stored.spec,
        None => stored_secret_spec([]),
    };
    let applied = write.put(Put { spec: &spec, ..put }).await?;
    let Some(values) = values else { return Ok(applied) };
    write.set_secret_values(put.key, values, OtherKeys::Remove).await?;
    let object = write.get(put.key).await?.ok_or_else(|| Problem::not_found(put.key))?;
    // Whether a value is the one that was there nobody knows who cannot open it.
    let outcome = if applied.outcome == Written::Created { Written::Created } else { Written::Configured };
    Ok(Applied { outcome, object })
}

impl From<SetSecretError> for ApplyError {
    fn from(error: SetSecretError) -> Self {
        match error {
            SetSecretError::Gone(key) => Problem::not_found(&key).into(),
            SetSecretError::Invalid(invalid) => refused(&invalid).into(),
            SetSecretError::NoKey => {
                Problem::unavailable("there is no key yet for which a value could be sealed").into()
            }
            SetSecretError::Seal(_) => {
                tracing::error!(error = %with_causes(&error), "value not sealed");
                Problem::internal().into()
            }
            SetSecretError::Db(error) => ApplyError::Db(error),
        }
    }
}
