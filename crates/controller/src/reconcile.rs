//! One run of one gateway: observe, plan, execute, report.

use std::sync::Arc;
use std::time::Duration;

use bowline_core::causes::with_causes;
use bowline_core::desired::{Declared, Desired, Moment, Requests, Settings, desire};
use bowline_core::floor;
use bowline_core::labels::Role;
use bowline_core::lease::{Holder, LeaseKind, LeaseSlot};
use bowline_core::object::{EventType, GatewayKey, Stored};
use bowline_core::observed::{ContainerState, Observed, Probe};
use bowline_core::plan::{Plan, Unit, plan};
use bowline_core::report::{self, Early, Facts};
use bowline_core::rollout::{Failed, Rollouts};
use bowline_core::schedule::Outcome;
use bowline_core::status::{ConditionType, GatewayStatus, ROLLED_BACK};
use bowline_core::step::Step;
use bowline_store::{DbError, GatewayError, GatewayRecord, Keyring, Placement, Store};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use self::declare::declare;
use crate::leases::Lessor;
use crate::memory::Memory;
use crate::prober::{ProbeAnswer, Prober, Target};
use crate::world::{World, WorldError};

mod declare;
mod execute;
mod removal;
mod secrets;
mod volumes;

/// How soon a run looks again after it changed the world: events may be lost, and what was made is not yet seen.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How soon a run is tried again while the Engine or Postgres is away. Not a failure of the gateway: no back-off
/// grows, and the source that reconnects asks for everything at once.
const AWAY: Duration = Duration::from_secs(3);
/// How soon a lease that could not be had is asked for again: another gateway may have given one back, and nothing
/// but time tells.
const LEASE_RETRY: Duration = Duration::from_secs(10);

/// How soon a run looks again while a container is on trial: its time is over without an event. One that is on trial
/// for long waits for something else.
fn trial_look(since: DateTime<Utc>) -> Duration {
    let age = Utc::now().signed_duration_since(since).to_std().unwrap_or_default();
    (age / 30).clamp(Duration::from_secs(1), Duration::from_secs(15))
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The desired state could not be read or the status not written.
    #[error(transparent)]
    Store(#[from] DbError),
    /// The host could not be observed.
    #[error(transparent)]
    World(#[from] WorldError),
    /// The plan broke the floor of admission; it was not carried out.
    #[error(transparent)]
    Floor(#[from] floor::Violation),
    /// What is stored is no specification that this version can read.
    #[error("the stored {what} cannot be read by this version")]
    Unreadable {
        /// Which document.
        what: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The Gateway was removed while the run was under way.
    #[error("the gateway was removed meanwhile")]
    Gone,
}

/// Reconciles gateways of one host, one key at a time.
pub struct Reconciler<W> {
    store: Store,
    keyring: Keyring,
    world: Arc<W>,
    prober: Arc<Prober>,
    settings: Settings,
    /// The host's row in the store.
    host: Uuid,
    memory: Memory,
}

impl<W: World> Reconciler<W> {
    /// A reconciler for the host with this row; `keyring` opens the values of Secrets.
    pub fn new(
        store: Store,
        keyring: Keyring,
        world: Arc<W>,
        prober: Arc<Prober>,
        settings: Settings,
        host: Uuid,
    ) -> Self {
        Reconciler { store, keyring, world, prober, settings, host, memory: Memory::default() }
    }

    /// Runs one key and says what the queue should do next.
    pub async fn run(&self, key: &GatewayKey) -> Outcome {
        // On the heap: a run holds a whole plan and is larger than a stack frame should be.
        match Box::pin(self.reconcile(key)).await {
            Ok(outcome) => {
                self.memory.back(key);
                outcome
            }
            Err(error) => {
                self.tell(key, &error).await;
                let away = match &error {
                    ReconcileError::Store(error) => error.is_unavailable(),
                    ReconcileError::World(error) => error.unavailable,
                    ReconcileError::Gone => true,
                    ReconcileError::Floor(_) | ReconcileError::Unreadable { .. } => false,
                };
                tracing::warn!(error = %with_causes(&error), away, "run did not end");
                if away { Outcome::Again(AWAY) } else { Outcome::Failed }
            }
        }
    }

    /// Lets the status say why a run ended early, where it speaks of the gateway: "not known" while the Engine is
    /// away for more than one run, "not accepted" for what this version cannot read or may not carry out.
    async fn tell(&self, key: &GatewayKey, error: &ReconcileError) {
        let now = Utc::now();
        let told = async {
            let why = match error {
                ReconcileError::World(error) if error.unavailable && self.memory.away(key) => {
                    Early::EngineAway
                }
                ReconcileError::Floor(violation) => Early::Refused("FloorViolation", violation.to_string()),
                ReconcileError::Unreadable { .. } => Early::Refused("Unreadable", with_causes(error)),
                ReconcileError::World(_) | ReconcileError::Store(_) | ReconcileError::Gone => return Ok(()),
            };
            let Some(record) = self.store.load_gateway(key).await? else { return Ok(()) };
            let Some(placement) = record.placement else { return Ok(()) };
            let metadata = &record.object.metadata;
            let previous = previous_status(&record.object);
            let requests = Requests::total(&record.requests);
            let mut status = report::ended_early(metadata.generation, requests, &why, previous.as_ref(), now);
            if matches!(why, Early::Refused(..)) {
                // What is not carried out has been looked at all the same.
                let versions = record.catalogs.values().map(|catalog| catalog.metadata.resource_version);
                status.catalog_revision = versions.max().unwrap_or_default();
            }
            self.report(metadata.uid, placement.epoch, previous.as_ref(), &status).await
        };
        if let Err(error) = told.await {
            tracing::warn!(error = %with_causes(&error), "the status could not be written");
        }
    }

    async fn reconcile(&self, key: &GatewayKey) -> Result<Outcome, ReconcileError> {
        match self.store.load_gateway(key).await? {
            Some(record) if record.placement.is_some_and(|placement| placement.host != self.host) => {
                tracing::warn!("the gateway is placed on another host; was this one renamed?");
                Ok(Outcome::Settled)
            }
            Some(record) if record.object.metadata.deletion_timestamp.is_none() => {
                self.converge(key, record).await
            }
            Some(record) => self.remove(key, Some(&record)).await,
            None => self.remove(key, None).await,
        }
    }

    /// Makes what is declared true.
    async fn converge(&self, key: &GatewayKey, record: GatewayRecord) -> Result<Outcome, ReconcileError> {
        let Some(placement) = self.placement(&record).await? else {
            return Ok(Outcome::Settled);
        };
        let previous = previous_status(&record.object);
        let mut declared = declare(record, &placement)?;
        let uid = declared.metadata.uid;
        let paused = declared.is_paused();
        if !paused {
            self.lessor().provide(&mut declared, Utc::now()).await?;
        }
        let has_volumes = self.claim_volumes(&mut declared).await?;
        self.learn_secrets(&mut declared).await?;

        let images = declared.images(&self.settings);
        // Since the last status somebody asked to try again, or to start anew: what could not be pulled is not left to
        // its time. As often as this run is repeated before it can say so.
        let heard = previous.as_ref().map_or(0, |status| status.observed_requests);
        if Requests::total(&declared.requests) > heard {
            self.world.forget_failed_pulls(&images);
        }
        let mut observed = self.world.observe(key, &images).await?;
        if has_volumes {
            observed.volumes = self.world.volumes(&key.namespace).await?;
        }
        observed.probe = self.probe(&observed, &declared, previous.as_ref()).await;
        let revision = |rollouts: &Rollouts| format!("{}/{}", declared.revision(), rollouts.revision());
        let troubles = self.memory.troubles(key, &revision(&declared.rollouts));
        let moment = Moment { now: Utc::now(), troubles: &troubles };
        let desired = desire(&declared, &observed, &self.settings, moment);
        // What failed on the way forward does not hold up the way back.
        let revision = revision(&desired.rollouts);
        let (holds, _) = self.memory.recall(key, &revision);
        let plan = match paused {
            true => Plan::default(),
            false => plan(Some(&desired), &observed, &holds, moment.now),
        };
        floor::check(&plan, key, &self.settings)?;
        if !paused {
            self.record(&declared, &desired).await?;
        }
        self.watch(key, &declared, &desired, &observed, &plan);
        let failed = self.execute(key, uid, &revision, &plan).await?;
        self.heed(&declared, &failed).await?;

        let (holds, failures) = self.memory.recall(key, &revision);
        let facts = Facts {
            declared: &declared,
            desired: &desired,
            observed: &observed,
            plan: &plan,
            failures: &failures,
            previous: previous.as_ref(),
            settings: &self.settings,
        };
        let mut status = report::status(&facts, Utc::now());
        status.next_attempt_time = holds.values().min().copied().or(status.next_attempt_time);
        self.tell_of_secrets(uid, previous.as_ref(), &status).await?;
        self.report(uid, placement.epoch, previous.as_ref(), &status).await?;
        self.store.put_observed(uid, placement.epoch, &json(&observed), Utc::now()).await?;
        if !paused && failed.is_empty() && self.lessor().release_unneeded(&declared, &observed).await? {
            // What is given back stands in a file of the gateway still.
            return Ok(Outcome::Again(LOOK_AGAIN));
        }
        if !paused && failed.is_empty() {
            self.release_volumes(&declared, &observed).await?;
        }
        let mut plan = plan;
        let lease_retry = (!declared.lease_problems.is_empty()).then_some(LEASE_RETRY);
        if let Some(wait) = lease_retry.into_iter().chain(volumes::retry(&declared)).min() {
            let retry = Utc::now() + wait;
            plan.again_at = Some(plan.again_at.map_or(retry, |at| at.min(retry)));
        }
        let next = self.next(&plan, holds.values().min().copied());
        Ok(match desired.rollouts.trial_since() {
            Some(since) if !paused && !desired.suspended => next.within(trial_look(since)),
            _ => next,
        })
    }

    /// Writes what the steps to come are made from, before the first of them: after a crash the same image ids are
    /// used, and the way back is known.
    async fn record(&self, declared: &Declared, desired: &Desired) -> Result<(), ReconcileError> {
        let (uid, epoch) = (declared.metadata.uid, declared.epoch);
        if desired.pins != declared.pins {
            self.store.put_pins(uid, epoch, &json(&desired.pins)).await?;
        }
        if desired.rollouts == declared.rollouts {
            return Ok(());
        }
        self.store.put_rollouts(uid, epoch, &json(&desired.rollouts)).await?;
        for (unit, rollout) in desired.rollouts.iter() {
            let before = declared.rollouts.of(&unit);
            let failed_before = before.and_then(|before| before.failed.as_ref());
            let (kind, reason, message) = match (&rollout.trial, &rollout.failed) {
                (_, Some(failed)) if failed_before != Some(failed) => {
                    let Failed { reason, message, .. } = failed;
                    let message = format!("{unit}: {reason}: {message}; the revision before runs again");
                    tracing::warn!(%unit, reason, error = message, "rolled back");
                    (EventType::Warning, ROLLED_BACK, message)
                }
                (None, None) if before.is_some_and(|before| before.trial.is_some()) => {
                    (EventType::Normal, "Replaced", format!("{unit}: the new revision answers"))
                }
                _ => continue,
            };
            self.store.record_event(uid, kind, reason, &message, Utc::now()).await?;
        }
        Ok(())
    }

    /// The placement on this host, made when there is none; `None` when another host has the gateway.
    async fn placement(&self, record: &GatewayRecord) -> Result<Option<Placement>, ReconcileError> {
        let placement = match &record.placement {
            Some(placement) => *placement,
            None => match self.store.ensure_placement(record.object.metadata.uid, self.host).await {
                Ok(placement) => placement,
                Err(GatewayError::Gone) => return Err(ReconcileError::Gone),
                Err(GatewayError::Db(error)) => return Err(error.into()),
            },
        };
        Ok(Some(placement).filter(|placement| placement.host == self.host))
    }

    fn lessor(&self) -> Lessor<'_, W> {
        Lessor {
            store: &self.store,
            world: &*self.world,
            memory: &self.memory,
            ranges: &self.settings.ranges,
            host: self.host,
        }
    }

    /// The prober's last answer, if there is a running gateway that can have given it.
    ///
    /// A controller that has just started has none; of a gateway that was reported available it asks for one at
    /// once, so that its own restart is no news to anybody.
    async fn probe(
        &self,
        observed: &Observed,
        declared: &Declared,
        previous: Option<&GatewayStatus>,
    ) -> Option<Probe> {
        let uid = declared.metadata.uid;
        if !runs(observed, uid) {
            return None;
        }
        let was_available = previous.is_some_and(|status| status.is_true(ConditionType::Available, 0));
        match port(declared) {
            Some(port) if was_available && !self.prober.knows(uid) => {
                let ProbeAnswer { healthy, state } = self.world.probe(uid, port).await;
                Some(Probe { healthy, misses: u32::from(!healthy), state })
            }
            _ => self.prober.last(uid),
        }
    }

    /// Tells the prober what this gateway should answer.
    /// One that neither runs nor is about to be started is not asked: the answer is known, and no news.
    fn watch(
        &self,
        key: &GatewayKey,
        declared: &Declared,
        desired: &Desired,
        observed: &Observed,
        plan: &Plan,
    ) {
        let starts = plan.steps.iter().any(|planned| {
            planned.unit == Unit::Gateway && matches!(planned.step, Step::StartContainer { .. })
        });
        let wanted = starts || runs(observed, desired.uid);
        match port(declared) {
            Some(port) if !desired.suspended && wanted => {
                let target = Target {
                    key: key.clone(),
                    port,
                    config_revision: desired.config_revision.clone(),
                    tokens_revision: desired.tokens_revision,
                };
                self.prober.watch(desired.uid, target);
                // Whatever asked for this run may have changed what the gateway tells.
                self.prober.hurry(desired.uid);
            }
            _ => self.prober.forget(desired.uid),
        }
    }

    /// Writes the status where it differs, and an event where `Ready` changed.
    async fn report(
        &self,
        uid: Uuid,
        epoch: i64,
        previous: Option<&GatewayStatus>,
        status: &GatewayStatus,
    ) -> Result<(), ReconcileError> {
        if previous == Some(status) {
            return Ok(());
        }
        self.store.put_status(uid, epoch, &json(status)).await?;
        let ready = |status: &GatewayStatus| status.condition(ConditionType::Ready).map(|c| c.status);
        if let Some(condition) = status.condition(ConditionType::Ready)
            && previous.and_then(ready) != Some(condition.status)
        {
            let is_ready = condition.status == bowline_core::status::ConditionStatus::True;
            let kind = if is_ready { "Ready" } else { "NotReady" };
            let message = format!("{}: {}", condition.reason, condition.message);
            let message = message.trim_end_matches(": ");
            self.store.record_event(uid, EventType::Normal, kind, message, Utc::now()).await?;
        }
        Ok(())
    }

    /// When this key is to be looked at again without anybody asking.
    fn next(&self, plan: &Plan, held_until: Option<chrono::DateTime<Utc>>) -> Outcome {
        if held_until.is_none() && !plan.is_empty() {
            return Outcome::Again(LOOK_AGAIN);
        }
        match [plan.again_at, held_until].into_iter().flatten().min() {
            None => Outcome::Settled,
            Some(at) => Outcome::Again((at - Utc::now()).to_std().unwrap_or(Duration::ZERO).max(LOOK_AGAIN)),
        }
    }
}

/// Whether the gateway's container runs.
fn runs(observed: &Observed, uid: Uuid) -> bool {
    observed.containers.iter().any(|container| {
        container.identity.uid == uid
            && container.identity.role == Role::Gateway
            && container.state == ContainerState::Running
    })
}

/// The leased port.
fn port(declared: &Declared) -> Option<u16> {
    let slot = LeaseSlot::new(LeaseKind::Port, Holder::Gateway);
    declared.leases.get(&slot).and_then(|port| u16::try_from(*port).ok())
}

/// The status reported last; one that cannot be read any more counts as none.
fn previous_status(object: &Stored) -> Option<GatewayStatus> {
    object.status.clone().and_then(|status| serde_json::from_value(status).ok())
}

/// Plain structs with string keys always become JSON.
fn json<T: serde::Serialize>(value: &T) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or_default()
}
