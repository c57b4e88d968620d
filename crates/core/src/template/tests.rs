#![allow(clippy::needless_pass_by_value, reason = "tests write their values in place")]

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn entry(mut document: Value) -> ServerEntry {
    document["image"] = json!("mcp/x");
    ServerEntry::from_json(&document).unwrap()
}

fn render(document: Value, config: Value) -> Result<RenderedServer, Vec<TemplateError>> {
    render_server("s", &entry(document), config.as_object().unwrap())
}

fn command(items: Value, config: Value) -> Result<Vec<String>, Vec<Problem>> {
    let rendered = render(json!({ "command": items }), config);
    rendered
        .map(|server| server.command)
        .map_err(|errors| errors.into_iter().map(|error| error.problem).collect())
}

/// Every pair of name and value as an `env` entry, in order.
fn env(pairs: &[(&str, &str)], config: Value) -> Result<Vec<(String, String)>, Vec<Problem>> {
    let list: Vec<Value> =
        pairs.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
    let rendered = render(json!({ "env": list }), config);
    rendered
        .map(|server| server.env)
        .map_err(|errors| errors.into_iter().map(|error| error.problem).collect())
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn an_entry_without_templates_is_taken_as_it_is() {
    let server =
        render(json!({ "command": ["--a", "b"], "prefix": "p", "disableNetwork": true }), json!({})).unwrap();
    assert_eq!(server.command, ["--a", "b"]);
    assert_eq!(server.image.canonical(), "docker.io/mcp/x:latest");
    assert_eq!((server.network, server.prefix.as_deref()), (Network::None, Some("p")));
}

#[test]
fn the_network_is_what_allow_hosts_says() {
    let network = |document| render(document, json!({})).unwrap().network;
    assert_eq!(network(json!({})), Network::Egress);
    assert_eq!(network(json!({ "allowHosts": null })), Network::Egress);
    assert_eq!(network(json!({ "allowHosts": [] })), Network::None);
    assert_eq!(network(json!({ "allowHosts": ["x:443"] })), Network::Egress);
    assert_eq!(network(json!({ "allowHosts": ["x:443"], "disableNetwork": true })), Network::None);
}

#[test]
fn values_are_put_into_env() {
    let config = json!({ "host": "h", "port": 8080, "tls": true, "ratio": 1.0, "nested": { "deep": "d" } });
    let given = [
        ("URL", "http://{{s.host}}:{{ s.port }}/{{s.nested.deep|safe}}"),
        ("TLS", "{{s.tls}}"),
        ("RATIO", "{{s.ratio}}"),
        ("COPY", "<$URL>"),
        ("JSON", r#"{"a": {"b": "${TLS}"}}"#),
    ];
    let expected = [
        ("URL", "http://h:8080/d"),
        ("TLS", "true"),
        ("RATIO", "1"),
        ("COPY", "<http://h:8080/d>"),
        ("JSON", r#"{"a": {"b": "true"}}"#),
    ];
    assert_eq!(env(&given, config).unwrap(), pairs(&expected));
}

#[test]
fn a_value_that_is_not_configured_unsets_its_own_variable_only() {
    assert_eq!(env(&[("A", "{{s.a}}"), ("B", ""), ("C", "$A")], json!({ "a": null })).unwrap(), []);
    assert_eq!(env(&[("A", "x{{s.a}}")], json!({})), Err(vec![Problem::Missing("s.a".into())]));
    assert_eq!(
        env(&[("A", "{{s.a}}"), ("B", "x$A")], json!({})),
        Err(vec![Problem::UnsetVariable("A".into())])
    );
    assert_eq!(env(&[("A", "{{s.a|or:d}}")], json!({})).unwrap(), pairs(&[("A", "d")]));
    assert_eq!(env(&[("A", "{{s.a|or:d}}")], json!({ "a": "" })).unwrap(), pairs(&[("A", "d")]));
}

#[test]
fn of_two_variables_of_one_name_the_later_one_wins() {
    assert_eq!(
        env(&[("A", "1"), ("B", "$A"), ("A", "2$A")], json!({})).unwrap(),
        pairs(&[("A", "21"), ("B", "1")])
    );
}

#[test]
fn a_list_is_several_arguments_and_text_is_one() {
    let config = json!({ "paths": ["/a b", "/c:/d"], "one": "x y", "none": [] });
    let items = json!(["{{s.paths|volume-target|into}}", "{{s.one}}", "--p={{s.paths|first}}", "{{s.none}}"]);
    assert_eq!(command(items, config.clone()).unwrap(), ["/a b", "/d", "x y", "--p=/a b"]);
    let items = json!(["{{s.paths|last}}", "{{s.one|into}}", "{{s.one|volume}}", "{{s.one|mount_as:/m}}"]);
    assert_eq!(command(items, config).unwrap(), ["/c:/d", "x y", "x y:x y", "x y:/m"]);
    let defaults = json!(["{{s.no|or:[a, b]}}", "{{s.no|or:[]|volume|into}}", "{{other|or:-v}}"]);
    assert_eq!(command(defaults, json!({})).unwrap(), ["a", "b", "-v"]);
}

#[test]
fn a_dollar_in_a_value_is_a_dollar() {
    let given = json!({ "env": [{ "name": "HOME_", "value": "/h" }], "command": ["${HOME_}/x", "a={{s.v}}", "{{s.v}}"] });
    let server = render(given, json!({ "v": "$HOME_ $$" })).unwrap();
    assert_eq!(server.command, ["/h/x", "a=$HOME_ $$", "$HOME_ $$"]);
}

#[test]
fn what_docker_loses_silently_is_an_error() {
    use Problem as P;
    let config = json!({ "n": 8080, "list": ["a"], "map": {}, "numbers": [1] });
    for (item, problem) in [
        ("{json}", P::StrayBrace),
        ("a}b", P::StrayBrace),
        ("{{s.n", P::StrayBrace),
        ("{{}}", P::Malformed(String::new())),
        ("{{s.a b}}", P::Malformed("s.a b".into())),
        ("{{s..a}}", P::Malformed("s..a".into())),
        ("{{s.{{n}}", P::Malformed("s.{{n".into())),
        ("{{s.n|upper}}", P::UnknownFilter("upper".into())),
        ("{{s.n| or:x}}", P::SpaceBeforeFilter("or:x".into())),
        ("{{n}}", P::ForeignPath { path: "n".into(), server: "s".into() }),
        ("{{s.no}}", P::Missing("s.no".into())),
        ("--x={{s.no}}", P::Missing("s.no".into())),
        ("{{s.n}}", P::BareScalar("s.n".into())),
        ("{{s.numbers}}", P::BareScalar("s.numbers".into())),
        ("{{s.n|volume}}", P::BareScalar("s.n".into())),
        ("x{{s.list}}", P::NotText("s.list".into())),
        ("{{s.map}}", P::NotText("s.map".into())),
        ("{{s}}", P::NotText("s".into())),
        ("a$$b", P::LostDollar("$$".into())),
        ("$1", P::LostDollar("$1".into())),
        ("${", P::StrayBrace),
        ("${a b}", P::StrayBrace),
        ("${A}b", P::StrayBrace),
        ("${NOPE}", P::UnknownVariable("NOPE".into())),
        ("{{s.no|or:$x}}", P::LostDollar("$x".into())),
        ("$NOPE", P::UnknownVariable("NOPE".into())),
        ("a\nb", P::ControlCharacter),
    ] {
        assert_eq!(command(json!([item]), config.clone()), Err(vec![problem]), "{item}");
    }
    assert_eq!(command(json!(["5$", "a$ b", "$/x"]), json!({})).unwrap(), ["5$", "a$ b", "$/x"]);
}

#[test]
fn a_configured_value_never_becomes_a_flag() {
    for (item, value) in [
        ("{{s.v}}", json!("--privileged")),
        ("{{s.v}}", json!(["a", "-x"])),
        ("{{s.v}}x", json!("-")),
        ("{{s.empty}}{{s.v}}", json!("-x")),
        ("$V", json!("-x")),
    ] {
        let document = json!({ "env": [{ "name": "V", "value": "{{s.text|or:-x}}" }], "command": [item] });
        let config = json!({ "v": value, "empty": "", "text": "-x" });
        let errors = render(document, config).unwrap_err();
        assert!(matches!(errors[0].problem, Problem::Flag(_)), "{item}: {errors:?}");
    }
    assert_eq!(command(json!(["-n={{s.v}}"]), json!({ "v": "-1" })).unwrap(), ["-n=-1"]);
}

#[test]
fn all_errors_are_told_with_their_places() {
    let document = json!({
        "env": [{ "name": "A", "value": "$$" }],
        "command": ["ok", "{", "{{s.no}}"],
        "secrets": [{ "name": "s.token", "env": "TOKEN" }],
    });
    let errors = render(document, json!({})).unwrap_err();
    let places: Vec<String> = errors.iter().map(|error| error.path.to_string()).collect();
    assert_eq!(places, ["env[0].value", "command[1]", "command[2]"]);
    let secret = json!({ "command": ["$TOKEN"], "secrets": [{ "name": "s.token", "env": "TOKEN" }] });
    let errors = render(secret, json!({})).unwrap_err();
    assert_eq!(errors[0].problem, Problem::SecretVariable("TOKEN".into()));
    assert_eq!(
        errors[0].to_string(),
        "command[0]: `$TOKEN` is a secret, and a secret is in no argument and no other variable"
    );
    assert_eq!(errors[0].problem.hint().unwrap(), "the program finds it in its environment, as `TOKEN`");
}

#[test]
fn growth_by_variables_is_bounded() {
    let names: Vec<String> = (0..64).map(|n| format!("E{n}")).collect();
    let doubled: Vec<String> = (0..64).map(|n: usize| format!("$E{0}$E{0}", n.saturating_sub(1))).collect();
    let doubled = doubled.iter().map(String::as_str);
    let mut given: Vec<(&str, &str)> = names.iter().map(String::as_str).zip(doubled).collect();
    given[0].1 = "ab";
    assert!(env(&given, json!({})).unwrap_err().contains(&Problem::TooLong));
    let long = "x".repeat(100 << 10);
    assert_eq!(command(json!(vec!["{{s.v}}"; 11]), json!({ "v": long })), Err(vec![Problem::TooLong]));
    assert_eq!(command(json!(["{{s.v}}"]), json!({ "v": long.repeat(2) })), Err(vec![Problem::TooLong]));
}

#[test]
fn a_server_with_dots_is_configured_under_underscores() {
    let entry = entry(json!({ "command": ["{{a_b.c}}"] }));
    let config = json!({ "c": "v" });
    assert_eq!(render_server("a.b", &entry, config.as_object().unwrap()).unwrap().command, ["v"]);
}

#[test]
fn lint_finds_what_no_configuration_can_cure_and_nothing_else() {
    let document = json!({
        "env": [{ "name": "A", "value": "{{s.a}}" }, { "name": "B", "value": "$A$T$C" }, { "name": "C", "value": "{{x.y}}" }],
        "command": ["{{s.a}}", "{{s.b|nope}}", "$C", "{"],
        "secrets": [{ "name": "s.t", "env": "T" }],
    });
    let found = lint("s", &entry(document));
    let places: Vec<String> = found.iter().map(|error| error.path.to_string()).collect();
    assert_eq!(places, ["env[1].value", "env[2].value", "command[1]", "command[3]"]);
}

proptest! {
    #[test]
    fn any_text_renders_or_errs_without_a_panic(
        item in "([a-z$]|\\{\\{|\\}\\}|\\||s\\.v|or:|\\$\\{|\\}|ü| ){0,20}",
        value in "\\PC{0,12}",
    ) {
        let document = json!({ "command": [&item], "env": [{ "name": "E", "value": &item }] });
        let config = json!({ "v": value });
        if let Ok(server) = render(document, config) {
            prop_assert!(server.command.iter().all(|item| !item.chars().any(char::is_control)));
        }
    }

    #[test]
    fn a_value_is_exactly_one_argument(value in "[^\\p{Cc}-]\\PC{0,30}") {
        let rendered = command(json!(["a", "{{s.v}}", "--x={{s.v}}", "b"]), json!({ "v": &value })).unwrap();
        prop_assert_eq!(rendered, ["a".to_owned(), value.clone(), format!("--x={value}"), "b".to_owned()]);
    }

    #[test]
    fn text_without_braces_and_dollars_is_itself(item in "[^\\p{Cc}{}$]{0,30}") {
        prop_assert_eq!(command(json!([&item]), json!({})).unwrap(), vec![item]);
    }

    #[test]
    fn what_lint_passes_renders_once_every_value_is_there(
        item in "([a-z]|\\$E|\\{\\{s\\.v\\}\\}|\\{\\{s\\.w\\|safe\\}\\}|\\}|\\$\\$){0,8}"
    ) {
        let document = json!({ "command": [item], "env": [{ "name": "E", "value": "{{s.v}}" }] });
        let config = json!({ "v": "a", "w": "b" });
        let is_clean = lint("s", &entry(document.clone())).is_empty();
        prop_assert_eq!(render(document, config).is_ok(), is_clean);
    }
}
