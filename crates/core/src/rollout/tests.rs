use std::collections::BTreeMap;

use uuid::Uuid;

use super::*;
use crate::container::{ContainerSpec, Limits, NetworkMode};
use crate::gateway_file::{ServerError, ServerExit, ServerReport};
use crate::labels::{Identity, Owner};
use crate::object::GatewayKey;
use crate::observed::Live;
use crate::testing::at;

mod verdicts;

const OLD: &str = "old";
const NEW: &str = "new";
/// When every trial here begins.
const BEGIN: i64 = 100;

fn wanted(role: Role, spec_hash: &str) -> WantedContainer {
    WantedContainer {
        name: "it".to_owned(),
        identity: Identity {
            owner: Owner { instance: "default".to_owned(), installation: Uuid::from_u128(1) },
            host: "h1".to_owned(),
            key: GatewayKey::new("u1", "default"),
            uid: Uuid::from_u128(42),
            role,
            spec_hash: spec_hash.to_owned(),
            generation: 1,
            epoch: 1,
        },
        spec: ContainerSpec {
            image: format!("sha256:{spec_hash}"),
            entrypoint: Vec::new(),
            command: Vec::new(),
            env: BTreeMap::new(),
            user: Some(1),
            read_only_root: true,
            binds: Vec::new(),
            volumes: Vec::new(),
            tmp_bytes: 0,
            network: NetworkMode::None,
            publish: None,
            limits: Limits::default(),
            secrets: String::new(),
        },
        volumes: Vec::new(),
        secrets: Vec::new(),
    }
}

fn proven(role: Role, spec_hash: &str) -> Option<Box<Proven>> {
    Some(Box::new(Proven { container: wanted(role, spec_hash), peer_uid: Some(1) }))
}

/// One record and all that its next look sees.
#[derive(Debug, Clone)]
struct Case {
    role: Role,
    record: Rollout,
    observed: Observed,
    trouble: Option<Trouble>,
    retry: i64,
    now: i64,
    unchanged: BTreeSet<String>,
    gateway_on_trial: bool,
    usable: bool,
}

impl Case {
    /// A trial that began, whose container runs since then, and of which the gateway, healthy itself, tells
    /// nothing yet.
    fn of(role: Role) -> Self {
        let container = ObservedContainer {
            id: "c1".to_owned(),
            name: "it".to_owned(),
            identity: wanted(role.clone(), NEW).identity,
            image: "sha256:new".to_owned(),
            state: ContainerState::Running,
            restarts: true,
            restart_count: 0,
            started_at: Some(at(BEGIN)),
            finished_at: None,
            error: String::new(),
            live: Live::default(),
        };
        let state = GatewayState {
            version: "1".to_owned(),
            config_revision: "current".to_owned(),
            tokens_revision: 0,
            servers: Vec::new(),
        };
        let probe = Some(Probe { healthy: true, misses: 0, state: Some(state) });
        let answered = BTreeSet::from(["time".to_owned(), "fetch".to_owned()]);
        let trial =
            Trial { spec_hash: NEW.to_owned(), since: at(BEGIN), answered, config_revision: String::new() };
        let case = Case {
            record: Rollout { proven: proven(role.clone(), OLD), trial: Some(trial), failed: None },
            role,
            observed: Observed { containers: vec![container], probe, ..Observed::default() },
            trouble: None,
            retry: 0,
            now: BEGIN + 1,
            unchanged: BTreeSet::from(["time".to_owned(), "fetch".to_owned()]),
            gateway_on_trial: false,
            usable: true,
        };
        case.with(|case| {
            let revision = case.config_revision().to_owned();
            case.record.trial.iter_mut().for_each(|trial| trial.config_revision.clone_from(&revision));
        })
    }

    fn server() -> Self {
        Case::of(Role::Server("time".to_owned()))
    }

    fn gateway() -> Self {
        let mut case = Case::of(Role::Gateway);
        case.tells(&["time", "fetch"]);
        case
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn container(&mut self) -> &mut ObservedContainer {
        &mut self.observed.containers[0]
    }

    fn state(&mut self) -> &mut GatewayState {
        self.observed.probe.as_mut().unwrap().state.as_mut().unwrap()
    }

    fn report(&mut self, name: &str, phase: ServerPhase, error: Option<(&str, i64)>) {
        let last_error = error.map(|(message, seconds)| ServerError {
            message: message.to_owned(),
            exit: Some(ServerExit { code: Some(1), signal: None, stderr: Vec::new() }),
            at: at(seconds),
        });
        self.state().servers.push(ServerReport {
            name: name.to_owned(),
            phase,
            tools: 0,
            tools_digest: None,
            server_info: None,
            restarts: 0,
            last_error,
        });
    }

    fn tells(&mut self, running: &[&str]) {
        running.iter().for_each(|name| self.report(name, ServerPhase::Running, None));
    }

    fn has_trouble(&mut self, refused: bool, count: u32) {
        self.trouble = Some(Trouble { count, refused, message: "bad mount".to_owned() });
    }

    fn never_started(&mut self, error: &str) {
        let container = self.container();
        (container.state, container.started_at) = (ContainerState::Created, None);
        container.error = error.to_owned();
    }

    /// What the gateway must have read; of a server nothing is asked.
    fn config_revision(&self) -> &'static str {
        if self.role == Role::Gateway { "current" } else { "" }
    }

    fn advance(&self) -> Rollout {
        let unit = Unit::of(&self.role);
        let look = Look {
            observed: &self.observed,
            unit: &unit,
            trouble: self.trouble.as_ref(),
            retry: self.retry,
            deadline: Duration::from_secs(60),
            now: at(self.now),
            config_revision: self.config_revision(),
            unchanged: &self.unchanged,
            proven_servers: BTreeSet::from(["time".to_owned()]),
            gateway_on_trial: self.gateway_on_trial,
        };
        self.record.advance(&wanted(self.role.clone(), NEW), Some(2), |_| self.usable, &look)
    }

    /// The verdict in words: `proven`, `pending`, or reason and message of the failure.
    fn verdict(&self) -> String {
        let Rollout { proven, trial, failed } = self.advance();
        let revision = proven.map(|proven| proven.container.identity.spec_hash);
        match (revision.as_deref(), trial, failed) {
            (Some(NEW), None, None) => "proven".to_owned(),
            (Some(OLD), Some(trial), None) if trial.spec_hash == NEW => "pending".to_owned(),
            (Some(OLD), None, Some(failed)) => {
                assert_eq!((failed.spec_hash.as_str(), failed.at), (NEW, at(self.now)));
                let answered = self.record.trial.as_ref().map(|trial| &trial.answered);
                assert!(answered.is_none_or(|answered| failed.answered == *answered));
                format!("{}: {}", failed.reason, failed.message)
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_trial_begins_with_what_answers_and_another_revision_begins_another() {
    let mut case = Case::server().with(|case| {
        case.observed.containers.clear();
        case.tells(&["time"]);
        case.report("fetch", ServerPhase::Starting, None);
    });
    let expected = Trial {
        spec_hash: NEW.to_owned(),
        since: at(case.now),
        answered: BTreeSet::from(["time".to_owned()]),
        config_revision: String::new(),
    };
    case.record.trial = None;
    assert_eq!(case.advance().trial, Some(expected.clone()));
    case.record.trial = Some(Trial {
        spec_hash: "another".to_owned(),
        since: at(0),
        answered: BTreeSet::new(),
        config_revision: String::new(),
    });
    assert_eq!(case.advance().trial, Some(expected));
    assert_eq!(case.advance().proven, proven(case.role.clone(), OLD), "the way back stays");
}

#[test]
fn what_failed_stays_failed_until_it_is_asked_for_again() {
    let failed = Failed {
        spec_hash: NEW.to_owned(),
        retry: 0,
        reason: "R".to_owned(),
        message: "m".to_owned(),
        at: at(0),
        answered: BTreeSet::new(),
    };
    let mut case = Case::server().with(|case| case.tells(&["time"]));
    case.record.trial = None;
    case.record.failed = Some(failed.clone());
    assert_eq!(case.advance(), case.record, "whatever answers");
    let again = case.clone().with(|case| {
        case.retry = 1;
        case.observed.containers.clear();
    });
    assert_eq!(again.verdict(), "pending");
    let fails = again.with(|case| case.has_trouble(true, 1)).advance().failed.unwrap();
    assert_eq!((fails.retry, fails.reason.as_str()), (1, "Refused"));
    case.record.failed = Some(Failed { spec_hash: "another".to_owned(), ..failed.clone() });
    assert_eq!(case.verdict(), "proven");
    // Without a way back nothing else could run, so nothing has failed.
    case.record.failed = Some(failed);
    case.usable = false;
    assert_eq!(case.advance().proven.unwrap().container.identity.spec_hash, NEW);
}

#[test]
fn a_revision_that_follows_a_failed_one_at_once_has_a_way_back_too() {
    let mut case = Case::server().with(|case| {
        case.observed.containers.clear();
        case.report("time", ServerPhase::Starting, None);
    });
    case.record.trial = None;
    let begun = |case: &Case| case.advance().trial.unwrap().answered;
    assert_eq!(begun(&case), BTreeSet::from(["time".to_owned()]), "it is being started");
    case.state().servers.clear();
    case.report("time", ServerPhase::Failed, Some(("gone", 0)));
    assert_eq!(begun(&case), BTreeSet::new(), "going back to what does not answer helps nobody");
    case.record.failed = Some(Failed {
        spec_hash: "another".to_owned(),
        retry: 0,
        reason: "R".to_owned(),
        message: "m".to_owned(),
        at: at(0),
        answered: BTreeSet::from(["time".to_owned(), "fetch".to_owned()]),
    });
    let both = BTreeSet::from(["time".to_owned(), "fetch".to_owned()]);
    assert_eq!(begun(&case), both, "it is the failed one of which that is told");
    case.usable = false;
    assert_eq!(case.advance(), Rollout::default(), "without a way back there is no trial");
}

#[test]
fn the_proven_revision_ends_every_trial_and_failure_and_takes_new_limits_over() {
    let mut case = Case::server();
    case.record.proven = proven(case.role.clone(), NEW);
    let expected = Rollout { proven: case.record.proven.clone(), trial: None, failed: None };
    assert_eq!(case.advance(), expected, "even while nothing answers");
    let before = case.record.proven.as_mut().unwrap();
    before.container.spec.limits.memory = 1;
    before.container.identity.generation = 7;
    let after = case.advance().proven.unwrap();
    assert_eq!((after.container, after.peer_uid), (wanted(case.role.clone(), NEW), Some(2)));
    case.record.proven = proven(case.role.clone(), NEW);
    case.record.proven.as_mut().unwrap().container.identity.generation = 7;
    assert_eq!(case.advance().proven, case.record.proven, "a generation alone writes nothing");
}

#[test]
fn without_a_way_back_there_is_no_trial_and_no_failure() {
    let without = |case: Case| case.with(|case| case.record = Rollout::default());
    let refused = Case::server().with(|case| {
        case.observed.containers.clear();
        case.has_trouble(true, 1);
    });
    for case in [without(Case::server()), without(refused), Case::server().with(|case| case.usable = false)] {
        assert_eq!(case.advance(), Rollout::default(), "{case:#?}");
    }
    let answers = without(Case::server().with(|case| case.tells(&["time"])));
    assert_eq!(answers.advance(), Rollout { proven: answers.advance().proven, trial: None, failed: None });
    assert_eq!(answers.advance().proven.unwrap().container, wanted(answers.role.clone(), NEW));
    // The first gateway need not have every server.
    let gateway = without(Case::of(Role::Gateway).with(|case| case.tells(&["time"])));
    assert!(gateway.advance().proven.is_some());
}

#[test]
fn only_failures_tell_the_way_forward_from_the_way_back() {
    let mut rollouts = Rollouts::default();
    rollouts.servers.insert("time".to_owned(), Case::server().record);
    assert_eq!(rollouts.revision(), "", "a trial is the way forward");
    let failed = Failed {
        spec_hash: NEW.to_owned(),
        retry: 0,
        reason: "R".to_owned(),
        message: "m".to_owned(),
        at: at(0),
        answered: BTreeSet::new(),
    };
    rollouts.servers.get_mut("time").unwrap().failed = Some(failed.clone());
    rollouts.gateway.failed = Some(Failed { spec_hash: "gone".to_owned(), ..failed });
    assert_eq!(rollouts.revision(), "gateway=gone,server time=new");
}

#[test]
fn a_record_is_kept_in_the_database_as_it_is() {
    let mut case = Case::server();
    case.record.failed = case
        .clone()
        .with(|case| {
            case.observed.containers.clear();
            case.has_trouble(true, 1);
        })
        .advance()
        .failed;
    let servers = BTreeMap::from([("time".to_owned(), case.record)]);
    let rollouts = Rollouts { gateway: Rollout::default(), servers };
    let json = serde_json::to_string(&rollouts).unwrap();
    assert_eq!(serde_json::from_str::<Rollouts>(&json).unwrap(), rollouts);
    assert_eq!(serde_json::from_str::<Rollouts>("{}").unwrap(), Rollouts::default());
}
