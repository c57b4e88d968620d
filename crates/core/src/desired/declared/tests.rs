use crate::object::ObjectKey;
use crate::testing::{World, declare};
use crate::volume::VolumeKey;

/// The fixture counts the catalogs of a text as their versions: `base` is 1, the team's 2, the unused one 3.
const LAYERED: &str = "
apiVersion: bowline.dev/v1alpha1
kind: ClusterCatalog
metadata: { name: base }
spec: { registry: { time: { image: 'mcp/time:1', disableNetwork: true }, old: { image: 'mcp/old:1' } } }
---
apiVersion: bowline.dev/v1alpha1
kind: Catalog
metadata: { namespace: data-team, name: tools }
spec: { registry: { time: { title: Time, image: 'mcp/time:2', disableNetwork: true } } }
---
apiVersion: bowline.dev/v1alpha1
kind: Catalog
metadata: { namespace: u1, name: unused }
spec: { registry: { time: { image: 'mcp/time:3' } } }
---
apiVersion: bowline.dev/v1alpha1
kind: Gateway
metadata: { namespace: u1, name: default }
spec: { catalogs: [{ kind: Catalog, name: tools, namespace: data-team }, base], servers: [time] }
";

/// The image of the gateway's server.
fn image(text: &str) -> Option<String> {
    let declared = declare(text);
    declared.entries()["time"].entry.fields().image.as_ref().map(ToString::to_string)
}

#[test]
fn the_order_in_which_a_gateway_names_its_catalogs_decides_whatever_their_kinds() {
    assert_eq!(image(LAYERED).as_deref(), Some("mcp/time:1"));
    let team = "{ kind: Catalog, name: tools, namespace: data-team }";
    let swapped = LAYERED.replace(&format!("[{team}, base]"), &format!("[base, {team}]"));
    assert_eq!(image(&swapped).as_deref(), Some("mcp/time:2"));
}

#[test]
fn volumes_are_claimed_for_servers_of_which_a_container_can_be_made_and_kept_for_others() {
    let declared = declare(
        "
apiVersion: bowline.dev/v1alpha1
kind: ClusterCatalog
metadata: { name: base }
spec:
  registry:
    keeper: { image: 'mcp/keeper:1', volumes: ['data:/data'] }
    far: { title: Far, type: remote, remote: { url: 'https://far.example/mcp' }, volumes: ['data:/data'] }
    rooted: { image: 'mcp/rooted:1', user: root, volumes: ['data:/data'] }
---
apiVersion: bowline.dev/v1alpha1
kind: Gateway
metadata: { namespace: u1, name: default }
spec: { catalogs: [base], servers: [keeper, far, rooted] }
",
    );
    assert_eq!(Vec::from_iter(declared.volume_needs()), [VolumeKey::new("keeper", "data")]);
    let may_use = |server: &str| declared.may_use(&VolumeKey::new(server, "data"));
    assert!(may_use("keeper") && !may_use("far"));
    assert!(may_use("rooted"), "what runs stays until an entry says what else is to run");
}

#[test]
fn the_catalog_revision_is_the_newest_of_those_that_are_named() {
    let mut declared = declare(LAYERED);
    assert_eq!(declared.catalog_revision(), 2, "the third is not named");
    assert_eq!(declared.missing_catalogs().count(), 0);
    declared.catalogs.retain(|layer| layer.reference.key() == ObjectKey::cluster_catalog("base"));
    assert_eq!(declared.catalog_revision(), 1);
    let missing: Vec<_> = declared.missing_catalogs().map(ToString::to_string).collect();
    assert_eq!(missing, ["data-team/tools"]);
    declared.catalogs.clear();
    assert_eq!(declared.catalog_revision(), 0);
}

#[test]
fn an_edit_of_words_for_people_touches_no_container() {
    let before = LAYERED.replace(
        "[{ kind: Catalog, name: tools, namespace: data-team }, base]",
        "[base, { kind: Catalog, name: tools, namespace: data-team }]",
    );
    let mut world = World::with_images(&declare(&before));
    world.reconcile(&declare(&before));
    let edited = declare(&before.replace("title: Time", "title: Clock, description: new"));
    let plan = world.plan(&edited);
    let engine: Vec<_> = plan.steps.iter().filter(|planned| planned.step.changes_engine()).collect();
    assert!(engine.is_empty(), "{engine:#?}");
    assert!(!plan.is_empty(), "the file for a recovery has the entry");
}
