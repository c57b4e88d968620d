//! A digest over what a server offers, so that a change of its tools can be seen from outside.

use rmcp::model::Tool;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// `sha256:` and the digest over names, descriptions and schemas. The order of the listing and of the members
/// of a schema does not matter.
pub(crate) fn tools_digest(tools: &[Tool]) -> String {
    let mut lines: Vec<String> = tools
        .iter()
        .map(|tool| {
            let tool =
                json!([tool.name, tool.description, *tool.input_schema, tool.output_schema.as_deref()]);
            sorted(tool).to_string()
        })
        .collect();
    lines.sort_unstable();
    format!("sha256:{}", hex::encode(Sha256::digest(lines.join("\n"))))
}

/// The same value with the members of every object in the order of their names. (`serde_json` keeps them so
/// by itself, unless some crate of the build asks it to keep the order of the text.)
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> =
                members.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            members.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            members.into_iter().collect()
        }
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools(text: &str) -> Vec<Tool> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_order_of_tools_and_of_members_does_not_matter() {
        let one = tools(
            r#"[{"name":"a","inputSchema":{"type":"object","title":"t"}},{"name":"b","inputSchema":{}}]"#,
        );
        let two = tools(
            r#"[{"name":"b","inputSchema":{}},{"name":"a","inputSchema":{"title":"t","type":"object"}}]"#,
        );
        assert_eq!(tools_digest(&one), tools_digest(&two));
    }

    #[test]
    fn a_name_a_description_and_a_schema_each_change_the_digest() {
        let variants = [
            r#"[{"name":"a","inputSchema":{}}]"#,
            r#"[{"name":"b","inputSchema":{}}]"#,
            r#"[{"name":"a","description":"d","inputSchema":{}}]"#,
            r#"[{"name":"a","inputSchema":{"type":"object"}}]"#,
            r#"[{"name":"a","inputSchema":{},"outputSchema":{}}]"#,
        ];
        let digests: std::collections::HashSet<_> =
            variants.iter().map(|text| tools_digest(&tools(text))).collect();
        assert_eq!(digests.len(), variants.len());
    }
}
