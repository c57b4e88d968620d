use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::*;

/// An upstream that answers each connection with what `answer` writes after the head of the request was read.
fn upstream(answer: impl Fn(&str, &mut BufReader<StdStream>) + Send + Sync + 'static) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let listener = StdListener::bind(folder.path().join("up.sock")).unwrap();
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || {
                let mut reader = BufReader::new(stream.unwrap());
                let first = read_head(&mut reader);
                answer(&first, &mut reader);
            });
        }
    });
    folder
}

/// Reads up to the empty line, and returns the first one.
fn read_head(reader: &mut BufReader<StdStream>) -> String {
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    let mut line = first.clone();
    while !line.trim().is_empty() {
        line.clear();
        reader.read_line(&mut line).unwrap();
    }
    first.trim().to_owned()
}

fn connect(proxy: &RecordingProxy) -> BufReader<StdStream> {
    let stream = StdStream::connect(proxy.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    BufReader::new(stream)
}

fn send(stream: &mut BufReader<StdStream>, line: &str, headers: &str) {
    write!(stream.get_mut(), "{line} HTTP/1.1\r\nHost: engine\r\n{headers}\r\n").unwrap();
}

fn body(stream: &mut BufReader<StdStream>, length: usize) -> String {
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    String::from_utf8(body).unwrap()
}

fn echo_target(first: &str, stream: &mut BufReader<StdStream>) {
    let target = first.split(' ').nth(1).unwrap();
    write!(stream.get_mut(), "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}", target.len()).unwrap();
}

#[test]
fn several_requests_of_one_connection_are_recorded_in_order_and_only_changes_are_counted() {
    let up = upstream(echo_target);
    let proxy = RecordingProxy::start(&up.path().join("up.sock"));
    let mut client = connect(&proxy);
    for target in [
        "GET /v1.41/containers/json?all=true",
        "POST /v1.41/containers/create",
        "POST /x/wait?a=b",
        "DELETE /x",
    ] {
        let headers = if target.starts_with("POST") { "Content-Length: 0\r\n" } else { "" };
        send(&mut client, target, headers);
        assert_eq!(read_head(&mut client), "HTTP/1.1 200 OK");
        let sent = target.split(' ').nth(1).unwrap();
        assert_eq!(body(&mut client, sent.len()), sent, "the request reaches the Engine unchanged");
    }
    let seen: Vec<_> =
        proxy.calls().into_iter().map(|call| (call.mutation, call.target, call.status)).collect();
    assert_eq!(
        seen,
        [
            (None, "/containers/json?all=true".to_owned(), Some(200)),
            (Some(1), "/containers/create".to_owned(), Some(200)),
            (None, "/x/wait?a=b".to_owned(), Some(200)),
            (Some(2), "/x".to_owned(), Some(200)),
        ]
    );
    proxy.forget();
    assert!(proxy.mutations().is_empty());
}

#[test]
fn a_request_that_is_cut_before_it_is_forwarded_never_reaches_the_engine() {
    let (reached, arrivals) = mpsc::channel();
    let up = upstream(move |first, stream| {
        reached.send(first.to_owned()).unwrap();
        echo_target(first, stream);
    });
    let proxy = RecordingProxy::start(&up.path().join("up.sock"));
    proxy.arm_at(2, Moment::BeforeForward, || ());
    for target in ["DELETE /1", "DELETE /2", "DELETE /3"] {
        let mut client = connect(&proxy);
        send(&mut client, target, "");
        let mut answer = String::new();
        client.read_line(&mut answer).unwrap();
        assert_eq!(answer.is_empty(), target.ends_with('2'), "{target}: {answer}");
    }
    drop(proxy);
    drop(up);
    let arrived: Vec<_> = arrivals.try_iter().collect();
    assert_eq!(arrived, ["DELETE /1 HTTP/1.1", "DELETE /3 HTTP/1.1"]);
}

#[test]
fn a_request_that_is_cut_after_its_reply_was_carried_out() {
    let (reached, arrivals) = mpsc::channel();
    let up = upstream(move |first, stream| {
        reached.send(first.to_owned()).unwrap();
        echo_target(first, stream);
    });
    let proxy = RecordingProxy::start(&up.path().join("up.sock"));
    let (acted, acts) = mpsc::channel();
    proxy.arm_at(1, Moment::AfterReply, move || acted.send(()).unwrap());
    let mut client = connect(&proxy);
    send(&mut client, "DELETE /1", "");
    assert_eq!(client.read_line(&mut String::new()).unwrap(), 0, "the client sees the end of its connection");
    assert_eq!(arrivals.try_recv().unwrap(), "DELETE /1 HTTP/1.1");
    acts.try_recv().expect("the test was asked");
    assert_eq!(proxy.calls()[0].status, Some(200));
}

#[test]
fn a_held_request_holds_no_other_one() {
    let up = upstream(echo_target);
    let proxy = RecordingProxy::start(&up.path().join("up.sock"));
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    proxy.arm(move |call, moment| {
        if call.target == "/held" && moment == Moment::BeforeForward {
            // Ends when the test drops its side.
            let _ended = lock(&held).recv();
        }
        Verdict::Pass
    });
    let mut slow = connect(&proxy);
    send(&mut slow, "DELETE /held", "");
    let mut quick = connect(&proxy);
    send(&mut quick, "DELETE /free", "");
    assert_eq!(read_head(&mut quick), "HTTP/1.1 200 OK");
    drop(release);
    assert_eq!(read_head(&mut slow), "HTTP/1.1 200 OK");
}

#[test]
fn a_stream_passes_piece_by_piece() {
    let (next, turns) = mpsc::channel::<()>();
    let turns = Mutex::new(turns);
    let up = upstream(move |_, stream| {
        write!(stream.get_mut(), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            .unwrap();
        lock(&turns).recv().unwrap();
        write!(stream.get_mut(), "6\r\nsecond\r\n0\r\n\r\n").unwrap();
    });
    let proxy = RecordingProxy::start(&up.path().join("up.sock"));
    let mut client = connect(&proxy);
    send(&mut client, "GET /events", "");
    read_head(&mut client);
    assert_eq!(body(&mut client, 10), "5\r\nfirst\r\n", "before the second piece exists");
    next.send(()).unwrap();
    assert_eq!(body(&mut client, 16), "6\r\nsecond\r\n0\r\n\r\n"[..16]);
}

#[test]
fn a_hijacked_connection_is_copied_both_ways() {
    let up = upstream(|_, stream| {
        write!(
            stream.get_mut(),
            "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nhello\n"
        )
        .unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        write!(stream.get_mut(), "got {line}").unwrap();
    });
    let proxy = RecordingProxy::start(&up.path().join("up.sock"));
    let mut client = connect(&proxy);
    send(
        &mut client,
        "POST /containers/a/attach",
        "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n",
    );
    assert!(read_head(&mut client).starts_with("HTTP/1.1 101"));
    let mut line = String::new();
    client.read_line(&mut line).unwrap();
    writeln!(client.get_mut(), "ping").unwrap();
    client.read_line(&mut line).unwrap();
    assert_eq!(line, "hello\ngot ping\n");
}

#[test]
fn only_a_version_is_taken_off_a_target() {
    assert_eq!(without_version("/v1.41/info"), "/info");
    assert_eq!(without_version("/volumes/x"), "/volumes/x");
    assert_eq!(without_version("/v1.41"), "/v1.41");
}
