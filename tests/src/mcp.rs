//! A client session of MCP (2025-11-25) over one TCP connection that is never made again: whatever cuts it is
//! seen. Plain HTTP/1.1 by hand, because a library would reconnect and hide just that.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bowline::Bowline;
use crate::namespace::NetworkNamespace;

/// Longer than any answer of a server that answers.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where a gateway's sessions are opened, and with what: `connect` is asked once for any number of sessions.
#[derive(Debug, Clone)]
pub struct Door {
    network: Option<NetworkNamespace>,
    address: SocketAddr,
    token: String,
}

/// A session that was opened.
#[derive(Debug)]
pub struct Session {
    stream: BufReader<TcpStream>,
    token: String,
    id: Option<String>,
    requests: u64,
    /// When the answer that is waited for is too late: a stream may be kept alive for ever without one.
    deadline: Instant,
}

/// Why a request was not answered.
pub type Broken = Box<dyn std::error::Error + Send + Sync>;

impl Door {
    /// Makes a token for the gateway `default` of this namespace with `bowline connect`.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn of(bowline: &Bowline, namespace: &str) -> Self {
        let shown = bowline.cli(["connect", namespace, "--client", "generic", "--name", "session"]).json();
        let url = shown["url"].as_str().expect("an address");
        let address =
            url.strip_prefix("http://").and_then(|rest| rest.strip_suffix("/mcp")).expect("http and /mcp");
        let header = shown["headers"]["Authorization"].as_str().expect("a header");
        let token = header.strip_prefix("Bearer ").expect("a bearer token").to_owned();
        let address = address.parse().expect("an address and a port");
        Self { network: bowline.network().cloned(), address, token }
    }

    /// Opens one more session.
    ///
    /// # Errors
    /// When nobody listens, or what listens opens no session.
    pub fn open(&self) -> Result<Session, Broken> {
        let stream = match &self.network {
            Some(network) => network.connect(self.address, PATIENCE)?,
            None => TcpStream::connect_timeout(&self.address, PATIENCE)?,
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        let stream = BufReader::new(stream);
        let mut session =
            Session { stream, token: self.token.clone(), id: None, requests: 0, deadline: Instant::now() };
        let hello = json!({
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "test", "version": "1" },
        });
        session.request("initialize", &hello)?;
        if session.id.is_none() {
            return Err("the gateway opened no session".into());
        }
        session.exchange(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))?;
        Ok(session)
    }
}

impl Session {
    /// Makes a token with `bowline connect`, and opens a session with the gateway `default` of this namespace.
    ///
    /// # Panics
    /// When there is no token or the session cannot be opened.
    #[must_use]
    pub fn open(bowline: &Bowline, namespace: &str) -> Self {
        Door::of(bowline, namespace).open().expect("a session")
    }

    /// Calls a tool, and returns its result.
    ///
    /// # Errors
    /// When the connection is cut, or the answer is an error.
    pub fn call(&mut self, tool: &str, arguments: &Value) -> Result<Value, Broken> {
        self.request("tools/call", &json!({ "name": tool, "arguments": arguments }))
    }

    fn request(&mut self, method: &str, params: &Value) -> Result<Value, Broken> {
        self.requests += 1;
        let request = json!({ "jsonrpc": "2.0", "id": self.requests, "method": method, "params": params });
        let text = self.exchange(&request)?;
        // One JSON document, or events of which one is the answer.
        let documents = text.lines().map(|line| line.strip_prefix("data:").unwrap_or(line));
        let mut answers = documents.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let answer =
            answers.find(|answer| answer["id"] == self.requests).ok_or(format!("no answer in {text:?}"))?;
        match answer.get("result") {
            Some(result) if result["isError"] != true => Ok(result.clone()),
            _ => Err(answer.to_string().into()),
        }
    }

    /// Posts one message, and returns the body of the answer.
    fn exchange(&mut self, message: &Value) -> Result<String, Broken> {
        let body = message.to_string();
        let session = self.id.as_ref().map_or(String::new(), |id| format!("Mcp-Session-Id: {id}\r\n"));
        let request = format!(
            "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {}\r\n{session}\
             MCP-Protocol-Version: 2025-11-25\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        );
        self.deadline = Instant::now() + PATIENCE;
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (status, headers) = self.head()?;
        let header =
            |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let body = match (header("content-length"), header("transfer-encoding")) {
            (Some(length), _) => self.take(length.parse()?)?,
            (None, Some("chunked")) => self.chunks()?,
            (None, _) => Vec::new(),
        };
        let body = String::from_utf8(body)?;
        if let Some(id) = header("mcp-session-id") {
            self.id = Some(id.to_owned());
        }
        if (200..300).contains(&status) { Ok(body) } else { Err(format!("{status}: {body}").into()) }
    }

    /// Status and headers of an answer, their names in lower case.
    fn head(&mut self) -> Result<(u16, Vec<(String, String)>), Broken> {
        let first = self.line()?;
        let status = first.split(' ').nth(1).ok_or("no status")?.parse()?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok((status, headers));
            }
            let (name, value) = line.split_once(':').ok_or("no header")?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn chunks(&mut self) -> Result<Vec<u8>, Broken> {
        let mut body = Vec::new();
        loop {
            let size = usize::from_str_radix(&self.line()?, 16)?;
            body.extend(self.take(size)?);
            self.line()?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn take(&mut self, size: usize) -> Result<Vec<u8>, Broken> {
        let mut bytes = vec![0; size];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn line(&mut self) -> Result<String, Broken> {
        if Instant::now() > self.deadline {
            return Err("no answer in time".into());
        }
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err("the connection was closed".into());
        }
        Ok(line.trim_end().to_owned())
    }
}
