//! `describe`: everything about one object.

use bowline_api::wire::{EventList, Object, ObjectList};
use bowline_core::object::{Kind, ObjectKey};
use chrono::Utc;

use super::get::not_found;
use crate::args::DescribeArgs;
use crate::client::{Client, list_path, object_path};
use crate::failure::Failure;
use crate::output::{Described, catalogs_of, description};
use crate::target;
use crate::ui::Ui;

/// Runs `describe`.
pub(crate) async fn run(args: DescribeArgs, ui: &mut Ui) -> Result<(), Failure> {
    let client = args.api.client()?;
    let targets = target::read(&args.resource, args.namespace.namespace.as_deref())?;
    if targets.keys.is_empty() {
        return Err(Failure::user("which one?").hint("name an object, for example gateway/u1/default"));
    }
    for (index, key) in targets.keys.iter().enumerate() {
        let path = object_path(key);
        let object: Object = match client.get(&path).await {
            Ok(object) => object,
            Err(error) if error.status() == Some(404) => return Err(not_found(key, error)),
            Err(error) => return Err(error.into()),
        };
        let events = match object.kind {
            Kind::Gateway => client.get::<EventList>(&format!("{path}/events")).await?.items,
            Kind::ClusterCatalog | Kind::Catalog | Kind::Secret => Vec::new(),
        };
        let users = if key.kind.is_catalog() { users(&client, key).await? } else { Vec::new() };
        if index > 0 {
            ui.line("")?;
        }
        ui.out(description(&Described { object: &object, events: &events, users: &users, now: Utc::now() }))?;
    }
    Ok(())
}

/// The gateways that name a catalog.
async fn users(client: &Client, catalog: &ObjectKey) -> Result<Vec<ObjectKey>, Failure> {
    let gateways: ObjectList = client.get(&list_path(Kind::Gateway, None)).await?;
    let names = |gateway: &&Object| catalogs_of(gateway).contains(catalog);
    Ok(gateways.items.iter().filter(names).map(Object::key).collect())
}
