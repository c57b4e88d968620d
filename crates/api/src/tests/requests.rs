use bowline_core::desired::Requests;
use bowline_core::object::GatewayKey;

use super::*;

const PATH: &str = "/v1/namespaces/u1/gateways/default";

async fn ask(fixture: &Fixture, verb: &str, unit: &str) -> (StatusCode, Value) {
    fixture.exchange(Method::POST, &format!("{PATH}/{verb}"), json!({ "unit": unit })).await
}

#[tokio::test]
async fn restarts_and_retries_are_counted_for_the_controller() {
    let fixture = Fixture::start().await;
    fixture.apply(&[CATALOG, &gateway("u1", "time")]).await;
    assert_eq!(ask(&fixture, "restart", "gateway").await.1["revision"], 1);
    assert_eq!(ask(&fixture, "restart", "gateway").await.1["revision"], 2);
    assert_eq!(ask(&fixture, "restart", "server:time").await.1["revision"], 3);
    assert_eq!(ask(&fixture, "retry", "*").await.1["revision"], 4);
    let record = fixture.store.load_gateway(&GatewayKey::new("u1", "default")).await.unwrap().unwrap();
    let counts = |restart, retry| Requests { restart, retry };
    let expected = [("*", counts(0, 1)), ("gateway", counts(2, 0)), ("server:time", counts(1, 0))];
    assert_eq!(record.requests, expected.map(|(unit, counts)| (unit.to_owned(), counts)).into());
    fixture.end().await;
}

#[tokio::test]
async fn a_remote_server_is_not_restarted_but_its_gateway_is() {
    let fixture = Fixture::start().await;
    let remote =
        "{ title: Far, description: Away, type: remote, remote: { url: 'https://far.example/mcp' } }";
    // The later catalog's entry is the one that counts.
    let layered = format!(
        "{CATALOG}    far: {{ image: example/far, disableNetwork: true }}\n---\napiVersion: bowline.dev/v1alpha1\n\
         kind: ClusterCatalog\nmetadata: {{ name: over }}\nspec: {{ registry: {{ far: {remote} }} }}\n"
    );
    let gateway = gateway("u1", "time, far").replace("catalogs: [base]", "catalogs: [base, over]");
    fixture.apply(&[&layered, &gateway]).await;
    let (status, problem) = ask(&fixture, "restart", "server:far").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    for text in ["server far of gateway/u1/default is a remote one", "bowline restart gateway u1/default"] {
        assert!(problem.to_string().contains(text), "{text} is not in {problem}");
    }
    assert_eq!(ask(&fixture, "restart", "server:time").await.1["revision"], 1, "nothing was counted");
    assert_eq!(ask(&fixture, "retry", "server:far").await.0, StatusCode::OK);
    fixture.end().await;
}

#[tokio::test]
async fn a_part_that_is_not_there_or_does_not_run_is_not_restarted() {
    let fixture = Fixture::start().await;
    let servers = "{ name: time, enabled: false }, fetch";
    fixture.apply(&[CATALOG, &gateway("u1", servers)]).await;
    let refused = async |verb: &str, unit: &str, expected: StatusCode, text: &str| {
        let (status, problem) = ask(&fixture, verb, unit).await;
        assert_eq!(status, expected, "{problem}");
        assert!(problem.to_string().contains(text), "{text} is not in {problem}");
    };
    refused("restart", "server:tiem", StatusCode::NOT_FOUND, "it has time, fetch").await;
    refused("retry", "server:tiem", StatusCode::NOT_FOUND, "it has time, fetch").await;
    refused("restart", "everything", StatusCode::UNPROCESSABLE_ENTITY, "server:<name>").await;
    refused("retry", "server:", StatusCode::UNPROCESSABLE_ENTITY, "server:<name>").await;
    refused("restart", "server:time", StatusCode::UNPROCESSABLE_ENTITY, "bowline enable u1/default time")
        .await;
    fixture.apply(&[&gateway("u1", "time").replace("spec: {", "spec: { suspend: true,")]).await;
    refused("restart", "gateway", StatusCode::UNPROCESSABLE_ENTITY, "suspended").await;
    fixture.delete(PATH).await;
    refused("restart", "gateway", StatusCode::CONFLICT, "being deleted").await;
    assert_eq!(ask(&fixture, "retry", "*").await.0, StatusCode::OK, "a deletion may be tried again");
    fixture.end().await;
}
