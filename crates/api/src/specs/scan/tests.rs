use std::ffi::OsStr;
use std::fs as std_fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use tempfile::TempDir;

use super::*;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn unreadable<'s>(scan: &'s Scan, path: &str) -> &'s str {
    match scan.files.get(path) {
        Some(Content::Unreadable(why)) => why,
        other => panic!("{path}: {other:?}"),
    }
}

#[test]
fn specifications_are_told_by_their_names() {
    for name in ["a.yaml", "a.yml", "a.json", "a.b.yaml", "~a.yaml", "ä.yaml"] {
        assert!(is_spec_name(name), "{name}");
    }
    for name in [
        ".a.yaml",
        ".a.yaml.swp",
        "a.yaml~",
        "#a.yaml#",
        "a.yaml.tmp",
        "4913",
        ".yaml",
        "a",
        "a.YAML",
        "a.toml",
    ] {
        assert!(!is_spec_name(name), "{name}");
    }
}

#[test]
fn directories_are_read_to_their_ends_without_the_hidden_ones() {
    let folder = folder();
    for directory in ["team/a", ".git", "empty"] {
        std_fs::create_dir_all(folder.path().join(directory)).unwrap();
    }
    for file in ["z.yaml", "team/b.yml", "team/a/c.json", ".git/d.yaml", "team/notes.txt"] {
        std_fs::write(folder.path().join(file), file).unwrap();
    }
    let scan = scan(folder.path()).unwrap();
    assert_eq!(scan.files.keys().collect::<Vec<_>>(), ["team/a/c.json", "team/b.yml", "z.yaml"]);
    assert_eq!(scan.directories.len(), 4);
    let Content::Text { text, sha256, modified } = &scan.files["z.yaml"] else { panic!() };
    assert_eq!((text.as_str(), sha256.len()), ("z.yaml", 64));
    let written = std_fs::metadata(folder.path().join("z.yaml")).unwrap();
    assert_eq!(*modified, std::os::unix::fs::MetadataExt::mtime(&written));
}

#[test]
fn what_is_no_plain_file_of_text_is_told_and_neither_followed_nor_waited_for() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    std_fs::write(at("good.yaml"), "a: 1").unwrap();
    symlink(at("good.yaml"), at("link.yaml")).unwrap();
    symlink("/nowhere", at("dangling.yaml")).unwrap();
    symlink("/proc", at("proc")).unwrap();
    symlink("/dev/zero", at("zero.json")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, at("fifo.yaml"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let _socket = UnixListener::bind(at("socket.yaml")).unwrap();
    std_fs::create_dir(at("dir.yaml")).unwrap();
    std_fs::write(at("latin.yaml"), b"a: \xe4").unwrap();
    std_fs::write(at("just.yaml"), vec![b'#'; 1 << 20]).unwrap();
    std_fs::write(at("great.yaml"), vec![b'#'; (1 << 20) + 1]).unwrap();
    // Sparse: a terabyte that takes no room must take no time either.
    std_fs::File::create(at("sparse.yaml")).unwrap().set_len(1 << 40).unwrap();
    std_fs::write(folder.path().join(OsStr::from_bytes(b"n\xff.yaml")), "a: 1").unwrap();
    std_fs::write(at("n\nm.yaml"), "a: 1").unwrap();

    let scan = scan(folder.path()).unwrap();
    for (file, says) in [
        ("link.yaml", "symbolic link"),
        ("dangling.yaml", "symbolic link"),
        ("zero.json", "symbolic link"),
        ("fifo.yaml", "FIFO"),
        ("socket.yaml", "socket"),
        ("latin.yaml", "not UTF-8"),
        ("great.yaml", "greater than 1048576 bytes"),
        ("sparse.yaml", "greater than 1048576 bytes"),
        ("n\u{fffd}.yaml", "its name"),
        ("n\u{fffd}m.yaml", "its name"),
    ] {
        let why = unreadable(&scan, file);
        assert!(why.contains(says), "{file}: {why}");
    }
    for file in ["good.yaml", "just.yaml"] {
        assert!(matches!(scan.files[file], Content::Text { .. }), "{file}");
    }
    assert_eq!(scan.files.len(), 12, "{:?}", scan.files.keys());
    // Where a link is, a directory may have been.
    for link in ["proc", "link.yaml", "dangling.yaml"] {
        assert!(scan.cannot_see(&format!("{link}/a.yaml")).unwrap().contains("symbolic link"), "{link}");
    }
    assert_eq!(scan.may_hide("gone.yaml"), None);
}

#[test]
fn a_directory_whose_name_is_no_paths_is_told_and_may_have_anything_in_it() {
    let folder = folder();
    std_fs::write(folder.path().join("good.yaml"), "a: 1").unwrap();
    let name = OsStr::from_bytes(b"team\xff");
    std_fs::create_dir(folder.path().join(name)).unwrap();
    let seen = scan(folder.path()).unwrap();
    assert!(unreadable(&seen, "team\u{fffd}").contains("its name"));
    assert!(seen.may_hide("team/a.yaml").unwrap().contains("team\u{fffd}"));
    assert_eq!(seen.may_hide("good.yaml"), None);
}

#[test]
fn a_path_that_is_too_long_is_told_shorter_than_what_can_be_stored() {
    let folder = folder();
    // Each control character becomes three bytes.
    let deep = folder.path().join(vec!["d".repeat(200); 4].join("/"));
    std_fs::create_dir_all(&deep).unwrap();
    std_fs::write(deep.join("\u{1}".repeat(200) + ".yaml"), "a: 1").unwrap();
    let seen = scan(folder.path()).unwrap();
    let (path, content) = seen.files.first_key_value().unwrap();
    assert!(path.len() <= MAX_PATH && path.ends_with('\u{fffd}'), "{}", path.len());
    assert!(matches!(content, Content::Unreadable(_)));
}

#[test]
fn what_is_not_seen_is_not_taken_for_gone() {
    let folder = folder();
    let missing = scan(&folder.path().join("missing")).unwrap_err();
    assert!(missing.to_string().contains("No such file"), "{missing}");
    let file = folder.path().join("file");
    std_fs::write(&file, "").unwrap();
    assert!(scan(&file).is_err());

    let deep = folder.path().join(vec!["d"; MAX_DEPTH + 1].join("/"));
    std_fs::create_dir_all(&deep).unwrap();
    std_fs::write(deep.join("a.yaml"), "a: 1").unwrap();
    let seen = scan(folder.path()).unwrap();
    assert!(seen.files.is_empty());
    let blind = vec!["d"; MAX_DEPTH + 1].join("/");
    assert!(seen.cannot_see(&format!("{blind}/a.yaml")).unwrap().contains("deep"));
    assert_eq!(seen.cannot_see(&blind), None);

    // Root reads what it may not; who runs the tests as another account sees the difference.
    if !rustix::process::geteuid().is_root() {
        std_fs::set_permissions(folder.path(), std_fs::Permissions::from_mode(0o000)).unwrap();
        assert!(scan(folder.path()).is_err());
        std_fs::set_permissions(folder.path(), std_fs::Permissions::from_mode(0o700)).unwrap();
    }
}
