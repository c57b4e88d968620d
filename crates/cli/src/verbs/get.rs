//! `get`: shows objects, and with `-w` their changes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use bowline_api::wire::{DeletedObject, Object, ObjectList};
use bowline_core::object::ObjectKey;
use chrono::Utc;
use uuid::Uuid;

use super::follow::{News, Scope, follow};
use super::{specs, volume};
use crate::args::{Format, GetArgs};
use crate::client::{Client, RequestError, list_path, object_path};
use crate::failure::Failure;
use crate::output::{self, Table};
use crate::target::{self, Selector, Targets};
use crate::ui::Ui;

/// Runs `get`.
pub(crate) async fn run(args: GetArgs, ui: &mut Ui) -> Result<(), Failure> {
    if specs::are_named_by(&args.resource) {
        return specs::get(&args, ui).await;
    }
    if volume::are_named_by(&args.resource) {
        return volume::get(&args, ui).await;
    }
    let client = args.api.client()?;
    let targets = target::read(&args.resource, args.namespace.namespace.as_deref())?;
    let selector = args.selector.unwrap_or_default();
    if args.watch {
        return watch(&client, &targets, &selector, args.output, ui).await;
    }
    let (objects, missing) = read(&client, &targets).await?;
    let objects: Vec<_> =
        objects.into_iter().filter(|object| selector.matches(&object.metadata.labels)).collect();
    let single = targets.keys.len() == 1;
    if !(objects.is_empty() && single) {
        ui.out(output::objects(targets.kind, &objects, args.output, single, Utc::now())?)?;
    }
    if let Some(missing) = missing {
        return Err(missing);
    }
    if objects.is_empty() && matches!(args.output, Format::Table | Format::Wide) {
        ui.say("No resources found");
    }
    Ok(())
}

/// The objects of the targets, and the first failure for one that does not exist: the others are shown.
async fn read(client: &Client, targets: &Targets) -> Result<(Vec<Object>, Option<Failure>), Failure> {
    if targets.keys.is_empty() {
        let list: ObjectList = client.get(&list_path(targets.kind, targets.namespace.as_deref())).await?;
        return Ok((list.items, None));
    }
    let mut objects = Vec::with_capacity(targets.keys.len());
    let mut missing = None;
    for key in &targets.keys {
        match client.get(&object_path(key)).await {
            Ok(object) => objects.push(object),
            Err(error) if error.status() == Some(404) => {
                missing.get_or_insert_with(|| not_found(key, error));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok((objects, missing))
}

/// The API's refusal, with the way to what there is.
pub(crate) fn not_found(key: &ObjectKey, error: RequestError) -> Failure {
    let list = match &key.namespace {
        Some(namespace) => format!("bowline get {} -n {namespace}", key.kind.plural()),
        None => format!("bowline get {}", key.kind.plural()),
    };
    Failure::from(error).hint(list)
}

/// Shows everything, then each change on a line of its own, until the user stops it.
async fn watch(
    client: &Client,
    targets: &Targets,
    selector: &Selector,
    format: Format,
    ui: &mut Ui,
) -> Result<(), Failure> {
    let scope = match targets.keys.as_slice() {
        [] => Scope { kind: targets.kind, namespace: targets.namespace.clone() },
        keys => Scope::of(targets.kind, keys),
    };
    let wants = |object: &Object| {
        (targets.keys.is_empty() || targets.keys.contains(&object.key()))
            && selector.matches(&object.metadata.labels)
    };
    let mut widths = Vec::new();
    let mut begun = false;
    let mut shown = Shown::default();
    follow(client, &scope, None, |world, news| {
        let changed: Vec<Object> = match news {
            // After a connection that was made again this is where what changed meanwhile is told.
            News::UpToDate => {
                let wanted = || world.objects.values().filter(|object| wants(object));
                for key in shown.retain(&wanted().map(Object::key).collect()) {
                    announce_deleted(&key, format, ui);
                }
                wanted().filter(|object| shown.is_news(object)).cloned().collect()
            }
            News::Object(object) if begun && world.is_complete && wants(&object) => {
                shown.is_news(&object);
                vec![*object]
            }
            News::Gone(deleted) => {
                if world.is_complete && shown.forget(&deleted) {
                    announce_deleted(&deleted.key, format, ui);
                }
                return Ok(ControlFlow::Continue(()));
            }
            News::Object(_) => return Ok(ControlFlow::Continue(())),
        };
        if !begun || !changed.is_empty() {
            ui.out(rows(targets, &changed, format, &mut widths, !begun)?)?;
            begun = true;
        }
        Ok(ControlFlow::Continue(()))
    })
    .await?;
    Ok(())
}

fn announce_deleted(key: &ObjectKey, format: Format, ui: &mut Ui) {
    if matches!(format, Format::Table | Format::Wide) {
        ui.say(format_args!("{key} deleted"));
    }
}

/// What was printed last of each object.
#[derive(Debug, Default)]
struct Shown(BTreeMap<ObjectKey, (Uuid, i64)>);

impl Shown {
    /// Notes that an object is printed; `false` when just this was printed last.
    fn is_news(&mut self, object: &Object) -> bool {
        let now = (object.metadata.uid, object.metadata.resource_version);
        self.0.insert(object.key(), now) != Some(now)
    }

    /// Forgets an object that went; `false` when it was never printed, or another one has its name.
    fn forget(&mut self, deleted: &DeletedObject) -> bool {
        let known = self.0.get(&deleted.key).is_some_and(|(uid, _)| *uid == deleted.uid);
        known && self.0.remove(&deleted.key).is_some()
    }

    /// Forgets all but these, and returns the others.
    fn retain(&mut self, there: &BTreeSet<ObjectKey>) -> Vec<ObjectKey> {
        self.0.extract_if(.., |key, _| !there.contains(key)).map(|(key, _)| key).collect()
    }
}

/// Objects under a head that was printed before, or with it.
fn rows(
    targets: &Targets,
    objects: &Vec<Object>,
    format: Format,
    widths: &mut Vec<usize>,
    with_head: bool,
) -> Result<String, Failure> {
    if !matches!(format, Format::Table | Format::Wide) {
        let mut text = output::objects(targets.kind, objects, format, objects.len() == 1, Utc::now())?;
        if format == Format::Yaml && !text.is_empty() {
            text.push_str("---\n");
        }
        return Ok(text);
    }
    let mut table = Table::new(&output::head(targets.kind, format));
    for object in objects {
        table.push(output::row(object, format, Utc::now()));
    }
    Ok(if with_head { table.lines(widths).concat() } else { table.body(widths) })
}
