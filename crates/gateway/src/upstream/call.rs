//! One call of a tool: through the shared session to the server and back, with its progress, its
//! cancellation and its time limit.

use std::pin::pin;
use std::time::Duration;

use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CallToolResponse, CallToolResult, CancelledNotification,
    CancelledNotificationParam, ClientNotification, ClientRequest, ErrorData, ProgressNotificationParam,
    RequestId, RequestMetaObject, ResultType, ServerResult,
};
use rmcp::service::{PeerRequestOptions, RequestContext, ServiceError};
use rmcp::{Peer, RoleClient, RoleServer};

use super::run::remote_reason;
use super::{Session, Upstream};

/// For one report of progress to a client, whose stream may be stuck.
const REPORT_LIMIT: Duration = Duration::from_secs(5);
/// Entries of a request's `_meta` that belong to the hop between client and gateway, and not to the call.
const HOP_META: [&str; 5] = [
    "progressToken",
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/clientCapabilities",
    "io.modelcontextprotocol/logLevel",
];

/// Why a call has no result of its tool.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The server has no session now.
    #[error("server {server} is not available: {reason}")]
    Away {
        /// Registry key.
        server: String,
        /// Why, in one sentence.
        reason: String,
    },
    /// The session ended during the call. Whether the tool has done its work is unknown.
    #[error("server {server} ended during the call")]
    Lost {
        /// Registry key.
        server: String,
    },
    /// The call did not get through to a remote server, or its answer not back. Whether the tool has done its work
    /// is unknown.
    #[error("server {server} cannot be reached: {reason}")]
    Unreachable {
        /// Registry key.
        server: String,
        /// Why, in one sentence.
        reason: String,
    },
    /// The time limit was reached. The server has been told to stop.
    #[error("server {server} did not answer within {} s", limit.as_secs())]
    Late {
        /// Registry key.
        server: String,
        /// The limit.
        limit: Duration,
    },
    /// The client does not want the result any more. The server has been told to stop.
    #[error("the call was cancelled")]
    Cancelled,
    /// The server answered with an error of the protocol, which is passed on as it is.
    #[error("the server refused the call: {}", .0.message)]
    Refused(ErrorData),
    /// The answer is not one to a call of a tool.
    #[error("server {server} gave an answer that is none to a call")]
    Unexpected {
        /// Registry key.
        server: String,
    },
}

impl CallError {
    /// One word for the log.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Away { .. } => "away",
            Self::Lost { .. } => "lost",
            Self::Unreachable { .. } => "unreachable",
            Self::Late { .. } => "late",
            Self::Cancelled => "cancelled",
            Self::Refused(_) => "refused",
            Self::Unexpected { .. } => "unexpected",
        }
    }
}

impl Upstream {
    /// Calls a tool by the server's own name for it, on behalf of the client of `context`.
    ///
    /// # Errors
    /// When there is no result; a result that says of itself that it is an error is one.
    pub async fn call(
        &self,
        params: CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, CallError> {
        let server = || self.server.name.clone();
        let Session { peer, progress } = self.available()?;
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        let options = PeerRequestOptions::no_options().with_meta(passed_on(&context.meta));
        let sent = peer.send_cancellable_request(request, options).await;
        let mut handle = sent.map_err(|_| CallError::Lost { server: server() })?;
        let mut abandon = Abandon { peer, request: Some(handle.id.clone()) };
        let mut reports = progress.open(handle.progress_token.clone());
        let limit = self.means.limits.call;
        let mut given_up = pin!(async {
            tokio::select! {
                () = context.ct.cancelled() => CallError::Cancelled,
                () = tokio::time::sleep(limit) => CallError::Late { server: server(), limit },
            }
        });
        let answer = loop {
            let report = tokio::select! {
                // In this order: no flood of reports keeps a call from its end, and what was reported before the
                // answer is passed on before it.
                biased;
                why = &mut given_up => return Err(why),
                report = reports.next() => report,
                answer = &mut handle.rx => break answer,
            };
            tokio::select! {
                biased;
                why = &mut given_up => return Err(why),
                () = pass_on(report, context) => {}
            }
        };
        abandon.request = None;
        match answer {
            Ok(Ok(ServerResult::CallToolResult(mut result))) => {
                // Clients of the newer era insist on what servers of the older one do not send; for clients of
                // the older one it is taken away again.
                result.result_type.get_or_insert(ResultType::COMPLETE);
                Ok(CallToolResponse::Complete(result))
            }
            Ok(Ok(ServerResult::InputRequiredResult(result))) => Ok(CallToolResponse::InputRequired(result)),
            // A result without any content reads like the empty one.
            Ok(Ok(ServerResult::EmptyResult(_))) => Ok(CallToolResult::success(Vec::new()).into()),
            Ok(Ok(_) | Err(ServiceError::UnexpectedResponse)) => {
                Err(CallError::Unexpected { server: server() })
            }
            Ok(Err(ServiceError::McpError(error))) => Err(CallError::Refused(error)),
            Ok(Err(error @ ServiceError::TransportSend(_))) => match remote_reason(&error) {
                Some(reason) => {
                    self.doubt.notify_one();
                    Err(CallError::Unreachable { server: server(), reason })
                }
                None => Err(CallError::Lost { server: server() }),
            },
            Ok(Err(_)) | Err(_) => Err(CallError::Lost { server: server() }),
        }
    }

    fn available(&self) -> Result<Session, CallError> {
        let state = self.state();
        state.session.clone().ok_or_else(|| CallError::Away {
            server: self.server.name.clone(),
            reason: match &state.last_error {
                Some(error) => error.message.clone(),
                None => "it is starting".into(),
            },
        })
    }
}

/// Tells the client of a call's progress, under the token that the client gave, if it did.
async fn pass_on(mut report: ProgressNotificationParam, context: &RequestContext<RoleServer>) {
    let Some(token) = context.meta.get_progress_token() else {
        return;
    };
    report.progress_token = token;
    // A client that has gone cancels its call; that is not this notification's business.
    let _ = tokio::time::timeout(REPORT_LIMIT, context.peer.notify_progress(report)).await;
}

/// What the client said about the call itself: trace context and everything of its own.
fn passed_on(meta: &RequestMetaObject) -> RequestMetaObject {
    let mut meta = meta.clone();
    for entry in HOP_META {
        meta.0.0.remove(entry);
    }
    meta
}

/// Tells the server when nobody waits for a request any more, in whatever way that came about.
struct Abandon {
    peer: Peer<RoleClient>,
    request: Option<RequestId>,
}

impl Drop for Abandon {
    fn drop(&mut self) {
        let Some(request) = self.request.take() else {
            return;
        };
        let peer = self.peer.clone();
        let params =
            CancelledNotificationParam::new(Some(request), Some("nobody waits for the result".into()));
        tokio::spawn(async move {
            let notification = CancelledNotification::new(params);
            let _ = peer.send_notification(ClientNotification::CancelledNotification(notification)).await;
        });
    }
}
