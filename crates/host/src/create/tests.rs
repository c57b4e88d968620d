use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use bowline_core::container::Publish;
use bowline_core::labels::{Owner, Role};
use bowline_core::object::GatewayKey;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

fn identity() -> Identity {
    Identity {
        owner: Owner { instance: "i".to_owned(), installation: Uuid::from_u128(1) },
        host: "h".to_owned(),
        key: GatewayKey::new("u1", "default"),
        uid: Uuid::from_u128(2),
        role: Role::Gateway,
        spec_hash: "s".to_owned(),
        generation: 1,
        epoch: 1,
    }
}

fn spec() -> ContainerSpec {
    ContainerSpec {
        image: "sha256:00".to_owned(),
        entrypoint: vec!["/bowline/bridge".to_owned()],
        command: vec!["--".to_owned(), "server".to_owned()],
        env: BTreeMap::from([("HOME".to_owned(), "/tmp".to_owned())]),
        user: Some(1_900_000_001),
        read_only_root: true,
        binds: vec![Bind { source: "/run/x".to_owned(), target: "/etc/x".to_owned(), read_only: true }],
        volumes: Vec::new(),
        tmp_bytes: 1 << 20,
        network: NetworkMode::None,
        publish: None,
        limits: Limits { memory: 1 << 28, nano_cpus: Some(500_000_000), cpu_shares: Some(512), pids: 64 },
        secrets: String::new(),
    }
}

fn body(spec: &ContainerSpec) -> Value {
    serde_json::to_value(create_body(&identity(), spec)).unwrap()
}

#[test]
fn every_container_is_hardened() {
    let body = body(&spec());
    for (path, expected) in [
        ("/HostConfig/CapDrop", json!(["ALL"])),
        ("/HostConfig/SecurityOpt", json!(["no-new-privileges"])),
        ("/HostConfig/Privileged", json!(false)),
        ("/HostConfig/ReadonlyRootfs", json!(true)),
        (
            "/HostConfig/Tmpfs/~1tmp",
            json!("rw,nosuid,nodev,noexec,size=1048576,mode=1777,uid=1900000001,gid=1900000001"),
        ),
        ("/HostConfig/Memory", json!(1 << 28)),
        ("/HostConfig/MemorySwap", json!(1 << 28)),
        ("/HostConfig/PidsLimit", json!(64)),
        ("/HostConfig/NanoCpus", json!(500_000_000)),
        ("/HostConfig/CpuShares", json!(512)),
        ("/HostConfig/Ulimits", json!([{ "Name": "nofile", "Soft": 1024, "Hard": 4096 }])),
        ("/HostConfig/IpcMode", json!("private")),
        ("/HostConfig/CgroupnsMode", json!("private")),
        (
            "/HostConfig/LogConfig",
            json!({ "Type": "local", "Config": { "max-size": "10m", "max-file": "3" } }),
        ),
        ("/HostConfig/RestartPolicy", json!({ "Name": "unless-stopped" })),
        (
            "/HostConfig/Mounts",
            json!([{
                "Type": "bind", "Source": "/run/x", "Target": "/etc/x", "ReadOnly": true,
                "BindOptions": { "Propagation": "rprivate" },
            }]),
        ),
        ("/HostConfig/NetworkMode", json!("none")),
        ("/HostConfig/PublishAllPorts", json!(false)),
        ("/HostConfig/AutoRemove", json!(false)),
        ("/HostConfig/Init", json!(false)),
        ("/User", json!("1900000001:1900000001")),
        ("/StopTimeout", json!(5)),
        ("/Env", json!(["HOME=/tmp"])),
        ("/Image", json!("sha256:00")),
        ("/Entrypoint", json!(["/bowline/bridge"])),
        ("/Cmd", json!(["--", "server"])),
    ] {
        assert_eq!(body.pointer(path), Some(&expected), "{path}");
    }
    assert_eq!(body["Labels"], json!(identity().to_labels()));
}

#[test]
fn nothing_that_was_not_decided_is_sent() {
    let body = body(&spec());
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        keys(&body),
        [
            "Cmd",
            "Entrypoint",
            "Env",
            "HostConfig",
            "Image",
            "Labels",
            "OpenStdin",
            "StopTimeout",
            "Tty",
            "User"
        ]
    );
    // No Binds, CapAdd, Devices, Links, MaskedPaths, PidMode, PortBindings, Sysctls, UsernsMode, VolumesFrom, …
    assert_eq!(
        keys(&body["HostConfig"]),
        [
            "AutoRemove",
            "CapDrop",
            "CgroupnsMode",
            "CpuShares",
            "Init",
            "IpcMode",
            "LogConfig",
            "Memory",
            "MemorySwap",
            "Mounts",
            "NanoCpus",
            "NetworkMode",
            "PidsLimit",
            "Privileged",
            "PublishAllPorts",
            "ReadonlyRootfs",
            "RestartPolicy",
            "SecurityOpt",
            "Tmpfs",
            "Ulimits",
        ]
    );
}

#[test]
fn only_what_is_published_is_bound_and_at_the_given_address() {
    let publish = Publish { address: Ipv4Addr::LOCALHOST.into(), host_port: 20_017, container_port: 8811 };
    let network = NetworkMode::Named("mcp-net-u1.default".to_owned());
    let body = body(&ContainerSpec { publish: Some(publish), network, ..spec() });
    let ports = &body["HostConfig"]["PortBindings"];
    assert_eq!(ports, &json!({ "8811/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "20017" }] }));
    assert_eq!(body["HostConfig"]["NetworkMode"], json!("mcp-net-u1.default"));
}

#[test]
fn the_baseline_profile_keeps_the_images_user_and_a_writable_root() {
    let body = body(&ContainerSpec { user: None, read_only_root: false, ..spec() });
    assert_eq!(body.get("User"), None);
    assert_eq!(body["HostConfig"]["ReadonlyRootfs"], json!(false));
    assert_eq!(body["HostConfig"]["Tmpfs"]["/tmp"], json!("rw,nosuid,nodev,noexec,size=1048576,mode=1777"));
}

#[test]
fn a_volume_is_mounted_by_its_name_and_without_options_of_its_driver() {
    let volume =
        |name: &str, read_only| VolumeMount { name: name.to_owned(), target: format!("/{name}"), read_only };
    let body = body(&ContainerSpec { volumes: vec![volume("a", false), volume("b", true)], ..spec() });
    assert_eq!(
        body["HostConfig"]["Mounts"].as_array().unwrap()[1..],
        [
            json!({ "Type": "volume", "Source": "a", "Target": "/a", "ReadOnly": false }),
            json!({ "Type": "volume", "Source": "b", "Target": "/b", "ReadOnly": true }),
        ]
    );
}

#[test]
fn a_container_without_a_program_of_its_own_runs_the_images_own() {
    let body = body(&ContainerSpec { entrypoint: Vec::new(), command: Vec::new(), ..spec() });
    assert!(body["Entrypoint"].is_null() && body["Cmd"].is_null(), "{body}");
}
