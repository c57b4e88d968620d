//! Servers that run somewhere else, and tools that are not offered.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use bowline_tests::bowline::Bowline;
use bowline_tests::{figures, wait};
use serde_json::Value;

use crate::support::{
    LIGHT, PATIENCE, all_ready, call, catalog, docker, entry, gateway, members, server_state, starts,
};

/// A server on the official SDK, on the machine's own side of Docker's default network, where containers of any
/// network reach it.
struct Remote {
    process: Child,
    url: String,
}

impl Remote {
    fn start(transport: &str, port: &str) -> Self {
        let python =
            std::env::var_os("BOWLINE_SDK_PYTHON").expect("BOWLINE_SDK_PYTHON names a Python with the SDK");
        let format = "{{(index .IPAM.Config 0).Gateway}}";
        let address = docker(["network", "inspect", "bridge", "--format", format]).ok();
        let mut process = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/e2e/remote_server.py"))
            .args([transport, address.trim(), port])
            .stdout(Stdio::piped())
            .spawn()
            .expect("a Python");
        let mut url = String::new();
        let stdout = process.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut url).expect("the server says where it is");
        Self { process, url: url.trim().to_owned() }
    }

    fn port(&self) -> &str {
        self.url.split([':', '/']).nth(4).expect("a port")
    }

    fn entry(&self, transport: &str) -> String {
        let url = &self.url;
        format!(
            "{{ type: remote, prefix: {transport}, remote: {{ url: '{url}', transport_type: {transport}, headers: {{ \
             X-Team: blue }} }} }}"
        )
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

fn seen(bowline: &Bowline) -> Value {
    bowline.cli(["get", "gateway", "-n", "u1", "default", "-o", "json"]).json()
}

/// One server's status.
fn status(bowline: &Bowline, server: &str) -> Value {
    let gateway = seen(bowline);
    let servers = gateway["status"]["servers"].as_array().cloned().unwrap_or_default();
    servers.into_iter().find(|one| one["name"] == server).unwrap_or_default()
}

#[test]
fn remote_servers_of_both_transports_are_ready_without_a_container_and_dialled_again() {
    let mut bowline = Bowline::new().with("allow-private-remotes", "");
    bowline.start();
    let (new, old) = (Remote::start("http", "0"), Remote::start("sse", "0"));
    let entries = [
        ("new", new.entry("http")),
        ("old", old.entry("sse")),
        ("light", entry(LIGHT, "disableNetwork: true")),
    ];
    bowline.apply(&(catalog(&entries) + &gateway("u1", &["new", "old", "light"])));
    all_ready(&bowline, &["u1"]);
    let roles: Vec<_> = members(&bowline, "u1").into_keys().collect();
    assert_eq!(roles, ["gateway", "light"]);
    for tool in ["http__add", "sse__add"] {
        let sum = call(&bowline, "u1", tool, r#"{"a": 40, "b": 2}"#).ok();
        assert!(sum.contains("42"), "{tool}: {sum}");
    }
    assert_eq!(status(&bowline, "old")["tools"], 2);

    // The stream's end is noticed by itself; the gateway is not touched for it.
    let before = starts(&bowline, "u1");
    let port = old.port().to_owned();
    drop(old);
    let failed = || (server_state(&seen(&bowline), "old").0 == "Failed").then(|| status(&bowline, "old"));
    let (failed, noticed) = wait::until("the loss of a remote server is told", PATIENCE, failed);
    let why = failed["lastError"].as_str().unwrap_or_default().to_owned();
    assert!(why.contains("connect"), "{failed}");
    assert_eq!(server_state(&seen(&bowline), "new").0, "Running");
    let _old = Remote::start("sse", &port);
    let (_, back) = wait::until("it is dialled again", PATIENCE, || {
        (server_state(&seen(&bowline), "old").0 == "Running").then_some(())
    });
    assert!(call(&bowline, "u1", "sse__add", r#"{"a": 1, "b": 2}"#).ok().contains('3'));
    assert_eq!(starts(&bowline, "u1"), before);
    figures::note(
        "remote",
        &format!("a lost server told after {} ms, back after {} ms", noticed.as_millis(), back.as_millis()),
    );
}

#[test]
fn a_private_address_is_not_dialled_without_the_admins_word() {
    let mut bowline = Bowline::new();
    bowline.start();
    let remote = Remote::start("http", "0");
    let encrypted = remote.entry("http").replace("http://", "https://");
    let named = encrypted.replace(remote.url.split([':', '/']).nth(3).expect("a host"), "localhost");
    let entries = [("plain", remote.entry("http")), ("lan", encrypted), ("own", named)];
    bowline.apply(&(catalog(&entries) + &gateway("u1", &["plain", "lan", "own"])));
    let (reason, _) = wait::until("plain http is refused", PATIENCE, || {
        let (state, reason) = server_state(&seen(&bowline), "plain");
        (state == "Failed").then_some(reason)
    });
    assert_eq!(reason, "InsecureRemote");
    for server in ["lan", "own"] {
        let (failed, _) = wait::until("a private address is refused", PATIENCE, || {
            Some(status(&bowline, server)).filter(|status| status["state"] == "Failed")
        });
        let why = failed["lastError"].as_str().unwrap_or_default();
        assert!(why.contains("private address") && why.contains("--allow-private-remotes"), "{failed}");
    }
}

#[test]
fn a_filter_hides_a_tool_and_refuses_its_call_without_a_restart() {
    let mut bowline = Bowline::new();
    bowline.start();
    let catalog = catalog(&[("light", entry(LIGHT, "disableNetwork: true"))]);
    bowline.apply(&(catalog + &gateway("u1", &["light"])));
    all_ready(&bowline, &["u1"]);
    let pid = call(&bowline, "u1", "pid", "{}").ok();
    let before = starts(&bowline, "u1");
    assert_eq!(status(&bowline, "light")["tools"], 6);

    bowline.apply(&gateway("u1", &["{ name: light, tools: { allow: ['e*', pid], deny: [env] } }"]));
    let (_, took) =
        wait::until("fewer tools", PATIENCE, || (status(&bowline, "light")["tools"] == 3).then_some(()));
    let refused = call(&bowline, "u1", "env", "{}");
    assert!(!refused.status.success() && refused.stderr.contains("unknown tool"), "{refused:?}");
    assert_eq!(call(&bowline, "u1", "pid", "{}").ok(), pid, "the server's process is another one");
    let listed = bowline.cli(["tools", "u1"]).ok();
    assert!(listed.contains("echo") && !listed.contains("env"), "{listed}");
    assert_eq!(starts(&bowline, "u1"), before);
    figures::note("remote", &format!("a filter in force and told after {} ms", took.as_millis()));
}
