use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use bowline_core::object::ObjectKey;
use tokio::time::{Duration, timeout};

use crate::seal::Keyring;
use crate::secret::testing::{Keys, open_all, set, tamper, values, versions};
use crate::testing::{Fixture, with_store};
use crate::{Hint, OtherKeys, Scope};

/// Smaller than what there is, so that a pass has several batches.
const BATCH: u16 = 3;

fn secret(number: usize) -> ObjectKey {
    ObjectKey::secret("u1", format!("s{number}"))
}

/// Some Secrets with two values each, one of which waits to be compared.
async fn fill(db: &Fixture) {
    for number in 0..4 {
        set(&db.store, &secret(number), &[("a", "1"), ("b", "2")], OtherKeys::Remove).await.unwrap();
        set(&db.store, &secret(number), &[("b", "3")], OtherKeys::Keep).await.unwrap();
    }
}

/// Fails unless a process that begins with these keys can open everything, in the versions of the beginning.
async fn assert_all_opens(db: &Fixture, ring: &Keyring) {
    db.store.check_keyring(ring).await.unwrap();
    for number in 0..4 {
        let opened = open_all(&db.store, ring, &secret(number)).await.unwrap();
        assert_eq!(opened, values(&[("a", "1"), ("b", "2")]));
        let versions = versions(&db.store, &secret(number)).await;
        assert_eq!(versions, [("a".to_owned(), 1), ("b".to_owned(), 1)]);
    }
}

/// Everything from the making of a key to the retirement of the old ones.
async fn rotate(db: &Fixture, keys: &Keys, ring: &Keyring) {
    db.store.establish_keys(&keys.source, ring).await.unwrap();
    db.store.replace_keys(ring, BATCH, |_| ()).await.unwrap();
}

#[test]
fn a_rotation_makes_a_key_and_retires_the_old_one_without_touching_a_value() {
    with_store(async |db| {
        let keys = Keys::established(&db.store).await;
        fill(&db).await;
        let old = keys.ring.ids();
        let mut listener = db.store.watch(Scope::Keys);
        assert_eq!(listener.next().await, Hint::All);
        db.store.ask_rotation().await.unwrap();
        timeout(Duration::from_secs(20), listener.next()).await.expect("whoever makes keys is woken");
        let asked = db.store.rotation_status().await.unwrap();
        assert!(asked.asked_at.is_some() && asked.remaining == 0);

        let made = db.store.establish_keys(&keys.source, &keys.ring).await.unwrap().made.unwrap();
        let status = db.store.rotation_status().await.unwrap();
        assert_eq!((status.asked_at, status.remaining), (None, 12));
        let mut batches = Vec::new();
        let done = db.store.replace_keys(&keys.ring, 5, |batch| batches.push(batch.rewrapped)).await.unwrap();
        assert_eq!((done.rewrapped, done.unopenable.len(), batches), (12, 0, vec![5, 5, 2]));
        assert_eq!(db.store.rotation_status().await.unwrap().remaining, 0);

        let known = db.store.sealing_keys().await.unwrap();
        assert!(known[0].id == made.id && known[0].newest && known[0].values == 12);
        assert!(known[1].retired_at.is_some() && known[1].values == 0 && old.contains(&known[1].id));
        // The file of the old key is not needed any more.
        let only_new: Keyring =
            keys.source.load().unwrap().into_iter().filter(|key| !old.contains(key.id())).collect();
        assert_all_opens(&db, &only_new).await;
    });
}

#[test]
fn asking_twice_makes_one_key_and_nothing_is_made_unasked() {
    with_store(async |db| {
        let keys = Keys::established(&db.store).await;
        db.store.ask_rotation().await.unwrap();
        db.store.ask_rotation().await.unwrap();
        assert!(db.store.establish_keys(&keys.source, &keys.ring).await.unwrap().made.is_some());
        assert!(db.store.establish_keys(&keys.source, &keys.ring).await.unwrap().made.is_none());
        assert_eq!(keys.source.load().unwrap().len(), 2);
    });
}

#[test]
fn a_key_file_that_is_there_already_is_what_was_asked_for() {
    with_store(async |db| {
        let keys = Keys::established(&db.store).await;
        db.store.ask_rotation().await.unwrap();
        // As an end between the file and the row leaves it.
        let made = keys.source.generate().unwrap();
        let established = db.store.establish_keys(&keys.source, &keys.after_restart()).await.unwrap();
        assert_eq!(established.made, None);
        assert!(established.new.contains(&made.id));
        assert_eq!(db.store.rotation_status().await.unwrap().asked_at, None);
    });
}

/// Polls the future so often, then drops it, as an end of the process would.
async fn polled<F: Future>(times: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = times;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

#[test]
fn a_rotation_that_ends_at_any_point_loses_nothing_and_is_finished_by_the_next_process() {
    with_store(async |db| {
        let keys = Keys::established(&db.store).await;
        fill(&db).await;
        // A poll goes as far as answers are there already, which is not the same from one rotation to the next.
        let mut ended_early = 0;
        while ended_early <= 20 {
            for times in 1.. {
                assert!(times < 1_000, "a rotation never ends");
                db.store.ask_rotation().await.unwrap();
                let ring = keys.after_restart();
                let finished = polled(times, rotate(&db, &keys, &ring)).await.is_some();
                assert_all_opens(&db, &keys.after_restart()).await;
                if finished {
                    assert!(times > 1, "a rotation without a single wait");
                    break;
                }
                ended_early += 1;
            }
        }
        let ring = keys.after_restart();
        rotate(&db, &keys, &ring).await;
        let known = db.store.sealing_keys().await.unwrap();
        assert!(known.iter().skip(1).all(|key| key.retired_at.is_some() && key.values == 0), "{known:?}");
        let newest: Keyring =
            keys.source.load().unwrap().into_iter().filter(|key| *key.id() == known[0].id).collect();
        assert_all_opens(&db, &newest).await;
    });
}

#[test]
fn writes_during_rotations_lose_nothing() {
    with_store(async |db| {
        let keys = Keys::established(&db.store).await;
        let writers: Vec<_> = (0..3)
            .map(|number| {
                let store = db.store.clone();
                tokio::spawn(async move {
                    for round in 0..40 {
                        let value = round.to_string();
                        set(
                            &store,
                            &secret(number),
                            &[("a", &value), (&format!("k{}", round % 5), "x")],
                            OtherKeys::Keep,
                        )
                        .await
                        .unwrap();
                    }
                })
            })
            .collect();
        let mut rotations = 0;
        while !writers.iter().all(tokio::task::JoinHandle::is_finished) {
            db.store.ask_rotation().await.unwrap();
            rotate(&db, &keys, &keys.ring).await;
            db.store.settle_secrets(&keys.ring, "u1").await.unwrap();
            rotations += 1;
        }
        for writer in writers {
            writer.await.unwrap();
        }
        assert!(rotations > 1, "no rotation met a write");
        rotate(&db, &keys, &keys.ring).await;
        db.store.settle_secrets(&keys.ring, "u1").await.unwrap();
        let known = db.store.sealing_keys().await.unwrap();
        assert!(known.iter().skip(1).all(|key| key.retired_at.is_some() && key.values == 0), "{known:?}");
        let mut expected: BTreeMap<_, _> = (0..5).map(|at| (format!("k{at}"), "x".to_owned())).collect();
        expected.insert("a".to_owned(), "39".to_owned());
        for number in 0..3 {
            assert_eq!(open_all(&db.store, &keys.after_restart(), &secret(number)).await.unwrap(), expected);
        }
    });
}

#[test]
fn a_value_that_cannot_be_opened_keeps_its_key_and_holds_up_no_other() {
    with_store(async |db| {
        let keys = Keys::established(&db.store).await;
        let old = keys.ring.ids().pop_first().unwrap();
        set(&db.store, &secret(0), &[("a", "canary"), ("b", "2")], OtherKeys::Remove).await.unwrap();
        tamper(&db, "UPDATE secret_wraps SET wrapped = set_byte(wrapped, 3, get_byte(wrapped, 3) # 1) WHERE key = 'a'").await;
        db.store.ask_rotation().await.unwrap();
        db.store.establish_keys(&keys.source, &keys.ring).await.unwrap();
        for expected in [1, 0] {
            let done = db.store.replace_keys(&keys.ring, 1, |_| ()).await.unwrap();
            assert_eq!(done.rewrapped, expected);
            let [value] = &done.unopenable[..] else { panic!("{done:?}") };
            assert_eq!(
                (value.namespace.as_str(), value.secret.as_str(), value.key.as_str()),
                ("u1", "s0", "a")
            );
            assert!(value.why.contains(old.as_str()) && !value.why.contains("canary"), "{}", value.why);
        }
        let known = db.store.sealing_keys().await.unwrap();
        assert!(known[1].id == old && known[1].values == 1 && known[1].retired_at.is_none());
        assert_eq!(db.store.rotation_status().await.unwrap().remaining, 1);
    });
}

#[test]
fn why_no_key_was_made_is_said_until_somebody_asks_again() {
    with_store(async |db| {
        let _keys = Keys::established(&db.store).await;
        db.store.ask_rotation().await.unwrap();
        db.store.note_rotation_problem(Some("the disk is full")).await.unwrap();
        assert_eq!(db.store.rotation_status().await.unwrap().problem.as_deref(), Some("the disk is full"));
        db.store.ask_rotation().await.unwrap();
        assert_eq!(db.store.rotation_status().await.unwrap().problem, None);
    });
}
