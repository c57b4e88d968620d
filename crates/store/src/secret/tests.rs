use std::collections::BTreeSet;

use bowline_core::object::{GatewayKey, ObjectKey};
use bowline_core::secret::{InvalidSecret, SecretSource, Unusable};
use serde_json::json;
use uuid::Uuid;

use super::testing::{Keys, facts, open_all, set, tamper, values, versions};
use crate::testing::with_store;
use crate::{Marked, OpenSecretsError, OtherKeys, SetSecretError, Unopenable};

const ONE: OtherKeys = OtherKeys::Keep;
const ALL: OtherKeys = OtherKeys::Remove;

fn github() -> ObjectKey {
    ObjectKey::secret("u1", "github")
}

#[test]
fn values_are_opened_as_they_were_written_and_the_object_lists_their_keys() {
    with_store(async |db| {
        let keys = Keys::established(&db.store).await;
        let long = "x".repeat(32 << 10);
        set(&db.store, &github(), &[("token", "canary"), ("a.b-c_D", ""), ("long", &long)], ALL)
            .await
            .unwrap();
        let opened = open_all(&db.store, &keys.ring, &github()).await.unwrap();
        assert_eq!(opened, values(&[("token", "canary"), ("a.b-c_D", ""), ("long", &long)]));
        let object = db.store.get(&github()).await.unwrap().unwrap();
        assert_eq!(object.spec, json!({"keys": ["a.b-c_D", "long", "token"]}));
        let rows = db.store.secret_keys(Some("u1"), Some("github")).await.unwrap();
        let rows: Vec<_> = rows.iter().map(|row| (row.key.as_str(), row.version, row.effective)).collect();
        assert_eq!(rows, [("a.b-c_D", 1, 1), ("long", 1, 1), ("token", 1, 1)]);
        assert!(db.store.secret_keys(Some("u2"), None).await.unwrap().is_empty());
    });
}

#[test]
fn an_apply_sets_exactly_its_keys_and_a_set_adds_one() {
    with_store(async |db| {
        let keys = Keys::established(&db.store).await;
        assert_eq!(set(&db.store, &github(), &[("a", "1"), ("b", "2")], ALL).await.unwrap(), 1);
        let before = db.store.get(&github()).await.unwrap().unwrap().metadata;
        assert_eq!(set(&db.store, &github(), &[("c", "3")], ONE).await.unwrap(), 2);
        let after = db.store.get(&github()).await.unwrap().unwrap().metadata;
        assert!(after.resource_version > before.resource_version && after.generation > before.generation);
        assert_eq!(
            open_all(&db.store, &keys.ring, &github()).await.unwrap(),
            values(&[("a", "1"), ("b", "2"), ("c", "3")])
        );
        set(&db.store, &github(), &[("b", "4"), ("d", "5")], ALL).await.unwrap();
        db.store.settle_secrets(&keys.ring, "u1").await.unwrap();
        assert_eq!(
            open_all(&db.store, &keys.ring, &github()).await.unwrap(),
            values(&[("b", "4"), ("d", "5")])
        );
        assert_eq!(versions(&db.store, &github()).await, [("b".to_owned(), 3), ("d".to_owned(), 3)]);

        let mut tx = db.store.begin_write().await.unwrap();
        let named = BTreeSet::from(["b".to_owned(), "gone".to_owned()]);
        let removed = tx.remove_secret_keys(&github(), &named).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(removed, BTreeSet::from(["b".to_owned()]));
        assert_eq!(open_all(&db.store, &keys.ring, &github()).await.unwrap(), values(&[("d", "5")]));
        assert_eq!(db.store.get(&github()).await.unwrap().unwrap().spec, json!({"keys": ["d"]}));
    });
}

#[test]
fn the_same_value_again_keeps_its_effective_version() {
    with_store(async |db| {
        let keys = Keys::established(&db.store).await;
        set(&db.store, &github(), &[("a", "1"), ("b", "1")], ALL).await.unwrap();
        assert_eq!(set(&db.store, &github(), &[("a", "1"), ("b", "2")], ALL).await.unwrap(), 2);
        // Nothing is known of the new ones before they were compared, and the ones in use can still be opened.
        let in_use = |a: i64, b: i64| vec![("a".to_owned(), a), ("b".to_owned(), b)];
        assert_eq!(versions(&db.store, &github()).await, in_use(1, 1));
        assert_eq!(
            open_all(&db.store, &keys.ring, &github()).await.unwrap(),
            values(&[("a", "1"), ("b", "1")])
        );
        db.store.settle_secrets(&keys.ring, "u1").await.unwrap();
        assert_eq!(versions(&db.store, &github()).await, in_use(1, 2));
        assert_eq!(
            open_all(&db.store, &keys.ring, &github()).await.unwrap(),
            values(&[("a", "1"), ("b", "2")])
        );

        // Away and back before anybody looked: the value is what it was.
        set(&db.store, &github(), &[("b", "9")], ONE).await.unwrap();
        set(&db.store, &github(), &[("b", "2")], ONE).await.unwrap();
        db.store.settle_secrets(&keys.ring, "u1").await.unwrap();
        assert_eq!(versions(&db.store, &github()).await, in_use(1, 2));
        let before = db.writers().await;
        db.store.settle_secrets(&keys.ring, "u1").await.unwrap();
        assert_eq!(db.writers().await, before, "what is settled is not written again");
    });
}

#[test]
fn no_version_comes_twice_even_when_a_key_was_removed_between() {
    with_store(async |db| {
        let keys = Keys::established(&db.store).await;
        set(&db.store, &github(), &[("a", "1")], ALL).await.unwrap();
        set(&db.store, &github(), &[], ALL).await.unwrap();
        assert!(facts(&db.store, &github()).await.keys.is_empty());
        set(&db.store, &github(), &[("a", "2")], ALL).await.unwrap();
        assert_eq!(versions(&db.store, &github()).await, [("a".to_owned(), 3)]);
        assert_eq!(open_all(&db.store, &keys.ring, &github()).await.unwrap(), values(&[("a", "2")]));
    });
}

#[test]
fn what_was_changed_meanwhile_or_is_somebody_elses_is_not_opened() {
    with_store(async |db| {
        let keys = Keys::established(&db.store).await;
        set(&db.store, &github(), &[("a", "1")], ALL).await.unwrap();
        set(&db.store, &ObjectKey::secret("u2", "github"), &[("a", "canary")], ALL).await.unwrap();
        let uid = facts(&db.store, &github()).await.uid;
        let foreign = facts(&db.store, &ObjectKey::secret("u2", "github")).await.uid;
        let source = |secret_uid: Uuid, key: &str, version: i64| SecretSource {
            env: "A".to_owned(),
            secret: "github".to_owned(),
            secret_uid,
            key: key.to_owned(),
            version,
        };
        for source in [source(uid, "a", 2), source(uid, "b", 1), source(foreign, "a", 1)] {
            let error = db.store.open_secrets(&keys.ring, "u1", &[source]).await.unwrap_err();
            assert!(matches!(error, OpenSecretsError::Changed { .. }), "{error}");
        }
        let opened = db.store.open_secrets(&keys.ring, "u1", &[source(uid, "a", 1)]).await.unwrap();
        assert_eq!(opened[0].1.as_str(), "1");
    });
}

#[test]
fn a_value_that_cannot_be_opened_is_named_and_no_other_one_suffers() {
    with_store(async |db| {
        let keys = Keys::established(&db.store).await;
        let key = keys.ring.ids().pop_first().unwrap();
        set(&db.store, &github(), &[("a", "canary"), ("b", "2")], ALL).await.unwrap();
        let names = BTreeSet::from(["github".to_owned()]);
        for (statement, why) in [
            (
                "UPDATE secret_values SET ciphertext = set_byte(ciphertext, 0, get_byte(ciphertext, 0) # 1) WHERE key = 'a'",
                Unopenable::Altered(key.clone()),
            ),
            ("UPDATE secret_values SET ciphertext = '' WHERE key = 'a'", Unopenable::Altered(key.clone())),
            ("UPDATE secret_wraps SET wrapped = '' WHERE key = 'a'", Unopenable::Altered(key.clone())),
            ("DELETE FROM secret_wraps WHERE key = 'a'", Unopenable::NoWrap),
        ] {
            tamper(&db, statement).await;
            let error = open_all(&db.store, &keys.ring, &github()).await.unwrap_err();
            let OpenSecretsError::Unopenable { why: found, .. } = &error else { panic!("{error}") };
            assert_eq!(*found, why);
            let text = error.to_string();
            assert!(
                text.contains("\"a\"") && text.contains("secret/u1/github") && !text.contains("canary"),
                "{text}"
            );
            let examined = db.store.examine_secrets(&keys.ring, "u1", &names).await.unwrap();
            let facts = &examined["github"].keys;
            assert_eq!(facts["a"].unusable, Some(Unusable::Unreadable(why.to_string())));
            assert_eq!(facts["b"].unusable, None);
        }
        // Written again it is well again.
        set(&db.store, &github(), &[("a", "3")], ONE).await.unwrap();
        db.store.settle_secrets(&keys.ring, "u1").await.unwrap();
        assert_eq!(
            open_all(&db.store, &keys.ring, &github()).await.unwrap(),
            values(&[("a", "3"), ("b", "2")])
        );
    });
}

#[test]
fn values_cannot_change_places_in_the_database() {
    with_store(async |db| {
        let keys = Keys::established(&db.store).await;
        set(&db.store, &github(), &[("a", "1"), ("b", "2")], ALL).await.unwrap();
        tamper(
            &db,
            "UPDATE secret_values AS one SET nonce = other.nonce, ciphertext = other.ciphertext
             FROM secret_values AS other WHERE one.key <> other.key",
        )
        .await;
        tamper(
            &db,
            "UPDATE secret_wraps AS one SET encapsulated = other.encapsulated, wrapped = other.wrapped
             FROM secret_wraps AS other WHERE one.key <> other.key",
        )
        .await;
        let names = BTreeSet::from(["github".to_owned()]);
        let examined = db.store.examine_secrets(&keys.ring, "u1", &names).await.unwrap();
        for (key, facts) in &examined["github"].keys {
            assert!(matches!(facts.unusable, Some(Unusable::Unreadable(_))), "{key}");
        }
    });
}

#[test]
fn a_line_break_is_known_without_opening() {
    with_store(async |db| {
        let _keys = Keys::established(&db.store).await;
        set(&db.store, &github(), &[("one", "a b"), ("lf", "a\nb"), ("cr", "a\r")], ALL).await.unwrap();
        let facts = facts(&db.store, &github()).await.keys;
        assert_eq!(facts["one"].unusable, None);
        for key in ["lf", "cr"] {
            assert_eq!(facts[key].unusable, Some(Unusable::LineBreak), "{key}");
        }
    });
}

#[test]
fn what_is_no_value_is_refused_without_repeating_it() {
    with_store(async |db| {
        let error = set(&db.store, &github(), &[("a", "1")], ALL).await.unwrap_err();
        assert!(matches!(error, SetSecretError::NoKey), "{error}");
        let _keys = Keys::established(&db.store).await;
        for (key, value) in [("a b", "canary"), ("a", "canary\0"), ("a", &"canary".repeat(6_000))] {
            let error = set(&db.store, &github(), &[(key, value)], ALL).await.unwrap_err();
            assert!(matches!(error, SetSecretError::Invalid(_)), "{error}");
            assert!(!format!("{error} {error:?}").contains("canary"));
        }
        let names: Vec<String> = (0..65).map(|at| format!("k{at}")).collect();
        let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
        set(&db.store, &github(), &many[..40], ALL).await.unwrap();
        let error = set(&db.store, &github(), &many[40..], ONE).await.unwrap_err();
        assert!(matches!(error, SetSecretError::Invalid(InvalidSecret::TooManyKeys(65))), "{error}");
        assert_eq!(facts(&db.store, &github()).await.keys.len(), 40, "nothing of it was written");

        let mut tx = db.store.begin_write().await.unwrap();
        let absent = ObjectKey::secret("u1", "absent");
        let error = tx.set_secret_values(&absent, &Default::default(), ALL).await.unwrap_err();
        assert!(matches!(error, SetSecretError::Gone(key) if key == absent));
    });
}

#[test]
fn a_deleted_secret_takes_its_values_along_and_a_new_one_inherits_nothing() {
    with_store(async |db| {
        let keys = Keys::established(&db.store).await;
        set(&db.store, &github(), &[("a", "1")], ALL).await.unwrap();
        set(&db.store, &github(), &[("a", "2")], ALL).await.unwrap();
        assert!(matches!(db.delete(&github()).await, Marked::Removed(_)));
        let mut outside = db.outside().await;
        for query in [
            "SELECT count(*) FROM secret_values",
            "SELECT count(*) FROM secret_wraps",
            "SELECT count(*) FROM secret_versions",
        ] {
            let left: i64 = sqlx::query_scalar(query).fetch_one(&mut outside).await.unwrap();
            assert_eq!(left, 0, "{query}");
        }
        let names = BTreeSet::from(["github".to_owned()]);
        assert!(db.store.secret_facts("u1", &names).await.unwrap().is_empty());
        set(&db.store, &github(), &[("b", "1")], ALL).await.unwrap();
        assert_eq!(open_all(&db.store, &keys.ring, &github()).await.unwrap(), values(&[("b", "1")]));
    });
}

#[test]
fn the_gateways_that_name_a_secret_are_known() {
    with_store(async |db| {
        let by_reference = json!({"secretRefs": [{"name": "other"}, {"name": "github"}]});
        let binding = json!({"name": "t", "valueFrom": {"secretKeyRef": {"name": "github", "key": "a"}}});
        let by_binding = json!({"servers": [{"name": "s"}, {"name": "t", "secrets": [binding]}]});
        for (namespace, name, spec) in [
            ("u1", "a", &by_reference),
            ("u1", "b", &by_binding),
            ("u1", "c", &json!({"servers": [{"name": "github"}]})),
            ("u2", "a", &by_reference),
        ] {
            db.apply(&ObjectKey::gateway(namespace, name), spec).await;
        }
        let users = db.store.gateways_using(&github()).await.unwrap();
        assert_eq!(users, [GatewayKey::new("u1", "a"), GatewayKey::new("u1", "b")]);
        assert!(db.store.gateways_using(&ObjectKey::secret("u1", "c")).await.unwrap().is_empty());
    });
}
