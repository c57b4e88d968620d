//! What a status says of secrets.

use uuid::Uuid;

use super::*;
use crate::secret::{KeyFacts, SecretFacts, Unusable};
use crate::status::ConditionType::SecretsResolved;

/// A gateway that wants the server `github`, too, and looks for secrets in `work`.
fn bench() -> Bench {
    let mut bench = Bench::new();
    let mut github = bench.declared.spec.servers[0].clone();
    github.name = "github".to_owned();
    bench.declared.spec.servers.push(github);
    bench.declared.spec.secret_refs = vec![crate::resource::SecretRef { name: "work".to_owned() }];
    crate::testing::lease(&mut bench.declared);
    bench.world.add_images(&bench.declared);
    bench
}

fn give(bench: &mut Bench, unusable: Option<Unusable>) {
    let keys = [("github.token".to_owned(), KeyFacts { version: 1, unusable })].into();
    bench.declared.secrets.insert("work".to_owned(), SecretFacts { uid: Uuid::from_u128(9), keys });
}

fn make(bench: &mut Bench) {
    bench.world.reconcile(&bench.declared);
    bench.answer(&[
        ("time", ServerPhase::Running),
        ("fetch", ServerPhase::Running),
        ("github", ServerPhase::Running),
    ]);
}

#[test]
fn a_gateway_whose_servers_declare_no_secret_says_so() {
    let bench = Bench::new();
    expect(&bench.status(), &[(SecretsResolved, True, "NoSecrets")]);
}

#[test]
fn a_missing_secret_is_pending_and_named_with_the_command_that_helps() {
    let mut bench = bench();
    make(&mut bench);
    let status = bench.status();
    expect(&status, &[(SecretsResolved, False, "SecretMissing"), (Available, True, "Answering")]);
    let server = &status.servers[2];
    assert_eq!((server.state, server.reason.as_deref()), (ServerState::Pending, Some("SecretMissing")));
    let says = server.last_error.as_deref().unwrap();
    assert!(says.contains("`bowline secret set -n u1 work github.token`"), "{says}");
    assert!(status.condition(SecretsResolved).unwrap().message.contains("server github: the Secret `work`"));
    expect(&status, &[(Ready, False, "SecretMissing"), (Accepted, True, "Accepted")]);
    assert_eq!(status.servers[0].state, ServerState::Running);
}

#[test]
fn a_server_that_has_its_secrets_says_nothing_of_them() {
    let mut bench = bench();
    give(&mut bench, None);
    make(&mut bench);
    let status = bench.status();
    expect(&status, &[(SecretsResolved, True, "Resolved"), (Ready, True, "ServersAnswer")]);
}

#[test]
fn a_value_that_cannot_be_delivered_is_a_failure_with_its_own_reason() {
    let why = [
        (Unusable::LineBreak, "SecretUnusable"),
        (Unusable::Unreadable("no key 0123".to_owned()), "SecretUnreadable"),
    ];
    for (unusable, reason) in why {
        let mut bench = bench();
        give(&mut bench, Some(unusable));
        make(&mut bench);
        let status = bench.status();
        let conditions = status.condition(SecretsResolved).unwrap();
        assert_eq!((conditions.status, conditions.reason.as_str()), (False, reason));
        assert_eq!(
            (status.servers[2].state, status.servers[2].reason.as_deref()),
            (ServerState::Failed, Some(reason))
        );
    }
}
