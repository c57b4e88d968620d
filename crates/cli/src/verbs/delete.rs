//! `delete`: asks for deletions and waits until what the objects held is given back. An object that does not
//! exist keeps none of the others; it is a failure at the end.

use bowline_api::wire::DeleteResponse;
use bowline_core::diagnostic::Diagnostic;
use bowline_core::object::{Kind, ObjectKey};
use bowline_core::resource::{Parsed, parse};
use tokio::time::Instant;

use super::get::not_found;
use super::{input, volume, wait};
use crate::args::{DeleteArgs, deadline};
use crate::client::{Client, RequestError, object_path, with_query};
use crate::failure::Failure;
use crate::target;
use crate::ui::Ui;

/// Runs `delete`.
pub(crate) async fn run(args: DeleteArgs, ui: &mut Ui) -> Result<(), Failure> {
    let client = args.api.client()?;
    let keys = keys(&args)?;
    if args.volumes && keys.iter().all(|key| key.kind != Kind::Gateway) {
        return Err(Failure::user("--volumes removes the volumes of gateways, and none is named")
            .hint("bowline volume rm -n NAMESPACE SERVER/VOLUME removes one by its name"));
    }
    let deadline = deadline(args.timeout);
    let mut deletion = Deletion { client: &client, args: &args, deadline, missing: Vec::new() };
    // What refers goes before what is referred to.
    for kind in Kind::ALL.into_iter().rev() {
        let keys: Vec<_> = keys.iter().filter(|key| key.kind == kind).collect();
        deletion.delete(kind, &keys, ui).await?;
    }
    deletion.end()
}

fn keys(args: &DeleteArgs) -> Result<Vec<ObjectKey>, Failure> {
    if args.filename.is_empty() {
        let targets = target::read(&args.resource, args.namespace.namespace.as_deref())?;
        if targets.keys.is_empty() {
            return Err(Failure::user("nothing named to delete")
                .hint("name the objects, for example gateway/u1/default"));
        }
        return Ok(targets.keys);
    }
    let files = input::read(&args.filename)?;
    let parsed = files.iter().map(|file| parse(file.text.expose(), file.name.as_deref()));
    let parsed = parsed.reduce(Parsed::and).unwrap_or_default();
    if !parsed.is_ok() {
        let errors = parsed.diagnostics.into_iter().filter(Diagnostic::is_error).collect();
        return Err(Failure::user("the input cannot be read; nothing was deleted").with_diagnostics(errors));
    }
    Ok(parsed.resources.iter().map(|located| located.resource.key()).collect())
}

/// One deletion of several objects.
struct Deletion<'a> {
    client: &'a Client,
    args: &'a DeleteArgs,
    deadline: Instant,
    /// What did not exist, and what the API said of it.
    missing: Vec<(ObjectKey, RequestError)>,
}

impl Deletion<'_> {
    /// Deletes these objects of one kind, and waits for them if that is wanted.
    async fn delete(&mut self, kind: Kind, keys: &[&ObjectKey], ui: &mut Ui) -> Result<(), Failure> {
        let mut terminating = Vec::new();
        let mut volumes_to_go = Vec::new();
        for &key in keys {
            let force = self.args.force.then(|| "true".to_owned());
            // Asked of gateways only: nothing else has volumes.
            let volumes = (self.args.volumes && kind == Kind::Gateway).then(|| "true".to_owned());
            let path = with_query(&object_path(key), &[("force", force), ("volumes", volumes)]);
            match self.client.delete::<DeleteResponse>(&path).await {
                Ok(response) if response.gone => ui.line(format_args!("{key} deleted"))?,
                Ok(response) if self.args.wait => {
                    terminating.push(key.clone());
                    if let Some(namespace) = &key.namespace {
                        volumes_to_go.push((namespace.clone(), response.volumes));
                    }
                }
                Ok(_) => ui.line(format_args!("{key} terminating"))?,
                Err(error) if error.status() == Some(404) => {
                    if !self.args.ignore_not_found {
                        self.missing.push((key.clone(), error));
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        wait::gone(self.client, kind, terminating.clone(), self.deadline).await?;
        for (namespace, volumes) in volumes_to_go {
            volume::gone(self.client, &namespace, &volumes, self.deadline).await?;
            volumes.iter().try_for_each(|name| ui.line(format_args!("volume {namespace}/{name} removed")))?;
        }
        terminating.iter().try_for_each(|key| ui.line(format_args!("{key} deleted")))
    }

    /// Fails with the names of what did not exist.
    fn end(mut self) -> Result<(), Failure> {
        if self.missing.len() > 1 {
            let keys: Vec<_> = self.missing.iter().map(|(key, _)| key.to_string()).collect();
            return Err(Failure::user(format!("these do not exist:\n  {}", keys.join("\n  ")))
                .hint("--ignore-not-found makes that no error"));
        }
        self.missing.pop().map_or(Ok(()), |(key, error)| Err(not_found(&key, error)))
    }
}

#[cfg(test)]
mod tests;
