use serde_json::{Value, json};

use super::super::testing::{Answer, FakeApi, ok, refused};
use super::*;
use crate::args::Command;

fn event(namespace: &str, kind: &str, reason: &str, count: i32) -> Value {
    json!({
        "object": { "kind": "Gateway", "namespace": namespace, "name": "default" },
        "uid": format!("01933333-3333-7333-8333-3333333333{}", if namespace == "u1" { "01" } else { "02" }),
        "type": kind, "reason": reason, "message": "it fell\nand rose", "count": count,
        "firstTimestamp": "2026-03-01T11:50:00Z", "lastTimestamp": "2026-03-01T11:59:30Z",
    })
}

fn answer(request: &str) -> Answer {
    let list = |items: &[Value]| ok(json!({ "items": items, "truncated": false }));
    match request {
        "GET /v1/events" => {
            list(&[event("u1", "Normal", "Created", 1), event("u2", "Warning", "BackOff", 4)])
        }
        "GET /v1/events?kind=gateway&namespace=u1&name=default" => {
            list(&[event("u1", "Normal", "Created", 1)])
        }
        "GET /v1/events?namespace=empty" => list(&[]),
        other => refused(404, &format!("{other}: not there")),
    }
}

async fn events(line: &str) -> (String, Result<(), Failure>) {
    let api = FakeApi::answering(answer);
    let Command::Events(args) = api.command(line) else { panic!("not events") };
    let (mut ui, out) = Ui::captured();
    let ended = run(args, &mut ui).await;
    (out.text(), ended)
}

#[test]
fn the_table_is_as_kubectl_prints_it() {
    let events: Vec<ObjectEvent> =
        [event("u1", "Normal", "Created", 1), event("u2", "Warning", "BackOff", 4)]
            .map(|event| serde_json::from_value(event).unwrap())
            .into();
    assert_eq!(
        table(&events, "2026-03-01T12:00:00Z".parse().unwrap()).to_string(),
        "\
LAST SEEN           TYPE      REASON    OBJECT               MESSAGE
30s                 Normal    Created   gateway/u1/default   it fell and rose
30s (x4 over 10m)   Warning   BackOff   gateway/u2/default   it fell and rose
"
    );
}

#[tokio::test]
async fn events_are_narrowed_by_object_and_by_type() {
    let (out, ended) = events("bowline events -o name").await;
    assert_eq!((out.as_str(), ended), ("gateway/u1/default\ngateway/u2/default\n", Ok(())));
    let (out, _) = events("bowline events -A --types warning -o name").await;
    assert_eq!(out, "gateway/u2/default\n");
    let (out, _) = events("bowline events --for gateway/u1/default -o name").await;
    assert_eq!(out, "gateway/u1/default\n");
    let (out, _) = events("bowline events -n u1 --for gateway/default -o name").await;
    assert_eq!(out, "gateway/u1/default\n");
    let (out, ended) = events("bowline events -n empty").await;
    assert_eq!((out.as_str(), ended), ("", Ok(())));
    let (_, ended) = events("bowline events --for gateways").await;
    assert!(ended.unwrap_err().to_string().contains("is not one object"));
}

#[test]
fn an_event_is_printed_once_over_a_stream_that_is_begun_anew() {
    let (mut ui, out) = Ui::captured();
    let mut printer =
        Printer { format: Format::Name, types: Vec::new(), widths: Vec::new(), shown: Vec::new() };
    let list = |events: &[Value]| -> ObjectEventList {
        serde_json::from_value(json!({ "items": events, "truncated": false })).unwrap()
    };
    printer.print_head(list(&[event("u1", "Normal", "Created", 1)]), &mut ui).unwrap();
    let twice = [event("u1", "Normal", "Created", 1), event("u2", "Normal", "Created", 1)];
    printer.print_new(list(&twice), &mut ui).unwrap();
    assert_eq!(out.text(), "gateway/u1/default\ngateway/u2/default\n");
    printer.print_new(list(&[event("u1", "Normal", "Created", 2)]), &mut ui).unwrap();
    assert_eq!(
        out.text(),
        "gateway/u1/default\ngateway/u2/default\ngateway/u1/default\n",
        "it happened again"
    );
    assert_eq!(printer.shown.len(), 2);
}
