//! Secrets as clients see them: written, named, never shown.

use bowline_core::secret::MAX_VALUE;
use bowline_store::{Keyring, PrivateKey};

use super::*;

const CANARY: &str = "canary-91fe";
const WORK: &str = "/v1/namespaces/u1/secrets/work";
const KEYS: &str = "/v1/namespaces/u1/secrets/work/keys";

/// An API in front of a database for which values can be sealed.
async fn start() -> (Fixture, Keyring) {
    let fixture = Fixture::start().await;
    let keyring = Keyring::from_iter([PrivateKey::generate()]);
    fixture.store.register_keys(&keyring).await.unwrap();
    (fixture, keyring)
}

/// A Secret with these `key: value` lines.
fn secret(name: &str, values: &str) -> String {
    format!(
        "
apiVersion: bowline.dev/v1alpha1
kind: Secret
metadata: {{ namespace: u1, name: {name}, labels: {{ team: data }} }}
stringData: {{ {values} }}
"
    )
}

const NEEDY: &str = "
apiVersion: bowline.dev/v1alpha1
kind: ClusterCatalog
metadata: { name: base }
spec:
  registry:
    git:
      title: Git
      description: Repositories
      type: server
      image: example/git
      allowHosts: []
      secrets:
      - { name: git.pat, env: GIT_PAT }
      - { name: git.user, env: GIT_USER }
";

/// A gateway whose server takes `git.pat` from the key `pat` of the Secret `work`, and the rest from `more`.
fn using(namespace: &str) -> String {
    gateway(namespace, "").replace(
        "servers: []",
        "secretRefs: [{ name: more }], servers: [{ name: git, secrets: [{ name: git.pat, valueFrom: \
         { secretKeyRef: { name: work, key: pat } } }] }]",
    )
}

/// The keys of a Secret as `key@version`.
fn keys(object: &Value) -> Vec<String> {
    let keys = object["status"]["keys"].as_array().unwrap();
    keys.iter().map(|key| format!("{}@{}", key["name"].as_str().unwrap(), key["version"])).collect()
}

#[tokio::test]
async fn an_applied_secret_shows_its_keys_and_versions_and_never_a_value() {
    let (fixture, _) = start().await;
    let text = secret("work", &format!("pat: {CANARY}, token: {CANARY}"));
    assert_eq!(fixture.apply(&[&text]).await, ["work created"]);
    let (status, object) = fixture.get(WORK).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(object["spec"], json!({ "keys": ["pat", "token"] }));
    assert_eq!(keys(&object), ["pat@1", "token@1"]);
    assert!(object["status"]["keys"][0]["writtenAt"].is_string(), "{object:#}");
    // What it is made of again is new, for nobody here can tell that it is the same.
    assert_eq!(fixture.apply(&[&text]).await, ["work configured"]);
    // An apply sets exactly its keys.
    assert_eq!(fixture.apply(&[&secret("work", "token: x, more: y")]).await, ["work configured"]);
    let (_, object) = fixture.get(WORK).await;
    assert_eq!(object["spec"], json!({ "keys": ["more", "token"] }));
    assert_eq!(keys(&object), ["more@3", "token@3"]);
    // What `get -o yaml` shows says nothing of values and changes none.
    let mut shown = object.clone();
    shown["metadata"]["annotations"] = json!({ "note": "kept" });
    assert_eq!(fixture.apply(&[&shown.to_string()]).await, ["work configured"]);
    let (_, annotated) = fixture.get(WORK).await;
    assert_eq!(
        (keys(&annotated), &annotated["metadata"]["annotations"]),
        (keys(&object), &json!({ "note": "kept" }))
    );

    for path in ["/v1/secrets", "/v1/namespaces/u1/secrets"] {
        let (_, list) = fixture.get(path).await;
        assert_eq!(keys(&list["items"][0]), ["more@3", "token@3"], "{path}");
        assert!(!list.to_string().contains(CANARY));
    }
    assert_eq!(fixture.get("/v1/namespaces/u2/secrets").await.1["items"], json!([]));
    let (status, _) = fixture.get("/v1/namespaces/u1/secrets/none").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    fixture.end().await;
}

#[tokio::test]
async fn single_keys_are_set_and_deleted_beside_the_others() {
    let (fixture, keyring) = start().await;
    let set = |values: Value| json!({ "stringData": values });
    let (status, done) = fixture.exchange(Method::PUT, KEYS, set(json!({ "pat": CANARY }))).await;
    assert_eq!((status, &done["outcome"]), (StatusCode::OK, &json!("created")), "{done:#}");
    let (_, done) = fixture.exchange(Method::PUT, KEYS, set(json!({ "token": "t" }))).await;
    assert_eq!((&done["outcome"], &done["key"]["name"]), (&json!("configured"), &json!("work")));
    let (_, object) = fixture.get(WORK).await;
    assert_eq!(
        (keys(&object), &object["metadata"]["managedBy"]),
        (vec!["pat@1".to_owned(), "token@2".to_owned()], &json!("api"))
    );
    assert_eq!(done["resourceVersion"], object["metadata"]["resourceVersion"]);

    let (status, _) = fixture.delete(&format!("{KEYS}/token")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(keys(&fixture.get(WORK).await.1), ["pat@1"]);
    for absent in [format!("{KEYS}/token"), "/v1/namespaces/u1/secrets/none/keys/pat".to_owned()] {
        assert_eq!(fixture.delete(&absent).await.0, StatusCode::NOT_FOUND, "{absent}");
    }
    // What was set is what a server would get.
    let names = std::collections::BTreeSet::from(["work".to_owned()]);
    fixture.store.settle_secrets(&keyring, "u1").await.unwrap();
    let facts = fixture.store.secret_facts("u1", &names).await.unwrap();
    let source = bowline_core::secret::SecretSource {
        env: "PAT".to_owned(),
        secret: "work".to_owned(),
        secret_uid: facts["work"].uid,
        key: "pat".to_owned(),
        version: facts["work"].keys["pat"].version,
    };
    let opened = fixture.store.open_secrets(&keyring, "u1", &[source]).await.unwrap();
    assert_eq!((opened[0].0.as_str(), opened[0].1.as_str()), ("PAT", CANARY));

    let (status, body) = fixture.delete(WORK).await;
    assert_eq!((status, &body["gone"]), (StatusCode::OK, &json!(true)));
    assert_eq!(fixture.get(WORK).await.0, StatusCode::NOT_FOUND);
    fixture.end().await;
}

#[tokio::test]
async fn the_metadata_of_a_secret_is_edited_beside_its_values() {
    let (fixture, _) = start().await;
    fixture.apply(&[&secret("work", "pat: x")]).await;
    let (_, mut object) = fixture.get(WORK).await;
    object["metadata"]["annotations"] = json!({ "note": "mine" });
    let (status, done) = fixture.exchange(Method::PUT, WORK, object.clone()).await;
    assert_eq!((status, &done["objects"][0]["outcome"]), (StatusCode::OK, &json!("configured")), "{done:#}");
    let (_, now) = fixture.get(WORK).await;
    assert_eq!(
        (keys(&now), &now["metadata"]["annotations"]["note"]),
        (vec!["pat@1".to_owned()], &json!("mine"))
    );
    let (status, problem) = fixture.exchange(Method::PUT, WORK, object).await;
    assert_eq!(status, StatusCode::CONFLICT, "somebody else wrote in between: {problem:#}");
    fixture.end().await;
}

#[tokio::test]
async fn what_a_gateway_uses_stays_until_it_goes_or_somebody_insists() {
    let (fixture, _) = start().await;
    let (work, more) = (secret("work", "pat: a, spare: b"), secret("more", "git.user: a, git.pat: b"));
    fixture.apply(&[NEEDY, &work, &more, &using("u1"), &using("u2")]).await;
    let (_, object) = fixture.get(WORK).await;
    assert_eq!(object["status"]["usedBy"], json!([{ "namespace": "u1", "name": "default" }]));

    let (status, problem) = fixture.delete(WORK).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(problem["detail"], "secret/u1/work is used by gateway/u1/default");
    assert!(problem["hint"].as_str().unwrap().contains("--force"), "{problem:#}");
    let more_keys = "/v1/namespaces/u1/secrets/more/keys";
    for (path, used) in [
        (format!("{KEYS}/pat"), true),
        (format!("{KEYS}/spare"), false),
        (format!("{more_keys}/git.user"), true),
        // The server has it from elsewhere.
        (format!("{more_keys}/git.pat"), false),
    ] {
        let expected = if used { StatusCode::CONFLICT } else { StatusCode::OK };
        let (status, body) = fixture.delete(&path).await;
        assert_eq!(status, expected, "{path}: {body:#}");
    }
    let (status, problem) = fixture.try_apply(&[&secret("work", "other: a")], Value::Null).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(problem["detail"], "key pat of secret/u1/work is used by gateway/u1/default");
    // With a gateway that does without, it may go.
    assert_eq!(
        fixture.apply(&[&secret("work", "other: a"), &gateway("u1", "")]).await,
        ["work configured", "default configured"]
    );
    fixture.apply(&[&using("u1"), &work]).await;
    assert_eq!(fixture.delete(&format!("{KEYS}/pat?force=true")).await.0, StatusCode::OK);
    assert_eq!(
        fixture.delete(&format!("{KEYS}/pat")).await.0,
        StatusCode::NOT_FOUND,
        "used, and gone already"
    );
    assert_eq!(fixture.delete(&format!("{WORK}?force=true")).await.0, StatusCode::OK);
    fixture.delete("/v1/namespaces/u1/gateways/default").await;
    assert_eq!(
        fixture.delete("/v1/namespaces/u1/secrets/more").await.0,
        StatusCode::OK,
        "it needs none any more"
    );
    fixture.end().await;
}

#[tokio::test]
async fn a_dry_run_plans_with_the_secrets_of_the_same_input_and_seals_nothing() {
    let (fixture, _) = start().await;
    let dry = json!({ "dryRun": true });
    let (work, more) = (secret("work", &format!("pat: {CANARY}")), secret("more", "git.user: x"));
    let (_, body) = fixture.try_apply(&[NEEDY, &using("u1")], dry.clone()).await;
    let notes = body["plans"][0]["notes"].to_string();
    assert!(
        notes.contains("SecretMissing") && notes.contains("bowline secret set -n u1 work pat"),
        "{body:#}"
    );
    let (status, body) = fixture.try_apply(&[NEEDY, &using("u1"), &work, &more], dry.clone()).await;
    assert_eq!(status, StatusCode::OK, "{body:#}");
    assert_eq!(outcomes(&body), ["base created", "work created", "more created", "default created"]);
    assert_eq!(body["objects"][1]["object"]["spec"], json!({ "keys": ["pat"] }));
    let plan = &body["plans"][0];
    assert!(!plan["notes"].to_string().contains("SecretMissing"), "{plan:#}");
    assert!(plan["steps"].to_string().contains("mcp-server-u1.default.git_test"), "{plan:#}");
    assert!(!body.to_string().contains(CANARY));
    assert_eq!(fixture.get("/v1/secrets").await.1["items"], json!([]));
    assert_eq!(fixture.store.secret_keys(None, None).await.unwrap(), []);

    // A change of a Secret concerns the gateways that name it.
    fixture.apply(&[NEEDY, &using("u1"), &using("u2"), &work, &more]).await;
    let (_, body) = fixture.try_apply(&[&secret("work", "pat: other")], dry).await;
    let plans = body["plans"].as_array().unwrap();
    assert_eq!(plans.len(), 1, "{body:#}");
    assert_eq!(plans[0]["key"]["namespace"], "u1");
    assert!(plans[0]["notes"].to_string().contains("assumes that the values of secret/u1/work"), "{body:#}");
    fixture.end().await;
}

#[tokio::test]
async fn no_refusal_repeats_a_value() {
    let (fixture, _) = start().await;
    fixture.apply(&[&secret("work", "pat: x")]).await;
    let head = "apiVersion: bowline.dev/v1alpha1\nkind: Secret\nmetadata: { namespace: u1, name: work }\n";
    for data in [
        format!("stringData: {CANARY}"),
        format!("stringData: [{CANARY}]"),
        format!("stringData: {{ pat: [{CANARY}] }}"),
        format!("stringData: {{ pat: {{ {CANARY}: {CANARY} }} }}"),
        format!("stringData: {{ pat: *{CANARY} }}"),
        format!("stringData: {{ pat: !{CANARY} x }}"),
        format!("stringData: {{ pat: &{CANARY} }}\n*{CANARY}"),
        format!("stringData: {{ pat: \"{CANARY} }}"),
        format!("stringData: {{ pat: \"\\{CANARY}\" }}"),
        format!("stringData: {{ pat: @{CANARY} }}"),
        format!("stringData: {{ pat: %{CANARY}, pat: `{CANARY} }}"),
        format!("stringData: {{ pat: a, pat: {CANARY} }}"),
        format!("stringData: {{ pat: a: {CANARY} }}"),
        format!("stringData:\n  pat: {CANARY}: {CANARY}"),
        format!("stringData:\n  pat: a\n {CANARY}"),
        format!("stringData:\n  pat: |\n  {CANARY}\n x"),
        format!("stringData:\n  pat: x\n{CANARY}"),
        format!("stringData:\n  {CANARY} {CANARY}: x"),
        format!("data: {{ pat: {CANARY} }}"),
        format!("spec: {{ stringData: {{ pat: {CANARY} }} }}\nmore: {CANARY}"),
        format!("stringData: {{ pat: \"{CANARY}\\0\" }}"),
        format!("stringData: {{ pat: {}{CANARY} }}", "x".repeat(MAX_VALUE)),
    ] {
        let text = format!("{head}{data}\n");
        for request in [json!(null), json!({ "dryRun": true })] {
            let (status, problem) = fixture.try_apply(&[&text], request).await;
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{data}: {problem:#}");
            assert!(!problem.to_string().contains(CANARY), "{data}: {problem:#}");
        }
    }
    // Numbers and words that YAML takes for something else are values, too.
    let (_, problem) =
        fixture.try_apply(&[&format!("{head}stringData: {{ pin: 914422 }}\n")], Value::Null).await;
    assert_eq!(problem["diagnostics"][0]["code"], "WrongType", "{problem:#}");
    assert!(!problem.to_string().contains("914422"), "{problem:#}");

    for (method, path, body) in [
        (Method::PUT, KEYS, json!({ "stringData": { "pat": [CANARY] } })),
        (Method::PUT, KEYS, json!({ "stringData": CANARY })),
        (Method::PUT, KEYS, json!({ "stringData": { "pat": 914422 } })),
        (Method::PUT, KEYS, json!({ CANARY: "x" })),
        (Method::PUT, KEYS, json!({ "stringData": { (format!("{CANARY} {CANARY}")): "x" } })),
        (Method::PUT, KEYS, json!({ "stringData": { "pat": format!("{CANARY}\0") } })),
        (Method::PUT, KEYS, json!({ "stringData": { "pat": CANARY.repeat(MAX_VALUE) } })),
        (Method::PUT, KEYS, json!({ "stringData": {} })),
        (Method::PUT, KEYS, json!(CANARY)),
        (Method::PUT, "/v1/namespaces/U1/secrets/work/keys", json!({ "stringData": { "pat": CANARY } })),
        (Method::PUT, WORK, json!({ "kind": "Secret", "stringData": { "pat": CANARY } })),
        (Method::POST, "/v1/apply", json!({ "files": CANARY, "managedBy": "cli" })),
        (Method::POST, "/v1/apply", json!({ "files": [{ "text": [CANARY] }], "managedBy": "cli" })),
        (
            Method::POST,
            "/v1/apply",
            json!({ "files": [{ CANARY: "x", "text": CANARY }], "managedBy": "cli" }),
        ),
        (
            Method::POST,
            "/v1/apply",
            json!({ "files": [{ "text": format!("a: {CANARY}\n") }], "managedBy": "cli" }),
        ),
    ] {
        let (status, problem) = fixture.exchange(method, path, body.clone()).await;
        assert!(status.is_client_error(), "{body}: {status}");
        assert!(!problem.to_string().contains(CANARY), "{body}: {problem:#}");
        assert!(!problem.to_string().contains("914422"), "{body}: {problem:#}");
    }
    // A body that is cut off is no JSON, and is not repeated, either.
    let response = fixture.send(Method::PUT, KEYS, format!("{{\"stringData\":{{\"pat\":\"{CANARY}")).await;
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(!String::from_utf8_lossy(&body).contains(CANARY));
    assert_eq!(keys(&fixture.get(WORK).await.1), ["pat@1"], "nothing of all this was written");
    fixture.end().await;
}

#[tokio::test]
async fn without_a_key_to_seal_with_nothing_is_written() {
    let fixture = Fixture::start().await;
    let (status, problem) =
        fixture.try_apply(&[&secret("work", &format!("pat: {CANARY}"))], Value::Null).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem:#}");
    assert!(problem["detail"].as_str().unwrap().contains("no key yet"), "{problem:#}");
    assert_eq!(fixture.get("/v1/secrets").await.1["items"], json!([]));
    fixture.end().await;
}
