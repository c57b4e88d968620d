use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use bowline_store::embedded::{Embedded, Options};
use tempfile::TempDir;

use super::*;

/// A store of its own, and a directory of keys.
struct Fixture {
    store: Store,
    postgres: Embedded,
    keys_dir: PathBuf,
    _home: TempDir,
}

impl Fixture {
    async fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        // A server that root starts runs under an account of its own and must pass through.
        fs::set_permissions(home.path(), PermissionsExt::from_mode(0o711)).unwrap();
        let options = Options {
            state_dir: home.path().join("state"),
            socket_dir: home.path().join("postgres"),
            bin_dir: None,
        };
        let postgres = Embedded::start(options).await.unwrap();
        let store = Store::open(&postgres.database(), "test").await.unwrap();
        Fixture { store, postgres, keys_dir: home.path().join("keys"), _home: home }
    }

    /// The keys of a `serve` that begins now.
    fn load(&self) -> Result<Keys, Failure> {
        Keys::load(&KeySource::Directory(self.keys_dir.clone()))
    }

    async fn end(self) {
        self.store.close().await;
        self.postgres.stop().await.unwrap();
    }
}

#[tokio::test]
async fn the_first_start_makes_a_key_without_which_no_later_one_begins() {
    let fixture = Fixture::start().await;
    let keys = fixture.load().unwrap();
    keys.check(&fixture.store).await.unwrap();
    keys.establish(&fixture.store).await.unwrap();
    let id = keys.ring().ids().pop_first().unwrap().to_string();
    fixture.load().unwrap().check(&fixture.store).await.unwrap();

    let file = fixture.keys_dir.join(format!("{id}.key"));
    let away = fixture.keys_dir.join("away");
    fs::rename(&file, &away).unwrap();
    let failure = fixture.load().unwrap().check(&fixture.store).await.unwrap_err();
    let said = failure.to_string();
    assert!(said.contains(&id) && said.contains(fixture.keys_dir.to_str().unwrap()), "{said}");
    assert!(said.contains("hint:") && failure.exit_code() == 1, "{said}");
    fs::write(&file, "canary").unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o400)).unwrap();
    let said = fixture.load().unwrap_err().to_string();
    assert!(said.contains(file.to_str().unwrap()) && !said.contains("canary"), "{said}");
    assert_eq!(fixture.store.sealing_keys().await.unwrap().len(), 1);
    fixture.end().await;
}

#[tokio::test]
async fn a_round_makes_the_key_that_was_asked_for_or_says_what_stands_in_the_way() {
    let fixture = Fixture::start().await;
    let keys = fixture.load().unwrap();
    keys.establish(&fixture.store).await.unwrap();
    fixture.store.ask_rotation().await.unwrap();
    // A directory that others can write to takes no key.
    fs::set_permissions(&fixture.keys_dir, PermissionsExt::from_mode(0o777)).unwrap();
    assert!(keys.round(&fixture.store).await.unwrap(), "trying again at once would not help");
    let status = fixture.store.rotation_status().await.unwrap();
    assert!(status.asked_at.is_some());
    assert!(status.problem.unwrap().contains("chmod 700"));
    keys.establish(&fixture.store).await.expect("a rotation that waits keeps nobody from starting");

    fs::set_permissions(&fixture.keys_dir, PermissionsExt::from_mode(0o700)).unwrap();
    assert!(keys.round(&fixture.store).await.unwrap());
    let status = fixture.store.rotation_status().await.unwrap();
    assert_eq!((status.asked_at, status.problem), (None, None));
    let known = fixture.store.sealing_keys().await.unwrap();
    assert_eq!((known.len(), known[1].retired_at.is_some()), (2, true));
    assert!(keys.ring().ids().contains(&known[0].id), "who opens values has the new key");
    fixture.end().await;
}
