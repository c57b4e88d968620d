use super::*;

fn explain(path: &str) -> String {
    let mut words = path.split('.');
    let kind = target::kind(words.next().unwrap()).unwrap();
    explanation(kind, &words.collect::<Vec<_>>(), false).unwrap()
}

/// Every field of every kind, as `explain` takes it.
fn paths(kind: Kind) -> Vec<Vec<String>> {
    fn walk(node: &Value, path: &[String], all: &mut Vec<Vec<String>>) {
        for (name, below) in fields(node) {
            let path: Vec<String> = path.iter().cloned().chain([name]).collect();
            walk(&below, &path, all);
            all.push(path);
        }
    }
    let mut all = Vec::new();
    walk(&schema_for(kind), &[], &mut all);
    all
}

#[test]
fn every_field_of_every_kind_is_explained() {
    for kind in Kind::ALL {
        let all = paths(kind);
        assert!(all.len() > 15, "{kind}: {all:?}");
        for path in all {
            let words: Vec<_> = path.iter().map(String::as_str).collect();
            let text = explanation(kind, &words, false).unwrap();
            assert!(!text.contains("<none>"), "{kind}.{} is not described:\n{text}", path.join("."));
        }
    }
}

#[test]
fn a_field_is_shown_with_its_type_default_words_and_limits() {
    let text = explain("gateway.spec.mode");
    let head = "KIND:       Gateway\nVERSION:    bowline.dev/v1alpha1\n\nFIELD: mode <string>\n\nENUM:\n    Static\n";
    assert!(text.starts_with(head), "{text}");
    assert!(text.contains("DEFAULT:\n    Static\n"), "{text}");
    let text = explain("gateway.spec.port");
    assert!(
        text.contains("FIELD: port <integer>\n\nLIMITS:\n    at least 1024\n    at most 65535\n"),
        "{text}"
    );
}

#[test]
fn an_object_is_shown_with_its_fields_through_lists_and_maps() {
    let text = explain("gw.spec.servers");
    assert!(text.contains("FIELD: servers <[]string|Object>"), "{text}");
    assert!(text.contains("\n  name\t<string> -required-\n"), "{text}");
    assert!(text.contains("\n  enabled\t<boolean>\n  default: true\n    "), "{text}");
    let catalogs = explain("gateway.spec.catalogs");
    assert!(catalogs.contains("FIELD: catalogs <[]string|Object>"), "{catalogs}");
    assert!(
        catalogs.contains("\n  kind\t<string> -required-\n  enum: ClusterCatalog, Catalog\n"),
        "{catalogs}"
    );
    assert!(
        explain("gateway.spec.servers.resources.limits.memory").contains("FIELD: memory <string|number>")
    );
    assert!(explain("clustercatalog.spec.registry.image").contains("FIELD: image <string"));
    assert!(explain("gateway.metadata.labels").contains("FIELD: labels <map[string]string>"));
}

#[test]
fn the_tree_of_a_kind_has_names_and_types_only() {
    let text = explanation(Kind::Gateway, &["spec"], true).unwrap();
    assert!(text.contains("\n  serverDefaults\t<Object>\n"), "{text}");
    assert!(text.contains("\n      limits\t<Object>\n        cpu\t<string|number>\n"), "{text}");
}

#[test]
fn a_field_that_is_not_there_is_answered_with_the_nearest() {
    let said = |path: &[&str]| explanation(Kind::Gateway, path, false).unwrap_err().to_string();
    let text = said(&["spec", "severs"]);
    assert!(
        text.contains("gateway.spec has no field \"severs\"") && text.contains("did you mean `servers`?"),
        "{text}"
    );
    let text = said(&["spec", "port", "number"]);
    assert!(text.contains("gateway.spec.port has no fields at all"), "{text}");
}
