use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;

fn directory() -> (TempDir, KeySource) {
    let home = tempfile::tempdir().unwrap();
    let keys = KeySource::Directory(home.path().join("keys"));
    (home, keys)
}

fn ids(source: &KeySource) -> Vec<String> {
    let mut ids: Vec<String> = source.load().unwrap().iter().map(|key| key.id().to_string()).collect();
    ids.sort();
    ids
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_key_that_was_made_is_read_again() {
    let (_home, keys) = directory();
    assert!(keys.load().unwrap().is_empty(), "a directory that does not exist has no keys");
    let (one, two) = (keys.generate().unwrap(), keys.generate().unwrap());
    let mut expected = vec![one.id.to_string(), two.id.to_string()];
    expected.sort();
    assert_eq!(ids(&keys), expected);
    assert_eq!(fs::metadata(keys.path()).unwrap().mode() & 0o7777, 0o700);
    for NewKeyFile { id, path } in [one, two] {
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o400);
        assert_eq!(path, keys.path().join(format!("{id}.key")));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("bowline-key-v1 ") && text.lines().count() == 1);
    }
    let names = fs::read_dir(keys.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(
        names.map(|name| name.into_string().unwrap()).all(|name| name.ends_with(".key")),
        "no draft is left"
    );
}

#[test]
fn no_key_file_is_overwritten() {
    let (_home, keys) = directory();
    let made = keys.generate().unwrap();
    let before = fs::read(&made.path).unwrap();
    let key = keys.load().unwrap().remove(0);
    let error = write(keys.path(), &made.path, &key).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&made.path).unwrap(), before);
    assert_eq!(fs::read_dir(keys.path()).unwrap().count(), 1);
}

#[test]
fn a_file_that_others_could_read_or_that_is_no_file_is_refused() {
    let (home, keys) = directory();
    let made = keys.generate().unwrap().path;
    for mode in [0o600, 0o440, 0o404, 0o4400] {
        set_mode(&made, mode);
        let error = keys.load().unwrap_err();
        assert!(matches!(error, KeyFileError::Mode { found, .. } if found == mode), "{error}");
        assert!(error.to_string().contains(&format!("chmod 400 {}", made.display())), "{error}");
    }
    set_mode(&made, 0o400);
    let elsewhere = home.path().join("elsewhere");
    fs::rename(&made, &elsewhere).unwrap();
    symlink(&elsewhere, &made).unwrap();
    assert!(matches!(keys.load().unwrap_err(), KeyFileError::NoFile { .. }));
    fs::remove_file(&made).unwrap();
    rustix::fs::mknodat(CWD, &made, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
    assert!(matches!(keys.load().unwrap_err(), KeyFileError::NoFile { .. }));
    fs::remove_file(&made).unwrap();
    fs::create_dir(&made).unwrap();
    assert!(matches!(keys.load().unwrap_err(), KeyFileError::NoFile { .. }));
}

#[test]
fn a_file_of_another_user_is_refused() {
    let (_home, keys) = directory();
    let made = keys.generate().unwrap().path;
    if std::os::unix::fs::chown(&made, Some(12_345), None).is_err() {
        // Only root can give a file away; then nobody can give one to us either.
        return;
    }
    let error = keys.load().unwrap_err();
    assert!(matches!(error, KeyFileError::Owner { found: 12_345, .. }), "{error}");
    // Nor is one made that the owner of the directory could not read.
    std::os::unix::fs::chown(keys.path(), Some(12_345), None).unwrap();
    let error = keys.generate().unwrap_err();
    assert!(matches!(&error, KeyFileError::Owner { path, .. } if path == keys.path()), "{error}");
    assert_eq!(fs::read_dir(keys.path()).unwrap().count(), 1);
}

#[test]
fn a_directory_into_which_others_can_write_is_refused() {
    let (_home, keys) = directory();
    keys.generate().unwrap();
    set_mode(keys.path(), 0o770);
    for error in [keys.load().unwrap_err(), keys.generate().unwrap_err()] {
        assert!(matches!(error, KeyFileError::OpenDirectory { .. }), "{error}");
    }
}

#[test]
fn what_is_no_key_is_refused_and_not_repeated() {
    let (_home, keys) = directory();
    let made = keys.generate().unwrap().path;
    let good = fs::read_to_string(&made).unwrap();
    let line = good.trim_end();
    let texts = [
        String::new(),
        "canary".to_owned(),
        line.replace("v1", "v2"),
        line[..line.len() - 1].to_owned(),
        format!("{line}{line}"),
        format!("{line}\n{line}\n"),
        format!("{}AAAA", line.trim_end_matches('=')),
        "bowline-key-v1 ".to_owned() + &"A".repeat(5_000),
    ];
    for text in texts {
        fs::remove_file(&made).unwrap();
        fs::write(&made, &text).unwrap();
        set_mode(&made, 0o400);
        let error = keys.load().unwrap_err();
        assert!(matches!(&error, KeyFileError::Malformed { path } if *path == made), "{error}");
        assert!(!error.to_string().contains("canary") && !error.to_string().contains(&line[15..]), "{error}");
    }
    fs::remove_file(&made).unwrap();
    fs::write(&made, [0xff, 0xfe]).unwrap();
    set_mode(&made, 0o400);
    assert!(matches!(keys.load().unwrap_err(), KeyFileError::Malformed { .. }));
}

#[test]
fn credentials_count_when_a_key_is_among_them_and_no_directory_was_asked_for() {
    let (home, keys) = directory();
    let made = keys.generate().unwrap();
    let credentials = home.path().join("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::write(credentials.join("database-url"), "postgres://").unwrap();
    let choose = |asked: Option<&Path>| {
        KeySource::choose(asked.map(Path::to_owned), keys.path().to_owned(), Some(credentials.clone()))
            .unwrap()
    };
    assert_eq!(choose(None), keys);
    let key = credentials.join("bowline-key-2026");
    fs::copy(&made.path, &key).unwrap();
    // As systemd leaves it where the service is let in by an access list.
    set_mode(&key, 0o440);
    let chosen = choose(None);
    assert_eq!(chosen, KeySource::Credentials(credentials.clone()));
    assert_eq!(ids(&chosen), [made.id.to_string()]);
    assert!(matches!(chosen.generate().unwrap_err(), KeyFileError::Credentials { .. }));
    assert_eq!(choose(Some(home.path())), KeySource::Directory(home.path().to_owned()));
    set_mode(&key, 0o444);
    assert!(matches!(chosen.load().unwrap_err(), KeyFileError::Mode { found: 0o444, .. }));
}
