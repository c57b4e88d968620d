use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::*;

/// The controller as far as it is told what is asked for: takes one request, gives its first line.
async fn told(controller: &UnixListener) -> String {
    let (mut stream, _) =
        tokio::time::timeout(SOON, controller.accept()).await.expect("told in time").unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    String::from_utf8(head).unwrap().lines().next().unwrap().to_owned()
}

/// What the controller is told of the gateway `default` of a namespace.
fn wanted(namespace: &str) -> String {
    format!("POST /v1/wanted?namespace={namespace}&name=default HTTP/1.1")
}

#[tokio::test]
async fn a_gateway_that_somebody_asks_for_is_told_to_the_controller_which_may_come_later() {
    let fixture = Fixture::start().await;
    let [u1, u2, u3] = ["u1", "u2", "u3"].map(|user| gateway(user, "time"));
    fixture.apply(&[CATALOG, &u1, &u2, &u3]).await;
    let (status, _) = fixture.get("/v1/namespaces/u1/gateways/default").await;
    assert_eq!(status, StatusCode::OK, "without a controller, too");
    let controller = UnixListener::bind(&fixture.controller_socket).unwrap();
    assert_eq!(told(&controller).await, wanted("u1"));

    // Neither a list of everything nor a second look says that somebody asks for one.
    fixture.get("/v1/gateways").await;
    fixture.get("/v1/namespaces/u1/gateways/default").await;
    let token = json!({ "label": "mine" });
    fixture.exchange(Method::POST, "/v1/namespaces/u2/gateways/default/tokens", token).await;
    assert_eq!(told(&controller).await, wanted("u2"), "to connect to it");

    let _everybody = Watch::start_at(&fixture, "/v1/watch?kind=gateway").await.next().await;
    let _mine = Watch::start_at(&fixture, "/v1/watch?kind=gateway&namespace=u3").await.next().await;
    assert_eq!(told(&controller).await, wanted("u3"), "to wait for it");
    fixture.end().await;
}

#[tokio::test]
async fn one_that_is_suspended_is_not_brought_forward() {
    let fixture = Fixture::start().await;
    let suspended = gateway("u1", "time").replace("spec: {", "spec: { suspend: true,");
    fixture.apply(&[CATALOG, &suspended, &gateway("u2", "time")]).await;
    let controller = UnixListener::bind(&fixture.controller_socket).unwrap();
    for user in ["u1", "u2"] {
        fixture.get(&format!("/v1/namespaces/{user}/gateways/default")).await;
    }
    assert_eq!(told(&controller).await, wanted("u2"));
    fixture.end().await;
}
