use std::fs;
use std::os::unix::fs::PermissionsExt;

use bowline_core::object::ObjectKey;

use crate::seal::{KeySource, Keyring};
use crate::secret::testing::{Keys, open_all, set, values};
use crate::testing::with_store;
use crate::{
    EstablishKeysError, KeyringError, OpenSecretsError, OtherKeys, PrivateKey, SetSecretError, Unopenable,
};

fn github() -> ObjectKey {
    ObjectKey::secret("u1", "github")
}

#[test]
fn the_first_start_makes_a_key_and_later_ones_find_it() {
    with_store(async |db| {
        let home = tempfile::tempdir().unwrap();
        let source = KeySource::Directory(home.path().join("keys"));
        assert!(!db.store.check_keyring(&Keyring::default()).await.unwrap(), "the database knows no key yet");
        let ring = Keyring::default();
        let first = db.store.establish_keys(&source, &ring).await.unwrap();
        let made = first.made.unwrap();
        assert!(first.new.contains(&made.id) && ring.ids().contains(&made.id) && made.path.exists());
        for _ in 0..2 {
            let ring: Keyring = source.load().unwrap().into_iter().collect();
            assert!(db.store.check_keyring(&ring).await.unwrap());
            assert_eq!(db.store.establish_keys(&source, &ring).await.unwrap(), Default::default());
        }
        let keys = db.store.sealing_keys().await.unwrap();
        assert_eq!(keys.len(), 1);
        assert!(keys[0].id == made.id && keys[0].newest && keys[0].on_disk && keys[0].retired_at.is_none());
    });
}

#[test]
fn a_key_that_the_database_knows_and_that_is_not_here_is_named() {
    with_store(async |db| {
        let keys = Keys::established(&db.store).await;
        let id = keys.ring.ids().pop_first().unwrap();
        let wrong = Keyring::from_iter([PrivateKey::generate()]);
        for ring in [Keyring::default(), wrong.clone()] {
            let error = db.store.check_keyring(&ring).await.unwrap_err();
            assert!(matches!(&error, KeyringError::Missing(ids) if *ids == [id.clone()]), "{error}");
            assert_eq!(error.to_string(), format!("the database knows keys that are not here: {id}"));
        }
        set(&db.store, &github(), &[("a", "canary")], OtherKeys::Remove).await.unwrap();
        let error = open_all(&db.store, &wrong, &github()).await.unwrap_err();
        let OpenSecretsError::Unopenable { why, .. } = error else { panic!("{error}") };
        assert_eq!(why, Unopenable::UnknownKey(vec![id]));
    });
}

#[test]
fn a_key_file_that_appears_is_taken_in_and_seals_from_then_on() {
    with_store(async |db| {
        let keys = Keys::established(&db.store).await;
        set(&db.store, &github(), &[("a", "1")], OtherKeys::Remove).await.unwrap();
        let made = keys.source.generate().unwrap();
        let established = db.store.establish_keys(&keys.source, &keys.ring).await.unwrap();
        assert_eq!((established.made, established.new.into_iter().collect()), (None, vec![made.id.clone()]));
        set(&db.store, &github(), &[("b", "2")], OtherKeys::Keep).await.unwrap();
        let known = db.store.sealing_keys().await.unwrap();
        let known: Vec<_> = known.iter().map(|key| (key.newest, key.on_disk, key.values)).collect();
        assert_eq!(known, [(true, true, 1), (false, true, 1)]);
        assert_eq!(
            open_all(&db.store, &keys.ring, &github()).await.unwrap(),
            values(&[("a", "1"), ("b", "2")])
        );
    });
}

#[test]
fn a_key_whose_file_went_is_shown_so_and_still_opens_what_it_did() {
    with_store(async |db| {
        let keys = Keys::established(&db.store).await;
        set(&db.store, &github(), &[("a", "1")], OtherKeys::Remove).await.unwrap();
        let file = fs::read_dir(keys.source.path()).unwrap().next().unwrap().unwrap().path();
        let away = keys.source.path().join("away");
        fs::rename(&file, &away).unwrap();
        db.store.establish_keys(&keys.source, &keys.ring).await.unwrap();
        assert!(!db.store.sealing_keys().await.unwrap()[0].on_disk);
        assert_eq!(open_all(&db.store, &keys.ring, &github()).await.unwrap(), values(&[("a", "1")]));
        fs::rename(&away, &file).unwrap();
        db.store.establish_keys(&keys.source, &keys.ring).await.unwrap();
        assert!(db.store.sealing_keys().await.unwrap()[0].on_disk);
    });
}

#[test]
fn a_directory_that_takes_no_key_is_an_error_and_changes_nothing() {
    with_store(async |db| {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("keys"), "").unwrap();
        let source = KeySource::Directory(home.path().join("keys/below"));
        let error = db.store.establish_keys(&source, &Keyring::default()).await.unwrap_err();
        assert!(matches!(error, EstablishKeysError::File(_)), "{error}");
        fs::remove_file(home.path().join("keys")).unwrap();
        fs::create_dir_all(source.path()).unwrap();
        fs::write(source.path().join("broken.key"), "canary").unwrap();
        fs::set_permissions(source.path().join("broken.key"), fs::Permissions::from_mode(0o400)).unwrap();
        let error = db.store.establish_keys(&source, &Keyring::default()).await.unwrap_err();
        assert!(error.to_string().contains("broken.key") && !error.to_string().contains("canary"), "{error}");
        assert!(db.store.sealing_keys().await.unwrap().is_empty());
    });
}

#[test]
fn nothing_is_sealed_for_a_public_key_that_was_exchanged() {
    with_store(async |db| {
        let _keys = Keys::established(&db.store).await;
        let stranger = PrivateKey::generate();
        let mut outside = db.outside().await;
        sqlx::query("UPDATE sealing_keys SET public_key = $1")
            .bind(stranger.public().to_bytes().to_vec())
            .execute(&mut outside)
            .await
            .unwrap();
        let error = set(&db.store, &github(), &[("a", "1")], OtherKeys::Remove).await.unwrap_err();
        assert!(matches!(error, SetSecretError::Db(_)), "{error}");
    });
}
