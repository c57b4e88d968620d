//! Remote servers. The streamable ones are gateways themselves: real servers of that transport, which ask for a
//! header and whose tools are those of a script. The older transport is spoken by a script of this file.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use bowline_core::gateway_file::{RemoteTransport, ServerPhase, ServerPlace};
use rmcp::model::{CallToolRequestParams, CallToolResult};
use serde_json::{Value, json};

use crate::rig::{ERAS, Era, Rig, TOKEN, remote, server};

const HTTP: RemoteTransport = RemoteTransport::StreamableHttp;

fn text(result: &CallToolResult) -> String {
    result.content.first().and_then(|block| block.as_text()).map(|text| text.text.clone()).unwrap_or_default()
}

/// Why the last attempt failed.
fn failure(rig: &Rig, server: &str) -> String {
    let report = rig.until(server, |report| report.phase == ServerPhase::Failed);
    report.last_error.unwrap().message
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamable_server_is_dialled_and_its_tools_answer_to_clients_of_both_eras() {
    let far = Rig::start(&[server("s")]);
    let _bridge = far.bridge("s", &["--tools", "say,slow,grow"]);
    far.running("s");
    let near = Rig::start(&[remote("far", &far.url(), HTTP)]);
    let report = near.running("far");
    assert_eq!((report.tools, report.server_info.is_some()), (3, true));
    for era in ERAS {
        let client = near.client((), TOKEN, era).await.unwrap();
        let said = client.call_tool(CallToolRequestParams::new("say")).await.unwrap();
        assert_eq!(text(&said), "say", "{era:?}");
    }
    // Its own changes come over its stream of events, without anybody asking.
    let client = near.client((), TOKEN, Era::Legacy).await.unwrap();
    client.call_tool(CallToolRequestParams::new("grow")).await.unwrap();
    near.until("far", |report| report.tools == 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_server_that_goes_is_told_and_dialled_again() {
    let far = Rig::start(&[server("s")]);
    let bridge = far.bridge("s", &["--tools", "say"]);
    far.running("s");
    let address = far.address;
    let near = Rig::start(&[remote("far", &far.url(), HTTP)]);
    near.running("far");
    let client = near.client((), TOKEN, Era::Legacy).await.unwrap();
    drop((bridge, far));
    let answer = client.call_tool(CallToolRequestParams::new("say")).await.unwrap();
    assert_eq!(answer.is_error, Some(true));
    assert!(text(&answer).starts_with("server far "), "{}", text(&answer));
    let why = failure(&near, "far");
    assert!(why.contains("127.0.0.1") && why.contains("Connection refused"), "{why}");
    assert_eq!(near.report("far").tools, 1, "its tools stay listed while it is away");

    let far = Rig::start_at(address, &[server("s")]);
    let _bridge = far.bridge("s", &["--tools", "say"]);
    far.running("s");
    near.until("far", |report| report.phase == ServerPhase::Running && report.tools == 1);
    let said = client.call_tool(CallToolRequestParams::new("say")).await.unwrap();
    assert_eq!(text(&said), "say");
}

#[test]
fn why_a_server_cannot_be_dialled_is_its_state() {
    let far = Rig::start(&[]);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut wrong = remote("unauthorised", &far.url(), HTTP);
    let ServerPlace::Remote(place) = &mut wrong.place else { panic!("a remote one was made") };
    place.headers.clear();
    let near = Rig::start(&[
        wrong,
        remote("nobody", &format!("http://{nobody}/mcp"), HTTP),
        remote("metadata", "http://169.254.169.254/latest", HTTP),
        remote("nowhere", "https://no-such-name.invalid/mcp", HTTP),
        remote("elsewhere", &format!("http://{}/health", far.address), HTTP),
        remote("untold", "http://1.1.1.1/mcp", HTTP),
    ]);
    for (server, says) in [
        ("unauthorised", "it answered 401 Unauthorized: it wants credentials that its entry does not give"),
        ("nobody", "Connection refused"),
        ("metadata", "169.254.169.254 is at 169.254.169.254, where no MCP server can be"),
        ("nowhere", "cannot resolve no-such-name.invalid"),
        ("elsewhere", "it answered 4"),
        ("untold", "1.1.1.1 is at the public address 1.1.1.1, which is dialled with https only"),
    ] {
        let why = failure(&near, server);
        assert!(why.contains(says), "{server}: {why}");
    }
}

#[test]
fn private_addresses_are_dialled_only_where_the_admin_allows_it() {
    let far = Rig::start(&[]);
    let by_name = far.url().replace("127.0.0.1", "localhost");
    let near = Rig::start(&[]);
    near.edit(|file| {
        file.allow_private_remotes = false;
        file.servers = vec![remote("address", &far.url(), HTTP), remote("name", &by_name, HTTP)];
    });
    near.reload();
    for (server, host) in [("address", "127.0.0.1"), ("name", "localhost")] {
        let why = failure(&near, server);
        assert!(why.starts_with(&format!("{host} is at the private address ")), "{why}");
        assert!(why.contains("--allow-private-remotes"), "{why}");
    }
    near.edit(|file| file.allow_private_remotes = true);
    near.reload();
    near.running("address");
    near.running("name");
}

/// A server of the older transport with one tool, by hand.
struct SseServer {
    address: SocketAddr,
    /// The heads of all requests.
    heads: Arc<Mutex<Vec<String>>>,
    stream: Receiver<TcpStream>,
}

impl SseServer {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let (sender, stream) = channel();
        let (seen, events) = (Arc::clone(&heads), Arc::<Mutex<Option<TcpStream>>>::default());
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let (seen, events, sender) = (Arc::clone(&seen), Arc::clone(&events), sender.clone());
                thread::spawn(move || serve(connection, &seen, &events, &sender));
            }
        });
        Self { address, heads, stream }
    }
}

fn serve(
    connection: TcpStream,
    heads: &Mutex<Vec<String>>,
    events: &Mutex<Option<TcpStream>>,
    opened: &Sender<TcpStream>,
) {
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    let mut writer = connection;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if !matches!(reader.read_line(&mut head), Ok(1..)) {
                return;
            }
        }
        let head = head.to_ascii_lowercase();
        heads.lock().unwrap().push(head.clone());
        if head.starts_with("get /sse ") {
            let begin = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n\
                         : hello\n\nevent: endpoint\r\ndata: /messages?session=7\r\n\r\n";
            writer.write_all(begin.as_bytes()).unwrap();
            opened.send(writer.try_clone().unwrap()).unwrap();
            *events.lock().unwrap() = Some(writer);
            return;
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        assert!(head.starts_with("post /messages?session=7 "), "{head}");
        let message: Value = serde_json::from_slice(&body).unwrap();
        // As some servers do it: the answer to the message before the answer to the request.
        if let Some(result) = result(&message) {
            let answer = json!({ "jsonrpc": "2.0", "id": message["id"], "result": result });
            let mut events = events.lock().unwrap();
            let events = events.as_mut().unwrap();
            write!(events, "event: message\ndata: {answer}\n\n").unwrap();
        }
        writer.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 8\r\n\r\nAccepted").unwrap();
    }
}

fn result(message: &Value) -> Option<Value> {
    match message["method"].as_str()? {
        "initialize" => Some(json!({
            "protocolVersion": "2024-11-05",
            "capabilities": { "tools": {} },
            "serverInfo": { "name": "old", "version": "1" },
        })),
        "tools/list" => Some(json!({ "tools": [{ "name": "hail", "inputSchema": { "type": "object" } }] })),
        "tools/call" => Some(json!({ "content": [{ "type": "text", "text": "ahoy" }] })),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_the_older_transport_is_dialled_and_again_when_its_stream_ends() {
    let old = SseServer::start();
    let rig = Rig::start(&[remote("old", &format!("http://{}/sse", old.address), RemoteTransport::Sse)]);
    let report = rig.running("old");
    assert_eq!((report.tools, report.server_info.as_deref()), (1, Some("old 1")));
    let client = rig.client((), TOKEN, Era::Modern).await.unwrap();
    let said = client.call_tool(CallToolRequestParams::new("hail")).await.unwrap();
    assert_eq!(text(&said), "ahoy");
    for head in old.heads.lock().unwrap().iter() {
        assert!(head.contains("authorization: bearer token-one\r\n"), "{head}");
    }

    old.stream.recv().unwrap().shutdown(std::net::Shutdown::Both).unwrap();
    rig.until("old", |report| report.restarts == 1 && report.phase == ServerPhase::Running);
    let error = rig.report("old").last_error.unwrap();
    assert!(error.message.contains("connection"), "{}", error.message);
    let said = client.call_tool(CallToolRequestParams::new("hail")).await.unwrap();
    assert_eq!(text(&said), "ahoy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_becomes_remote_by_a_reload_without_a_word_to_the_others() {
    let far = Rig::start(&[server("s")]);
    let _far_bridge = far.bridge("s", &["--tools", "say"]);
    far.running("s");
    let near = Rig::start(&[server("a"), server("b")]);
    let _bridges = [near.bridge("a", &["--tools", "pid"]), near.bridge("b", &["--tools", "env"])];
    near.running("a");
    near.running("b");
    let client = near.client((), TOKEN, Era::Legacy).await.unwrap();
    let pid = client.call_tool(CallToolRequestParams::new("pid")).await.unwrap();

    near.edit(|file| file.servers[1] = remote("b", &far.url(), HTTP));
    near.reload();
    near.running("b");
    let said = client.call_tool(CallToolRequestParams::new("say")).await.unwrap();
    assert_eq!(text(&said), "say");
    let again = client.call_tool(CallToolRequestParams::new("pid")).await.unwrap();
    assert_eq!(again.content, pid.content);
    assert!(!near.socket_of("b").exists(), "the socket of the server that was stays");
}
