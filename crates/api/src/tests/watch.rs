use bowline_core::object::ObjectKey;
use bowline_store::{Put, WriteTx};
use std::collections::BTreeMap;

use super::*;

impl Watch {
    async fn start(fixture: &Fixture, query: &str) -> Self {
        Watch::start_at(fixture, &format!("/v1/watch{query}")).await
    }

    /// The next event that is no bookmark, as `TYPE name`.
    async fn change(&mut self) -> String {
        loop {
            let event = self.next().await;
            let object = &event["object"];
            let name =
                object["metadata"]["namespace"].as_str().or(object["namespace"].as_str()).unwrap_or("-");
            match event["type"].as_str().unwrap() {
                "BOOKMARK" => {}
                kind => return format!("{kind} {name}"),
            }
        }
    }

    /// Reads until the bookmark; gives its version.
    async fn bookmark(&mut self) -> i64 {
        loop {
            let event = self.next().await;
            if event["type"] == "BOOKMARK" {
                return event["object"]["resourceVersion"].as_i64().unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_watch_shows_what_is_there_then_what_changes() {
    let fixture = Fixture::start().await;
    fixture.apply(&[CATALOG, &gateway("u1", "time"), &gateway("u2", "time")]).await;
    let mut watch = Watch::start(&fixture, "?kind=gateway").await;
    assert_eq!(watch.change().await, "ADDED u1");
    assert_eq!(watch.change().await, "ADDED u2");
    let version = watch.bookmark().await;

    let mut only_u2 = Watch::start(&fixture, &format!("?kind=gateways&namespace=u2&since={version}")).await;
    fixture.apply(&[&gateway("u1", "fetch")]).await;
    assert_eq!(watch.change().await, "MODIFIED u1");
    fixture.apply(&[&gateway("u2", "fetch")]).await;
    assert_eq!(watch.change().await, "MODIFIED u2");
    assert_eq!(only_u2.change().await, "ADDED u2", "its first sight of the object, and nothing of u1 before");

    let (_, deleted) = fixture.delete("/v1/namespaces/u1/gateways/default").await;
    assert_eq!(watch.change().await, "MODIFIED u1", "terminating");
    let uid = serde_json::from_value(deleted["uid"].clone()).unwrap();
    fixture.store.finish_delete(uid).await.unwrap();
    assert_eq!(watch.change().await, "DELETED u1");
    fixture.end().await;
}

#[tokio::test]
async fn a_watch_misses_nothing_when_two_writers_commit_in_reverse_order() {
    let fixture = Fixture::start().await;
    let mut watch = Watch::start(&fixture, "?kind=gateway").await;
    watch.bookmark().await;
    let (none, spec) = (BTreeMap::new(), json!({}));
    let put = async |write: &mut WriteTx, namespace: &str| {
        let key = &ObjectKey::gateway(namespace, "default");
        let put = Put {
            key,
            spec: &spec,
            labels: &none,
            annotations: &none,
            managed_by: "api",
            expected_version: None,
        };
        write.put(put).await.unwrap();
    };
    for round in 0..10 {
        let (early, late) = (format!("early{round}"), format!("late{round}"));
        let mut first = fixture.store.begin_write().await.unwrap();
        put(&mut first, &early).await;
        let mut second = fixture.store.begin_write().await.unwrap();
        put(&mut second, &late).await;
        second.commit().await.unwrap();
        assert_eq!(watch.change().await, format!("ADDED {late}"), "round {round}");
        first.commit().await.unwrap();
        assert_eq!(watch.change().await, format!("ADDED {early}"), "round {round}");
    }
    fixture.end().await;
}

#[tokio::test]
async fn a_version_that_is_unknown_is_410_and_a_kind_that_is_unknown_400() {
    let fixture = Fixture::start().await;
    let (status, problem) = fixture.get("/v1/watch?since=999999").await;
    assert_eq!(status, StatusCode::GONE);
    assert!(problem["hint"].as_str().unwrap().contains("list again"));
    assert_eq!(fixture.get("/v1/watch?kind=pods").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(fixture.get("/v1/watch?knid=gateway").await.0, StatusCode::BAD_REQUEST);
    fixture.end().await;
}

#[tokio::test]
async fn an_open_watch_does_not_hold_up_the_end() {
    let fixture = Fixture::start().await;
    let mut watch = Watch::start(&fixture, "").await;
    watch.bookmark().await;
    let begun = std::time::Instant::now();
    fixture.end().await;
    assert!(begun.elapsed() < SOON);
    // What was under way when the service stopped, such as the bookmark of a listener that has just connected, may
    // still come; then it ends.
    let rest = async { while let Some(Ok(_)) = watch.body.frame().await {} };
    tokio::time::timeout(SOON, rest).await.expect("the watch ends");
}
