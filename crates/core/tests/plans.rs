//! Every example is a golden case: what a fresh host would do to make it true. `BOWLINE_BLESS=1` rewrites the texts.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a golden test reads files, and ends at the first thing that is not as expected"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use bowline_core::desired::{Declared, Layer, Pins, Settings};
use bowline_core::floor;
use bowline_core::labels::Owner;
use bowline_core::lease::Ranges;
use bowline_core::object::{ObjectKey, StoredMeta};
use bowline_core::observed::Observed;
use bowline_core::preview::preview;
use bowline_core::resource::{CatalogRef, CatalogSpec, GatewayObject, Parsed, Resource, SecretObject, parse};
use bowline_core::rollout::Rollouts;
use bowline_core::secret::{KeyFacts, SecretFacts};
use bowline_core::volume::VolumeClaims;
use chrono::{DateTime, Utc};
use uuid::Uuid;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn settings() -> Settings {
    Settings {
        owner: Owner { instance: "default".to_owned(), installation: Uuid::from_u128(1) },
        host: "h1".to_owned(),
        runtime_dir: "/run/bowline".to_owned(),
        bridge_dir: "/var/lib/bowline/bridge/0123456789abcdef".to_owned(),
        gateway_image: "bowline/gateway:0.1.0".to_owned(),
        publish_address: "127.0.0.1".parse().unwrap(),
        allow_private_remotes: false,
        ranges: Ranges {
            ports: "20000-29999".parse().unwrap(),
            uids: "1900000000-1900065535".parse().unwrap(),
            subnets: "10.213.0.0/16".parse().unwrap(),
        },
    }
}

fn declared(gateway: GatewayObject, catalogs: &BTreeMap<CatalogRef, CatalogSpec>) -> Declared {
    let namespace = gateway.metadata.namespace.unwrap();
    let layer = |reference: &CatalogRef| Layer {
        reference: reference.clone(),
        resource_version: 1,
        spec: catalogs[reference].clone(),
    };
    Declared {
        catalogs: gateway.spec.catalogs.iter().map(layer).collect(),
        metadata: StoredMeta {
            key: ObjectKey::gateway(namespace, gateway.metadata.name),
            uid: Uuid::from_u128(42),
            generation: 1,
            resource_version: 1,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            creation_timestamp: DateTime::<Utc>::UNIX_EPOCH,
            deletion_timestamp: None,
            managed_by: "cli".to_owned(),
        },
        spec: gateway.spec,
        epoch: 1,
        leases: BTreeMap::new(),
        lease_problems: BTreeMap::new(),
        tokens: Vec::new(),
        tokens_revision: 0,
        pins: Pins::default(),
        secrets: BTreeMap::new(),
        rollouts: Rollouts::default(),
        requests: BTreeMap::new(),
        volumes: VolumeClaims { tenant: Uuid::from_u128(7), ..VolumeClaims::default() },
    }
}

/// What the store would know of a Secret, had it its first values.
fn facts(object: &SecretObject) -> SecretFacts {
    let keys = object.values.iter().flatten().map(|(key, _)| key.clone());
    SecretFacts {
        uid: Uuid::from_u128(9),
        keys: keys.map(|key| (key, KeyFacts { version: 1, unusable: None })).collect(),
    }
}

/// The files of one example: validated together, then each gateway planned.
fn render(example: &Path) -> String {
    let mut files: Vec<_> = fs::read_dir(example).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut all = Parsed::default();
    let mut text = String::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == "yaml")) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let parsed = parse(&fs::read_to_string(file).unwrap(), Some(name));
        all = all.and(parsed);
    }
    for diagnostic in all.diagnostics.iter().cloned().chain(all.check_references(|_| None)) {
        assert!(!diagnostic.is_error(), "{diagnostic}");
        writeln!(text, "{diagnostic}\n").unwrap();
    }
    let mut catalogs = BTreeMap::new();
    let mut secrets = BTreeMap::new();
    let mut gateways = Vec::new();
    for located in all.resources {
        let key = located.resource.key();
        match located.resource {
            Resource::ClusterCatalog(object) | Resource::Catalog(object) => {
                catalogs.insert(CatalogRef::to(&key).unwrap(), object.spec);
            }
            Resource::Gateway(object) => gateways.push(object),
            Resource::Secret(object) => {
                secrets.insert(
                    (object.metadata.namespace.clone(), object.metadata.name.clone()),
                    facts(&object),
                );
            }
        }
    }
    for gateway in gateways {
        let mut declared = declared(*gateway, &catalogs);
        for name in declared.secret_needs() {
            let found = secrets.get(&(declared.metadata.key.namespace.clone(), name.clone()));
            declared.secrets.extend(found.map(|facts: &SecretFacts| (name, facts.clone())));
        }
        for slot in declared.lease_needs() {
            let taken = declared.leases.values().copied().collect();
            let none = BTreeSet::new();
            let value = settings().ranges.next_free(slot.kind, &taken, &none, &none, None).unwrap();
            declared.leases.insert(slot, value);
        }
        let plan = preview(&declared, Observed::default(), &settings(), DateTime::<Utc>::UNIX_EPOCH).plan;
        floor::check(&plan, &declared.key(), &settings()).unwrap();
        writeln!(text, "gateway/{}", declared.key()).unwrap();
        for planned in &plan.steps {
            writeln!(text, "  {}", planned.step).unwrap();
        }
    }
    text
}

#[test]
fn every_example_is_valid_and_plans_to_its_golden_text() {
    let golden = root().join("specs/cases/plan");
    let mut examples: Vec<_> =
        fs::read_dir(root().join("examples")).unwrap().map(|entry| entry.unwrap().path()).collect();
    examples.sort();
    assert!(examples.len() >= 5, "the examples were not found");
    let mut differing = Vec::new();
    for example in examples {
        let name = example.file_name().unwrap().to_str().unwrap().to_owned();
        let file = golden.join(format!("{name}.txt"));
        let text = render(&example);
        if std::env::var_os("BOWLINE_BLESS").is_some() {
            fs::create_dir_all(&golden).unwrap();
            fs::write(&file, &text).unwrap();
        } else if fs::read_to_string(&file).ok().as_deref() != Some(&text) {
            differing.push(format!("{name}:\n{text}"));
        }
    }
    assert!(
        differing.is_empty(),
        "not as in specs/cases/plan (BOWLINE_BLESS=1 rewrites):\n{}",
        differing.join("\n")
    );
}
