//! `teardown`: removes everything of an instance by its labels, from the Engine alone.

use std::collections::BTreeSet;

use bowline_api::wire::VersionInfo;
use bowline_host::Found;
use uuid::Uuid;

use crate::args::TeardownArgs;
use crate::client::Client;
use crate::failure::Failure;
use crate::serve::{check_instance, engine};
use crate::ui::Ui;

/// Runs `teardown`.
pub(crate) async fn run(args: TeardownArgs, ui: &mut Ui) -> Result<(), Failure> {
    check_instance(&args.instance)?;
    refuse_while_served(&args).await?;
    let engine = engine(args.engine.docker_host.as_deref()).await?;
    let runtime_dir = args.engine.place.runtime_dir.as_path();
    let found = engine
        .found(&args.instance, args.installation, Some(runtime_dir))
        .await
        .map_err(|error| Failure::ours("what there is cannot be listed").because(&error))?;
    let volumes = if args.volumes { found.volumes.len() } else { 0 };
    if found.is_empty() && volumes == 0 {
        kept(&found, ui);
        ui.say(format_args!("There is nothing of the instance {}.", args.instance));
        return Ok(());
    }
    let installations = installations(&found, args.volumes);
    if installations.len() > 1 {
        let ids: Vec<_> = installations.iter().map(ToString::to_string).collect();
        return Err(Failure::user(format!(
            "there are {} installations of the instance {}: {}",
            ids.len(),
            args.instance,
            ids.join(", ")
        ))
        .hint("--installation ID says which one to remove"));
    }
    if !args.yes {
        if !Ui::can_ask() {
            return Err(Failure::user(format!("this would remove {}", summary(&found, volumes)))
                .hint("--yes removes it without asking"));
        }
        list(&found, volumes, ui);
        if !ui.ask(&format!("Remove {}?", summary(&found, volumes)))? {
            return Err(Failure::user("nothing was removed"));
        }
    }
    let mut torn_down = engine.teardown(&found).await;
    if args.volumes {
        let bowline_host::TornDown { removed, failed } = engine.teardown_volumes(&found).await;
        torn_down.removed.extend(removed);
        torn_down.failed.extend(failed);
    }
    for removed in &torn_down.removed {
        ui.line(format_args!("{removed} removed"))?;
    }
    if !args.volumes {
        kept(&found, ui);
    }
    if torn_down.failed.is_empty() {
        return Ok(());
    }
    let failed: Vec<_> = torn_down.failed.iter().map(|(what, why)| format!("{what}: {why}")).collect();
    Err(Failure::ours(format!("not everything was removed\n  {}", failed.join("\n  "))))
}

/// Whose objects would be removed. Volumes that an earlier installation has left are not taken for this one's.
fn installations(found: &Found, with_volumes: bool) -> BTreeSet<Uuid> {
    let mut installations = found.installations();
    if with_volumes {
        installations.extend(found.installations_of_volumes());
    }
    installations
}

/// A running `serve` would make anew what is removed here.
async fn refuse_while_served(args: &TeardownArgs) -> Result<(), Failure> {
    let client = Client::new(args.engine.place.socket());
    match client.get::<VersionInfo>("/v1/version").await {
        Ok(version) if version.instance == args.instance => {
            Err(Failure::user(format!("`bowline serve` of the instance {} is running", args.instance))
                .hint("stop it first, or delete its gateways: bowline delete"))
        }
        // Another instance's, or nobody's.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Says which volumes were left: they are what tenants have stored.
fn kept(found: &Found, ui: &mut Ui) {
    for volume in &found.volumes {
        ui.say(format_args!("volume {} kept; --volumes removes it", volume.name));
    }
}

fn list(found: &Found, volumes: usize, ui: &mut Ui) {
    for container in &found.containers {
        ui.say(format_args!("  container {}", container.name));
    }
    for network in &found.networks {
        ui.say(format_args!("  network {}", network.name));
    }
    for tree in &found.trees {
        ui.say(format_args!("  files of {}", tree.mark.uid));
    }
    for volume in found.volumes.iter().take(volumes) {
        ui.say(format_args!("  volume {}, with all that is in it", volume.name));
    }
}

/// What a teardown removes, with so many volumes.
fn summary(found: &Found, volumes: usize) -> String {
    format!(
        "{} containers, {} networks, {volumes} volumes and {} directories",
        found.containers.len(),
        found.networks.len(),
        found.trees.len()
    )
}

#[cfg(test)]
mod tests {
    use bowline_core::labels::Owner;
    use bowline_core::volume::{ObservedVolume, VolumeIdentity, VolumeKey};

    use super::*;

    fn volume(installation: u128) -> ObservedVolume {
        let identity = VolumeIdentity {
            owner: Owner { instance: "default".to_owned(), installation: Uuid::from_u128(installation) },
            host: "h1".to_owned(),
            namespace: "u1".to_owned(),
            tenant: Uuid::from_u128(7),
            key: VolumeKey::new("keeper", "data"),
        };
        ObservedVolume { name: format!("v{installation}"), identity }
    }

    #[test]
    fn volumes_that_go_count_with_their_installations_and_those_that_stay_do_not() {
        let mut found = Found::default();
        found.volumes = vec![volume(1), volume(2), volume(1)];
        assert_eq!(installations(&found, true), [1, 2].map(Uuid::from_u128).into());
        assert_eq!(installations(&found, false), BTreeSet::new());
    }
}
