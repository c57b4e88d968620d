//! Who uses a Secret, and what nobody may take from them unasked.
//!
//! A gateway uses what its specification names and an enabled server needs: every Secret in its `secretRefs`, with
//! the keys that its servers' entries declare; and the keys that its servers name in `secrets`.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::catalog::merge;
use bowline_core::object::{GatewayKey, Kind, ObjectKey, Stored};
use bowline_core::resource::{GatewaySpec, Parsed, Resource, stored_secret_keys};
use bowline_store::WriteTx;

use super::apply::{ApplyError, stored_spec};
use super::catalogs::Catalogs;
use crate::problem::Problem;

/// The gateways that use each Secret. One that is being deleted needs none any more.
pub(super) fn users_by_secret(gateways: &[Stored]) -> Result<BTreeMap<ObjectKey, Vec<GatewayKey>>, Problem> {
    let mut users: BTreeMap<ObjectKey, Vec<GatewayKey>> = BTreeMap::new();
    for Gateway { key, spec } in live(gateways)? {
        for name in spec.secret_names().collect::<BTreeSet<_>>() {
            users.entry(ObjectKey::secret(&key.namespace, name)).or_default().push(key.clone());
        }
    }
    Ok(users)
}

/// The gateways that use a Secret.
pub(super) async fn users_of(write: &mut WriteTx, secret: &ObjectKey) -> Result<Vec<ObjectKey>, ApplyError> {
    let gateways = write.list(Kind::Gateway, secret.namespace.as_deref()).await?;
    let users = users_by_secret(&gateways)?.remove(secret).unwrap_or_default();
    Ok(users.into_iter().map(|user| ObjectKey::gateway(user.namespace, user.name)).collect())
}

/// Refuses the deletion of a Secret that a gateway uses.
pub(super) async fn refuse_if_used(write: &mut WriteTx, secret: &ObjectKey) -> Result<(), ApplyError> {
    if secret.kind != Kind::Secret {
        return Ok(());
    }
    let gateways = write.list(Kind::Gateway, secret.namespace.as_deref()).await?;
    match users_by_secret(&gateways)?.remove(secret) {
        None => Ok(()),
        Some(users) => Err(Problem::secret_in_use(&[(secret.to_string(), users)]).into()),
    }
}

/// Refuses an apply that takes a key out of a Secret while a gateway uses it that is not applied with it.
pub(super) async fn refuse_dropped_keys(write: &mut WriteTx, parsed: &Parsed) -> Result<(), ApplyError> {
    let applied: BTreeSet<ObjectKey> = parsed.resources.iter().map(|l| l.resource.key()).collect();
    let mut lost = Vec::new();
    for located in &parsed.resources {
        let Resource::Secret(object) = &located.resource else { continue };
        let Some(values) = &object.values else { continue };
        let key = located.resource.key();
        let Some(before) = write.get(&key).await? else { continue };
        let dropped = stored_secret_keys(&before.spec).filter(|name| !values.contains_key(*name));
        let dropped: BTreeSet<_> = dropped.map(str::to_owned).collect();
        if !dropped.is_empty() {
            lost.push((key, dropped));
        }
    }
    refuse_lost_keys(write, &lost, &applied).await
}

/// Refuses the loss of these keys while gateways use them, but for those in `except`.
pub(super) async fn refuse_lost_keys(
    write: &mut WriteTx,
    lost: &[(ObjectKey, BTreeSet<String>)],
    except: &BTreeSet<ObjectKey>,
) -> Result<(), ApplyError> {
    let mut uses = Vec::new();
    for (secret, keys) in lost {
        let gateways = live(&write.list(Kind::Gateway, secret.namespace.as_deref()).await?)?;
        let mut users: BTreeMap<String, Vec<GatewayKey>> = BTreeMap::new();
        for Gateway { key, spec } in gateways {
            if except.contains(&ObjectKey::gateway(&key.namespace, &key.name)) {
                continue;
            }
            let needed = needed_keys(write, &spec, &secret.name).await?;
            for lost in keys.intersection(&needed) {
                users.entry(lost.clone()).or_default().push(key.clone());
            }
        }
        uses.extend(users.into_iter().map(|(key, users)| (format!("key {key} of {secret}"), users)));
    }
    if uses.is_empty() { Ok(()) } else { Err(Problem::secret_in_use(&uses).into()) }
}

/// A gateway that is not being deleted.
struct Gateway {
    key: GatewayKey,
    spec: GatewaySpec,
}

fn live(gateways: &[Stored]) -> Result<Vec<Gateway>, Problem> {
    let live = gateways.iter().filter(|stored| stored.metadata.deletion_timestamp.is_none());
    live.map(|stored| {
        let ObjectKey { kind: _, namespace, name } = stored.metadata.key.clone();
        Ok(Gateway { key: GatewayKey::new(namespace.unwrap_or_default(), name), spec: stored_spec(stored)? })
    })
    .collect()
}

/// The keys of the Secret `name` that a gateway needs; those of its `secretRefs` by what its catalogs say.
async fn needed_keys(
    write: &mut WriteTx,
    spec: &GatewaySpec,
    name: &str,
) -> Result<BTreeSet<String>, ApplyError> {
    let servers = || spec.servers.iter().filter(|server| server.is_enabled());
    let bound =
        servers().flat_map(|server| &server.secrets).map(|binding| &binding.value_from.secret_key_ref);
    let mut keys: BTreeSet<String> =
        bound.filter(|reference| reference.name == name).map(|reference| reference.key.clone()).collect();
    if !spec.secret_refs.iter().any(|reference| reference.name == name) {
        return Ok(keys);
    }
    let catalogs = Catalogs::read(write, &spec.catalogs.iter().cloned().collect()).await?;
    let layers = catalogs.layers(spec);
    let entries = merge(layers.iter().map(|layer| (&layer.reference, &layer.spec)));
    for server in servers() {
        let merged = entries.get(server.name.as_str());
        let declared = merged.into_iter().flat_map(|merged| &merged.entry.fields().secrets);
        let declared = declared.map(|secret| &secret.name);
        let is_bound = |name: &&String| server.secrets.iter().any(|binding| binding.name == **name);
        keys.extend(declared.filter(|name| !is_bound(name)).cloned());
    }
    Ok(keys)
}
