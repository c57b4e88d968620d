use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bowline_core::object::GatewayKey;
use chrono::TimeDelta;

use super::super::testing::{FakeApi, ok, refused};
use super::*;
use crate::args::Command;

fn item(used: bool, removing: bool) -> VolumeItem {
    let now = Utc::now();
    VolumeItem {
        namespace: "u1".to_owned(),
        server: "SQLite".to_owned(),
        name: "data".to_owned(),
        host: "h1".to_owned(),
        engine_name: Some("mcp-vol-u1.sqlite.data.1".to_owned()),
        used_by: used.then(|| GatewayKey::new("u1", "default")),
        created_at: now - TimeDelta::hours(2),
        removal_asked_at: removing.then_some(now),
        removal_problem: None,
    }
}

async fn run_line(api: &FakeApi, line: &str) -> (String, Result<(), Failure>) {
    let (mut ui, out) = Ui::captured();
    let ended = match api.command(line) {
        Command::Get(args) => crate::verbs::get::run(args, &mut ui).await,
        Command::Volume(command) => run(command, &mut ui).await,
        other => panic!("{other:?}"),
    };
    (out.text(), ended)
}

#[tokio::test]
async fn volumes_are_listed_with_their_user() {
    let api = FakeApi::answering(|request| match request {
        "GET /v1/volumes" => ok(VolumeList { items: vec![item(true, false)] }),
        "GET /v1/namespaces/u2/volumes" => ok(VolumeList { items: Vec::new() }),
        other => refused(404, other),
    });
    let (table, ended) = run_line(&api, "bowline get volumes -A").await;
    ended.unwrap();
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAMESPACE", "VOLUME", "STATUS", "USED-BY", "AGE"]);
    assert_eq!(lines[1], ["u1", "SQLite/data", "InUse", "gateway/u1/default", "120m"]);
    let (names, ended) = run_line(&api, "bowline get volumes -o name").await;
    ended.unwrap();
    assert_eq!(names, "u1/SQLite/data\n");
    let (_, missing) = run_line(&api, "bowline get volumes SQLite/typo").await;
    assert!(missing.unwrap_err().to_string().contains("SQLite/typo"));
    assert_eq!(run_line(&api, "bowline get volumes -n u2").await.0, "");
}

#[tokio::test]
async fn a_removal_ends_when_the_volume_is_listed_no_more() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let api = FakeApi::answering(move |request| match request {
        "DELETE /v1/namespaces/u1/volumes/SQLite/data" => ok(VolumeList { items: vec![item(false, true)] }),
        "GET /v1/namespaces/u1/volumes" => match counted.fetch_add(1, Ordering::SeqCst) {
            0 => ok(VolumeList { items: vec![item(false, true)] }),
            // One of the same name that was made since is another one.
            _ => ok(VolumeList { items: vec![item(true, false)] }),
        },
        other => refused(404, other),
    });
    let (out, ended) = run_line(&api, "bowline volume rm -n u1 SQLite/data").await;
    ended.unwrap();
    assert_eq!(out, "volume u1/SQLite/data removed\n");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn every_volume_is_told_of_whatever_becomes_of_the_others() {
    let answer = |request: &str| match request {
        "DELETE /v1/namespaces/u1/volumes/SQLite/used" => refused(409, "SQLite/used is used"),
        "DELETE /v1/namespaces/u1/volumes/SQLite/typo" => refused(404, "there is no SQLite/typo"),
        "DELETE /v1/namespaces/u1/volumes/SQLite/broken" => refused(503, "the database is away"),
        "DELETE /v1/namespaces/u1/volumes/SQLite/data" => ok(VolumeList { items: vec![item(false, true)] }),
        "GET /v1/namespaces/u1/volumes" => ok(VolumeList { items: Vec::new() }),
        other => refused(404, other),
    };
    let api = FakeApi::answering(answer);
    let (out, ended) = run_line(&api, "bowline volume rm -n u1 SQLite/used SQLite/data SQLite/typo").await;
    assert_eq!(out, "volume u1/SQLite/data removed\n");
    let failure = ended.unwrap_err();
    assert_eq!(failure.exit_code(), 1);
    let text = failure.to_string();
    assert!(text.contains("SQLite/used is used\n  there is no SQLite/typo"), "{text}");

    let (out, ended) = run_line(&api, "bowline volume rm -n u1 SQLite/data SQLite/broken SQLite/used").await;
    assert_eq!(out, "volume u1/SQLite/data removing\n", "what was asked for before goes on");
    assert_eq!(ended.unwrap_err().exit_code(), 2);
}

#[tokio::test]
async fn a_volume_in_use_is_the_users_matter() {
    let api = FakeApi::answering(|_| refused(409, "the volume SQLite/data is used by gateway/u1/default"));
    let (out, ended) = run_line(&api, "bowline volume rm -n u1 SQLite/data").await;
    assert_eq!(out, "");
    let failure = ended.unwrap_err();
    assert_eq!(failure.exit_code(), 1);
    assert!(failure.to_string().contains("gateway/u1/default"), "{failure}");
}
