//! Two gateways that want the volumes of one server.

use std::collections::BTreeSet;

use bowline_core::object::{GatewayKey, ObjectKey};
use bowline_core::status::ServerState;
use bowline_core::volume::VolumeKey;
use bowline_store::Store;
use uuid::Uuid;

use crate::bench::{Bench, apply, with_store};

fn volumes(names: &[&str]) -> BTreeSet<VolumeKey> {
    names.iter().map(|name| VolumeKey::new("keeper", *name)).collect()
}

/// Another gateway of the namespace, which no run ever looks at.
async fn neighbour(store: &Store, bench: &Bench) -> Uuid {
    let namespace = &bench.key.namespace;
    let gateway = format!(
        "apiVersion: bowline.dev/v1alpha1\nkind: Gateway\nmetadata: {{ namespace: {namespace}, name: work }}\n\
         spec: {{ catalogs: [base] }}"
    );
    apply(store, &gateway).await;
    store.get(&ObjectKey::gateway(namespace, "work")).await.unwrap().unwrap().metadata.uid
}

#[test]
fn of_two_gateways_that_each_have_one_volume_of_a_server_one_gets_both() {
    with_store(|store| async move {
        let mut bench = Bench::new(&store, 0).await;
        bench.declare("localhost/gateway:1", "[keeper]").await;
        let (one, two) = (bench.record().await.unwrap().object.metadata.uid, neighbour(&store, &bench).await);
        let claim = async |gateway, names: &[&str]| {
            let namespace = &bench.key.namespace;
            store.claim_volumes(bench.host, gateway, namespace, &volumes(names)).await.unwrap().problems
        };
        assert!(claim(one, &["a"]).await.is_empty());
        assert!(claim(two, &["b"]).await.is_empty());
        bench.run_once().await.unwrap();
        let status = bench.status().await;
        assert_eq!(status.servers[0].state, ServerState::Failed);
        assert_eq!(status.servers[0].reason.as_deref(), Some("VolumeInUse"), "{status:?}");
        assert_eq!(
            store.held_volumes(one).await.unwrap(),
            [],
            "it keeps nobody waiting with what it cannot use"
        );
        assert!(claim(two, &["a", "b"]).await.is_empty());

        store.release_volumes(two, &Vec::from_iter(volumes(&["a", "b"]))).await.unwrap();
        bench.settle().await;
        assert_eq!(store.held_volumes(one).await.unwrap(), Vec::from_iter(volumes(&["a", "b"])));
        let names: Vec<_> =
            bench.world.containers().into_iter().map(|(seen, _)| seen.identity.role).collect();
        assert_eq!(names.len(), 2, "{names:?}");
    });
}

#[test]
fn a_gateway_that_is_paused_claims_nothing() {
    with_store(|store| async move {
        let bench = Bench::new(&store, 0).await;
        let GatewayKey { namespace, name } = &bench.key;
        apply(
            &store,
            &format!(
                "apiVersion: bowline.dev/v1alpha1\nkind: Gateway\n\
                 metadata: {{ namespace: {namespace}, name: {name}, annotations: {{ dev.bowline.paused: 'true' }} }}\n\
                 spec: {{ catalogs: [base], servers: [keeper] }}"
            ),
        )
        .await;
        bench.run_once().await.unwrap();
        let uid = bench.record().await.unwrap().object.metadata.uid;
        assert_eq!(store.held_volumes(uid).await.unwrap(), []);
    });
}
