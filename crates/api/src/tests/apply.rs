use bowline_core::lease::{Holder, LeaseKind, LeaseSlot};
use bowline_core::object::GatewayKey;

use super::*;

#[tokio::test]
async fn an_apply_is_created_then_unchanged_then_configured_and_reads_back() {
    let fixture = Fixture::start().await;
    let u1 = gateway("u1", "time");
    // What refers comes first in the input and is written last.
    assert_eq!(fixture.apply(&[&u1, CATALOG]).await, ["base created", "default created"]);
    assert_eq!(fixture.apply(&[CATALOG, &u1]).await, ["base unchanged", "default unchanged"]);
    assert_eq!(fixture.apply(&[&gateway("u1", "fetch")]).await, ["default configured"]);

    let (status, object) = fixture.get("/v1/namespaces/u1/gateways/default").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(object["kind"], "Gateway");
    assert_eq!(object["metadata"]["generation"], 2);
    assert_eq!(object["metadata"]["labels"], json!({ "team": "data" }));
    assert_eq!(object["metadata"]["managedBy"], "cli");
    assert_eq!(object["spec"]["servers"][0]["name"], "fetch");
    fixture.end().await;
}

#[tokio::test]
async fn all_errors_of_all_files_come_at_once_and_nothing_is_written() {
    let fixture = Fixture::start().await;
    let wrong = gateway("u2", "tiem");
    let (status, problem) =
        fixture.try_apply(&[CATALOG, "kind: Gatewya\n", &wrong, "a: [\n"], Value::Null).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem:#}");
    let files: std::collections::BTreeSet<_> = problem["diagnostics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| (found["file"].as_str().unwrap(), found["line"].as_u64().unwrap() > 0))
        .collect();
    assert_eq!(files.into_iter().collect::<Vec<_>>(), [("1.yaml", true), ("2.yaml", true), ("3.yaml", true)]);
    let (_, list) = fixture.get("/v1/clustercatalogs").await;
    assert_eq!(list["items"], json!([]));
    fixture.end().await;
}

#[tokio::test]
async fn references_hold_across_applies() {
    let fixture = Fixture::start().await;
    let (status, problem) = fixture.try_apply(&[&gateway("u1", "time")], Value::Null).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(problem["diagnostics"][0]["code"], "UnknownCatalog");
    fixture.apply(&[CATALOG]).await;
    fixture.apply(&[&gateway("u1", "time")]).await;

    // An entry in use stays, unless somebody insists.
    let fewer = CATALOG.replace("    time:", "    clock:");
    let (status, problem) = fixture.try_apply(&[&fewer], Value::Null).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem:#}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("entry time") && detail.contains("gateway/u1/default"), "{detail}");
    let (status, _) = fixture.try_apply(&[&fewer], json!({ "force": true })).await;
    assert_eq!(status, StatusCode::OK);
    fixture.end().await;
}

#[tokio::test]
async fn an_object_that_is_being_deleted_is_not_applied() {
    let fixture = Fixture::start().await;
    fixture.apply(&[CATALOG, &gateway("u1", "time")]).await;
    let (status, body) = fixture.delete("/v1/namespaces/u1/gateways/default").await;
    assert_eq!((status, &body["gone"]), (StatusCode::OK, &json!(false)));
    let (status, problem) = fixture.try_apply(&[&gateway("u1", "fetch")], Value::Null).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(problem["hint"].as_str().unwrap().contains("bowline wait --for=delete gateway/u1/default"));
    fixture.end().await;
}

#[tokio::test]
async fn a_dry_run_shows_the_plan_and_writes_nothing() {
    let fixture = Fixture::start().await;
    let dry = json!({ "dryRun": true });
    let (u1, u2) = (gateway("u1", "time"), gateway("u2", "time"));
    let (status, body) = fixture.try_apply(&[CATALOG, &u1, &u2], dry.clone()).await;
    assert_eq!(status, StatusCode::OK, "{body:#}");
    assert_eq!(outcomes(&body), ["base created", "default created", "default created"]);
    let steps = |index: usize| body["plans"][index]["steps"].as_array().unwrap().clone();
    let has = |index, step: &str| steps(index).iter().any(|s| s.as_str().unwrap().starts_with(step));
    assert!(has(0, "create container mcp-gateway-u1_test"), "{body:#}");
    assert!(has(0, "create container mcp-server-u1.default.time_test"), "{body:#}");
    // Two gateways of one dry run are given different subnets.
    assert!(has(0, "create network mcp-net-u1.default_test (subnet 10.213.0.0/26)"), "{body:#}");
    assert!(has(1, "create network mcp-net-u2.default_test (subnet 10.213.0.64/26)"), "{body:#}");

    let (_, list) = fixture.get("/v1/gateways").await;
    assert_eq!(list["items"], json!([]));
    // A change of a catalog concerns the gateways that use it.
    fixture.apply(&[CATALOG, &u1]).await;
    let other = CATALOG.replace("example/time", "example/time:2");
    let (_, body) = fixture.try_apply(&[&other], dry).await;
    assert_eq!(body["plans"][0]["key"]["namespace"], "u1");
    fixture.end().await;
}

#[tokio::test]
async fn a_dry_run_gives_the_port_that_the_specification_names() {
    let fixture = Fixture::start().await;
    fixture.apply(&[CATALOG, &gateway("u1", "time")]).await;
    let store = &fixture.store;
    let record = store.load_gateway(&GatewayKey::new("u1", "default")).await.unwrap().unwrap();
    let host = store.register_host("h1").await.unwrap().id;
    let port = LeaseSlot::new(LeaseKind::Port, Holder::Gateway);
    let uid = record.object.metadata.uid;
    store.ensure_placement(uid, host).await.unwrap();
    store.take_lease(host, uid, &port, 20_000).await.unwrap();

    let fixed =
        |user: &str, port: u16| gateway(user, "time").replace("spec: {", &format!("spec: {{ port: {port},"));
    let dry = json!({ "dryRun": true });
    let notes = |body: &Value, index: usize| body["plans"][index]["notes"].to_string();
    // The first moves from the port that it holds to the one that it names, so that the second cannot have it.
    let (status, body) = fixture.try_apply(&[&fixed("u1", 20_005), &fixed("u2", 20_005)], dry.clone()).await;
    assert_eq!(status, StatusCode::OK, "{body:#}");
    assert!(!notes(&body, 0).contains("LeaseExhausted"), "{body:#}");
    let problem = "gateway waits (LeaseExhausted): port 20005 is leased to another gateway";
    assert!(notes(&body, 1).contains(problem), "{body:#}");
    // A port that another gateway holds is none to have; one's own is.
    let (_, body) = fixture.try_apply(&[&fixed("u1", 20_000), &fixed("u2", 20_000)], dry).await;
    assert!(!notes(&body, 0).contains("LeaseExhausted"), "{body:#}");
    assert!(notes(&body, 1).contains("port 20000 is leased to another gateway"), "{body:#}");
    fixture.end().await;
}

#[tokio::test]
async fn two_applies_at_the_same_time_both_hold() {
    let fixture = Fixture::start().await;
    fixture.apply(&[CATALOG]).await;
    for round in 0..5 {
        let text = |server: &str| format!("{}\n---{}", gateway("u1", server), gateway("u2", server));
        // In opposite orders, so that they meet in the database.
        let (a, b) = (text("time"), format!("{}\n---{}", gateway("u2", "fetch"), gateway("u1", "fetch")));
        let (a, b) = ([a.as_str()], [b.as_str()]);
        let (first, second) =
            tokio::join!(fixture.try_apply(&a, Value::Null), fixture.try_apply(&b, Value::Null));
        assert_eq!(
            (first.0, second.0),
            (StatusCode::OK, StatusCode::OK),
            "round {round}: {first:?} {second:?}"
        );
        let (_, list) = fixture.get("/v1/gateways").await;
        let servers: Vec<_> =
            list["items"].as_array().unwrap().iter().map(|o| &o["spec"]["servers"]).collect();
        assert_eq!(servers[0], servers[1], "each apply is whole");
    }
    fixture.end().await;
}
