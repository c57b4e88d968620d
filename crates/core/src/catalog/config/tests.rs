#![allow(clippy::needless_pass_by_value, reason = "tests write their values in place")]

use serde_json::json;

use super::*;

fn entry() -> ServerEntry {
    let document = json!({
        "image": "x",
        "command": ["{{s.extra}}"],
        "config": [{
            "name": "s",
            "type": "object",
            "properties": {
                "host": { "type": "string", "description": "Where it is" },
                "port": { "type": "integer" },
                "tls": { "type": "boolean" },
                "paths": { "type": "array", "items": { "type": "string" } },
                "a": { "type": "object", "properties": { "url": { "type": "string" } }, "required": ["url"] },
            },
            "required": ["host"],
            "anyOf": [{ "required": ["port"] }, { "required": ["a", "tls"] }],
        }, { "name": "another", "required": ["never"] }],
    });
    ServerEntry::from_json(&document).unwrap()
}

fn problems(config: Value) -> Vec<(String, String)> {
    let found = check_config("s", &entry(), config.as_object().unwrap());
    found.into_iter().map(|problem| (problem.path.to_string(), problem.message)).collect()
}

#[test]
fn configuration_that_fits_has_no_problem() {
    assert_eq!(problems(json!({ "host": "h", "port": 1 })), []);
    assert_eq!(problems(json!({ "host": 42, "port": "8080", "paths": ["a"] })), []);
    assert_eq!(problems(json!({ "host": "h", "tls": "true", "a": { "url": "u" }, "other": 1 })), []);
}

#[test]
fn every_missing_key_and_wrong_type_is_named() {
    let found = problems(json!({ "host": null, "tls": "perhaps", "paths": ["a", {}], "a": {} }));
    let expected = [
        ("host", "the configuration needs `host`"),
        ("a.url", "the configuration needs `url`"),
        ("paths[1]", "the configuration wants a string here"),
        ("tls", "the configuration wants a boolean here"),
    ];
    assert_eq!(found, expected.map(|(path, message)| (path.to_owned(), message.to_owned())));
    let found = problems(json!({ "host": "h" }));
    assert_eq!(found, [(String::new(), "the configuration needs `port` or `a` and `tls`".to_owned())]);
    let hint = check_config("s", &entry(), json!({ "port": 1 }).as_object().unwrap())[0].hint.clone();
    assert_eq!(hint.as_deref(), Some("host: Where it is"));
}

#[test]
fn keys_that_nothing_uses_are_told_with_the_one_that_was_meant() {
    let config = json!({ "hots": "h", "extra": "e", "port": 1 });
    let found = unused_config("s", &entry(), config.as_object().unwrap());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].hint.as_deref(), Some("did you mean `host`?"));
}
