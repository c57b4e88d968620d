//! `secret`: keys of Secrets are set, listed and deleted one by one; `apply` and `delete` take whole ones.

use bowline_api::wire::{AppliedObject, DeleteResponse, Object, ObjectList, SecretKeysRequest};
use bowline_core::object::{Kind, ObjectKey};
use bowline_core::secret::is_key;
use chrono::{DateTime, Utc};

use super::get::not_found;
use crate::args::{Format, SecretCommand, SecretDeleteArgs, SecretListArgs, SecretSetArgs, describe as age};
use crate::client::{list_path, object_path, with_query};
use crate::failure::Failure;
use crate::output::{self, Table, secret_status_of};
use crate::target;
use crate::ui::Ui;

mod prompt;
mod values;

use values::{Input, Stdin, Values, collect};

/// Runs `secret`.
pub(crate) async fn run(command: SecretCommand, ui: &mut Ui) -> Result<(), Failure> {
    match command {
        SecretCommand::Set(args) => set(args, &mut Stdin, ui).await,
        SecretCommand::List(args) => list(args, ui).await,
        SecretCommand::Delete(args) => delete(args, ui).await,
    }
}

async fn set(args: SecretSetArgs, input: &mut impl Input, ui: &mut Ui) -> Result<(), Failure> {
    let client = args.api.client()?;
    let key = named(&args.secret, args.namespace.namespace.as_deref())?;
    let Values { values, warnings } = collect(&args, input)?;
    for warning in warnings {
        ui.say(format_args!("warning: {warning}"));
    }
    let request = SecretKeysRequest { string_data: values };
    let path = with_query(&keys_path(&key), &[("managedBy", Some("cli".to_owned()))]);
    let done: AppliedObject = client.put(&path, &request).await?;
    ui.line(format_args!("{} {}", done.key, done.outcome.as_str()))
}

async fn list(args: SecretListArgs, ui: &mut Ui) -> Result<(), Failure> {
    let path = list_path(Kind::Secret, args.namespace.namespace.as_deref());
    let list: ObjectList = args.api.client()?.get(&path).await?;
    match args.output {
        Format::Table | Format::Wide if list.items.is_empty() => {
            ui.say("No Secrets found");
            Ok(())
        }
        Format::Table | Format::Wide => ui.out(keys_table(&list.items, Utc::now())),
        format => ui.out(output::objects(Kind::Secret, &list.items, format, false, Utc::now())?),
    }
}

async fn delete(args: SecretDeleteArgs, ui: &mut Ui) -> Result<(), Failure> {
    let client = args.api.client()?;
    let secret = named(&args.secret, args.namespace.namespace.as_deref())?;
    let force = || [("force", args.force.then(|| "true".to_owned()))];
    if args.keys.is_empty() {
        return match client.delete::<DeleteResponse>(&with_query(&object_path(&secret), &force())).await {
            Ok(_) => ui.line(format_args!("{secret} deleted")),
            Err(error) if error.status() == Some(404) && args.ignore_not_found => Ok(()),
            Err(error) if error.status() == Some(404) => Err(not_found(&secret, error)),
            Err(error) => Err(error.into()),
        };
    }
    if let Some(wrong) = args.keys.iter().find(|key| !is_key(key)) {
        return Err(Failure::user(format!("{wrong:?} is no key of a Secret")));
    }
    for key in &args.keys {
        let path = with_query(&format!("{}/{key}", keys_path(&secret)), &force());
        match client.delete::<AppliedObject>(&path).await {
            Ok(_) => ui.line(format_args!("{secret} key {key} deleted"))?,
            Err(error) if error.status() == Some(404) && args.ignore_not_found => {}
            Err(error) if error.status() == Some(404) => {
                let namespace = secret.namespace.as_deref().unwrap_or_default();
                return Err(Failure::from(error).hint(format!("bowline secret list -n {namespace}")));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The Secret that `[NAMESPACE/]NAME`, or `secret/NAMESPACE/NAME` as other verbs print it, means.
fn named(word: &str, namespace: Option<&str>) -> Result<ObjectKey, Failure> {
    let name = word.strip_prefix("secret/").filter(|rest| rest.contains('/')).unwrap_or(word);
    if let (Some((inner, _)), Some(namespace)) = (name.split_once('/'), namespace)
        && inner != namespace
    {
        return Err(Failure::user(format!("{word:?} is not in the namespace {namespace:?}")));
    }
    let key = target::read(&[Kind::Secret.singular().to_owned(), name.to_owned()], namespace)?.keys.pop();
    key.ok_or_else(|| Failure::user("which Secret?"))
}

fn keys_path(secret: &ObjectKey) -> String {
    format!("{}/keys", object_path(secret))
}

/// One line for each key.
fn keys_table(secrets: &[Object], now: DateTime<Utc>) -> Table {
    let mut table = Table::new(&["NAMESPACE", "NAME", "KEY", "VERSION", "AGE", "USED-BY"]);
    for secret in secrets {
        let status = secret_status_of(secret);
        let users = output::users_of(&status);
        let row = |key: &str, version: &str, age: String| {
            let namespace = secret.metadata.namespace.clone().unwrap_or_default();
            let name = secret.metadata.name.clone();
            vec![namespace, name, key.to_owned(), version.to_owned(), age, users.clone()]
        };
        if status.keys.is_empty() {
            table.push(row("-", "-", age(now - secret.metadata.creation_timestamp)));
        }
        for key in &status.keys {
            table.push(row(&key.name, &key.version.to_string(), age(now - key.written_at)));
        }
    }
    table
}

#[cfg(test)]
mod tests;
