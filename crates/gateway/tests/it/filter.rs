use bowline_core::gateway_file::GatewayServer;
use bowline_core::tool_filter::ToolFilter;
use rmcp::ServiceError;
use rmcp::model::{CallToolRequestParams, SubscriptionFilter};
use tokio::time::timeout;

use crate::rig::{ERAS, Era, PATIENCE, Rig, TOKEN, server};

fn filter(text: &str) -> ToolFilter {
    serde_json::from_str(text).unwrap()
}

/// The protocol's error code and message of a call that was refused.
fn refusal(answer: Result<rmcp::model::CallToolResult, ServiceError>) -> (i32, String) {
    match answer {
        Err(ServiceError::McpError(error)) => (error.code.0, error.message.into_owned()),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_is_filtered_out_does_not_exist_for_anybody() {
    let filtered = GatewayServer { tools: filter(r#"{"allow":["e*","pid"],"deny":["env"]}"#), ..server("s") };
    let rig = Rig::start(&[filtered]);
    let _bridge = rig.bridge("s", &["--tools", "echo,env,error,pid,say"]);
    assert_eq!(rig.running("s").tools, 3);
    for era in ERAS {
        let client = rig.client((), TOKEN, era).await.unwrap();
        let listed: Vec<_> =
            client.list_all_tools().await.unwrap().into_iter().map(|tool| tool.name).collect();
        assert_eq!(listed, ["echo", "error", "pid"], "{era:?}");
        for name in ["env", "say", "nothing"] {
            // In the same words as a tool that the server does not have: nobody learns that it is there.
            let refusal = refusal(client.call_tool(CallToolRequestParams::new(name)).await);
            assert_eq!(refusal, (-32602, format!("unknown tool: {name}")), "{era:?}");
        }
        client.call_tool(CallToolRequestParams::new("pid")).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_filter_takes_effect_by_a_reload_and_clients_are_told() {
    let rig = Rig::start(&[server("s")]);
    let _bridge = rig.bridge("s", &["--tools", "pid,say"]);
    let before = rig.running("s");
    let client = rig.client((), TOKEN, Era::Modern).await.unwrap();
    let wanted = SubscriptionFilter::builder().tools_list_changed().build();
    let mut subscription = client.listen(wanted).await.unwrap();
    let pid = client.call_tool(CallToolRequestParams::new("pid")).await.unwrap();

    rig.edit(|file| file.servers[0].tools = filter(r#"{"deny":["say"]}"#));
    let state = rig.reload();
    assert_eq!(state.servers[0].tools, 1);
    assert_eq!(state.servers[0].tools_digest, before.tools_digest, "the server's own tools are the same");
    timeout(PATIENCE, subscription.next()).await.unwrap().expect("told of the change");
    let refused = refusal(client.call_tool(CallToolRequestParams::new("say")).await);
    assert_eq!(refused.1, "unknown tool: say");
    let again = client.call_tool(CallToolRequestParams::new("pid")).await.unwrap();
    assert_eq!(again.content, pid.content, "the server was started again");

    rig.edit(|file| file.servers[0].tools = filter(r#"{"allow":[]}"#));
    assert_eq!(rig.reload().servers[0].tools, 0);
    assert!(client.list_all_tools().await.unwrap().is_empty());
}

#[test]
fn what_is_filtered_out_collides_with_nothing() {
    let quiet = GatewayServer { tools: filter(r#"{"deny":["say"]}"#), ..server("a") };
    let rig = Rig::start(&[quiet, server("b")]);
    let _bridges = [rig.bridge("a", &["--tools", "say,only"]), rig.bridge("b", &["--tools", "say"])];
    rig.running("a");
    rig.running("b");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listed = runtime.block_on(async {
        let client = rig.client((), TOKEN, Era::Legacy).await.unwrap();
        client.list_all_tools().await.unwrap()
    });
    let listed: Vec<_> = listed.into_iter().map(|tool| tool.name).collect();
    assert_eq!(listed, ["only", "say"]);
}
