use bowline_core::object::Event;
use bowline_core::resource::parse;
use serde_json::Value;

use super::samples::{catalog, condition, gateway, now, status};
use super::*;

fn failing() -> Object {
    let message = "1/2 servers; fetch Failed (ServerFailed)";
    gateway(
        "u1",
        status(&[
            condition("Accepted", "True", "Accepted", ""),
            condition("Available", "True", "Answering", ""),
            condition("Ready", "False", "ServersFailed", message),
        ]),
    )
}

fn text(kind: Kind, all: &[Object], format: Format) -> String {
    objects(kind, all, format, all.len() == 1, now()).unwrap()
}

#[test]
fn the_table_of_gateways_says_how_far_each_is() {
    let ready = gateway("u2", status(&[condition("Ready", "True", "ServersAnswer", "")]));
    let mut terminating = gateway("long-name", status(&[condition("Ready", "False", "Terminating", "")]));
    terminating.metadata.deletion_timestamp = Some(now());
    let mut changed = gateway("u4", status(&[condition("Ready", "True", "ServersAnswer", "")]));
    changed.metadata.generation = 5;
    let all = [failing(), ready, gateway("u3", Value::Null), changed, terminating];
    assert_eq!(
        text(Kind::Gateway, &all, Format::Table),
        "\
NAMESPACE   NAME      READY   STATUS          HOST   PORT    AGE
u1          default   1/2     ServersFailed   h1     20017   10m
u2          default   1/2     Ready           h1     20017   10m
u3          default   0/2     Pending         -      -       10m
u4          default   1/2     Updating        h1     20017   10m
long-name   default   1/2     Terminating     h1     20017   10m
"
    );
}

#[test]
fn the_wide_table_has_the_servers_and_the_address() {
    assert_eq!(
        text(Kind::Gateway, &[failing()], Format::Wide),
        "\
NAMESPACE   NAME      READY   STATUS          HOST   PORT    AGE   SERVERS                                  URL
u1          default   1/2     ServersFailed   h1     20017   10m   time=Running,fetch=Failed,old=Disabled   http://127.0.0.1:20017/mcp
"
    );
}

#[test]
fn names_are_what_other_verbs_read() {
    assert_eq!(text(Kind::Gateway, &[failing()], Format::Name), "gateway/u1/default\n");
    assert_eq!(text(Kind::ClusterCatalog, &[catalog()], Format::Name), "clustercatalog/base\n");
    assert_eq!(text(Kind::Gateway, &[], Format::Name), "");
}

#[test]
fn yaml_is_taken_back_by_apply_as_it_was() {
    let yaml = text(Kind::Gateway, &[failing(), gateway("u2", Value::Null)], Format::Yaml);
    let catalogs = text(Kind::ClusterCatalog, &[catalog()], Format::Yaml);
    let parsed = parse(&format!("{catalogs}---\n{yaml}"), None);
    assert!(parsed.is_ok(), "{:#?}", parsed.diagnostics);
    let specs: Vec<_> = parsed.resources.iter().map(|located| located.resource.spec_json()).collect();
    assert_eq!(specs, [catalog().spec, failing().spec, failing().spec]);
    assert_eq!(parsed.resources[1].resource.metadata().labels, failing().metadata.labels);
}

#[test]
fn json_is_one_object_or_a_list() {
    let value = |all: &[Object], single| -> Value {
        serde_json::from_str(&objects(Kind::Gateway, all, Format::Json, single, now()).unwrap()).unwrap()
    };
    assert_eq!(value(&[failing()], true)["kind"], "Gateway");
    assert_eq!(value(&[failing()], false)["items"][0]["kind"], "Gateway");
    assert_eq!(value(&[], false)["items"], serde_json::json!([]));
}

#[test]
fn a_description_has_conditions_servers_errors_and_events() {
    let events: Vec<Event> = serde_json::from_value(serde_json::json!([
        {
            "type": "Normal", "reason": "Created", "message": "create container mcp-gateway-u1", "count": 1,
            "firstTimestamp": "2026-03-01T11:50:01Z", "lastTimestamp": "2026-03-01T11:50:01Z",
        },
        {
            "type": "Warning", "reason": "Failed", "message": "it fell", "count": 4,
            "firstTimestamp": "2026-03-01T11:51:00Z", "lastTimestamp": "2026-03-01T11:59:30Z",
        },
    ]))
    .unwrap();
    let object = failing();
    let text = description(&Described { object: &object, events: &events, users: &[], now: now() });
    assert_eq!(
        text,
        "\
Name:            default
Namespace:       u1
Kind:            Gateway
Labels:          team=data
Annotations:     <none>
UID:             01933333-3333-7333-8333-333333333333
Generation:      4
Managed by:      cli
Created:         2026-03-01T11:50:00Z (10m ago)
Status:          ServersFailed
Host:            h1
Endpoint:        http://127.0.0.1:20017/mcp
Next try:        2026-03-01T12:00:40Z (in 40s)
Catalogs:        base
Servers:         time, fetch, old
spec.resources:  {\"limits\":{\"memory\":\"256Mi\"}}
Conditions:
  TYPE        STATUS   REASON          AGE   MESSAGE
  Accepted    True     Accepted        90s
  Available   True     Answering       90s
  Ready       False    ServersFailed   90s   1/2 servers; fetch Failed (ServerFailed)
Server states:
  NAME    STATE      REASON         TOOLS   RESTARTS   IMAGE
  time    Running    -              2       0          mcp/time
  fetch   Failed     ServerFailed   0       3          mcp/fetch
  old     Disabled   -              0       0          -
  Last error of fetch:
    the server ended (exit code 1)
    ImportError: no module
      at main
Events:
  TYPE      REASON    AGE                MESSAGE
  Normal    Created   9m59s              create container mcp-gateway-u1
  Warning   Failed    30s (x4 over 9m)   it fell
"
    );
}

#[test]
fn a_description_of_what_is_being_deleted_says_what_is_left() {
    let mut value = status(&[condition("Ready", "False", "Terminating", "")]);
    value["remaining"] = serde_json::json!(["container mcp-gateway-u1", "network mcp-net-u1.default"]);
    let mut object = gateway("u1", value);
    object.metadata.deletion_timestamp = Some("2026-03-01T11:59:00Z".parse().unwrap());
    let text = description(&Described { object: &object, events: &[], users: &[], now: now() });
    assert!(text.contains("Status:          Terminating\n"), "{text}");
    assert!(
        text.contains("Still to be removed:\n  container mcp-gateway-u1\n  network mcp-net-u1.default\n")
    );
    assert!(text.ends_with("Events:          <none>\n"));
}

#[test]
fn a_catalog_is_described_by_its_servers_and_its_users() {
    let mut object = catalog();
    let users = [ObjectKey::gateway("u1", "default"), ObjectKey::gateway("u2", "work")];
    let described = description(&Described { object: &object, events: &[], users: &users, now: now() });
    let servers = "\
Used by:         gateway/u1/default, gateway/u2/work
Servers:
  NAME   TYPE     IMAGE      TITLE
  docs   remote   -          Docs
  time   server   mcp/time   Time
";
    assert!(described.ends_with(servers), "{described}");
    let all = std::slice::from_ref(&object);
    assert_eq!(
        text(Kind::ClusterCatalog, all, Format::Table),
        "NAME   SERVERS   AGE\nbase   2         60m\n"
    );
    object.kind = Kind::Catalog;
    object.metadata.namespace = Some("u1".to_owned());
    let table = "NAMESPACE   NAME   SERVERS   AGE\nu1          base   2         60m\n";
    assert_eq!(text(Kind::Catalog, &[object], Format::Table), table);
}
