use bowline_core::object::ObjectKey;
use uuid::Uuid;

use super::super::testing::{Answer, FakeApi, nothing_to_watch, ok, refused};
use super::*;
use crate::args::Command;

/// `a` goes at once, `c` in a while, everything else does not exist.
fn answer(request: &str) -> Answer {
    let deleted = |namespace: &str, gone| {
        ok(DeleteResponse {
            key: ObjectKey::gateway(namespace, "default"),
            uid: Uuid::nil(),
            gone,
            volumes: Vec::new(),
        })
    };
    match request {
        "DELETE /v1/namespaces/a/gateways/default" => deleted("a", true),
        "DELETE /v1/namespaces/c/gateways/default" => deleted("c", false),
        "DELETE /v1/namespaces/broken/gateways/default" => refused(503, "the database is away"),
        watch if watch.starts_with("GET /v1/watch") => nothing_to_watch(),
        other => refused(404, &format!("{other}: not there")),
    }
}

/// Runs a command line; gives its standard output and its failure.
async fn delete(line: &str) -> (String, Result<(), Failure>) {
    let api = FakeApi::answering(answer);
    let Command::Delete(args) = api.command(line) else { panic!("not delete") };
    let (mut ui, out) = Ui::captured();
    let ended = run(args, &mut ui).await;
    (out.text(), ended)
}

#[tokio::test]
async fn what_does_not_exist_keeps_nothing_else_and_is_named_at_the_end() {
    let (out, ended) = delete(
        "bowline delete gateway/a/default gateway/typo/default gateway/wrong/default gateway/c/default",
    )
    .await;
    assert_eq!(out, "gateway/a/default deleted\ngateway/c/default deleted\n");
    let failure = ended.unwrap_err();
    assert_eq!(failure.exit_code(), 1);
    let text = failure.to_string();
    assert!(text.contains("gateway/typo/default\n  gateway/wrong/default"), "{text}");
    assert!(!text.contains("gateway/a/") && !text.contains("gateway/c/"), "{text}");
}

#[tokio::test]
async fn one_that_does_not_exist_is_told_as_the_api_says_it() {
    let (out, ended) = delete("bowline delete gateway/typo/default gateway/a/default").await;
    assert_eq!(out, "gateway/a/default deleted\n");
    let text = ended.unwrap_err().to_string();
    assert!(text.contains("not there") && text.contains("bowline get gateways -n typo"), "{text}");
}

#[tokio::test]
async fn what_does_not_exist_can_be_no_error() {
    let (out, ended) =
        delete("bowline delete gateway/typo/default gateway/a/default --ignore-not-found").await;
    assert_eq!((out.as_str(), ended), ("gateway/a/default deleted\n", Ok(())));
}

#[tokio::test]
async fn every_other_refusal_ends_it() {
    let (out, ended) = delete("bowline delete gateway/broken/default gateway/a/default").await;
    assert_eq!(out, "");
    assert!(ended.unwrap_err().to_string().contains("the database is away"));
}
