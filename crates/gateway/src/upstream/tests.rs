use bowline_core::gateway_file::GatewayState;
use rmcp::model::JsonObject;

use super::*;

/// What the controller reads of a gateway's answer.
const READ: usize = 1 << 20;
/// Servers of a gateway.
const MOST_SERVERS: usize = 256;

/// A server without an actor.
fn upstream(name: &str) -> Upstream {
    let place = ServerPlace::Bridge { directory: "d".into(), uid: 0 };
    let server = GatewayServer { name: name.into(), place, prefix: None, tools: ToolFilter::default() };
    let means = Means {
        sockets: PathBuf::new(),
        limits: Limits::default(),
        allow_private: false,
        changed: Arc::default(),
    };
    Upstream::without_actor(server, means)
}

fn exit(lines: usize, line: &str) -> ServerExit {
    ServerExit { code: Some(1), signal: None, stderr: vec![line.to_owned(); lines] }
}

#[test]
fn why_a_server_failed_is_told_in_one_short_line() {
    let upstream = upstream("s");
    upstream.failed(&"no\u{1b}[2J\n".repeat(1 << 20), None);
    let error = upstream.report(&ToolFilter::default(), 1).last_error.unwrap();
    assert!(error.message.len() <= 400 && error.message.starts_with("no\u{fffd}[2J no"), "{}", error.message);
}

#[test]
fn a_few_servers_tell_all_that_their_processes_wrote_at_the_end() {
    let upstream = upstream("s");
    let exit = exit(20, &"x".repeat(400));
    upstream.failed("it ended", Some(exit.clone()));
    let report = upstream.report(&ToolFilter::default(), 24);
    assert_eq!(report.last_error.unwrap().exit, Some(exit));
}

#[test]
fn of_many_servers_each_tells_the_last_lines() {
    let upstream = upstream("s");
    let mut exit = exit(20, &"x".repeat(400));
    exit.stderr[19] = "the last one".into();
    upstream.failed("it ended", Some(exit));
    let report = upstream.report(&ToolFilter::default(), MOST_SERVERS);
    let stderr = report.last_error.unwrap().exit.unwrap().stderr;
    assert_eq!((stderr.len(), &*stderr[1]), (2, "the last one"));
}

#[test]
fn the_state_of_the_most_servers_that_say_the_worst_is_read_by_the_controller() {
    // Each of its characters is two in JSON.
    let worst = plain(&"\\".repeat(1000));
    let upstream = upstream(&"n".repeat(63));
    upstream
        .offer((0..1000).map(|_| Tool::new(worst.clone(), worst.clone(), JsonObject::default())).collect());
    upstream.failed(&worst, Some(exit(20, &worst)));
    upstream.state().info = Some(worst);
    let report = upstream.report(&ToolFilter::default(), MOST_SERVERS);
    let state = GatewayState {
        version: env!("CARGO_PKG_VERSION").into(),
        config_revision: "r".repeat(64),
        tokens_revision: i64::MAX,
        servers: vec![report; MOST_SERVERS],
    };
    let length = serde_json::to_vec(&state).unwrap().len();
    assert!(length < READ, "{length} bytes");
    assert!(length > READ / 2, "{length} bytes: there is room for more of what the processes wrote");
}
