//! Volumes: made before what has them, found again by their labels, never removed.

use super::*;
use crate::desired::Wanted;
use crate::volume::{VolumeIdentity, VolumeProblem};

const STATEFUL: &str = "
apiVersion: bowline.dev/v1alpha1
kind: ClusterCatalog
metadata: { name: base }
spec:
  registry:
    sqlite:
      title: SQLite
      type: server
      image: 'mcp/sqlite:1'
      disableNetwork: true
      volumes: ['data:/data', '{{sqlite.cache|or:cache|mount_as:/var/cache}}', '/state']
---
apiVersion: bowline.dev/v1alpha1
kind: Gateway
metadata: { namespace: u1, name: default }
spec: { catalogs: [base], servers: [sqlite] }
";

/// State, or reason and message, of the only server.
fn wanted(world: &World, declared: &crate::desired::Declared) -> Wanted {
    world.desire(declared).servers.remove(0).wanted
}

fn configured(paths: &str) -> String {
    STATEFUL.replace("servers: [sqlite]", &format!("servers: [{{ name: sqlite, config: {paths} }}]"))
}

#[test]
fn volumes_are_made_before_their_container_and_outlive_it() {
    let declared = declare(STATEFUL);
    let mut world = World::with_images(&declared);
    let steps = engine(&world.reconcile(&declared));
    let of_server: Vec<_> = steps.iter().filter(|step| step.contains("sqlite")).collect();
    let state =
        world.observed.volumes.iter().map(|v| &v.name).find(|name| name.contains("path-state")).unwrap();
    assert_eq!(
        of_server,
        [
            "create volume mcp-vol-u1.sqlite.data",
            "create volume mcp-vol-u1.sqlite.cache",
            &format!("create volume {state}"),
            "create container mcp-server-u1.default.sqlite",
            "start container mcp-server-u1.default.sqlite",
        ]
    );
    let Wanted::Container(container) = wanted(&world, &declared) else { panic!("no container") };
    let mounts: Vec<_> = container.spec.volumes.iter().map(|v| (v.target.as_str(), v.read_only)).collect();
    assert_eq!(mounts, [("/data", false), ("/var/cache", false), ("/state", false)]);
    assert!(container.spec.is_stateful());

    world.observed.containers.retain(|seen| !seen.name.contains("sqlite"));
    let steps = engine(&world.reconcile(&declared));
    assert!(steps.iter().all(|step| !step.contains("volume")), "{steps:?}");
    let teardown = plan(None, &world.observed, &Holds::new(), at(0));
    assert!(texts(&teardown).iter().all(|step| !step.contains("volume")), "{teardown}");
}

#[test]
fn an_entry_without_volumes_has_the_digest_that_it_had_before_there_were_any() {
    let declared = declare(TWO_SERVERS);
    let world = World::with_images(&declared);
    let Wanted::Container(container) = wanted(&world, &declared) else { panic!("no container") };
    assert!(!serde_json::to_string(&container.spec).unwrap().contains("volumes"));
    assert!(!container.spec.is_stateful());
}

#[test]
fn a_volume_is_found_by_its_labels_whatever_its_name_is_and_anothers_is_not_taken() {
    let declared = declare(STATEFUL);
    let mut world = World::with_images(&declared);
    world.observed.taken_names.insert("mcp-vol-u1.sqlite.data".to_owned());
    world.reconcile(&declared);
    let named = |world: &World| match wanted(world, &declared) {
        Wanted::Container(container) => container.spec.volumes[0].name.clone(),
        other => panic!("{other:?}"),
    };
    let other = named(&world);
    assert_eq!(other, "mcp-vol-u1.sqlite.data_default_00000007");
    // The memory of who has the name is lost with the controller.
    world.observed.taken_names.clear();
    assert_eq!(named(&world), other);
    assert!(world.plan(&declared).is_empty());

    // A tenant of the same name that came later has nothing of it.
    let mut later = declared.clone();
    later.volumes.tenant = Uuid::from_u128(8);
    let Wanted::Container(container) = wanted(&world, &later) else { panic!("no container") };
    assert_eq!(container.spec.volumes[0].name, "mcp-vol-u1.sqlite.data");
}

#[test]
fn a_path_of_the_host_is_refused_wherever_it_comes_from() {
    for config in
        ["{ cache: /etc }", "{ cache: ../../etc }", "{ cache: '~' }", "{ cache: /var/run/docker.sock }"]
    {
        let declared = declare(&configured(config));
        match wanted(&World::with_images(&declared), &declared) {
            Wanted::Never { reason, message } => {
                assert_eq!(reason, "HostPathNotAllowed", "{config}");
                assert!(message.contains("no policy for host paths yet"), "{message}");
            }
            other => panic!("{config}: {other:?}"),
        }
        assert!(declared.volume_needs().is_empty(), "nothing is claimed for what cannot run");
        assert!(
            declared.may_use(&crate::volume::VolumeKey::new("sqlite", "data")),
            "what runs keeps its volumes"
        );
    }
}

#[test]
fn a_volume_that_another_gateway_has_is_that_servers_trouble_and_names_it() {
    let mut declared = declare(STATEFUL);
    let other = crate::object::GatewayKey::new("u1", "work");
    declared.volumes.problems.insert("sqlite/data".to_owned(), VolumeProblem::InUse(other));
    match wanted(&World::with_images(&declared), &declared) {
        Wanted::Never { reason, message } => {
            assert_eq!(reason, "VolumeInUse");
            assert!(message.contains("sqlite/data") && message.contains("gateway/u1/work"), "{message}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_that_is_switched_off_needs_its_volumes_no_more() {
    let declared = declare(&STATEFUL.replace("[sqlite]", "[{ name: sqlite, enabled: false }]"));
    assert!(declared.volume_needs().is_empty());
    assert!(!declared.may_use(&crate::volume::VolumeKey::new("sqlite", "data")));
    assert_eq!(declare(STATEFUL).volume_needs().len(), 3);
}

#[test]
fn volumes_of_other_namespaces_and_installations_break_the_floor() {
    let declared = declare(STATEFUL);
    let good = World::with_images(&declared).plan(&declared);
    let settings = crate::testing::settings();
    let check = |plan: &Plan| crate::floor::check(plan, &declared.key(), &settings);
    assert_eq!(check(&good), Ok(()));
    type Change = fn(&mut String, &mut VolumeIdentity);
    let changes: [(&str, Change); 4] = [
        ("another namespace's name", |name, _| *name = "mcp-vol-u2.sqlite.data".to_owned()),
        ("a name beside the namespace's", |name, _| *name = "mcp-vol-u10.sqlite.data".to_owned()),
        ("another installation", |_, identity| identity.owner.installation = Uuid::nil()),
        ("another namespace", |_, identity| identity.namespace = "u2".to_owned()),
    ];
    for (what, change) in changes {
        let mut plan = good.clone();
        for planned in &mut plan.steps {
            if let Step::CreateVolume { name, identity } = &mut planned.step {
                change(name, identity);
            }
        }
        assert!(check(&plan).is_err(), "not found: {what}");
    }
    for (name, target) in
        [("portainer_data", "/data"), ("/etc", "/data"), ("mcp-vol-u1.sqlite.data", "/proc")]
    {
        let mut plan = good.clone();
        for planned in &mut plan.steps {
            if let Step::CreateContainer { spec, .. } = &mut planned.step
                && let Some(mount) = spec.volumes.first_mut()
            {
                (mount.name, mount.target) = (name.to_owned(), target.to_owned());
            }
        }
        assert!(check(&plan).is_err(), "not found: {name}:{target}");
    }
    let mut plan = good;
    let mount = |spec: &crate::container::ContainerSpec| spec.volumes.first().cloned();
    let volume = plan.steps.iter().find_map(|planned| match &planned.step {
        Step::CreateContainer { spec, .. } => mount(spec),
        _ => None,
    });
    for planned in &mut plan.steps {
        if let Step::CreateContainer { identity, spec, .. } = &mut planned.step
            && identity.role == Role::Gateway
        {
            spec.volumes.extend(volume.clone());
        }
    }
    assert!(check(&plan).is_err(), "a gateway with a volume");
}
