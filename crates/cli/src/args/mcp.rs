//! Arguments of the verbs around MCP: its tools, its clients, their tokens.

use clap::{Args, Subcommand, ValueEnum};

use super::{Api, Format, Span};
use crate::target::GatewayName;

/// Arguments of `tools`.
#[derive(Debug, Args)]
pub(crate) struct ToolsArgs {
    /// NAMESPACE or NAMESPACE/NAME of the gateway
    #[arg(value_name = "NS[/NAME]")]
    pub(crate) gateway: GatewayName,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) api: Api,
}

/// Arguments of `call`.
#[derive(Debug, Args)]
pub(crate) struct CallArgs {
    /// NAMESPACE or NAMESPACE/NAME of the gateway
    #[arg(value_name = "NS[/NAME]")]
    pub(crate) gateway: GatewayName,
    /// Name of the tool, as `bowline tools` shows it
    pub(crate) tool: String,
    /// Arguments of the tool: a JSON object
    #[arg(value_name = "JSON")]
    pub(crate) arguments: Option<String>,
    /// `json` prints the whole result instead of its text
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<CallFormat>,
    /// How long the call may take
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    pub(crate) timeout: Span,
    #[command(flatten)]
    pub(crate) api: Api,
}

/// How the result of a call is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CallFormat {
    /// The whole result
    Json,
}

/// MCP clients whose configuration is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum McpClient {
    /// Claude Code (.mcp.json)
    ClaudeCode,
    /// Claude Desktop (claude_desktop_config.json, through mcp-remote)
    ClaudeDesktop,
    /// Cursor (.cursor/mcp.json)
    Cursor,
    /// Visual Studio Code (.vscode/mcp.json)
    Vscode,
    /// Windsurf (mcp_config.json)
    Windsurf,
    /// Zed (settings.json)
    Zed,
    /// Codex CLI (config.toml)
    Codex,
    /// Gemini CLI (settings.json)
    GeminiCli,
    /// Address and token alone
    Generic,
}

/// Arguments of `connect`.
#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    /// NAMESPACE or NAMESPACE/NAME of the gateway
    #[arg(value_name = "NS[/NAME]")]
    pub(crate) gateway: GatewayName,
    /// The client to print a configuration for
    #[arg(long, value_enum)]
    pub(crate) client: McpClient,
    /// What the token is called, for example the machine that it is for
    #[arg(long, value_name = "LABEL")]
    pub(crate) name: String,
    /// When the token ends, for example 90d [default: never]
    #[arg(long, value_name = "DURATION")]
    pub(crate) expires: Option<Span>,
    /// How long to wait until the gateway accepts the token
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub(crate) timeout: Span,
    #[command(flatten)]
    pub(crate) api: Api,
}

/// `token` and its verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// List the tokens of a gateway; a token itself is shown only when it is made
    List(TokenListArgs),
    /// Revoke a token: the gateway refuses it from then on
    Revoke(TokenRevokeArgs),
}

/// Arguments of `token list`.
#[derive(Debug, Args)]
pub(crate) struct TokenListArgs {
    /// NAMESPACE or NAMESPACE/NAME of the gateway
    #[arg(value_name = "NS[/NAME]")]
    pub(crate) gateway: GatewayName,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) api: Api,
}

/// Arguments of `token revoke`.
#[derive(Debug, Args)]
pub(crate) struct TokenRevokeArgs {
    /// NAMESPACE or NAMESPACE/NAME of the gateway
    #[arg(value_name = "NS[/NAME]")]
    pub(crate) gateway: GatewayName,
    /// Id of the token, as `token list` shows it
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) api: Api,
}
