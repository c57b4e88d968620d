//! `specs` and `get specs`: what became of the files of the spec directory, and the word for a great removal.

use bowline_api::wire::{ConfirmRequest, ConfirmResponse, HeldRemovals, SpecFile, SpecList};
use chrono::{DateTime, Utc};

use crate::args::{Format, GetArgs, SpecsArgs, SpecsCommand, SpecsConfirmArgs, describe as age};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Table, json, yaml};
use crate::ui::Ui;

/// Where the directory is shown.
const PATH: &str = "/v1/specs";

/// Runs `specs`.
pub(crate) async fn run(args: SpecsArgs, ui: &mut Ui) -> Result<(), Failure> {
    match args.command {
        Some(SpecsCommand::Confirm(args)) => confirm(args, ui).await,
        None => show(&args.api.client()?, &[], args.output, ui).await,
    }
}

/// Whether the words of `get` name the files of the spec directory.
pub(crate) fn are_named_by(words: &[String]) -> bool {
    matches!(words.first().map(|word| word.to_ascii_lowercase()).as_deref(), Some("specs" | "spec"))
}

/// Runs `get specs [FILE…]`.
pub(crate) async fn get(args: &GetArgs, ui: &mut Ui) -> Result<(), Failure> {
    if args.watch || args.selector.is_some() || args.namespace.namespace.is_some() {
        return Err(Failure::user(
            "specs are files: they have no namespace and no labels, and cannot be watched",
        )
        .hint("bowline get specs [FILE…] [-o wide|yaml|json|name]"));
    }
    show(&args.api.client()?, args.resource.get(1..).unwrap_or_default(), args.output, ui).await
}

async fn show(client: &Client, names: &[String], format: Format, ui: &mut Ui) -> Result<(), Failure> {
    let mut list: SpecList = client.get(PATH).await?;
    if let Some(missing) = names.iter().find(|name| list.items.iter().all(|item| item.file != **name)) {
        return Err(Failure::user(format!("there is no spec file {missing:?}")).hint("bowline get specs"));
    }
    list.items.retain(|item| names.is_empty() || names.contains(&item.file));
    ui.out(text(&list, format, Utc::now())?)?;
    if matches!(format, Format::Table | Format::Wide) {
        remarks(&list).into_iter().for_each(|remark| ui.say(remark));
    }
    Ok(())
}

/// The files in any format.
fn text(list: &SpecList, format: Format, now: DateTime<Utc>) -> Result<String, Failure> {
    match format {
        Format::Table | Format::Wide if list.items.is_empty() => Ok(String::new()),
        Format::Table | Format::Wide => {
            let mut table = Table::new(&["FILE", "STATUS", "OBJECTS", "AGE", "MESSAGE"]);
            list.items.iter().for_each(|item| table.push(row(item, format, now)));
            Ok(table.to_string())
        }
        Format::Name => Ok(list.items.iter().map(|item| format!("{}\n", item.file)).collect()),
        Format::Yaml => yaml(list),
        Format::Json => json(list),
    }
}

/// One line; the wide one names the objects.
fn row(item: &SpecFile, format: Format, now: DateTime<Utc>) -> Vec<String> {
    let objects = match format {
        Format::Wide if !item.objects.is_empty() => {
            item.objects.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        }
        _ => item.objects.len().to_string(),
    };
    let message = match item.diagnostics.len() {
        0 => item.message.clone(),
        warnings if item.message.is_empty() => format!("{warnings} warnings: -o yaml shows them"),
        _ => item.message.clone(),
    };
    let age = age(now - item.changed_at);
    vec![item.file.clone(), item.state.as_str().to_owned(), objects, age, message.replace('\n', " ")]
}

/// What is to be said of the directory as a whole.
fn remarks(list: &SpecList) -> Vec<String> {
    let mut remarks = Vec::new();
    match &list.directory {
        None => remarks
            .push("No spec directory is followed: `bowline serve --spec-dir DIR` follows one.".to_owned()),
        Some(directory) => match &directory.error {
            Some(error) => remarks.push(format!("warning: {error}; nothing is removed meanwhile")),
            None if list.items.is_empty() => remarks.push(format!("There is no file in {}.", directory.path)),
            None => {}
        },
    }
    if let Some(HeldRemovals { objects, .. }) = &list.held {
        let count = objects.len();
        remarks.push(format!(
            "warning: the removal of {count} objects is held\nhint: `bowline specs confirm` shows them, asks, and removes them"
        ));
    }
    remarks
}

async fn confirm(args: SpecsConfirmArgs, ui: &mut Ui) -> Result<(), Failure> {
    let client = args.api.client()?;
    let list: SpecList = client.get(PATH).await?;
    let Some(HeldRemovals { id, objects, .. }) = list.held else {
        return Err(Failure::user("no removal is held"));
    };
    let mut table = Table::new(&["OBJECT", "DECLARED BY"]);
    objects.iter().for_each(|held| table.push(vec![held.key.to_string(), held.file.clone()]));
    if !args.yes {
        if !Ui::can_ask() {
            let message = format!("this would remove {} objects:\n{table}", objects.len());
            return Err(Failure::user(message.trim_end()).hint("--yes removes them without asking"));
        }
        ui.say(&table);
        if !ui.ask(&format!("Remove these {} objects?", objects.len()))? {
            return Err(Failure::user("nothing was removed"));
        }
    }
    let confirmed: ConfirmResponse = client.post("/v1/specs/confirm", &ConfirmRequest { id }).await?;
    confirmed.objects.iter().try_for_each(|key| ui.line(format_args!("{key} removal confirmed")))
}

#[cfg(test)]
mod tests;
