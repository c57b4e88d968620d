use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::*;

const LOGS: &str = "/v1/namespaces/u1/gateways/default/logs";

/// The head of the request that reaches the controller's socket, and the connection to answer on.
async fn asked(controller: &UnixListener) -> (String, UnixStream) {
    let (mut stream, _) = controller.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    (String::from_utf8(head).unwrap(), stream)
}

#[tokio::test]
async fn lines_come_from_the_controller_while_it_writes_them() {
    let fixture = Fixture::start().await;
    fixture.apply(&[CATALOG, &gateway("u1", "time")]).await;
    let controller = UnixListener::bind(&fixture.controller_socket).unwrap();
    let path = format!("{LOGS}?server=time&follow=true&tail=5&since=2026-01-01T00:00:00Z");
    let (response, (head, mut stream)) = tokio::join!(fixture.send(Method::GET, &path, ""), async {
        let (head, mut stream) = asked(&controller).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nfirst\n\r\n")
            .await
            .unwrap();
        (head, stream)
    });
    let request = head.lines().next().unwrap();
    let query =
        "namespace=u1&name=default&server=time&follow=true&tail=5&since=2026-01-01T00%3A00%3A00%2B00%3A00";
    assert_eq!(request, format!("GET /v1/logs?{query} HTTP/1.1"));
    let mut body = response.into_body();
    let mut line = async || body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(line().await, "first\n", "before the controller has ended");
    stream.write_all(b"7\r\nsecond\n\r\n0\r\n\r\n").await.unwrap();
    assert_eq!(line().await, "second\n");
    fixture.end().await;
}

#[tokio::test]
async fn what_is_not_there_is_said_and_a_controller_that_is_away_too() {
    let fixture = Fixture::start().await;
    assert_eq!(fixture.get(LOGS).await.0, StatusCode::NOT_FOUND, "no such gateway");
    fixture.apply(&[CATALOG, &gateway("u1", "time")]).await;
    assert_eq!(fixture.get(LOGS).await.0, StatusCode::SERVICE_UNAVAILABLE, "no controller");
    let controller = UnixListener::bind(&fixture.controller_socket).unwrap();
    let ((status, problem), ()) = tokio::join!(fixture.get(LOGS), async {
        let (_, mut stream) = asked(&controller).await;
        stream
            .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 13\r\n\r\nno container\n")
            .await
            .unwrap();
    });
    assert_eq!((status, &problem["detail"]), (StatusCode::NOT_FOUND, &json!("no container")));
    fixture.end().await;
}
