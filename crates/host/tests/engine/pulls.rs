//! Images from a real registry on loopback, from one that never answers, and from none.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bollard::query_parameters::{
    ImportImageOptions, PushImageOptionsBuilder, RemoveImageOptions, TagImageOptionsBuilder,
};
use bowline_core::observed::ImageState;
use bowline_core::step::Step;
use bowline_host::HostHint;
use futures::StreamExt;

use crate::ground::{Ground, free_port, test};

struct Registry {
    child: Child,
    port: u16,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    /// Debian's `docker-registry`, with its data in the test's directory.
    async fn start(ground: &Ground) -> Self {
        let port = free_port();
        let config = ground.scratch().join("registry.yml");
        let data = ground.scratch().join("registry");
        let text = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage: {{ filesystem: {{ rootdirectory: {} }} }}\n\
             http: {{ addr: 127.0.0.1:{port} }}\n",
            data.display()
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test needs docker-registry");
        let registry = Registry { child, port };
        let up = async {
            while tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), up).await.expect("the registry listens");
        registry
    }

    fn repository(&self) -> String {
        format!("127.0.0.1:{}/bowline/fixture", self.port)
    }
}

impl Ground {
    async fn image_state(&self, reference: &str) -> ImageState {
        let images = BTreeSet::from([reference.to_owned()]);
        self.host.observe(&self.key, &images).await.unwrap().images.remove(reference).unwrap()
    }

    async fn tag(&self, repository: &str) {
        let tag = TagImageOptionsBuilder::new().repo(repository).tag("1").build();
        self.docker.tag_image(&self.image, Some(tag)).await.unwrap();
    }

    async fn untag(&self, reference: &str) {
        self.docker.remove_image(reference, None::<RemoveImageOptions>, None).await.unwrap();
    }

    /// Begins a pull and waits for the hint that it has ended.
    async fn pull(&self, reference: &str) -> ImageState {
        let mut hints = pin!(self.host.events());
        assert_eq!(hints.next().await, Some(HostHint::All));
        self.done(&Step::PullImage { reference: reference.to_owned() }).await;
        let ended = async { while hints.next().await != Some(HostHint::Key(self.key.clone())) {} };
        tokio::time::timeout(Duration::from_secs(60), ended).await.expect("the pull ends");
        self.image_state(reference).await
    }
}

#[test]
fn an_image_is_pulled_while_another_registry_hangs_and_a_missing_one_is_told() {
    test(async |ground| {
        let registry = Registry::start(&ground).await;
        let repository = registry.repository();
        let reference = format!("{repository}:1");
        ground.tag(&repository).await;
        let push = PushImageOptionsBuilder::new().tag("1").build();
        let mut progress = Box::pin(ground.docker.push_image(&repository, Some(push), None));
        while let Some(line) = progress.next().await {
            line.unwrap();
        }
        ground.untag(&reference).await;
        assert_eq!(ground.image_state(&reference).await, ImageState::Absent);

        // It accepts, and never says a word.
        let hanging = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let hung = format!("127.0.0.1:{}/x:1", hanging.local_addr().unwrap().port());
        for _ in 0..2 {
            ground.done(&Step::PullImage { reference: hung.clone() }).await;
        }

        let ImageState::Present(facts) = ground.pull(&reference).await else { panic!("not pulled") };
        let digest = facts.digest.expect("an image from a registry has a digest");
        assert!(digest.starts_with(&format!("{repository}@sha256:")), "{digest}");

        let absent = format!("{repository}:2");
        for attempt in 1..=2 {
            let ImageState::Failed { failures, message, .. } = ground.pull(&absent).await else {
                panic!("pulled what is not there")
            };
            assert_eq!(failures, attempt);
            assert!(!message.is_empty());
        }
        assert!(matches!(ground.image_state(&hung).await, ImageState::Pulling { .. }));
        ground.untag(&reference).await;
    });
}

#[test]
fn an_image_that_could_not_be_pulled_and_then_appears_is_noticed_however_it_comes() {
    test(async |ground| {
        // Nobody listens there.
        let repository = format!("127.0.0.1:{}/x", free_port());
        let reference = format!("{repository}:1");
        // The image would go with its only name. This one goes with the ground, by the image's id.
        ground.tag(&format!("{}-kept", ground.owner.instance)).await;
        ground.tag(&repository).await;
        let mut saved = Vec::new();
        let mut export = Box::pin(ground.docker.export_image(&reference));
        while let Some(part) = export.next().await {
            saved.extend_from_slice(&part.unwrap());
        }
        ground.untag(&reference).await;

        let by_tag = async || ground.tag(&repository).await;
        let by_load = async || {
            let body = bollard::body_full(saved.clone().into());
            let mut load = Box::pin(ground.docker.import_image(ImportImageOptions::default(), body, None));
            while let Some(line) = load.next().await {
                line.unwrap();
            }
        };
        for way in ["tag", "load"] {
            let ImageState::Failed { failures, .. } = ground.pull(&reference).await else { panic!("pulled") };
            assert_eq!(failures, 1, "failures of before the image was there are forgotten");
            let mut hints = pin!(ground.host.events());
            assert_eq!(hints.next().await, Some(HostHint::All));
            match way {
                "tag" => by_tag().await,
                _ => by_load().await,
            }
            let hint = tokio::time::timeout(Duration::from_secs(20), hints.next()).await;
            assert_eq!(hint.expect("the image is noticed"), Some(HostHint::Key(ground.key.clone())), "{way}");
            assert!(matches!(ground.image_state(&reference).await, ImageState::Present(_)), "{way}");
            ground.untag(&reference).await;
            assert_eq!(ground.image_state(&reference).await, ImageState::Absent, "{way}");
        }
    });
}
