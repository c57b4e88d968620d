//! Replacing with a way back: which revision of each container is proven, which one is on trial, which one failed.
//!
//! The record is kept in the database with the status, and written before the first step that follows from it:
//! it decides after a crash, not anybody's memory. The way back is a *specification* that was proven, not only
//! the stopped container that was made from it: what was removed meanwhile can be made again.
//!
//! [`Rollout::advance`] is the whole state machine. It is called once for every unit in every run, and looks only
//! at what is declared, what was seen, and the record itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::desired::WantedContainer;
use crate::gateway_file::{GatewayState, ServerPhase, ServerReport};
use crate::labels::Role;
use crate::observed::{ContainerState, Observed, ObservedContainer, Probe};
use crate::plan::Unit;
use crate::report::MISSES;

/// How long a new server may say that it failed before that counts: its first attempt may meet a neighbour that
/// is being replaced, too.
const SECOND_CHANCE: Duration = Duration::from_secs(3);
/// Starts by Docker alone after which a new container counts as one that does not run.
const CRASHES: i64 = 2;
/// Failed steps of any kind after which a new container that was never started counts as one that cannot be: some
/// eight seconds with their pauses.
const STUCK: u32 = 6;
/// Failed starts after which a new container counts as one that cannot be started. The first may have met an
/// Engine that was about to stop.
const FAILED_STARTS: u32 = 2;

/// The records of one gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollouts {
    /// Of the gateway container.
    #[serde(default)]
    pub gateway: Rollout,
    /// Of the server containers, by registry key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub servers: BTreeMap<String, Rollout>,
}

impl Rollouts {
    /// The record of a unit; an empty one where there is none.
    pub fn of(&self, unit: &Unit) -> Option<&Rollout> {
        match unit {
            Unit::Gateway => Some(&self.gateway),
            Unit::Server(server) => self.servers.get(server),
            Unit::Shared | Unit::Reload | Unit::Cleanup => None,
        }
    }

    /// Every unit with its record, the gateway first.
    pub fn iter(&self) -> impl Iterator<Item = (Unit, &Rollout)> {
        let servers = self.servers.iter().map(|(name, rollout)| (Unit::Server(name.clone()), rollout));
        std::iter::once((Unit::Gateway, &self.gateway)).chain(servers)
    }

    /// Whether any container is on trial.
    pub fn on_trial(&self) -> bool {
        self.iter().any(|(_, rollout)| rollout.trial.is_some())
    }

    /// Since when the oldest trial is on.
    pub fn trial_since(&self) -> Option<DateTime<Utc>> {
        self.iter().filter_map(|(_, rollout)| Some(rollout.trial.as_ref()?.since)).min()
    }

    /// What distinguishes this state for the memory of failures: what failed on the way forward says nothing of
    /// the way back.
    pub fn revision(&self) -> String {
        self.iter()
            .filter_map(|(unit, rollout)| Some(format!("{unit}={}", rollout.failed.as_ref()?.spec_hash)))
            .collect::<Vec<_>>()
            .join(",")
    }
}

/// The record of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// The revision that last answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven: Option<Box<Proven>>,
    /// The revision that is taking its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
    /// The revision that did not answer, not tried again until something changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failed>,
}

/// A revision that answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proven {
    /// The container, as it can be made again.
    pub container: WantedContainer,
    /// Of a server: the user id that the gateway sees on its socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_uid: Option<u32>,
}

/// A revision on trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trial {
    /// Digest of its specification.
    pub spec_hash: String,
    /// Since when; its time runs from here or from its container's start, whichever is later.
    pub since: DateTime<Utc>,
    /// Servers that answered when it began: the ones that must not be lost by it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub answered: BTreeSet<String>,
    /// Of the gateway: the revision of the configuration that it has to read. With another one its time begins anew.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub config_revision: String,
}

/// A revision that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failed {
    /// Digest of its specification.
    pub spec_hash: String,
    /// The count of `bowline retry` then; another one is another chance.
    #[serde(default)]
    pub retry: i64,
    /// CamelCase word for machines.
    pub reason: String,
    /// What happened.
    pub message: String,
    /// When.
    pub at: DateTime<Utc>,
    /// Servers that answered before it was tried: the next trial must not lose them either.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub answered: BTreeSet<String>,
}

/// Failed steps of one unit, as far as the controller remembers: a hint that may be lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// How many in a row.
    pub count: u32,
    /// Whether the Engine refused the request itself, so that trying again cannot help.
    pub refused: bool,
    /// What the last one said.
    pub message: String,
}

/// Failed steps by unit.
pub type Troubles = BTreeMap<Unit, Trouble>;

/// What is known when a record is advanced.
pub(crate) struct Look<'a> {
    pub(crate) observed: &'a Observed,
    pub(crate) unit: &'a Unit,
    pub(crate) trouble: Option<&'a Trouble>,
    /// The count of `bowline retry` for this unit.
    pub(crate) retry: i64,
    /// `progressDeadlineSeconds`.
    pub(crate) deadline: Duration,
    pub(crate) now: DateTime<Utc>,
    /// Of the gateway: the revision of the configuration that it must have read.
    pub(crate) config_revision: &'a str,
    /// Of the gateway: servers that do not change now. Of a server: empty.
    pub(crate) unchanged: &'a BTreeSet<String>,
    /// Servers that have answered at some time.
    pub(crate) proven_servers: BTreeSet<String>,
    /// Of a server: whether the gateway that would tell of it is itself on trial.
    pub(crate) gateway_on_trial: bool,
}

/// How a trial goes.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Proven,
    Pending,
    Failed(&'static str, String),
}

impl Rollout {
    /// The record after this look. `usable` says whether a proven revision can still be made: its leases and
    /// directories are this gateway's today.
    pub(crate) fn advance(
        &self,
        wanted: &WantedContainer,
        peer_uid: Option<u32>,
        usable: impl Fn(&Proven) -> bool,
        look: &Look<'_>,
    ) -> Rollout {
        let hash = &wanted.identity.spec_hash;
        let proven = self.proven.clone().filter(|proven| usable(proven));
        let here = || Some(Box::new(Proven { container: wanted.clone(), peer_uid }));
        if proven.as_ref().is_some_and(|proven| proven.container.identity.spec_hash == *hash) {
            // The generation in the labels is no part of what was proven; limits are put right in place.
            let same = proven.filter(|proven| proven.container.spec == wanted.spec);
            return Rollout { proven: same.or_else(here), trial: None, failed: None };
        }
        if proven.is_some()
            && let Some(failed) = &self.failed
            && failed.spec_hash == *hash
            && failed.retry == look.retry
        {
            return Rollout { proven, trial: None, failed: Some(failed.clone()) };
        }
        let begun = self.trial.as_ref().filter(|trial| trial.spec_hash == *hash);
        let trial = match begun {
            Some(begun) => look.take_configuration(begun.clone()),
            None => look.begin(hash, self, proven.is_some()),
        };
        match look.judge(&trial, proven.is_some()) {
            Verdict::Proven => Rollout { proven: here(), trial: None, failed: None },
            Verdict::Failed(reason, message) if proven.is_some() => {
                let failed = Failed {
                    spec_hash: hash.clone(),
                    retry: look.retry,
                    reason: reason.to_owned(),
                    message,
                    at: look.now,
                    answered: trial.answered,
                };
                Rollout { proven, trial: None, failed: Some(failed) }
            }
            // Without a way back there is no trial: it is the only one there is.
            Verdict::Failed(..) | Verdict::Pending if proven.is_none() => Rollout::default(),
            Verdict::Failed(..) | Verdict::Pending => {
                Rollout { proven, trial: Some(look.wait_for_gateway(trial)), failed: None }
            }
        }
    }
}

impl Look<'_> {
    /// A trial begins. What answered before another trial that it cuts short, or that failed just now, must not be
    /// lost by this one either; and where nobody tells what answers, everything that ever did counts.
    fn begin(&self, hash: &str, before: &Rollout, has_way_back: bool) -> Trial {
        let cut_short = before.trial.as_ref().map(|trial| &trial.answered);
        let failed = before.failed.as_ref().map(|failed| &failed.answered);
        let mut answered: BTreeSet<_> = cut_short.into_iter().chain(failed).flatten().cloned().collect();
        if let Unit::Server(server) = self.unit
            && has_way_back
            && self.told(server).is_none_or(|told| told.phase != ServerPhase::Failed)
        {
            // A way back that is just being started again is a way back.
            answered.insert(server.clone());
        }
        match self.state() {
            Some(state) => {
                let running = state.servers.iter().filter(|told| told.phase == ServerPhase::Running);
                answered.extend(running.map(|told| told.name.clone()));
            }
            None => answered.extend(self.proven_servers.iter().cloned()),
        }
        let config_revision = self.config_revision.to_owned();
        Trial { spec_hash: hash.to_owned(), since: self.now, answered, config_revision }
    }

    /// What was edited meanwhile cannot have been read by the deadline that ran before.
    fn take_configuration(&self, trial: Trial) -> Trial {
        if trial.config_revision == self.config_revision {
            return trial;
        }
        Trial { since: self.now, config_revision: self.config_revision.to_owned(), ..trial }
    }

    /// A server cannot answer while its gateway does not: its time does not run then. Written every few seconds
    /// only, because each change of the record is a write.
    fn wait_for_gateway(&self, trial: Trial) -> Trial {
        let waits = matches!(self.unit, Unit::Server(_)) && !self.gateway_answers();
        if waits && self.now.signed_duration_since(trial.since).num_seconds() >= 5 {
            Trial { since: self.now, ..trial }
        } else {
            trial
        }
    }

    /// Whether the probes have come to a conclusion; one that was missed is none.
    fn has_answered_or_not(&self) -> bool {
        self.probe().is_some_and(|probe| probe.healthy || probe.misses >= MISSES)
    }

    fn probe(&self) -> Option<&Probe> {
        self.observed.probe.as_ref()
    }

    fn state(&self) -> Option<&GatewayState> {
        self.probe().and_then(|probe| probe.state.as_ref())
    }

    /// What the gateway says of a server.
    fn told(&self, server: &str) -> Option<&ServerReport> {
        self.state()?.servers.iter().find(|told| told.name == server)
    }

    fn gateway_answers(&self) -> bool {
        !self.gateway_on_trial && self.probe().is_some_and(|probe| probe.healthy)
    }

    /// The container of the revision on trial.
    fn container(&self, hash: &str) -> Option<&ObservedContainer> {
        self.observed
            .containers
            .iter()
            .filter(|seen| Unit::of(&seen.identity.role) == *self.unit && seen.identity.spec_hash == hash)
            .max_by_key(|seen| seen.state == ContainerState::Running)
    }

    fn judge(&self, trial: &Trial, has_way_back: bool) -> Verdict {
        let refused = self.trouble.filter(|trouble| trouble.refused);
        let Some(container) = self.container(&trial.spec_hash) else {
            return match refused {
                Some(trouble) => Verdict::Failed("Refused", trouble.message.clone()),
                None => Verdict::Pending,
            };
        };
        if container.state == ContainerState::Running && self.answers(container, trial, has_way_back) {
            return Verdict::Proven;
        }
        if container.restart_count >= CRASHES {
            let end = match container.state {
                ContainerState::Exited { code } => format!("its program ended with code {code}"),
                _ => format!("its program ended {} times", container.restart_count),
            };
            return Verdict::Failed("CrashLoop", end);
        }
        // One that was stopped has no clock, either: it is started again, and its time runs from there.
        let started = match container.state {
            ContainerState::Created | ContainerState::Exited { .. } => None,
            _ => container.started_at,
        };
        let Some(started) = started else {
            let tries = self.trouble.map_or(0, |trouble| trouble.count);
            let final_error = !container.error.is_empty() && tries >= FAILED_STARTS;
            // The old one is stopped by now, whatever it is that keeps this one from being started.
            let stuck = self.trouble.filter(|trouble| trouble.count >= STUCK);
            return match refused {
                Some(trouble) => Verdict::Failed("StartFailed", trouble.message.clone()),
                None if final_error => Verdict::Failed("StartFailed", container.error.clone()),
                None => match stuck {
                    Some(trouble) => Verdict::Failed("StartFailed", trouble.message.clone()),
                    None => Verdict::Pending,
                },
            };
        };
        let in_time = started.max(trial.since) + self.deadline > self.now;
        match self.unit {
            Unit::Server(server) => self.judge_server(server, trial, started, in_time),
            // Nobody has asked it yet since it, or this controller, was started.
            _ if in_time || !self.has_answered_or_not() => Verdict::Pending,
            _ => Verdict::Failed("ProgressDeadlineExceeded", self.what_lacks(trial)),
        }
    }

    fn judge_server(&self, server: &str, trial: &Trial, started: DateTime<Utc>, in_time: bool) -> Verdict {
        // Going back to what did not answer either helps nobody.
        if !self.gateway_answers() || !trial.answered.contains(server) {
            return Verdict::Pending;
        }
        let error = self
            .told(server)
            .filter(|told| told.phase == ServerPhase::Failed)
            .and_then(|told| told.last_error.as_ref());
        match error {
            // What was told before its second chance was over may speak of the container before this one.
            // A process that ended says more than one that is slow, which has its whole time.
            Some(error) if error.exit.is_some() && error.at > started + SECOND_CHANCE => {
                Verdict::Failed("ServerFailed", error.message.clone())
            }
            _ if in_time => Verdict::Pending,
            Some(error) => Verdict::Failed("ServerFailed", error.message.clone()),
            None => {
                let seconds = self.deadline.as_secs();
                Verdict::Failed("ProgressDeadlineExceeded", format!("it did not answer within {seconds} s"))
            }
        }
    }

    /// Whether the container does its work.
    fn answers(&self, container: &ObservedContainer, trial: &Trial, has_way_back: bool) -> bool {
        let Some(state) = self.state() else { return false };
        match &container.identity.role {
            Role::Gateway => {
                self.probe().is_some_and(|probe| probe.healthy)
                    && state.config_revision == self.config_revision
                    && (!has_way_back || self.lost(trial).next().is_none())
            }
            Role::Server(server) => {
                !self.gateway_on_trial
                    && state
                        .servers
                        .iter()
                        .any(|told| told.name == *server && told.phase == ServerPhase::Running)
            }
            Role::Network => false,
        }
    }

    /// Servers that answered before, do not change, and do not answer now.
    fn lost<'b>(&'b self, trial: &'b Trial) -> impl Iterator<Item = &'b str> {
        let running = |name: &str| {
            self.state().is_some_and(|state| {
                state.servers.iter().any(|told| told.name == name && told.phase == ServerPhase::Running)
            })
        };
        trial
            .answered
            .iter()
            .filter(|name| self.unchanged.contains(*name))
            .filter(move |name| !running(name))
            .map(String::as_str)
    }

    fn what_lacks(&self, trial: &Trial) -> String {
        let seconds = self.deadline.as_secs();
        let lost: Vec<_> = self.lost(trial).collect();
        if self.probe().is_some_and(|probe| probe.healthy) && !lost.is_empty() {
            format!("it answers, but within {seconds} s it did not reach {}", lost.join(", "))
        } else {
            format!("it did not answer within {seconds} s")
        }
    }
}

#[cfg(test)]
mod tests;
