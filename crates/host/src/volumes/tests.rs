use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use bollard::models::{ContainerConfig, HostConfig};
use bowline_core::lease::Range;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::giving::{self, MAX_DEPTH};
use super::*;

const LEASED: Range = Range { first: 1_900_000_000, last: 1_900_000_999 };

/// Gives to a leased uid.
fn give(root: &Path, uid: u32) -> std::io::Result<()> {
    giving::give(root, Recipient { uid, is_leased: true }, LEASED, &CancellationToken::new())
}

/// Gives to an image's own user.
fn give_own(root: &Path, uid: u32) {
    giving::give(root, Recipient { uid, is_leased: false }, LEASED, &CancellationToken::new()).unwrap();
}

/// A directory for volumes; none where nothing can be given away.
fn home() -> Option<TempDir> {
    if !rustix::process::geteuid().is_root() {
        println!("not root: nothing can be given away");
        return None;
    }
    Some(tempfile::tempdir().unwrap())
}

/// A volume with one file in it.
fn volume_with_file(home: &TempDir) -> (PathBuf, PathBuf) {
    let (volume, file) = (home.path().join("volume"), home.path().join("volume/file"));
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(&file, "x").unwrap();
    (volume, file)
}

/// Uid and gid of what is at a path, links themselves.
fn owner(path: &Path) -> (u32, u32) {
    let there = std::fs::symlink_metadata(path).unwrap();
    (there.uid(), there.gid())
}

#[test]
fn all_that_is_in_a_volume_follows_its_uid_and_nothing_outside_does() {
    let Some(home) = home() else { return };
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
    chown(volume.join("a/b/file"), Some(5), Some(5)).unwrap();
    give(&volume, 1_900_000_007).unwrap();
    assert_eq!(owner(&volume.join("a/b/file")), (5, 5));
    give(&volume, 1_900_000_008).unwrap();
    assert_eq!(owner(&volume.join("a/b/file")), (1_900_000_008, 1_900_000_008));
}

#[test]
fn a_walk_that_was_cut_off_is_done_again_whoever_the_volume_goes_to_then() {
    let Some(home) = home() else { return };
    let (volume, file) = volume_with_file(&home);
    let (first, second) = (1_900_000_007, 1_900_000_008);
    give(&volume, first).unwrap();

    let stopped = CancellationToken::new();
    stopped.cancel();
    let cut_off = |uid, is_leased| {
        giving::give(&volume, Recipient { uid, is_leased }, LEASED, &stopped).unwrap_err();
        // As if the walk had come this far.
        chown(&file, Some(uid), Some(uid)).unwrap();
    };
    cut_off(second, true);
    give(&volume, first).unwrap();
    assert_eq!((owner(&volume), owner(&file)), ((first, first), (first, first)), "back to whose it was");
    cut_off(second, true);
    give_own(&volume, 0);
    assert_eq!((owner(&volume), owner(&file)), ((0, 0), (0, 0)), "on to an image's own user");
    give(&volume, first).unwrap();
    cut_off(0, false);
    give(&volume, first).unwrap();
    assert_eq!((owner(&volume), owner(&file)), ((first, first), (first, first)), "and back from there");
}

#[test]
fn an_images_own_user_is_given_what_a_leased_uid_had_and_nothing_else() {
    let Some(home) = home() else { return };
    let (volume, file) = volume_with_file(&home);
    give_own(&volume, 1000);
    assert_eq!((owner(&volume), owner(&file)), ((0, 0), (0, 0)), "as Docker makes it");
    for uid in [0, 1000] {
        give(&volume, 1_900_000_007).unwrap();
        give_own(&volume, uid);
        assert_eq!((owner(&volume), owner(&file)), ((uid, uid), (uid, uid)));
    }
}

#[test]
fn who_runs_in_a_container_is_read_as_the_gateway_will_see_it() {
    let container = |user: &str, restricted| ContainerInspectResponse {
        config: Some(ContainerConfig { user: Some(user.to_owned()), ..ContainerConfig::default() }),
        host_config: Some(HostConfig { readonly_rootfs: Some(restricted), ..HostConfig::default() }),
        ..ContainerInspectResponse::default()
    };
    for (user, uid) in [("", 0), ("root", 0), ("root:root", 0), ("0", 0), ("1000", 1000), ("70:71", 70)] {
        let of = Recipient::of(&container(user, false));
        assert_eq!(of, Some(Recipient { uid, is_leased: false }), "{user:?}");
    }
    let of = Recipient::of(&container("1900000007:1900000007", true));
    assert_eq!(of, Some(Recipient { uid: 1_900_000_007, is_leased: true }));
    assert_eq!(Recipient::of(&container("node", false)), None);
}

#[test]
fn a_walk_that_nobody_waits_for_ends_before_the_next_begins() {
    let Some(home) = home() else { return };
    let walks = Walks::default();
    let to = |uid| Recipient { uid, is_leased: true };
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        // The one thread for walks is busy, so that the walk stays under way.
        let (free, busy) = std::sync::mpsc::channel::<()>();
        let thread = tokio::task::spawn_blocking(move || busy.recv());
        {
            let mut abandoned = std::pin::pin!(walks.give(home.path(), to(1_900_000_001), LEASED));
            assert!(futures::poll!(&mut abandoned).is_pending());
        }
        assert!(walks.turn(home.path()).try_lock().is_err(), "another walk would begin beside it");
        free.send(()).unwrap();
        thread.await.unwrap().unwrap();
        walks.give(home.path(), to(1_900_000_002), LEASED).await.unwrap();
        assert_eq!(owner(home.path()), (1_900_000_002, 1_900_000_002));
    });
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
