//! The secret files themselves: kept as they shall be while somebody reads them, and not longer.

use super::*;

#[test]
fn a_server_that_needs_its_secrets_no_more_loses_file_and_directory() {
    let (mut declared, mut world) = running();
    for server in ["github", "chat"] {
        let entry = serde_json::json!({ "image": format!("mcp/{server}:1"), "disableNetwork": true });
        let entry = crate::catalog::ServerEntry::from_json(&entry).unwrap();
        declared.catalogs[0].spec.registry.insert(server.to_owned(), entry);
    }
    declared.metadata.generation += 1;
    let steps = texts(&world.reconcile(&declared));
    let removals: Vec<_> = steps.iter().filter(|step| step.starts_with("remove secrets")).collect();
    assert_eq!(removals, ["remove secrets/chat", "remove secrets/github", "remove secrets"]);
    world.answer(&declared, &["github", "chat", "time"]);
    world.reconcile(&declared);
    assert!(world.plan(&declared).is_empty());
}

#[test]
fn no_trouble_of_another_server_keeps_a_secret_that_nobody_needs() {
    let (mut declared, world) = running();
    declared.spec.servers.remove(0);
    declared.metadata.generation += 1;
    let mut observed = world.observed.clone();
    let tree = observed.trees.get_mut(&Uuid::from_u128(42)).unwrap();
    // A write that was cut off, and what is left of a server that nobody knows any more.
    tree.insert("secrets/chat/.env.tmp".to_owned(), Entry::Other);
    tree.insert("secrets/gone".to_owned(), Entry::Directory { mode: 0o755 });
    let plan = plan(Some(&world.desire(&declared)), &observed, &Holds::new(), at(0));
    let removals = plan.steps.iter().filter(|planned| planned.step.to_string().starts_with("remove secrets"));
    let removals: Vec<_> =
        removals.map(|planned| (planned.unit.to_string(), planned.step.to_string())).collect();
    let expected = [
        ("server chat", "remove secrets/chat/.env.tmp"),
        ("server github", "remove secrets/github"),
        ("server gone", "remove secrets/gone"),
    ];
    assert_eq!(removals, expected.map(|(unit, step)| (unit.to_owned(), step.to_owned())));
}

#[test]
fn a_container_that_waits_for_its_lease_or_image_keeps_its_file() {
    let (declared, mut world) = running();
    let lost = |declared: &mut Declared| {
        let slot = crate::lease::LeaseSlot::new(
            crate::lease::LeaseKind::Uid,
            crate::lease::Holder::Server("github".to_owned()),
        );
        declared.leases.remove(&slot);
    };
    let mut without_lease = declared.clone();
    lost(&mut without_lease);
    assert!(matches!(wanted(&world, &without_lease, 0), Wanted::Lease { .. }));
    let removes = |plan: &Plan| texts(plan).iter().any(|step| step.starts_with("remove secrets"));
    assert!(!removes(&world.plan(&without_lease)));
    world.rollouts.servers.clear();
    world.observed.images.values_mut().for_each(|state| *state = ImageState::Absent);
    assert!(matches!(wanted(&world, &declared, 0), Wanted::Image(_)));
    assert!(!removes(&world.plan(&declared)));
}

#[test]
fn a_file_that_somebody_changed_is_put_right_and_no_container_stops_for_it() {
    let (declared, world) = running();
    let uid = Uuid::from_u128(42);
    let good = revision(&world, FILE).unwrap();
    let write = "write secret file secrets/github/env (2 values)".to_owned();
    let entries = [
        (Some(Entry::Secret { mode: FILE_MODE, revision: String::new() }), vec![write.clone()]),
        (Some(Entry::Secret { mode: 0o644, revision: good }), vec![write.clone()]),
        (Some(Entry::File { mode: FILE_MODE, sha256: String::new() }), vec![write.clone()]),
        (None, vec![write.clone()]),
        (Some(Entry::Other), vec!["remove secrets/github/env".to_owned(), write]),
    ];
    for (entry, expected) in entries {
        let mut changed = world.observed.clone();
        let tree = changed.trees.get_mut(&uid).unwrap();
        tree.remove(FILE);
        tree.extend(entry.clone().map(|entry| (FILE.to_owned(), entry)));
        let plan = plan(Some(&world.desire(&declared)), &changed, &Holds::new(), at(0));
        assert_eq!(texts(&plan), expected, "{entry:?}");
    }
}

#[test]
fn a_container_whose_secrets_directory_was_lost_is_made_anew() {
    let (declared, mut world) = running();
    let chat = world.container(CHAT).id.clone();
    let tree = world.observed.trees.get_mut(&Uuid::from_u128(42)).unwrap();
    tree.retain(|path, _| !path.starts_with("secrets/github"));
    let steps = texts(&world.reconcile(&declared));
    assert!(steps.contains(&format!("remove container {GITHUB}")), "{steps:?}");
    assert_eq!(world.container(CHAT).id, chat);
    assert!(world.plan(&declared).is_empty());
}
