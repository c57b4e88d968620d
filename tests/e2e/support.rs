//! What several subjects need: specifications as text, gateways that are Ready, containers by what they are for.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use bowline_tests::bowline::Bowline;
use bowline_tests::command::{Output, run};
use bowline_tests::engine::{id, label};
use bowline_tests::wait;
use serde_json::Value;

/// A real MCP server in Python; its tools are `get_current_time` and `convert_time`.
pub(crate) const TIME: &str = "localhost/mcp-server-time:latest";
/// A scripted server of one megabyte; its tools are what `--tools` of its command names.
pub(crate) const LIGHT: &str = "localhost/bowline-test-server:latest";
/// The image that `serve` makes gateways of, for an Engine that does not have it yet.
pub(crate) fn gateway_image() -> String {
    std::env::var("BOWLINE_GATEWAY_IMAGE").expect("BOWLINE_GATEWAY_IMAGE names the image of the gateways")
}

/// How long gateways may take to become Ready: far longer than they do, so that only what hangs ends a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(150);

/// A catalog's entry of this image in flow style; `extra` is further fields, `disableNetwork: true` say.
pub(crate) fn entry(image: &str, extra: &str) -> String {
    format!("{{ type: server, image: '{image}', {extra} }}")
}

/// The ClusterCatalog `base`.
pub(crate) fn catalog(entries: &[(&str, String)]) -> String {
    const HEAD: &str =
        "apiVersion: bowline.dev/v1alpha1\nkind: ClusterCatalog\nmetadata: { name: base }\nspec:\n";
    let mut text = format!("{HEAD}  registry:{}\n", if entries.is_empty() { " {}" } else { "" });
    for (name, entry) in entries {
        text.push_str(&format!("    {name}: {entry}\n"));
    }
    text
}

/// The Gateway `default` of a namespace, as a document that follows others; each server is an item of the list.
pub(crate) fn gateway(namespace: &str, servers: &[&str]) -> String {
    let servers = servers.join(", ");
    format!(
        "---\napiVersion: bowline.dev/v1alpha1\nkind: Gateway\nmetadata: {{ namespace: {namespace}, name: default }}\n\
         spec: {{ catalogs: [base], servers: [{servers}] }}\n"
    )
}

/// Waits until the gateways of these namespaces are Ready.
pub(crate) fn all_ready(bowline: &Bowline, namespaces: &[&str]) {
    let limit = format!("--timeout={}s", PATIENCE.as_secs());
    let mut arguments = vec!["wait".to_owned(), "--for=condition=Ready".to_owned(), limit];
    arguments.extend(namespaces.iter().map(|namespace| format!("gateway/{namespace}/default")));
    bowline.cli(arguments).ok();
}

/// Waits until the gateway of a namespace is Ready and nothing about it is under way any more: what was replaced is
/// gone.
pub(crate) fn settled(bowline: &Bowline, namespace: &str) {
    wait::until_true("nothing is under way", PATIENCE, || {
        let object = bowline.object("gateway", namespace, "default");
        is_current(bowline, &object)
            && condition(&object, "Progressing") == ("False".to_owned(), "Complete".to_owned())
            && condition(&object, "Ready").0 == "True"
    });
}

/// Whether the status of a gateway speaks of its specification and of the ClusterCatalog `base` as they are now.
pub(crate) fn is_current(bowline: &Bowline, gateway: &Value) -> bool {
    let base = bowline.cli(["get", "clustercatalog", "base", "-o", "json"]).json();
    let number = |value: &Value| value.as_str().and_then(|text| text.parse().ok()).or(value.as_i64());
    let (version, looked_at) = (&base["metadata"]["resourceVersion"], &gateway["status"]["catalogRevision"]);
    gateway["status"]["observedGeneration"] == gateway["metadata"]["generation"]
        && number(looked_at) >= number(version)
}

/// Calls a tool through the gateway of a namespace.
pub(crate) fn call(bowline: &Bowline, namespace: &str, tool: &str, arguments: &str) -> Output {
    bowline.cli(["call", namespace, tool, arguments])
}

/// The containers of a namespace's gateway, as `docker inspect` shows them: `gateway`, and each server by its key.
pub(crate) fn members(bowline: &Bowline, namespace: &str) -> BTreeMap<String, Value> {
    let engine = bowline.engine();
    let mut members = BTreeMap::new();
    for listed in engine.containers_of(bowline.allotment().instance()) {
        // Without a uid it is one of those that only look like ours.
        if label(&listed, "dev.bowline.namespace") != Some(namespace)
            || label(&listed, "dev.bowline.uid").is_none()
        {
            continue;
        }
        let role = label(&listed, "dev.bowline.server").unwrap_or("gateway").to_owned();
        // It may go between the list and the look.
        let reply = engine.call("GET", &format!("/containers/{}/json", id(&listed)), b"");
        if reply.status == 200 {
            let before = members.insert(role.clone(), reply.body);
            assert!(before.is_none(), "two containers of {namespace} are {role}");
        }
    }
    members
}

/// Id and start of each container: equal before and after means that none was touched.
pub(crate) fn starts(bowline: &Bowline, namespace: &str) -> BTreeMap<String, (String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    members(bowline, namespace)
        .into_iter()
        .map(|(role, seen)| (role, (text(&seen["Id"]), text(&seen["State"]["StartedAt"]))))
        .collect()
}

/// A condition of a Gateway: its status and reason.
pub(crate) fn condition(gateway: &Value, name: &str) -> (String, String) {
    let conditions = gateway["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = conditions.iter().find(|condition| condition["type"] == name);
    let text = |field: &str| found.and_then(|found| found[field].as_str()).unwrap_or_default().to_owned();
    (text("status"), text("reason"))
}

/// State and reason of one server of a Gateway.
pub(crate) fn server_state(gateway: &Value, name: &str) -> (String, String) {
    let servers = gateway["status"]["servers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = servers.iter().find(|server| server["name"] == name);
    let text = |field: &str| found.and_then(|found| found[field].as_str()).unwrap_or_default().to_owned();
    (text("state"), text("reason"))
}

/// Runs the docker client against the engine of the tests.
pub(crate) fn docker<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Output {
    let mut command = Command::new("docker");
    command.args(arguments);
    run(command, "", Duration::from_secs(120))
}

/// A verb that goes on printing, and its lines as they come. It ends with the value.
pub(crate) struct Watching {
    child: Child,
    lines: Receiver<String>,
}

impl Watching {
    pub(crate) fn start(bowline: &Bowline, arguments: &[&str]) -> Self {
        let mut command = bowline.command(arguments);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("bowline");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    /// Reads lines up to one that has all of these words.
    pub(crate) fn until(&self, words: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no line with {words:?} after {seen:#?}");
            };
            if words.iter().all(|word| line.contains(word)) {
                return line;
            }
            seen.push(line);
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}
