use bowline_core::object::EventType;
use chrono::Utc;

use super::*;

#[tokio::test]
async fn objects_are_listed_by_namespace_and_found_by_name() {
    let fixture = Fixture::start().await;
    fixture.apply(&[CATALOG, &gateway("u2", "time"), &gateway("u1", "time")]).await;
    let namespaces = |list: &Value| {
        let items = list["items"].as_array().unwrap().clone();
        items.iter().map(|o| o["metadata"]["namespace"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(namespaces(&fixture.get("/v1/gateways").await.1), ["u1", "u2"]);
    assert_eq!(namespaces(&fixture.get("/v1/namespaces/u2/gateways").await.1), ["u2"]);
    let (status, problem) = fixture.get("/v1/namespaces/u3/gateways/default").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(problem["detail"], "gateway/u3/default does not exist");
    fixture.end().await;
}

#[tokio::test]
async fn a_catalog_in_use_stays_until_its_users_go() {
    let fixture = Fixture::start().await;
    fixture.apply(&[CATALOG, &gateway("u1", "time")]).await;
    let (status, problem) = fixture.delete("/v1/clustercatalogs/base").await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(problem["detail"].as_str().unwrap().contains("gateway/u1/default"), "{problem}");
    fixture.delete("/v1/namespaces/u1/gateways/default").await;
    let (status, body) = fixture.delete("/v1/clustercatalogs/base").await;
    assert_eq!((status, &body["gone"]), (StatusCode::OK, &json!(true)), "{body}");
    let (status, _) = fixture.delete("/v1/clustercatalogs/base").await;
    assert_eq!(status, StatusCode::NOT_FOUND);

    fixture.apply(&[CATALOG, &gateway("u2", "time")]).await;
    let (status, _) = fixture.delete("/v1/clustercatalogs/base?force=true").await;
    assert_eq!(status, StatusCode::OK);
    fixture.end().await;
}

#[tokio::test]
async fn events_of_a_gateway_are_read_through_it() {
    let fixture = Fixture::start().await;
    fixture.apply(&[CATALOG, &gateway("u1", "time")]).await;
    let (_, object) = fixture.get("/v1/namespaces/u1/gateways/default").await;
    let uid = serde_json::from_value(object["metadata"]["uid"].clone()).unwrap();
    fixture.store.record_event(uid, EventType::Warning, "BackOff", "it fell", Utc::now()).await.unwrap();
    let (_, events) = fixture.get("/v1/namespaces/u1/gateways/default/events").await;
    assert_eq!(events["items"][0]["reason"], "BackOff");
    assert_eq!(events["items"][0]["type"], "Warning");
    fixture.end().await;
}
