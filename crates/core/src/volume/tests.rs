use proptest::prelude::*;

use super::*;

fn request(volume: &str, target: &str, read_only: bool) -> VolumeRequest {
    VolumeRequest { volume: volume.to_owned(), target: target.to_owned(), read_only }
}

#[test]
fn a_named_volume_is_read_with_its_mode() {
    assert_eq!(read("data:/data"), Ok(request("data", "/data", false)));
    assert_eq!(read("my_data.v1:/var/lib/x:ro"), Ok(request("my_data.v1", "/var/lib/x", true)));
    assert_eq!(read("data:/data:rw"), Ok(request("data", "/data", false)));
}

#[test]
fn a_path_alone_gets_a_name_that_no_other_path_has() {
    let one = read("/var/lib/x").unwrap();
    assert_eq!(one, request("path-var-lib-x-7bcd4034", "/var/lib/x", false));
    assert_ne!(read("/var/lib-x").unwrap().volume, one.volume);
    assert_eq!(read("/var/lib/x").unwrap(), one);
}

#[test]
fn every_source_that_may_be_a_path_of_the_host_is_refused_as_one() {
    for item in [
        "/:/data",
        "/etc:/data:ro",
        "/var/run/docker.sock:/data",
        "./x:/data",
        ".:/data",
        "..:/data",
        "~:/data",
        "~/x:/data",
        "a/b:/data",
        "a/../../etc:/data",
        "c\\x:/data",
    ] {
        let error = read(item).unwrap_err();
        assert_eq!(error.reason(), "HostPathNotAllowed", "{item}");
        assert!(error.to_string().contains("no policy for host paths yet"), "{error}");
    }
}

#[test]
fn what_has_not_the_form_of_a_volume_is_refused() {
    for item in [
        "",
        ":",
        ":/data",
        "data",
        "data:",
        "data:data",
        "data:/data:z",
        "data:/data:ro,nocopy",
        "data:/data:ro:x",
        "-v:/data",
        "a b:/data",
        "data:/",
        "data:/proc",
        "data:/proc/self",
        "data:/sys/fs",
        "data:/dev/shm",
        "data:/tmp",
        "data:/a/../etc",
        "data:/a//b",
        "data:/a/",
        "data:/a\nb",
        &format!("data:{BRIDGE_DIR}"),
        &format!("data:{SOCKETS_DIR}/x"),
        "data:/bowline",
    ] {
        assert_eq!(read(item).unwrap_err().reason(), "InvalidVolume", "{item:?}");
    }
}

#[test]
fn two_volumes_never_lie_at_one_path() {
    let items = ["a:/data".to_owned(), "b:/data".to_owned()];
    assert!(matches!(read_all(&items), Err(VolumeError::Invalid { .. })));
    let items = ["a:/data".to_owned(), "a:/other:ro".to_owned()];
    assert_eq!(read_all(&items).unwrap().len(), 2);
}

fn identity() -> VolumeIdentity {
    VolumeIdentity {
        owner: Owner { instance: "default".to_owned(), installation: Uuid::from_u128(1) },
        host: "h1".to_owned(),
        namespace: "u1".to_owned(),
        tenant: Uuid::from_u128(2),
        key: VolumeKey::new("SQLite", "data"),
    }
}

#[test]
fn labels_survive_the_round_trip_and_none_may_be_missing() {
    let labels: HashMap<String, String> = identity().to_labels().into_iter().collect();
    assert_eq!(VolumeIdentity::from_labels(&labels), Some(identity()));
    for key in labels.keys() {
        let mut fewer = labels.clone();
        fewer.remove(key);
        assert_eq!(VolumeIdentity::from_labels(&fewer), None, "without {key}");
    }
}

#[test]
fn a_volume_that_cannot_be_had_blocks_its_own_server_only() {
    let problems = [("a/b/data".to_owned(), VolumeProblem::Removing)].into();
    let claims = VolumeClaims { problems, ..VolumeClaims::default() };
    assert!(claims.block("a/b"));
    assert!(!claims.block("a") && !claims.block("b"));
}

#[test]
fn a_volume_is_not_taken_for_a_container() {
    let labels = identity().to_labels().into_iter().collect();
    assert_eq!(labels::Identity::from_labels(&labels), None);
}

#[test]
fn a_volume_of_another_tenant_is_another_volume() {
    assert!(identity().is_same(&VolumeIdentity { host: "h2".to_owned(), ..identity() }));
    assert!(!identity().is_same(&VolumeIdentity { tenant: Uuid::from_u128(3), ..identity() }));
    assert!(!identity().is_same(&VolumeIdentity { namespace: "u2".to_owned(), ..identity() }));
    assert!(!identity().is_same(&VolumeIdentity { key: VolumeKey::new("SQLite", "x"), ..identity() }));
}

proptest! {
    #[test]
    fn whatever_is_accepted_has_a_name_and_a_path_and_nothing_of_the_host(item in "[a-z/.~:_ -]{0,16}") {
        if let Ok(VolumeRequest { volume, target, .. }) = read(&item) {
            prop_assert!(is_name(&volume), "{volume}");
            prop_assert_eq!(check_target(&target), Ok(()));
        }
    }
}
