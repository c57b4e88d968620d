//! `restart` and `retry`: asks the controller for what no specification says.

use bowline_api::wire::{UnitRequest, UnitRequested};
use bowline_core::object::{GatewayKey, ObjectKey};

use super::wait;
use crate::args::{RestartCommand, RestartGatewayArgs, RestartServerArgs, RetryArgs, Waiting};
use crate::client::{Client, gateway_path};
use crate::failure::Failure;
use crate::target;
use crate::ui::Ui;

/// Runs `restart`.
pub(crate) async fn restart(command: RestartCommand, ui: &mut Ui) -> Result<(), Failure> {
    match command {
        RestartCommand::Gateway(RestartGatewayArgs { gateway, namespace, waiting, api }) => {
            let key = target::gateway(gateway.as_deref(), namespace.namespace.as_deref())?;
            let asked = Asked { verb: "restart", units: vec!["gateway".to_owned()], key };
            asked.send(&api.client()?, &waiting, ui).await
        }
        RestartCommand::Server(RestartServerArgs { words, namespace, gateway, waiting, api }) => {
            let (key, servers) = match namespace.namespace.as_deref() {
                Some(namespace) => (target::gateway(gateway.as_deref(), Some(namespace))?, words.as_slice()),
                None => {
                    let (first, servers) = words.split_at(1.min(words.len()));
                    (target::gateway(first.first().map(String::as_str), None)?, servers)
                }
            };
            if servers.is_empty() {
                let hint = format!("bowline restart server {}/{} SERVER", key.namespace, key.name);
                return Err(Failure::user("which server?").hint(hint));
            }
            let units = servers.iter().map(|server| format!("server:{server}")).collect();
            Asked { verb: "restart", units, key }.send(&api.client()?, &waiting, ui).await
        }
    }
}

/// Runs `retry`.
pub(crate) async fn retry(args: RetryArgs, ui: &mut Ui) -> Result<(), Failure> {
    let RetryArgs { gateway, namespace, waiting, api } = args;
    let key = target::gateway(gateway.as_deref(), namespace.namespace.as_deref())?;
    Asked { verb: "retry", units: vec!["*".to_owned()], key }.send(&api.client()?, &waiting, ui).await
}

/// What is asked of the units of a gateway.
struct Asked {
    verb: &'static str,
    units: Vec<String>,
    key: GatewayKey,
}

impl Asked {
    async fn send(self, client: &Client, waiting: &Waiting, ui: &mut Ui) -> Result<(), Failure> {
        let Asked { verb, units, key } = self;
        let path = format!("{}/{verb}", gateway_path(&key));
        let key = ObjectKey::gateway(key.namespace, key.name);
        let mut revision = 0;
        for unit in units {
            let server =
                unit.strip_prefix("server:").map(|server| format!(" server {server}")).unwrap_or_default();
            let noted: UnitRequested = client.post(&path, &UnitRequest { unit }).await?;
            revision = noted.revision;
            ui.line(format_args!("{key}{server} {verb} requested"))?;
        }
        wait::when_asked(client, &key, waiting, Some(revision), ui).await
    }
}
