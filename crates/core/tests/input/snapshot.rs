use std::collections::BTreeMap;

use bowline_core::catalog::{check_config, unsupported};
use bowline_core::resource::catalog_from_plain;
use bowline_core::template::render_server;
use serde_json::Map;

/// Why a server of a catalog would not run without any configuration; `None` when it would.
fn obstacle(name: &str, entry: &bowline_core::catalog::ServerEntry) -> Option<String> {
    let missing: Vec<&str> = unsupported(entry).iter().map(|missing| missing.field).collect();
    if !missing.is_empty() {
        return Some(format!("unsupported: {}", missing.join(" + ")));
    }
    if !check_config(name, entry, &Map::new()).is_empty() {
        return Some("needs configuration".to_owned());
    }
    let errors = render_server(name, entry, &Map::new()).err()?;
    Some(format!("template: {}", errors[0].problem))
}

#[test]
fn every_entry_of_a_real_catalog_loads() {
    let Some(path) = std::env::var_os("BOWLINE_CATALOG_SNAPSHOT") else {
        println!("BOWLINE_CATALOG_SNAPSHOT is not given: no real catalog was read");
        return;
    };
    let text = std::fs::read_to_string(path).unwrap();
    let catalog = catalog_from_plain(&text).unwrap_or_else(|errors| {
        panic!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    });
    let mut reasons: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, entry) in &catalog.registry {
        reasons.entry(obstacle(name, entry).unwrap_or_else(|| "runs".to_owned())).or_default().push(name);
    }
    println!("{} entries", catalog.registry.len());
    for (reason, names) in &reasons {
        println!("{:4}  {reason}: {}", names.len(), names.join(", "));
    }
    assert_eq!(catalog.registry.len(), text.lines().filter(|line| line.starts_with("    title:")).count());
    assert!(reasons.contains_key("runs"), "not one entry would run");
}
