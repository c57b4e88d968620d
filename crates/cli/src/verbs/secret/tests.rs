use std::sync::{Arc, Mutex};

use bowline_api::wire::Outcome;
use serde_json::json;
use uuid::Uuid;

use super::super::testing::{FakeApi, ok, refused};
use super::values::tests::Typed;
use super::*;
use crate::args::Command;
use crate::output::samples;

const CANARY: &str = "canary-5d20";

/// Runs a command line; gives its standard output and how it ended.
async fn run_line(api: &FakeApi, line: &str, input: &mut Typed) -> (String, Result<(), Failure>) {
    let (mut ui, out) = Ui::captured();
    let ended = match api.command(line) {
        Command::Secret(SecretCommand::Set(args)) => set(args, input, &mut ui).await,
        Command::Secret(command) => run(command, &mut ui).await,
        Command::Get(args) => crate::verbs::get::run(args, &mut ui).await,
        Command::Describe(args) => crate::verbs::describe::run(args, &mut ui).await,
        other => panic!("{other:?}"),
    };
    (out.text(), ended)
}

fn applied(outcome: Outcome) -> AppliedObject {
    let key = ObjectKey::secret("u1", "work");
    AppliedObject { key, outcome, generation: 1, resource_version: 3, object: None }
}

#[tokio::test]
async fn what_is_set_is_sent_and_never_said() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    let api = FakeApi::hearing(move |request, body| {
        hears.lock().unwrap().push(format!("{request} {body}"));
        match request {
            "PUT /v1/namespaces/u1/secrets/work/keys?managedBy=cli" => ok(applied(Outcome::Created)),
            other => refused(404, other),
        }
    });
    for line in [
        "bowline secret set -n u1 work pat",
        "bowline secret set u1/work pat",
        "bowline secret set secret/u1/work pat",
    ] {
        let (out, ended) = run_line(&api, line, &mut Typed::terminal(&[CANARY])).await;
        ended.unwrap();
        assert_eq!(out, "secret/u1/work created\n");
    }
    let sent = format!(
        "PUT /v1/namespaces/u1/secrets/work/keys?managedBy=cli {}",
        json!({ "stringData": { "pat": CANARY } })
    );
    assert_eq!(*heard.lock().unwrap(), [sent.clone(), sent.clone(), sent]);
    let (_, ended) =
        run_line(&api, "bowline secret set -n u2 u1/work pat", &mut Typed::terminal(&[CANARY])).await;
    assert!(ended.unwrap_err().to_string().contains("not in the namespace"));
}

#[tokio::test]
async fn keys_are_listed_with_versions_and_users() {
    let mut empty = samples::secret();
    (empty.metadata.name, empty.status) = ("none".to_owned(), Some(json!({ "keys": [] })));
    let list = ObjectList { items: vec![empty, samples::secret()], resource_version: 9 };
    let api = FakeApi::answering(move |request| match request {
        "GET /v1/secrets" => ok(&list),
        "GET /v1/namespaces/u1/secrets/work" => ok(samples::secret()),
        "GET /v1/namespaces/u2/secrets" => ok(ObjectList { items: Vec::new(), resource_version: 9 }),
        other => refused(404, other),
    });
    let mut nobody = Typed::terminal(&[]);
    let (table, ended) = run_line(&api, "bowline secret list -A", &mut nobody).await;
    ended.unwrap();
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAMESPACE", "NAME", "KEY", "VERSION", "AGE", "USED-BY"]);
    assert_eq!((lines[1][1], lines[1][2], lines[1][3], lines[1][5]), ("none", "-", "-", "-"));
    assert_eq!((lines[2][2], lines[2][3], lines[2][5]), ("pat", "3", "gateway/u1/default"));
    assert_eq!((lines[3][2], lines[3][3]), ("token", "1"));
    let (names, _) = run_line(&api, "bowline secret ls -o name", &mut nobody).await;
    assert_eq!(names, "secret/u1/none\nsecret/u1/work\n");
    assert_eq!(run_line(&api, "bowline secret list -n u2", &mut nobody).await.0, "");

    let (table, _) = run_line(&api, "bowline get secrets -o wide", &mut nobody).await;
    assert!(table.contains("pat,token") && table.contains("gateway/u1/default"), "{table}");
    let (yaml, _) = run_line(&api, "bowline get secret work -n u1 -o yaml", &mut nobody).await;
    assert!(yaml.contains("  keys:\n") && !yaml.contains("stringData"), "{yaml}");
    let (text, _) = run_line(&api, "bowline describe secret/u1/work", &mut nobody).await;
    assert!(
        text.contains("Used by:         gateway/u1/default\nKeys:\n  NAME    VERSION   AGE\n  pat     3 "),
        "{text}"
    );
}

#[tokio::test]
async fn a_secret_goes_whole_or_by_its_keys() {
    let api = FakeApi::answering(|request| match request {
        "DELETE /v1/namespaces/u1/secrets/work" => {
            let key = ObjectKey::secret("u1", "work");
            ok(DeleteResponse { key, uid: Uuid::nil(), gone: true, volumes: Vec::new() })
        }
        "DELETE /v1/namespaces/u1/secrets/work/keys/pat?force=true" => ok(applied(Outcome::Configured)),
        "DELETE /v1/namespaces/u1/secrets/work/keys/used" => refused(409, "used by gateway/u1/default"),
        other => refused(404, &format!("{other}: not there")),
    });
    let mut nobody = Typed::terminal(&[]);
    for (line, expected) in [
        ("bowline secret delete u1/work", Ok("secret/u1/work deleted\n")),
        ("bowline secret delete -n u1 work pat --force", Ok("secret/u1/work key pat deleted\n")),
        ("bowline secret delete u1/work typo --ignore-not-found", Ok("")),
        ("bowline secret delete u1/work typo", Err("bowline secret list -n u1")),
        ("bowline secret delete u1/work used", Err("used by gateway/u1/default")),
        ("bowline secret delete u1/other", Err("bowline get secrets -n u1")),
        ("bowline secret delete u1/work a/b", Err("\"a/b\" is no key")),
    ] {
        let (out, ended) = run_line(&api, line, &mut nobody).await;
        match (expected, ended) {
            (Ok(expected), Ok(())) => assert_eq!(out, expected, "{line}"),
            (Err(expected), Err(failure)) => {
                assert!(failure.to_string().contains(expected), "{line}: {failure}");
                assert_eq!(failure.exit_code(), 1, "{line}");
            }
            (expected, ended) => panic!("{line}: {expected:?} {ended:?}"),
        }
    }
}
