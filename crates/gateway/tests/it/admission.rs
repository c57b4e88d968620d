use chrono::{TimeDelta, Utc};

use crate::rig::{Answer, Rig, TOKEN, verifier};

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;

fn post(rig: &Rig, headers: &[&str]) -> Answer {
    let head = [
        &[
            "POST /mcp HTTP/1.1",
            "Content-Type: application/json",
            "Accept: application/json, text/event-stream",
        ],
        headers,
    ]
    .concat();
    rig.http(&head.join("\r\n"), INITIALIZE)
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

#[test]
fn health_answers_anybody_and_says_nothing() {
    let rig = Rig::start(&[]);
    for host in ["localhost", "evil.example"] {
        let answer = rig.http(&format!("GET /health HTTP/1.1\r\nHost: {host}"), "");
        assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    }
    assert_eq!(rig.control("GET", "/health").0, 200);
    assert_eq!(rig.http("POST /health HTTP/1.1\r\nHost: localhost", "").status, 405);
    assert_eq!(rig.http("GET /other HTTP/1.1\r\nHost: localhost", "").status, 404);
}

#[test]
fn host_and_origin_are_refused_before_the_token_is_looked_at() {
    let rig = Rig::start(&[]);
    let good = bearer(TOKEN);
    let table: [(&[&str], u16); 12] = [
        (&["Host: localhost:1234"], 200),
        (&["Host: 127.0.0.1"], 200),
        (&["Host: [::1]:80"], 200),
        (&["Host: gateway.example:443"], 200),
        (&["Host: evil.example"], 403),
        (&["Host: localhost", "Host: localhost"], 403),
        (&[], 403),
        (&["Host: localhost", "Origin: http://localhost:3000"], 200),
        (&["Host: localhost", "Origin: https://gateway.example"], 200),
        (&["Host: localhost", "Origin: https://evil.example"], 403),
        (&["Host: localhost", "Origin: null"], 403),
        (&["Host: localhost", "Origin: http://localhost", "Origin: https://evil.example"], 403),
    ];
    for (headers, status) in table {
        // hyper itself answers some malformed requests with 400, which admits nobody either.
        let with = |token: &str| post(&rig, &[headers, &[token]].concat());
        assert_eq!(with(&good).status, status, "{headers:?}");
        let refused = if status == 200 { 401 } else { status };
        assert_eq!(with(&bearer("wrong")).status, refused, "{headers:?} with a wrong token");
    }
}

#[test]
fn without_a_good_token_the_answer_is_a_challenge() {
    let rig = Rig::start(&[]);
    rig.edit_tokens(|tokens| {
        tokens.push(verifier("old", "expired", Some(Utc::now() - TimeDelta::seconds(1))));
        tokens.push(verifier("new", "lasting", Some(Utc::now() + TimeDelta::hours(1))));
    });
    rig.reload();
    let table: [(&[&str], u16); 8] = [
        (&["Authorization: Bearer token-one"], 200),
        (&["authorization: bearer token-one"], 200),
        (&["Authorization: Bearer lasting"], 200),
        (&["Authorization: Bearer expired"], 401),
        (&["Authorization: Bearer token-on"], 401),
        (&["Authorization: Basic token-one"], 401),
        (&["Authorization: Bearer token-one", "Authorization: Bearer token-one"], 401),
        (&[], 401),
    ];
    for (headers, status) in table {
        let answer = post(&rig, &[&["Host: localhost"], headers].concat());
        assert_eq!(answer.status, status, "{headers:?}: {answer:?}");
        assert_eq!(answer.head.contains("www-authenticate: bearer"), status == 401, "{answer:?}");
    }
}

#[test]
fn guessing_is_braked_and_a_correct_token_still_works() {
    let rig = Rig::start(&[]);
    let guesses: Vec<_> =
        (0..30).map(|guess| post(&rig, &["Host: localhost", &bearer(&format!("guess-{guess}"))])).collect();
    assert_eq!(guesses[0].status, 401);
    let last = &guesses[29];
    assert_eq!(last.status, 429);
    assert!(last.head.contains("retry-after: "), "{last:?}");
    assert_eq!(post(&rig, &["Host: localhost", &bearer(TOKEN)]).status, 200);
}

#[test]
fn a_body_beyond_the_limit_is_refused() {
    let rig = Rig::start(&[]);
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\n{}\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream",
        bearer(TOKEN)
    );
    let body = format!("{}{}", " ".repeat(4 * 1024 * 1024), INITIALIZE);
    assert_eq!(rig.http(&head, &body).status, 413);
}

#[test]
fn a_session_belongs_to_the_token_that_opened_it() {
    let rig = Rig::start(&[]);
    rig.edit_tokens(|tokens| tokens.push(verifier("two", "token-two", None)));
    rig.reload();
    let opened = post(&rig, &["Host: localhost", &bearer(TOKEN)]);
    let session = opened.head.lines().find(|line| line.starts_with("mcp-session-id")).unwrap().to_owned();
    let list = |token: &str| {
        let head = format!(
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\n{}\r\n{session}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream",
            bearer(token)
        );
        rig.http(&head, r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).status
    };
    assert_eq!(list("token-two"), 404);
    assert_eq!(list(TOKEN), 202);
}
