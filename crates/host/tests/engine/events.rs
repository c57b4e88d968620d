//! Hints from the Engine's events.

use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use bowline_core::step::Step;
use bowline_host::HostHint;
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use crate::ground::test;

const PATIENCE: Duration = Duration::from_secs(30);

async fn wait_for(hints: &mut (impl Stream<Item = HostHint> + Unpin), wanted: &HostHint) {
    let search = async { while hints.next().await.expect("hints have no end") != *wanted {} };
    tokio::time::timeout(PATIENCE, search).await.unwrap_or_else(|_| panic!("no {wanted:?}"));
}

#[test]
fn what_happens_to_a_container_or_network_of_ours_names_its_gateway() {
    test(async |ground| {
        let ours = HostHint::Key(ground.key.clone());
        // A stream of its own for each cause: it begins now, so nothing of the cause before is in it.
        let hint_of = async |cause: BoxFuture<'_, ()>| {
            let mut hints = pin!(ground.host.events());
            wait_for(&mut hints, &HostHint::All).await;
            cause.await;
            wait_for(&mut hints, &ours).await;
        };
        hint_of(ground.done(&ground.create("gateway", &ground.spec())).boxed()).await;
        hint_of(ground.done(&ground.start("gateway")).boxed()).await;
        let name = ground.name("gateway");
        hint_of(ground.docker.kill_container(&name, None).map(Result::unwrap).boxed()).await;

        let subnet = ground.free_subnet().await;
        hint_of(ground.done(&ground.create_network("net", subnet)).boxed()).await;
        let id = ground.docker.inspect_network(&ground.name("net"), None).await.unwrap().id.unwrap();
        hint_of(ground.done(&Step::RemoveNetwork { id, name: ground.name("net") }).boxed()).await;
    });
}

#[test]
fn after_the_connection_was_cut_everything_is_to_be_looked_at() {
    test(async |ground| {
        let ours = HostHint::Key(ground.key.clone());
        let (cut, cuts) = watch::channel(Cut::Abrupt);
        let socket = ground.scratch().join("proxy.sock");
        let proxy = tokio::spawn(proxy(UnixListener::bind(&socket).unwrap(), engine_socket(), cuts));
        let host = ground.host_at(socket.to_str().unwrap()).await;
        let mut hints = pin!(host.events());
        wait_for(&mut hints, &HostHint::All).await;
        for (round, how) in [Cut::Abrupt, Cut::Clean, Cut::Abrupt].into_iter().enumerate() {
            // An event that arrives shows that there is a living stream to cut.
            ground.done(&ground.create(&format!("gateway-{round}"), &ground.spec())).await;
            wait_for(&mut hints, &ours).await;
            cut.send(how).unwrap();
            wait_for(&mut hints, &HostHint::All).await;
        }
        proxy.abort();
    });
}

fn engine_socket() -> PathBuf {
    let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
    PathBuf::from(host.trim_start_matches("unix://"))
}

/// How a stream ends: in the middle, or as if the Engine had no more to say.
#[derive(Clone, Copy, PartialEq)]
enum Cut {
    Abrupt,
    Clean,
}

/// Passes everything on to the Engine until it is told to drop all connections.
async fn proxy(listener: UnixListener, engine: PathBuf, cuts: watch::Receiver<Cut>) {
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        let (engine, mut cuts) = (engine.clone(), cuts.clone());
        cuts.mark_unchanged();
        tokio::spawn(async move {
            let mut server = UnixStream::connect(engine).await.unwrap();
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                _ = cuts.changed() => {
                    let how = *cuts.borrow();
                    if how == Cut::Clean {
                        // The last chunk of a body.
                        client.write_all(b"0\r\n\r\n").await.unwrap();
                    }
                }
            }
        });
    }
}
