//! What MCP clients of both protocol eras get: the tools of all servers as those of one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, Implementation,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, SubscriptionFilter, Tool,
};
use rmcp::service::{NotificationContext, RequestContext, SubscriptionContext};
use rmcp::{Peer, RoleServer, ServerHandler};
use tracing::info;

use crate::PROGRAM;
use crate::gateway::Gateway;
use crate::plain::plain;
use crate::upstream::CallError;

/// For one notification to one client, whose stream may be stuck.
const NOTIFY_LIMIT: Duration = Duration::from_secs(5);

/// Answers one client, or one request of a client without a session. All of them share the gateway.
#[derive(Debug, Clone)]
pub struct Handler {
    gateway: Arc<Gateway>,
    audience: Arc<Audience>,
}

/// The clients with a session, who are told without asking when the tools are different. Clients of the newer
/// era ask by `subscriptions/listen` instead.
#[derive(Debug, Default)]
pub struct Audience(Mutex<Vec<Peer<RoleServer>>>);

impl Handler {
    /// Answers from `gateway`; clients with a session join `audience`.
    pub fn new(gateway: Arc<Gateway>, audience: Arc<Audience>) -> Self {
        Self { gateway, audience }
    }
}

impl Audience {
    /// Tells every member whenever the tools are different, for ever.
    pub async fn keep_informed(&self, gateway: &Gateway) {
        let mut editions = gateway.editions();
        while editions.changed().await.is_ok() {
            for peer in self.present() {
                // Each in a task of its own: a client that does not read delays no other.
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(NOTIFY_LIMIT, peer.notify_tool_list_changed()).await;
                });
            }
        }
    }

    fn join(&self, peer: Peer<RoleServer>) {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        peers.retain(|peer| !peer.is_transport_closed());
        peers.push(peer);
    }

    fn present(&self) -> Vec<Peer<RoleServer>> {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        peers.retain(|peer| !peer.is_transport_closed());
        peers.clone()
    }
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_tool_list_changed().build();
        let program = Implementation::new(PROGRAM, env!("CARGO_PKG_VERSION"))
            .with_title(self.gateway.file().gateway.clone());
        ServerConfig::new(capabilities).with_server_info(program)
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        self.audience.join(context.peer);
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let mut editions = self.gateway.editions();
        loop {
            tokio::select! {
                () = context.cancelled() => return Ok(()),
                changed = editions.changed() => if changed.is_err() { return Ok(()) },
            }
            if context.accepted().tools_list_changed == Some(true)
                && context.sink().notify_tool_list_changed().await.is_err()
            {
                return Ok(());
            }
        }
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.gateway.tools()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.gateway.tool(name)
    }

    /// What went wrong on the way is a result that is an error, which clients show to the model and the user;
    /// an error of the protocol is left for a name that is not offered, and for the server's own.
    async fn call_tool(
        &self,
        mut request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(route) = self.gateway.route(&request.name) else {
            return Err(ErrorData::invalid_params(format!("unknown tool: {}", request.name), None));
        };
        let since = Instant::now();
        request.name = route.tool.clone().into();
        let answer = route.upstream.call(request, &context).await;
        info!(
            server = route.upstream.server().name,
            tool = plain(&route.tool),
            outcome = outcome(&answer),
            duration_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
            "tool called"
        );
        match answer {
            Ok(response) => Ok(response),
            Err(CallError::Refused(error)) => Err(error),
            Err(error) => Ok(CallToolResult::error(vec![ContentBlock::text(error.to_string())]).into()),
        }
    }
}

/// One word for the log.
fn outcome(answer: &Result<CallToolResponse, CallError>) -> &'static str {
    match answer {
        Ok(CallToolResponse::Complete(result)) if result.is_error == Some(true) => "error",
        Ok(CallToolResponse::Complete(_)) => "ok",
        Ok(_) => "input_required",
        Err(error) => error.outcome(),
    }
}
