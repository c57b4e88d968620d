use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::time::{Duration, Instant};

use bowline_core::gateway_file::{EXIT_NOTIFICATION, ServerExit};
use serde_json::Value;
use tempfile::TempDir;

use crate::rig::{PATIENCE, Process, bridge_command, eventually};

/// The gateway's side, played by hand.
struct Gateway {
    root: TempDir,
    listener: UnixListener,
}

impl Gateway {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(root.path().join("mcp.sock")).unwrap();
        Self { root, listener }
    }

    fn bridge(&self, change: impl FnOnce(&mut Command)) -> Process {
        let mut command = bridge_command(&self.root.path().join("mcp.sock"));
        change(&mut command);
        Process::start(&mut command)
    }

    fn shell(&self, script: &str) -> Process {
        self.bridge(|command| {
            command.args(["--", "/bin/sh", "-c", script]);
        })
    }

    fn accept(&self) -> UnixStream {
        let (connection, _) = self.listener.accept().unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        connection
    }

    /// Accepts a connection and starts the process behind it.
    fn claim(&self) -> UnixStream {
        let mut connection = self.accept();
        connection.write_all(b"first\n").unwrap();
        connection
    }
}

/// Everything up to the end of the connection, and the exit notification as its last line.
fn read_out(mut connection: UnixStream) -> (String, ServerExit) {
    let mut text = String::new();
    connection.read_to_string(&mut text).unwrap();
    let (output, last) = text.trim_end().rsplit_once('\n').unwrap();
    let message: Value = serde_json::from_str(last).unwrap();
    assert_eq!(message["method"], EXIT_NOTIFICATION);
    (output.trim_end().to_owned(), serde_json::from_value(message["params"].clone()).unwrap())
}

fn is_alive(pid: &str) -> bool {
    // A zombie has no command line.
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|text| !text.is_empty())
}

#[test]
fn nothing_is_started_before_the_first_byte_and_the_next_connection_comes_with_it() {
    let gateway = Gateway::new();
    let mark = gateway.root.path().join("started");
    let script = format!("echo started >> {}; cat", mark.display());
    let _bridge = gateway.shell(&script);
    let mut first = gateway.accept();
    assert!(!mark.exists());
    first.write_all(b"hello\n").unwrap();
    let mut line = String::new();
    BufReader::new(first.try_clone().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "hello\n");
    let mut second = gateway.accept();
    second.write_all(b"again\n").unwrap();
    line.clear();
    BufReader::new(second).read_line(&mut line).unwrap();
    assert_eq!(line, "again\n");
    assert_eq!(std::fs::read_to_string(mark).unwrap(), "started\nstarted\n");
}

#[test]
fn a_server_starts_with_no_signal_blocked() {
    let gateway = Gateway::new();
    let _bridge = gateway.shell("grep SigBlk /proc/self/status");
    assert_eq!(read_out(gateway.claim()).0, "SigBlk:\t0000000000000000");
}

#[test]
fn all_output_is_through_before_the_end_is_told() {
    let gateway = Gateway::new();
    let _bridge = gateway.shell("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; exit 7");
    let (output, exit) = read_out(gateway.claim());
    assert_eq!(output.lines().count(), 20_000);
    assert_eq!(output.lines().last(), Some("line 19999"));
    assert_eq!(exit, ServerExit { code: Some(7), signal: None, stderr: Vec::new() });
}

#[test]
fn the_last_lines_of_standard_error_are_told_and_all_are_logged() {
    let gateway = Gateway::new();
    let script = "i=0; while [ $i -lt 30 ]; do echo complaint $i >&2; i=$((i+1)); done; \
                  head -c 5000 /dev/zero | tr '\\0' x >&2; kill -9 $$";
    let bridge = gateway.shell(script);
    let (_, exit) = read_out(gateway.claim());
    assert_eq!((exit.code, exit.signal), (None, Some(9)));
    assert_eq!(exit.stderr.len(), 20);
    assert_eq!(exit.stderr[0], "complaint 11");
    assert_eq!(exit.stderr[19], "x".repeat(400));
    bridge.logged("complaint 0");
}

#[test]
fn secrets_reach_the_child_and_nobody_else_and_are_read_at_each_start() {
    let gateway = Gateway::new();
    let file = gateway.root.path().join("env");
    std::fs::write(&file, "SECRET=first=1\n").unwrap();
    let bridge = gateway.bridge(|command| {
        command.arg("--env-file").arg(&file).args(["--", "/bin/sh", "-c", "echo \"$SECRET\""]);
    });
    let first = gateway.claim();
    assert_eq!(read_out(first).0, "first=1");
    std::fs::write(&file, "SECRET=second\n").unwrap();
    assert_eq!(read_out(gateway.claim()).0, "second");
    match std::fs::read_to_string(format!("/proc/{}/environ", bridge.child.id())) {
        Ok(environment) => assert!(!environment.contains("SECRET"), "{environment:?}"),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied),
    }
    std::fs::remove_file(&file).unwrap();
    let (_, exit) = read_out(gateway.claim());
    assert_eq!(exit.code, Some(126));
    assert!(exit.stderr[0].contains("cannot read the secret file"), "{exit:?}");
}

#[test]
fn a_server_that_ignores_the_end_of_its_input_is_ended_with_its_whole_group() {
    let gateway = Gateway::new();
    let _bridge = gateway.shell("trap '' TERM; sleep 1000 & echo $$ $!; while :; do sleep 1000; done");
    let connection = gateway.claim();
    let mut line = String::new();
    BufReader::new(connection.try_clone().unwrap()).read_line(&mut line).unwrap();
    let since = Instant::now();
    drop(connection);
    for pid in line.split_whitespace() {
        eventually(|| if is_alive(pid) { Err(format!("{pid} is alive")) } else { Ok(()) });
    }
    assert!(since.elapsed() >= Duration::from_secs(5), "it had its grace");
}

#[test]
fn a_server_that_heeds_the_end_of_its_input_ends_at_once() {
    let gateway = Gateway::new();
    let bridge = gateway.shell("echo $$; cat >/dev/null; echo input ended >&2");
    let connection = gateway.claim();
    let mut pid = String::new();
    BufReader::new(connection.try_clone().unwrap()).read_line(&mut pid).unwrap();
    drop(connection);
    bridge.logged("input ended");
    eventually(|| if is_alive(pid.trim()) { Err("alive".into()) } else { Ok(()) });
}

#[test]
fn sigterm_ends_bridge_and_servers_within_a_second() {
    let stubborn = "trap '' TERM; echo $$; while :; do sleep 1000; done";
    for (script, limit) in [("echo $$; cat", 500), (stubborn, 1200)] {
        let gateway = Gateway::new();
        let mut bridge = gateway.shell(script);
        let connection = gateway.claim();
        let mut pid = String::new();
        BufReader::new(connection).read_line(&mut pid).unwrap();
        let (code, took) = bridge.terminate();
        assert_eq!(code, Some(0), "{script}");
        assert!(took < Duration::from_millis(limit), "{script}: {took:?}");
        eventually(|| if is_alive(pid.trim()) { Err("alive".into()) } else { Ok(()) });
    }
}

#[test]
fn an_idle_bridge_ends_at_sigterm_with_and_without_a_gateway() {
    let gateway = Gateway::new();
    let mut connected = gateway.shell("cat");
    let _unclaimed = gateway.accept();
    assert_eq!(connected.terminate().0, Some(0));
    let mut alone =
        Process::start(bridge_command(&gateway.root.path().join("absent.sock")).args(["--", "cat"]));
    alone.logged("the gateway is not there yet");
    assert_eq!(alone.terminate().0, Some(0));
}

#[test]
fn a_gateway_that_drops_the_unclaimed_connection_is_dialled_again() {
    let gateway = Gateway::new();
    let _bridge = gateway.shell("cat");
    drop(gateway.accept());
    let mut line = String::new();
    BufReader::new(gateway.claim()).read_line(&mut line).unwrap();
    assert_eq!(line, "first\n");
}

#[test]
fn arguments_that_are_no_order_are_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_bowline-bridge")).args(["--", "cat"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--socket is missing"), "{output:?}");
}
