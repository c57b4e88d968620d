//! What gateways use of their catalogs: why a catalog in use is protected.

use crate::resource::{CatalogRef, CatalogSpec, GatewaySpec};

/// An entry that a gateway uses and that a write would take away from it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LostEntry {
    /// The catalog that it comes from.
    pub catalog: CatalogRef,
    /// Its registry key.
    pub server: String,
}

/// The servers of a gateway that its catalogs have `before` a write and none of them has `after` it.
///
/// An entry that another layer has, too, is not lost: taking a later layer's entry back is how the one of an earlier
/// layer comes to be used again. A server that is disabled counts, because it could not be enabled any more.
pub fn lost_entries<'c>(
    spec: &GatewaySpec,
    before: impl Fn(&CatalogRef) -> Option<&'c CatalogSpec>,
    after: impl Fn(&CatalogRef) -> Option<&'c CatalogSpec>,
) -> Vec<LostEntry> {
    let has = |catalog: Option<&CatalogSpec>, server: &str| {
        catalog.is_some_and(|catalog| catalog.registry.contains_key(server))
    };
    spec.servers
        .iter()
        .filter_map(|server| {
            let source = spec.catalogs.iter().rfind(|catalog| has(before(catalog), &server.name))?;
            let is_lost = !spec.catalogs.iter().any(|catalog| has(after(catalog), &server.name));
            is_lost.then(|| LostEntry { catalog: source.clone(), server: server.name.clone() })
        })
        .collect()
}
