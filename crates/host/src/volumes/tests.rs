use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

/// Uid and gid of what is at a path, links themselves.
fn owner(path: &Path) -> (u32, u32) {
    let there = std::fs::symlink_metadata(path).unwrap();
    (there.uid(), there.gid())
}

#[test]
fn all_that_is_in_a_volume_follows_its_uid_and_nothing_outside_does() {
    if !rustix::process::geteuid().is_root() {
        println!("not root: nothing can be given away");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (volume, outside) = (home.path().join("volume"), home.path().join("outside"));
    std::fs::create_dir_all(volume.join("a/b")).unwrap();
    std::fs::write(volume.join("a/b/file"), "x").unwrap();
    std::fs::write(&outside, "x").unwrap();
    symlink(&outside, volume.join("a/link")).unwrap();
    std::fs::set_permissions(&volume, std::fs::Permissions::from_mode(0o555)).unwrap();

    give(&volume, 1_900_000_007).unwrap();
    let uid = (1_900_000_007, 1_900_000_007);
    for path in ["", "a", "a/b", "a/b/file", "a/link"] {
        assert_eq!(owner(&volume.join(path)), uid, "{path}");
    }
    assert_eq!(owner(&outside), (0, 0));
    assert_eq!(std::fs::metadata(&volume).unwrap().mode() & 0o777, 0o755, "its owner may write");

    // The root's owner says that it is done: nothing below is looked at again.
    std::os::unix::fs::chown(volume.join("a/b/file"), Some(5), Some(5)).unwrap();
    give(&volume, 1_900_000_007).unwrap();
    assert_eq!(owner(&volume.join("a/b/file")), (5, 5));
    give(&volume, 1_900_000_008).unwrap();
    assert_eq!(owner(&volume.join("a/b/file")), (1_900_000_008, 1_900_000_008));
}

#[test]
fn a_volume_that_is_a_link_is_not_followed() {
    let home = tempfile::tempdir().unwrap();
    let (real, link) = (home.path().join("real"), home.path().join("link"));
    std::fs::create_dir(&real).unwrap();
    symlink(&real, &link).unwrap();
    assert!(give(&link, 1_900_000_007).is_err());
    assert_eq!(owner(&real), owner(home.path()));
}

#[test]
fn directories_without_end_are_an_error_and_no_overflow() {
    let home = tempfile::tempdir().unwrap();
    let mut path = home.path().to_owned();
    for _ in 0..=MAX_DEPTH {
        path.push("d");
        std::fs::create_dir(&path).unwrap();
    }
    assert!(give(home.path(), 1_900_000_007).is_err());
}

fn volume(labels: HashMap<String, String>) -> Volume {
    Volume { name: "v".to_owned(), driver: DRIVER.to_owned(), labels, ..Volume::default() }
}

#[test]
fn a_volume_of_another_driver_or_with_options_is_none_of_ours() {
    let identity = VolumeIdentity {
        owner: labels::Owner { instance: "i".to_owned(), installation: uuid::Uuid::from_u128(1) },
        host: "h".to_owned(),
        namespace: "u1".to_owned(),
        tenant: uuid::Uuid::from_u128(2),
        key: bowline_core::volume::VolumeKey::new("s", "data"),
    };
    let ours = volume(identity.to_labels().into_iter().collect());
    assert_eq!(observed(&ours).map(|seen| seen.identity), Some(identity));
    let mut bound = ours.clone();
    bound.options = HashMap::from([("o".to_owned(), "bind".to_owned())]);
    assert_eq!(observed(&bound), None);
    assert_eq!(observed(&Volume { driver: "nfs".to_owned(), ..ours }), None);
    assert_eq!(observed(&volume(HashMap::new())), None);
}
