//! `adopt`: takes over what runs on this host into a database that declares no gateway.
//!
//! The containers' labels say whose they are, and the files of each gateway say how it was declared, what it
//! holds and which tokens it accepts. Nothing on the host is touched.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::desired::Recovery;
use bowline_core::gateway_file::TokensFile;
use bowline_core::lease::{Holder, LeaseKind, LeaseSlot, Leases, Subnet};
use bowline_core::object::{GatewayKey, ObjectKey};
use bowline_core::resource::{CatalogRef, CatalogSpec};
use bowline_core::volume::{ObservedVolume, VolumeIdentity};
use bowline_host::{Found, FoundContainer};
use bowline_store::{AdoptError, AdoptedGateway, AdoptedVolume, Adoption, HostLocking, Store};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::args::AdoptArgs;
use crate::failure::Failure;
use crate::serve::{self, StoreSettings, absolute, check_instance, host_name};
use crate::ui::Ui;

/// Runs `adopt`.
pub(crate) async fn run(args: AdoptArgs, ui: &mut Ui) -> Result<(), Failure> {
    check_instance(&args.instance)?;
    let host = host_name(args.host_name)?;
    let runtime_dir = absolute(&args.engine.place.runtime_dir)?;
    let engine = serve::engine(args.engine.docker_host.as_deref()).await?;
    let found = engine
        .found(&args.instance, None, Some(&runtime_dir))
        .await
        .map_err(|error| Failure::ours("what there is cannot be listed").because(&error))?;
    let plan = adoption(&found, &args.instance, host)?;

    let settings = StoreSettings::of(args.store, &runtime_dir)?;
    let never = CancellationToken::new();
    let Some(opened) = serve::open(&settings, &args.instance, &never).await? else { return Ok(()) };
    let adopted = adopt(&opened.store, &plan).await;
    opened.close().await;
    adopted?;

    let Adoption { installation, host: _, tenants: _, catalogs, gateways, volumes } = plan;
    ui.say(format_args!("The database is now installation {installation}."));
    for key in catalogs.keys() {
        ui.line(format_args!("{key} adopted"))?;
        ui.say(format_args!(
            "warning: {key} has the entries that gateways use and no others; apply it again"
        ));
    }
    for gateway in gateways {
        let leases: Vec<_> = gateway.leases.iter().map(|(slot, value)| lease(slot, *value)).collect();
        let key = &gateway.object.metadata.key;
        let tokens = gateway.tokens.tokens.len();
        ui.line(format_args!("{key} adopted ({}, {tokens} tokens)", leases.join(", ")))?;
    }
    for AdoptedVolume { seen, holder: _ } in volumes {
        let identity = seen.identity;
        ui.line(format_args!("volume {}/{} adopted", identity.namespace, identity.key))?;
    }
    Ok(())
}

/// One lease as people read it.
fn lease(slot: &LeaseSlot, value: i64) -> String {
    match Subnet::from_lease(value).filter(|_| slot.kind == LeaseKind::Subnet) {
        Some(subnet) => format!("subnet {subnet}"),
        None => format!("{} {value}", slot.kind),
    }
}

async fn adopt(store: &Store, adoption: &Adoption) -> Result<(), Failure> {
    let locking = store
        .try_lock_host(&adoption.host)
        .await
        .map_err(|error| Failure::ours("this host cannot be locked").because(&error))?;
    let lock = match locking {
        HostLocking::Locked(lock) => lock,
        HostLocking::Busy(holder) => {
            let who = holder.map(|holder| format!(": {}", holder.application)).unwrap_or_default();
            return Err(
                Failure::user(format!("a `bowline serve` works on this host{who}")).hint("stop it first")
            );
        }
    };
    let adopted = store.adopt(adoption).await;
    lock.release().await;
    adopted.map_err(|error| {
        let failure = match &error {
            AdoptError::NotEmpty(_) | AdoptError::Contradiction(_) => Failure::user("nothing was adopted"),
            AdoptError::Put(_) | AdoptError::Db(_) => Failure::ours("nothing was adopted"),
        };
        let hint = match &error {
            AdoptError::NotEmpty(_) => {
                Some("adopt into an empty database, or delete its gateways first".to_owned())
            }
            _ => None,
        };
        failure.because(&error).maybe_hint(hint)
    })
}

/// Makes one adoption of what was found, or says what is missing.
fn adoption(found: &Found, instance: &str, host: String) -> Result<Adoption, Failure> {
    let of_gateways = found.installations();
    // Where nothing else is left, those of the volumes are what there is to come back to.
    let only_volumes = of_gateways.is_empty();
    let installations = if only_volumes { found.installations_of_volumes() } else { of_gateways };
    let installation = match installations.iter().collect::<Vec<_>>()[..] {
        [] => return Err(Failure::user(format!("this Engine carries nothing of the instance {instance:?}"))),
        [one] => *one,
        _ => {
            let ids: Vec<_> = installations.iter().map(ToString::to_string).collect();
            return Err(Failure::user(format!("there is more than one installation: {}", ids.join(", ")))
                .hint(match only_volumes {
                    false => {
                        format!("remove the others: bowline teardown --instance {instance} --installation ID")
                    }
                    true => format!(
                        "only volumes are left; remove those of the others, with all that is in them: bowline \
                         teardown --instance {instance} --installation ID --volumes"
                    ),
                }));
        }
    };
    let mut gateways = Vec::new();
    let mut catalogs = BTreeMap::new();
    let mut known = BTreeSet::new();
    let mut ways_back = Vec::new();
    for tree in found.trees.iter().filter(|tree| tree.mark.owner.installation == installation) {
        let key = &tree.mark.key;
        let recovery = parse::<Recovery>(tree.recovery.as_deref(), key)?;
        let tokens = parse::<TokensFile>(tree.tokens.as_deref(), key)?;
        known.insert(tree.mark.uid);
        ways_back.extend(volumes_of_ways_back(&recovery, tree.mark.uid));
        gateways.push(gateway(recovery, tokens, key, &mut catalogs)?);
    }
    let lost: BTreeSet<_> = found
        .containers
        .iter()
        .filter(|container| !known.contains(&container.identity.uid))
        .map(|container| format!("gateway/{}", container.identity.key))
        .collect();
    if !lost.is_empty() {
        let lost: Vec<_> = lost.into_iter().collect();
        return Err(Failure::user(format!(
            "the files of {} are not in the runtime directory",
            lost.join(", ")
        ))
        .hint(
            "give --runtime-dir as `serve` had it; what has lost its files can only be removed (teardown)",
        ));
    }
    let catalogs = catalogs.into_iter().map(|(key, spec)| {
        let spec = serde_json::to_value(&spec);
        spec.map(|spec| (key, spec))
            .map_err(|error| Failure::ours("a catalog cannot be written").because(&error))
    });
    let ours = found.volumes.iter().filter(|volume| volume.identity.owner.installation == installation);
    let tenants =
        ours.clone().map(|volume| (volume.identity.namespace.clone(), volume.identity.tenant)).collect();
    let volumes = ours.map(|volume| {
        let holder = holder(volume, &found.containers, &ways_back);
        AdoptedVolume { seen: volume.clone(), holder }
    });
    let volumes = volumes.collect();
    let catalogs = catalogs.collect::<Result<_, _>>()?;
    Ok(Adoption { installation, host, tenants, catalogs, gateways, volumes })
}

/// The volumes of the containers that a gateway would go back to, with its uid.
fn volumes_of_ways_back(recovery: &Recovery, uid: Uuid) -> Vec<(VolumeIdentity, Uuid)> {
    let proven = recovery.rollouts.servers.values().filter_map(|rollout| rollout.proven.as_ref());
    let volumes = proven.flat_map(|proven| &proven.container.volumes);
    volumes.map(|volume| (volume.identity.clone(), uid)).collect()
}

/// The gateway that has a volume: one with a container on it, before all one that runs, or else one that would make
/// such a container again.
fn holder(
    volume: &ObservedVolume,
    containers: &[FoundContainer],
    ways_back: &[(VolumeIdentity, Uuid)],
) -> Option<Uuid> {
    let identity = &volume.identity;
    let has_it = |container: &&FoundContainer| {
        container.identity.owner == identity.owner
            && container.identity.key.namespace == identity.namespace
            && container.volumes.contains(&volume.name)
    };
    let of_container = containers.iter().filter(has_it).max_by_key(|container| container.running);
    let way_back = ways_back.iter().find(|(of, _)| of.is_same(identity));
    of_container.map(|container| container.identity.uid).or(way_back.map(|(_, uid)| *uid))
}

fn parse<T: serde::de::DeserializeOwned>(text: Option<&str>, key: &GatewayKey) -> Result<T, Failure> {
    let missing = || Failure::user(format!("gateway/{key} has not left enough to be taken over"));
    let text = text.ok_or_else(missing)?;
    serde_json::from_str(text).map_err(|error| missing().because(&error))
}

fn gateway(
    recovery: Recovery,
    tokens: TokensFile,
    key: &GatewayKey,
    catalogs: &mut BTreeMap<ObjectKey, CatalogSpec>,
) -> Result<AdoptedGateway, Failure> {
    let Recovery { object, catalogs: used, leases, epoch, pins, rollouts, requests } = recovery;
    for (name, spec) in used {
        let reference: CatalogRef = name.parse().map_err(|error| {
            Failure::user(format!("gateway/{key} has not left enough to be taken over")).because(&error)
        })?;
        let catalog = catalogs.entry(reference.key()).or_default();
        for (server, entry) in spec.registry {
            // Gateways render one catalog, each at its own moment; the entries of the first will do, as the next
            // apply of the catalog says the rest.
            catalog.registry.entry(server).or_insert(entry);
        }
    }
    let mut slots = Leases::new();
    for (text, value) in leases {
        let slot = slot(&text).ok_or_else(|| {
            Failure::user(format!("gateway/{key} holds {text:?}, which is no lease that is known"))
        })?;
        slots.insert(slot, value);
    }
    let pins = serde_json::to_value(&pins)
        .map_err(|error| Failure::ours("the image ids cannot be written").because(&error))?;
    let rollouts = serde_json::to_value(&rollouts)
        .map_err(|error| Failure::ours("the record of replacements cannot be written").because(&error))?;
    Ok(AdoptedGateway { object, epoch, leases: slots, tokens, pins, rollouts, requests })
}

/// Reads `port/gateway` or `uid/server/time`.
fn slot(text: &str) -> Option<LeaseSlot> {
    let (kind, holder) = text.split_once('/')?;
    let kinds = [LeaseKind::Port, LeaseKind::Uid, LeaseKind::Subnet];
    let kind = kinds.into_iter().find(|known| known.as_str() == kind)?;
    Some(LeaseSlot::new(kind, holder.parse::<Holder>().ok()?))
}

#[cfg(test)]
mod tests {
    use bowline_core::labels::{Identity, Owner, Role};
    use bowline_core::volume::VolumeKey;

    use super::*;

    #[test]
    fn leases_are_read_as_they_were_written() {
        for kind in [LeaseKind::Port, LeaseKind::Uid, LeaseKind::Subnet] {
            for holder in [Holder::Gateway, Holder::Server("a/b".to_owned())] {
                let written = LeaseSlot::new(kind, holder);
                assert_eq!(slot(&format!("{}/{}", written.kind, written.holder)), Some(written));
            }
        }
        assert_eq!(slot("port"), None);
        assert_eq!(slot("cpu/gateway"), None);
    }

    #[test]
    fn an_engine_that_carries_nothing_gives_nothing_to_adopt() {
        let failure = adoption(&Found::default(), "default", "h1".to_owned()).unwrap_err();
        assert!(failure.to_string().contains("carries nothing"), "{failure}");
    }

    fn owner(installation: u128) -> Owner {
        Owner { instance: "default".to_owned(), installation: Uuid::from_u128(installation) }
    }

    fn volume(installation: u128) -> ObservedVolume {
        let identity = VolumeIdentity {
            owner: owner(installation),
            host: "h1".to_owned(),
            namespace: "u1".to_owned(),
            tenant: Uuid::from_u128(7),
            key: VolumeKey::new("keeper", "data"),
        };
        ObservedVolume { name: "mcp-vol-u1.keeper.data".to_owned(), identity }
    }

    /// A container of a gateway of this namespace, with the volume.
    fn container(namespace: &str, uid: u128, running: bool) -> FoundContainer {
        FoundContainer {
            id: format!("{uid:064}"),
            name: format!("mcp-server-{namespace}.{uid}.keeper"),
            identity: Identity {
                owner: owner(1),
                host: "h1".to_owned(),
                key: GatewayKey::new(namespace, format!("g{uid}")),
                uid: Uuid::from_u128(uid),
                role: Role::Server("keeper".to_owned()),
                spec_hash: "s".to_owned(),
                generation: 1,
                epoch: 1,
            },
            running,
            published: None,
            uid: None,
            volumes: BTreeSet::from([volume(1).name]),
        }
    }

    #[test]
    fn volumes_that_are_all_that_is_left_are_adopted_with_their_tenants() {
        let mut found = Found::default();
        found.volumes = vec![volume(1)];
        let adoption = adoption(&found, "default", "h1".to_owned()).unwrap();
        assert_eq!(adoption.installation, Uuid::from_u128(1));
        assert_eq!(adoption.tenants, BTreeMap::from([("u1".to_owned(), Uuid::from_u128(7))]));
        assert_eq!(adoption.volumes, [AdoptedVolume { seen: volume(1), holder: None }]);
        found.volumes.push(volume(2));
        let failure = super::adoption(&found, "default", "h1".to_owned()).unwrap_err().to_string();
        assert!(failure.contains("more than one installation") && failure.contains("--volumes"), "{failure}");
    }

    #[test]
    fn a_volume_is_held_by_the_gateway_that_runs_on_it_or_would_again() {
        let held = |containers: &[FoundContainer], ways_back: &[(VolumeIdentity, Uuid)]| {
            holder(&volume(1), containers, ways_back).map(|uid| uid.as_u128())
        };
        let way_back = [(volume(1).identity, Uuid::from_u128(9))];
        assert_eq!(held(&[container("u1", 3, false), container("u1", 4, true)], &way_back), Some(4));
        assert_eq!(held(&[container("u1", 4, true), container("u1", 3, false)], &way_back), Some(4));
        assert_eq!(held(&[container("u1", 3, false)], &way_back), Some(3));
        assert_eq!(held(&[container("u2", 3, true)], &way_back), Some(9), "of another tenant");
        let without = FoundContainer { volumes: BTreeSet::new(), ..container("u1", 3, true) };
        assert_eq!(held(&[without], &[]), None);
    }
}
