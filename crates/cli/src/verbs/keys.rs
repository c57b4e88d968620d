//! `keys`: the keys that open secrets. What the server does with them is in `serve/keys.rs`.

use std::time::Duration;

use bowline_api::wire::{KeysStatus, SealingKeyItem};
use bowline_store::KeyFileError;
use chrono::{DateTime, Utc};
use serde_json::json;
use tokio::time::Instant;

use crate::args::{
    KeysCommand, KeysFormat, KeysGenerateArgs, KeysRotateArgs, KeysStatusArgs, deadline, describe as age,
};
use crate::failure::Failure;
use crate::output::{Table, json as as_json, yaml};
use crate::serve::{absolute, key_source};
use crate::ui::Ui;

/// Path of the keys.
const KEYS: &str = "/v1/keys";
/// How often a rotation is asked after: it is no object and cannot be watched.
const POLL: Duration = Duration::from_millis(200);

/// Runs `keys`.
pub(crate) async fn run(command: KeysCommand, ui: &mut Ui) -> Result<(), Failure> {
    match command {
        KeysCommand::Generate(args) => generate(args, ui),
        KeysCommand::Status(args) => status(args, ui).await,
        KeysCommand::Rotate(args) => rotate(args, ui).await,
    }
}

fn generate(args: KeysGenerateArgs, ui: &mut Ui) -> Result<(), Failure> {
    let source = key_source(args.keys, &absolute(&args.state_dir)?)?;
    let made = source.generate().map_err(|error| not_made(&error))?;
    ui.line(format_args!("key {} made: {}", made.id, made.path.display()))?;
    ui.say("A running server takes it in at `bowline keys rotate`, any other one when it starts.");
    ui.say(
        "Keep a copy with the backups of the database: without it nobody can open what was sealed for it.",
    );
    Ok(())
}

fn not_made(error: &KeyFileError) -> Failure {
    let failure = Failure::user("no key was made").because(error);
    match error {
        KeyFileError::Owner { .. } => failure.hint("run this as the user as whom `bowline serve` runs"),
        _ => failure,
    }
}

async fn status(args: KeysStatusArgs, ui: &mut Ui) -> Result<(), Failure> {
    let status: KeysStatus = args.api.client()?.get(KEYS).await?;
    let text = match args.output {
        KeysFormat::Table => table(&status, Utc::now()),
        KeysFormat::Yaml => yaml(&status)?,
        KeysFormat::Json => as_json(&status)?,
    };
    ui.out(text)?;
    if args.output == KeysFormat::Table {
        if status.asked_at.is_some() {
            ui.say("A new key was asked for and is not there yet.");
        }
        if status.remaining > 0 {
            ui.say(format_args!("{} still sealed for an older key.", values_are(status.remaining)));
        }
        if let Some(problem) = &status.problem {
            ui.say(format_args!("warning: {problem}"));
        }
    }
    Ok(())
}

fn table(status: &KeysStatus, now: DateTime<Utc>) -> String {
    let mut table = Table::new(&["KEY", "STATUS", "VALUES", "ON-DISK", "AGE"]);
    for key in &status.items {
        table.push(vec![
            key.id.clone(),
            state(key).to_owned(),
            key.values.to_string(),
            if key.on_disk { "yes" } else { "no" }.to_owned(),
            age(now - key.created_at),
        ]);
    }
    table.to_string()
}

fn state(key: &SealingKeyItem) -> &'static str {
    match (key.newest, key.retired_at) {
        (true, _) => "Newest",
        (false, None) => "InUse",
        (false, Some(_)) => "Retired",
    }
}

async fn rotate(args: KeysRotateArgs, ui: &mut Ui) -> Result<(), Failure> {
    let client = args.api.client()?;
    let deadline = deadline(args.timeout);
    let mut status: KeysStatus = client.post(&format!("{KEYS}/rotate"), &json!({})).await?;
    let mut told = None;
    loop {
        let newest = status.items.iter().find(|key| key.newest);
        let replaced = status.items.iter().all(|key| key.newest || key.retired_at.is_some());
        if let (None, true, Some(newest)) = (status.asked_at, replaced, newest) {
            return ui.line(format_args!("key {} seals now; older ones are retired", newest.id));
        }
        if let Some(problem) = &status.problem {
            let failure = if status.asked_at.is_some() {
                Failure::ours(format!("there is no new key: {problem}"))
            } else {
                Failure::user(format!(
                    "{} still sealed for an older key: {problem}",
                    values_are(status.remaining)
                ))
                .hint("set that value again with `bowline secret set`, then rotate again")
            };
            return Err(failure);
        }
        if status.asked_at.is_none() && told != Some(status.remaining) {
            ui.say(format_args!("{} still sealed for an older key", values_are(status.remaining)));
            told = Some(status.remaining);
        }
        if Instant::now() + POLL > deadline {
            return Err(Failure::user("the key is not replaced everywhere yet")
                .hint("it goes on in the server; `bowline keys status` shows how far it has come"));
        }
        tokio::time::sleep(POLL).await;
        status = client.get(KEYS).await?;
    }
}

fn values_are(count: i64) -> String {
    if count == 1 { "1 value is".to_owned() } else { format!("{count} values are") }
}

#[cfg(test)]
mod tests;
