//! The MCP client's ends towards one server: the transport, which keeps the bridge's exit notification for
//! itself, and the handler of what the server sends by itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bowline_core::gateway_file::{EXIT_NOTIFICATION, ServerExit};
use rmcp::model::{
    ClientCapabilities, ClientConfig, Implementation, JsonRpcNotification, ProgressNotificationParam,
    ProgressToken, ProtocolVersion, ServerNotification,
};
use rmcp::service::{NotificationContext, RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::{ClientHandler, RoleClient};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tracing::warn;

use crate::plain::{plain, plain_exit};

/// Where the end of a process is written down by its link and read by its session.
pub(crate) type ExitSlot = Arc<Mutex<Option<ServerExit>>>;

/// Reports of one call that may wait for its client.
const MOST_REPORTS: usize = 64;

/// The way to one server: newline-delimited JSON-RPC over a bridge's connection, or HTTP to a remote server.
///
/// Two kinds of messages end here and not in the handler. The exit notification may come before the server has
/// answered `initialize`, when no handler runs yet. Progress must stay in order with the result that follows
/// it, and handlers run side by side.
pub(crate) struct Link<T> {
    transport: T,
    /// Only a bridge can tell the end of a process.
    exit: Option<ExitSlot>,
    progress: Arc<ProgressRoutes>,
}

/// Lines over a bridge's connection.
pub(crate) type Lines = AsyncRwTransport<RoleClient, OwnedReadHalf, OwnedWriteHalf>;

impl Link<Lines> {
    /// Speaks over the `connection` of a bridge; the end of the process goes to `exit`.
    pub(crate) fn bridged(connection: UnixStream, exit: ExitSlot) -> Self {
        let (read, write) = connection.into_split();
        let progress = Arc::default();
        Self { transport: AsyncRwTransport::new_client(read, write), exit: Some(exit), progress }
    }
}

impl<T> Link<T> {
    /// Speaks with a remote server.
    pub(crate) fn remote(transport: T) -> Self {
        Self { transport, exit: None, progress: Arc::default() }
    }

    /// Where reports of progress go.
    pub(crate) fn progress(&self) -> Arc<ProgressRoutes> {
        Arc::clone(&self.progress)
    }

    /// Takes a notification that ends here; gives back any other.
    fn take(&self, notification: ServerNotification) -> Option<ServerNotification> {
        match notification {
            ServerNotification::ProgressNotification(progress) => {
                self.progress.report(progress.params);
                None
            }
            ServerNotification::CustomNotification(custom) if custom.method == EXIT_NOTIFICATION => {
                let Some(slot) = &self.exit else {
                    return None;
                };
                match custom.params_as::<ServerExit>() {
                    Ok(exit) => {
                        let exit = exit.as_ref().map(plain_exit);
                        *slot.lock().unwrap_or_else(PoisonError::into_inner) = exit;
                    }
                    Err(error) => {
                        warn!(error = plain(&error.to_string()), "exit notification not understood");
                    }
                }
                None
            }
            other => Some(other),
        }
    }
}

impl<T: Transport<RoleClient>> Transport<RoleClient> for Link<T> {
    type Error = T::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), T::Error>> + Send + 'static {
        self.transport.send(item)
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            match self.transport.receive().await? {
                RxJsonRpcMessage::<RoleClient>::Notification(JsonRpcNotification {
                    jsonrpc,
                    notification,
                }) => {
                    if let Some(notification) = self.take(notification) {
                        return Some(RxJsonRpcMessage::<RoleClient>::Notification(JsonRpcNotification {
                            jsonrpc,
                            notification,
                        }));
                    }
                }
                other => return Some(other),
            }
        }
    }

    fn close(&mut self) -> impl Future<Output = Result<(), T::Error>> + Send {
        self.transport.close()
    }
}

/// Where the progress of each call goes, by the token that its server was given.
#[derive(Debug, Default)]
pub(crate) struct ProgressRoutes(Mutex<HashMap<ProgressToken, Sender<ProgressNotificationParam>>>);

/// What a server reports of one call.
pub(crate) struct Progress<'a> {
    routes: &'a ProgressRoutes,
    token: ProgressToken,
    reports: Receiver<ProgressNotificationParam>,
}

impl ProgressRoutes {
    /// Collects what is reported under `token`.
    pub(crate) fn open(&self, token: ProgressToken) -> Progress<'_> {
        let (sender, reports) = channel(MOST_REPORTS);
        self.lock().insert(token.clone(), sender);
        Progress { routes: self, token, reports }
    }

    fn report(&self, params: ProgressNotificationParam) {
        if let Some(sender) = self.lock().get(&params.progress_token) {
            // A client that reads more slowly than its server reports misses some, which progress may.
            let _ = sender.try_send(params);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ProgressToken, Sender<ProgressNotificationParam>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress<'_> {
    /// The next report; never the end.
    pub(crate) async fn next(&mut self) -> ProgressNotificationParam {
        match self.reports.recv().await {
            Some(report) => report,
            // The sender lives in the routes for as long as this does.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.routes.lock().remove(&self.token);
    }
}

/// What the gateway answers to a server that speaks by itself. It announces no client capability: no server
/// has reason to ask for sampling, roots or input.
#[derive(Debug, Clone, Default)]
pub(crate) struct Client {
    /// Notified when the server's tools are different.
    pub(crate) tools_changed: Arc<Notify>,
}

impl ClientHandler for Client {
    fn get_info(&self) -> ClientConfig {
        let program = Implementation::new(crate::PROGRAM, env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), program)
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.tools_changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_process_is_kept_in_the_form_in_which_a_bridge_tells_it() {
        let slot = ExitSlot::default();
        let link = Link { transport: (), exit: Some(Arc::clone(&slot)), progress: Arc::default() };
        let line = "x\u{1b}".repeat(10_000);
        let told = serde_json::json!({ "method": EXIT_NOTIFICATION,
            "params": { "code": 3, "stderr": vec![line; 1000] } });
        assert!(link.take(serde_json::from_value(told).unwrap()).is_none());
        let exit = slot.lock().unwrap().take().unwrap();
        assert_eq!((exit.code, exit.stderr.len()), (Some(3), 20));
        assert!(exit.stderr.iter().all(|line| line.len() <= 400 && !line.contains('\u{1b}')), "{exit:?}");
    }
}
