//! Steps that cannot be done, and who is told to do something about it.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};

use bowline_core::container::{Bind, ContainerSpec, NetworkMode, Publish};
use bowline_core::labels::Role;
use bowline_core::lease::Subnet;
use bowline_core::step::{FailureClass, Step};

use crate::ground::{Ground, test};

fn publish(host_port: u16) -> Option<Publish> {
    Some(Publish { address: Ipv4Addr::LOCALHOST.into(), host_port, container_port: 8811 })
}

impl Ground {
    /// A network of ours to publish from.
    async fn network(&self) -> NetworkMode {
        self.done(&self.create_network("net", self.free_subnet().await)).await;
        NetworkMode::Named(self.name("net"))
    }

    async fn count(&self) -> usize {
        self.host.observe(&self.key, &BTreeSet::new()).await.unwrap().containers.len()
    }
}

#[test]
fn a_port_that_a_process_or_a_container_has_is_told_at_start() {
    test(async |ground| {
        let network = ground.network().await;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let spec = |port| ContainerSpec { publish: publish(port), network: network.clone(), ..ground.spec() };
        ground.done(&ground.create("one", &spec(port))).await;
        assert_eq!(ground.fails(&ground.start("one")).await, FailureClass::PortTaken);
        drop(listener);
        ground.done(&ground.start("one")).await;
        ground.done(&ground.create("two", &spec(port))).await;
        assert_eq!(ground.fails(&ground.start("two")).await, FailureClass::PortTaken);
    });
}

#[test]
fn a_missing_bind_source_makes_nothing_neither_container_nor_directory() {
    test(async |ground| {
        let source = ground.scratch().join("source");
        let bind = Bind { source: source.display().to_string(), target: "/x".to_owned(), read_only: true };
        let spec = ContainerSpec { binds: vec![bind], ..ground.spec() };
        assert_eq!(ground.fails(&ground.create("gateway", &spec)).await, FailureClass::Moved);
        assert_eq!((ground.count().await, source.exists()), (0, false));

        // There at create, gone at start.
        std::fs::create_dir(&source).unwrap();
        ground.done(&ground.create("gateway", &spec)).await;
        std::fs::remove_dir(&source).unwrap();
        assert_eq!(ground.fails(&ground.start("gateway")).await, FailureClass::Moved);
        assert!(!source.exists());
    });
}

#[test]
fn a_bind_source_that_became_a_link_is_not_followed() {
    test(async |ground| {
        let uid = ground.uid;
        for path in ["", "sockets"] {
            ground.done(&Step::EnsureDirectory { uid, path: path.to_owned(), mode: 0o755 }).await;
        }
        let source = ground.host.tree_path(uid).join("sockets");
        let bind = Bind { source: source.display().to_string(), target: "/x".to_owned(), read_only: true };
        let spec = ContainerSpec { binds: vec![bind], ..ground.spec() };
        ground.done(&ground.create("before", &spec)).await;
        std::fs::remove_dir(&source).unwrap();
        std::os::unix::fs::symlink("/etc", &source).unwrap();
        assert_eq!(ground.fails(&ground.create("after", &spec)).await, FailureClass::Refused);
        assert_eq!(ground.fails(&ground.start("before")).await, FailureClass::Refused);
        assert_eq!(ground.count().await, 1);
    });
}

#[test]
fn a_missing_image_network_or_program_is_told_apart() {
    test(async |ground| {
        let image = format!("sha256:{}", "0".repeat(64));
        let create = ground.create("one", &ContainerSpec { image, ..ground.spec() });
        assert_eq!(ground.fails(&create).await, FailureClass::Moved);

        let network = NetworkMode::Named(ground.name("no-such-net"));
        ground.done(&ground.create("two", &ContainerSpec { network, ..ground.spec() })).await;
        assert_eq!(ground.fails(&ground.start("two")).await, FailureClass::Moved);

        let entrypoint = vec!["/no-such-program".to_owned()];
        ground.done(&ground.create("three", &ContainerSpec { entrypoint, ..ground.spec() })).await;
        assert_eq!(ground.fails(&ground.start("three")).await, FailureClass::Refused);

        let name = ground.name("no-such-container");
        assert_eq!(ground.fails(&ground.start("no-such-container")).await, FailureClass::Moved);
        for step in [
            Step::StopContainer { id: name.clone(), name: name.clone() },
            Step::RemoveContainer { id: name.clone(), name: name.clone() },
            Step::RemoveNetwork { id: name.clone(), name: name.clone() },
        ] {
            ground.done(&step).await;
        }
    });
}

#[test]
fn a_subnet_that_a_route_or_a_network_has_is_told() {
    test(async |ground| {
        let subnet = ground.free_subnet().await;
        ground.done(&ground.create_network("net", subnet)).await;
        let again = ground.create_network("net2", subnet);
        assert_eq!(ground.fails(&again).await, FailureClass::SubnetTaken);
        // The Engine itself accepts what only a route has: the loopback network's is in no Docker network.
        let bridge = ground.docker.inspect_network("bridge", None).await.unwrap();
        let config = bridge.ipam.unwrap().config.unwrap();
        let address: Ipv4Addr =
            config[0].subnet.as_ref().unwrap().split('/').next().unwrap().parse().unwrap();
        assert!(!ground.host.try_subnet(Subnet(address)).await.unwrap());
        let over = ground.create_network("net3", Subnet(address));
        assert_eq!(ground.fails(&over).await, FailureClass::SubnetTaken);
        assert_eq!(ground.host.inventory().await.unwrap().gateways[&ground.key].len(), 1);
    });
}

#[test]
fn a_network_with_something_attached_is_looked_at_again() {
    test(async |ground| {
        let network = ground.network().await;
        ground.done(&ground.create("gateway", &ContainerSpec { network, ..ground.spec() })).await;
        ground.done(&ground.start("gateway")).await;
        let id = ground.docker.inspect_network(&ground.name("net"), None).await.unwrap().id.unwrap();
        let remove = Step::RemoveNetwork { id, name: ground.name("net") };
        assert_eq!(ground.fails(&remove).await, FailureClass::Moved);
    });
}

#[test]
fn a_running_container_is_not_removed_without_having_been_stopped() {
    test(async |ground| {
        let id = ground.running("gateway").await;
        let remove = Step::RemoveContainer { id: id.clone(), name: ground.name("gateway") };
        assert_eq!(ground.fails(&remove).await, FailureClass::Moved);
        assert_eq!(
            ground.docker.inspect_container(&id, None).await.unwrap().state.unwrap().running,
            Some(true)
        );
    });
}

#[test]
fn a_name_of_ours_that_is_not_what_is_wanted_is_no_success() {
    test(async |ground| {
        ground.done(&ground.create("gateway", &ground.spec())).await;
        let other = ContainerSpec { tmp_bytes: 2 << 20, ..ground.spec() };
        assert_eq!(ground.fails(&ground.create("gateway", &other)).await, FailureClass::Moved);
        let subnet = ground.free_subnet().await;
        ground.done(&ground.create_network("net", subnet)).await;
        let next = Subnet(Ipv4Addr::from(u32::from(subnet.0) + (1 << 20)));
        assert_eq!(ground.fails(&ground.create_network("net", next)).await, FailureClass::Moved);
    });
}

#[test]
fn labels_of_another_gateway_are_refused_before_anything_is_asked() {
    test(async |ground| {
        let mut identity = ground.identity(Role::Gateway, "x");
        identity.key.namespace = "u2".to_owned();
        let step = Step::CreateContainer { name: ground.name("x"), identity, spec: Box::new(ground.spec()) };
        assert_eq!(ground.fails(&step).await, FailureClass::Refused);
        assert!(ground.host.inventory().await.unwrap().gateways.is_empty());
    });
}
