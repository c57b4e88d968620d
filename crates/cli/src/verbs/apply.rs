//! `apply`: declares objects from files.

use bowline_api::wire::{ApplyRequest, ApplyResponse, GatewayPlan, Outcome};
use bowline_core::object::Kind;
use chrono::Utc;

use super::input;
use super::wait::settled::{Applied, settled};
use crate::args::{ApplyArgs, deadline, describe};
use crate::failure::Failure;
use crate::ui::Ui;

/// Runs `apply`.
pub(crate) async fn run(args: ApplyArgs, ui: &mut Ui) -> Result<(), Failure> {
    let client = args.api.client()?;
    let files = input::read(&args.filename)?;
    let deadline = deadline(args.timeout);
    let request =
        ApplyRequest { files, dry_run: args.dry_run, force: args.force, managed_by: "cli".to_owned() };
    let response: ApplyResponse = client.post("/v1/apply", &request).await?;
    for warning in &response.warnings {
        ui.say(warning);
    }
    let suffix = if args.dry_run { " (dry run)" } else { "" };
    for object in &response.objects {
        ui.line(format_args!("{} {}{suffix}", object.key, object.outcome.as_str()))?;
    }
    for plan in &response.plans {
        ui.out(plan_text(plan))?;
    }
    if args.wait {
        settled(&client, &to_wait_for(&response), deadline, ui).await?;
    }
    Ok(())
}

/// The gateways of an apply, and the catalogs that it changed.
fn to_wait_for(response: &ApplyResponse) -> Applied {
    let mut applied = Applied::default();
    for object in &response.objects {
        match object.key.kind {
            Kind::Gateway => {
                applied.gateways.insert(object.key.clone());
            }
            // What a Secret's values do is seen when the controller has opened them: no version tells of it.
            Kind::Secret => {}
            // What was so already keeps nobody waiting for what others do with it.
            Kind::ClusterCatalog | Kind::Catalog if object.outcome == Outcome::Unchanged => {}
            Kind::ClusterCatalog | Kind::Catalog => {
                applied.catalogs.insert(object.key.clone(), object.resource_version);
            }
        }
    }
    applied
}

/// A plan as a dry run prints it.
fn plan_text(plan: &GatewayPlan) -> String {
    let seen = match plan.observed_at {
        Some(at) => format!("as the host was seen {} ago", describe(Utc::now() - at)),
        None => "never seen on a host".to_owned(),
    };
    let mut text = format!("\nplan for {} ({seen}):\n", plan.key);
    if plan.steps.is_empty() {
        text.push_str("  nothing to do\n");
    }
    for (index, step) in plan.steps.iter().enumerate() {
        text.push_str(&format!("  {}. {step}\n", index + 1));
    }
    for note in &plan.notes {
        text.push_str(&format!("  note: {note}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use bowline_core::object::ObjectKey;

    use super::*;

    #[test]
    fn a_plan_is_a_numbered_list_with_its_notes() {
        let plan = GatewayPlan {
            key: ObjectKey::gateway("u1", "default"),
            steps: vec![
                "make directory . (mode 0755)".to_owned(),
                "create container mcp-gateway-u1".to_owned(),
            ],
            notes: vec!["server docs cannot run (Unsupported): type remote".to_owned()],
            observed_at: None,
        };
        assert_eq!(
            plan_text(&plan),
            "\nplan for gateway/u1/default (never seen on a host):\n  1. make directory . (mode 0755)\n  \
             2. create container mcp-gateway-u1\n  note: server docs cannot run (Unsupported): type remote\n"
        );
        let nothing = GatewayPlan { steps: Vec::new(), notes: Vec::new(), ..plan };
        assert!(plan_text(&nothing).ends_with("  nothing to do\n"));
    }
}
