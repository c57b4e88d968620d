//! Catalogs in a write: those that it refers to, and the gateways that would lose what they use of them.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::catalog::{LostEntry, lost_entries};
use bowline_core::desired::Layer;
use bowline_core::object::{GatewayKey, ObjectKey, Stored};
use bowline_core::resource::{CatalogRef, CatalogSpec, GatewaySpec, Parsed, Resource};
use bowline_store::{DbError, WriteTx};

use super::apply::{ApplyError, stored_spec};
use crate::problem::Problem;

/// Some catalogs as a transaction sees them: those that were asked for and exist.
#[derive(Debug, Default)]
pub(super) struct Catalogs(BTreeMap<CatalogRef, Layer>);

impl Catalogs {
    /// Reads those of these catalogs that exist.
    pub(super) async fn read(
        write: &mut WriteTx,
        references: &BTreeSet<CatalogRef>,
    ) -> Result<Self, ApplyError> {
        let keys: Vec<_> = references.iter().map(CatalogRef::key).collect();
        let mut catalogs = BTreeMap::new();
        for stored in write.get_all(&keys).await? {
            let Some(reference) = CatalogRef::to(&stored.metadata.key) else { continue };
            let layer = Layer {
                reference: reference.clone(),
                resource_version: stored.metadata.resource_version,
                spec: stored_spec(&stored)?,
            };
            catalogs.insert(reference, layer);
        }
        Ok(Catalogs(catalogs))
    }

    /// What the catalog says, if it exists.
    pub(super) fn get(&self, reference: &CatalogRef) -> Option<&CatalogSpec> {
        self.0.get(reference).map(|layer| &layer.spec)
    }

    /// Those that a gateway names, in its order.
    pub(super) fn layers(&self, gateway: &GatewaySpec) -> Vec<Layer> {
        gateway.catalogs.iter().filter_map(|reference| self.0.get(reference).cloned()).collect()
    }
}

/// Refuses an apply that takes an entry out of a catalog while a gateway uses it that is not applied with it.
pub(super) async fn refuse_lost_entries(write: &mut WriteTx, parsed: &Parsed) -> Result<(), ApplyError> {
    let applied: BTreeSet<ObjectKey> = parsed.resources.iter().map(|l| l.resource.key()).collect();
    let new: BTreeMap<CatalogRef, &CatalogSpec> = parsed
        .resources
        .iter()
        .filter_map(|located| match &located.resource {
            Resource::ClusterCatalog(object) | Resource::Catalog(object) => {
                Some((CatalogRef::to(&located.resource.key())?, &object.spec))
            }
            Resource::Gateway(_) | Resource::Secret(_) => None,
        })
        .collect();
    let before = Catalogs::read(write, &new.keys().cloned().collect()).await?;
    let drops = |(reference, new): &(&CatalogRef, &&CatalogSpec)| {
        before.get(reference).is_some_and(|old| old.registry.keys().any(|e| !new.registry.contains_key(e)))
    };
    let mut users = BTreeSet::new();
    for (reference, _) in new.iter().filter(drops) {
        users.extend(users_of(write, &reference.key()).await?);
    }
    let users: Vec<_> = users.into_iter().filter(|key| !applied.contains(key)).collect();
    let mut gateways = Vec::with_capacity(users.len());
    for stored in write.get_all(&users).await? {
        gateways.push((stored.metadata.key.clone(), stored_spec::<GatewaySpec>(&stored)?));
    }
    let named = gateways.iter().flat_map(|(_, spec)| spec.catalogs.iter().cloned()).collect();
    let before = Catalogs::read(write, &named).await?;
    let mut lost: BTreeMap<LostEntry, Vec<GatewayKey>> = BTreeMap::new();
    for (key, spec) in gateways {
        let after = |of: &CatalogRef| new.get(of).copied().or_else(|| before.get(of));
        for entry in lost_entries(&spec, |of| before.get(of), after) {
            let user = GatewayKey::new(key.namespace.clone().unwrap_or_default(), &key.name);
            lost.entry(entry).or_default().push(user);
        }
    }
    if lost.is_empty() {
        return Ok(());
    }
    let uses = lost.into_iter().map(|(LostEntry { catalog, server }, mut users)| {
        users.sort();
        (format!("entry {server} of {}", catalog.key()), users)
    });
    Err(Problem::in_use(&uses.collect::<Vec<_>>()).into())
}

/// Refuses the deletion of a catalog that a gateway names.
pub(super) async fn refuse_if_used(write: &mut WriteTx, key: &ObjectKey) -> Result<(), ApplyError> {
    if !key.kind.is_catalog() {
        return Ok(());
    }
    let users = users_of(write, key).await?;
    if users.is_empty() {
        return Ok(());
    }
    let users = users.into_iter().map(|user| GatewayKey::new(user.namespace.unwrap_or_default(), user.name));
    Err(Problem::in_use(&[(key.to_string(), users.collect())]).into())
}

/// The gateways that name a catalog. One that is being deleted needs none any more.
pub(super) async fn users_of(write: &mut WriteTx, catalog: &ObjectKey) -> Result<Vec<ObjectKey>, DbError> {
    let users = write.gateways_using(catalog).await?;
    let keys: Vec<_> = users.into_iter().map(|user| ObjectKey::gateway(user.namespace, user.name)).collect();
    let live = |stored: &Stored| stored.metadata.deletion_timestamp.is_none();
    let mut users: Vec<_> =
        write.get_all(&keys).await?.into_iter().filter(live).map(|stored| stored.metadata.key).collect();
    users.sort();
    Ok(users)
}
