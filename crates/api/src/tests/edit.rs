use super::*;

const PATH: &str = "/v1/namespaces/u1/gateways/default";

async fn put(fixture: &Fixture, path: &str, object: &Value) -> (StatusCode, Value) {
    fixture.exchange(Method::PUT, path, object.clone()).await
}

async fn running() -> (Fixture, Value) {
    let fixture = Fixture::start().await;
    fixture.apply(&[CATALOG, &gateway("u1", "time")]).await;
    let (_, object) = fixture.get(PATH).await;
    (fixture, object)
}

#[tokio::test]
async fn an_object_that_was_read_is_replaced_once_and_not_over_somebody_else() {
    let (fixture, read) = running().await;
    let mut mine = read.clone();
    mine["spec"]["servers"] = json!([{ "name": "time", "enabled": false }]);
    let (status, body) = put(&fixture, &format!("{PATH}?managedBy=cli"), &mine).await;
    assert_eq!((status, outcomes(&body)), (StatusCode::OK, vec!["default configured".to_owned()]));

    let mut theirs = read.clone();
    theirs["metadata"]["annotations"] = json!({ "note": "theirs" });
    let (status, problem) = put(&fixture, PATH, &theirs).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    assert!(problem["type"].as_str().unwrap().ends_with(":problem/conflict"), "{problem}");
    let (_, after) = fixture.get(PATH).await;
    assert_eq!(after["spec"]["servers"], json!([{ "name": "time", "enabled": false }]));
    assert_eq!(
        (&after["metadata"]["generation"], &after["metadata"]["annotations"]),
        (&json!(2), &Value::Null)
    );
    // What was read last is written back unchanged.
    let (_, body) = put(&fixture, &format!("{PATH}?managedBy=cli"), &after).await;
    assert_eq!(outcomes(&body), ["default unchanged"]);
    fixture.end().await;
}

#[tokio::test]
async fn two_edits_at_the_same_time_never_undo_each_other() {
    let (fixture, _) = running().await;
    let annotate = async |name: &'static str| {
        loop {
            let (_, mut object) = fixture.get(PATH).await;
            object["metadata"]["annotations"][name] = json!("x");
            match put(&fixture, PATH, &object).await {
                (StatusCode::OK, _) => return,
                (StatusCode::CONFLICT, _) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::join!(annotate("a"), annotate("b"), annotate("c"), annotate("d"));
    let (_, object) = fixture.get(PATH).await;
    assert_eq!(object["metadata"]["annotations"], json!({ "a": "x", "b": "x", "c": "x", "d": "x" }));
    fixture.end().await;
}

#[tokio::test]
async fn a_replacement_is_judged_as_an_apply_is_and_names_no_line_that_nobody_wrote() {
    let (fixture, read) = running().await;
    let mut wrong = read.clone();
    wrong["spec"]["servers"][0]["name"] = json!("tiem");
    let (status, problem) = put(&fixture, PATH, &wrong).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let found = &problem["diagnostics"][0];
    assert_eq!((&found["code"], &found["line"]), (&json!("UnknownServer"), &json!(0)), "{problem}");

    let mut other = read.clone();
    other["metadata"]["name"] = json!("other");
    assert_eq!(put(&fixture, PATH, &other).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    let mut blind = read.clone();
    blind["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let (status, problem) = put(&fixture, PATH, &blind).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(problem["detail"].as_str().unwrap().contains("resourceVersion"), "{problem}");
    let mut gone = read;
    gone["metadata"]["namespace"] = json!("u9");
    let (status, _) = put(&fixture, "/v1/namespaces/u9/gateways/default", &gone).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    fixture.end().await;
}

#[tokio::test]
async fn a_gateway_is_created_once() {
    let fixture = Fixture::start().await;
    fixture.apply(&[CATALOG]).await;
    let object = json!({
        "apiVersion": "bowline.dev/v1alpha1", "kind": "Gateway",
        "metadata": { "namespace": "u1", "name": "default" },
        "spec": { "catalogs": ["base"], "servers": ["time"] },
    });
    let create = async |query: &str| {
        fixture.exchange(Method::POST, &format!("/v1/namespaces/u1/gateways{query}"), object.clone()).await
    };
    let (status, body) = create("?dryRun=true").await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(body["objects"][0]["object"]["spec"]["servers"], json!([{ "name": "time" }]));
    assert_eq!(fixture.get(PATH).await.0, StatusCode::NOT_FOUND, "a dry run creates nothing");
    let (status, body) = create("").await;
    assert_eq!((status, outcomes(&body)), (StatusCode::OK, vec!["default created".to_owned()]));
    let (status, problem) = create("").await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(problem["detail"], "gateway/u1/default already exists");
    fixture.end().await;
}
