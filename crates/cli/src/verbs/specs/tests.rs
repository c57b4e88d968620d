use bowline_api::wire::{HeldObject, SpecDirectoryStatus, SpecState};
use bowline_core::object::ObjectKey;
use chrono::TimeDelta;
use serde_json::json;

use super::super::testing::FakeApi;
use super::*;
use crate::args::Command;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn file(name: &str, state: SpecState, message: &str) -> SpecFile {
    SpecFile {
        file: name.to_owned(),
        state,
        message: message.to_owned(),
        diagnostics: Vec::new(),
        objects: vec![ObjectKey::gateway("u1", "default")],
        changed_at: now() - TimeDelta::minutes(5),
    }
}

fn list() -> SpecList {
    let wrong = file("team/u2.yaml", SpecState::Invalid, "line 3: unknown field\n`severs`");
    SpecList {
        directory: Some(SpecDirectoryStatus { path: "/specs".to_owned(), error: None }),
        items: vec![SpecFile { objects: Vec::new(), ..wrong }, file("u1.yaml", SpecState::Applied, "")],
        held: None,
    }
}

#[test]
fn each_file_is_a_line_with_what_to_know_of_it() {
    assert_eq!(
        text(&list(), Format::Table, now()).unwrap(),
        "\
FILE           STATUS    OBJECTS   AGE   MESSAGE
team/u2.yaml   Invalid   0         5m    line 3: unknown field `severs`
u1.yaml        Applied   1         5m
"
    );
    assert!(text(&list(), Format::Wide, now()).unwrap().contains("gateway/u1/default"));
    assert_eq!(text(&list(), Format::Name, now()).unwrap(), "team/u2.yaml\nu1.yaml\n");
    let read: SpecList = serde_json::from_str(&text(&list(), Format::Json, now()).unwrap()).unwrap();
    assert_eq!(read, list());
}

#[test]
fn the_state_of_the_directory_and_held_removals_are_remarked() {
    assert_eq!(remarks(&list()), Vec::<String>::new());
    let unfollowed = SpecList { directory: None, ..list() };
    assert!(remarks(&unfollowed)[0].contains("--spec-dir"));
    let error = Some("/specs cannot be read: gone".to_owned());
    let held = HeldRemovals {
        id: "ab".to_owned(),
        since: now(),
        objects: vec![HeldObject { key: ObjectKey::gateway("u1", "default"), file: "u1.yaml".to_owned() }],
    };
    let directory = Some(SpecDirectoryStatus { path: "/specs".to_owned(), error });
    let said = remarks(&SpecList { directory, held: Some(held), ..list() });
    assert!(
        said[0].contains("/specs cannot be read") && said[1].contains("bowline specs confirm"),
        "{said:?}"
    );
}

#[tokio::test]
async fn a_removal_is_not_confirmed_without_a_yes_and_says_what_it_would_remove() {
    let held = json!({ "id": "ab", "since": now(), "objects": [
        { "key": { "kind": "Gateway", "namespace": "u1", "name": "default" }, "file": "u1.yaml" }
    ] });
    let api = FakeApi::answering(move |request| match request {
        "GET /v1/specs" => (200, json!({ "items": [], "held": held })),
        "POST /v1/specs/confirm" => {
            (200, json!({ "objects": [{ "kind": "Gateway", "namespace": "u1", "name": "default" }] }))
        }
        other => panic!("{other}"),
    });
    let Command::Specs(args) = api.command("bowline specs confirm") else { panic!() };
    let (mut ui, printed) = Ui::captured();
    let refused = run(args, &mut ui).await.unwrap_err().to_string();
    for words in ["gateway/u1/default", "u1.yaml", "--yes"] {
        assert!(refused.contains(words), "{refused}");
    }
    let Command::Specs(args) = api.command("bowline specs confirm --yes") else { panic!() };
    run(args, &mut ui).await.unwrap();
    assert_eq!(printed.text(), "gateway/u1/default removal confirmed\n");
}
