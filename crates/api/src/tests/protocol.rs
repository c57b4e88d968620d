use axum::body::Body;
use tower::ServiceExt;

use super::*;
use crate::body::{LARGE, SMALL};
use crate::hub::Hub;
use crate::problem::MEDIA_TYPE;
use crate::routes::{Context, router};

#[tokio::test]
async fn every_refusal_is_a_problem_with_the_requests_id() {
    let fixture = Fixture::start().await;
    let tokens = "/v1/namespaces/u1/gateways/default/tokens";
    let padding = |size: usize| format!("{{\"label\": \"{}\"}}", "a".repeat(size));
    for (method, path, body, status) in [
        (Method::GET, "/v2/gateways", String::new(), 404),
        (Method::PUT, "/v1/gateways", String::new(), 405),
        (Method::POST, "/v1/apply", "{".to_owned(), 400),
        (Method::POST, "/v1/apply", r#"{"files": [], "managedBy": "cli"}"#.to_owned(), 422),
        (Method::POST, "/v1/apply", r#"{"files": [], "managedBy": "somebody"}"#.to_owned(), 422),
        (Method::POST, "/v1/apply", r#"{"files": [], "managedBy": "cli", "dryrun": true}"#.to_owned(), 400),
        (Method::POST, "/v1/apply", padding(LARGE), 413),
        (Method::POST, tokens, padding(SMALL), 413),
        (Method::DELETE, "/v1/clustercatalogs/base?forse=true", String::new(), 400),
        (Method::GET, "/v1/namespaces/u1/gateways/%ff", String::new(), 400),
    ] {
        let response = fixture.send(method.clone(), path, body).await;
        assert_eq!(response.status(), status, "{method} {path}");
        assert_eq!(response.headers()[header::CONTENT_TYPE], MEDIA_TYPE, "{method} {path}");
        let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let problem: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["requestId"], id);
        assert!(problem["type"].as_str().unwrap().starts_with("tag:bowline.dev,2026:problem/"));
    }
    fixture.end().await;
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_read() {
    let fixture = Fixture::start().await;
    let mut body = r#"{"files": [], "managedBy": "cli"}"#.to_owned();
    body.push_str(&" ".repeat(LARGE - body.len()));
    let response = fixture.send(Method::POST, "/v1/apply", body).await;
    assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY, "read, and refused for being empty");
    fixture.end().await;
}

#[tokio::test]
async fn a_request_without_an_admin_behind_it_is_refused() {
    let fixture = Fixture::start().await;
    let tasks = tokio_util::task::TaskTracker::new();
    let settings = Settings {
        socket: fixture.socket.clone(),
        controller_socket: fixture.controller_socket.clone(),
        version: "0.0.0-test",
        preview: Preview { host: uuid::Uuid::nil(), settings: settings(&fixture.store) },
        specs: None,
    };
    let hub = Hub::start(&fixture.store, &tasks, fixture.stop.clone());
    let router = router(Context::new(fixture.store.clone(), settings, hub, fixture.stop.clone()));
    let response = router.oneshot(Request::get("/v1/gateways").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(response.headers()[header::CONTENT_TYPE], MEDIA_TYPE);
    tasks.close();
    fixture.end().await;
}

#[tokio::test]
async fn with_the_database_away_the_answer_is_503_and_says_nothing_of_it() {
    let fixture = Fixture::start().await;
    fixture.store.close().await;
    let response = fixture.send(Method::GET, "/v1/gateways", "").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let problem: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["detail"], "the database does not answer");
    fixture.end().await;
}

#[tokio::test]
async fn the_version_names_instance_and_installation() {
    let fixture = Fixture::start().await;
    let (_, version) = fixture.get("/v1/version").await;
    assert_eq!(version["instance"], "test");
    assert_eq!(version["installation"], fixture.store.installation().to_string());
    fixture.end().await;
}
