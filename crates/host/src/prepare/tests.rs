use std::os::unix::fs::PermissionsExt;

use super::*;

fn owner(installation: u128) -> Owner {
    Owner { instance: "test".to_owned(), installation: Uuid::from_u128(installation) }
}

/// A directory that is on tmpfs on every Linux that we build on.
fn tmpfs() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_runtime_directory_is_made_marked_and_walled_in_and_that_can_be_repeated() {
    let dir = tmpfs();
    let runtime = dir.path().join("a/b");
    for _ in 0..2 {
        prepare_runtime(&runtime, &owner(1)).unwrap();
        assert_eq!(mode(&runtime), 0o711);
        assert_eq!(mode(&runtime.join(GATEWAYS)), 0o700);
    }
}

#[test]
fn another_installations_runtime_directory_is_refused_and_left_as_it_is() {
    let dir = tmpfs();
    prepare_runtime(dir.path(), &owner(1)).unwrap();
    let refused = prepare_runtime(dir.path(), &owner(2)).unwrap_err();
    assert!(matches!(&refused, PrepareError::Taken { owner: taken, .. } if *taken == owner(1)), "{refused}");
    prepare_runtime(dir.path(), &owner(1)).unwrap();
}

/// Each directory whose maker decides what we trust, made beforehand and left open to others.
#[test]
fn a_directory_that_others_may_write_to_is_refused_and_left_as_it_is() {
    for name in ["", API, CONTROLLER, GATEWAYS] {
        let dir = tmpfs();
        let lax: PathBuf = dir.path().join(name).components().collect();
        std::fs::create_dir_all(&lax).unwrap();
        for open in [0o770, 0o702, 0o1777] {
            std::fs::set_permissions(&lax, PermissionsExt::from_mode(open)).unwrap();
            let refused = prepare_runtime(dir.path(), &owner(1)).unwrap_err();
            assert!(matches!(&refused, PrepareError::Writable { mode, .. } if *mode == open), "{refused}");
            let text = refused.to_string();
            assert!(text.contains(lax.to_str().unwrap()) && text.contains("--runtime-dir"), "{text}");
            assert_eq!(mode(&lax), open);
        }
        std::fs::set_permissions(&lax, PermissionsExt::from_mode(0o755)).unwrap();
        prepare_runtime(dir.path(), &owner(1)).unwrap();
    }
}

#[test]
fn a_directory_that_another_user_made_is_refused() {
    // Only root can make one, and of any other user /proc/1 is one that is there already.
    let dir = tmpfs();
    let path = dir.path().join("theirs");
    std::fs::create_dir(&path).unwrap();
    let theirs = match std::os::unix::fs::chown(&path, Some(12_345), None) {
        Ok(()) => path,
        Err(_) => PathBuf::from("/proc/1"),
    };
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&theirs).unwrap());
    let refused = require_ours(files::open_absolute(&theirs).unwrap(), &theirs, RUNTIME_FLAG).unwrap_err();
    assert!(matches!(&refused, PrepareError::NotOurs { uid: found, .. } if *found == uid), "{refused}");
    if uid == 12_345 {
        let refused = prepare_runtime(&theirs, &owner(1)).unwrap_err();
        assert!(matches!(refused, PrepareError::NotOurs { .. }), "{refused}");
        assert!(std::fs::read_dir(&theirs).unwrap().next().is_none(), "something was put into it");
    }
}

#[test]
fn a_bridge_is_not_installed_where_others_may_write() {
    let dir = tempfile::tempdir().unwrap();
    let (bridge, store) = (dir.path().join("bridge"), dir.path().join("store"));
    std::fs::write(&bridge, b"\x7fELF").unwrap();
    std::fs::create_dir(&store).unwrap();
    std::fs::set_permissions(&store, PermissionsExt::from_mode(0o777)).unwrap();
    let refused = install_bridge(&bridge, &store).unwrap_err();
    assert!(matches!(refused, PrepareError::Writable { mode: 0o777, .. }), "{refused}");
}

#[test]
fn a_runtime_directory_on_no_tmpfs_is_refused_and_the_flag_named() {
    // The source tree of this crate is on no tmpfs wherever it is built.
    let on_disk = Path::new(env!("CARGO_MANIFEST_DIR"));
    let refused = prepare_runtime(on_disk, &owner(1)).unwrap_err();
    assert!(matches!(refused, PrepareError::NotTmpfs(_)));
    assert!(refused.to_string().contains("--runtime-dir"));
    assert!(matches!(prepare_runtime(Path::new("run"), &owner(1)), Err(PrepareError::Relative(_))));
}

#[test]
fn a_bridge_is_installed_under_its_digest_beside_older_ones() {
    let dir = tempfile::tempdir().unwrap();
    let (bridge, store) = (dir.path().join("bridge"), dir.path().join("store"));
    let mut made = Vec::new();
    for version in [b"\x7fELF one", b"\x7fELF two"] {
        std::fs::write(&bridge, version).unwrap();
        let directory = install_bridge(&bridge, &store).unwrap();
        assert_eq!(install_bridge(&bridge, &store).unwrap(), directory);
        assert_eq!(std::fs::read(directory.join(BRIDGE_FILE)).unwrap(), version);
        assert_eq!((mode(&directory), mode(&directory.join(BRIDGE_FILE))), (0o755, 0o555));
        made.push(directory);
    }
    assert_ne!(made[0], made[1]);
    assert!(made[0].join(BRIDGE_FILE).exists());

    // One that was damaged is put right.
    std::fs::set_permissions(made[1].join(BRIDGE_FILE), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(made[1].join(BRIDGE_FILE), "damaged").unwrap();
    install_bridge(&bridge, &store).unwrap();
    assert_eq!(std::fs::read(made[1].join(BRIDGE_FILE)).unwrap(), b"\x7fELF two");
}

#[test]
fn what_is_no_program_is_not_installed() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("bridge");
    std::fs::write(&script, "#!/bin/sh").unwrap();
    let refused = install_bridge(&script, &dir.path().join("store")).unwrap_err();
    assert!(matches!(refused, PrepareError::BridgeKind(_)));
}
