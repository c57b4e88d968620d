use super::*;

#[test]
fn a_diagnostic_reads_like_a_compilers() {
    let path = FieldPath::of_keys("spec.servers").index(1).key("nam");
    let position = Position { line: 7, column: 5 };
    let found = Diagnostic::new(Code::UnknownField, position, &path, "unknown field `nam`")
        .with_hint("did you mean `name`?")
        .in_file(Some("u1.yaml"));
    let expected = "error[UnknownField]: unknown field `nam`\n  --> u1.yaml:7:5 spec.servers[1].nam\n  \
                    hint: did you mean `name`?";
    assert_eq!(found.to_string(), expected);
}

#[test]
fn a_diagnostic_without_a_place_has_no_arrow() {
    let found = Diagnostic::new(Code::SyntaxError, Position::default(), &FieldPath::root(), "empty");
    assert_eq!(found.to_string(), "error[SyntaxError]: empty");
}

#[test]
fn a_diagnostic_survives_json() {
    let found = Diagnostic::new(
        Code::OutOfRange,
        Position { line: 1, column: 2 },
        &FieldPath::of_keys("spec.port"),
        "too low",
    );
    let json = serde_json::to_string(&found).unwrap();
    assert!(json.contains(r#""code":"OutOfRange","severity":"error""#), "{json}");
    assert_eq!(serde_json::from_str::<Diagnostic>(&json).unwrap(), found);
}

#[test]
fn control_characters_are_quoted_as_escapes_wherever_they_come_in() {
    let path = FieldPath::root().key("a\0b");
    let found =
        Diagnostic::new(Code::UnknownKind, Position::default(), &path, "unknown kind \"a\0\x1b[2J\u{9b}\"")
            .with_hint("one of:\n\tGateway\r\x07")
            .in_file(Some("a\x1b.yaml"));
    assert_eq!(found.message, r#"unknown kind "a\u{0}\u{1b}[2J\u{9b}""#);
    assert_eq!(found.hint.as_deref(), Some("one of:\n\tGateway\\r\\u{7}"));
    assert_eq!(found.file.as_deref(), Some(r"a\u{1b}.yaml"));
    let is_control = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    assert!(!found.to_string().contains(is_control), "{found}");
    assert_eq!(printable("ä – \u{202f}"), "ä – \u{202f}");
}

#[test]
fn keys_that_are_not_words_are_quoted_in_a_path() {
    let path = FieldPath::of_keys("metadata.labels").key("example.com/team");
    assert_eq!(path.to_string(), r#"metadata.labels["example.com/team"]"#);
}

#[test]
fn near_words_are_suggested_and_far_ones_are_not() {
    let fields = ["servers", "catalogs", "serverDefaults", "suspend"];
    let suggest = |word| did_you_mean(word, fields);
    assert_eq!(suggest("server").as_deref(), Some("did you mean `servers`?"));
    assert_eq!(suggest("SERVERS").as_deref(), Some("did you mean `servers`?"));
    assert_eq!(suggest("susepnd").as_deref(), Some("did you mean `suspend`?"));
    assert_eq!(suggest("zebra"), None);
    assert_eq!(suggest(""), None);
}
