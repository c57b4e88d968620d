use super::*;

/// A Catalog with these servers.
fn catalog(namespace: &str, name: &str, servers: &[&str]) -> String {
    let entries: String = servers
        .iter()
        .map(|server| {
            format!("    {server}: {{ type: server, image: {namespace}/{server}, allowHosts: [] }}\n")
        })
        .collect();
    format!(
        "
apiVersion: bowline.dev/v1alpha1
kind: Catalog
metadata: {{ namespace: {namespace}, name: {name} }}
spec:
  registry:
{entries}"
    )
}

/// A gateway with these catalogs and servers.
fn naming(namespace: &str, catalogs: &str, servers: &str) -> String {
    gateway(namespace, "")
        .replace("catalogs: [base], servers: []", &format!("catalogs: [{catalogs}], servers: [{servers}]"))
}

const TEAM: &str = "{ kind: Catalog, name: tools, namespace: data-team }";
const GATEWAY: &str = "/v1/namespaces/u1/gateways/default";
const TOOLS: &str = "/v1/namespaces/data-team/catalogs/tools";

#[tokio::test]
async fn catalogs_of_namespaces_are_listed_read_and_named_by_gateways() {
    let fixture = Fixture::start().await;
    let u1 = naming("u1", &format!("base, {TEAM}, {{ kind: Catalog, name: own }}"), "time, git, mine");
    let (team, own) = (catalog("data-team", "tools", &["git"]), catalog("u1", "own", &["mine"]));
    assert_eq!(
        fixture.apply(&[&u1, &own, &team, CATALOG]).await,
        ["base created", "own created", "tools created", "default created"]
    );
    let names = |list: &Value| {
        let items = list["items"].as_array().unwrap().clone();
        items.iter().map(|o| o["metadata"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&fixture.get("/v1/catalogs").await.1), ["tools", "own"]);
    assert_eq!(names(&fixture.get("/v1/namespaces/u1/catalogs").await.1), ["own"]);
    assert_eq!(names(&fixture.get("/v1/clustercatalogs").await.1), ["base"]);
    let (_, object) = fixture.get(TOOLS).await;
    assert_eq!((&object["kind"], &object["metadata"]["namespace"]), (&json!("Catalog"), &json!("data-team")));
    let (_, object) = fixture.get(GATEWAY).await;
    assert_eq!(object["spec"]["catalogs"][2], json!({ "kind": "Catalog", "namespace": "u1", "name": "own" }));

    // What is stored is found by the next apply, and what is not is an error at its place.
    assert_eq!(fixture.apply(&[&u1]).await, ["default unchanged"]);
    let wrong = naming("u2", "base, { kind: Catalog, name: own }", "time");
    let (status, problem) = fixture.try_apply(&[&wrong], Value::Null).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let found = &problem["diagnostics"][0];
    assert_eq!(
        (&found["code"], &found["message"]),
        (&json!("UnknownCatalog"), &json!("there is no catalog `u2/own`"))
    );
    fixture.end().await;
}

#[tokio::test]
async fn a_catalog_of_a_namespace_in_use_stays_until_its_users_go_or_somebody_insists() {
    let fixture = Fixture::start().await;
    fixture.apply(&[CATALOG, &catalog("data-team", "tools", &["git"])]).await;
    fixture
        .apply(&[&naming("u1", TEAM, "git"), &naming("u2", TEAM, ""), &naming("u3", "base", "time")])
        .await;
    let (status, problem) = fixture.delete(TOOLS).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(
        problem["detail"],
        "catalog/data-team/tools is used by gateway/u1/default, gateway/u2/default"
    );
    assert!(problem["hint"].as_str().unwrap().contains("--force"), "{problem}");
    for user in ["u1", "u2"] {
        fixture.delete(&format!("/v1/namespaces/{user}/gateways/default")).await;
    }
    let (status, _) = fixture.delete(TOOLS).await;
    assert_eq!(status, StatusCode::OK, "gateways that are being deleted need none");

    fixture.apply(&[&catalog("data-team", "tools", &["git"]), &naming("u4", TEAM, "git")]).await;
    let (status, body) = fixture.delete(&format!("{TOOLS}?force=true")).await;
    assert_eq!((status, &body["gone"]), (StatusCode::OK, &json!(true)));
    fixture.end().await;
}

#[tokio::test]
async fn a_refusal_names_every_lost_entry_with_all_its_users() {
    let fixture = Fixture::start().await;
    fixture.apply(&[CATALOG, &catalog("data-team", "tools", &["git", "jira", "spare"])]).await;
    fixture
        .apply(&[&naming("u1", TEAM, "git, jira"), &naming("u2", TEAM, "{ name: git, enabled: false }")])
        .await;
    let emptied = catalog("data-team", "tools", &["other"]);
    let (status, problem) = fixture.try_apply(&[&emptied], Value::Null).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(
        problem["detail"],
        "entry git of catalog/data-team/tools is used by gateway/u1/default, gateway/u2/default; \
         entry jira of catalog/data-team/tools is used by gateway/u1/default"
    );
    // What nobody uses may go, and so may what the gateways of the same apply do without.
    fixture.apply(&[&catalog("data-team", "tools", &["git", "jira"])]).await;
    fixture.apply(&[&emptied, &naming("u1", TEAM, "other"), &naming("u2", TEAM, "")]).await;
    let (status, _) =
        fixture.try_apply(&[&catalog("data-team", "tools", &["last"])], json!({ "force": true })).await;
    assert_eq!(status, StatusCode::OK);
    fixture.end().await;
}

#[tokio::test]
async fn a_layer_on_top_is_taken_back_without_insisting() {
    let fixture = Fixture::start().await;
    let own = "{ kind: Catalog, name: own }";
    fixture.apply(&[CATALOG, &catalog("u1", "own", &["time"])]).await;
    fixture.apply(&[&naming("u1", &format!("base, {own}"), "time")]).await;
    assert_eq!(fixture.apply(&[&catalog("u1", "own", &["more"])]).await, ["own configured"]);
    // Now `base` alone has it.
    let fewer = CATALOG.replace("    time:", "    clock:");
    let (status, problem) = fixture.try_apply(&[&fewer], Value::Null).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(problem["detail"], "entry time of clustercatalog/base is used by gateway/u1/default");
    // Given by another layer in the same apply, it is not lost.
    fixture.apply(&[&fewer, &catalog("u1", "own", &["time"])]).await;
    fixture.end().await;
}

#[tokio::test]
async fn an_applied_catalog_says_its_version_and_a_dry_run_the_plans_of_its_users() {
    let fixture = Fixture::start().await;
    let tools = catalog("data-team", "tools", &["git"]);
    let (_, body) = fixture.try_apply(&[&tools], Value::Null).await;
    let (_, object) = fixture.get(TOOLS).await;
    assert_eq!(body["objects"][0]["resourceVersion"], object["metadata"]["resourceVersion"]);
    let (_, again) = fixture.try_apply(&[&tools], Value::Null).await;
    assert_eq!(again["objects"][0]["resourceVersion"], body["objects"][0]["resourceVersion"]);

    fixture.apply(&[CATALOG, &naming("u1", TEAM, "git"), &naming("u2", "base", "time")]).await;
    let other = tools.replace("data-team/git", "data-team/git:2");
    let (_, body) = fixture.try_apply(&[&other], json!({ "dryRun": true })).await;
    let plans = body["plans"].as_array().unwrap();
    assert_eq!(plans.len(), 1, "{body:#}");
    assert_eq!(plans[0]["key"]["namespace"], "u1");
    assert!(plans[0]["notes"].to_string().contains("data-team/git:2"), "{body:#}");
    fixture.end().await;
}
