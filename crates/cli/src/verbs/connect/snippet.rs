//! What each MCP client wants to be told, in its own words.
//!
//! The files and field names are those of the clients' documentation as of 2026. All of them merge by name, so
//! that the part printed here goes beside what a user has already.

use bowline_core::names::DEFAULT_GATEWAY;
use bowline_core::object::GatewayKey;
use serde_json::{Value, json};

use crate::args::McpClient;
use crate::failure::Failure;
use crate::output;

/// A client's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snippet {
    /// What to put into its file.
    pub(crate) text: String,
    /// Which file that is.
    pub(crate) place: &'static str,
}

/// The configuration of `client` for a gateway at `url`.
pub(crate) fn snippet(
    client: McpClient,
    key: &GatewayKey,
    url: &str,
    token: &str,
) -> Result<Snippet, Failure> {
    let name = server_name(key);
    let headers = json!({ "Authorization": format!("Bearer {token}") });
    let (value, place) = match client {
        McpClient::ClaudeCode => (
            servers("mcpServers", &name, &json!({ "type": "http", "url": url, "headers": headers })),
            "For Claude Code: into .mcp.json of a project, or under mcpServers of ~/.claude.json for all projects",
        ),
        // Its file knows commands only; mcp-remote is the bridge that its users have. The header goes through
        // the environment and without a space, because Claude Desktop mangles arguments with spaces on Windows.
        McpClient::ClaudeDesktop => (
            servers(
                "mcpServers",
                &name,
                &json!({
                    "command": "npx",
                    "args": [
                        "-y", "mcp-remote", url, "--allow-http", "--transport", "http-only",
                        "--header", "Authorization:${AUTHORIZATION}",
                    ],
                    "env": { "AUTHORIZATION": format!("Bearer {token}") },
                }),
            ),
            "For Claude Desktop: into claude_desktop_config.json (Settings, Developer, Edit Config); needs Node.js for npx",
        ),
        McpClient::Cursor => (
            servers("mcpServers", &name, &json!({ "url": url, "headers": headers })),
            "For Cursor: into ~/.cursor/mcp.json, or .cursor/mcp.json of a project",
        ),
        McpClient::Vscode => (
            servers("servers", &name, &json!({ "type": "http", "url": url, "headers": headers })),
            "For Visual Studio Code: into .vscode/mcp.json, or the user's mcp.json (MCP: Open User Configuration)",
        ),
        McpClient::Windsurf => (
            servers("mcpServers", &name, &json!({ "serverUrl": url, "headers": headers })),
            "For Windsurf: into ~/.codeium/windsurf/mcp_config.json",
        ),
        McpClient::Zed => (
            servers("context_servers", &name, &json!({ "url": url, "headers": headers })),
            "For Zed: into settings.json (zed: open settings file)",
        ),
        // Here `url` would mean the older SSE transport.
        McpClient::GeminiCli => (
            servers("mcpServers", &name, &json!({ "httpUrl": url, "headers": headers })),
            "For Gemini CLI: into ~/.gemini/settings.json, or .gemini/settings.json of a project",
        ),
        McpClient::Codex => {
            let text = format!(
                "[mcp_servers.{name}]\nurl = \"{url}\"\nhttp_headers = {{ \"Authorization\" = \"Bearer {token}\" }}\n"
            );
            return Ok(Snippet { text, place: "For Codex CLI: into ~/.codex/config.toml" });
        }
        McpClient::Generic => (
            json!({ "url": url, "transport": "streamable-http", "headers": headers }),
            "For any MCP client that speaks streamable HTTP: this address, with this header on every request",
        ),
    };
    Ok(Snippet { text: output::json(&value)?, place })
}

fn servers(field: &str, name: &str, server: &Value) -> Value {
    json!({ field: { name: server } })
}

/// What the client calls the gateway: `u1`, or `u1-work` for one that is not the default.
fn server_name(key: &GatewayKey) -> String {
    if key.name == DEFAULT_GATEWAY {
        key.namespace.clone()
    } else {
        format!("{}-{}", key.namespace, key.name)
    }
}

#[cfg(test)]
mod tests;
