//! A real MCP client for `tools` and `call`, with a token of its own that lives for minutes.

use std::time::Duration;

use bowline_core::object::GatewayKey;
use rmcp::model::{ClientCapabilities, ClientConfig, Implementation, ProtocolVersion};
use rmcp::service::{RoleClient, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientLifecycleMode, ClientServiceExt};
use tokio::time::Instant;

use super::token;
use crate::client::Client;
use crate::failure::Failure;
use crate::ui::Ui;

/// Label of the tokens made here.
const LABEL: &str = "cli";
/// Life of the tokens made here: long enough for the slowest call, short enough when the revocation fails.
const LIFE: Duration = Duration::from_secs(600);
/// How long the gateway may take to accept the token.
const LOAD: Duration = Duration::from_secs(30);
/// How long the first exchange with the gateway may take.
const CONNECT: Duration = Duration::from_secs(30);

/// An open session with a gateway.
pub(crate) type Session = RunningService<RoleClient, ClientConfig>;

/// Opens a session, gives it to `with`, ends it and revokes its token, whatever `with` says.
pub(crate) async fn session<T>(
    client: &Client,
    key: &GatewayKey,
    ui: &mut Ui,
    with: impl AsyncFnOnce(&Session) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let created = token::mint(client, key, LABEL, Some(LIFE)).await?;
    let result = async {
        let url = token::loaded(client, key, created.revision, Instant::now() + LOAD).await?;
        let session = open(url, &created.token).await?;
        let result = with(&session).await;
        // The gateway ends what a client leaves behind; a farewell that fails is no failure of the verb.
        if let Err(error) = session.cancel().await {
            tracing::debug!(%error, "session not ended");
        }
        result
    }
    .await;
    if let Err(error) = token::revoke_token(client, key, &created.id).await {
        ui.say(format_args!(
            "warning: the token of this command was not revoked; it ends within ten minutes"
        ));
        tracing::debug!(?error, "token not revoked");
    }
    result
}

async fn open(url: String, token: &str) -> Result<Session, Failure> {
    // A proxy of the environment has no business between us and a gateway on this host.
    let http = reqwest::Client::builder()
        .no_proxy()
        .build()
        .map_err(|error| Failure::ours("cannot make an HTTP client").because(&error))?;
    let config = StreamableHttpClientTransportConfig::with_uri(url.as_str()).auth_header(token);
    let transport = StreamableHttpClientTransport::with_client(http, config);
    let lifecycle =
        ClientLifecycleMode::Auto { preferred_versions: vec![ProtocolVersion::LATEST], legacy_version: None };
    let me = ClientConfig::new(
        ClientCapabilities::default(),
        Implementation::new("bowline", env!("CARGO_PKG_VERSION")),
    );
    let failed = |message: &str| Failure::ours(format!("cannot speak MCP with {url}: {message}"));
    match tokio::time::timeout(CONNECT, me.serve_with_lifecycle(transport, lifecycle)).await {
        Ok(Ok(session)) => Ok(session),
        Ok(Err(error)) => Err(failed("the first exchange failed").because(&error)),
        Err(_elapsed) => Err(failed("no answer within 30 s")),
    }
}
