use std::io::Write as _;
use std::net::TcpStream;

use rmcp::ClientHandler;
use rmcp::model::{
    CallToolRequestParams, ClientRequest, ErrorCode, PingRequest, ProgressNotificationParam, ServerResult,
    SubscriptionFilter,
};
use rmcp::service::{NotificationContext, PeerRequestOptions, RoleClient, ServiceError};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use crate::rig::{ERAS, Era, PATIENCE, Rig, TOKEN, server};

fn call(tool: &str, arguments: Value) -> CallToolRequestParams {
    let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
    CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments)
}

fn text(result: &rmcp::model::CallToolResult) -> String {
    result.content.first().and_then(|block| block.as_text()).map(|text| text.text.clone()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_both_eras_use_servers_of_both_eras() {
    let rig = Rig::start(&[server("old"), server("new")]);
    let _bridges = [
        rig.bridge("old", &["--tools", "echo,one,two", "--page", "2"]),
        rig.bridge("new", &["--era", "modern", "--tools", "say"]),
    ];
    for name in ["old", "new"] {
        let report = rig.running(name);
        assert_eq!(report.server_info.as_deref(), Some("scripted 1.2.3"), "{report:?}");
        assert!(report.tools_digest.unwrap().starts_with("sha256:"));
    }
    for era in ERAS {
        let client = rig.client((), TOKEN, era).await.unwrap();
        let info = client.peer_info().unwrap();
        let info = info.server_info.as_ref().unwrap();
        assert_eq!((&*info.name, info.title.as_deref()), ("bowline-gateway", Some("u1/default")), "{era:?}");
        let tools = client.list_all_tools().await.unwrap();
        let names: Vec<_> = tools.iter().map(|tool| &*tool.name).collect();
        assert_eq!(names, ["echo", "one", "two", "say"], "{era:?}");
        let said = client.call_tool(call("say", json!({}))).await.unwrap();
        assert_eq!(text(&said), "say", "{era:?}");
        let echoed = client.call_tool(call("echo", json!({"a": [1, null]}))).await.unwrap();
        assert_eq!(echoed.structured_content.unwrap()["arguments"], json!({"a": [1, null]}), "{era:?}");
        assert_eq!(echoed.meta.unwrap().get("example/answer"), Some(&json!(42)), "{era:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_servers_is_a_working_one() {
    let rig = Rig::start(&[]);
    for era in ERAS {
        let client = rig.client((), TOKEN, era).await.unwrap();
        assert_eq!(client.list_all_tools().await.unwrap(), [], "{era:?}");
        let error = client.call_tool(call("nothing", json!({}))).await.unwrap_err();
        let ServiceError::McpError(error) = error else { panic!("{era:?}: {error:?}") };
        assert_eq!(error.code, ErrorCode::INVALID_PARAMS, "{era:?}");
        assert_eq!(error.message, "unknown tool: nothing", "{era:?}");
    }
    let client = rig.client((), TOKEN, Era::Legacy).await.unwrap();
    let pong = client.send_request(ClientRequest::PingRequest(PingRequest::default())).await.unwrap();
    assert!(matches!(pong, ServerResult::EmptyResult(_)), "{pong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_good_token_gets_nowhere() {
    let rig = Rig::start(&[]);
    for era in ERAS {
        assert!(rig.client((), "wrong", era).await.is_err(), "{era:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_a_tool_and_of_the_protocol_come_through_as_they_are() {
    let rig = Rig::start(&[server("s")]);
    let _bridge = rig.bridge("s", &["--tools", "error,fail"]);
    rig.running("s");
    for era in ERAS {
        let client = rig.client((), TOKEN, era).await.unwrap();
        let result = client.call_tool(call("error", json!({}))).await.unwrap();
        assert_eq!((result.is_error, text(&result).as_str()), (Some(true), "did not work"), "{era:?}");
        let error = client.call_tool(call("fail", json!({}))).await.unwrap_err();
        let ServiceError::McpError(error) = error else { panic!("{era:?}: {error:?}") };
        assert_eq!((error.code.0, &*error.message), (-32050, "refused by the script"), "{era:?}");
        assert_eq!(error.data, Some(json!({"why": "asked"})), "{era:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_client_says_about_a_call_reaches_the_server_and_the_hop_does_not() {
    let rig = Rig::start(&[server("s")]);
    let _bridge = rig.bridge("s", &["--tools", "echo"]);
    rig.running("s");
    for era in ERAS {
        let client = rig.client((), TOKEN, era).await.unwrap();
        let mut params = call("echo", json!({}));
        params.meta.get_or_insert_default().insert("example/trace".into(), json!("t1"));
        let echoed = client.call_tool(params).await.unwrap();
        let meta = &echoed.structured_content.unwrap()["meta"];
        assert_eq!(meta["example/trace"], "t1", "{era:?}: {meta}");
        assert_eq!(meta["io.modelcontextprotocol/clientInfo"], Value::Null, "{era:?}: {meta}");
    }
}

/// Passes on what a client is told.
#[derive(Clone)]
struct Listener {
    progress: UnboundedSender<ProgressNotificationParam>,
    changes: UnboundedSender<()>,
}

impl ClientHandler for Listener {
    async fn on_progress(&self, params: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        let _ = self.progress.send(params);
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        let _ = self.changes.send(());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_reaches_the_client_under_its_own_token() {
    let rig = Rig::start(&[server("s")]);
    let _bridge = rig.bridge("s", &["--tools", "progress,echo"]);
    rig.running("s");
    for era in ERAS {
        let (progress, mut reported) = unbounded_channel();
        let (changes, _changed) = unbounded_channel();
        let client = rig.client(Listener { progress, changes }, TOKEN, era).await.unwrap();
        // So that the gateway's tokens and the client's are not the same numbers.
        client.call_tool(call("echo", json!({}))).await.unwrap();
        client.call_tool(call("echo", json!({}))).await.unwrap();
        let request =
            ClientRequest::CallToolRequest(rmcp::model::CallToolRequest::new(call("progress", json!({}))));
        let handle =
            client.send_cancellable_request(request, PeerRequestOptions::no_options()).await.unwrap();
        let token = handle.progress_token.clone();
        handle.await_response().await.unwrap();
        let told = timeout(PATIENCE, reported.recv()).await.unwrap().unwrap();
        assert_eq!((told.progress_token, told.message.as_deref()), (token, Some("half")), "{era:?}");
    }
}

#[test]
fn a_flood_of_progress_that_a_client_does_not_read_ends_with_the_time_of_the_call() {
    let rig = Rig::start_with(&[server("s")], &["--call-timeout", "3"]);
    let _bridge = rig.bridge("s", &["--tools", "flood"]);
    rig.running("s");
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\nAccept: application/json, text/event-stream"
    );
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"}});
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
    let opened = rig.http(&head, &initialize.to_string());
    let session = opened.head.lines().find(|line| line.starts_with("mcp-session-id")).unwrap();
    let head = format!("{head}\r\n{session}");
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(rig.http(&head, &initialized.to_string()).status, 202);

    let params = json!({"name": "flood", "arguments": {}, "_meta": {"progressToken": 1}});
    let call = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}).to_string();
    let mut unread = TcpStream::connect(rig.address).unwrap();
    write!(unread, "{head}\r\nContent-Length: {}\r\n\r\n{call}", call.len()).unwrap();
    let line = rig.gateway.logged("tool called");
    assert!(line.contains(r#""outcome":"late""#), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_the_client_gives_up_is_cancelled_at_the_server() {
    let rig = Rig::start(&[server("s")]);
    let _bridge = rig.bridge("s", &["--tools", "slow,cancelled,echo"]);
    rig.running("s");
    for (before, era) in ERAS.into_iter().enumerate() {
        let client = rig.client((), TOKEN, era).await.unwrap();
        let request =
            ClientRequest::CallToolRequest(rmcp::model::CallToolRequest::new(call("slow", json!({}))));
        let handle =
            client.send_cancellable_request(request, PeerRequestOptions::no_options()).await.unwrap();
        // Answered after the slow call has reached the server, whose input is in order.
        client.call_tool(call("echo", json!({}))).await.unwrap();
        handle.cancel(Some("enough".into())).await.unwrap();
        let cancelled = async {
            loop {
                let said = client.call_tool(call("cancelled", json!({}))).await.unwrap();
                let ids: Vec<Value> = serde_json::from_str(&text(&said)).unwrap();
                if ids.len() > before {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, cancelled).await.unwrap_or_else(|_| panic!("{era:?}: nothing was cancelled"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_many_clients_run_at_once() {
    let rig = Rig::start(&[server("s")]);
    let _bridge = rig.bridge("s", &["--tools", "slow,echo"]);
    rig.running("s");
    let stuck = rig.client((), TOKEN, Era::Modern).await.unwrap();
    let stuck = tokio::spawn(async move { stuck.call_tool(call("slow", json!({}))).await });
    let clients = (0..8).map(|number| {
        let rig = &rig;
        async move {
            let client = rig.client((), TOKEN, ERAS[number % 2]).await.unwrap();
            let echoed = client.call_tool(call("echo", json!({"number": number}))).await.unwrap();
            assert_eq!(echoed.structured_content.unwrap()["arguments"]["number"], json!(number));
        }
    });
    timeout(PATIENCE, futures::future::join_all(clients)).await.unwrap();
    stuck.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_both_eras_hear_of_a_changed_list() {
    let rig = Rig::start(&[server("s")]);
    let _bridge = rig.bridge("s", &["--tools", "grow"]);
    rig.running("s");
    let (progress, _reported) = unbounded_channel();
    let (changes, mut changed) = unbounded_channel();
    let legacy = rig.client(Listener { progress, changes }, TOKEN, Era::Legacy).await.unwrap();
    let modern = rig.client((), TOKEN, Era::Modern).await.unwrap();
    let filter = SubscriptionFilter::builder().tools_list_changed().build();
    let mut subscription = modern.listen(filter).await.unwrap();
    legacy.call_tool(call("grow", json!({}))).await.unwrap();
    timeout(PATIENCE, changed.recv()).await.unwrap().unwrap();
    let told = timeout(PATIENCE, subscription.next()).await.unwrap().unwrap();
    assert!(told.is_some(), "{:?}", subscription.end());
    for client in [legacy.peer(), modern.peer()] {
        let tools = client.list_all_tools().await.unwrap();
        assert!(tools.iter().any(|tool| tool.name == "grown"), "{tools:?}");
    }
}
