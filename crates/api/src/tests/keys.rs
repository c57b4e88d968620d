use bowline_store::{KeySource, Keyring};

use super::*;

const KEYS: &str = "/v1/keys";

#[tokio::test]
async fn keys_are_shown_by_id_and_a_rotation_is_asked_for_until_it_is_carried_out() {
    let fixture = Fixture::start().await;
    assert_eq!(fixture.get(KEYS).await.1, json!({"items": [], "remaining": 0}));
    let home = tempfile::tempdir().unwrap();
    let source = KeySource::Directory(home.path().join("keys"));
    let ring = Keyring::default();
    let first = fixture.store.establish_keys(&source, &ring).await.unwrap().made.unwrap();
    let (status, shown) = fixture.get(KEYS).await;
    assert_eq!(status, StatusCode::OK);
    let item = &shown["items"][0];
    assert_eq!((&item["id"], &item["newest"]), (&json!(first.id.as_str()), &json!(true)));
    assert_eq!((&item["values"], &item["onDisk"]), (&json!(0), &json!(true)));
    let text = std::fs::read_to_string(&first.path).unwrap();
    let secret = text.trim_end().rsplit(' ').next().unwrap();
    assert!(!shown.to_string().contains(secret));

    let (status, asked) = fixture.exchange(Method::POST, "/v1/keys/rotate", json!({})).await;
    assert_eq!(status, StatusCode::OK);
    assert!(asked["askedAt"].is_string(), "{asked}");
    fixture.store.note_rotation_problem(Some("the disk is full")).await.unwrap();
    assert_eq!(fixture.get(KEYS).await.1["problem"], "the disk is full");
    fixture.store.establish_keys(&source, &ring).await.unwrap();
    fixture.store.replace_keys(&ring, 10, |_| ()).await.unwrap();
    fixture.store.note_rotation_problem(None).await.unwrap();
    let (_, shown) = fixture.get(KEYS).await;
    assert_eq!((&shown["askedAt"], &shown["problem"]), (&json!(null), &json!(null)), "{shown}");
    assert_eq!(shown["items"][1]["id"], first.id.as_str());
    assert!(shown["items"][1]["retiredAt"].is_string(), "{shown}");
    fixture.end().await;
}
