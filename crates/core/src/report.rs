//! From desired, observed and what failed to the status that people read.
//!
//! A status is what was last seen. "Not known yet" is `Unknown`, never `False`: no probe yet, the Engine away.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::desired::{Declared, Desired, DesiredServer, Requests, Settings, Wanted};
use crate::gateway_file::{MCP_PATH, ServerPhase, ServerReport};
use crate::labels::Role;
use crate::lease::{Holder, LeaseKind, LeaseSlot};
use crate::observed::{ContainerState, ImageState, Observed, ObservedContainer};
use crate::plan::{Plan, Unit};
use crate::resource::PAUSED_ANNOTATION;
use crate::rollout::Failed;
use crate::status::{
    Condition, ConditionStatus, ConditionType, Endpoint, FailedRevision, GatewayStatus, PAUSED, ROLLED_BACK,
    ServerState, ServerStatus,
};
use crate::step::Step;

mod secrets;

use secrets::SECRET_MISSING;

/// What the last failed step of a unit said. An entry goes when the unit succeeds.
pub type Failures = BTreeMap<Unit, String>;

/// Health probes that must fail in a row before an endpoint that answered counts as away.
pub const MISSES: u32 = 3;

/// Everything that a status is made from.
pub struct Facts<'a> {
    /// What is declared.
    pub declared: &'a Declared,
    /// What shall be there.
    pub desired: &'a Desired,
    /// What was seen before the plan was executed.
    pub observed: &'a Observed,
    /// What is being done.
    pub plan: &'a Plan,
    /// What failed.
    pub failures: &'a Failures,
    /// The status that was reported before.
    pub previous: Option<&'a GatewayStatus>,
    /// What `serve` was started with.
    pub settings: &'a Settings,
}

/// A condition without its bookkeeping.
#[derive(Clone)]
struct Verdict(ConditionType, ConditionStatus, &'static str, String);

impl Verdict {
    fn new(
        condition: ConditionType,
        status: ConditionStatus,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Verdict(condition, status, reason, message.into())
    }
}

/// The status of a gateway that is declared.
pub fn status(facts: &Facts<'_>, now: DateTime<Utc>) -> GatewayStatus {
    let servers: Vec<_> = facts.desired.servers.iter().map(|server| facts.server(server)).collect();
    let available = facts.available();
    let verdicts = [
        facts.accepted(),
        facts.images_ready(),
        facts.secrets_resolved(),
        facts.progressing(),
        facts.ready(&available, &servers),
        available,
        facts.egress(),
    ];
    let mut conditions: Vec<_> = verdicts.into_iter().map(|verdict| facts.condition(verdict, now)).collect();
    conditions.sort_by_key(|condition| condition.condition_type);
    let port = facts.declared.leases.get(&LeaseSlot::new(LeaseKind::Port, Holder::Gateway));
    GatewayStatus {
        observed_generation: facts.declared.metadata.generation,
        host: Some(facts.settings.host.clone()),
        endpoint: port.and_then(|port| u16::try_from(*port).ok()).map(|port| {
            let address = std::net::SocketAddr::new(facts.settings.publish_address, port);
            Endpoint { url: format!("http://{address}{MCP_PATH}"), port }
        }),
        conditions,
        servers,
        catalog_revision: facts.declared.catalog_revision(),
        tokens_revision: facts.gateway_state().map_or(0, |state| state.tokens_revision),
        observed_requests: Requests::total(&facts.declared.requests),
        failed_revision: facts.failed_revision(&Unit::Gateway),
        next_attempt_time: facts.plan.again_at.filter(|_| !facts.failures.is_empty()),
        remaining: Vec::new(),
    }
}

/// The status of a gateway that is being deleted: what is left. `requests` have been seen by now.
pub fn terminating(
    generation: i64,
    requests: i64,
    observed: &Observed,
    failures: &Failures,
    previous: Option<&GatewayStatus>,
    now: DateTime<Utc>,
) -> GatewayStatus {
    let containers = observed.containers.iter().map(|c| format!("container {}", c.name));
    let networks = observed.networks.iter().map(|network| format!("network {}", network.name));
    let trees = observed.trees.keys().map(|uid| format!("files of {uid}"));
    let message = failures.values().cloned().collect::<Vec<_>>().join("; ");
    let mut status = previous.cloned().unwrap_or_default();
    status.observed_generation = generation;
    status.observed_requests = requests;
    status.remaining = containers.chain(networks).chain(trees).collect();
    status.conditions = [
        Verdict::new(ConditionType::Progressing, ConditionStatus::True, "Terminating", message),
        Verdict::new(ConditionType::Available, ConditionStatus::False, "Terminating", ""),
        Verdict::new(ConditionType::Ready, ConditionStatus::False, "Terminating", ""),
    ]
    .map(|verdict| condition(verdict, generation, previous, now))
    .to_vec();
    status
}

/// Why a run ended before there was anything to report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Early {
    /// The Engine does not answer.
    EngineAway,
    /// What is declared is not carried out: reason and message.
    Refused(&'static str, String),
}

/// The status of a gateway whose run ended early: the previous one, but for what cannot be said any more. `requests`
/// have been seen by now.
pub fn ended_early(
    generation: i64,
    requests: i64,
    why: &Early,
    previous: Option<&GatewayStatus>,
    now: DateTime<Utc>,
) -> GatewayStatus {
    let verdicts = match why {
        Early::EngineAway => {
            let message = "the Docker Engine does not answer; nothing is concluded from that";
            [ConditionType::Available, ConditionType::Ready]
                .map(|of| Verdict::new(of, ConditionStatus::Unknown, "EngineUnavailable", message))
                .to_vec()
        }
        Early::Refused(reason, message) => {
            vec![Verdict::new(ConditionType::Accepted, ConditionStatus::False, reason, message.clone())]
        }
    };
    let mut status = previous.cloned().unwrap_or_default();
    status.observed_generation = generation;
    status.observed_requests = requests;
    for verdict in verdicts {
        let changed = condition(verdict, generation, previous, now);
        status.conditions.retain(|kept| kept.condition_type != changed.condition_type);
        status.conditions.push(changed);
    }
    status.conditions.sort_by_key(|condition| condition.condition_type);
    status
}

impl Facts<'_> {
    fn condition(&self, verdict: Verdict, now: DateTime<Utc>) -> Condition {
        condition(verdict, self.declared.metadata.generation, self.previous, now)
    }

    fn gateway_state(&self) -> Option<&crate::gateway_file::GatewayState> {
        self.observed.probe.as_ref().and_then(|probe| probe.state.as_ref())
    }

    fn container(&self, role: &Role) -> Option<&ObservedContainer> {
        let uid = self.desired.uid;
        let of_role = self.observed.containers.iter();
        let of_role = of_role.filter(|seen| seen.identity.uid == uid && seen.identity.role == *role);
        // Beside the one that runs there may be the one to go back to.
        of_role.max_by_key(|seen| (seen.state == ContainerState::Running, seen.restarts))
    }

    /// Whether this run makes, starts or stops the container of a unit: what was seen and told of it
    /// before speaks of one that is no more.
    fn is_changing(&self, unit: &Unit) -> bool {
        self.plan.steps.iter().any(|planned| {
            planned.unit == *unit
                && matches!(
                    planned.step,
                    Step::CreateContainer { .. }
                        | Step::StartContainer { .. }
                        | Step::UnpauseContainer { .. }
                        | Step::StopContainer { .. }
                )
        })
    }

    /// Why what runs is not what is declared, where it runs at all and was not taken back on purpose.
    fn is_not_as_declared(&self, unit: &Unit, wanted: &Wanted) -> Option<(&'static str, String)> {
        let role = match unit {
            Unit::Gateway => Role::Gateway,
            Unit::Server(server) => Role::Server(server.clone()),
            Unit::Shared | Unit::Reload | Unit::Cleanup => return None,
        };
        let Wanted::Container(declared) = wanted else {
            let what = match wanted {
                Wanted::Image(_) => "ImageMissing",
                Wanted::Lease { .. } => "LeaseExhausted",
                Wanted::MissingSecret { .. } => SECRET_MISSING,
                _ => "NotPossible",
            };
            return Some((what, "what runs is the revision before the declared one".to_owned()));
        };
        let runs = &self.container(&role)?.identity.spec_hash;
        let failed = self.desired.rollouts.of(unit).and_then(|rollout| rollout.failed.as_ref());
        let taken_back = failed.is_some_and(|failed| failed.spec_hash == declared.identity.spec_hash);
        if *runs == declared.identity.spec_hash || taken_back {
            return None;
        }
        Some(("Replacing", "what runs is the revision before the declared one".to_owned()))
    }

    fn is_rolled_back(&self, server: &DesiredServer) -> bool {
        self.desired.rollouts.servers.get(&server.name).is_some_and(|rollout| rollout.failed.is_some())
    }

    fn changes_engine(&self) -> bool {
        self.plan.steps.iter().any(|planned| planned.step.changes_engine())
    }

    fn failed_revision(&self, unit: &Unit) -> Option<FailedRevision> {
        let failed = self.desired.rollouts.of(unit)?.failed.clone()?;
        let Failed { spec_hash, retry: _, reason, message, at, answered: _ } = failed;
        Some(FailedRevision { revision: spec_hash, reason, message, at })
    }

    fn accepted(&self) -> Verdict {
        let verdict =
            |reason, message| Verdict::new(ConditionType::Accepted, ConditionStatus::False, reason, message);
        let exhausted: Vec<_> = self.declared.lease_problems.values().cloned().collect();
        if !exhausted.is_empty() {
            return verdict("LeaseExhausted", exhausted.join("; "));
        }
        let unknown: Vec<_> = self
            .desired
            .servers
            .iter()
            .filter_map(|server| match &server.wanted {
                Wanted::Never { reason, message } if reason == "UnknownServer" => Some(message.clone()),
                _ => None,
            })
            .collect();
        if !unknown.is_empty() {
            return verdict("UnknownServer", unknown.join("; "));
        }
        Verdict::new(ConditionType::Accepted, ConditionStatus::True, "Accepted", "")
    }

    fn images_ready(&self) -> Verdict {
        let gateway = (self.desired.gateway_image.as_str(), &self.desired.gateway);
        let servers = self.desired.servers.iter().filter_map(|s| s.image.as_deref().map(|i| (i, &s.wanted)));
        let mut reason = "Present";
        let mut messages = Vec::new();
        for (image, wanted) in std::iter::once(gateway).chain(servers) {
            let Wanted::Image(state) = wanted else { continue };
            if reason != "ImageMissing" {
                reason = match state {
                    ImageState::Pulling { .. } => "Pulling",
                    _ => "ImageMissing",
                };
            }
            messages.push(image_message(image, state));
        }
        let status = if messages.is_empty() { ConditionStatus::True } else { ConditionStatus::False };
        Verdict::new(ConditionType::ImagesReady, status, reason, messages.join("; "))
    }

    fn progressing(&self) -> Verdict {
        let verdict = |status, reason, message: String| {
            Verdict::new(ConditionType::Progressing, status, reason, message)
        };
        if self.declared.is_paused() {
            let message = format!("remove the annotation {PAUSED_ANNOTATION} to go on");
            return verdict(ConditionStatus::Unknown, PAUSED, message);
        }
        let rolled_back: Vec<_> = self
            .desired
            .rollouts
            .iter()
            .filter_map(|(unit, rollout)| {
                let Failed { reason, message, .. } = rollout.failed.as_ref()?;
                Some(format!("{unit} runs as it did before the last change: {reason}: {message}"))
            })
            .collect();
        let on_trial = self.desired.rollouts.on_trial();
        if self.failures.is_empty() && !rolled_back.is_empty() && !self.changes_engine() && !on_trial {
            let hint = "change it, or `bowline retry`";
            return verdict(
                ConditionStatus::False,
                ROLLED_BACK,
                format!("{}; {hint}", rolled_back.join("; ")),
            );
        }
        if !self.failures.is_empty() {
            let texts: Vec<_> = self.failures.iter().map(|(unit, text)| format!("{unit}: {text}")).collect();
            return verdict(ConditionStatus::True, "BackOff", texts.join("; "));
        }
        let steps = self.plan.steps.iter().filter(|planned| planned.step.changes_engine());
        let on_trial = self.desired.rollouts.iter().filter(|(_, rollout)| rollout.trial.is_some());
        let on_trial: Vec<_> = on_trial.map(|(unit, _)| unit.to_string()).collect();
        match steps.count() {
            _ if !on_trial.is_empty() => verdict(ConditionStatus::True, "Replacing", on_trial.join(", ")),
            0 => verdict(ConditionStatus::False, "Complete", String::new()),
            1 => verdict(ConditionStatus::True, "Changing", "1 step".to_owned()),
            n => verdict(ConditionStatus::True, "Changing", format!("{n} steps")),
        }
    }

    fn available(&self) -> Verdict {
        let verdict =
            |status, reason, message: &str| Verdict::new(ConditionType::Available, status, reason, message);
        if self.desired.suspended {
            return verdict(ConditionStatus::False, "Suspended", "");
        }
        let container = self.container(&Role::Gateway);
        if container.is_none_or(|container| container.state != ContainerState::Running) {
            let message = self.failures.get(&Unit::Gateway).map_or("", String::as_str);
            return verdict(ConditionStatus::False, "GatewayNotRunning", message);
        }
        if self.is_changing(&Unit::Gateway) {
            return verdict(ConditionStatus::Unknown, "NotProbedYet", "");
        }
        match &self.observed.probe {
            Some(probe) if probe.healthy => verdict(ConditionStatus::True, "Answering", ""),
            None => verdict(ConditionStatus::Unknown, "NotProbedYet", ""),
            Some(probe) => {
                let before = self.previous.and_then(|status| status.condition(ConditionType::Available));
                if probe.misses < MISSES && before.is_some_and(|c| c.status == ConditionStatus::True) {
                    return verdict(ConditionStatus::True, "Answering", "");
                }
                let message = "the published address does not answer; look at `bowline logs`";
                verdict(ConditionStatus::False, "Unreachable", message)
            }
        }
    }

    fn ready(&self, available: &Verdict, servers: &[ServerStatus]) -> Verdict {
        let verdict =
            |status, reason, message: String| Verdict::new(ConditionType::Ready, status, reason, message);
        let Verdict(_, available_status, reason, message) = available;
        if *available_status != ConditionStatus::True {
            return verdict(*available_status, reason, message.clone());
        }
        if let Some((reason, message)) = self.is_not_as_declared(&Unit::Gateway, &self.desired.gateway) {
            return verdict(ConditionStatus::False, reason, message);
        }
        let loaded = self.gateway_state().map(|state| state.config_revision.as_str());
        if loaded.is_some_and(|loaded| loaded != self.desired.config_revision) {
            let message = "the gateway has not read its new configuration yet".to_owned();
            return verdict(ConditionStatus::False, "Reloading", message);
        }
        let count = GatewayStatus { servers: servers.to_vec(), ..GatewayStatus::default() }.ready_count();
        match count {
            (_, 0) => verdict(ConditionStatus::True, "NoServers", String::new()),
            (ready, wanted) if ready == wanted => {
                verdict(ConditionStatus::True, "ServersAnswer", format!("{ready}/{wanted} servers"))
            }
            (ready, wanted) => {
                let waiting: Vec<_> = servers
                    .iter()
                    .filter(|server| {
                        !matches!(
                            server.state,
                            ServerState::Running | ServerState::Idle | ServerState::Disabled
                        )
                    })
                    .map(|server| match &server.reason {
                        Some(reason) => format!("{} {} ({reason})", server.name, server.state.as_str()),
                        None => format!("{} {}", server.name, server.state.as_str()),
                    })
                    .collect();
                let failed = servers.iter().any(|server| server.state == ServerState::Failed);
                let lacks_secret =
                    servers.iter().any(|server| server.reason.as_deref() == Some(SECRET_MISSING));
                let reason = match (failed, lacks_secret) {
                    (true, _) => "ServersFailed",
                    (false, true) => SECRET_MISSING,
                    (false, false) => "ServersStarting",
                };
                let message = format!("{ready}/{wanted} servers; {}", waiting.join(", "));
                verdict(ConditionStatus::False, reason, message)
            }
        }
    }

    fn egress(&self) -> Verdict {
        let names: Vec<_> = self
            .desired
            .servers
            .iter()
            .filter(|server| server.egress_unenforced)
            .map(|server| server.name.as_str())
            .collect();
        if names.is_empty() {
            return Verdict::new(
                ConditionType::EgressEnforced,
                ConditionStatus::True,
                "NothingToEnforce",
                "",
            );
        }
        let message = format!(
            "allowHosts is not enforced yet: {} can reach any host; an empty list switches the network off",
            names.join(", ")
        );
        Verdict::new(ConditionType::EgressEnforced, ConditionStatus::False, "NotEnforced", message)
    }

    fn server(&self, server: &DesiredServer) -> ServerStatus {
        let role = Role::Server(server.name.clone());
        let container = self.container(&role);
        let report =
            self.gateway_state().and_then(|state| state.servers.iter().find(|s| s.name == server.name));
        let (state, reason, error) = self.server_state(server, container, report);
        let failed_revision = self.failed_revision(&Unit::Server(server.name.clone()));
        let last_error = error
            .or_else(|| report.and_then(report_error))
            .or_else(|| failed_revision.as_ref().map(|failed| failed.message.clone()));
        ServerStatus {
            name: server.name.clone(),
            state,
            reason: reason.map(str::to_owned),
            image: server.image.clone(),
            image_id: container.map(|container| container.image.clone()),
            image_outdated: server.image_outdated,
            tools: report.map_or(0, |report| report.tools),
            tools_digest: report.and_then(|report| report.tools_digest.clone()),
            restarts: report.map_or(0, |report| report.restarts)
                + container.map_or(0, |c| u32::try_from(c.restart_count).unwrap_or(u32::MAX)),
            failed_revision,
            last_error,
        }
    }

    fn server_state<'a>(
        &self,
        server: &'a DesiredServer,
        container: Option<&ObservedContainer>,
        report: Option<&ServerReport>,
    ) -> (ServerState, Option<&'a str>, Option<String>) {
        let failure = self.failures.get(&Unit::Server(server.name.clone()));
        match &server.wanted {
            Wanted::Disabled => (ServerState::Disabled, None, None),
            _ if self.desired.suspended => (ServerState::Disabled, Some("Suspended"), None),
            Wanted::Never { reason, message } => {
                (ServerState::Failed, Some(reason.as_str()), Some(message.clone()))
            }
            Wanted::MissingSecret { message } => {
                (ServerState::Pending, Some(SECRET_MISSING), Some(message.clone()))
            }
            Wanted::Lease { problem: None } => (ServerState::Pending, None, None),
            Wanted::Lease { problem } => (ServerState::Failed, Some("LeaseExhausted"), problem.clone()),
            Wanted::Image(state) => {
                let message = image_message(server.image.as_deref().unwrap_or_default(), state);
                match state {
                    ImageState::Failed { .. } => (ServerState::Failed, Some("ImageMissing"), Some(message)),
                    ImageState::Absent | ImageState::Pulling { .. } => (ServerState::Pulling, None, None),
                    ImageState::Present(_) => (ServerState::Pending, None, None),
                }
            }
            // Nothing of ours but what the gateway says of it.
            Wanted::Remote => answering(report),
            Wanted::Container(_) if failure.is_some() => {
                (ServerState::Failed, Some("StartFailed"), failure.cloned())
            }
            Wanted::Container(_) if self.is_changing(&Unit::Server(server.name.clone())) => {
                (ServerState::Starting, None, None)
            }
            Wanted::Container(_) => match container.map(|container| container.state) {
                None => (ServerState::Pending, None, None),
                Some(ContainerState::Running) => match answering(report) {
                    (ServerState::Running, None, None)
                        if self
                            .is_not_as_declared(&Unit::Server(server.name.clone()), &server.wanted)
                            .is_some() =>
                    {
                        (ServerState::Starting, Some("Replacing"), None)
                    }
                    (ServerState::Running, None, None) if self.is_rolled_back(server) => {
                        (ServerState::Running, Some(ROLLED_BACK), None)
                    }
                    told => told,
                },
                Some(ContainerState::Restarting) => {
                    let error = container.map(|c| c.error.clone()).filter(|error| !error.is_empty());
                    (ServerState::Failed, Some("CrashLoop"), error)
                }
                Some(_) => (ServerState::Starting, None, None),
            },
        }
    }
}

/// The state of a server that could answer, as the gateway has it.
fn answering<'a>(report: Option<&ServerReport>) -> (ServerState, Option<&'a str>, Option<String>) {
    match report.map(|report| report.phase) {
        Some(ServerPhase::Running) => (ServerState::Running, None, None),
        Some(ServerPhase::Failed) => (ServerState::Failed, Some("ServerFailed"), None),
        Some(ServerPhase::Starting) | None => (ServerState::Starting, None, None),
    }
}

fn condition(
    verdict: Verdict,
    generation: i64,
    previous: Option<&GatewayStatus>,
    now: DateTime<Utc>,
) -> Condition {
    let Verdict(condition_type, status, reason, message) = verdict;
    let since = previous
        .and_then(|status| status.condition(condition_type))
        .filter(|before| before.status == status)
        .map_or(now, |before| before.last_transition_time);
    Condition {
        condition_type,
        status,
        reason: reason.to_owned(),
        message,
        observed_generation: generation,
        last_transition_time: since,
    }
}

fn image_message(image: &str, state: &ImageState) -> String {
    match state {
        ImageState::Present(_) => format!("{image} is present"),
        ImageState::Absent => format!("{image} is not on this host"),
        ImageState::Pulling { .. } => format!("{image} is being pulled"),
        ImageState::Failed { message, .. } => format!("{image} cannot be pulled: {message}"),
    }
}

/// The gateway's error of a server in one text: sentence, end of the process, last lines of its standard error.
fn report_error(report: &ServerReport) -> Option<String> {
    if report.phase == ServerPhase::Running {
        return None;
    }
    let error = report.last_error.as_ref()?;
    let mut text = error.message.clone();
    if let Some(exit) = &error.exit {
        match (exit.code, exit.signal) {
            (Some(code), _) => text.push_str(&format!(" (exit code {code})")),
            (None, Some(signal)) => text.push_str(&format!(" (signal {signal})")),
            (None, None) => {}
        }
        for line in &exit.stderr {
            text.push('\n');
            text.push_str(line);
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests;
