//! A server that does what its arguments say: the other side of the gateway's integration tests. It speaks
//! JSON-RPC on stdin and stdout by hand, because a library would not let it misbehave.
//!
//! `--tools a,b` names its tools (without, it has only prompts), `--count N` adds N of them, each with a description
//! of `--padding N` bytes, `--page N` lists N of them at a time, `--version TEXT` is its version, `--era modern`
//! refuses `initialize`, `--hang` never answers anything, `--restless` says after each listing that its tools are
//! different. Tools with a meaning: `echo` gives back arguments and `_meta`, `env` gives
//! the value of a variable, `fail` is an error of the protocol, `error` one of the tool, `progress` reports
//! progress before its result, `flood` reports progress for ever, `slow` never answers, `cancelled` says which ids
//! were cancelled, `listings` how often its tools were listed, `grow` adds the tool `grown`, `die` ends the process with code 3, `pid` gives the process id, `write` puts `text` into the file at
//! `path`, `read` gives what is in one, both with the error in words where there is one.

use std::io::{self, BufRead as _, Write as _};

use serde_json::{Value, json};

struct Script {
    tools: Vec<String>,
    page: usize,
    padding: usize,
    version: String,
    modern: bool,
    hang: bool,
    restless: bool,
    cancelled: Vec<Value>,
    listings: usize,
}

fn main() -> io::Result<()> {
    let mut script = Script {
        tools: Vec::new(),
        page: usize::MAX,
        padding: 0,
        version: "1.2.3".into(),
        modern: false,
        hang: false,
        restless: false,
        cancelled: Vec::new(),
        listings: 0,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_default();
        match argument.as_str() {
            "--tools" => script.tools = value().split(',').map(Into::into).collect(),
            "--count" => {
                let count: usize = value().parse().map_err(io::Error::other)?;
                script.tools.extend((0..count).map(|number| format!("tool{number}")));
            }
            "--padding" => script.padding = value().parse().map_err(io::Error::other)?,
            "--page" => script.page = value().parse().map_err(io::Error::other)?,
            "--version" => script.version = value(),
            "--era" => script.modern = value() == "modern",
            "--hang" => script.hang = true,
            "--restless" => script.restless = true,
            other => return Err(io::Error::other(format!("unknown argument {other}"))),
        }
    }
    for line in io::stdin().lock().lines() {
        let message: Value = serde_json::from_str(&line?)?;
        if !script.hang {
            script.receive(&message)?;
        }
    }
    Ok(())
}

impl Script {
    fn receive(&mut self, message: &Value) -> io::Result<()> {
        let (id, params) = (&message["id"], &message["params"]);
        let method = message["method"].as_str().unwrap_or_default();
        let capabilities = match self.tools.is_empty() {
            true => json!({"prompts": {}}),
            false => json!({"tools": {"listChanged": true}}),
        };
        let server = json!({"name": "scripted", "version": self.version});
        match method {
            "initialize" if !self.modern => {
                let version = &params["protocolVersion"];
                answer(
                    id,
                    &json!({"protocolVersion": version, "capabilities": capabilities, "serverInfo": server}),
                )
            }
            "server/discover" if self.modern => answer(
                id,
                &json!({"resultType": "complete", "supportedVersions": ["2026-07-28"],
                    "capabilities": capabilities, "ttlMs": 0, "cacheScope": "private",
                    "_meta": {"io.modelcontextprotocol/serverInfo": server}}),
            ),
            "tools/list" if !self.tools.is_empty() => self.list(id, params),
            "tools/call" => self.call(id, params),
            "notifications/cancelled" => {
                self.cancelled.push(params["requestId"].clone());
                Ok(())
            }
            _ if id.is_null() => Ok(()),
            _ => send(
                &json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "not in the script"}}),
            ),
        }
    }

    fn list(&mut self, id: &Value, params: &Value) -> io::Result<()> {
        let padding = "x".repeat(self.padding);
        let first = params["cursor"].as_str().and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
        let end = self.tools.len().min(usize::saturating_add(first, self.page));
        let tools: Vec<_> = self.tools[first..end]
            .iter()
            .map(|name| json!({"name": name, "description": format!("{name}{padding}"), "inputSchema": {"type": "object"}}))
            .collect();
        let mut page = json!({"resultType": "complete", "tools": tools, "ttlMs": 0, "cacheScope": "private"});
        if end < self.tools.len() {
            page["nextCursor"] = json!(end.to_string());
        }
        answer(id, &page)?;
        if end == self.tools.len() {
            self.listings += 1;
            if self.restless {
                send(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}))?;
            }
        }
        Ok(())
    }

    fn call(&mut self, id: &Value, params: &Value) -> io::Result<()> {
        let tool = params["name"].as_str().unwrap_or_default();
        let said = |text: String| {
            let content = json!([{"type": "text", "text": text}]);
            answer(id, &json!({"resultType": "complete", "content": content}))
        };
        match tool {
            "echo" => {
                let structured = json!({"arguments": params["arguments"], "meta": params["_meta"]});
                answer(
                    id,
                    &json!({"resultType": "complete", "content": [], "structuredContent": structured,
                    "_meta": {"example/answer": 42}}),
                )
            }
            "env" => {
                let name = params["arguments"]["name"].as_str().unwrap_or_default();
                said(std::env::var(name).unwrap_or_else(|_| "(not set)".into()))
            }
            "fail" => send(&json!({"jsonrpc": "2.0", "id": id,
                "error": {"code": -32050, "message": "refused by the script", "data": {"why": "asked"}}})),
            "error" => {
                let content = json!([{"type": "text", "text": "did not work"}]);
                answer(id, &json!({"resultType": "complete", "content": content, "isError": true}))
            }
            "progress" => {
                let token = &params["_meta"]["progressToken"];
                send(&json!({"jsonrpc": "2.0", "method": "notifications/progress",
                    "params": {"progressToken": token, "progress": 0.5, "message": "half"}}))?;
                said("done".into())
            }
            "flood" => {
                let params = json!({"progressToken": params["_meta"]["progressToken"], "progress": 0.5,
                    "message": "x".repeat(64 << 10)});
                loop {
                    send(&json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}))?;
                }
            }
            "slow" => Ok(()),
            "listings" => said(self.listings.to_string()),
            "cancelled" => said(json!(self.cancelled).to_string()),
            "grow" => {
                self.tools.push("grown".into());
                send(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}))?;
                said("grown".into())
            }
            "die" => {
                writeln!(io::stderr(), "the script says: die")?;
                write!(io::stdout(), "half a line")?;
                io::stdout().flush()?;
                std::process::exit(3)
            }
            "pid" => said(std::process::id().to_string()),
            "read" | "write" => {
                let text = |name: &str| params["arguments"][name].as_str().unwrap_or_default();
                let (path, new) = (text("path"), text("text"));
                let done = match tool {
                    "write" => std::fs::write(path, new).map(|()| "written".to_owned()),
                    _ => std::fs::read_to_string(path),
                };
                said(done.unwrap_or_else(|error| error.to_string()))
            }
            other => said(other.to_owned()),
        }
    }
}

fn answer(id: &Value, result: &Value) -> io::Result<()> {
    send(&json!({"jsonrpc": "2.0", "id": id, "result": result}))
}

fn send(message: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{message}")?;
    out.flush()
}
