//! Taking an instance away, and telling whose objects there are, from the Engine alone.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use bowline_core::container::{ContainerSpec, NetworkMode, Publish};
use bowline_core::desired::RECOVERY_FILE;
use bowline_core::labels::{self, Owner, Role};
use bowline_core::step::{Content, Step};
use uuid::Uuid;

use crate::ground::{free_port, test};

#[test]
fn teardown_removes_exactly_what_is_ours_and_can_be_repeated() {
    test(async |ground| {
        let (uid, port, subnet) = (ground.uid, free_port(), ground.free_subnet().await);
        let other = Owner { installation: Uuid::now_v7(), ..ground.owner.clone() };
        let mut labels = ground.identity(Role::Gateway, "x").to_labels();
        labels.insert(labels::INSTALLATION.to_owned(), other.installation.to_string());
        let theirs = ground.stranger("theirs", labels).await;
        let bare = ground.stranger("bare", BTreeMap::new()).await;
        let foreign = ground.runtime.join("gateways").join(Uuid::now_v7().to_string());
        std::fs::create_dir(&foreign).unwrap();

        for step in [
            Step::EnsureDirectory { uid, path: String::new(), mode: 0o755 },
            Step::WriteFile {
                uid,
                path: RECOVERY_FILE.to_owned(),
                mode: 0o400,
                content: Content("{\"a\":1}".to_owned()),
            },
            ground.create_network("net", subnet),
            ground.create(
                "gateway",
                &ContainerSpec {
                    publish: Some(Publish {
                        address: Ipv4Addr::LOCALHOST.into(),
                        host_port: port,
                        container_port: 8811,
                    }),
                    network: NetworkMode::Named(ground.name("net")),
                    ..ground.spec()
                },
            ),
            ground.start("gateway"),
        ] {
            ground.done(&step).await;
        }

        let engine = ground.host.engine();
        let all = engine.found(&ground.owner.instance, None, None).await.unwrap();
        assert_eq!(all.of_others(&ground.owner).len(), 1);
        assert_eq!(all.installations().len(), 2);

        let installation = Some(ground.owner.installation);
        let look =
            async || engine.found(&ground.owner.instance, installation, Some(&ground.runtime)).await.unwrap();
        let found = look().await;
        let [container] = &found.containers[..] else { panic!("{found:?}") };
        assert_eq!(container.published.map(|at| at.port()), Some(port));
        assert_eq!((container.uid, container.running), (Some(1_900_100_001), true));
        assert_eq!(found.networks[0].subnet, Some(subnet));
        assert_eq!(found.trees[0].recovery.as_deref(), Some("{\"a\":1}"));
        assert_eq!(found.trees[0].mark.key, ground.key);

        let torn = engine.teardown(&found).await;
        assert_eq!(torn.failed, []);
        assert_eq!(torn.removed.len(), 4, "{:?}", torn.removed);
        assert!(foreign.exists() && !ground.host.tree_path(uid).exists());
        for id in [&theirs, &bare] {
            assert!(ground.docker.inspect_container(id, None).await.is_ok());
        }
        assert_eq!(engine.teardown(&found).await.failed, []);

        // With nothing of anybody left in it, the runtime directory is nobody's again.
        std::fs::remove_dir(&foreign).unwrap();
        engine.teardown(&look().await).await;
        assert!(look().await.is_empty());
        assert_eq!(std::fs::read_dir(&ground.runtime).unwrap().count(), 0);
    });
}

#[test]
fn a_marked_directory_is_removed_even_where_the_runtime_directory_lost_its_own_mark() {
    test(async |ground| {
        let uid = ground.uid;
        ground.done(&Step::EnsureDirectory { uid, path: String::new(), mode: 0o755 }).await;
        std::fs::remove_file(ground.runtime.join("instance.json")).unwrap();
        let engine = ground.host.engine();
        let found = engine.found(&ground.owner.instance, None, Some(&ground.runtime)).await.unwrap();
        assert_eq!(engine.teardown(&found).await.failed, []);
        assert!(!ground.host.tree_path(uid).exists());
    });
}
