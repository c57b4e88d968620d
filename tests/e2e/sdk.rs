//! The official MCP SDK as a client that is none of ours, against two real servers behind one gateway.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::thread;
use std::time::Duration;

use bowline_tests::bowline::Bowline;
use bowline_tests::command::{Output, run};
use bowline_tests::wait;
use serde_json::{Value, json};

use crate::support::{PATIENCE, TIME, all_ready, catalog, entry, gateway, members};

const FETCH: &str = "localhost/mcp-server-fetch:latest";
const ERAS: [&str; 2] = ["legacy", "modern"];

/// The SDK's own client: `tests/sdk/client.py`.
fn sdk(url: &str, token: &str, era: &str, call: &[&str]) -> Output {
    let python =
        std::env::var_os("BOWLINE_SDK_PYTHON").expect("BOWLINE_SDK_PYTHON names a Python with the SDK");
    let mut command = Command::new(python);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/sdk/client.py"));
    command.args([url, token, era]).args(call);
    run(command, "", Duration::from_secs(90))
}

/// What `bowline connect` gives a client: the address, the token, and the token's id from what it says about it.
fn connect(bowline: &Bowline, label: &str) -> (String, String, String) {
    let output = bowline.cli(["connect", "u1", "--client", "generic", "--name", label]);
    let id = output.stderr.rsplit(' ').next().expect("words").trim().to_owned();
    let shown = output.json();
    let header = shown["headers"]["Authorization"].as_str().expect("a header");
    let token = header.strip_prefix("Bearer ").expect("a bearer token");
    assert!(token.starts_with("bow_"), "{token}");
    (shown["url"].as_str().expect("an address").to_owned(), token.to_owned(), id)
}

/// The HTTP status of a request with this token: the SDK says only that it was refused, not why.
fn http_status(url: &str, token: &str) -> String {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}"]);
    curl.args(["--header", &format!("Authorization: Bearer {token}"), url]);
    run(curl, "", Duration::from_secs(30)).ok()
}

/// Two real servers, one of them with a network.
fn bowline_with_two_servers() -> Bowline {
    let mut bowline = Bowline::new();
    bowline.start();
    let entries = [
        ("time", entry(TIME, "disableNetwork: true")),
        ("fetch", entry(FETCH, "command: [--allow-private-ips]")),
    ];
    bowline.apply(&(catalog(&entries) + &gateway("u1", &["time", "fetch"])));
    all_ready(&bowline, &["u1"]);
    bowline
}

/// A page for the fetch server, on the host's side of the server's own network. Answers until the process ends.
fn serve_page(address: &str) -> String {
    let listener = TcpListener::bind((address, 0)).expect("the host's address in the network");
    let url = format!("http://{}/page", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut request = [0; 2048];
            let length = stream.read(&mut request).expect("a request");
            let found = request[..length].starts_with(b"GET /page ");
            let (status, text) =
                if found { ("200 OK", "as tight as a bowline") } else { ("404 Not Found", "no") };
            let length = text.len();
            // A client that went away is its own affair.
            let _gone = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
            );
        }
    });
    url
}

#[test]
fn the_official_sdk_lists_and_calls_tools_of_both_eras() {
    let bowline = bowline_with_two_servers();
    let (url, token, _) = connect(&bowline, "sdk");
    let networks = &members(&bowline, "u1")["fetch"]["NetworkSettings"]["Networks"];
    let host = networks
        .as_object()
        .and_then(|networks| networks.values().next())
        .and_then(|network| network["Gateway"].as_str())
        .expect("the fetch server has a network");
    let page = serve_page(host);
    for era in ERAS {
        let time = json!({ "timezone": "Asia/Tokyo" }).to_string();
        let report = sdk(&url, &token, era, &["get_current_time", &time]).json();
        assert_eq!(report["tools"], json!(["convert_time", "fetch", "get_current_time"]), "{era}");
        let text = report["result"]["content"][0]["text"].as_str().expect("text");
        let answer: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(answer["timezone"], "Asia/Tokyo", "{era}");

        let report = sdk(&url, &token, era, &["fetch", &json!({ "url": page }).to_string()]).json();
        let text = report["result"]["content"][0]["text"].as_str().expect("text");
        assert!(text.contains("as tight as a bowline"), "{era}: {text}");
    }
}

#[test]
fn whoever_has_no_valid_token_is_refused_in_both_eras() {
    let bowline = bowline_with_two_servers();
    let (url, token, id) = connect(&bowline, "sdk");
    let (_, other, _) = connect(&bowline, "another");
    let (head, last) = token.split_at(token.len() - 1);
    let wrong = format!("{head}{}", if last == "x" { "y" } else { "x" });
    for era in ERAS {
        for (why, refused) in
            [("no token", ""), ("a wrong token", wrong.as_str()), ("no token of ours", "secret")]
        {
            sdk(&url, refused, era, &[]).fails_with(2);
            assert_eq!(http_status(&url, refused), "401", "{why}, {era}");
        }
        sdk(&url, &token, era, &[]).ok();
    }

    let listed = bowline.cli(["token", "list", "u1"]).ok();
    assert!(listed.contains(&id) && listed.contains("sdk"), "{listed}");
    assert!(!listed.contains(&token), "a token is shown once");
    bowline.cli(["token", "revoke", "u1", &id]).ok();
    wait::until_true("the gateway has heard of the revocation", PATIENCE, || {
        !sdk(&url, &token, "legacy", &[]).status.success()
    });
    for era in ERAS {
        sdk(&url, &token, era, &[]).fails_with(2);
        sdk(&url, &other, era, &[]).ok();
    }
    assert_eq!(http_status(&url, &token), "401");
}

#[test]
fn no_readable_token_is_stored_anywhere() {
    let mut bowline = Bowline::new();
    bowline.start();
    bowline.apply(&(catalog(&[]) + &gateway("u1", &[])));
    all_ready(&bowline, &["u1"]);
    let (_, token, _) = connect(&bowline, "laptop");
    bowline.stop();
    let secret = token.strip_prefix("bow_").expect("a token");
    for folder in [bowline.state_dir(), bowline.runtime_dir()] {
        let mut grep = Command::new("grep");
        grep.args([
            "--recursive",
            "--files-with-matches",
            "--text",
            "--devices=skip",
            "--fixed-strings",
            secret,
        ])
        .arg(folder);
        let output = run(grep, "", Duration::from_secs(60));
        assert_eq!((output.status.code(), output.stdout.as_str()), (Some(1), ""), "{output:?}");
    }
    for (role, seen) in members(&bowline, "u1") {
        assert!(!seen.to_string().contains(secret), "in docker inspect of {role}");
    }
}
