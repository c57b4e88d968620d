//! What a streamable server answers to a message, and how often its stream is opened.

use std::collections::HashMap;
use std::time::Instant;

use rmcp::model::{ClientJsonRpcMessage, JsonRpcMessage, RequestId};
use rmcp::transport::streamable_http_client::{
    StreamableHttpClient as _, StreamableHttpError, StreamableHttpPostResponse,
};
use serde_json::{Value, json};

use super::*;

/// What comes back for `message` from a server that answers with this status and body.
async fn answer(message: &Value, status: u16, body: &str) -> Result<StreamableHttpPostResponse, String> {
    let text = ok("application/json", body).replace("200 OK", &format!("{status} Status"));
    let server = Server::start(text).await;
    let message: ClientJsonRpcMessage = serde_json::from_value(message.clone()).unwrap();
    let client = client(&server.url);
    let answer = client.post_message(server.url.as_str().into(), message, None, None, HashMap::new());
    answer.await.map_err(|error| match error {
        StreamableHttpError::Client(reason) => reason.to_string(),
        other => panic!("{other}"),
    })
}

fn list() -> Value {
    json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/list" })
}

fn result(id: &Value) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "result": { "tools": [] } }).to_string()
}

fn error(id: &Value) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32000, "message": "no" } }).to_string()
}

#[tokio::test]
async fn an_answer_under_the_id_of_the_request_or_that_number_as_a_string_is_passed_on() {
    for id in [json!(7), json!("7")] {
        for (status, body) in [(200, result(&id)), (200, error(&id)), (400, error(&id)), (500, error(&id))] {
            let passed = answer(&list(), status, &body).await;
            let is_error = match passed {
                Ok(StreamableHttpPostResponse::Json(JsonRpcMessage::Response(_), _)) => false,
                Ok(StreamableHttpPostResponse::Json(JsonRpcMessage::Error(_), _)) => true,
                other => panic!("{status} {body}: {other:?}"),
            };
            assert_eq!(is_error, body.contains("error"), "{status} {body}");
        }
    }
}

#[tokio::test]
async fn an_answer_to_another_request_is_an_error_at_once() {
    let stray = "it answered something else than what it was asked";
    let notification = json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" }).to_string();
    for (status, body, says) in [
        (200, result(&json!(8)), stray),
        (200, result(&json!("x")), stray),
        (200, error(&json!(8)), stray),
        (200, error(&Value::Null), stray),
        (200, notification, stray),
        (400, error(&json!(8)), "it answered 400 Bad Request"),
        (400, error(&Value::Null), "it answered 400 Bad Request"),
        (400, result(&json!(7)), "it answered 400 Bad Request"),
        (500, error(&Value::Null), "it answered 500 Internal Server Error"),
    ] {
        assert_eq!(answer(&list(), status, &body).await.unwrap_err(), says, "{body}");
    }
}

#[tokio::test]
async fn a_server_that_wants_credentials_is_not_taken_at_its_word_but_at_its_status() {
    for (status, says) in [(401, "it answered 401 Unauthorized: "), (403, "it answered 403 Forbidden: ")] {
        let reason = answer(&list(), status, &error(&json!(7))).await.unwrap_err();
        assert!(reason.starts_with(says), "{reason}");
    }
}

#[tokio::test]
async fn the_refusal_of_a_session_is_its_answer_whatever_its_id() {
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": { "name": "t", "version": "1" } });
    let initialize = json!({ "jsonrpc": "2.0", "id": 7, "method": "initialize", "params": params });
    for id in [json!(7), json!("server-error"), Value::Null] {
        for status in [200, 400] {
            match answer(&initialize, status, &error(&id)).await {
                Ok(StreamableHttpPostResponse::Json(JsonRpcMessage::Error(refusal), _)) => {
                    assert_eq!(refusal.id, Some(RequestId::Number(7)), "{status} {id}");
                }
                other => panic!("{status} {id}: {other:?}"),
            }
        }
    }
    let reason = answer(&initialize, 401, &error(&json!(7))).await.unwrap_err();
    assert!(reason.starts_with("it answered 401 Unauthorized: "), "{reason}");
}

#[tokio::test]
async fn nothing_is_an_answer_to_a_message_that_asks_for_nothing() {
    let message = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    let taken = answer(&message, 200, &error(&json!(7))).await;
    assert!(matches!(taken, Ok(StreamableHttpPostResponse::Accepted)), "{taken:?}");
    let reason = answer(&message, 400, &error(&json!(7))).await.unwrap_err();
    assert_eq!(reason, "it answered 400 Bad Request");
}

#[tokio::test]
async fn a_stream_that_ends_at_once_is_not_opened_again_at_once() {
    let server = Server::start(ok("text/event-stream", "retry: 0\n\n")).await;
    let client = client(&server.url);
    let since = Instant::now();
    for _ in 0..3 {
        let stream = client.get_stream(server.url.as_str().into(), None, None, None, HashMap::new());
        stream.await.unwrap().for_each(async |_| ()).await;
    }
    // Half of the first step and half of the second are the least.
    assert!(since.elapsed() >= Duration::from_millis(1500), "{:?}", since.elapsed());
}
