use uuid::Uuid;

use super::*;
use crate::resource::ValueFrom;

fn declared(names: &[&str]) -> Vec<SecretDeclaration> {
    let env = |name: &str| name.to_uppercase().replace('.', "_");
    names.iter().map(|name| SecretDeclaration { name: (*name).to_owned(), env: env(name) }).collect()
}

fn references(names: &[&str]) -> Vec<SecretRef> {
    names.iter().map(|name| SecretRef { name: (*name).to_owned() }).collect()
}

fn binding(name: &str, secret: &str, key: &str) -> SecretBinding {
    let secret_key_ref = SecretKeyRef { name: secret.to_owned(), key: key.to_owned() };
    SecretBinding { name: name.to_owned(), value_from: ValueFrom { secret_key_ref } }
}

fn known(secrets: &[(&str, &[&str])]) -> BTreeMap<String, SecretFacts> {
    let facts = |keys: &[&str]| SecretFacts {
        uid: Uuid::from_u128(1),
        keys: keys.iter().map(|key| ((*key).to_owned(), KeyFacts { version: 7, unusable: None })).collect(),
    };
    secrets.iter().map(|(name, keys)| ((*name).to_owned(), facts(keys))).collect()
}

/// `VARIABLE=secret/key`, or why not.
fn resolved(
    declared: &[SecretDeclaration],
    explicit: &[SecretBinding],
    references: &[SecretRef],
    known: &BTreeMap<String, SecretFacts>,
) -> Vec<String> {
    match resolve(declared, Bindings { explicit, references }, known) {
        Ok(sources) => sources.iter().map(|s| format!("{}={}/{}", s.env, s.secret, s.key)).collect(),
        Err(unresolved) => unresolved.iter().map(|why| format!("{why:?}")).collect(),
    }
}

#[test]
fn the_first_listed_secret_that_has_the_key_gives_the_value() {
    let all = known(&[("a", &["x"]), ("b", &["x", "y"])]);
    let refs = references(&["a", "b"]);
    assert_eq!(resolved(&declared(&["y", "x"]), &[], &refs, &all), ["X=a/x", "Y=b/y"]);
    let refs = references(&["b", "a"]);
    assert_eq!(resolved(&declared(&["x"]), &[], &refs, &all), ["X=b/x"]);
    let refs = references(&["not-there-yet", "a"]);
    assert_eq!(resolved(&declared(&["x"]), &[], &refs, &all), ["X=a/x"]);
}

#[test]
fn what_the_server_says_itself_counts_alone() {
    let all = known(&[("a", &["x"]), ("b", &["other"])]);
    let refs = references(&["a"]);
    assert_eq!(resolved(&declared(&["x"]), &[binding("x", "b", "other")], &refs, &all), ["X=b/other"]);
    // No silent fall-back to another value.
    let missing = resolved(&declared(&["x"]), &[binding("x", "b", "gone")], &refs, &all);
    assert_eq!(missing, ["Missing { declared: \"x\", secret: \"b\", key: \"gone\" }"]);
}

#[test]
fn everything_that_is_missing_is_told_at_once() {
    let all = known(&[("a", &["x"])]);
    let refs = references(&["a", "b"]);
    let missing = resolved(&declared(&["x", "y", "z"]), &[binding("z", "c", "k")], &refs, &all);
    assert_eq!(
        missing,
        [
            "Missing { declared: \"y\", secret: \"a\", key: \"y\" }",
            "Missing { declared: \"z\", secret: \"c\", key: \"k\" }",
        ]
    );
    assert_eq!(resolved(&declared(&["x"]), &[], &[], &all), ["Unbound { declared: \"x\" }"]);
    assert_eq!(resolved(&[], &[], &[], &all), [""; 0]);
}

#[test]
fn of_two_secrets_for_one_variable_the_later_one_counts() {
    let mut two = declared(&["x", "y"]);
    two[1].env = "X".to_owned();
    let all = known(&[("a", &["x", "y"])]);
    assert_eq!(resolved(&two, &[], &references(&["a"]), &all), ["X=a/y"]);
}

#[test]
fn a_value_that_cannot_be_delivered_is_found_and_not_passed_over() {
    let mut all = known(&[("a", &["x"]), ("b", &["x"])]);
    all.get_mut("a").unwrap().keys.get_mut("x").unwrap().unusable = Some(Unusable::LineBreak);
    let found = resolved(&declared(&["x"]), &[], &references(&["a", "b"]), &all);
    assert_eq!(found, ["Unusable { secret: \"a\", key: \"x\", why: LineBreak }"]);
}

#[test]
fn an_earlier_container_gets_the_values_of_today_or_none() {
    let all = known(&[("a", &["x"])]);
    let sources =
        resolve(&declared(&["x"]), Bindings { explicit: &[], references: &references(&["a"]) }, &all)
            .unwrap();
    let mut later = all.clone();
    later.get_mut("a").unwrap().keys.get_mut("x").unwrap().version = 8;
    assert_eq!(refresh(&sources, &later).unwrap()[0].version, 8);
    let mut unusable = all.clone();
    unusable.get_mut("a").unwrap().keys.get_mut("x").unwrap().unusable = Some(Unusable::LineBreak);
    let mut again = all.clone();
    again.get_mut("a").unwrap().uid = Uuid::from_u128(2);
    for gone in [known(&[]), known(&[("a", &[])]), unusable, again] {
        assert_eq!(refresh(&sources, &gone), None, "{gone:?}");
    }
    assert_eq!(refresh(&[], &known(&[])), Some(Vec::new()));
}
