//! One gateway's objects from their making to their end.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use bowline_core::container::{Bind, ContainerSpec, NetworkMode, Publish};
use bowline_core::labels::Role;
use bowline_core::observed::{ContainerState, Entry, ImageState, Observed};
use bowline_core::step::{Content, Step};
use bowline_host::{InventoryItem, LogOptions, LogStream, SharedFileSystem};
use futures::StreamExt;

use crate::ground::{Ground, free_port, test};

impl Ground {
    async fn look(&self) -> Observed {
        self.host.observe(&self.key, &BTreeSet::from([self.image.clone()])).await.unwrap()
    }
}

#[test]
fn the_engine_shares_our_files_and_says_what_it_is() {
    test(async |ground| {
        let prepared = ground.host.prepare().await.unwrap();
        assert_eq!(prepared.shared, SharedFileSystem::Proven);
        assert!(!prepared.engine_version.is_empty() && prepared.docker_root.starts_with('/'));
        let left = std::fs::read_dir(ground.runtime.join("gateways")).unwrap().count();
        assert_eq!(left, 0, "the proof left something behind");
    });
}

#[test]
fn a_gateway_is_made_seen_stopped_and_removed_and_every_step_can_be_repeated() {
    test(async |ground| {
        let subnet = ground.free_subnet().await;
        let port = free_port();
        let uid = ground.uid;
        let config = ground.host.tree_path(uid).join("config");
        let spec = ContainerSpec {
            binds: vec![Bind {
                source: config.display().to_string(),
                target: "/etc/bowline".to_owned(),
                read_only: true,
            }],
            network: NetworkMode::Named(ground.name("net")),
            publish: Some(Publish {
                address: Ipv4Addr::LOCALHOST.into(),
                host_port: port,
                container_port: 8811,
            }),
            ..ground.spec()
        };
        let content = Content("{}".to_owned());
        let path = || "config/gateway.json".to_owned();
        for step in [
            Step::EnsureDirectory { uid, path: String::new(), mode: 0o755 },
            Step::EnsureDirectory { uid, path: "config".to_owned(), mode: 0o755 },
            Step::WriteFile { uid, path: path(), mode: 0o444, content: content.clone() },
            ground.create_network("net", subnet),
            ground.create("gateway", &spec),
            ground.start("gateway"),
        ] {
            ground.done(&step).await;
            ground.done(&step).await;
        }

        let seen = ground.look().await;
        assert_eq!(seen.trees[&uid][&path()], Entry::File { mode: 0o444, sha256: content.sha256() });
        assert!(
            matches!(&seen.images[&ground.image], ImageState::Present(facts) if facts.id == ground.image)
        );
        let [network] = &seen.networks[..] else { panic!("{:?}", seen.networks) };
        assert_eq!((network.name.as_str(), &network.identity.role), (&*ground.name("net"), &Role::Network));
        let [container] = &seen.containers[..] else { panic!("{:?}", seen.containers) };
        assert_eq!(container.name, ground.name("gateway"));
        assert_eq!(container.image, ground.image);
        assert_eq!((container.state, container.restarts), (ContainerState::Running, true));
        assert!(container.started_at.is_some() && container.finished_at.is_none());
        assert!(!ground.host.try_subnet(subnet).await.unwrap());
        assert!(!ground.host.try_port(port).await);
        assert!(!ground.host.try_uid(1_900_100_001).await.unwrap());

        let inventory = ground.host.inventory().await.unwrap();
        let items = &inventory.gateways[&ground.key];
        assert_eq!(items.len(), 3);
        assert!(items.contains(&InventoryItem::Tree { uid }));

        let (id, name) = (container.id.clone(), container.name.clone());
        for step in [
            Step::SetRestart { id: id.clone(), name: name.clone(), restart: false },
            Step::StopContainer { id: id.clone(), name: name.clone() },
        ] {
            ground.done(&step).await;
            ground.done(&step).await;
        }
        let seen = ground.look().await;
        let container = &seen.containers[0];
        assert_eq!((container.state, container.restarts), (ContainerState::Exited { code: 0 }, false));
        assert_ne!(ground.host.inventory().await.unwrap(), inventory);
        for step in [
            Step::RemoveContainer { id, name },
            Step::RemoveNetwork { id: network.id.clone(), name: network.name.clone() },
            Step::RemovePath { uid, path: String::new() },
        ] {
            ground.done(&step).await;
            ground.done(&step).await;
        }
        assert!(ground.host.inventory().await.unwrap().gateways.is_empty());
        assert!(ground.host.try_port(port).await && ground.host.try_subnet(subnet).await.unwrap());
    });
}

#[test]
fn the_engine_has_taken_all_of_the_hardening() {
    test(async |ground| {
        let id = ground.running("gateway").await;
        let seen = ground.docker.inspect_container(&id, None).await.unwrap();
        let host = serde_json::to_value(seen.host_config.unwrap()).unwrap();
        let sent = bowline_host::create_body(&ground.identity(Role::Gateway, "x"), &ground.spec());
        let sent = serde_json::to_value(sent.host_config.unwrap()).unwrap();
        for (field, value) in sent.as_object().unwrap() {
            // The Engine writes out its default retry count.
            if field == "RestartPolicy" {
                assert_eq!(host[field]["Name"], value["Name"]);
            } else if field == "Mounts" {
                assert!(host.get(field).is_none_or(|mounts| mounts.as_array().unwrap().is_empty()));
            } else {
                assert_eq!(&host[field], value, "{field}");
            }
        }
        assert!(!host["MaskedPaths"].as_array().unwrap().is_empty());
        assert_eq!(seen.config.unwrap().user.unwrap(), "1900100001:1900100001");
        let pid = seen.state.unwrap().pid.unwrap();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
        assert_eq!(field("CapEff:"), "0000000000000000");
        assert_eq!(field("CapBnd:"), "0000000000000000");
        assert_eq!(field("NoNewPrivs:"), "1");
        assert!(field("Uid:").starts_with("1900100001"));
        let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
        let options = |at: &str| {
            let line = mounts.lines().find(|line| line.split(' ').nth(4) == Some(at)).unwrap();
            line.split(' ').nth(5).unwrap().to_owned()
        };
        assert!(options("/").split(',').any(|option| option == "ro"), "{}", options("/"));
        for option in ["rw", "nosuid", "nodev", "noexec"] {
            assert!(options("/tmp").split(',').any(|have| have == option), "{option}: {}", options("/tmp"));
        }
    });
}

#[test]
fn a_paused_container_is_unpaused_and_a_removed_one_is_no_longer_there_to_be() {
    test(async |ground| {
        let id = ground.running("gateway").await;
        ground.docker.pause_container(&id).await.unwrap();
        assert_eq!(ground.look().await.containers[0].state, ContainerState::Paused);
        let unpause = Step::UnpauseContainer { id: id.clone(), name: ground.name("gateway") };
        ground.done(&unpause).await;
        ground.done(&unpause).await;
        assert_eq!(ground.look().await.containers[0].state, ContainerState::Running);
    });
}

#[test]
fn the_lines_of_both_streams_are_told_apart_and_the_last_words_of_a_dead_one_are_kept() {
    test(async |ground| {
        let spec = ContainerSpec { command: vec!["3".to_owned()], ..ground.spec() };
        ground.done(&ground.create("gateway", &spec)).await;
        let name = ground.name("gateway");
        ground.done(&Step::SetRestart { id: name.clone(), name: name.clone(), restart: false }).await;
        ground.done(&ground.start("gateway")).await;
        // Following ends with the container.
        let follow = LogOptions { follow: true, ..LogOptions::default() };
        let mut lines: Vec<_> = ground
            .host
            .logs(&ground.key, None, follow)
            .await
            .unwrap()
            .map(|line| line.unwrap())
            .map(|line| (line.stream, line.text))
            .collect()
            .await;
        lines.sort_by_key(|(stream, _)| *stream == LogStream::Stderr);
        let expected =
            [(LogStream::Stdout, "to stdout".to_owned()), (LogStream::Stderr, "to stderr".to_owned())];
        assert_eq!(lines, expected);
        assert_eq!(ground.look().await.containers[0].state, ContainerState::Exited { code: 3 });
        let id = &ground.look().await.containers[0].id;
        assert_eq!(ground.host.last_lines(id, 1).await.unwrap().len(), 1);
        assert_eq!(ground.host.last_lines(id, 20).await.unwrap().len(), 2);
        assert!(ground.host.logs(&ground.key, Some("time"), follow).await.is_err());
    });
}
