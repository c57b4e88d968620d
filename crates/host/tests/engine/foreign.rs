//! What is not ours, however much it looks like it.

use std::collections::{BTreeMap, BTreeSet};

use bollard::models::NetworkCreateRequest;
use bowline_core::labels::{self, Role};
use bowline_core::step::{FailureClass, Step};
use uuid::Uuid;

use crate::ground::{Ground, test};

impl Ground {
    /// Label sets that miss ours by one thing.
    fn near_misses(&self) -> Vec<BTreeMap<String, String>> {
        let full = self.identity(Role::Gateway, "x").to_labels();
        let mut misses: Vec<_> = full
            .keys()
            .map(|key| {
                let mut fewer = full.clone();
                fewer.remove(key);
                fewer
            })
            .collect();
        for (key, value) in [
            (labels::INSTALLATION, Uuid::now_v7().to_string()),
            (labels::INSTANCE, format!("{}x", self.owner.instance)),
            (labels::INSTANCE, self.owner.instance.to_uppercase()),
            (labels::UID, "no-uid".to_owned()),
            (labels::ROLE, "other".to_owned()),
        ] {
            let mut other = full.clone();
            other.insert(key.to_owned(), value);
            misses.push(other);
        }
        misses
    }

    async fn inspect(&self, id: &str) -> serde_json::Value {
        serde_json::to_value(self.docker.inspect_container(id, None).await.unwrap()).unwrap()
    }
}

#[test]
fn near_misses_are_neither_listed_nor_changed() {
    test(async |ground| {
        let mut strangers = Vec::new();
        for (number, labels) in ground.near_misses().into_iter().enumerate() {
            strangers.push(ground.stranger(&format!("near-{number}"), labels).await);
        }
        assert_eq!(strangers.len(), 15);
        assert!(ground.host.inventory().await.unwrap().gateways.is_empty());
        assert_eq!(ground.host.observe(&ground.key, &BTreeSet::new()).await.unwrap().containers, []);
        for id in strangers {
            let before = ground.inspect(&id).await;
            let name = || "near".to_owned();
            let id = || id.clone();
            for step in [
                Step::StartContainer { id: id(), name: name() },
                Step::StopContainer { id: id(), name: name() },
                Step::SetRestart { id: id(), name: name(), restart: true },
                Step::UnpauseContainer { id: id(), name: name() },
                Step::RemoveContainer { id: id(), name: name() },
            ] {
                let class = ground.fails(&step).await;
                assert!(matches!(class, FailureClass::Moved | FailureClass::NameTaken), "{step}: {class:?}");
            }
            assert_eq!(ground.inspect(&id()).await, before);
        }
    });
}

#[test]
fn another_gateway_of_ours_is_out_of_reach_too() {
    test(async |ground| {
        let id = ground.running("gateway").await;
        let other = bowline_core::object::GatewayKey::new("u2", "default");
        let before = ground.inspect(&id).await;
        let stop = Step::StopContainer { id: id.clone(), name: "gateway".to_owned() };
        let failure = ground.host.execute(&other, &stop).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Moved);
        assert_eq!(ground.inspect(&id).await, before);
    });
}

#[test]
fn a_name_that_somebody_else_has_is_noted_until_it_is_free() {
    test(async |ground| {
        let id = ground.stranger("gateway", BTreeMap::new()).await;
        let before = ground.inspect(&id).await;
        let create = ground.create("gateway", &ground.spec());
        assert_eq!(ground.fails(&create).await, FailureClass::NameTaken);
        assert_eq!(ground.fails(&ground.start("gateway")).await, FailureClass::NameTaken);
        let taken = async || ground.host.observe(&ground.key, &BTreeSet::new()).await.unwrap().taken_names;
        assert_eq!(taken().await, BTreeSet::from([ground.name("gateway")]));
        assert_eq!(ground.inspect(&id).await, before);
    });
}

#[test]
fn a_network_name_that_somebody_else_has_is_told_and_their_network_left_alone() {
    test(async |ground| {
        let request = NetworkCreateRequest { name: ground.name("net"), ..NetworkCreateRequest::default() };
        let made = ground.docker.create_network(request).await.unwrap();
        ground.remember(made.id.clone());
        let create = ground.create_network("net", ground.free_subnet().await);
        assert_eq!(ground.fails(&create).await, FailureClass::NameTaken);
        let remove = Step::RemoveNetwork { id: made.id.clone(), name: ground.name("net") };
        assert_eq!(ground.fails(&remove).await, FailureClass::Moved);
        assert!(ground.docker.inspect_network(&made.id, None).await.is_ok());
    });
}
