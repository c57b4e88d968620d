use crate::object::Kind;
use crate::resource::{Parsed, Resource, SecretObject, parse};
use crate::secret::{MAX_KEYS, MAX_VALUE};

fn document(rest: &str) -> String {
    format!(
        "apiVersion: bowline.dev/v1alpha1\nkind: Secret\nmetadata: {{ namespace: u1, name: work }}\n{rest}"
    )
}

fn accepted(text: &str) -> (SecretObject, Parsed) {
    let parsed = parse(text, None);
    assert_eq!(parsed.diagnostics, [], "{text}");
    match &parsed.resources[0].resource {
        Resource::Secret(object) => (object.clone(), parsed),
        other => panic!("{other:?}"),
    }
}

#[test]
fn values_are_read_as_they_are_and_only_their_keys_are_stored() {
    let (object, _) = accepted(&document("stringData: { pat: hunter2, empty: '', pem: \"a\\nb\" }"));
    let values = object.values.clone().unwrap();
    let read: Vec<_> = values.iter().map(|(key, value)| (key.as_str(), value.expose())).collect();
    assert_eq!(read, [("empty", ""), ("pat", "hunter2"), ("pem", "a\nb")]);
    let resource = Resource::Secret(object);
    assert_eq!(resource.spec_json(), serde_json::json!({ "keys": ["empty", "pat", "pem"] }));
    assert_eq!(resource.kind(), Kind::Secret);
    assert_eq!(resource.key().to_string(), "secret/u1/work");
}

#[test]
fn what_is_shown_can_be_applied_and_leaves_the_values_alone() {
    let (object, _) = accepted(&document("spec: { keys: [pat] }\nstatus: { keys: {} }"));
    assert_eq!(object.values, None);
    let (object, _) = accepted(&document("stringData:"));
    assert_eq!(object.values, None);
    let (object, _) = accepted(&document("stringData: {}"));
    assert_eq!(object.values, Some(std::collections::BTreeMap::new()), "all values go");
}

#[test]
fn values_in_the_wrong_place_are_not_passed_over() {
    for text in [
        "spec: { stringData: { pat: x } }",
        "spec: { pat: x, keys: [pat] }",
        "spec: [pat]",
        "data: { pat: x }",
    ] {
        let parsed = parse(&document(text), None);
        assert!(!parsed.is_ok() && parsed.diagnostics.len() == 1, "{text}: {:?}", parsed.diagnostics);
    }
}

#[test]
fn nothing_that_was_read_shows_a_value() {
    let texts = [
        document("stringData: { pat: hunter2 }"),
        document("stringData: { pat: hunter2 }\nunknown: 1"),
        document("data: { pat: hunter2 }"),
        document("spec: { stringData: { pat: hunter2 } }"),
        document("spec: { pat: hunter2 }"),
        "apiVersion: bowline.dev/v1alpha1\nkind: Secret\nmetadata: {}\nstringData: { pat: hunter2 }"
            .to_owned(),
        "apiVersion: v1\nkind: Secret\nmetadata: { namespace: a, name: b }\nstringData: { pat: hunter2 }"
            .to_owned(),
    ];
    for text in texts {
        let parsed = parse(&text, Some("a.yaml"));
        let shown = format!("{parsed:?} {}", serde_json::to_string(&parsed.diagnostics).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
        let stored: Vec<_> = parsed.resources.iter().map(|one| &one.resource).collect();
        assert!(!serde_json::to_string(&stored).unwrap().contains("hunter2"));
    }
}

#[test]
fn no_finding_repeats_a_value_however_it_is_written() {
    let values = [
        "hunter2: [",
        "!hunter2 x",
        "*hunter2",
        "&hunter2",
        "@hunter2",
        "`hunter2`",
        "%hunter2",
        "{ hunter2: 1, hunter2: 2 }",
        "{ hunter2 x: 1 }",
        "[hunter2",
        "\"hunter2",
        "'hunter2",
        "\"\\q hunter2\"",
        "hunter2: x: y",
        "|\nhunter2\n",
        "|9\n  hunter2",
        "? hunter2",
        "- hunter2",
        "\thunter2",
        "{<<: hunter2}",
        "hunter2 # \u{7}",
    ];
    for value in values {
        for data in [format!("stringData:\n  pat: {value}"), format!("stringData: {{ pat: {value} }}")] {
            let parsed = parse(&document(&data), None);
            let shown = parsed.diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
            assert!(!shown.contains("hunter2"), "{data}:\n{shown}");
        }
    }
}

#[test]
fn a_finding_has_the_place_of_the_value() {
    let parsed = parse(&document("stringData:\n  pat: x\n  pin: 12\n"), Some("a.yaml"));
    assert_eq!(
        parsed.diagnostics[0].to_string(),
        "error[WrongType]: a string is expected, this is a number\n  --> a.yaml:6:8 stringData.pin\n  hint: write it in \
         quotes"
    );
}

#[test]
fn bounds_are_held() {
    let keys = |count: usize| (0..count).map(|n| format!("k{n}: x")).collect::<Vec<_>>().join(", ");
    accepted(&document(&format!("stringData: {{ {} }}", keys(MAX_KEYS))));
    let found = parse(&document(&format!("stringData: {{ {} }}", keys(MAX_KEYS + 1))), None).diagnostics;
    assert!(found[0].message.contains("65 keys"), "{}", found[0]);
    accepted(&document(&format!("stringData: {{ k: {} }}", "v".repeat(MAX_VALUE))));
    let found =
        parse(&document(&format!("stringData: {{ k: {} }}", "v".repeat(MAX_VALUE + 1))), None).diagnostics;
    assert!(found[0].message.contains("32769 bytes"), "{}", found[0]);
    let found = parse(&document("stringData: { k: \"a\\0b\" }"), None).diagnostics;
    assert!(found[0].message.contains("NUL"), "{}", found[0]);
}
