//! `diff`: what `apply` would change, as a unified diff. The exit code is an answer, as of kubectl and diff(1):
//! 0 for no difference, 1 for some, 2 for trouble.

use std::collections::BTreeMap;

use bowline_api::wire::{ApplyRequest, ApplyResponse, Object, Outcome};
use bowline_core::object::{Kind, ObjectKey};
use serde::Serialize;
use serde_json::Value;
use similar::TextDiff;

use super::input;
use crate::args::DiffArgs;
use crate::client::{Client, object_path};
use crate::failure::Failure;
use crate::output;
use crate::ui::Ui;

/// Lines around a change.
const CONTEXT: usize = 3;

/// Runs `diff`.
pub(crate) async fn run(args: DiffArgs, ui: &mut Ui) -> Result<(), Failure> {
    let differs = compare(&args, ui).await.map_err(Failure::into_trouble)?;
    // Everything has been said on standard output; the exit code is 1.
    if differs { Err(Failure::said()) } else { Ok(()) }
}

/// Prints every difference; whether there is one.
async fn compare(args: &DiffArgs, ui: &mut Ui) -> Result<bool, Failure> {
    let client = args.api.client()?;
    let files = input::read(&args.filename)?;
    let request = ApplyRequest { files, dry_run: true, force: args.force, managed_by: "cli".to_owned() };
    let response: ApplyResponse = client.post("/v1/apply", &request).await?;
    for warning in &response.warnings {
        ui.say(warning);
    }
    let mut differs = false;
    for applied in response.objects {
        let Some(object) = applied.object else {
            return Err(Failure::ours(format!("the API did not say what {} would be", applied.key)));
        };
        let live = live(&client, &applied.key).await?;
        let text = difference(&applied.key, live.as_ref(), &object)?;
        differs |= !text.is_empty();
        if text.is_empty() && applied.key.kind == Kind::Secret && applied.outcome == Outcome::Configured {
            ui.say(format_args!(
                "note: nobody can read the values of {}: they are not compared",
                applied.key
            ));
        }
        ui.out(text)?;
    }
    Ok(differs)
}

/// The object as it is; `None` when there is none.
async fn live(client: &Client, key: &ObjectKey) -> Result<Option<Object>, Failure> {
    match client.get(&object_path(key)).await {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.status() == Some(404) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What of an object an apply decides.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Normal<'a> {
    api_version: &'a str,
    kind: &'a str,
    metadata: NormalMetadata<'a>,
    spec: &'a Value,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NormalMetadata<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    name: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    managed_by: &'a str,
}

fn normal(object: &Object) -> Result<String, Failure> {
    let metadata = &object.metadata;
    output::yaml(&Normal {
        api_version: &object.api_version,
        kind: object.kind.as_str(),
        metadata: NormalMetadata {
            namespace: metadata.namespace.as_deref(),
            name: &metadata.name,
            labels: &metadata.labels,
            annotations: &metadata.annotations,
            managed_by: &metadata.managed_by,
        },
        spec: &object.spec,
    })
}

/// The unified diff of one object; the empty text where nothing differs.
fn difference(key: &ObjectKey, live: Option<&Object>, applied: &Object) -> Result<String, Failure> {
    let (old, old_name) = match live {
        Some(live) => (normal(live)?, format!("live/{key}")),
        None => (String::new(), "/dev/null".to_owned()),
    };
    let new = normal(applied)?;
    let diff = TextDiff::from_lines(old.as_str(), new.as_str());
    let mut unified = diff.unified_diff();
    Ok(unified.context_radius(CONTEXT).header(&old_name, &format!("applied/{key}")).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::samples;

    #[test]
    fn what_differs_is_shown_with_what_is_around_it() {
        let live = samples::gateway("u1", Value::Null);
        let mut applied = live.clone();
        applied.spec["resources"]["limits"]["memory"] = "512Mi".into();
        let text = difference(&live.key(), Some(&live), &applied).unwrap();
        let head = "--- live/gateway/u1/default\n+++ applied/gateway/u1/default\n@@ ";
        assert!(text.starts_with(head), "{text}");
        assert!(text.contains("\n-      memory: 256Mi\n+      memory: 512Mi\n"), "{text}");
        assert!(!text.contains("apiVersion"), "only what is near: {text}");
    }

    #[test]
    fn what_the_server_writes_is_no_difference() {
        let live = samples::gateway("u1", samples::status(&[]));
        let mut applied = samples::gateway("u1", Value::Null);
        applied.metadata.resource_version += 7;
        assert_eq!(difference(&live.key(), Some(&live), &applied), Ok(String::new()));
        applied.metadata.managed_by = "api".to_owned();
        let text = difference(&live.key(), Some(&live), &applied).unwrap();
        assert!(text.contains("-  managedBy: cli\n+  managedBy: api\n"), "{text}");
    }

    #[test]
    fn a_new_object_is_all_difference() {
        let applied = samples::catalog();
        let text = difference(&applied.key(), None, &applied).unwrap();
        assert!(text.starts_with("--- /dev/null\n+++ applied/clustercatalog/base\n@@ -0,0 +1,"), "{text}");
        assert!(text.lines().skip(3).all(|line| line.starts_with('+')), "{text}");
    }
}
