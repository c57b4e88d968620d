use bowline_core::object::{EventType, GatewayKey};
use chrono::{TimeDelta, Utc};

use super::*;

async fn record(fixture: &Fixture, namespace: &str, reason: &str, seconds: i64) {
    let key = GatewayKey::new(namespace, "default");
    let uid = fixture.store.load_gateway(&key).await.unwrap().unwrap().object.metadata.uid;
    let at = Utc::now() + TimeDelta::seconds(seconds);
    let noted = fixture.store.record_event(uid, EventType::Normal, reason, "x", at).await.unwrap();
    assert!(noted, "{reason}");
}

fn reasons(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|event| event["reason"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn events_of_all_objects_are_listed_together_and_narrowed() {
    let fixture = Fixture::start().await;
    fixture.apply(&[CATALOG, &gateway("u1", "time"), &gateway("u2", "time")]).await;
    for (namespace, reason, seconds) in [("u1", "A", -3), ("u2", "B", -2), ("u1", "C", -1)] {
        record(&fixture, namespace, reason, seconds).await;
    }
    let (_, all) = fixture.get("/v1/events").await;
    assert_eq!(reasons(&all), ["A", "B", "C"]);
    assert_eq!(all["items"][1]["object"], json!({ "kind": "Gateway", "namespace": "u2", "name": "default" }));
    assert_eq!(all["truncated"], false);
    assert_eq!(reasons(&fixture.get("/v1/events?namespace=u1").await.1), ["A", "C"]);
    assert_eq!(reasons(&fixture.get("/v1/events?kind=gateway&namespace=u2&name=default").await.1), ["B"]);
    assert_eq!(fixture.get("/v1/events?kind=pods").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(fixture.get("/v1/events?knid=gateway").await.0, StatusCode::BAD_REQUEST);
    fixture.end().await;
}

#[tokio::test]
async fn a_stream_of_events_shows_each_once_and_again_when_it_happens_again() {
    let fixture = Fixture::start().await;
    fixture.apply(&[CATALOG, &gateway("u1", "time")]).await;
    record(&fixture, "u1", "A", -30).await;
    let mut watch = Watch::start_at(&fixture, "/v1/events?watch=true").await;
    assert_eq!(reasons(&watch.next().await), ["A"]);
    record(&fixture, "u1", "B", 0).await;
    assert_eq!(reasons(&watch.next().await), ["B"]);
    record(&fixture, "u1", "A", 1).await;
    // Its time is before that of an event which was shown: its transaction was only slower.
    record(&fixture, "u1", "C", -10).await;
    let mut seen: Vec<(String, i64)> = Vec::new();
    while seen.len() < 2 {
        for event in watch.next().await["items"].as_array().unwrap() {
            seen.push((event["reason"].as_str().unwrap().to_owned(), event["count"].as_i64().unwrap()));
        }
    }
    seen.sort();
    assert_eq!(seen, [("A".to_owned(), 2), ("C".to_owned(), 1)]);
    fixture.end().await;
}
