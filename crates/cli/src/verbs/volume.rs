//! `get volumes` and `volume rm`: volumes belong to a tenant and outlive its gateways.

use std::time::Duration;

use bowline_api::wire::{VolumeItem, VolumeList};
use chrono::{DateTime, Utc};
use tokio::time::Instant;

use crate::args::{Format, GetArgs, VolumeCommand, VolumeRmArgs, deadline, describe as age};
use crate::client::{Client, RequestError};
use crate::failure::Failure;
use crate::output::{Table, json, yaml};
use crate::ui::Ui;

/// How often the list is asked for while volumes go: they are no objects and cannot be watched.
const POLL: Duration = Duration::from_millis(200);

/// Runs `volume`.
pub(crate) async fn run(command: VolumeCommand, ui: &mut Ui) -> Result<(), Failure> {
    match command {
        VolumeCommand::Rm(args) => remove(args, ui).await,
    }
}

/// Whether the words of `get` name volumes.
pub(crate) fn are_named_by(words: &[String]) -> bool {
    matches!(words.first().map(|word| word.to_ascii_lowercase()).as_deref(), Some("volumes" | "volume"))
}

/// Runs `get volumes [SERVER/VOLUME…]`.
pub(crate) async fn get(args: &GetArgs, ui: &mut Ui) -> Result<(), Failure> {
    if args.watch || args.selector.is_some() {
        return Err(Failure::user("volumes have no labels of yours and cannot be watched")
            .hint("bowline get volumes [-n NAMESPACE] [SERVER/VOLUME…] [-o wide|yaml|json|name]"));
    }
    let names = args.resource.get(1..).unwrap_or_default();
    let mut list = list(&args.api.client()?, args.namespace.namespace.as_deref()).await?;
    if let Some(missing) = names.iter().find(|name| list.items.iter().all(|item| key(item) != **name)) {
        return Err(Failure::user(format!("there is no volume {missing:?}")).hint("bowline get volumes -A"));
    }
    list.items.retain(|item| names.is_empty() || names.contains(&key(item)));
    if list.items.is_empty() && matches!(args.output, Format::Table | Format::Wide) {
        ui.say("No volumes found");
        return Ok(());
    }
    ui.out(text(&list, args.output, Utc::now())?)
}

/// One that does not exist or that somebody uses keeps none of the others; it is a failure at the end.
async fn remove(args: VolumeRmArgs, ui: &mut Ui) -> Result<(), Failure> {
    let client = args.api.client()?;
    let deadline = deadline(args.timeout);
    let namespace = &args.namespace;
    let mut asked = Vec::with_capacity(args.volumes.len());
    let mut refused = Vec::new();
    for name in &args.volumes {
        let path = format!("/v1/namespaces/{namespace}/volumes/{}", name.0);
        match client.delete::<VolumeList>(&path).await {
            Ok(_) => asked.push(name.0.to_string()),
            Err(RequestError::Refused(problem)) if matches!(problem.status, 404 | 409) => {
                refused.push(problem);
            }
            Err(error) => {
                told(namespace, &asked, "removing", ui)?;
                return Err(error.into());
            }
        }
    }
    if args.wait
        && let Err(failure) = gone(&client, namespace, &asked, deadline).await
    {
        refused.iter().for_each(|problem| ui.say(format_args!("error: {}", problem.detail)));
        return Err(failure);
    }
    told(namespace, &asked, if args.wait { "removed" } else { "removing" }, ui)?;
    if refused.len() > 1 {
        let problems: Vec<_> = refused.iter().map(|problem| problem.detail.as_str()).collect();
        return Err(Failure::user(format!("these were not removed:\n  {}", problems.join("\n  ")))
            .hint(format!("bowline get volumes -n {namespace}")));
    }
    refused.pop().map_or(Ok(()), |problem| Err(RequestError::Refused(problem).into()))
}

fn told(namespace: &str, volumes: &[String], word: &str, ui: &mut Ui) -> Result<(), Failure> {
    volumes.iter().try_for_each(|name| ui.line(format_args!("volume {namespace}/{name} {word}")))
}

/// Waits until these volumes of the namespace, as `server/volume`, are gone.
pub(crate) async fn gone(
    client: &Client,
    namespace: &str,
    volumes: &[String],
    deadline: Instant,
) -> Result<(), Failure> {
    if volumes.is_empty() {
        return Ok(());
    }
    loop {
        let mut left = list(client, Some(namespace)).await?.items;
        left.retain(|item| item.removal_asked_at.is_some() && volumes.contains(&key(item)));
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() + POLL > deadline {
            let problems: Vec<_> = left
                .iter()
                .map(|item| {
                    let problem = item.removal_problem.as_deref().unwrap_or("its removal goes on");
                    format!("volume {namespace}/{}: {problem}", key(item))
                })
                .collect();
            return Err(Failure::user(format!("not all volumes are gone yet\n  {}", problems.join("\n  ")))
                .hint(format!("bowline get volumes -n {namespace} -o wide")));
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn list(client: &Client, namespace: Option<&str>) -> Result<VolumeList, Failure> {
    let path = match namespace {
        Some(namespace) => format!("/v1/namespaces/{namespace}/volumes"),
        None => "/v1/volumes".to_owned(),
    };
    Ok(client.get(&path).await?)
}

fn key(item: &VolumeItem) -> String {
    format!("{}/{}", item.server, item.name)
}

/// The volumes in any format.
fn text(list: &VolumeList, format: Format, now: DateTime<Utc>) -> Result<String, Failure> {
    match format {
        Format::Table | Format::Wide => {
            let mut head = vec!["NAMESPACE", "VOLUME", "STATUS", "USED-BY", "AGE"];
            if format == Format::Wide {
                head.extend(["HOST", "ENGINE-NAME", "MESSAGE"]);
            }
            let mut table = Table::new(&head);
            list.items.iter().for_each(|item| table.push(row(item, format, now)));
            Ok(table.to_string())
        }
        Format::Name => {
            Ok(list.items.iter().map(|item| format!("{}/{}\n", item.namespace, key(item))).collect())
        }
        Format::Yaml => yaml(list),
        Format::Json => json(list),
    }
}

fn row(item: &VolumeItem, format: Format, now: DateTime<Utc>) -> Vec<String> {
    let dash = || "-".to_owned();
    let status = match (&item.removal_asked_at, &item.engine_name) {
        (Some(_), _) => "Removing",
        (None, None) => "Pending",
        (None, Some(_)) => "Kept",
    };
    let status = if item.used_by.is_some() && status == "Kept" { "InUse" } else { status };
    let mut row = vec![
        item.namespace.clone(),
        key(item),
        status.to_owned(),
        item.used_by.as_ref().map_or_else(dash, |gateway| format!("gateway/{gateway}")),
        age(now - item.created_at),
    ];
    if format == Format::Wide {
        row.extend([
            item.host.clone(),
            item.engine_name.clone().unwrap_or_else(dash),
            item.removal_problem.clone().unwrap_or_else(dash),
        ]);
    }
    row
}

#[cfg(test)]
mod tests;
