use std::collections::BTreeMap;

use super::*;

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_gateway_is_named_by_its_namespace_alone_when_it_is_the_default_one() {
    let name = |text: &str| text.parse::<GatewayName>().map(|name| name.0.to_string());
    assert_eq!(name("u1"), Ok("u1/default".to_owned()));
    assert_eq!(name("u1/work"), Ok("u1/work".to_owned()));
    assert_eq!(name("gateway/u1/work"), Ok("u1/work".to_owned()));
    assert!(name("catalog/u1/work").is_err());
    assert!(name("U1").is_err());
    assert!(name("").is_err());
}

#[test]
fn targets_are_read_as_kubectl_reads_them() {
    let keys = |text: &str, namespace| {
        read(&words(text), namespace).map(|t| t.keys.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(keys("gateways", None), Ok(vec![]));
    assert_eq!(keys("gateway default", Some("u1")), Ok(vec!["gateway/u1/default".to_owned()]));
    assert_eq!(keys("gateway/u1/default", None), Ok(vec!["gateway/u1/default".to_owned()]));
    assert_eq!(keys("gw/a gw/b", Some("u1")), Ok(vec!["gateway/u1/a".to_owned(), "gateway/u1/b".to_owned()]));
    assert_eq!(keys("clustercatalogs base", None), Ok(vec!["clustercatalog/base".to_owned()]));
    assert_eq!(keys("catalogs tools", Some("u1")), Ok(vec!["catalog/u1/tools".to_owned()]));
    assert_eq!(keys("cat/team/tools", Some("u1")), Ok(vec!["catalog/team/tools".to_owned()]));
}

#[test]
fn what_names_nothing_is_refused_with_a_hint() {
    for (text, says) in [
        ("gateway default", "which namespace"),
        ("pods", "no resource type"),
        ("gateway/u1/default cc/base", "different kinds"),
        ("gateway/u1/default other", "names no kind"),
        ("catalog base", "which namespace"),
        ("cc Base", "no name"),
        ("cc u1/base", "no name"),
        ("", "no resource named"),
    ] {
        let failure = read(&words(text), None).unwrap_err();
        assert!(failure.to_string().contains(says), "{text}: {failure}");
        assert_eq!(failure.exit_code(), 1);
    }
}

#[test]
fn a_selector_requires_every_part_and_refuses_what_it_does_not_know() {
    let labels =
        BTreeMap::from([("team".to_owned(), "data".to_owned()), ("tier".to_owned(), "1".to_owned())]);
    let matches = |text: &str| text.parse::<Selector>().unwrap().matches(&labels);
    assert!(matches("team=data"));
    assert!(matches("team==data,tier"));
    assert!(!matches("team=web"));
    assert!(!matches("team=data,stage"));
    assert!("team!=data".parse::<Selector>().is_err());
    assert!("team in (a)".parse::<Selector>().is_err());
}

#[test]
fn a_gateway_is_named_by_a_word_a_namespace_or_both() {
    let name = |word, namespace| gateway(word, namespace).map(|key| key.to_string());
    assert_eq!(name(Some("u1"), None), Ok("u1/default".to_owned()));
    assert_eq!(name(Some("u1/work"), None), Ok("u1/work".to_owned()));
    assert_eq!(name(None, Some("u1")), Ok("u1/default".to_owned()));
    assert_eq!(name(Some("work"), Some("u1")), Ok("u1/work".to_owned()));
    assert_eq!(name(Some("u1/work"), Some("u1")), Ok("u1/work".to_owned()));
    for (word, namespace) in [(None, None), (Some("u2/work"), Some("u1")), (Some("Work"), Some("u1"))] {
        assert!(gateway(word, namespace).is_err(), "{word:?} {namespace:?}");
    }
}
