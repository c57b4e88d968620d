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
use bowline_host::Found;
use bowline_store::{AdoptError, AdoptedGateway, Adoption, HostLocking, Store};
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

    let Adoption { installation, host: _, tenants: _, catalogs, gateways } = plan;
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
    let installations: BTreeSet<Uuid> = found.installations();
    let installation = match installations.iter().collect::<Vec<_>>()[..] {
        [] => return Err(Failure::user(format!("this Engine carries nothing of the instance {instance:?}"))),
        [one] => *one,
        _ => {
            let ids: Vec<_> = installations.iter().map(ToString::to_string).collect();
            return Err(Failure::user(format!("there is more than one installation: {}", ids.join(", ")))
                .hint(format!(
                    "remove the others: bowline teardown --instance {instance} --installation ID"
                )));
        }
    };
    let mut gateways = Vec::new();
    let mut catalogs = BTreeMap::new();
    let mut known = BTreeSet::new();
    for tree in found.trees.iter().filter(|tree| tree.mark.owner.installation == installation) {
        let key = &tree.mark.key;
        let recovery = parse::<Recovery>(tree.recovery.as_deref(), key)?;
        let tokens = parse::<TokensFile>(tree.tokens.as_deref(), key)?;
        known.insert(tree.mark.uid);
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
    let volumes = found.volumes.iter().map(|volume| &volume.identity);
    let tenants = volumes
        .filter(|identity| identity.owner.installation == installation)
        .map(|identity| (identity.namespace.clone(), identity.tenant))
        .collect();
    Ok(Adoption { installation, host, tenants, catalogs: catalogs.collect::<Result<_, _>>()?, gateways })
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
}
