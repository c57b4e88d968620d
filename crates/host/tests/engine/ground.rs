//! What every test stands on.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{Ipv4Addr, TcpListener};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

use bollard::Docker;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, RemoveContainerOptionsBuilder,
    RemoveImageOptions,
};
use bowline_core::container::{ContainerSpec, Limits, NetworkMode, NetworkSpec, spec_hash};
use bowline_core::labels::{Identity, Owner, Role};
use bowline_core::lease::Subnet;
use bowline_core::object::GatewayKey;
use bowline_core::step::{FailureClass, Step};
use bowline_host::{Engine, Host, Settings};
use futures::{FutureExt, StreamExt};
use uuid::Uuid;

pub(crate) struct Ground {
    pub(crate) docker: Docker,
    pub(crate) host: Host,
    pub(crate) owner: Owner,
    pub(crate) key: GatewayKey,
    pub(crate) uid: Uuid,
    /// Id of an image with the fixture at `/fixture`.
    pub(crate) image: String,
    pub(crate) runtime: PathBuf,
    /// Containers and networks, by id, that a test made behind the host's back.
    strangers: Mutex<Vec<String>>,
    dir: tempfile::TempDir,
}

/// Runs a test on a ground of its own and cleans up behind it, however it ends.
pub(crate) fn test<F: Future<Output = ()>>(body: impl FnOnce(std::sync::Arc<Ground>) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let ground = std::sync::Arc::new(Ground::new().await);
        let result = AssertUnwindSafe(body(std::sync::Arc::clone(&ground))).catch_unwind().await;
        ground.clean().await;
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
}

impl Ground {
    async fn new() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let runtime = dir.path().join("runtime");
        let id = Uuid::now_v7().simple().to_string();
        let owner = Owner { instance: format!("host-test-{}", &id[20..]), installation: Uuid::now_v7() };
        let fixture = fixture();
        let engine = Engine::connect(None).await.expect("these tests need a Docker Engine");
        let host = Host::new(engine, settings(&dir, &owner, &fixture));
        host.prepare().await.unwrap();
        let docker = Docker::connect_with_defaults().unwrap().negotiate_version().await.unwrap();
        let image = import(&docker, &fixture).await;
        Ground {
            docker,
            host,
            owner,
            key: GatewayKey::new("u1", "default"),
            uid: Uuid::now_v7(),
            image,
            runtime,
            strangers: Mutex::default(),
            dir,
        }
    }

    /// A host with the same settings on another connection to the Engine.
    pub(crate) async fn host_at(&self, docker_host: &str) -> Host {
        let engine = Engine::connect(Some(docker_host)).await.unwrap();
        Host::new(engine, settings(&self.dir, &self.owner, &fixture()))
    }

    pub(crate) fn name(&self, what: &str) -> String {
        format!("{what}.{}", self.owner.instance)
    }

    pub(crate) fn scratch(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    pub(crate) fn identity(&self, role: Role, hash: &str) -> Identity {
        Identity {
            owner: self.owner.clone(),
            host: "h1".to_owned(),
            key: self.key.clone(),
            uid: self.uid,
            role,
            spec_hash: hash.to_owned(),
            generation: 1,
            epoch: 1,
        }
    }

    pub(crate) fn spec(&self) -> ContainerSpec {
        ContainerSpec {
            image: self.image.clone(),
            entrypoint: vec!["/fixture".to_owned()],
            command: Vec::new(),
            env: BTreeMap::from([("HOME".to_owned(), "/tmp".to_owned())]),
            user: Some(1_900_100_001),
            read_only_root: true,
            binds: Vec::new(),
            volumes: Vec::new(),
            tmp_bytes: 1 << 20,
            network: NetworkMode::None,
            publish: None,
            limits: Limits {
                memory: 64 << 20,
                nano_cpus: Some(500_000_000),
                cpu_shares: Some(512),
                pids: 32,
            },
            secrets: String::new(),
        }
    }

    pub(crate) fn create(&self, name: &str, spec: &ContainerSpec) -> Step {
        let identity = self.identity(Role::Gateway, &spec_hash(spec));
        Step::CreateContainer { name: self.name(name), identity, spec: Box::new(spec.clone()) }
    }

    pub(crate) fn create_network(&self, name: &str, subnet: Subnet) -> Step {
        let spec = NetworkSpec { subnet };
        let identity = self.identity(Role::Network, &spec_hash(&spec));
        Step::CreateNetwork { name: self.name(name), identity, spec }
    }

    pub(crate) fn start(&self, name: &str) -> Step {
        Step::StartContainer { id: self.name(name), name: self.name(name) }
    }

    pub(crate) async fn done(&self, step: &Step) {
        self.host.execute(&self.key, step).await.unwrap_or_else(|failure| panic!("{step}: {failure:?}"));
    }

    pub(crate) async fn fails(&self, step: &Step) -> FailureClass {
        match self.host.execute(&self.key, step).await {
            Ok(()) => panic!("{step} succeeded"),
            Err(failure) => failure.class,
        }
    }

    /// A running container of ours; gives its id.
    pub(crate) async fn running(&self, name: &str) -> String {
        self.done(&self.create(name, &self.spec())).await;
        self.done(&self.start(name)).await;
        self.docker.inspect_container(&self.name(name), None).await.unwrap().id.unwrap()
    }

    /// A container that somebody else made, with these labels.
    pub(crate) async fn stranger(&self, name: &str, labels: BTreeMap<String, String>) -> String {
        let body = ContainerCreateBody {
            image: Some(self.image.clone()),
            entrypoint: Some(vec!["/fixture".to_owned()]),
            labels: Some(labels.into_iter().collect()),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::new().name(&self.name(name)).build();
        let made = self.docker.create_container(Some(options), body).await.unwrap();
        self.strangers.lock().unwrap().push(made.id.clone());
        made.id
    }

    /// To be removed at the end, as a container or as a network.
    pub(crate) fn remember(&self, id: String) {
        self.strangers.lock().unwrap().push(id);
    }

    /// A subnet that nothing on this machine uses.
    pub(crate) async fn free_subnet(&self) -> Subnet {
        let seed = u32::from(self.uid.as_bytes()[15]) << 8 | u32::from(self.uid.as_bytes()[14]);
        for step in 0..1024 {
            let subnet =
                Subnet(Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 231, 0, 0)) + ((seed + step) % 1024) * 64));
            if self.host.try_subnet(subnet).await.unwrap() {
                return subnet;
            }
        }
        panic!("no free subnet in 10.231.0.0/16");
    }

    async fn clean(&self) {
        let found = self.host.engine().found(&self.owner.instance, None, Some(&self.runtime)).await.unwrap();
        let mut torn = self.host.engine().teardown(&found).await;
        torn.failed.extend(self.host.engine().teardown_volumes(&found).await.failed);
        let strangers = std::mem::take(&mut *self.strangers.lock().unwrap());
        for id in strangers.iter().rev() {
            let options = RemoveContainerOptionsBuilder::new().v(true).force(true).build();
            if self.docker.remove_container(id, Some(options)).await.is_err() {
                // A network, or gone.
                let _ = self.docker.remove_network(id).await;
            }
        }
        let _ = self.docker.remove_image(&self.image, None::<RemoveImageOptions>, None).await;
        assert_eq!(torn.failed, [], "the test left something that could not be removed");
    }
}

fn settings(dir: &tempfile::TempDir, owner: &Owner, fixture: &std::path::Path) -> Settings {
    Settings {
        owner: owner.clone(),
        host: "h1".to_owned(),
        runtime_dir: dir.path().join("runtime"),
        bridge: fixture.to_owned(),
        bridge_store: dir.path().join("store"),
        publish: Ipv4Addr::LOCALHOST.into(),
        uids: "1900100000-1900199999".parse().unwrap(),
    }
}

/// A TCP port of loopback that is free now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// The fixture as a static program; compiled once per target directory and version of its source.
fn fixture() -> PathBuf {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engine/fixture.rs");
    let changed = std::fs::metadata(source).unwrap().modified().unwrap();
    let stamp = changed.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let built = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("host-fixture-{stamp}"));
    if !built.exists() {
        let part = built.with_extension(std::process::id().to_string());
        let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
        let status = Command::new(rustc)
            .args(["--edition=2024", "-Copt-level=s", "-Ctarget-feature=+crt-static", "-o"])
            .arg(&part)
            .arg(source)
            .status()
            .unwrap();
        assert!(status.success());
        std::fs::rename(part, &built).unwrap();
    }
    built
}

async fn import(docker: &Docker, fixture: &std::path::Path) -> String {
    let tar = Command::new("tar")
        .args(["--create", "--transform=s/.*/fixture/", "--mode=0755", "--directory"])
        .arg(fixture.parent().unwrap())
        .arg(fixture.file_name().unwrap())
        .output()
        .unwrap();
    assert!(tar.status.success());
    let options = CreateImageOptionsBuilder::new().from_src("-").build();
    let body = bollard::body_full(tar.stdout.into());
    let mut progress = Box::pin(docker.create_image(Some(options), Some(body), None));
    let mut image = String::new();
    while let Some(line) = progress.next().await {
        image = line.unwrap().status.unwrap_or(image);
    }
    assert!(image.starts_with("sha256:"), "{image}");
    image
}
