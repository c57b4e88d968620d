//! `tools`: what a gateway offers.

use rmcp::model::Tool;

use super::mcp;
use crate::args::{Format, ToolsArgs};
use crate::failure::Failure;
use crate::output::{self, Table};
use crate::ui::Ui;

/// Runs `tools`.
pub(crate) async fn run(args: ToolsArgs, ui: &mut Ui) -> Result<(), Failure> {
    let client = args.api.client()?;
    let tools = mcp::session(&client, &args.gateway.0, ui, async |session| {
        session
            .list_all_tools()
            .await
            .map_err(|error| Failure::ours("the gateway does not list its tools").because(&error))
    })
    .await?;
    match args.output {
        Format::Json => ui.out(output::json(&tools)?),
        Format::Yaml => ui.out(output::yaml(&tools)?),
        Format::Name => tools.iter().try_for_each(|tool| ui.line(&tool.name)),
        Format::Table | Format::Wide if tools.is_empty() => {
            ui.say("The gateway offers no tools");
            Ok(())
        }
        Format::Table | Format::Wide => ui.out(table(&tools, args.output == Format::Wide)),
    }
}

/// One line a tool: the first sentence of its description, or all of it in the wide form.
fn table(tools: &[Tool], wide: bool) -> Table {
    let mut table = Table::new(&["NAME", "ARGUMENTS", "DESCRIPTION"]);
    for tool in tools {
        let description = tool.description.as_deref().unwrap_or_default().trim();
        let line = if wide { description.replace('\n', " ") } else { first_line(description) };
        table.push(vec![tool.name.to_string(), arguments(tool), line]);
    }
    table
}

fn first_line(text: &str) -> String {
    const LONGEST: usize = 80;
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= LONGEST {
        return line.to_owned();
    }
    let cut: String = line.chars().take(LONGEST - 1).collect();
    format!("{cut}…")
}

/// The arguments of a tool, those that may be left out in brackets.
fn arguments(tool: &Tool) -> String {
    let required = tool.input_schema.get("required").and_then(|names| names.as_array());
    let is_required =
        |name: &str| required.is_some_and(|names| names.iter().any(|n| n.as_str() == Some(name)));
    let properties = tool.input_schema.get("properties").and_then(|properties| properties.as_object());
    let names = properties.into_iter().flat_map(|properties| properties.keys());
    let texts: Vec<_> =
        names.map(|name| if is_required(name) { name.clone() } else { format!("[{name}]") }).collect();
    if texts.is_empty() { "-".to_owned() } else { texts.join(" ") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tool_is_a_line_with_its_arguments() {
        let tools: Vec<Tool> = serde_json::from_value(json!([
            {
                "name": "get_current_time",
                "description": "Get the current time.\nIn any zone.",
                "inputSchema": {
                    "type": "object",
                    "properties": { "timezone": { "type": "string" }, "format": { "type": "string" } },
                    "required": ["timezone"],
                },
            },
            { "name": "ping", "inputSchema": { "type": "object" } },
        ]))
        .unwrap();
        assert_eq!(
            table(&tools, false).to_string(),
            "NAME               ARGUMENTS           DESCRIPTION\n\
             get_current_time   [format] timezone   Get the current time.\n\
             ping               -\n"
        );
    }
}
