use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;

use super::*;

fn named(servers: &[(&str, Option<&str>, &[&str])]) -> Vec<Vec<Option<String>>> {
    let namespaces: Vec<_> =
        servers.iter().map(|&(server, prefix, tools)| Namespace { server, prefix, tools }).collect();
    assign(&namespaces)
}

fn some(names: &[&str]) -> Vec<Option<String>> {
    names.iter().map(|name| Some((*name).to_owned())).collect()
}

#[test]
fn a_tool_keeps_its_own_name_or_the_one_with_the_prefix_of_the_catalog() {
    let names = named(&[("time", None, &["now", "convert"]), ("git", Some("vcs"), &["log"])]);
    assert_eq!(names, [some(&["now", "convert"]), some(&["vcs__log"])]);
}

#[test]
fn both_sides_of_a_collision_are_named_by_their_server_and_nothing_else_changes() {
    let names = named(&[("a", None, &["search", "open"]), ("b", None, &["search"]), ("c", None, &["list"])]);
    assert_eq!(names, [some(&["a__search", "open"]), some(&["b__search"]), some(&["list"])]);
}

#[test]
fn a_collision_of_prefixed_names_is_named_by_the_servers_too() {
    let names = named(&[("a", Some("p"), &["x"]), ("b", Some("p"), &["x"])]);
    assert_eq!(names, [some(&["a__x"]), some(&["b__x"])]);
}

#[test]
fn a_name_that_only_looks_prefixed_gives_way_to_one_that_is() {
    let names = named(&[("a", None, &["x"]), ("b", None, &["x"]), ("c", None, &["a__x"])]);
    assert_eq!(names, [some(&["a__x"]), some(&["b__x"]), some(&["c__a__x"])]);
}

#[test]
fn what_still_meets_is_told_apart_by_a_digest() {
    let names = named(&[("a", None, &["b__c"]), ("a__b", None, &["c"]), ("o", None, &["b__c", "c"])]);
    let (first, second) = (names[0][0].as_ref().unwrap(), names[1][0].as_ref().unwrap());
    assert!(
        first.starts_with("a__b__c__") && second.starts_with("a__b__c__") && first != second,
        "{names:?}"
    );
}

#[test]
fn a_tool_that_a_server_lists_twice_is_named_once() {
    assert_eq!(named(&[("a", None, &["x", "x"])]), [vec![Some("x".to_owned()), None]]);
}

#[test]
fn many_tools_are_named_in_no_time_however_they_are_called() {
    let since = std::time::Instant::now();
    let many: Vec<String> = (0..100_000).map(|number| format!("tool{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(named(&[("a", None, &many)]), [some(&many)]);

    // One after the other must give way: `t` becomes `a__t`, which is there already, and so on.
    let chain: Vec<String> = (0..2000).map(|length| format!("{}t", "a__".repeat(length))).collect();
    let chain: Vec<&str> = chain.iter().map(String::as_str).collect();
    let names = named(&[("a", None, &chain), ("b", None, &["t"])]);
    assert_eq!(names[0][1999], Some(format!("{}t", "a__".repeat(2000))));
    assert_eq!(names[1], some(&["b__t"]));
    assert!(since.elapsed() < std::time::Duration::from_secs(10), "{:?}", since.elapsed());
}

fn gateways() -> impl Strategy<Value = BTreeMap<String, (Option<String>, Vec<String>)>> {
    // Few letters and many underscores: collisions in every form.
    let word = "[ab_]{1,5}";
    let tools = prop::collection::vec(word, 0..5);
    prop::collection::btree_map(word, (prop::option::of(word), tools), 0..5)
}

fn assigned(
    gateway: &BTreeMap<String, (Option<String>, Vec<String>)>,
    reversed: bool,
) -> BTreeMap<(String, String), Option<String>> {
    let tools: Vec<Vec<&str>> =
        gateway.values().map(|(_, tools)| tools.iter().map(String::as_str).collect()).collect();
    let mut namespaces: Vec<_> = gateway
        .iter()
        .zip(&tools)
        .map(|((server, (prefix, _)), tools)| Namespace { server, prefix: prefix.as_deref(), tools })
        .collect();
    if reversed {
        namespaces.reverse();
    }
    let names = assign(&namespaces);
    let mut all = BTreeMap::new();
    for (namespace, names) in namespaces.iter().zip(names) {
        assert_eq!(namespace.tools.len(), names.len());
        for (tool, name) in namespace.tools.iter().zip(names) {
            all.entry((namespace.server.to_owned(), (*tool).to_owned())).or_insert(name);
        }
    }
    all
}

proptest! {
    #[test]
    fn names_are_different_complete_and_do_not_depend_on_the_order(gateway in gateways()) {
        let names = assigned(&gateway, false);
        let mut seen = HashSet::new();
        for ((server, tool), name) in &names {
            let name = name.as_deref().unwrap();
            prop_assert!(seen.insert(name.to_owned()), "{name} is there twice");
            let shown = match &gateway[server].0 {
                Some(prefix) => format!("{prefix}__{tool}"),
                None => tool.clone(),
            };
            let by_server = format!("{server}__{tool}");
            prop_assert!(name == shown || name.starts_with(&by_server), "{name} names neither {shown}");
        }
        prop_assert_eq!(&names, &assigned(&gateway, true));
    }
}
