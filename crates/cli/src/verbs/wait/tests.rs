use serde_json::{Value, json};

use super::super::testing::{FakeApi, ok};
use super::*;
use crate::args::Command;
use crate::output::samples::{condition, gateway, status};

fn verdict(conditions: &[Value], change: impl FnOnce(&mut Object)) -> Verdict {
    let mut object = gateway("u1", status(conditions));
    change(&mut object);
    judge(&object, ConditionType::Ready)
}

#[test]
fn a_condition_holds_for_the_current_generation_only() {
    let ready = [condition("Ready", "True", "ServersAnswer", "")];
    assert_eq!(verdict(&ready, |_| {}), Verdict::Holds);
    let older = verdict(&ready, |object| object.metadata.generation = 5);
    assert_eq!(older, Verdict::NotYet("generation 5 has not been looked at yet".to_owned()));
}

#[test]
fn what_may_still_come_is_waited_for() {
    let starting = [condition("Ready", "False", "ServersStarting", "0/1 servers")];
    let says = "Ready=False (ServersStarting): 0/1 servers".to_owned();
    assert_eq!(verdict(&starting, |_| {}), Verdict::NotYet(says));
    assert!(matches!(verdict(&[], |_| {}), Verdict::NotYet(_)));
    // A server that crashes is started again; an image may arrive.
    let crashed = verdict(&starting, |object| set_reason(object, "CrashLoop"));
    assert!(matches!(crashed, Verdict::NotYet(_)), "{crashed:?}");
}

#[test]
fn what_cannot_come_fails_at_once_with_the_reason() {
    let starting = [condition("Ready", "False", "ServersStarting", "0/1 servers")];
    for reason in INCURABLE {
        let never = verdict(&starting, |object| set_reason(object, reason));
        assert!(matches!(&never, Verdict::Never(why) if why.contains(reason)), "{never:?}");
    }
    let exhausted = [
        condition("Accepted", "False", "LeaseExhausted", "no port is free in 20000-20002"),
        condition("Ready", "False", "GatewayNotRunning", ""),
    ];
    let says = "Accepted=False (LeaseExhausted): no port is free in 20000-20002".to_owned();
    assert_eq!(verdict(&exhausted, |_| {}), Verdict::Never(says));
    let suspended = [condition("Ready", "False", "Suspended", "")];
    assert_eq!(verdict(&suspended, |_| {}), Verdict::Never("it is suspended".to_owned()));
    let ready = [condition("Ready", "True", "ServersAnswer", "")];
    let deleted = verdict(&ready, |object| object.metadata.deletion_timestamp = Some(chrono::Utc::now()));
    assert_eq!(deleted, Verdict::Never("it is being deleted".to_owned()));
}

fn set_reason(object: &mut Object, reason: &str) {
    let status = object.status.as_mut().unwrap();
    status["servers"][1]["reason"] = json!(reason);
}

/// Runs a command line where nothing is.
async fn wait_in_emptiness(line: &str) -> Result<(), Failure> {
    let api = FakeApi::answering(|request| {
        assert_eq!(request, "GET /v1/namespaces/typo/gateways");
        ok(json!({ "items": [], "resourceVersion": 1 }))
    });
    let Command::Wait(args) = api.command(line) else { panic!("not wait") };
    let (mut ui, _out) = Ui::captured();
    run(args, &mut ui).await
}

#[tokio::test]
async fn nothing_never_comes_to_meet_a_condition_but_is_gone() {
    let failure = wait_in_emptiness("bowline wait gateways -n typo --for=condition=Ready").await.unwrap_err();
    assert!(failure.to_string().contains("no matching resources found"), "{failure}");
    assert_eq!(failure.exit_code(), 1);
    assert_eq!(wait_in_emptiness("bowline wait gateways -n typo --for=delete").await, Ok(()));
}
