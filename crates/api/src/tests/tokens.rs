use bowline_core::object::GatewayKey;
use sha2::{Digest, Sha256};

use super::*;

const TOKENS: &str = "/v1/namespaces/u1/gateways/default/tokens";

#[tokio::test]
async fn a_token_is_shown_once_and_only_its_digest_is_kept() {
    let fixture = Fixture::start().await;
    fixture.apply(&[CATALOG, &gateway("u1", "time")]).await;
    let request = json!({ "label": "laptop", "ttlSeconds": 3600 });
    let (status, created) = fixture.exchange(Method::POST, TOKENS, request).await;
    assert_eq!(status, StatusCode::OK, "{created}");
    let token = created["token"].as_str().unwrap();

    let record = fixture.store.load_gateway(&GatewayKey::new("u1", "default")).await.unwrap().unwrap();
    assert_eq!(record.tokens[0].sha256, hex::encode(Sha256::digest(token)));
    assert_eq!(record.tokens_revision, created["revision"].as_i64().unwrap());

    let (_, list) = fixture.get(TOKENS).await;
    assert_eq!(list["items"][0]["label"], "laptop");
    assert_eq!(list["items"][0]["id"], created["id"]);
    assert!(!list.to_string().contains(token) && !list.to_string().contains(&record.tokens[0].sha256));

    let path = format!("{TOKENS}/{}", created["id"].as_str().unwrap());
    let (status, revoked) = fixture.delete(&path).await;
    assert_eq!(status, StatusCode::OK);
    assert!(revoked["revision"].as_i64() > created["revision"].as_i64());
    assert_eq!(fixture.delete(&path).await.0, StatusCode::NOT_FOUND);
    assert_eq!(fixture.get(TOKENS).await.1["items"], json!([]));
    fixture.end().await;
}

#[tokio::test]
async fn a_token_needs_a_gateway_a_label_and_a_life() {
    let fixture = Fixture::start().await;
    let token = |request| fixture.exchange(Method::POST, TOKENS, request);
    assert_eq!(token(json!({ "label": "a" })).await.0, StatusCode::NOT_FOUND);
    fixture.apply(&[CATALOG, &gateway("u1", "time")]).await;
    for request in [
        json!({ "label": " " }),
        json!({ "label": "a\nb" }),
        json!({ "label": "a".repeat(101) }),
        json!({ "label": "a", "ttlSeconds": 0 }),
        json!({ "label": "a", "ttlSeconds": u64::MAX }),
    ] {
        assert_eq!(token(request.clone()).await.0, StatusCode::UNPROCESSABLE_ENTITY, "{request}");
    }
    fixture.delete("/v1/namespaces/u1/gateways/default").await;
    assert_eq!(token(json!({ "label": "a" })).await.0, StatusCode::CONFLICT);
    fixture.end().await;
}
