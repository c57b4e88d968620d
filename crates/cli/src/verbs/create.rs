//! `create`: a gateway without a file. What exists already is never changed by it.

use std::collections::BTreeSet;

use bowline_api::wire::{ApplyResponse, Object, ObjectList};
use bowline_core::diagnostic::did_you_mean;
use bowline_core::names::{DEFAULT_GATEWAY, is_dns_label};
use bowline_core::object::{API_VERSION, Kind, ObjectKey};
use serde_json::{Value, json};

use super::wait;
use crate::args::{CreateCommand, CreateGatewayArgs, DocumentFormat};
use crate::client::{list_path, object_path, with_query};
use crate::failure::Failure;
use crate::output;
use crate::ui::Ui;

/// Runs `create`.
pub(crate) async fn run(command: CreateCommand, ui: &mut Ui) -> Result<(), Failure> {
    let CreateCommand::Gateway(args) = command;
    gateway(args, ui).await
}

async fn gateway(args: CreateGatewayArgs, ui: &mut Ui) -> Result<(), Failure> {
    let client = args.api.client()?;
    let key = key(&args)?;
    let catalogs = if args.catalogs.is_empty() {
        let list: ObjectList = client.get(&list_path(Kind::ClusterCatalog, None)).await?;
        catalogs_with(&list.items, &args.servers)?
    } else {
        args.catalogs.clone()
    };
    let declared = json!({
        "apiVersion": API_VERSION,
        "kind": Kind::Gateway.as_str(),
        "metadata": { "namespace": key.namespace, "name": key.name },
        "spec": { "catalogs": catalogs, "servers": args.servers },
    });
    let path = with_query(
        &list_path(Kind::Gateway, key.namespace.as_deref()),
        &[("managedBy", Some("cli".to_owned())), ("dryRun", args.dry_run.then(|| "true".to_owned()))],
    );
    // A dry run is judged as the creation would be.
    let response: ApplyResponse = client.post(&path, &declared).await?;
    for warning in &response.warnings {
        ui.say(warning);
    }
    match (args.output, args.dry_run) {
        (None, true) => ui.line(format_args!("{key} created (dry run)"))?,
        (None, false) => ui.line(format_args!("{key} created"))?,
        (Some(DocumentFormat::Name), _) => ui.line(&key)?,
        (Some(format), true) => ui.out(document(&declared, format)?)?,
        (Some(format), false) => {
            let created: Value = client.get(&object_path(&key)).await?;
            ui.out(document(&created, format)?)?;
        }
    }
    wait::when_asked(&client, &key, &args.waiting, None, ui).await
}

fn document(object: &Value, format: DocumentFormat) -> Result<String, Failure> {
    match format {
        DocumentFormat::Json => output::json(object),
        DocumentFormat::Yaml | DocumentFormat::Name => output::yaml(object),
    }
}

fn key(args: &CreateGatewayArgs) -> Result<ObjectKey, Failure> {
    let mut gateway = args.gateway.0.clone();
    if let Some(name) = &args.name {
        if !is_dns_label(name) {
            return Err(Failure::user(format!("{name:?} is no name: lower-case letters, digits and - only")));
        }
        if gateway.name != *name && gateway.name != DEFAULT_GATEWAY {
            return Err(Failure::user(format!(
                "the gateway is named twice: {:?} and {name:?}",
                gateway.name
            )));
        }
        gateway.name.clone_from(name);
    }
    Ok(ObjectKey::gateway(gateway.namespace, gateway.name))
}

/// The names of the catalogs that have one of these servers, in their order.
fn catalogs_with(catalogs: &[Object], servers: &[String]) -> Result<Vec<String>, Failure> {
    let has = |catalog: &Object, server: &str| {
        catalog.spec["registry"].as_object().is_some_and(|registry| registry.contains_key(server))
    };
    let missing: Vec<_> = servers
        .iter()
        .filter(|server| !catalogs.iter().any(|catalog| has(catalog, server)))
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        let hint = match catalogs {
            [] => "there is no ClusterCatalog; apply one first".to_owned(),
            catalogs => {
                let known: BTreeSet<_> = catalogs
                    .iter()
                    .flat_map(|catalog| catalog.spec["registry"].as_object().into_iter().flatten())
                    .map(|(server, _)| server.as_str())
                    .collect();
                let known: Vec<_> = known.into_iter().collect();
                let similar = missing.iter().find_map(|name| did_you_mean(name, known.iter().copied()));
                similar.unwrap_or_else(|| "bowline get clustercatalogs -o yaml".to_owned())
            }
        };
        return Err(Failure::user(format!("no ClusterCatalog has {}", missing.join(", "))).hint(hint));
    }
    let mut names: Vec<_> = catalogs
        .iter()
        .filter(|catalog| servers.iter().any(|server| has(catalog, server)))
        .map(|catalog| catalog.metadata.name.clone())
        .collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::samples;

    fn servers(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_catalogs_are_those_that_have_one_of_the_servers() {
        let base = samples::catalog();
        let mut other = base.clone();
        other.metadata.name = "another".to_owned();
        other.spec = json!({ "registry": { "time": {} } });
        let mut idle = other.clone();
        idle.metadata.name = "idle".to_owned();
        idle.spec = json!({ "registry": { "sqlite": {} } });
        let all = [base, idle, other];
        assert_eq!(catalogs_with(&all, &servers("time docs")).unwrap(), ["another", "base"]);
        assert_eq!(catalogs_with(&all, &servers("sqlite")).unwrap(), ["idle"]);
    }

    #[test]
    fn a_server_that_no_catalog_has_is_named() {
        let all = [samples::catalog()];
        let said = catalogs_with(&all, &servers("time tmie docz")).unwrap_err().to_string();
        assert!(
            said.contains("no ClusterCatalog has tmie, docz") && said.contains("hint: did you mean"),
            "{said}"
        );
        let said = catalogs_with(&[], &servers("time")).unwrap_err().to_string();
        assert!(said.contains("apply one first"), "{said}");
    }
}
