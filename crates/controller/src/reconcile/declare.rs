//! What is stored, in `core`'s words.

use std::collections::BTreeMap;

use bowline_core::desired::{Declared, Layer, Pins};
use bowline_core::gateway_file::TokenVerifier;
use bowline_core::resource::GatewaySpec;
use bowline_core::volume::VolumeClaims;
use bowline_store::{GatewayRecord, Placement};

use super::ReconcileError;

/// Reads a gateway's record; leases that it lacks are yet to be given.
pub(super) fn declare(record: GatewayRecord, placement: &Placement) -> Result<Declared, ReconcileError> {
    let GatewayRecord {
        object,
        placement: _,
        leases,
        tokens,
        tokens_revision,
        mut catalogs,
        observed: _,
        pins,
        rollouts,
        requests,
    } = record;
    let read = |what: &str| {
        let what = what.to_owned();
        move |source| ReconcileError::Unreadable { what, source }
    };
    let spec: GatewaySpec = serde_json::from_value(object.spec).map_err(read("Gateway"))?;
    let mut layers = Vec::with_capacity(spec.catalogs.len());
    for reference in &spec.catalogs {
        let key = reference.key();
        if let Some(stored) = catalogs.remove(&key) {
            layers.push(Layer {
                reference: reference.clone(),
                resource_version: stored.metadata.resource_version,
                spec: serde_json::from_value(stored.spec).map_err(read(&key.to_string()))?,
            });
        }
    }
    let pins: Pins = pins.map(serde_json::from_value).transpose().map_err(read("pins"))?.unwrap_or_default();
    let rollouts =
        rollouts.map(serde_json::from_value).transpose().map_err(read("rollouts"))?.unwrap_or_default();
    let tokens = tokens
        .into_iter()
        .map(|token| TokenVerifier { id: token.id, sha256: token.sha256, expires_at: token.expires_at })
        .collect();
    Ok(Declared {
        metadata: object.metadata,
        spec,
        catalogs: layers,
        epoch: placement.epoch,
        leases,
        lease_problems: BTreeMap::new(),
        tokens,
        tokens_revision,
        pins,
        secrets: BTreeMap::new(),
        rollouts,
        requests,
        volumes: VolumeClaims::default(),
    })
}
