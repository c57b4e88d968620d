//! Writing one object that the caller has read: create it, or replace the version that was seen.
//!
//! Everything that `apply` judges is judged here, by the same code. The difference is the condition: a replacement
//! names the `metadata.resourceVersion` that it was made from, and is refused when there is a newer one, so that
//! of two edits neither undoes the other. The caller reads again and repeats its change.

use axum::Json;
use axum::extract::State;
use bowline_core::diagnostic::Diagnostic;
use bowline_core::object::{GatewayKey, ObjectKey};
use bowline_core::resource::parse;
use bowline_store::Put;
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::Context;
use super::apply::{Apply, check_manager};
use crate::body::{Json as Body, LARGE, Path, Query, SecretJson};
use crate::problem::Problem;
use crate::wire::ApplyResponse;

/// The query of an edit.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct EditQuery {
    /// Who declares the object from now on.
    #[serde(default = "api")]
    managed_by: String,
    /// Only say what would happen.
    #[serde(default)]
    dry_run: bool,
    /// As of an apply.
    #[serde(default)]
    force: bool,
}

pub(super) fn api() -> String {
    "api".to_owned()
}

pub(super) async fn create_gateway(
    State(context): State<Context>,
    Path(namespace): Path<String>,
    Query(query): Query<EditQuery>,
    Body(object): Body<Value, LARGE>,
) -> Result<Json<ApplyResponse>, Problem> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let key = ObjectKey::gateway(namespace, name);
    write(&context, &key, &object, Put::ABSENT, query).await
}

pub(super) async fn replace_gateway(
    State(context): State<Context>,
    Path(GatewayKey { namespace, name }): Path<GatewayKey>,
    Query(query): Query<EditQuery>,
    Body(object): Body<Value, LARGE>,
) -> Result<Json<ApplyResponse>, Problem> {
    replace(&context, &ObjectKey::gateway(namespace, name), &object, query).await
}

pub(super) async fn replace_cluster_catalog(
    State(context): State<Context>,
    Path(name): Path<String>,
    Query(query): Query<EditQuery>,
    Body(object): Body<Value, LARGE>,
) -> Result<Json<ApplyResponse>, Problem> {
    replace(&context, &ObjectKey::cluster_catalog(name), &object, query).await
}

pub(super) async fn replace_catalog(
    State(context): State<Context>,
    Path((namespace, name)): Path<(String, String)>,
    Query(query): Query<EditQuery>,
    Body(object): Body<Value, LARGE>,
) -> Result<Json<ApplyResponse>, Problem> {
    replace(&context, &ObjectKey::catalog(namespace, name), &object, query).await
}

/// The values of a Secret stay as they are where the object has no `stringData`.
pub(super) async fn replace_secret(
    State(context): State<Context>,
    Path((namespace, name)): Path<(String, String)>,
    Query(query): Query<EditQuery>,
    SecretJson(object): SecretJson<Value, LARGE>,
) -> Result<Json<ApplyResponse>, Problem> {
    replace(&context, &ObjectKey::secret(namespace, name), &object, query).await
}

async fn replace(
    context: &Context,
    key: &ObjectKey,
    object: &Value,
    query: EditQuery,
) -> Result<Json<ApplyResponse>, Problem> {
    let Some(seen) = object["metadata"]["resourceVersion"].as_i64().filter(|version| *version != Put::ABSENT)
    else {
        let detail = "the object has no `metadata.resourceVersion`, so that nobody can tell what it replaces";
        return Err(
            Problem::unprocessable(detail).with_hint("read the object, change it, and send it back whole")
        );
    };
    write(context, key, object, seen, query).await
}

/// Writes `object`, which must be the one that the path names, where `seen` is still its version.
async fn write(
    context: &Context,
    key: &ObjectKey,
    object: &Value,
    seen: i64,
    query: EditQuery,
) -> Result<Json<ApplyResponse>, Problem> {
    let EditQuery { managed_by, dry_run, force } = query;
    check_manager(&managed_by)?;
    // It may be a Secret.
    let text = Zeroizing::new(object.to_string());
    let mut parsed = parse(&text, None);
    // Nobody has written this text as lines and columns.
    parsed.diagnostics.iter_mut().for_each(without_place);
    match parsed.resources.as_slice() {
        _ if !parsed.is_ok() => return Err(Problem::invalid(parsed.diagnostics)),
        [one] if one.resource.key() == *key => {}
        _ => return Err(Problem::unprocessable(format!("the body is not {key}, which the path names"))),
    }
    let apply = Apply {
        context,
        parsed: &parsed,
        dry_run,
        force,
        managed_by: &managed_by,
        takes_over: None,
        expected_version: Some(seen),
    };
    let mut done = apply.run().await.map_err(Problem::from).map_err(|mut problem| {
        problem.diagnostics.iter_mut().for_each(without_place);
        problem
    })?;
    done.warnings.iter_mut().for_each(without_place);
    Ok(Json(done))
}

fn without_place(found: &mut Diagnostic) {
    (found.line, found.column) = (0, 0);
}
