//! A plain client of the Docker Engine for what the tests look at and make.
//!
//! One request per connection in HTTP/1.0, which the Engine answers without chunks and closes: blocking, complete
//! (no field of an answer is lost in a type), and not the client that Bowline itself uses.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

/// The label that carries the instance of an object of Bowline.
pub const INSTANCE_LABEL: &str = "dev.bowline.instance";

/// An image without any file, for containers that are created and never started.
pub const EMPTY_IMAGE: &str = "localhost/bowline-test-empty:latest";

/// An Engine, by its socket.
#[derive(Debug, Clone)]
pub struct Engine {
    socket: PathBuf,
}

/// An answer of the Engine.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status code.
    pub status: u16,
    /// The body; `null` when it is empty, a string when it is no JSON.
    pub body: Value,
}

impl Engine {
    /// The Engine of this machine: `DOCKER_HOST` (a unix socket), or the default one.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn local() -> Self {
        let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
        let path =
            host.strip_prefix("unix://").unwrap_or_else(|| panic!("no unix socket: DOCKER_HOST={host}"));
        let engine = Self::at(PathBuf::from(path));
        engine.get("/version");
        engine
    }

    /// The Engine behind this socket, which need not answer yet.
    #[must_use]
    pub fn at(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Whether it answers now. One that is frozen is waited for.
    #[must_use]
    pub fn answers(&self) -> bool {
        self.exchange("GET", "/_ping", b"").is_ok_and(|reply| reply.status == 200)
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// One request with any outcome that HTTP can express.
    pub fn call(&self, method: &str, target: &str, body: &[u8]) -> Reply {
        self.exchange(method, target, body)
            .unwrap_or_else(|error| panic!("{method} {target} at {}: {error}", self.socket.display()))
    }

    fn exchange(&self, method: &str, target: &str, body: &[u8]) -> std::io::Result<Reply> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        let kind = if body.starts_with(b"{") { "application/json" } else { "application/x-tar" };
        write!(
            stream,
            "{method} {target} HTTP/1.0\r\nHost: engine\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        parse(&answer).ok_or_else(|| std::io::Error::other("no HTTP answer"))
    }

    /// A GET that must succeed.
    pub fn get(&self, target: &str) -> Value {
        self.expect("GET", target, b"")
    }

    /// A request that must succeed.
    pub fn expect(&self, method: &str, target: &str, body: &[u8]) -> Value {
        let reply = self.call(method, target, body);
        assert!((200..300).contains(&reply.status), "{method} {target}: {} {}", reply.status, reply.body);
        reply.body
    }

    /// Creates a container of [`EMPTY_IMAGE`], and returns its id.
    pub fn create_container(&self, name: &str, labels: &BTreeMap<String, String>) -> String {
        self.ensure_empty_image();
        let body =
            json!({ "Image": EMPTY_IMAGE, "Cmd": ["/never"], "Labels": labels, "NetworkDisabled": true });
        let made = self.expect(
            "POST",
            &format!("/containers/create?name={}", encode(name)),
            body.to_string().as_bytes(),
        );
        id_of(&made)
    }

    /// Removes a container with everything anonymous that belongs to it.
    pub fn remove_container(&self, id: &str) {
        self.expect("DELETE", &format!("/containers/{id}?force=true&v=true"), b"");
    }

    /// Creates an internal bridge network, and returns its id.
    pub fn create_network(&self, name: &str, subnet: &str, labels: &BTreeMap<String, String>) -> String {
        let body = json!({
            "Name": name, "Internal": true, "CheckDuplicate": false, "Labels": labels,
            "IPAM": { "Config": [{ "Subnet": subnet }] },
        });
        id_of(&self.expect("POST", "/networks/create", body.to_string().as_bytes()))
    }

    /// Removes a network.
    pub fn remove_network(&self, id: &str) {
        self.expect("DELETE", &format!("/networks/{id}"), b"");
    }

    /// All containers of one instance, stopped ones too, as the Engine lists them.
    #[must_use]
    pub fn containers_of(&self, instance: &str) -> Vec<Value> {
        self.list("/containers/json?all=true&", instance)
    }

    /// All networks of one instance.
    #[must_use]
    pub fn networks_of(&self, instance: &str) -> Vec<Value> {
        self.list("/networks?", instance)
    }

    /// All volumes of one instance.
    #[must_use]
    pub fn volumes_of(&self, instance: &str) -> Vec<Value> {
        let filters = json!({ "label": [format!("{INSTANCE_LABEL}={instance}")] });
        let listed = self.get(&format!("/volumes?filters={}", encode(&filters.to_string())));
        listed["Volumes"].as_array().cloned().unwrap_or_default()
    }

    /// Removes a volume.
    pub fn remove_volume(&self, name: &str) {
        self.expect("DELETE", &format!("/volumes/{}", encode(name)), b"");
    }

    fn list(&self, target: &str, instance: &str) -> Vec<Value> {
        let filters = json!({ "label": [format!("{INSTANCE_LABEL}={instance}")] });
        match self.get(&format!("{target}filters={}", encode(&filters.to_string()))) {
            Value::Array(items) => items,
            other => panic!("no list: {other}"),
        }
    }

    /// The complete `docker inspect` of a container.
    #[must_use]
    pub fn inspect_container(&self, id: &str) -> Value {
        self.get(&format!("/containers/{id}/json"))
    }

    /// The complete `docker network inspect`.
    #[must_use]
    pub fn inspect_network(&self, id: &str) -> Value {
        self.get(&format!("/networks/{id}"))
    }

    fn ensure_empty_image(&self) {
        if self.call("GET", &format!("/images/{EMPTY_IMAGE}/json"), b"").status == 404 {
            let (repository, tag) = EMPTY_IMAGE.rsplit_once(':').expect("a tag");
            // Two blocks of zeros are the end of an archive: one without files.
            let target = format!("/images/create?fromSrc=-&repo={}&tag={tag}", encode(repository));
            self.expect("POST", &target, &[0; 1024]);
        }
    }
}

/// The id in the Engine's answer to a create.
fn id_of(made: &Value) -> String {
    made["Id"].as_str().unwrap_or_else(|| panic!("no id: {made}")).to_owned()
}

/// The id of an object as the Engine lists or inspects it.
#[must_use]
pub fn id(object: &Value) -> &str {
    object["Id"].as_str().unwrap_or_else(|| panic!("no id: {object}"))
}

/// The value of one label of a container or network as the Engine lists it.
#[must_use]
pub fn label<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object["Labels"][name].as_str()
}

fn parse(answer: &[u8]) -> Option<Reply> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.split_ascii_whitespace().nth(1)?.parse().ok()?;
    let body = &answer[end + 4..];
    let body = if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
    };
    Some(Reply { status, body })
}

/// Percent-encodes everything that is not safe in any part of a URL.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_whole() {
        let reply = parse(b"HTTP/1.0 201 Created\r\nX: y\r\n\r\n{\"Id\":\"a\"}").unwrap();
        assert_eq!((reply.status, id(&reply.body)), (201, "a"));
        assert_eq!(parse(b"HTTP/1.0 204 No Content\r\n\r\n").unwrap().body, Value::Null);
        assert_eq!(parse(b"HTTP/1.0 200 OK\r\n\r\nOK").unwrap().body, json!("OK"));
        assert!(parse(b"HTTP/1.0 200 OK\r\n").is_none());
    }

    #[test]
    fn filters_survive_the_url() {
        assert_eq!(encode("{\"a\":[\"b=c d\"]}"), "%7B%22a%22%3A%5B%22b%3Dc%20d%22%5D%7D");
    }
}
