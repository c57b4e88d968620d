use std::os::unix::fs::{PermissionsExt, symlink};

use bowline_core::observed::Entry;
use rustix::thread::CapabilitySet;
use zeroize::Zeroizing;

use super::*;

struct Ground {
    _dir: tempfile::TempDir,
    runtime: PathBuf,
    trees: Trees,
    key: GatewayKey,
    uid: Uuid,
}

fn owner(installation: u128) -> Owner {
    Owner { instance: "test".to_owned(), installation: Uuid::from_u128(installation) }
}

fn ground() -> Ground {
    let dir = tempfile::tempdir().unwrap();
    let runtime = dir.path().to_owned();
    std::fs::create_dir(runtime.join(GATEWAYS)).unwrap();
    let trees = Trees::new(&runtime, owner(1));
    Ground { _dir: dir, runtime, trees, key: GatewayKey::new("u1", "default"), uid: Uuid::from_u128(9) }
}

impl Ground {
    fn make(&self, path: &str, mode: u32) {
        self.trees.ensure_directory(&self.key, self.uid, path, mode).unwrap();
    }

    fn write(&self, path: &str, content: &str) -> Result<(), FileError> {
        self.trees.write_file(&self.key, self.uid, path, 0o444, content.as_bytes())
    }

    fn listing(&self) -> Tree {
        self.trees.listing(&self.key, self.uid).unwrap().unwrap()
    }

    fn root(&self) -> PathBuf {
        self.trees.path(self.uid)
    }
}

#[test]
fn what_is_written_is_listed_with_modes_and_digests_and_without_the_mark() {
    let g = ground();
    g.make("", 0o755);
    g.make("config", 0o777);
    g.write("config/gateway.json", "{}").unwrap();
    let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest("{}"));
    let expected = Tree::from([
        (String::new(), Entry::Directory { mode: 0o755 }),
        ("config".to_owned(), Entry::Directory { mode: 0o777 }),
        ("config/gateway.json".to_owned(), Entry::File { mode: 0o444, sha256: digest }),
    ]);
    assert_eq!(g.listing(), expected);
    let mark = std::fs::metadata(g.root().join(MARK_FILE)).unwrap();
    assert_eq!(mark.permissions().mode() & 0o777, 0o400);
}

#[test]
fn steps_can_be_repeated_and_put_modes_and_content_right() {
    let g = ground();
    for mode in [0o755, 0o711] {
        g.make("", mode);
        g.make("config", mode);
        g.write("config/a", &mode.to_string()).unwrap();
    }
    assert_eq!(g.listing()["config"], Entry::Directory { mode: 0o711 });
    assert_eq!(std::fs::read_to_string(g.root().join("config/a")).unwrap(), 0o711.to_string());
    for _ in 0..2 {
        g.trees.remove(&g.key, g.uid, "config").unwrap();
        assert_eq!(g.listing().len(), 1);
    }
    for _ in 0..2 {
        g.trees.remove(&g.key, g.uid, "").unwrap();
        assert!(!g.root().exists());
    }
}

#[test]
fn a_link_on_the_way_is_never_followed() {
    let g = ground();
    let outside = g.runtime.join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("victim"), "precious").unwrap();
    g.make("", 0o755);
    symlink(&outside, g.root().join("config")).unwrap();

    assert!(matches!(g.write("config/victim", "evil"), Err(FileError::Unexpected(_))));
    let made = g.trees.ensure_directory(&g.key, g.uid, "config", 0o700);
    assert!(matches!(made, Err(FileError::Unexpected(_))));
    let removed = g.trees.remove(&g.key, g.uid, "config/victim");
    assert!(matches!(removed, Err(FileError::Unexpected(_))));
    assert_eq!(g.listing()["config"], Entry::Other);

    g.trees.remove(&g.key, g.uid, "").unwrap();
    assert!(!g.root().exists());
    assert_eq!(std::fs::read_to_string(outside.join("victim")).unwrap(), "precious");
}

#[test]
fn a_link_in_the_place_of_a_file_is_replaced_and_its_target_left_alone() {
    let g = ground();
    let outside = g.runtime.join("victim");
    std::fs::write(&outside, "precious").unwrap();
    g.make("", 0o755);
    symlink(&outside, g.root().join("a")).unwrap();
    symlink(&outside, g.root().join(".a.tmp")).unwrap();
    g.write("a", "ours").unwrap();
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "precious");
    assert!(matches!(g.listing()["a"], Entry::File { .. }));
    assert!(!g.listing().contains_key(".a.tmp"));
}

#[test]
fn no_path_leaves_the_tree_or_reaches_the_mark() {
    let g = ground();
    g.make("", 0o755);
    for path in ["../x", "a/../../x", "/etc/x", "a//b", ".", "..", "a/", MARK_FILE] {
        assert!(matches!(g.write(path, "x"), Err(FileError::BadPath(_))), "{path}");
        let removed = g.trees.remove(&g.key, g.uid, path);
        assert!(matches!(removed, Err(FileError::BadPath(_))), "{path}");
    }
}

#[test]
fn a_directory_without_our_mark_is_neither_listed_nor_changed_nor_removed() {
    let g = ground();
    g.make("", 0o755);
    let strangers = [
        Trees::new(&g.runtime, owner(2)),
        Trees::new(&g.runtime, Owner { instance: "other".to_owned(), ..owner(1) }),
    ];
    for stranger in strangers {
        assert!(stranger.marked().unwrap().is_empty());
        assert_eq!(stranger.listing(&g.key, g.uid).unwrap(), None);
        for result in [
            stranger.ensure_directory(&g.key, g.uid, "", 0o700),
            stranger.ensure_directory(&g.key, g.uid, "x", 0o700),
            stranger.write_file(&g.key, g.uid, "x", 0o400, b"x"),
            stranger.remove(&g.key, g.uid, "x"),
            stranger.remove(&g.key, g.uid, ""),
        ] {
            assert!(matches!(result, Err(FileError::Foreign(_))), "{result:?}");
        }
    }
    // Ours, and another gateway's.
    let removed = g.trees.remove(&GatewayKey::new("u2", "default"), g.uid, "");
    assert!(matches!(removed, Err(FileError::Foreign(_))));
    // No mark at all, or the mark of another uid.
    let bare = Uuid::from_u128(10);
    std::fs::create_dir(g.trees.path(bare)).unwrap();
    std::fs::copy(g.root().join(MARK_FILE), g.trees.path(bare).join(MARK_FILE)).unwrap();
    assert!(matches!(g.trees.remove(&g.key, bare, ""), Err(FileError::Foreign(_))));
    assert_eq!(g.trees.marked().unwrap(), HashMap::from([(g.uid, g.key.clone())]));
}

#[test]
fn what_interrupted_steps_left_is_swept_and_stands_in_nobodys_way() {
    let g = ground();
    let left = |prefix: &str| g.runtime.join(GATEWAYS).join(format!("{prefix}{}", g.uid));
    for prefix in [NEW, GONE] {
        std::fs::create_dir(left(prefix)).unwrap();
        std::fs::write(left(prefix).join("x"), "x").unwrap();
    }
    g.make("", 0o755);
    assert!(!left(NEW).exists());
    g.trees.remove(&g.key, g.uid, "").unwrap();
    assert!(!left(GONE).exists());
    std::fs::create_dir(left(NEW)).unwrap();
    g.trees.sweep().unwrap();
    assert_eq!(std::fs::read_dir(g.runtime.join(GATEWAYS)).unwrap().count(), 0);
}

#[test]
fn directories_nested_deeper_than_there_are_descriptors_are_removed() {
    let g = ground();
    g.make("", 0o755);
    let mut directory = open_absolute(&g.root()).unwrap();
    for _ in 0..3000 {
        fs::mkdirat(&directory, "d", Mode::RWXU).unwrap();
        fs::mkdirat(&directory, ".moved.1", Mode::RWXU).unwrap();
        directory = open_directory(directory.as_fd(), "d").unwrap();
    }
    assert!(g.listing().len() < 30);
    g.trees.remove(&g.key, g.uid, "").unwrap();
    assert!(!g.root().exists());
}

#[test]
fn pipes_and_huge_files_are_listed_as_something_else_and_hold_nobody_up() {
    let g = ground();
    g.make("", 0o755);
    let root = open_absolute(&g.root()).unwrap();
    fs::mknodat(&root, "pipe", FileType::Fifo, Mode::RUSR, 0).unwrap();
    std::fs::File::create(g.root().join("huge")).unwrap().set_len(1 << 30).unwrap();
    assert_eq!(g.listing()["pipe"], Entry::Other);
    assert_eq!(g.listing()["huge"], Entry::Other);
}

/// What a container does to its own directory with one chmod.
#[test]
fn what_we_may_not_look_at_is_listed_as_other_and_hides_nothing_else() {
    let g = ground();
    g.make("", 0o755);
    g.make("closed", 0o700);
    g.write("closed/inside", "").unwrap();
    g.make("blind", 0o755);
    g.write("blind/inside", "").unwrap();
    g.write("file", "secret").unwrap();
    g.make("open", 0o755);
    for (path, mode) in [("closed", 0o000), ("blind", 0o444), ("file", 0o000)] {
        std::fs::set_permissions(g.root().join(path), PermissionsExt::from_mode(mode)).unwrap();
    }
    // Root may look at everything by its capabilities, which are the thread's own.
    let listed = std::thread::scope(|scope| {
        let look = scope.spawn(|| {
            let mut own = rustix::thread::capabilities(None).unwrap();
            own.effective.remove(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
            rustix::thread::set_capabilities(None, own).unwrap();
            g.listing()
        });
        look.join().unwrap()
    });
    let expected = [
        ("", Entry::Directory { mode: 0o755 }),
        ("blind", Entry::Other),
        ("closed", Entry::Other),
        ("file", Entry::Other),
        ("open", Entry::Directory { mode: 0o755 }),
    ];
    assert_eq!(listed, expected.map(|(path, entry)| (path.to_owned(), entry)).into());
    std::fs::set_permissions(g.root().join("closed"), PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::set_permissions(g.root().join("blind"), PermissionsExt::from_mode(0o700)).unwrap();
}

/// The revision that a listing tells of the file; `None` when it tells of no secret file there.
fn told_revision(ground: &Ground, path: &str) -> Option<String> {
    match ground.listing().get(path) {
        Some(Entry::Secret { mode: 0o444, revision }) => Some(revision.clone()),
        other => {
            assert!(!matches!(other, Some(Entry::File { .. })), "a digest was taken of {path}: {other:?}");
            None
        }
    }
}

fn values(pairs: &[(&str, &str)]) -> Vec<(String, Zeroizing<String>)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), Zeroizing::new((*value).to_owned()))).collect()
}

impl Ground {
    fn write_secrets(&self, server: &str, revision: &str, pairs: &[(&str, &str)]) -> Result<(), FileError> {
        let path = format!("secrets/{server}/env");
        self.trees.write_secrets(&self.key, self.uid, &path, revision, &values(pairs))
    }
}

fn ground_with_secrets() -> Ground {
    let g = ground();
    for path in ["", "secrets", "secrets/time", "secrets/fetch"] {
        g.make(path, 0o755);
    }
    g.write_secrets("time", "r1", &[("TOKEN", "hunter2"), ("A", "b=c # d")]).unwrap();
    g
}

#[test]
fn a_secret_file_has_sorted_lines_and_is_told_by_its_revision() {
    let g = ground_with_secrets();
    let text = std::fs::read_to_string(g.root().join("secrets/time/env")).unwrap();
    let (first, lines) = text.split_once('\n').unwrap();
    assert!(first.starts_with("# r1 ") && first.len() == 5 + 64, "{first}");
    assert_eq!(lines, "A=b=c # d\nTOKEN=hunter2\n");
    assert_eq!(told_revision(&g, "secrets/time/env").as_deref(), Some("r1"));

    g.write_secrets("time", "r2", &[]).unwrap();
    assert_eq!(told_revision(&g, "secrets/time/env").as_deref(), Some("r2"));
    let text = std::fs::read_to_string(g.root().join("secrets/time/env")).unwrap();
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn every_change_of_a_secret_file_is_seen_and_no_digest_is_ever_taken_of_one() {
    let g = ground_with_secrets();
    let file = g.root().join("secrets/time/env");
    let written = std::fs::read(&file).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    assert!(
        matches!(&g.listing()["secrets/time/env"], Entry::Secret { mode: 0o644, revision } if revision == "r1")
    );
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o444)).unwrap();
    let reads_as = |content: &[u8]| {
        std::fs::write(&file, content).unwrap();
        told_revision(&g, "secrets/time/env").unwrap()
    };
    for at in 0..written.len() {
        let mut changed = written.clone();
        changed[at] ^= 1;
        assert_eq!(reads_as(&changed), "", "byte {at} was changed");
        assert_eq!(reads_as(&written[..at]), "", "cut off at {at}");
    }
    for more in [&b"\n"[..], b"MORE=1\n"] {
        assert_eq!(reads_as(&[&written, more].concat()), "");
    }
    assert_eq!(reads_as(&written), "r1");

    // The same bytes at another place are another server's.
    std::fs::copy(&file, g.root().join("secrets/fetch/env")).unwrap();
    std::fs::copy(&file, g.root().join("secrets/time/.env.tmp")).unwrap();
    std::fs::copy(&file, g.root().join("secrets/stray")).unwrap();
    for path in ["secrets/fetch/env", "secrets/time/.env.tmp", "secrets/stray"] {
        assert_eq!(told_revision(&g, path).as_deref(), Some(""), "{path}");
    }
    std::fs::remove_file(&file).unwrap();
    symlink(g.root().join("secrets/fetch/env"), &file).unwrap();
    assert_eq!(g.listing()["secrets/time/env"], Entry::Other);
}

#[test]
fn a_secret_file_larger_than_one_piece_is_proven_to_its_last_byte() {
    let g = ground_with_secrets();
    let long = "v".repeat(32 << 10);
    g.write_secrets("time", "r1", &[("A", &long), ("B", &long)]).unwrap();
    assert_eq!(told_revision(&g, "secrets/time/env").as_deref(), Some("r1"));
    let file = g.root().join("secrets/time/env");
    let mut written = std::fs::read(&file).unwrap();
    let last = written.len() - 2;
    written[last] = b'w';
    std::fs::write(&file, written).unwrap();
    assert_eq!(told_revision(&g, "secrets/time/env").as_deref(), Some(""));
}

#[test]
fn the_key_of_secret_files_is_for_us_alone_and_lasts_until_it_is_lost() {
    let g = ground_with_secrets();
    let again = |g: &Ground| Trees::new(&g.runtime, owner(1)).listing(&g.key, g.uid).unwrap().unwrap();
    let (secret, lost) = (
        Entry::Secret { mode: 0o444, revision: "r1".to_owned() },
        Entry::Secret { mode: 0o444, revision: String::new() },
    );
    assert_eq!(again(&g)["secrets/time/env"], secret);
    let key = g.runtime.join(KEY_FILE);
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o7777, 0o400);

    // One that others could have read proves nothing any more.
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o440)).unwrap();
    assert_eq!(again(&g)["secrets/time/env"], lost);
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o7777, 0o400);
    std::fs::remove_file(&key).unwrap();
    symlink("/etc/hostname", &key).unwrap();
    assert_eq!(again(&g)["secrets/time/env"], lost);
    assert!(std::fs::symlink_metadata(&key).unwrap().is_file());
}

#[test]
fn what_cannot_be_a_line_is_refused_by_the_name_of_its_variable_alone() {
    let g = ground_with_secrets();
    for (name, value) in [
        ("", "hunter2"),
        ("#A", "hunter2"),
        ("A=B", "hunter2"),
        ("A\nB", "hunter2"),
        ("A", "x\nhunter2"),
        ("A", "hunter2\r"),
        ("A", "hunter2\0"),
    ] {
        let refused = g.write_secrets("time", "r2", &[(name, value)]).unwrap_err();
        assert!(matches!(refused, FileError::Unwritable(_)), "{refused:?}");
        assert!(!format!("{refused} {refused:?}").contains("hunter2"), "{refused:?}");
    }
    let twice = g.write_secrets("time", "r2", &[("A", "1"), ("A", "2")]).unwrap_err();
    assert_eq!(twice.to_string(), "two values are given for A");
    assert!(g.write_secrets("time", "no revision", &[]).is_err());
    assert_eq!(told_revision(&g, "secrets/time/env").as_deref(), Some("r1"));

    let elsewhere = g.trees.write_secrets(&g.key, g.uid, "config/env", "r2", &values(&[("A", "1")]));
    assert!(matches!(elsewhere, Err(FileError::BadPath(_))));
    let key = g.trees.file_key().unwrap();
    assert_eq!(format!("{key:?}"), "FileKey(…)");
}

#[test]
fn a_flood_of_a_container_hides_no_secret_file() {
    let g = ground_with_secrets();
    g.make("aaa", 0o777);
    for number in 0..10_001 {
        std::fs::write(g.root().join(format!("aaa/{number}")), "").unwrap();
    }
    assert_eq!(told_revision(&g, "secrets/time/env").as_deref(), Some("r1"));
}
