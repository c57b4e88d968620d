use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::diagnostic::{Code, Diagnostic};
use crate::yaml;

const CATALOG: &str = "
apiVersion: bowline.dev/v1alpha1
kind: ClusterCatalog
metadata: { name: base }
spec:
  registry:
    time: { image: mcp/time, disableNetwork: true }
";
const GATEWAY: &str = "
apiVersion: bowline.dev/v1alpha1
kind: Gateway
metadata: { namespace: u1, name: default }
spec:
  catalogs: [base]
  servers: [time]
";

fn accepted(text: &str) -> Vec<Resource> {
    let parsed = parse(text, None);
    assert_eq!(parsed.diagnostics, [], "{text}");
    parsed.resources.into_iter().map(|located| located.resource).collect()
}

fn gateway(spec: &Value) -> GatewaySpec {
    match accepted(&document_of(spec)).remove(0) {
        Resource::Gateway(object) => object.spec,
        Resource::ClusterCatalog(_) | Resource::Catalog(_) | Resource::Secret(_) => {
            panic!("a gateway was written")
        }
    }
}

fn codes(diagnostics: &[Diagnostic]) -> Vec<Code> {
    diagnostics.iter().map(|found| found.code).collect()
}

#[test]
fn short_forms_are_written_out_and_defaults_are_not() {
    let spec = gateway(&json!({
        "catalogs": [
            "a",
            { "kind": "ClusterCatalog", "name": "b" },
            { "kind": "Catalog", "name": "c" },
            { "kind": "Catalog", "name": "c", "namespace": "data-team" },
        ],
        "servers": ["time", { "name": "x", "enabled": null, "config": {}, "tools": {}, "secrets": [] }],
        "secretRefs": [],
        "transport": "streaming",
        "image": null,
        "nodeSelector": {},
        "resources": { "limits": { "memory": "1024Mi", "cpu": 0.5 } },
    }));
    let canonical = json!({
        "catalogs": [
            "a",
            "b",
            { "kind": "Catalog", "namespace": "u1", "name": "c" },
            { "kind": "Catalog", "namespace": "data-team", "name": "c" },
        ],
        "servers": [{ "name": "time" }, { "name": "x" }],
        "transport": "StreamableHTTP",
        "resources": { "limits": { "memory": "1Gi", "cpu": "500m" } },
    });
    assert_eq!(serde_json::to_value(&spec).unwrap(), canonical);
    assert_eq!(serde_json::from_value::<GatewaySpec>(canonical.clone()).unwrap(), spec);
    assert_eq!(gateway(&canonical), spec);
}

#[test]
fn an_empty_gateway_is_a_gateway() {
    let spec = gateway(&json!({}));
    assert_eq!(spec, GatewaySpec::default());
    assert!(!spec.is_suspended());
}

#[test]
fn a_server_says_or_inherits_its_profile_and_resources() {
    let spec = gateway(&json!({
        "servers": ["a", { "name": "b", "profile": "restricted", "resources": { "limits": { "pids": 9 } } }],
        "serverDefaults": { "profile": "baseline", "resources": { "limits": { "memory": "64Mi", "pids": 5 } } },
    }));
    let [a, b] = spec.servers.as_slice() else { panic!("two servers were written") };
    assert_eq!((spec.profile_of(a), spec.profile_of(b)), (Profile::Baseline, Profile::Restricted));
    assert_eq!((spec.resources_of(a).limits.pids, spec.resources_of(b).limits.pids), (Some(5), Some(9)));
    assert_eq!(spec.resources_of(b).limits.memory, Some(Memory::from_mib(64)));
}

#[test]
fn what_get_prints_can_be_applied_again() {
    let text = "
apiVersion: bowline.dev/v1alpha1
kind: Gateway
metadata:
  namespace: u1
  name: default
  uid: 0190b3c0-0000-7000-8000-000000000000
  generation: 3
  resourceVersion: 17
  creationTimestamp: 2026-01-01T00:00:00Z
  deletionTimestamp: null
  finalizers: [x]
  managedBy: cli
spec: { suspend: true }
status: { conditions: [] }
";
    let Resource::Gateway(object) = accepted(text).remove(0) else { panic!("a gateway was written") };
    assert!(object.spec.is_suspended());
}

#[test]
fn a_resource_survives_storage_and_yaml() {
    for resource in accepted(&format!("{CATALOG}---{GATEWAY}")) {
        let stored = serde_json::to_value(&resource).unwrap();
        assert_eq!(serde_json::from_value::<Resource>(stored.clone()).unwrap(), resource);
        let mut shown = stored;
        shown["apiVersion"] = json!(crate::object::API_VERSION);
        assert_eq!(accepted(&yaml::to_string(&shown).unwrap()), [resource]);
    }
}

#[test]
fn an_object_without_errors_is_kept_beside_one_with_errors() {
    let parsed = parse(&format!("{GATEWAY}---{CATALOG}  nope: 1\n"), Some("x.yaml"));
    assert_eq!(codes(&parsed.diagnostics), [Code::UnknownField]);
    assert_eq!(parsed.diagnostics[0].file.as_deref(), Some("x.yaml"));
    assert_eq!(parsed.resources.len(), 1);
    assert!(!parsed.is_ok());
    // The catalog is there and broken: that the gateway finds no server in it is no news.
    assert_eq!(parsed.check_references(|_| None), []);
}

#[test]
fn references_are_looked_for_in_the_input_and_then_in_the_store() {
    let both = parse(&format!("{GATEWAY}---{CATALOG}"), None);
    assert_eq!(both.check_references(|_| panic!("the input has it")), []);
    let alone = parse(GATEWAY, None);
    assert_eq!(codes(&alone.check_references(|_| None)), [Code::UnknownCatalog]);
    let Resource::ClusterCatalog(stored) = accepted(CATALOG).remove(0) else { panic!("a catalog") };
    assert_eq!(alone.check_references(|name| (name.to_string() == "base").then_some(&stored.spec)), []);
    let empty = CatalogSpec::default();
    let unknown = alone.check_references(|_| Some(&empty));
    assert_eq!(codes(&unknown), [Code::UnknownServer]);
    assert_eq!((unknown[0].line, unknown[0].column), (7, 13));
}

#[test]
fn an_object_in_two_files_is_an_error_at_the_second() {
    let both = parse(GATEWAY, Some("a.yaml")).and(parse(GATEWAY, Some("b.yaml")));
    assert_eq!(codes(&both.diagnostics), [Code::DuplicateObject]);
    assert_eq!(both.diagnostics[0].file.as_deref(), Some("b.yaml"));
    assert_eq!(both.diagnostics[0].hint.as_deref(), Some("the first one is at a.yaml:2"));
}

#[test]
fn a_plain_catalog_file_is_read_for_its_servers() {
    let catalog = catalog_from_plain("version: 2\nname: x\nregistry: { a: { image: mcp/a } }\n").unwrap();
    assert_eq!(catalog.registry.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(codes(&catalog_from_plain("name: x").unwrap_err()), [Code::MissingField]);
    assert_eq!(codes(&catalog_from_plain("").unwrap_err()), [Code::WrongType]);
    assert_eq!(codes(&catalog_from_plain("registry: {}\n---\na: 1").unwrap_err()), [Code::WrongType]);
    assert_eq!(codes(&catalog_from_plain("registry: [").unwrap_err()), [Code::SyntaxError]);
    assert_eq!(codes(&catalog_from_plain("registry: {}\nnope: 1").unwrap_err()), [Code::UnknownField]);
}

#[test]
fn lists_of_a_gateway_are_bounded() {
    let names = |count: usize| (0..count).map(|n| format!("s{n}")).collect::<Vec<_>>();
    let document = json!({
        "apiVersion": "bowline.dev/v1alpha1",
        "kind": "Gateway",
        "metadata": { "namespace": "u1", "name": "default" },
        "spec": { "servers": names(257), "catalogs": names(33) },
    });
    let parsed = parse(&document.to_string(), None);
    assert_eq!(codes(&parsed.diagnostics), [Code::OutOfRange, Code::OutOfRange]);
    assert_eq!(gateway(&json!({ "servers": names(256) })).servers.len(), 256);
}

#[test]
fn a_great_catalog_is_read_in_one_go() {
    let servers: Vec<String> = (0..3000).map(|n| format!("    s{n}: {{ image: \"Bad {n}\" }}\n")).collect();
    let text = format!(
        "apiVersion: bowline.dev/v1alpha1\nkind: ClusterCatalog\nmetadata: {{ name: x }}\nspec:\n  registry:\n{}",
        servers.concat()
    );
    assert_eq!(parse(&text, None).diagnostics.len(), 3000);
}

/// A value of about the right form for any field.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z0-9]{0,6}".prop_map(Value::from),
        prop_oneof!["base", "time", "Static", "sse", "256Mi", "1", "500m", "restricted", "Catalog"]
            .prop_map(Value::from),
    ];
    let field = prop_oneof![
        "(name|namespace|config|resources|limits|requests|cpu|memory|pids|profile|enabled|tools|secrets|idle|kind)",
        "[a-z]{1,3}",
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(field.clone(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn gateway_document() -> impl Strategy<Value = Value> {
    let field = "(catalogs|servers|serverDefaults|mode|transport|resources|image|port|suspend|secretRefs|nodeSelector)";
    prop::collection::hash_map(field, value(), 0..5).prop_map(|spec| {
        json!({
            "apiVersion": "bowline.dev/v1alpha1",
            "kind": "Gateway",
            "metadata": { "namespace": "u1", "name": "default" },
            "spec": Value::Object(spec.into_iter().collect()),
        })
    })
}

proptest! {
    #[test]
    fn every_finding_about_any_gateway_has_a_place(document in gateway_document()) {
        let text = yaml::to_string(&document).unwrap();
        let parsed = parse(&text, None);
        let lines = text.lines().count() as u32;
        for found in parsed.diagnostics.iter().chain(&parsed.check_references(|_| None)) {
            prop_assert!((1..=lines).contains(&found.line) && found.column >= 1, "{found:?}\n{text}");
        }
        prop_assert_eq!(parsed.is_ok(), parsed.resources.len() == 1);
    }

    #[test]
    fn any_accepted_gateway_survives_storage(document in gateway_document()) {
        for located in parse(&document.to_string(), None).resources {
            let Resource::Gateway(object) = located.resource else { panic!("a gateway was written") };
            let stored = serde_json::to_value(&object.spec).unwrap();
            prop_assert_eq!(&serde_json::from_value::<GatewaySpec>(stored.clone()).unwrap(), &object.spec);
            prop_assert_eq!(gateway(&stored), object.spec);
        }
    }

    #[test]
    fn any_entry_is_kept_as_it_was_written(document in value()) {
        if let Ok(entry) = crate::catalog::ServerEntry::from_json(&document) {
            prop_assert_eq!(serde_json::to_value(&entry).unwrap(), document);
        }
    }
}

#[test]
fn where_secrets_come_from_is_kept_as_it_was_written() {
    let spec = json!({
        "servers": [{
            "name": "github",
            "secrets": [{ "name": "github.token", "valueFrom": { "secretKeyRef": { "name": "work", "key": "pat" } } }],
        }],
        "secretRefs": [{ "name": "work" }, { "name": "home" }],
    });
    assert_eq!(serde_json::to_value(gateway(&spec)).unwrap(), spec);
}

fn document_of(spec: &Value) -> String {
    let document = json!({
        "apiVersion": "bowline.dev/v1alpha1",
        "kind": "Gateway",
        "metadata": { "namespace": "u1", "name": "default" },
        "spec": spec,
    });
    document.to_string()
}
