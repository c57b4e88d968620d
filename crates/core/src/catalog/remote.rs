//! Where a remote server is: the part of an entry that the gateway dials by itself.
//!
//! What can be told from the text alone is judged here. What the name resolves to is judged by the gateway, at
//! each connection.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use super::{Remote, ServerFields, Unsupported};
use crate::gateway_file::{RemotePlace, RemoteTransport};

/// Longer than any address that people write.
const MAX_URL: usize = 2048;
/// Longest value of a header.
const MAX_HEADER: usize = 4096;
/// Headers that the protocol or the connection writes.
const RESERVED: [&str; 15] = [
    "accept",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "last-event-id",
    "mcp-protocol-version",
    "mcp-session-id",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// docker/mcp-gateway's words, whatever their case.
const TRANSPORTS: [(&str, RemoteTransport); 5] = [
    ("streamable-http", RemoteTransport::StreamableHttp),
    ("streamable", RemoteTransport::StreamableHttp),
    ("streaming", RemoteTransport::StreamableHttp),
    ("http", RemoteTransport::StreamableHttp),
    ("sse", RemoteTransport::Sse),
];

/// The place of a remote server; an `sseEndpoint` comes before a `remote`, as in docker/mcp-gateway.
///
/// # Errors
/// Everything that keeps the gateway from dialling it.
pub fn remote_place(fields: &ServerFields) -> Result<RemotePlace, Vec<Unsupported>> {
    let none = Remote::default();
    let remote = fields.remote.as_ref().unwrap_or(&none);
    let mut problems = Problems::default();
    let endpoint = fields.sse_endpoint.as_deref().filter(|url| !url.is_empty());
    let (url, transport) = match endpoint {
        Some(url) => (problems.url("sseEndpoint", url), Some(RemoteTransport::Sse)),
        None => {
            let url = problems.url("remote.url", remote.url.as_deref().unwrap_or_default());
            (url, problems.transport(remote.transport_type.as_deref().unwrap_or_default()))
        }
    };
    let headers = problems.headers(&remote.headers);
    match (url, transport, headers) {
        (Some(url), Some(transport), Some(headers)) => Ok(RemotePlace { url, transport, headers }),
        _ => Err(problems.0),
    }
}

#[derive(Default)]
struct Problems(Vec<Unsupported>);

impl Problems {
    fn add<T>(&mut self, field: &'static str, message: impl Into<String>) -> Option<T> {
        self.0.push(Unsupported { field, message: message.into() });
        None
    }

    fn url(&mut self, field: &'static str, url: &str) -> Option<String> {
        match check_url(url) {
            Ok(()) => Some(url.to_owned()),
            // Without the URL itself, which may have credentials in it.
            Err(problem) => self.add(field, format!("the URL {problem}")),
        }
    }

    fn transport(&mut self, word: &str) -> Option<RemoteTransport> {
        let known = TRANSPORTS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word));
        match known {
            Some((_, transport)) => Some(*transport),
            None => {
                let words = TRANSPORTS.map(|(word, _)| word).join(", ");
                self.add("remote.transport_type", format!("the transport {word:?} is none of {words}"))
            }
        }
    }

    fn headers(&mut self, headers: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
        let before = self.0.len();
        for (name, value) in headers {
            if let Err(problem) = check_header(name, value) {
                self.add::<()>("remote.headers", format!("the header {name:?} {problem}"));
            }
        }
        (self.0.len() == before).then(|| headers.clone())
    }
}

/// Whether the gateway can dial it: `http` or `https`, a host, no user, no fragment.
fn check_url(url: &str) -> Result<(), &'static str> {
    if url.len() > MAX_URL {
        return Err("is longer than 2048 bytes");
    }
    if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("has a space or a character that is not ASCII; write it percent-encoded");
    }
    if url.contains(['<', '>', '"', '`']) {
        return Err("has a character that no URL has (one of < > \" `); write it percent-encoded");
    }
    let Some(rest) = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")) else {
        return Err("does not begin with https:// (or http://)");
    };
    if url.contains('#') {
        return Err("has a fragment, which no server ever sees");
    }
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("has a user in it; credentials belong into a header");
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(address) => {
            let Some((address, port)) = address.split_once(']') else {
                return Err("has an address that does not end");
            };
            if address.parse::<Ipv6Addr>().is_err() {
                return Err("has brackets around what is no IPv6 address");
            }
            (address, port)
        }
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    if host.is_empty() || host.len() > 253 || !host.bytes().all(is_host) {
        return Err("has no host");
    }
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok(()),
        Some(port)
            if port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p > 0) =>
        {
            Ok(())
        }
        _ => Err("has a port that is no number between 1 and 65535"),
    }
}

/// Whether a header can be sent as it is written.
fn check_header(name: &str, value: &str) -> Result<(), &'static str> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > 128 || !name.bytes().all(is_token) {
        return Err("has a name that is none");
    }
    let lower = name.to_ascii_lowercase();
    if RESERVED.contains(&lower.as_str()) || lower.starts_with("proxy-") {
        return Err("is written by the gateway itself");
    }
    if value.contains('$') {
        // docker/mcp-gateway takes each `$NAME` from the entry's secrets, and every other `$` vanishes there.
        return Err(
            "takes its value from a secret (`$`), and secrets of a remote server are not supported yet",
        );
    }
    let is_plain = |c: char| c == ' ' || c.is_ascii_graphic();
    if value.len() > MAX_HEADER || !value.chars().all(is_plain) {
        return Err("has a value that is not one line of ASCII");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::catalog::ServerEntry;

    fn place(entry: &Value) -> Result<RemotePlace, String> {
        let entry = ServerEntry::from_json(entry).unwrap();
        remote_place(entry.fields()).map_err(|problems| {
            problems
                .iter()
                .map(|one| format!("{}: {}", one.field, one.message))
                .collect::<Vec<_>>()
                .join("; ")
        })
    }

    fn at(url: &str) -> Result<RemotePlace, String> {
        place(&json!({ "remote": { "url": url, "transport_type": "http" } }))
    }

    #[test]
    fn every_spelling_of_docker_s_gateway_is_read() {
        for word in ["streamable-http", "http", "Streamable", "STREAMING"] {
            let read =
                place(&json!({ "remote": { "url": "https://a.example/mcp", "transport_type": word } }));
            assert_eq!(read.unwrap().transport, RemoteTransport::StreamableHttp, "{word}");
        }
        let sse = place(&json!({ "remote": { "url": "https://a.example/", "transport_type": "SSE" } }));
        assert_eq!(sse.unwrap().transport, RemoteTransport::Sse);
        let both =
            json!({ "sseEndpoint": "https://b.example/sse", "remote": { "url": "https://a.example" } });
        let both = place(&both).unwrap();
        assert_eq!((both.url.as_str(), both.transport), ("https://b.example/sse", RemoteTransport::Sse));
    }

    #[test]
    fn a_transport_that_nobody_knows_is_refused_by_name() {
        let none = place(&json!({ "remote": { "url": "https://a.example/" } })).unwrap_err();
        assert!(none.starts_with("remote.transport_type: the transport \"\""), "{none}");
    }

    #[test]
    fn urls_that_can_be_dialled_are_taken() {
        for url in [
            "https://a.example",
            "https://a.example/mcp?x=1",
            "http://10.0.0.1:8080/sse",
            "https://[2001:db8::1]:8443/mcp",
            "https://[::1]",
        ] {
            assert_eq!(at(url).unwrap().url, url);
        }
    }

    #[test]
    fn urls_that_cannot_be_dialled_are_refused_with_the_reason() {
        for (url, says) in [
            ("ftp://a.example", "does not begin with https"),
            ("HTTPS://a.example", "does not begin with https"),
            ("https:///mcp", "has no host"),
            ("https://?x", "has no host"),
            ("https://u:p@a.example/", "has a user"),
            ("https://a.example@10.0.0.1/", "has a user"),
            ("https://a.example:0/", "has a port"),
            ("https://a.example:99999/", "has a port"),
            ("https://a.example:+1/", "has a port"),
            ("https://a.example:/", "has a port"),
            ("https://a.example/#x", "has a fragment"),
            ("https://a\\b.example/", "has no host"),
            ("https://a.example/ö", "not ASCII"),
            ("https://a.example/a b", "has a space"),
            ("https://a.example/<id>", "percent-encoded"),
            ("https://a.example/x?id=>", "percent-encoded"),
            ("https://a.example/x?id=\"7\"", "percent-encoded"),
            ("https://a.example/`id`", "percent-encoded"),
            ("https://[10.0.0.1]/", "no IPv6"),
            ("https://[::1", "does not end"),
        ] {
            let problem = at(url).unwrap_err();
            assert!(problem.starts_with("remote.url: ") && problem.contains(says), "{url}: {problem}");
        }
    }

    #[test]
    fn plain_headers_are_taken_and_others_refused() {
        let with = |name: &str, value: &str| {
            let remote =
                json!({ "url": "https://a.example", "transport_type": "http", "headers": { name: value } });
            place(&json!({ "remote": remote }))
        };
        assert_eq!(with("X-Team", "blue 7").unwrap().headers["X-Team"], "blue 7");
        for (name, value, says) in [
            ("Host", "b.example", "written by the gateway"),
            ("mcp-session-id", "1", "written by the gateway"),
            ("Proxy-Authorization", "x", "written by the gateway"),
            ("X Y", "1", "a name that is none"),
            ("X", "a\r\nY: b", "one line"),
            ("Authorization", "Bearer $TOKEN", "secrets of a remote server are not"),
            ("Authorization", "Bearer ${TOKEN}", "secrets of a remote server are not"),
        ] {
            let problem = with(name, value).unwrap_err();
            assert!(problem.starts_with("remote.headers: ") && problem.contains(says), "{name}: {problem}");
        }
    }
}
