use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bowline_core::gateway_file::{GatewayServer, ServerPhase};
use rmcp::model::{CallToolRequestParams, CallToolResult};

use crate::rig::{ERAS, Era, PATIENCE, Rig, TOKEN, bridged, server};

fn text(result: &CallToolResult) -> String {
    result.content.first().and_then(|block| block.as_text()).map(|text| text.text.clone()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_delays_nobody_and_is_given_up() {
    let rig = Rig::start_with(&[server("hang"), server("good")], &["--start-timeout", "2"]);
    let _bridges = [rig.bridge("hang", &["--hang"]), rig.bridge("good", &["--tools", "say"])];
    let since = Instant::now();
    rig.running("good");
    assert_eq!(rig.report("hang").phase, ServerPhase::Starting, "the other one did not hang meanwhile");
    let client = rig.client((), TOKEN, Era::Modern).await.unwrap();
    let said = client.call_tool(CallToolRequestParams::new("say")).await.unwrap();
    assert_eq!(text(&said), "say");
    let report = rig.until("hang", |report| report.last_error.is_some());
    assert_eq!(report.last_error.unwrap().message, "no answer within 2 s of the start");
    assert!(since.elapsed() >= Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_server_is_told_and_it_is_started_again() {
    let rig = Rig::start(&[server("s")]);
    let _bridge = rig.bridge("s", &["--tools", "die,say"]);
    let first = rig.running("s");
    assert_eq!((first.restarts, first.tools), (0, 2));
    let client = rig.client((), TOKEN, Era::Legacy).await.unwrap();
    let died = client.call_tool(CallToolRequestParams::new("die")).await.unwrap();
    assert_eq!(died.is_error, Some(true));
    assert_eq!(text(&died), "server s ended during the call");

    let report = rig.until("s", |report| report.phase == ServerPhase::Failed);
    let error = report.last_error.unwrap();
    let exit = error.exit.unwrap();
    assert_eq!(error.message, "its process ended with code 3");
    assert_eq!((exit.code, exit.signal), (Some(3), None));
    assert_eq!(exit.stderr, ["the script says: die"]);
    assert_eq!(report.tools, 2, "its tools stay listed while it is away");

    let again = rig.until("s", |report| report.phase == ServerPhase::Running);
    assert_eq!((again.restarts, again.tools_digest), (1, first.tools_digest));
    assert!(again.last_error.is_some(), "why it was away can still be read");
    let said = client.call_tool(CallToolRequestParams::new("say")).await.unwrap();
    assert_eq!(text(&said), "say");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_of_a_server_that_is_away_is_listed_and_says_why_it_cannot_be_called() {
    let rig = Rig::start(&[server("s")]);
    let mut bridge = rig.bridge("s", &["--tools", "say"]);
    rig.running("s");
    assert_eq!(bridge.terminate().0, Some(0));
    rig.until("s", |report| report.phase == ServerPhase::Failed);
    for era in ERAS {
        let client = rig.client((), TOKEN, era).await.unwrap();
        assert_eq!(client.list_all_tools().await.unwrap().len(), 1, "{era:?}");
        let answer = client.call_tool(CallToolRequestParams::new("say")).await.unwrap();
        assert_eq!(answer.is_error, Some(true), "{era:?}");
        assert!(text(&answer).starts_with("server s is not available: "), "{era:?}: {}", text(&answer));
    }
    let _bridge = rig.bridge("s", &["--tools", "say"]);
    rig.running("s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_beyond_its_time_ends_with_an_error() {
    let rig = Rig::start_with(&[server("s")], &["--call-timeout", "1"]);
    let _bridge = rig.bridge("s", &["--tools", "slow,cancelled"]);
    rig.running("s");
    let client = rig.client((), TOKEN, Era::Modern).await.unwrap();
    let late = client.call_tool(CallToolRequestParams::new("slow")).await.unwrap();
    assert_eq!((late.is_error, text(&late).as_str()), (Some(true), "server s did not answer within 1 s"));
    let said = client.call_tool(CallToolRequestParams::new("cancelled")).await.unwrap();
    assert_ne!(text(&said), "[]", "the server was not told");
}

#[test]
fn a_command_that_cannot_be_started_is_the_servers_state() {
    let rig = Rig::start(&[server("s")]);
    let mut command = crate::rig::bridge_command(&rig.socket_of("s"));
    command.args(["--", "/no/such/program"]);
    let _bridge = crate::rig::Process::start(&mut command);
    let error = rig.until("s", |report| report.last_error.is_some()).last_error.unwrap();
    assert_eq!(error.message, "its process ended with code 127");
    let exit = error.exit.unwrap();
    assert_eq!(exit.code, Some(127));
    assert!(exit.stderr[0].starts_with("cannot start /no/such/program: No such file"), "{exit:?}");
}

#[test]
fn a_list_of_tools_that_goes_beyond_all_measure_is_why_a_server_failed() {
    let rig = Rig::start(&[server("most"), server("many"), server("large")]);
    let _bridges = [
        rig.bridge("most", &["--count", "4096", "--page", "1000"]),
        rig.bridge("many", &["--count", "4097", "--page", "1000"]),
        rig.bridge("large", &["--count", "90", "--padding", "100000", "--page", "10"]),
    ];
    assert_eq!(rig.running("most").tools, 4096);
    for (server, says) in
        [("many", "it lists more than 4096 tools"), ("large", "its list of tools is larger than 8 MiB")]
    {
        let report = rig.until(server, |report| report.last_error.is_some());
        assert_eq!((report.last_error.unwrap().message.as_str(), report.tools), (says, 0));
    }
}

#[test]
fn what_a_server_says_of_itself_is_told_in_one_short_line() {
    let rig = Rig::start(&[server("s")]);
    let _bridge = rig.bridge("s", &["--version", &format!("1\u{1b}[2J\n{}", "9".repeat(100_000))]);
    let info = rig.running("s").server_info.unwrap();
    assert!(info.starts_with("scripted 1\u{fffd}[2J 999") && info.len() <= 400, "{info}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_tools_are_always_different_is_listed_at_most_once_a_second() {
    let rig = Rig::start(&[server("s")]);
    let _bridge = rig.bridge("s", &["--tools", "listings", "--restless"]);
    rig.running("s");
    let client = rig.client((), TOKEN, Era::Legacy).await.unwrap();
    let listings = async || -> u32 {
        let said = client.call_tool(CallToolRequestParams::new("listings")).await.unwrap();
        text(&said).parse().unwrap()
    };
    let (since, before) = (Instant::now(), listings().await);
    let until = since + PATIENCE;
    let after = loop {
        let after = listings().await;
        // Two later ones: the first of them may be due at once.
        if after >= before + 2 {
            break after;
        }
        assert!(Instant::now() < until, "never listed again");
    };
    let seconds = since.elapsed().as_secs_f64();
    assert!(f64::from(after - before) <= seconds + 1.0, "{} listings in {seconds} s", after - before);
}

#[test]
fn a_server_without_tools_is_a_running_one() {
    let rig = Rig::start(&[server("s")]);
    let _bridge = rig.bridge("s", &[]);
    assert_eq!(rig.running("s").tools, 0);
}

#[test]
fn a_peer_of_another_user_is_turned_away() {
    let other = bridged("s", rustix::process::getuid().as_raw() + 1);
    let rig = Rig::start(&[other]);
    crate::rig::eventually(|| rig.socket_of("s").exists().then_some(()).ok_or("no socket".into()));
    let mut peer = UnixStream::connect(rig.socket_of("s")).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(peer.read(&mut [0]).unwrap(), 0, "the connection was not closed");
    rig.gateway.logged("connection of another user refused");
    assert_eq!(rig.report("s").phase, ServerPhase::Starting);
}

#[test]
fn a_bridge_that_comes_again_after_the_gateway_restarted_finds_its_server() {
    let rig = Rig::start(&[server("s")]);
    let bridge = rig.bridge("s", &["--tools", "say"]);
    rig.running("s");
    // What a restarted bridge leaves behind: a connection that nobody answers any more.
    let mut stale = UnixStream::connect(rig.socket_of("s")).unwrap();
    stale.write_all(b"").unwrap();
    drop((stale, bridge));
    rig.until("s", |report| report.phase == ServerPhase::Failed);
    let _bridge = rig.bridge("s", &["--tools", "say"]);
    assert!(rig.running("s").restarts >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_that_collide_are_both_named_by_their_server_and_both_work() {
    let prefixed = GatewayServer { prefix: Some("pre".into()), ..server("c") };
    let rig = Rig::start(&[server("a"), server("b"), prefixed]);
    let _bridges = [
        rig.bridge("a", &["--tools", "say,only"]),
        rig.bridge("b", &["--tools", "say"]),
        rig.bridge("c", &["--tools", "say"]),
    ];
    for name in ["a", "b", "c"] {
        rig.running(name);
    }
    let client = rig.client((), TOKEN, Era::Modern).await.unwrap();
    let tools = client.list_all_tools().await.unwrap();
    let names: Vec<_> = tools.iter().map(|tool| tool.name.to_string()).collect();
    assert_eq!(names, ["a__say", "only", "b__say", "pre__say"]);
    for name in names {
        let said = client.call_tool(CallToolRequestParams::new(name.clone())).await.unwrap();
        assert_eq!(
            text(&said),
            name.rsplit("__").next().unwrap(),
            "the server sees its own name for the tool"
        );
    }
}

#[test]
fn sigterm_ends_the_gateway_at_once_with_a_server_and_without() {
    let mut rig = Rig::start(&[server("s"), server("hang")]);
    let _bridges = [rig.bridge("s", &["--tools", "say"]), rig.bridge("hang", &["--hang"])];
    rig.running("s");
    let (code, took) = rig.gateway.terminate();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(1), "{took:?}");
}
