use chrono::Utc;

use super::*;
use crate::gateway_file::{GatewayState, ServerError, ServerExit};
use crate::observed::Probe;
use crate::testing::{World, at, declare, settings};

mod replacement;
mod secrets;

const GATEWAY: &str = "
apiVersion: bowline.dev/v1alpha1
kind: ClusterCatalog
metadata: { name: base }
spec:
  registry:
    time: { title: Time, type: server, image: 'mcp/time:1', disableNetwork: true }
    fetch: { title: Fetch, type: server, image: 'mcp/fetch:1', allowHosts: ['example.com:443'] }
    github: { title: GitHub, type: server, image: 'mcp/github:1', secrets: [{ name: github.token, env: TOKEN }] }
    own-user: { title: Own user, type: server, image: 'mcp/own-user:1', user: '0' }
---
apiVersion: bowline.dev/v1alpha1
kind: Gateway
metadata: { namespace: u1, name: default }
spec: { catalogs: [base], servers: [time, fetch] }
";

/// A gateway and everything that goes into its status.
struct Bench {
    declared: Declared,
    world: World,
    failures: Failures,
    previous: Option<GatewayStatus>,
}

impl Bench {
    /// Nothing made yet.
    fn new() -> Self {
        let declared = declare(GATEWAY);
        let world = World::with_images(&declared);
        Bench { declared, world, failures: Failures::new(), previous: None }
    }

    /// Everything made, and the gateway answers for these servers.
    fn running(phases: &[(&str, ServerPhase)]) -> Self {
        let mut bench = Bench::new();
        bench.world.reconcile(&bench.declared);
        bench.answer(phases);
        bench
    }

    fn answer(&mut self, phases: &[(&str, ServerPhase)]) {
        let servers = phases
            .iter()
            .map(|(name, phase)| ServerReport {
                name: (*name).to_owned(),
                phase: *phase,
                tools: 2,
                tools_digest: None,
                server_info: None,
                restarts: 0,
                last_error: (*phase == ServerPhase::Failed).then(|| ServerError {
                    message: "the process ended".to_owned(),
                    exit: Some(ServerExit { code: Some(3), signal: None, stderr: vec!["no key".to_owned()] }),
                    at: at(0),
                }),
            })
            .collect();
        let state = GatewayState {
            version: "1".to_owned(),
            config_revision: self.world.desire(&self.declared).config_revision,
            tokens_revision: 7,
            servers,
        };
        self.world.observed.probe = Some(Probe { healthy: true, misses: 0, state: Some(state) });
    }

    fn status(&self) -> GatewayStatus {
        self.status_at(at(0))
    }

    fn status_at(&self, now: DateTime<Utc>) -> GatewayStatus {
        let desired = self.world.desire(&self.declared);
        let facts = Facts {
            declared: &self.declared,
            desired: &desired,
            observed: &self.world.observed,
            plan: &self.world.plan(&self.declared),
            failures: &self.failures,
            previous: self.previous.as_ref(),
            settings: &settings(),
        };
        status(&facts, now)
    }
}

fn condition_of(status: &GatewayStatus, condition: ConditionType) -> (ConditionStatus, String) {
    let found = status.condition(condition).unwrap();
    (found.status, found.reason.clone())
}

use ConditionStatus::{False, True, Unknown};
use ConditionType::{Accepted, Available, EgressEnforced, ImagesReady, Progressing, Ready};

fn expect(status: &GatewayStatus, expected: &[(ConditionType, ConditionStatus, &str)]) {
    for (condition, is, reason) in expected {
        assert_eq!(condition_of(status, *condition), (*is, (*reason).to_owned()), "{condition:?}");
    }
}

#[test]
fn every_condition_is_reported_once_and_in_order() {
    let types: Vec<_> = Bench::new().status().conditions.iter().map(|c| c.condition_type).collect();
    assert_eq!(types, ConditionType::ALL);
}

#[test]
fn a_gateway_whose_servers_all_answer_is_ready() {
    let bench = Bench::running(&[("time", ServerPhase::Running), ("fetch", ServerPhase::Running)]);
    let status = bench.status();
    expect(
        &status,
        &[
            (Accepted, True, "Accepted"),
            (ImagesReady, True, "Present"),
            (Available, True, "Answering"),
            (Ready, True, "ServersAnswer"),
            (EgressEnforced, False, "NotEnforced"),
        ],
    );
    assert_eq!((status.ready_count(), status.summary().as_str()), ((2, 2), "Ready"));
    assert_eq!(status.endpoint.unwrap().url, "http://127.0.0.1:20000/mcp");
    assert_eq!(status.tokens_revision, 7);
}

#[test]
fn what_was_told_of_a_container_that_is_being_replaced_counts_no_more() {
    let mut bench = Bench::running(&[("time", ServerPhase::Running), ("fetch", ServerPhase::Running)]);
    let (time, gateway) = ("mcp-server-u1.default.time", "mcp-gateway-u1");
    bench.world.container(time).identity.spec_hash = "older".to_owned();
    let status = bench.status();
    expect(&status, &[(Available, True, "Answering"), (Ready, False, "ServersStarting")]);
    assert_eq!(status.ready_count(), (1, 2));
    bench.world.container(gateway).identity.spec_hash = "older".to_owned();
    expect(&bench.status(), &[(Available, Unknown, "NotProbedYet"), (Ready, Unknown, "NotProbedYet")]);
}

#[test]
fn a_gateway_that_has_not_read_its_configuration_is_available_and_not_ready() {
    let mut bench = Bench::running(&[("time", ServerPhase::Running), ("fetch", ServerPhase::Running)]);
    let state = bench.world.observed.probe.as_mut().and_then(|probe| probe.state.as_mut()).unwrap();
    state.config_revision = "older".to_owned();
    expect(&bench.status(), &[(Available, True, "Answering"), (Ready, False, "Reloading")]);
}

#[test]
fn what_is_not_known_yet_is_unknown_and_never_false() {
    let mut bench = Bench::running(&[]);
    bench.world.observed.probe = None;
    expect(&bench.status(), &[(Available, Unknown, "NotProbedYet"), (Ready, Unknown, "NotProbedYet")]);
}

#[test]
fn a_server_that_failed_makes_ready_false_and_never_available() {
    let bench = Bench::running(&[("time", ServerPhase::Running), ("fetch", ServerPhase::Failed)]);
    let status = bench.status();
    expect(&status, &[(Available, True, "Answering"), (Ready, False, "ServersFailed")]);
    assert_eq!(status.ready_count(), (1, 2));
    let error = status.servers[1].last_error.clone().unwrap();
    assert_eq!(error, "the process ended (exit code 3)\nno key");
}

#[test]
fn a_missing_image_is_its_servers_state_with_the_reason() {
    let mut bench = Bench::running(&[("time", ServerPhase::Running)]);
    bench.world.observed.containers.retain(|c| !c.name.ends_with("fetch"));
    let failed = ImageState::Failed { message: "manifest unknown".to_owned(), at: at(0), failures: 1 };
    bench.world.observed.images.insert("mcp/fetch:1".to_owned(), failed);
    let status = bench.status();
    expect(&status, &[(ImagesReady, False, "ImageMissing"), (Available, True, "Answering")]);
    assert_eq!(
        (status.servers[1].state, status.servers[1].reason.as_deref()),
        (ServerState::Failed, Some("ImageMissing"))
    );
    assert!(status.servers[1].last_error.as_ref().unwrap().contains("manifest unknown"));
}

#[test]
fn an_entry_that_needs_what_does_not_exist_yet_fails_naming_the_field() {
    let mut bench = Bench::running(&[("time", ServerPhase::Running), ("fetch", ServerPhase::Running)]);
    bench.declared.spec.servers[1].name = "own-user".to_owned();
    let server = &bench.status().servers[1];
    assert_eq!((server.state, server.reason.as_deref()), (ServerState::Failed, Some("Unsupported")));
    assert!(server.last_error.as_ref().unwrap().contains("user"));
}

#[test]
fn an_unknown_server_is_not_accepted_while_the_others_go_on() {
    let mut bench = Bench::running(&[("time", ServerPhase::Running)]);
    bench.declared.spec.servers[1].name = "nobody".to_owned();
    let status = bench.status();
    expect(&status, &[(Accepted, False, "UnknownServer"), (Available, True, "Answering")]);
    assert_eq!(status.servers[0].state, ServerState::Running);
    assert_eq!(status.summary(), "UnknownServer");
}

#[test]
fn an_exhausted_range_is_said_with_what_to_do() {
    let mut bench = Bench::new();
    let slot = LeaseSlot::new(LeaseKind::Port, Holder::Gateway);
    bench.declared.leases.remove(&slot);
    bench.declared.lease_problems.insert(slot, "widen it with --port-range".to_owned());
    let status = bench.status();
    expect(&status, &[(Accepted, False, "LeaseExhausted"), (Available, False, "GatewayNotRunning")]);
    assert!(status.condition(Accepted).unwrap().message.contains("--port-range"));
    assert_eq!((status.endpoint, status.conditions.len()), (None, 7));
}

#[test]
fn a_suspended_gateway_says_so_and_a_gateway_without_servers_is_ready() {
    let mut bench = Bench::running(&[]);
    bench.declared.spec.servers.clear();
    bench.answer(&[]);
    expect(&bench.status(), &[(Ready, True, "NoServers")]);
    bench.declared.spec.suspend = Some(true);
    expect(&bench.status(), &[(Available, False, "Suspended"), (Ready, False, "Suspended")]);
}

#[test]
fn an_endpoint_that_answered_counts_as_away_after_three_misses() {
    let mut bench = Bench::running(&[("time", ServerPhase::Running), ("fetch", ServerPhase::Running)]);
    bench.previous = Some(bench.status());
    for (misses, expected) in [(1, True), (2, True), (3, False)] {
        let probe = bench.world.observed.probe.as_mut().unwrap();
        (probe.healthy, probe.misses) = (false, misses);
        assert_eq!(condition_of(&bench.status(), Available).0, expected, "after {misses}");
    }
}

#[test]
fn a_failed_step_is_told_with_its_unit_and_fails_its_server_only() {
    let mut bench = Bench::running(&[("time", ServerPhase::Running), ("fetch", ServerPhase::Running)]);
    bench.failures.insert(Unit::Server("fetch".to_owned()), "bad mount".to_owned());
    let status = bench.status();
    expect(&status, &[(Progressing, True, "BackOff"), (Ready, False, "ServersFailed")]);
    assert_eq!(status.condition(Progressing).unwrap().message, "server fetch: bad mount");
    assert_eq!(status.servers[0].state, ServerState::Running);
}

#[test]
fn a_transition_time_moves_only_with_the_status() {
    let mut bench = Bench::running(&[("time", ServerPhase::Running), ("fetch", ServerPhase::Running)]);
    bench.previous = Some(bench.status_at(at(0)));
    let later = bench.status_at(at(100));
    assert!(later.conditions.iter().all(|condition| condition.last_transition_time == at(0)));
    bench.answer(&[("time", ServerPhase::Running), ("fetch", ServerPhase::Failed)]);
    let failed = bench.status_at(at(200));
    assert_eq!(failed.condition(Ready).unwrap().last_transition_time, at(200));
    assert_eq!(failed.condition(Available).unwrap().last_transition_time, at(0));
}

#[test]
fn while_the_engine_is_away_nothing_is_known_and_the_rest_is_kept() {
    let bench = Bench::running(&[("time", ServerPhase::Running), ("fetch", ServerPhase::Running)]);
    let before = bench.status();
    let away = ended_early(1, 3, &Early::EngineAway, Some(&before), at(10));
    expect(&away, &[(Available, Unknown, "EngineUnavailable"), (Ready, Unknown, "EngineUnavailable")]);
    expect(&away, &[(Accepted, True, "Accepted")]);
    assert_eq!(away.observed_requests, 3, "whoever asked for something learns that it was heard");
    assert_eq!((&away.servers, &away.endpoint), (&before.servers, &before.endpoint));
    assert_eq!(ended_early(1, 3, &Early::EngineAway, Some(&away), at(20)), away, "said once");
    let refused = Early::Refused("FloorViolation", "refused by the floor".to_owned());
    let status = ended_early(2, 3, &refused, Some(&before), at(10));
    expect(&status, &[(Accepted, False, "FloorViolation"), (Ready, True, "ServersAnswer")]);
    assert_eq!(status.summary(), "Ready");
}

#[test]
fn a_gateway_that_is_being_deleted_lists_what_remains() {
    let bench = Bench::running(&[]);
    let status = terminating(2, 4, &bench.world.observed, &Failures::new(), None, at(0));
    assert_eq!(status.remaining.len(), 3 + 1 + 1);
    assert!(status.remaining.contains(&"container mcp-gateway-u1".to_owned()));
    assert_eq!((status.observed_generation, status.observed_requests), (2, 4));
    expect(&status, &[(Ready, False, "Terminating")]);
}
