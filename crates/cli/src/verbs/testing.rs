//! An API for the tests of verbs that gives fixed answers.

use std::io;
use std::path::Path;

use bowline_api::wire::{Bookmark, WatchEvent};
use serde::Serialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// What is told of a request such as `GET /v1/gateways`: status and body.
pub(super) type Answer = (u16, Value);

/// Listens on a socket in a directory of its own until the test's runtime ends.
pub(super) struct FakeApi {
    home: TempDir,
}

impl FakeApi {
    /// An API that answers each request by its method and path.
    pub(super) fn answering(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        Self::hearing(move |request, _body| answer(request))
    }

    /// An API that answers each request by its method and path, and by its body.
    pub(super) fn hearing(answer: impl Fn(&str, &str) -> Answer + Send + Sync + 'static) -> Self {
        let home = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(home.path().join("api.sock")).unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that hangs up early is its own test's matter.
                let _ = exchange(stream, &answer).await;
            }
        });
        FakeApi { home }
    }

    /// `bowline` with these words, sent here.
    pub(super) fn command(&self, line: &str) -> crate::args::Command {
        let socket = self.home.path().join("api.sock");
        let words = line.split_whitespace().chain(["--server", path(&socket)]);
        crate::args::tests::parse(&words.collect::<Vec<_>>()).unwrap()
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Reads one request and answers it.
async fn exchange(stream: UnixStream, answer: &(impl Fn(&str, &str) -> Answer + Sync)) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut first = String::new();
    stream.read_line(&mut first).await?;
    let mut line = String::new();
    let mut length = 0;
    while stream.read_line(&mut line).await? > 2 {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let body = String::from_utf8(body).unwrap();
    let (status, body) = answer(first.trim_end().trim_end_matches(" HTTP/1.1"), &body);
    // A watch is read line by line; the line's end harms no other answer.
    let text = format!(
        "HTTP/1.1 {status} Said\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}\n",
        body.to_string().len() + 1
    );
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

/// A good answer.
pub(super) fn ok(body: impl Serialize) -> Answer {
    (200, serde_json::to_value(body).unwrap())
}

/// A refusal.
pub(super) fn refused(status: u16, detail: &str) -> Answer {
    (status, json!({ "type": "tag:test", "title": "Refused", "status": status, "detail": detail }))
}

/// A watch of a world in which nothing is.
pub(super) fn nothing_to_watch() -> Answer {
    ok(WatchEvent::Bookmark(Bookmark { resource_version: 1 }))
}
