//! `call`: one tool, once.

use rmcp::model::{CallToolRequestParams, CallToolResult, ContentBlock};
use serde_json::{Map, Value};

use super::mcp;
use crate::args::CallArgs;
use crate::failure::Failure;
use crate::output;
use crate::ui::Ui;

/// Runs `call`.
pub(crate) async fn run(args: CallArgs, ui: &mut Ui) -> Result<(), Failure> {
    let client = args.api.client()?;
    let mut params = CallToolRequestParams::new(args.tool.clone());
    if let Some(arguments) = arguments(args.arguments.as_deref())? {
        params = params.with_arguments(arguments);
    }
    let result = mcp::session(&client, &args.gateway.0, ui, async |session| {
        match tokio::time::timeout(args.timeout.0, session.call_tool(params)).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(rmcp::ServiceError::McpError(error))) => Err(Failure::user(format!(
                "the gateway refused the call of {}: {}",
                args.tool, error.message
            ))
            .hint(format!("bowline tools {} lists the tools", args.gateway.0))),
            Ok(Err(error)) => Err(Failure::ours(format!("the call of {} failed", args.tool)).because(&error)),
            Err(_elapsed) => Err(Failure::user(format!("{} did not answer in time", args.tool))
                .hint("--timeout gives it longer")),
        }
    })
    .await?;
    match args.output {
        Some(crate::args::CallFormat::Json) => ui.out(output::json(&result)?)?,
        None => ui.out(text(&result)?)?,
    }
    // The tool's own error is its answer and has been printed.
    if result.is_error == Some(true) { Err(Failure::said()) } else { Ok(()) }
}

fn arguments(text: Option<&str>) -> Result<Option<Map<String, Value>>, Failure> {
    let Some(text) = text else { return Ok(None) };
    match serde_json::from_str(text) {
        Ok(Value::Object(arguments)) => Ok(Some(arguments)),
        Ok(_) => {
            Err(Failure::user("the arguments of a tool are a JSON object, for example '{\"zone\": \"UTC\"}'"))
        }
        Err(error) => Err(Failure::user("the arguments are not JSON").because(&error)),
    }
}

/// Text content as text, anything else as JSON, one block after the other.
fn text(result: &CallToolResult) -> Result<String, Failure> {
    let mut text = String::new();
    for block in &result.content {
        match block {
            ContentBlock::Text(block) => {
                text.push_str(&block.text);
                if !block.text.ends_with('\n') {
                    text.push('\n');
                }
            }
            other => text.push_str(&output::json(other)?),
        }
    }
    match &result.structured_content {
        Some(structured) if result.content.is_empty() => output::json(structured),
        _ => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_is_printed_as_text_and_anything_else_as_json() {
        let result = |value| text(&serde_json::from_value::<CallToolResult>(value).unwrap()).unwrap();
        let two =
            json!({ "content": [{ "type": "text", "text": "12:00" }, { "type": "text", "text": "UTC\n" }] });
        assert_eq!(result(two), "12:00\nUTC\n");
        let image = json!({ "content": [{ "type": "image", "data": "AA==", "mimeType": "image/png" }] });
        assert!(result(image).contains("\"mimeType\": \"image/png\""));
        let structured = json!({ "content": [], "structuredContent": { "a": 1 } });
        assert_eq!(result(structured), "{\n  \"a\": 1\n}\n");
    }

    #[test]
    fn arguments_are_an_object_or_nothing() {
        assert_eq!(arguments(None).unwrap(), None);
        assert_eq!(arguments(Some("{}")).unwrap(), Some(Map::new()));
        assert_eq!(arguments(Some("[1]")).unwrap_err().exit_code(), 1);
        assert!(arguments(Some("{")).unwrap_err().to_string().contains("caused by"));
    }
}
