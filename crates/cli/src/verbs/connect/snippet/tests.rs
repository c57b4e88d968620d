use clap::ValueEnum;

use super::*;

const URL: &str = "http://127.0.0.1:20017/mcp";

fn text(client: McpClient) -> String {
    snippet(client, &GatewayKey::new("u1", "default"), URL, "bow_secret").unwrap().text
}

#[test]
fn every_client_is_given_the_address_and_the_token() {
    for client in McpClient::value_variants() {
        let text = text(*client);
        assert!(text.contains(URL) && text.contains("Bearer bow_secret"), "{client:?}: {text}");
    }
}

#[test]
fn claude_code_wants_the_type() {
    assert_eq!(
        text(McpClient::ClaudeCode),
        r#"{
  "mcpServers": {
    "u1": {
      "headers": {
        "Authorization": "Bearer bow_secret"
      },
      "type": "http",
      "url": "http://127.0.0.1:20017/mcp"
    }
  }
}
"#
    );
}

#[test]
fn claude_desktop_is_given_a_command_without_the_token_in_it() {
    let value: Value = serde_json::from_str(&text(McpClient::ClaudeDesktop)).unwrap();
    let server = &value["mcpServers"]["u1"];
    assert_eq!(server["command"], "npx");
    assert!(!server["args"].to_string().contains("bow_secret"));
    assert!(server["args"].as_array().unwrap().iter().all(|arg| !arg.as_str().unwrap().contains(' ')));
}

#[test]
fn codex_reads_toml() {
    assert_eq!(
        text(McpClient::Codex),
        "[mcp_servers.u1]\nurl = \"http://127.0.0.1:20017/mcp\"\n\
         http_headers = { \"Authorization\" = \"Bearer bow_secret\" }\n"
    );
}

#[test]
fn each_client_has_its_own_words_for_the_address() {
    let value = |client| serde_json::from_str::<Value>(&text(client)).unwrap();
    assert_eq!(value(McpClient::Cursor)["mcpServers"]["u1"]["url"], URL);
    assert_eq!(value(McpClient::Vscode)["servers"]["u1"]["type"], "http");
    assert_eq!(value(McpClient::Windsurf)["mcpServers"]["u1"]["serverUrl"], URL);
    assert_eq!(value(McpClient::Zed)["context_servers"]["u1"]["url"], URL);
    assert_eq!(value(McpClient::GeminiCli)["mcpServers"]["u1"]["httpUrl"], URL);
}

#[test]
fn a_second_gateway_of_a_user_has_a_name_of_its_own() {
    assert_eq!(server_name(&GatewayKey::new("u1", "work")), "u1-work");
}
