use std::collections::BTreeSet;

use bowline_core::gateway_file::TokenVerifier;
use bowline_core::labels::Owner;
use bowline_core::lease::{Holder, LeaseKind, LeaseSlot};
use bowline_core::object::{GatewayKey, StoredMeta};
use bowline_core::volume::{VolumeIdentity, VolumeKey, VolumeProblem};
use chrono::Utc;
use serde_json::json;

use super::*;
use crate::testing::with_store;

fn gateway(namespace: &str, port: i64) -> AdoptedGateway {
    let token = TokenVerifier {
        id: format!("t-{namespace}"),
        sha256: hex::encode([port as u8; 32]),
        expires_at: None,
    };
    AdoptedGateway {
        object: Stored {
            metadata: StoredMeta {
                key: ObjectKey::gateway(namespace, "default"),
                uid: Uuid::now_v7(),
                generation: 7,
                resource_version: 0,
                labels: BTreeMap::from([("team".to_owned(), "data".to_owned())]),
                annotations: BTreeMap::new(),
                creation_timestamp: Utc::now(),
                deletion_timestamp: None,
                managed_by: "cli".to_owned(),
            },
            spec: json!({ "catalogs": ["base"] }),
            status: None,
        },
        pins: json!({ "generation": 7, "images": {} }),
        rollouts: json!({ "gateway": { "failed": { "specHash": "bad" } } }),
        requests: BTreeMap::from([("gateway".to_owned(), Requests { restart: 2, retry: 1 })]),
        epoch: 3,
        leases: Leases::from([(LeaseSlot::new(LeaseKind::Port, Holder::Gateway), port)]),
        tokens: TokensFile { revision: 9, tokens: vec![token] },
    }
}

fn adoption(gateways: Vec<AdoptedGateway>) -> Adoption {
    Adoption {
        tenants: BTreeMap::from([("u1".to_owned(), Uuid::from_u128(77))]),
        installation: Uuid::now_v7(),
        host: "h1".to_owned(),
        catalogs: BTreeMap::from([(ObjectKey::cluster_catalog("base"), json!({ "registry": {} }))]),
        gateways,
        volumes: Vec::new(),
    }
}

#[test]
fn what_is_adopted_is_as_it_was() {
    with_store(|fixture| async move {
        let adoption = adoption(vec![gateway("u1", 20_000), gateway("u2", 20_001)]);
        fixture.store.adopt(&adoption).await.unwrap();
        let record = fixture.store.load_gateway(&GatewayKey::new("u1", "default")).await.unwrap().unwrap();
        let (before, after) = (&adoption.gateways[0], &record.object.metadata);
        assert_eq!(after.uid, before.object.metadata.uid);
        assert_eq!(after.generation, 7);
        assert_eq!(after.labels, before.object.metadata.labels);
        assert!(after.resource_version > 0, "watchers learn of it");
        assert_eq!(record.placement.unwrap().epoch, 3);
        assert_eq!(record.leases, before.leases);
        assert_eq!(record.pins.as_ref(), Some(&before.pins));
        assert_eq!(record.rollouts.as_ref(), Some(&before.rollouts));
        assert_eq!(record.requests, before.requests);
        assert_eq!(record.tokens_revision, 9);
        assert_eq!(record.tokens[0].sha256, before.tokens.tokens[0].sha256);
        assert!(record.catalogs.contains_key(&ObjectKey::cluster_catalog("base")));
        let again = Store::open(&fixture.database, crate::testing::INSTANCE).await.unwrap();
        assert_eq!(again.installation(), adoption.installation);
        again.close().await;
    });
}

#[test]
fn a_volume_stays_with_the_gateway_that_runs_on_it() {
    with_store(|fixture| async move {
        let (used, kept) = (VolumeKey::new("keeper", "data"), VolumeKey::new("other", "data"));
        let mut adoption = adoption(vec![gateway("u1", 20_000)]);
        let volume = |tenant: u128, key: &VolumeKey, holder| AdoptedVolume {
            seen: ObservedVolume {
                name: format!("mcp-vol-{tenant}.{}", key.server),
                identity: VolumeIdentity {
                    owner: Owner { instance: "test".to_owned(), installation: adoption.installation },
                    host: "h1".to_owned(),
                    namespace: "u1".to_owned(),
                    tenant: Uuid::from_u128(tenant),
                    key: key.clone(),
                },
            },
            holder,
        };
        let holder = adoption.gateways[0].object.metadata.uid;
        adoption.volumes =
            vec![volume(77, &used, Some(holder)), volume(77, &kept, None), volume(78, &kept, None)];
        fixture.store.adopt(&adoption).await.unwrap();
        let listed = fixture.store.volumes(None).await.unwrap();
        let listed: Vec<_> = listed.into_iter().map(|row| (row.key, row.holder, row.engine_name)).collect();
        let name = |server| Some(format!("mcp-vol-77.{server}"));
        let user = GatewayKey::new("u1", "default");
        let expected =
            [(used.clone(), Some(user.clone()), name("keeper")), (kept.clone(), None, name("other"))];
        assert_eq!(listed, expected);

        // Whichever gateway of the namespace is looked at first.
        let second = fixture.apply(&ObjectKey::gateway("u1", "work"), &json!({})).await.object.metadata.uid;
        let host = fixture.store.register_host("h1").await.unwrap().id;
        let claims =
            fixture.store.claim_volumes(host, second, "u1", &[used.clone(), kept].into()).await.unwrap();
        assert_eq!(claims.problems, [(used.to_string(), VolumeProblem::InUse(user))].into());
    });
}

#[test]
fn an_installation_of_which_only_tenants_are_left_is_adopted_too() {
    with_store(|fixture| async move {
        let adoption = Adoption { catalogs: BTreeMap::new(), ..adoption(Vec::new()) };
        fixture.store.adopt(&adoption).await.unwrap();
        let again = Store::open(&fixture.database, crate::testing::INSTANCE).await.unwrap();
        assert_eq!(again.installation(), adoption.installation);
        again.close().await;
        let (gateway, place) = fixture.placed("u1").await;
        let claims = fixture.store.claim_volumes(place.host, gateway, "u1", &BTreeSet::new()).await.unwrap();
        assert_eq!(claims.tenant, Uuid::from_u128(77));
    });
}

#[test]
fn a_database_that_declares_gateways_adopts_nothing() {
    with_store(|fixture| async move {
        let key = ObjectKey::gateway("u9", "default");
        fixture.apply(&key, &json!({})).await;
        let before = fixture.store.installation();
        let refused = fixture.store.adopt(&adoption(vec![gateway("u1", 20_000)])).await;
        assert!(matches!(refused, Err(AdoptError::NotEmpty(1))), "{refused:?}");
        let again = Store::open(&fixture.database, crate::testing::INSTANCE).await.unwrap();
        assert_eq!(again.installation(), before);
        again.close().await;
    });
}

#[test]
fn two_gateways_on_one_port_are_a_contradiction_and_nothing_is_written() {
    with_store(|fixture| async move {
        let refused =
            fixture.store.adopt(&adoption(vec![gateway("u1", 20_000), gateway("u2", 20_000)])).await;
        assert!(matches!(refused, Err(AdoptError::Contradiction(_))), "{refused:?}");
        assert_eq!(fixture.store.desired_keys().await.unwrap(), []);
    });
}
