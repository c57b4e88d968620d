use std::collections::BTreeSet;

use bowline_core::object::ObjectKey;
use bowline_core::volume::VolumeKey;

use super::*;

const LIST: &str = "/v1/namespaces/u1/volumes";
const ONE: &str = "/v1/namespaces/u1/volumes/time/data";

/// A gateway that has a volume, as the controller would claim it.
async fn with_volume() -> (Fixture, uuid::Uuid) {
    let fixture = Fixture::start().await;
    fixture.apply(&[CATALOG, &gateway("u1", "time")]).await;
    let stored = fixture.store.get(&ObjectKey::gateway("u1", "default")).await.unwrap().unwrap();
    let (uid, host) = (stored.metadata.uid, fixture.store.register_host("h1").await.unwrap().id);
    let keys = BTreeSet::from([VolumeKey::new("time", "data")]);
    fixture.store.claim_volumes(host, uid, "u1", &keys).await.unwrap();
    (fixture, uid)
}

#[tokio::test]
async fn a_volume_in_use_names_its_user_and_one_that_is_not_is_asked_to_go() {
    let (fixture, uid) = with_volume().await;
    let (status, list) = fixture.get(LIST).await;
    assert_eq!((status, &list["items"][0]["usedBy"]["namespace"]), (StatusCode::OK, &json!("u1")));
    let (status, problem) = fixture.delete(ONE).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(problem.to_string().contains("used by gateway/u1/default"), "{problem}");
    let (status, problem) = fixture.delete("/v1/namespaces/u1/volumes/time/typo").await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{problem}");

    fixture.store.release_volumes(uid, &[VolumeKey::new("time", "data")]).await.unwrap();
    let (status, list) = fixture.delete(ONE).await;
    assert_eq!(status, StatusCode::OK);
    assert!(!list["items"][0]["removalAskedAt"].is_null(), "{list}");
    assert_eq!(fixture.get("/v1/volumes").await.1["items"].as_array().unwrap().len(), 1, "until it is gone");
    assert_eq!(fixture.get("/v1/namespaces/u2/volumes").await.1["items"], json!([]));
    fixture.end().await;
}

#[tokio::test]
async fn a_deletion_takes_volumes_along_only_when_asked_also_when_it_was_asked_for_before() {
    let (fixture, _) = with_volume().await;
    let path = "/v1/namespaces/u1/gateways/default";
    let (_, response) = fixture.delete(path).await;
    assert!(response["volumes"].is_null(), "{response}");
    assert!(fixture.get(LIST).await.1["items"][0]["removalAskedAt"].is_null());
    let (status, response) = fixture.delete(&format!("{path}?volumes=true")).await;
    assert_eq!((status, &response["volumes"]), (StatusCode::OK, &json!(["time/data"])));
    assert!(!fixture.get(LIST).await.1["items"][0]["removalAskedAt"].is_null());
    let (status, problem) = fixture.delete("/v1/clustercatalogs/base?volumes=true").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "only gateways have volumes: {problem}");
    fixture.end().await;
}
