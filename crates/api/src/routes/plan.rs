//! What the controller would do: the same planner on what is declared and what was last seen, without the host.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::desired::{Declared, Desired, Pins, Requests, Settings, Wanted};
use bowline_core::gateway_file::TokenVerifier;
use bowline_core::lease::{Holder, LeaseKind, LeaseSlot, Leases, Ranges};
use bowline_core::object::{GatewayKey, ObjectKey, Stored};
use bowline_core::observed::{ImageState, Observed};
use bowline_core::preview;
use bowline_core::resource::GatewaySpec;
use bowline_core::rollout::Rollouts;
use bowline_core::secret::SecretFacts;
use bowline_core::volume::VolumeClaims;
use bowline_store::GatewayRecord;
use chrono::Utc;
use uuid::Uuid;

use super::Context;
use super::apply::stored_spec;
use super::catalogs::Catalogs;
use crate::problem::Problem;
use crate::wire::GatewayPlan;

/// What a dry run assumes of the host on which new gateways would be placed.
#[derive(Debug, Clone)]
pub struct Preview {
    /// The host's id in the database.
    pub host: Uuid,
    /// What the controller makes things with.
    pub settings: Settings,
}

/// Values that the plans of one dry run would take.
type Given = BTreeMap<LeaseKind, BTreeSet<i64>>;

/// What will be known of Secrets that a dry run sets.
pub(super) type Secrets = BTreeMap<ObjectKey, SecretFacts>;

/// One plan per gateway.
pub(super) async fn plans(
    context: &Context,
    gateways: &[Stored],
    catalogs: &Catalogs,
    secrets: &Secrets,
) -> Result<Vec<GatewayPlan>, Problem> {
    let mut plans = Vec::with_capacity(gateways.len());
    // Leases that the plans before this one would take.
    let mut given = Given::new();
    for gateway in gateways {
        plans.push(plan_one(context, gateway, (catalogs, secrets), &mut given).await?);
    }
    Ok(plans)
}

async fn plan_one(
    context: &Context,
    gateway: &Stored,
    (catalogs, secrets): (&Catalogs, &Secrets),
    given: &mut Given,
) -> Result<GatewayPlan, Problem> {
    let settings = &context.preview.settings;
    let metadata = gateway.metadata.clone();
    let namespace = metadata.key.namespace.clone().unwrap_or_default();
    let record = context.store.load_gateway(&GatewayKey::new(namespace, &metadata.key.name)).await?;
    // A gateway that was deleted and is declared anew inherits nothing.
    let record = record.filter(|record| record.object.metadata.uid == metadata.uid);
    let known = Known::of(record);

    let spec: GatewaySpec = stored_spec(gateway)?;
    let mut declared = Declared {
        catalogs: catalogs.layers(&spec),
        spec,
        metadata,
        epoch: known.epoch,
        leases: known.leases,
        lease_problems: BTreeMap::new(),
        tokens: known.tokens,
        tokens_revision: known.tokens_revision,
        pins: known.pins,
        secrets: BTreeMap::new(),
        rollouts: known.rollouts,
        requests: known.requests,
        volumes: VolumeClaims::default(),
    };
    assume_leases(context, &mut declared, given).await?;
    let assumed_secrets = assume_secrets(context, &mut declared, secrets).await?;
    let volumes = declared.volume_needs();
    if !volumes.is_empty() {
        let (host, uid, namespace) = (context.preview.host, declared.metadata.uid, declared.key().namespace);
        declared.volumes = context.store.foresee_volumes(host, uid, &namespace, &volumes).await?;
    }
    let preview::Preview { desired, plan, assumed_images } =
        preview::preview(&declared, known.observed, settings, Utc::now());
    let mut notes: Vec<_> = assumed_images
        .iter()
        .map(|image| format!("assumes that the image {image} is on the host; it is pulled if it is not"))
        .collect();
    notes.extend(assumed_secrets.iter().map(|secret| {
        format!(
            "assumes that the values of {secret} are new ones; nothing is made anew for those that are not"
        )
    }));
    notes.extend(troubles(&desired));
    Ok(GatewayPlan {
        key: declared.metadata.key,
        steps: plan.steps.iter().map(|planned| planned.step.to_string()).collect(),
        notes,
        observed_at: known.observed_at,
    })
}

/// What the controller has recorded of a gateway; of one that is new, nothing.
struct Known {
    epoch: i64,
    leases: Leases,
    tokens: Vec<TokenVerifier>,
    tokens_revision: i64,
    pins: Pins,
    rollouts: Rollouts,
    requests: BTreeMap<String, Requests>,
    observed: Observed,
    observed_at: Option<chrono::DateTime<Utc>>,
}

impl Known {
    fn of(record: Option<GatewayRecord>) -> Self {
        let Some(record) = record else {
            return Known {
                epoch: 1,
                leases: Leases::new(),
                tokens: Vec::new(),
                tokens_revision: 0,
                pins: Pins::default(),
                rollouts: Rollouts::default(),
                requests: BTreeMap::new(),
                observed: Observed::default(),
                observed_at: None,
            };
        };
        let GatewayRecord {
            object: _,
            placement,
            leases,
            tokens,
            tokens_revision,
            catalogs: _,
            observed,
            pins,
            rollouts,
            requests,
        } = record;
        // An observation of an older version of this program that cannot be read is no observation.
        let seen = observed.and_then(|seen| Some((serde_json::from_value(seen.value).ok()?, seen.at)));
        let (observed, observed_at) = seen.map_or((Observed::default(), None), |(o, at)| (o, Some(at)));
        let tokens = tokens.into_iter().map(|token| TokenVerifier {
            id: token.id,
            sha256: token.sha256,
            expires_at: token.expires_at,
        });
        Known {
            epoch: placement.map_or(1, |placement| placement.epoch),
            leases,
            tokens: tokens.collect(),
            tokens_revision,
            rollouts: rollouts.and_then(|rollouts| serde_json::from_value(rollouts).ok()).unwrap_or_default(),
            requests,
            pins: pins.and_then(|pins| serde_json::from_value(pins).ok()).unwrap_or_default(),
            observed,
            observed_at,
        }
    }
}

/// Gives the gateway the leases that it lacks, as the controller probably would; nothing is taken. A port that
/// the specification names replaces another that is held.
async fn assume_leases(context: &Context, declared: &mut Declared, given: &mut Given) -> Result<(), Problem> {
    let Preview { host, settings } = context.preview.as_ref();
    let fixed_port = declared.spec.port.map(i64::from);
    let port_slot = LeaseSlot::new(LeaseKind::Port, Holder::Gateway);
    if let Some(fixed) = fixed_port {
        declared.leases.retain(|slot, held| *slot != port_slot || *held == fixed);
    }
    for slot in declared.lease_needs() {
        if declared.leases.contains_key(&slot) {
            continue;
        }
        let mut taken = context.store.taken(*host, slot.kind).await?;
        taken.extend(given.get(&slot.kind).into_iter().flatten());
        let none = BTreeSet::new();
        let value = match fixed_port.filter(|_| slot == port_slot) {
            Some(fixed) if taken.contains(&fixed) => {
                Err(format!("port {fixed} is leased to another gateway; name another or none"))
            }
            Some(fixed) => Ok(fixed),
            None => settings.ranges.next_free(slot.kind, &taken, &none, &none, None).ok_or_else(|| {
                format!(
                    "no {} is free in {}: widen {} or delete a gateway",
                    slot.kind,
                    settings.ranges.describe(slot.kind),
                    Ranges::flag(slot.kind),
                )
            }),
        };
        match value {
            Ok(value) => {
                given.entry(slot.kind).or_default().insert(value);
                declared.leases.insert(slot, value);
            }
            Err(problem) => {
                declared.lease_problems.insert(slot, problem);
            }
        }
    }
    Ok(())
}

/// Gives the gateway what is known of the Secrets that it names, and returns those that the dry run sets.
async fn assume_secrets(
    context: &Context,
    declared: &mut Declared,
    applied: &Secrets,
) -> Result<Vec<ObjectKey>, Problem> {
    let names = declared.secret_needs();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let namespace = declared.key().namespace;
    declared.secrets = context.store.secret_facts(&namespace, &names).await?;
    let mut assumed = Vec::new();
    for name in names {
        let key = ObjectKey::secret(&namespace, &name);
        if let Some(facts) = applied.get(&key) {
            declared.secrets.insert(name, facts.clone());
            assumed.push(key);
        }
    }
    Ok(assumed)
}

/// What keeps parts of the gateway from being made.
fn troubles(desired: &Desired) -> Vec<String> {
    let servers = desired.servers.iter().map(|server| (format!("server {}", server.name), &server.wanted));
    let all = std::iter::once(("gateway".to_owned(), &desired.gateway)).chain(servers);
    all.filter_map(|(who, wanted)| match wanted {
        Wanted::Never { reason, message } => Some(format!("{who} cannot run ({reason}): {message}")),
        Wanted::MissingSecret { message } => Some(format!("{who} waits (SecretMissing): {message}")),
        Wanted::Lease { problem: Some(problem) } => Some(format!("{who} waits (LeaseExhausted): {problem}")),
        Wanted::Image(state) => match state {
            ImageState::Failed { message, .. } => Some(format!("{who} waits (ImageMissing): {message}")),
            ImageState::Absent | ImageState::Pulling { .. } | ImageState::Present(_) => None,
        },
        Wanted::Lease { problem: None } | Wanted::Container(_) | Wanted::Remote | Wanted::Disabled => None,
    })
    .collect()
}
