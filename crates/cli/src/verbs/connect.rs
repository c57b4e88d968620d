//! `connect`: a token for one MCP client, shown once, in that client's own configuration.

use super::token;
use crate::args::{ConnectArgs, deadline};
use crate::failure::Failure;
use crate::ui::Ui;

mod snippet;

use snippet::{Snippet, snippet};

/// Runs `connect`.
pub(crate) async fn run(args: ConnectArgs, ui: &mut Ui) -> Result<(), Failure> {
    let client = args.api.client()?;
    let key = &args.gateway.0;
    let created = token::mint(&client, key, &args.name, args.expires.map(|span| span.0)).await?;
    let url = match token::loaded(&client, key, created.revision, deadline(args.timeout)).await {
        Ok(url) => url,
        Err(failure) => {
            // A token that nobody was shown is of no use to anybody.
            if token::revoke_token(&client, key, &created.id).await.is_err() {
                ui.say(format_args!("warning: revoke the token: bowline token revoke {key} {}", created.id));
            }
            return Err(failure);
        }
    };
    let Snippet { text, place } = snippet(args.client, key, &url, &created.token)?;
    ui.out(text)?;
    ui.say(place);
    let end = match created.expires_at {
        Some(at) => format!("it ends {}", at.format("%Y-%m-%d %H:%M UTC")),
        None => "it does not expire".to_owned(),
    };
    ui.say(format_args!(
        "The token is shown this once; {end}. To revoke it: bowline token revoke {key} {}",
        created.id
    ));
    Ok(())
}
