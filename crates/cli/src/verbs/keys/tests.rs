use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::TimeDelta;

use super::super::testing::{FakeApi, ok, refused};
use super::*;
use crate::args::Command;

fn key(id: &str, newest: bool, retired: bool, values: i64) -> SealingKeyItem {
    let now = Utc::now();
    SealingKeyItem {
        id: id.to_owned(),
        newest,
        on_disk: !retired,
        values,
        created_at: now - TimeDelta::hours(2),
        retired_at: retired.then_some(now),
    }
}

fn keys(asked: bool, problem: Option<&str>, items: Vec<SealingKeyItem>) -> KeysStatus {
    let remaining = items.iter().filter(|key| !key.newest).map(|key| key.values).sum();
    KeysStatus { items, asked_at: asked.then(Utc::now), problem: problem.map(str::to_owned), remaining }
}

async fn run_line(api: &FakeApi, line: &str) -> (String, Result<(), Failure>) {
    let (mut ui, out) = Ui::captured();
    let Command::Keys(command) = api.command(line) else { panic!("{line}") };
    let ended = run(command, &mut ui).await;
    (out.text(), ended)
}

#[tokio::test]
async fn the_keys_are_shown_with_what_is_sealed_for_each() {
    let api = FakeApi::answering(|request| match request {
        "GET /v1/keys" => {
            let items =
                vec![key("aa", true, false, 3), key("bb", false, false, 2), key("cc", false, true, 0)];
            ok(keys(false, None, items))
        }
        other => refused(404, other),
    });
    let (table, ended) = run_line(&api, "bowline keys status").await;
    ended.unwrap();
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["KEY", "STATUS", "VALUES", "ON-DISK", "AGE"]);
    assert_eq!(lines[1], ["aa", "Newest", "3", "yes", "120m"]);
    assert_eq!(lines[2], ["bb", "InUse", "2", "yes", "120m"]);
    assert_eq!(lines[3], ["cc", "Retired", "0", "no", "120m"]);
    let (json, ended) = run_line(&api, "bowline keys status -o json").await;
    ended.unwrap();
    assert_eq!(serde_json::from_str::<KeysStatus>(&json).unwrap().remaining, 2);
}

#[tokio::test]
async fn a_rotation_ends_when_every_older_key_is_retired() {
    let asked = AtomicUsize::new(0);
    let api = FakeApi::answering(move |request| {
        let old = |values| key("old", false, values == 0, values);
        let stages = [
            keys(true, None, vec![key("old", true, false, 2)]),
            keys(false, None, vec![key("new", true, false, 1), old(1)]),
            keys(false, None, vec![key("new", true, false, 2), old(0)]),
        ];
        match (request, asked.fetch_add(1, Ordering::Relaxed)) {
            ("POST /v1/keys/rotate", 0) => ok(stages[0].clone()),
            ("GET /v1/keys", at) => ok(stages[at.min(2)].clone()),
            (other, _) => refused(404, other),
        }
    });
    let (text, ended) = run_line(&api, "bowline keys rotate").await;
    ended.unwrap();
    assert_eq!(text, "key new seals now; older ones are retired\n");
}

#[tokio::test]
async fn a_rotation_that_cannot_go_on_says_why() {
    for (asked, expected, code) in
        [(true, "there is no new key: the disk is full", 2), (false, "1 value is still", 1)]
    {
        let api = FakeApi::answering(move |_| {
            let items = vec![key("new", true, false, 1), key("old", false, false, 1)];
            ok(keys(asked, Some("the disk is full"), items))
        });
        let (_, ended) = run_line(&api, "bowline keys rotate").await;
        let failure = ended.unwrap_err();
        assert!(failure.to_string().contains(expected), "{failure}");
        assert_eq!(failure.exit_code(), code);
    }
    let api = FakeApi::answering(|_| ok(keys(true, None, vec![key("old", true, false, 1)])));
    let (_, ended) = run_line(&api, "bowline keys rotate --timeout 0s").await;
    assert!(ended.unwrap_err().to_string().contains("goes on in the server"));
}

#[test]
fn a_key_is_made_without_a_server_and_its_text_is_not_shown() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("keys");
    let words = ["bowline", "keys", "generate", "--keys-dir", dir.to_str().unwrap()];
    let Command::Keys(KeysCommand::Generate(args)) = crate::args::tests::parse(&words).unwrap() else {
        panic!()
    };
    let (mut ui, out) = Ui::captured();
    generate(args, &mut ui).unwrap();
    let file = std::fs::read_dir(&dir).unwrap().next().unwrap().unwrap().path();
    let id = file.file_stem().unwrap().to_str().unwrap();
    assert_eq!(out.text(), format!("key {id} made: {}\n", file.display()));
}
