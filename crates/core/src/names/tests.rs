use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

#[test]
fn names_are_the_ones_that_the_resource_model_promises() {
    let key = GatewayKey::new("u1", "default");
    assert_eq!(gateway_container("default", &key), "mcp-gateway-u1");
    assert_eq!(gateway_container("default", &GatewayKey::new("u1", "work")), "mcp-gateway-u1.work");
    assert_eq!(server_container("default", &key, "time"), "mcp-server-u1.default.time");
    assert_eq!(network("test", &key), "mcp-net-u1.default_test");
    assert_eq!(volume("test", "u1", &VolumeKey::new("time", "data")), "mcp-vol-u1.time.data_test");
    let cleaned = volume("default", "u1", &VolumeKey::new("SQLite", "My_Data"));
    assert_eq!(cleaned.rsplit_once('.').map(|(base, _)| base), Some("mcp-vol-u1.sqlite.my-data"));
    assert_eq!(path_label("SQLite"), "sqlite.2d2eef3e");
    assert_eq!(path_label("youtube_transcript").split('.').next(), Some("youtube-transcript"));
}

#[test]
fn dns_labels_are_recognised() {
    for good in ["a", "u1", "data-team", "0", &"x".repeat(63)] {
        assert!(is_dns_label(good), "{good}");
    }
    for bad in ["", "-a", "a-", "A", "a.b", "a_b", "ä", &"x".repeat(64)] {
        assert!(!is_dns_label(bad), "{bad}");
    }
}

fn label() -> impl Strategy<Value = String> {
    "[a-z0-9]([a-z0-9-]{0,4}[a-z0-9])?"
}

fn registry_key() -> impl Strategy<Value = String> {
    "[A-Za-z0-9][A-Za-z0-9_.-]{0,6}"
}

proptest! {
    #[test]
    fn different_things_never_get_one_name(
        things in proptest::collection::vec((label(), label(), label(), registry_key()), 2..40)
    ) {
        let mut seen: HashMap<String, String> = HashMap::new();
        let uid = Uuid::from_u128(0x1234);
        for (instance, namespace, name, server) in things {
            let key = GatewayKey::new(namespace, name);
            let gateway = gateway_container(&instance, &key);
            for (text, what) in [
                (fallback(&gateway, &instance, uid), format!("fallback {instance} {key}")),
                (gateway, format!("gateway {instance} {key}")),
                (server_container(&instance, &key, &server), format!("server {instance} {key} {server}")),
                (network(&instance, &key), format!("network {instance} {key}")),
                (
                    volume(&instance, &key.namespace, &VolumeKey::new(&server, &key.name)),
                    format!("volume {instance} {} {server} {}", key.namespace, key.name),
                ),
                (
                    volume(&instance, &key.namespace, &VolumeKey::new(&key.name, &server)),
                    format!("volume {instance} {} {} {server}", key.namespace, key.name),
                ),
            ] {
                let first = seen.entry(text.clone()).or_insert_with(|| what.clone());
                prop_assert_eq!(&*first, &what, "two things are named {}", text);
            }
        }
    }
}
