//! Fixed objects for the tests of this crate.

use bowline_api::wire::Object;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

/// The moment at which every sample is looked at.
pub(crate) fn now() -> DateTime<Utc> {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

/// A gateway with this status, made ten minutes ago.
pub(crate) fn gateway(namespace: &str, status: Value) -> Object {
    let mut object = json!({
        "apiVersion": "bowline.dev/v1alpha1",
        "kind": "Gateway",
        "metadata": {
            "namespace": namespace,
            "name": "default",
            "uid": "01933333-3333-7333-8333-333333333333",
            "generation": 4,
            "resourceVersion": 17,
            "labels": { "team": "data" },
            "creationTimestamp": "2026-03-01T11:50:00Z",
            "managedBy": "cli",
        },
        "spec": {
            "catalogs": ["base"],
            "servers": [{ "name": "time" }, { "name": "fetch" }, { "name": "old", "enabled": false }],
            "resources": { "limits": { "memory": "256Mi" } },
        },
    });
    if !status.is_null() {
        object["status"] = status;
    }
    serde_json::from_value(object).unwrap()
}

/// A condition of generation 4.
pub(crate) fn condition(name: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": name, "status": status, "reason": reason, "message": message,
        "observedGeneration": 4, "lastTransitionTime": "2026-03-01T11:58:30Z",
    })
}

/// A status with these conditions and one server that runs beside one that has failed.
pub(crate) fn status(conditions: &[Value]) -> Value {
    json!({
        "observedGeneration": 4,
        "host": "h1",
        "endpoint": { "url": "http://127.0.0.1:20017/mcp", "port": 20017 },
        "conditions": conditions,
        "servers": [
            { "name": "time", "state": "Running", "image": "mcp/time", "tools": 2, "restarts": 0 },
            {
                "name": "fetch", "state": "Failed", "reason": "ServerFailed", "image": "mcp/fetch", "tools": 0,
                "restarts": 3, "lastError": "the server ended (exit code 1)\nImportError: no module\n  at main",
            },
            { "name": "old", "state": "Disabled", "tools": 0, "restarts": 0 },
        ],
        "tokensRevision": 2,
        "nextAttemptTime": "2026-03-01T12:00:40Z",
    })
}

/// A catalog with two servers.
pub(crate) fn catalog() -> Object {
    serde_json::from_value(json!({
        "apiVersion": "bowline.dev/v1alpha1",
        "kind": "ClusterCatalog",
        "metadata": {
            "name": "base",
            "uid": "01933333-3333-7333-8333-333333333334",
            "generation": 1,
            "resourceVersion": 3,
            "creationTimestamp": "2026-03-01T11:00:00Z",
            "managedBy": "cli",
        },
        "spec": { "registry": {
            "time": { "title": "Time", "type": "server", "image": "mcp/time", "allowHosts": [], "x-own": [1, "a: b"] },
            "docs": { "title": "Docs", "type": "remote", "remote": { "url": "https://example.org/mcp" } },
        } },
    }))
    .unwrap()
}

/// A Secret with two keys that a gateway uses.
pub(crate) fn secret() -> Object {
    serde_json::from_value(json!({
        "apiVersion": "bowline.dev/v1alpha1",
        "kind": "Secret",
        "metadata": {
            "namespace": "u1",
            "name": "work",
            "uid": "01933333-3333-7333-8333-333333333335",
            "generation": 1,
            "resourceVersion": 8,
            "creationTimestamp": "2026-03-01T11:00:00Z",
            "managedBy": "cli",
        },
        "spec": { "keys": ["pat", "token"] },
        "status": {
            "keys": [
                { "name": "pat", "version": 3, "writtenAt": "2026-03-01T11:59:00Z" },
                { "name": "token", "version": 1, "writtenAt": "2026-03-01T11:00:00Z" },
            ],
            "usedBy": [{ "namespace": "u1", "name": "default" }],
        },
    }))
    .unwrap()
}
