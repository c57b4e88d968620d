//! Read, change, write back: an edit that never undoes somebody else's.

use std::time::Duration;

use bowline_api::wire::{ApplyResponse, Object, Outcome};
use bowline_core::object::ObjectKey;

use super::get::not_found;
use crate::client::{Client, RequestError, object_path, with_query};
use crate::failure::Failure;
use crate::ui::Ui;

/// How often an edit is made anew that met another writer. The controller is one, too: every report of a status
/// gives the object another version.
const ATTEMPTS: u32 = 10;
/// Rest before the second attempt; each later one is longer by as much.
const REST: Duration = Duration::from_millis(20);

/// Changes the object of `key` by `edit`, which is called again with what there is whenever somebody else was
/// faster, and which says whether it changed anything.
pub(crate) async fn update(
    client: &Client,
    key: &ObjectKey,
    ui: &mut Ui,
    mut edit: impl FnMut(&mut Object) -> Result<bool, Failure>,
) -> Result<Outcome, Failure> {
    let path = object_path(key);
    let mut attempt = 1;
    loop {
        let mut object: Object = match client.get(&path).await {
            Ok(object) => object,
            Err(error) if error.status() == Some(404) => return Err(not_found(key, error)),
            Err(error) => return Err(error.into()),
        };
        if !edit(&mut object)? {
            return Ok(Outcome::Unchanged);
        }
        // The status is the controller's.
        object.status = None;
        let path = with_query(&path, &[("managedBy", Some("cli".to_owned()))]);
        match client.put::<ApplyResponse>(&path, &object).await {
            Ok(done) => {
                done.warnings.iter().for_each(|warning| ui.say(warning));
                return Ok(done.objects.first().map_or(Outcome::Unchanged, |object| object.outcome));
            }
            Err(RequestError::Refused(problem)) if problem.is_conflict() && attempt < ATTEMPTS => {
                tokio::time::sleep(REST * attempt).await;
                attempt += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
