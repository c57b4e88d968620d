use bowline_core::gateway_file::{GATEWAY_FILE, ServerPhase, TOKENS_FILE};
use rmcp::model::{CallToolRequestParams, SubscriptionFilter};
use rmcp::service::SubscriptionEnd;
use tokio::time::timeout;

use crate::rig::{Era, PATIENCE, Rig, TOKEN, bridged, server, verifier};

async fn pid_of(client: &rmcp::Peer<rmcp::RoleClient>, tool: &str) -> String {
    let said = client.call_tool(CallToolRequestParams::new(tool.to_owned())).await.unwrap();
    said.content[0].as_text().unwrap().text.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_come_and_go_without_touching_the_others_or_the_clients() {
    let rig = Rig::start(&[server("a")]);
    let _a = rig.bridge("a", &["--tools", "pid"]);
    rig.running("a");
    let client = rig.client((), TOKEN, Era::Legacy).await.unwrap();
    let pid = pid_of(client.peer(), "pid").await;

    rig.edit(|file| file.servers.push(server("b")));
    let state = rig.reload();
    assert_eq!(state.config_revision, rig.revision());
    assert_eq!(state.servers[1].phase, ServerPhase::Starting);
    let _b = rig.bridge("b", &["--tools", "say"]);
    rig.running("b");
    let names = |tools: Vec<rmcp::model::Tool>| tools.into_iter().map(|tool| tool.name.to_string()).collect();
    let listed: Vec<String> = names(client.list_all_tools().await.unwrap());
    assert_eq!(listed, ["pid", "say"]);

    // A prefix concerns the names only: the process stays.
    rig.edit(|file| file.servers[0].prefix = Some("p".into()));
    rig.reload();
    assert_eq!(pid_of(client.peer(), "p__pid").await, pid);

    rig.edit(|file| file.servers.retain(|server| server.name == "a"));
    let state = rig.reload();
    assert_eq!(state.servers.len(), 1);
    assert!(!rig.socket_of("b").exists(), "the socket of a removed server stays");
    let listed: Vec<String> = names(client.list_all_tools().await.unwrap());
    assert_eq!(listed, ["p__pid"]);
    assert_eq!(pid_of(client.peer(), "p__pid").await, pid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_user_changes_is_connected_again() {
    let rig = Rig::start(&[server("a")]);
    let _a = rig.bridge("a", &["--tools", "say"]);
    rig.running("a");
    rig.edit(|file| file.servers = vec![bridged("a", rustix::process::getuid().as_raw() + 1)]);
    assert_eq!(rig.reload().servers[0].phase, ServerPhase::Starting);
    rig.gateway.logged("connection of another user refused");
    rig.edit(|file| file.servers = vec![server("a")]);
    rig.reload();
    rig.running("a");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_refused_at_once_and_its_streams_are_cut() {
    let rig = Rig::start(&[]);
    rig.edit_tokens(|tokens| tokens.push(verifier("two", "token-two", None)));
    assert_eq!(rig.reload().tokens_revision, 1);
    let kept = rig.client((), TOKEN, Era::Legacy).await.unwrap();
    let legacy = rig.client((), "token-two", Era::Legacy).await.unwrap();
    let modern = rig.client((), "token-two", Era::Modern).await.unwrap();
    let filter = SubscriptionFilter::builder().tools_list_changed().build();
    let mut subscription = modern.listen(filter).await.unwrap();

    rig.edit_tokens(|tokens| tokens.retain(|token| token.id != "two"));
    assert_eq!(rig.reload().tokens_revision, 2);
    let end = timeout(PATIENCE, subscription.next()).await.unwrap();
    assert!(!matches!(end, Ok(Some(_))), "{end:?}");
    assert!(!matches!(subscription.end(), Some(SubscriptionEnd::Graceful(_))), "{subscription:?}");
    assert!(legacy.list_all_tools().await.is_err());
    assert!(modern.list_all_tools().await.is_err());
    assert!(rig.client((), "token-two", Era::Modern).await.is_err());
    assert_eq!(kept.list_all_tools().await.unwrap(), []);
}

#[test]
fn an_invalid_file_is_refused_with_its_reason_and_changes_nothing() {
    let rig = Rig::start(&[server("a")]);
    let before = rig.state();
    let table = [
        (GATEWAY_FILE, "{", "EOF"),
        (GATEWAY_FILE, r#"{"revision":"x"}"#, "missing field"),
        (TOKENS_FILE, r#"{"revision":9,"tokens":[{"id":"t","sha256":"00"}]}"#, "64 hexadecimal digits"),
    ];
    for (name, text, reason) in table {
        let good = std::fs::read_to_string(rig.path("config").join(name)).unwrap();
        rig.write(name, text);
        let (status, body) = rig.control("POST", "/v1/reload");
        assert_eq!(status, 422, "{body}");
        assert!(body.contains(reason) && body.contains(name), "{body}");
        assert_eq!(rig.state(), before, "{name}");
        rig.write(name, &good);
    }
    rig.reload();
    assert_eq!(rig.control("GET", "/v1/reload").0, 405);
    assert_eq!(rig.control("GET", "/v1/other").0, 404);
}
