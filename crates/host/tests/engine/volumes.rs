//! Volumes: made with labels, never anybody else's, and given to who runs on them.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;

use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::RemoveVolumeOptionsBuilder;
use bowline_core::container::{ContainerSpec, VolumeMount};
use bowline_core::step::{FailureClass, Step};
use bowline_core::volume::{VolumeIdentity, VolumeKey};
use uuid::Uuid;

use crate::ground::{Ground, test};

impl Ground {
    fn volume_identity(&self, volume: &str) -> VolumeIdentity {
        VolumeIdentity {
            owner: self.owner.clone(),
            host: "h1".to_owned(),
            namespace: self.key.namespace.clone(),
            tenant: Uuid::from_u128(7),
            key: VolumeKey::new("sqlite", volume),
        }
    }

    fn make_volume(&self, volume: &str) -> Step {
        Step::CreateVolume { name: self.name(volume), identity: self.volume_identity(volume) }
    }

    fn with_volume(&self, volume: &str, read_only: bool) -> ContainerSpec {
        let mount = VolumeMount { name: self.name(volume), target: "/data".to_owned(), read_only };
        ContainerSpec { volumes: vec![mount], ..self.spec() }
    }

    async fn anothers_volume(&self, name: &str, labels: HashMap<String, String>) {
        let request = VolumeCreateRequest {
            name: Some(self.name(name)),
            labels: Some(labels),
            ..VolumeCreateRequest::default()
        };
        self.docker.create_volume(request).await.unwrap();
    }

    async fn remove_anothers_volume(&self, name: &str) {
        let options = RemoveVolumeOptionsBuilder::new().build();
        self.docker.remove_volume(&self.name(name), Some(options)).await.unwrap();
    }
}

#[test]
fn a_volume_is_made_once_seen_by_its_labels_and_stays_while_a_container_has_it() {
    test(async |ground| {
        ground.done(&ground.make_volume("data")).await;
        ground.done(&ground.make_volume("data")).await;
        let seen = ground.host.volumes(Some("u1")).await.unwrap();
        assert_eq!(seen.len(), 1);
        assert_eq!(
            (&seen[0].name, &seen[0].identity),
            (&ground.name("data"), &ground.volume_identity("data"))
        );
        assert!(ground.host.volumes(Some("u2")).await.unwrap().is_empty());

        let spec = ground.with_volume("data", false);
        ground.done(&ground.create("server", &spec)).await;
        let id = ground.docker.inspect_container(&ground.name("server"), None).await.unwrap().id.unwrap();
        assert!(ground.host.remove_volume(&seen[0]).await.is_err(), "a container has it");
        ground.done(&Step::RemoveContainer { id, name: ground.name("server") }).await;
        assert_eq!(ground.host.volumes(None).await.unwrap().len(), 1, "it outlives its container");
        ground.host.remove_volume(&seen[0]).await.unwrap();
        ground.host.remove_volume(&seen[0]).await.unwrap();
        assert!(ground.host.volumes(None).await.unwrap().is_empty());
    });
}

#[test]
fn what_is_in_a_volume_belongs_to_the_uid_that_is_started_on_it() {
    test(async |ground| {
        if !rustix::process::geteuid().is_root() {
            println!("not root: nothing can be given away");
            return;
        }
        ground.done(&ground.make_volume("data")).await;
        let made = ground.docker.inspect_volume(&ground.name("data")).await.unwrap();
        let root = std::path::PathBuf::from(&made.mountpoint);
        std::fs::write(root.join("file"), "kept").unwrap();
        assert_eq!(std::fs::metadata(&root).unwrap().uid(), 0);
        let spec = ground.with_volume("data", false);
        for (name, uid) in [("one", 1_900_100_001), ("two", 1_900_100_002)] {
            let spec = ContainerSpec { user: Some(uid), ..spec.clone() };
            ground.done(&ground.create(name, &spec)).await;
            ground.done(&ground.start(name)).await;
            for path in [&root, &root.join("file")] {
                let there = std::fs::metadata(path).unwrap();
                assert_eq!((there.uid(), there.gid()), (uid, uid), "{name}: {}", path.display());
            }
            let id = ground.docker.inspect_container(&ground.name(name), None).await.unwrap().id.unwrap();
            ground.done(&Step::StopContainer { id, name: ground.name(name) }).await;
        }
        assert_eq!(std::fs::read_to_string(root.join("file")).unwrap(), "kept");
    });
}

#[test]
fn a_volume_on_which_a_container_runs_is_given_to_no_other() {
    test(async |ground| {
        ground.done(&ground.make_volume("data")).await;
        let spec = ground.with_volume("data", true);
        ground.done(&ground.create("one", &spec)).await;
        ground.done(&ground.create("two", &spec)).await;
        ground.done(&ground.start("one")).await;
        ground.done(&ground.start("one")).await;
        let failed = ground.host.execute(&ground.key, &ground.start("two")).await.unwrap_err();
        assert_eq!(failed.class, FailureClass::Moved, "{failed}");
        assert!(failed.message.contains(&ground.name("one")), "{failed}");
        let id = ground.docker.inspect_container(&ground.name("one"), None).await.unwrap().id.unwrap();
        ground.done(&Step::StopContainer { id, name: ground.name("one") }).await;
        ground.done(&ground.start("two")).await;
    });
}

#[test]
fn nobody_elses_volume_is_taken_or_mounted() {
    test(async |ground| {
        let mut near = ground.volume_identity("near");
        near.tenant = Uuid::from_u128(8);
        ground.anothers_volume("bare", HashMap::new()).await;
        ground.anothers_volume("near", near.to_labels().into_iter().collect()).await;
        for name in ["bare", "near"] {
            let failed = ground.host.execute(&ground.key, &ground.make_volume(name)).await.unwrap_err();
            assert_eq!(failed.class, FailureClass::NameTaken, "{name}: {failed}");
        }
        // The name is told to the next look, so that another one is taken.
        let seen = ground.host.observe(&ground.key, &std::collections::BTreeSet::new()).await.unwrap();
        assert!(seen.taken_names.contains(&ground.name("bare")), "{:?}", seen.taken_names);

        for name in ["bare", "absent"] {
            let create = ground.create("server", &ground.with_volume(name, true));
            let failed = ground.host.execute(&ground.key, &create).await.unwrap_err();
            assert_eq!(failed.class, FailureClass::Moved, "{name}: {failed}");
            assert!(ground.docker.inspect_container(&ground.name("server"), None).await.is_err());
        }
        assert!(ground.docker.inspect_volume(&ground.name("absent")).await.is_err(), "made on the way");
        let mut foreign = ground.volume_identity("data");
        foreign.namespace = "u2".to_owned();
        let step = Step::CreateVolume { name: ground.name("data"), identity: foreign };
        let failed = ground.host.execute(&ground.key, &step).await.unwrap_err();
        assert_eq!(failed.class, FailureClass::Refused);
        ground.remove_anothers_volume("bare").await;
    });
}
