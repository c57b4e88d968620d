//! Asking a gateway how it is; here the test itself is the gateway.

use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use bowline_core::gateway_file::GatewayState;
use bowline_core::step::{FailureClass, Step};
use bowline_host::{ProbeAnswer, ReloadError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use crate::ground::{Ground, free_port, test};

fn state() -> GatewayState {
    GatewayState {
        version: "1".to_owned(),
        config_revision: "c".to_owned(),
        tokens_revision: 7,
        servers: Vec::new(),
    }
}

fn response(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

/// Reads one request and gives the answer for its first line.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: impl Fn(&str) -> String) {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut request).await.unwrap() == 0 {
            return;
        }
    }
    let request = String::from_utf8(request).unwrap();
    let answer = answer(request.lines().next().unwrap());
    // The peer may have had enough.
    let _ = stream.write_all(answer.as_bytes()).await;
}

impl Ground {
    /// Makes the tree with a control directory; gives the socket's path, as short as a socket address needs it.
    async fn control(&self) -> PathBuf {
        let uid = self.uid;
        for path in ["", "sockets", "sockets/control"] {
            self.done(&Step::EnsureDirectory { uid, path: path.to_owned(), mode: 0o755 }).await;
        }
        let short = self.scratch().join("c");
        symlink(self.host.tree_path(uid).join("sockets/control"), &short).unwrap();
        short.join("control.sock")
    }
}

#[test]
fn a_gateway_is_healthy_by_its_port_and_tells_its_state_on_its_socket() {
    test(async |ground| {
        let control = UnixListener::bind(ground.control().await).unwrap();
        let health = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = health.local_addr().unwrap().port();
        let gateway = async {
            let at_health = async {
                let (stream, _) = health.accept().await.unwrap();
                serve(stream, |line| {
                    assert_eq!(line, "GET /health HTTP/1.1");
                    response("200 OK", "")
                })
                .await;
            };
            let at_control = async {
                let (stream, _) = control.accept().await.unwrap();
                serve(stream, |line| {
                    assert_eq!(line, "GET /v1/state HTTP/1.1");
                    response("200 OK", &serde_json::to_string(&state()).unwrap())
                })
                .await;
            };
            tokio::join!(at_health, at_control)
        };
        let (answer, _) = tokio::join!(ground.host.probe(ground.uid, port), gateway);
        assert_eq!(answer, ProbeAnswer { healthy: true, state: Some(state()) });

        let gateway = async {
            for answer in [
                response("200 OK", &serde_json::to_string(&state()).unwrap()),
                response("422 Unprocessable Entity", r#"{"message":"gateway.json: no"}"#),
                response("200 OK", &"x".repeat(2 << 20)),
            ] {
                let (stream, _) = control.accept().await.unwrap();
                serve(stream, |line| {
                    assert_eq!(line, "POST /v1/reload HTTP/1.1");
                    answer.clone()
                })
                .await;
            }
        };
        let reloads = async {
            assert_eq!(ground.host.reload(ground.uid).await.unwrap(), state());
            let step = Step::ReloadGateway { uid: ground.uid };
            assert_eq!(ground.fails(&step).await, FailureClass::Refused);
            let too_much = ground.host.reload(ground.uid).await.unwrap_err();
            assert!(matches!(too_much, ReloadError::Unreachable(_)), "{too_much}");
        };
        tokio::join!(reloads, gateway);
    });
}

#[test]
fn a_gateway_that_is_silent_or_away_is_not_healthy_and_holds_nobody_up() {
    test(async |ground| {
        let away = ground.host.probe(ground.uid, free_port()).await;
        assert_eq!(away, ProbeAnswer::default());
        let _control = UnixListener::bind(ground.control().await).unwrap();
        let health = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let began = std::time::Instant::now();
        let silent = ground.host.probe(ground.uid, health.local_addr().unwrap().port()).await;
        assert_eq!(silent, ProbeAnswer::default());
        assert!(began.elapsed().as_secs() < 10);
    });
}

#[test]
fn a_gateway_cannot_point_us_at_another_socket_of_the_host() {
    test(async |ground| {
        let control = ground.control().await;
        let elsewhere = ground.scratch().join("s");
        let listener = UnixListener::bind(&elsewhere).unwrap();
        symlink(&elsewhere, &control).unwrap();
        let reload = ground.host.reload(ground.uid).await.unwrap_err();
        assert!(matches!(reload, ReloadError::Unreachable(_)), "{reload}");
        let dialled = futures::FutureExt::now_or_never(listener.accept());
        assert!(dialled.is_none(), "the other socket was dialled");
    });
}
