use super::*;

#[test]
fn a_secret_text_is_never_shown() {
    let text = SecretText::new("hunter2".to_owned());
    assert_eq!(format!("{text:?} {:#?}", Some(&text)).matches("hunter2").count(), 0);
    assert_eq!(text.expose(), "hunter2");
}

#[test]
fn keys_are_what_kubernetes_takes_for_keys() {
    for good in ["pat", "github.personal_access_token", "A-1", "..", &"k".repeat(MAX_KEY)] {
        assert!(is_key(good), "{good:?}");
    }
    for bad in ["", "a b", "a/b", "ä", "a=b", "a\n", &"k".repeat(MAX_KEY + 1)] {
        assert!(!is_key(bad), "{bad:?}");
    }
}

#[test]
fn a_value_that_is_refused_is_not_repeated() {
    let long = "hunter2".repeat(MAX_VALUE);
    for (key, value) in [("k", long.as_str()), ("k", "hunter2\0"), ("not a key", "hunter2")] {
        let error = check_value(key, value).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
    assert_eq!(check_value("k", &"v".repeat(MAX_VALUE)), Ok(()));
    assert_eq!(check_value("k", ""), Ok(()));
    assert_eq!(check_value("k", "two\nlines"), Ok(()), "other uses than an environment exist");
}

#[test]
fn the_revision_tells_variables_and_versions_apart() {
    let source = |env: &str, version| SecretSource {
        env: env.to_owned(),
        secret: "work".to_owned(),
        secret_uid: Uuid::from_u128(9),
        key: "pat".to_owned(),
        version,
    };
    let revisions = [
        revision(&[source("A", 1)]),
        revision(&[source("A", 2)]),
        revision(&[source("B", 1)]),
        revision(&[source("A", 1), source("B", 1)]),
    ];
    let distinct: std::collections::BTreeSet<_> = revisions.iter().collect();
    assert_eq!(distinct.len(), revisions.len());
    assert_eq!(revision(&[source("A", 1)]), revisions[0]);
}
