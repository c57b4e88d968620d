//! Against servers that mean no good, and over TLS. Each answers every request as its script says.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowline_core::catalog::{ServerEntry, remote_place};
use bowline_core::gateway_file::{RemotePlace, RemoteTransport};
use futures::StreamExt as _;
use rcgen::CertifiedKey;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::client::Answer;
use super::*;

mod answers;

/// What a server sends: text once, or one part again and again for ever.
#[derive(Clone)]
enum Script {
    Once(String),
    Endless(String, String),
}

impl From<String> for Script {
    fn from(text: String) -> Self {
        Self::Once(text)
    }
}

/// A server on loopback.
struct Server {
    url: String,
    /// The heads of all requests, in lower case.
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(script: impl Into<Script>) -> Self {
        Self::listen(script.into(), None).await
    }

    async fn listen(script: Script, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = match tls {
            Some(_) => format!("https://localhost:{port}/mcp"),
            None => format!("http://127.0.0.1:{port}/mcp"),
        };
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&heads);
        tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                let (script, seen, tls) = (script.clone(), Arc::clone(&seen), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => {
                            if let Ok(connection) = tls.accept(connection).await {
                                serve(connection, &script, &seen).await;
                            }
                        }
                        None => serve(connection, &script, &seen).await,
                    }
                });
            }
        });
        Self { url, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// Ends when the client has gone.
async fn serve(connection: impl AsyncRead + AsyncWrite + Unpin, script: &Script, heads: &Mutex<Vec<String>>) {
    let mut connection = BufReader::new(connection);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if !matches!(connection.read_line(&mut head).await, Ok(1..)) {
                return;
            }
        }
        let head = head.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        connection.read_exact(&mut body).await.unwrap();
        heads.lock().unwrap().push(head);
        match script {
            Script::Once(text) => connection.write_all(text.as_bytes()).await.unwrap(),
            Script::Endless(begin, part) => {
                connection.write_all(begin.as_bytes()).await.unwrap();
                while connection.write_all(part.as_bytes()).await.is_ok() {}
                return;
            }
        }
    }
}

fn redirect(status: u16, location: &str) -> String {
    format!("HTTP/1.1 {status} Elsewhere\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
}

fn ok(media_type: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n\r\n{body}")
}

const CAPS: Caps = Caps {
    connect: Duration::from_secs(10),
    answer: Duration::from_secs(10),
    stream: Duration::from_secs(10),
    idle: Duration::from_secs(10),
    body: 10_000,
    event: 10_000,
};

fn place(url: &str) -> RemotePlace {
    let headers = [("X-Key".to_owned(), "sesame".to_owned())].into();
    RemotePlace { url: url.into(), transport: RemoteTransport::StreamableHttp, headers }
}

fn client_with(url: &str, caps: Caps) -> HttpClient {
    HttpClient::new(&place(url), Dialer::new(true, caps.connect).unwrap(), caps).unwrap()
}

fn client(url: &str) -> HttpClient {
    client_with(url, CAPS)
}

async fn send(client: &HttpClient, method: hyper::Method) -> Result<Answer, RemoteError> {
    client.send(&method, client.uri(), &hyper::HeaderMap::new(), &bytes::Bytes::from_static(b"{}")).await
}

async fn post(client: &HttpClient) -> Result<Answer, RemoteError> {
    send(client, hyper::Method::POST).await
}

async fn refusal(url: &str) -> String {
    match post(&client(url)).await {
        Err(error) => error.to_string(),
        Ok(answer) => panic!("answered with {}", answer.response.status()),
    }
}

#[test]
fn every_url_that_a_catalog_may_have_can_be_dialled() {
    for byte in b'!'..=b'~' {
        let odd = char::from(byte);
        for url in [format!("https://a.example/a{odd}b"), format!("https://a.example/?a{odd}b")] {
            let entry = serde_json::json!({ "remote": { "url": url, "transport_type": "http" } });
            let entry = ServerEntry::from_json(&entry).unwrap();
            if let Ok(place) = remote_place(entry.fields()) {
                HttpClient::new(&place, Dialer::new(true, CAPS.connect).unwrap(), CAPS).expect(&url);
            }
        }
    }
}

#[tokio::test]
async fn declared_headers_go_to_the_declared_origin_only() {
    let away = Server::start(ok("application/json", "{}")).await;
    let home = Server::start(redirect(307, &away.url)).await;
    let answer = post(&client(&home.url)).await.unwrap();
    assert_eq!(answer.uri.to_string(), away.url);
    assert!(home.heads()[0].contains("x-key: sesame\r\n"), "{:?}", home.heads());
    assert!(!away.heads()[0].contains("x-key"), "{:?}", away.heads());
    assert!(away.heads()[0].starts_with("post /mcp http/1.1\r\n"), "{:?}", away.heads());
}

#[tokio::test]
async fn redirects_are_followed_three_times_with_their_headers_while_the_origin_is_the_same() {
    let round = Server::start(redirect(308, "/again")).await;
    assert_eq!(refusal(&round.url).await, "it redirects more than 3 times");
    let heads = round.heads();
    assert_eq!(heads.len(), 4);
    assert!(heads.iter().all(|head| head.contains("x-key: sesame\r\n")), "{heads:?}");
    assert!(heads[3].starts_with("post /again "), "{heads:?}");
}

#[tokio::test]
async fn every_hop_is_judged_anew() {
    for (location, says) in [
        ("http://169.254.169.254/latest/meta-data", "169.254.169.254, where no MCP server can be"),
        ("http://[fe80::1]/", "fe80::1, where no MCP server can be"),
        ("http://8.8.8.8/", "the public address 8.8.8.8, which is dialled with https only"),
        ("file:///etc/passwd", "it redirects to a place that is no http URL"),
        ("http://u:p@127.0.0.1/", "it redirects to a place that is no http URL"),
    ] {
        let server = Server::start(redirect(307, location)).await;
        let refused = refusal(&server.url).await;
        assert!(refused.contains(says), "{location}: {refused}");
    }
}

#[tokio::test]
async fn a_redirect_that_would_lose_the_body_is_refused_for_a_post_and_followed_for_a_stream() {
    let there = Server::start(ok("text/event-stream", "")).await;
    for status in [301, 302, 303] {
        let server = Server::start(redirect(status, &there.url)).await;
        let refused = refusal(&server.url).await;
        assert_eq!(refused, "it redirects a POST without its body; declare the URL that it leads to");
        send(&client(&server.url), hyper::Method::GET).await.unwrap();
    }
}

#[tokio::test]
async fn private_addresses_are_refused_by_name_and_by_number() {
    let server = Server::start(ok("application/json", "{}")).await;
    let port = server.url.split(':').nth(2).unwrap();
    for host in ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"] {
        let dialer = Dialer::new(false, CAPS.connect).unwrap();
        let closed = HttpClient::new(&place(&format!("http://{host}:{port}")), dialer, CAPS).unwrap();
        let refused = post(&closed).await.map(|answer| answer.uri).unwrap_err().to_string();
        assert!(refused.contains("the private address"), "{host}: {refused}");
    }
    assert!(server.heads().is_empty());
}

#[tokio::test]
async fn an_endless_answer_is_cut_at_its_cap() {
    let begin = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let part = format!("{:x}\r\n{}\r\n", 1000, "a".repeat(1000));
    let server = Server::start(Script::Endless(begin.into(), part)).await;
    let client = client(&server.url);
    let answer = post(&client).await.unwrap();
    let error = client.read(answer.response).await.unwrap_err();
    assert!(matches!(error, RemoteError::TooLarge(10_000)), "{error}");
}

#[tokio::test]
async fn headers_and_bodies_that_do_not_come_are_given_up() {
    let short = Duration::from_millis(100);
    let silent = Server::start(String::new()).await;
    let error =
        post(&client_with(&silent.url, Caps { answer: short, ..CAPS })).await.map(|answer| answer.uri);
    assert!(matches!(error, Err(RemoteError::Late(limit)) if limit == short), "{error:?}");

    let stalled = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".to_owned();
    let stalled = Server::start(stalled).await;
    let client = client_with(&stalled.url, Caps { idle: short, ..CAPS });
    let answer = post(&client).await.unwrap();
    let error = client.read(answer.response).await.unwrap_err();
    assert!(matches!(error, RemoteError::Stalled(limit) if limit == short), "{error}");
}

#[tokio::test]
async fn a_header_that_never_ends_is_given_up() {
    let begin = "HTTP/1.1 200 OK\r\nX-Long: ".to_owned();
    let server = Server::start(Script::Endless(begin, "a".repeat(1000))).await;
    let refused = refusal(&server.url).await;
    assert!(refused.starts_with("the connection broke: "), "{refused}");
}

#[tokio::test]
async fn an_event_beyond_its_cap_ends_the_session() {
    let begin = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: small\n\ndata: ".to_owned();
    let server = Server::start(Script::Endless(begin, "a".repeat(1000))).await;
    let client = client(&server.url);
    let mut events = client.events(post(&client).await.unwrap().response);
    assert_eq!(events.next().await.unwrap().unwrap().data.as_deref(), Some("small"));
    assert!(events.next().await.unwrap().is_err());
    let why = tokio::time::timeout(CAPS.answer, client.broken()).await.unwrap();
    assert!(matches!(why, RemoteError::TooLarge(10_000)), "{why}");
}

#[tokio::test]
async fn the_older_transport_sends_messages_to_its_own_origin_only() {
    let begin = |endpoint: &str| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
        format!("{head}event: endpoint\ndata: {endpoint}\n\n")
    };
    for endpoint in
        ["http://127.0.0.2/messages", "https://127.0.0.1/messages", "//169.254.169.254/", "file:///x"]
    {
        let server = Server::start(begin(endpoint)).await;
        let error = SseTransport::open(client(&server.url)).await.map(drop).unwrap_err();
        assert!(matches!(error, RemoteError::NoEndpoint), "{endpoint}: {error}");
    }
    let server = Server::start(begin("messages?session=1")).await;
    SseTransport::open(client(&server.url)).await.map(drop).unwrap();
    let other = Server::start(ok("text/event-stream", "data: hello\n\n")).await;
    let error = SseTransport::open(client(&other.url)).await.map(drop).unwrap_err();
    assert!(matches!(error, RemoteError::NoEndpoint), "{error}");
}

/// A server with a certificate for `localhost`, and the roots that trust it.
async fn encrypted(script: impl Into<Script>) -> (Server, RootCertStore) {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.into())
        .unwrap();
    (Server::listen(script.into(), Some(TlsAcceptor::from(Arc::new(config)))).await, roots)
}

#[tokio::test]
async fn a_server_is_who_its_certificate_says_or_is_not_spoken_to() {
    let (server, roots) = encrypted(ok("application/json", "{}")).await;
    let dialer = Dialer::trusting(roots.clone(), true, CAPS.connect).unwrap();
    let trusted = HttpClient::new(&place(&server.url), dialer.clone(), CAPS).unwrap();
    assert_eq!(post(&trusted).await.unwrap().response.status(), StatusCode::OK);

    // Unknown authority, and another name.
    let refused = refusal(&server.url).await;
    assert!(refused.starts_with("no TLS with localhost: "), "{refused}");
    let other = server.url.replace("localhost", "127.0.0.1");
    let other = HttpClient::new(&place(&other), dialer, CAPS).unwrap();
    let refused = post(&other).await.map(|answer| answer.uri).unwrap_err().to_string();
    assert!(refused.starts_with("no TLS with 127.0.0.1: "), "{refused}");
    assert_eq!(server.heads().len(), 1, "something was said before the certificate was judged");
}

#[tokio::test]
async fn nobody_is_led_from_https_to_http() {
    let plain = Server::start(ok("application/json", "{}")).await;
    let (server, roots) = encrypted(redirect(307, &plain.url)).await;
    let dialer = Dialer::trusting(roots, true, CAPS.connect).unwrap();
    let client = HttpClient::new(&place(&server.url), dialer, CAPS).unwrap();
    let refused = post(&client).await.map(|answer| answer.uri).unwrap_err().to_string();
    assert_eq!(refused, "it redirects from https to http; declare the URL that it leads to");
    assert!(plain.heads().is_empty());
}
