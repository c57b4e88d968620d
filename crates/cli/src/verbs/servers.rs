//! `enable` and `disable`: servers of a gateway, without a file.

use bowline_api::wire::{Object, Outcome};
use bowline_core::object::ObjectKey;
use serde_json::{Value, json};

use super::update::update;
use super::wait;
use crate::args::ServersArgs;
use crate::failure::Failure;
use crate::ui::Ui;

/// Runs `enable`.
pub(crate) async fn enable(args: ServersArgs, ui: &mut Ui) -> Result<(), Failure> {
    run(args, true, ui).await
}

/// Runs `disable`.
pub(crate) async fn disable(args: ServersArgs, ui: &mut Ui) -> Result<(), Failure> {
    run(args, false, ui).await
}

async fn run(args: ServersArgs, on: bool, ui: &mut Ui) -> Result<(), Failure> {
    let client = args.api.client()?;
    let key = ObjectKey::gateway(&args.gateway.0.namespace, &args.gateway.0.name);
    let mut changed = Vec::new();
    let outcome = update(&client, &key, ui, |object| {
        changed.clear();
        for server in &args.servers {
            changed.push(switch(object, server, on)?);
        }
        Ok(changed.contains(&true))
    })
    .await?;
    let word = if on { "enabled" } else { "disabled" };
    for (server, changed) in args.servers.iter().zip(changed) {
        match changed && outcome != Outcome::Unchanged {
            true => ui.line(format_args!("{key} server {server} {word}"))?,
            false => ui.line(format_args!("{key} server {server} unchanged"))?,
        }
    }
    wait::when_asked(&client, &key, &args.waiting, None, ui).await
}

/// Switches one server in the specification; `false` when it was so already. A server that is enabled and not
/// there is added.
fn switch(object: &mut Object, server: &str, on: bool) -> Result<bool, Failure> {
    let key = object.key();
    if object.spec.get("servers").is_none_or(Value::is_null) {
        object.spec["servers"] = json!([]);
    }
    let Some(servers) = object.spec["servers"].as_array_mut() else {
        return Err(Failure::ours(format!("cannot read the servers of {key}")));
    };
    let names =
        servers.iter().filter_map(|known| known["name"].as_str()).map(str::to_owned).collect::<Vec<_>>();
    let known = servers.iter_mut().find(|known| known["name"] == server).and_then(Value::as_object_mut);
    match known {
        Some(known) => {
            let was = known.get("enabled").and_then(Value::as_bool).unwrap_or(true);
            // What is enabled by default needs no word.
            if on {
                known.remove("enabled");
            } else {
                known.insert("enabled".to_owned(), Value::Bool(false));
            }
            Ok(was != on)
        }
        None if on => {
            servers.push(json!({ "name": server }));
            Ok(true)
        }
        None => {
            let hint = if names.is_empty() {
                "it has none".to_owned()
            } else {
                format!("it has {}", names.join(", "))
            };
            Err(Failure::user(format!("{key} has no server {server:?}")).hint(hint))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::samples;

    fn switched(server: &str, on: bool) -> (Result<bool, Failure>, Value) {
        let mut object = samples::gateway("u1", Value::Null);
        let changed = switch(&mut object, server, on);
        (changed, object.spec["servers"].clone())
    }

    #[test]
    fn a_server_is_switched_and_keeps_its_place() {
        let (changed, servers) = switched("time", false);
        assert_eq!(changed, Ok(true));
        assert_eq!(servers[0], json!({ "name": "time", "enabled": false }));
        let (changed, servers) = switched("old", true);
        assert_eq!(changed, Ok(true));
        assert_eq!(servers[2], json!({ "name": "old" }));
    }

    #[test]
    fn what_is_so_already_is_not_changed() {
        assert_eq!(switched("time", true).0, Ok(false));
        assert_eq!(switched("old", false).0, Ok(false));
    }

    #[test]
    fn a_server_is_added_by_enabling_and_not_by_disabling_it() {
        let (changed, servers) = switched("new", true);
        assert_eq!((changed, &servers[3]), (Ok(true), &json!({ "name": "new" })));
        let failure = switched("new", false).0.unwrap_err().to_string();
        assert!(failure.contains("hint: it has time, fetch, old"), "{failure}");
        let mut bare = samples::gateway("u1", Value::Null);
        bare.spec = json!({});
        assert_eq!(switch(&mut bare, "new", true), Ok(true));
        assert_eq!(bare.spec, json!({ "servers": [{ "name": "new" }] }));
    }
}
