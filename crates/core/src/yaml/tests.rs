use proptest::prelude::*;
use serde_json::json;

use super::*;

fn one(text: &str) -> Node {
    let (documents, diagnostics) = parse(text);
    assert_eq!(diagnostics, [], "{text}");
    documents.into_iter().next().unwrap().root
}

fn read(text: &str) -> Value {
    one(text).to_json()
}

fn codes(text: &str) -> Vec<(Code, u32, u32)> {
    parse(text).1.into_iter().map(|found| (found.code, found.line, found.column)).collect()
}

#[test]
fn scalars_are_those_of_the_core_schema() {
    for (text, value) in [
        ("true", json!(true)),
        ("TRUE", json!(true)),
        ("yes", json!("yes")),
        ("on", json!("on")),
        ("~", Value::Null),
        ("8080", json!(8080)),
        ("+5", json!(5)),
        ("-5", json!(-5)),
        ("0x1F", json!(31)),
        ("0o17", json!(15)),
        ("1.5", json!(1.5)),
        ("1e3", json!(1000.0)),
        ("\"8080\"", json!("8080")),
        ("'true'", json!("true")),
        ("!!str 8080", json!("8080")),
        ("!!int 8080", json!(8080)),
        ("2025-01-01", json!("2025-01-01")),
        (".", json!(".")),
        ("1.2.3", json!("1.2.3")),
        ("e3", json!("e3")),
    ] {
        let text = format!("v: {text}");
        assert_eq!(read(&text)["v"], value, "{text}");
    }
}

#[test]
fn what_readers_disagree_about_stays_as_written() {
    for text in ["010", "1_000", ".inf", ".nan", "99999999999999999999", "0b11", "0x", "0x-1", "1e999"] {
        assert_eq!(read(&format!("v: {text}"))["v"], Value::String(text.to_owned()));
    }
}

#[test]
fn positions_count_from_one_in_characters() {
    let node = one("a: 1\nü: [x, {y: z}]\n");
    let path = FieldPath::root().key("ü").index(1).key("y");
    assert_eq!(node.locate(&path), Position { line: 2, column: 9 });
    let missing = FieldPath::root().key("ü").index(7);
    assert_eq!(node.locate(&missing), Position { line: 2, column: 1 });
    assert_eq!(node.find(&missing), None);
}

#[test]
fn several_documents_are_read_and_empty_ones_left_out() {
    let (documents, diagnostics) = parse("---\n# nothing\n---\na: 1\n---\nb: 2\n...\n");
    assert_eq!(diagnostics, []);
    assert_eq!(
        documents.iter().map(|document| document.root.to_json()).collect::<Vec<_>>(),
        [json!({"a": 1}), json!({"b": 2})]
    );
    assert_eq!(parse(""), (vec![], vec![]));
}

#[test]
fn documents_behind_a_syntax_error_are_read() {
    let (documents, diagnostics) = parse("a: 1\n---\nb: [1, 2\n---\nc: 3\n---\nd: }\n");
    assert_eq!(
        documents.iter().map(|document| document.root.to_json()).collect::<Vec<_>>(),
        [json!({"a": 1}), json!({"c": 3})]
    );
    assert!(diagnostics.iter().all(|found| found.code == Code::SyntaxError));
    assert_eq!(diagnostics.len(), 2, "{diagnostics:?}");
}

#[test]
fn every_duplicate_key_is_found() {
    let text = "a: 1\nb: {c: 1, c: 2}\na: 3\n\"a\": 4\n";
    let expected = [(Code::DuplicateKey, 2, 11), (Code::DuplicateKey, 3, 1), (Code::DuplicateKey, 4, 1)];
    assert_eq!(codes(text), expected);
    let (documents, diagnostics) = parse(text);
    assert_eq!(diagnostics[1].hint.as_deref(), Some("the first one is in line 1"));
    assert_eq!(diagnostics[0].path, "b.c");
    assert!(!documents[0].is_clean, "it is read on, and used for nothing");
}

#[test]
fn aliases_are_expanded_and_stand_where_they_are_used() {
    let node = one("a: &x {b: 1}\nc: *x\n");
    assert_eq!(node.to_json(), json!({"a": {"b": 1}, "c": {"b": 1}}));
    assert_eq!(node.find(&FieldPath::root().key("c")).unwrap().position, Position { line: 2, column: 4 });
}

#[test]
fn anchors_do_not_reach_into_the_next_document() {
    assert_eq!(codes("a: &x 1\n---\nb: *x\n").first().map(|found| found.0), Some(Code::SyntaxError));
}

#[test]
fn yaml_that_means_something_else_is_refused() {
    for text in
        ["a: !mine 1", "a: !mine {b: 1}", "a: !!int x", "<<: {a: 1}", "{[a]: 1}", "? {a: b}\n: c", "~: 1"]
    {
        let found = codes(text);
        assert!(matches!(found.as_slice(), [(Code::UnsupportedYaml, 1, _)]), "{text}: {found:?}");
    }
    assert_eq!(codes("a: &x [*x]").first().map(|found| found.0), Some(Code::UnsupportedYaml));
}

#[test]
fn growth_by_aliases_is_bounded() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert!(matches!(codes(&text).as_slice(), [(Code::InputTooLarge, ..)]));
}

#[test]
fn depth_and_size_are_bounded() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse(&nested(MAX_DEPTH)).1.is_empty());
    assert_eq!(codes(&nested(MAX_DEPTH + 1)).first().map(|found| found.0), Some(Code::InputTooLarge));
    let via_alias = format!("a: &x {}\nb: {}*x{}\n", nested(40), "[".repeat(40), "]".repeat(40));
    assert_eq!(codes(&via_alias).first().map(|found| found.0), Some(Code::InputTooLarge));
    assert_eq!(codes(&" ".repeat(MAX_TEXT + 1)), [(Code::InputTooLarge, 1, 1)]);
}

#[test]
fn what_is_written_is_read_back() {
    let value = json!({"a": "010", "b": ["yes", "true", "~", "- x", "a: b", "", " x ", "1e3", "#", "ü\n\ty"], "c": {}});
    assert_eq!(read(&to_string(&value).unwrap()), value);
}

/// Whether a position lies inside a text, its end included.
fn is_inside(text: &str, line: u32, column: u32) -> bool {
    let normal = text.replace("\r\n", "\n");
    let mut lines = normal.split(['\n', '\r']);
    let found = lines.nth(line as usize - 1);
    found.is_some_and(|found| (1..=found.chars().count() + 1).contains(&(column as usize)))
}

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic_and_with_positions_inside(text in "\\PC*") {
        for found in parse(&text).1 {
            prop_assert!(is_inside(&text, found.line, found.column), "{:?} of {:?}", found, text);
        }
    }

    #[test]
    fn yaml_like_text_is_read_without_a_panic_and_with_positions_inside(
        text in "([a-c]|: |\\? |- |\n|\r|  |---\n|\\[|\\]|\\{|\\}|, |&x |\\*x|!t |\"|'|\\||>|#|<<|0|1|ü|~){0,60}"
    ) {
        for found in parse(&text).1 {
            prop_assert!(is_inside(&text, found.line, found.column), "{:?} of {:?}", found, text);
        }
    }

    #[test]
    fn any_string_survives_being_written(text in "\\PC{0,40}") {
        let value = json!({ "v": text });
        prop_assert_eq!(read(&to_string(&value).unwrap()), value);
    }
}
