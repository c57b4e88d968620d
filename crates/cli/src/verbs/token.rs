//! `token`, and the life of a token as other verbs need it.

use std::ops::ControlFlow;
use std::time::Duration;

use bowline_api::wire::{TokenCreated, TokenList, TokenRequest, TokenRevoked};
use bowline_core::object::{GatewayKey, Kind, ObjectKey};
use bowline_core::status::{ConditionStatus, ConditionType};
use chrono::Utc;
use tokio::time::Instant;

use super::follow::{Followed, Scope, follow};
use crate::args::{Format, TokenCommand, TokenListArgs, TokenRevokeArgs, describe};
use crate::client::{Client, RequestError, gateway_path};
use crate::failure::Failure;
use crate::output::{self, Table, status_of};
use crate::ui::Ui;

/// Runs `token`.
pub(crate) async fn run(command: TokenCommand, ui: &mut Ui) -> Result<(), Failure> {
    match command {
        TokenCommand::List(args) => list(args, ui).await,
        TokenCommand::Revoke(args) => revoke(args, ui).await,
    }
}

async fn list(args: TokenListArgs, ui: &mut Ui) -> Result<(), Failure> {
    let tokens: TokenList = args.api.client()?.get(&tokens_path(&args.gateway.0)).await?;
    match args.output {
        Format::Json => ui.out(output::json(&tokens)?),
        Format::Yaml => ui.out(output::yaml(&tokens)?),
        Format::Name => tokens.items.iter().try_for_each(|token| ui.line(&token.id)),
        Format::Table | Format::Wide if tokens.items.is_empty() => {
            ui.say("No tokens found");
            Ok(())
        }
        Format::Table | Format::Wide => {
            let now = Utc::now();
            let mut table = Table::new(&["ID", "LABEL", "AGE", "EXPIRES"]);
            for token in tokens.items {
                let expires = match token.expires_at {
                    None => "never".to_owned(),
                    Some(at) if at <= now => "expired".to_owned(),
                    Some(at) => format!("in {}", describe(at - now)),
                };
                table.push(vec![token.id, token.label, describe(now - token.created_at), expires]);
            }
            ui.out(table)
        }
    }
}

async fn revoke(args: TokenRevokeArgs, ui: &mut Ui) -> Result<(), Failure> {
    revoke_token(&args.api.client()?, &args.gateway.0, &args.id).await?;
    ui.line(format_args!("token/{} revoked", args.id))
}

fn tokens_path(key: &GatewayKey) -> String {
    format!("{}/tokens", gateway_path(key))
}

/// Makes a token.
pub(crate) async fn mint(
    client: &Client,
    key: &GatewayKey,
    label: &str,
    life: Option<Duration>,
) -> Result<TokenCreated, Failure> {
    let request = TokenRequest { label: label.to_owned(), ttl_seconds: life.map(|life| life.as_secs()) };
    Ok(client.post(&tokens_path(key), &request).await?)
}

/// Revokes a token.
pub(crate) async fn revoke_token(client: &Client, key: &GatewayKey, id: &str) -> Result<(), RequestError> {
    let path = format!("{}/{id}", tokens_path(key));
    client.delete::<TokenRevoked>(&path).await.map(|_| ())
}

/// Waits until the gateway has loaded this revision of its tokens and is available; gives its URL.
pub(crate) async fn loaded(
    client: &Client,
    key: &GatewayKey,
    revision: i64,
    deadline: Instant,
) -> Result<String, Failure> {
    let key = ObjectKey::gateway(&key.namespace, &key.name);
    let scope = Scope::of(Kind::Gateway, std::slice::from_ref(&key));
    let mut url = None;
    let mut why = "the API did not answer".to_owned();
    let followed = follow(client, &scope, Some(deadline), |world, _| {
        if !world.is_complete {
            return Ok(ControlFlow::Continue(()));
        }
        let Some(object) = world.objects.get(&key) else {
            return Err(Failure::user(format!("{key} does not exist")));
        };
        if object.metadata.deletion_timestamp.is_some() {
            return Err(Failure::user(format!("{key} is being deleted")));
        }
        // It answers nobody until somebody declares otherwise: there is nothing to wait for.
        if object.spec["suspend"] == true {
            return Err(Failure::user(format!("{key} is suspended")).hint("apply it with `suspend: false`"));
        }
        let status = status_of(object);
        let available = status.condition(ConditionType::Available);
        let answers = available.is_some_and(|condition| condition.status == ConditionStatus::True);
        why = match (&status.endpoint, available) {
            (Some(endpoint), _) if answers && status.tokens_revision >= revision => {
                url = Some(endpoint.url.clone());
                return Ok(ControlFlow::Break(()));
            }
            (Some(_), _) if answers => "the gateway has not loaded the token yet".to_owned(),
            (_, Some(condition)) => {
                format!("Available={} ({})", condition.status.as_str(), condition.reason)
            }
            (_, None) => "nothing is known of the gateway yet".to_owned(),
        };
        Ok(ControlFlow::Continue(()))
    })
    .await?;
    match (followed, url) {
        (Followed::Done, Some(url)) => Ok(url),
        _ => Err(Failure::user(format!("{key} does not accept the new token in time: {why}"))
            .hint(format!("bowline describe {key}"))),
    }
}
