//! The floor of admission: what no plan ever contains, whoever asks (`specs/admission.md`, S1).
//!
//! Much of it holds by construction, because a [`ContainerSpec`] cannot say it. The rest is checked here on every
//! plan, right before it is executed. A violation is a defect of ours: the plan is not carried out, and the
//! gateway's status says so.

use crate::container::{Bind, ContainerSpec, Limits, NetworkMode, NetworkSpec, VolumeMount};
use crate::desired::{SECRETS, Settings, below_secrets, secrets};
use crate::gateway_file::{
    BRIDGE_DIR, BRIDGE_FILE, CONFIG_DIR, GATEWAY_PORT, SECRETS_DIR, SECRETS_FILE, SOCKETS_DIR,
};
use crate::labels::{Identity, Role};
use crate::lease::SUBNET_PREFIX;
use crate::object::GatewayKey;
use crate::plan::Plan;
use crate::step::Step;
use crate::volume::check_target;

/// A step that breaks the floor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("refused by the floor: {step}: {rule}")]
pub struct Violation {
    /// The step, as printed.
    pub step: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

/// Checks every step of the plan of one gateway.
///
/// # Errors
/// The first violation.
pub fn check(plan: &Plan, key: &GatewayKey, settings: &Settings) -> Result<(), Violation> {
    plan.steps.iter().try_for_each(|planned| {
        check_step(&planned.step, key, settings)
            .map_err(|rule| Violation { step: planned.step.to_string(), rule })
    })
}

type Checked = Result<(), &'static str>;

fn require(holds: bool, rule: &'static str) -> Checked {
    if holds { Ok(()) } else { Err(rule) }
}

fn check_step(step: &Step, key: &GatewayKey, settings: &Settings) -> Checked {
    match step {
        Step::CreateContainer { name, identity, spec } => {
            check_name(name)?;
            check_identity(identity, key, settings)?;
            check_container(identity, spec, settings)
        }
        Step::CreateVolume { name, identity } => {
            check_volume_name(name, &key.namespace)?;
            require(
                identity.owner == settings.owner,
                "every object carries our own instance and installation",
            )?;
            require(identity.namespace == key.namespace, "a volume belongs to the gateway's own namespace")
        }
        Step::CreateNetwork { name, identity, spec } => {
            check_name(name)?;
            check_identity(identity, key, settings)?;
            require(identity.role == Role::Network, "a network carries the role network")?;
            check_network(spec, settings)
        }
        Step::EnsureDirectory { path, mode, .. } | Step::WriteFile { path, mode, .. } => {
            check_path(path)?;
            require(mode & !0o777 == 0, "no set-uid, set-gid or sticky bit")
        }
        Step::WriteSecrets { path, sources, .. } => {
            let parts: Vec<_> = path.split('/').collect();
            require(
                matches!(parts[..], [SECRETS, _, SECRETS_FILE]),
                "secrets are written into a server's own secret file only",
            )?;
            check_path(path)?;
            sources.iter().try_for_each(|source| check_variable(&source.env))
        }
        Step::RemovePath { path, .. } => check_path(path),
        // A reference goes to the Engine as one value; what it names is checked when a container is made of it.
        Step::PullImage { reference } => {
            require(!has_control(reference), "no control character in a reference")
        }
        Step::RenameContainer { to, .. } => check_name(to),
        Step::UpdateContainer { limits, .. } => check_limits(limits),
        Step::ConnectNetwork { network, .. } => check_joined(network),
        // These go by id, and only to what was observed with our labels.
        Step::RemoveNetwork { .. }
        | Step::StartContainer { .. }
        | Step::UnpauseContainer { .. }
        | Step::DisconnectNetwork { .. }
        | Step::SetRestart { .. }
        | Step::StopContainer { .. }
        | Step::RemoveContainer { .. }
        | Step::ReloadGateway { .. } => Ok(()),
    }
}

fn check_identity(identity: &Identity, key: &GatewayKey, settings: &Settings) -> Checked {
    require(identity.owner == settings.owner, "every object carries our own instance and installation")?;
    require(identity.key == *key, "every object carries the gateway's own namespace and name")
}

fn check_container(identity: &Identity, spec: &ContainerSpec, settings: &Settings) -> Checked {
    let ContainerSpec {
        image,
        entrypoint,
        command,
        env,
        user,
        read_only_root,
        binds,
        volumes,
        tmp_bytes,
        network,
        publish,
        limits,
        secrets,
    } = spec;
    require(image.starts_with("sha256:"), "containers are made from an image id")?;
    require(!entrypoint.iter().chain(command).any(|text| text.contains('\0')), "no NUL in an argument")?;
    for (name, value) in env {
        check_variable(name)?;
        require(!value.contains('\0'), "no NUL in an environment value")?;
    }
    require(*tmp_bytes > 0, "/tmp has a size")?;
    check_limits(limits)?;
    if let Some(user) = user {
        let uids = settings.ranges.uids;
        require((uids.first..=uids.last).contains(&i64::from(*user)), "the user id is a leased one")?;
    }
    if let NetworkMode::Named(name) = network {
        check_joined(name)?;
    }
    for bind in binds {
        check_bind(bind, identity, settings)?;
    }
    let has_secrets = binds.iter().any(|bind| bind.target == SECRETS_DIR);
    require(has_secrets != secrets.is_empty(), "a container with secrets is made for one revision of them")?;
    for VolumeMount { name, target, read_only: _ } in volumes {
        check_volume_name(name, &identity.key.namespace)?;
        require(check_target(target).is_ok(), "a volume covers no path that the container needs for itself")?;
    }
    match &identity.role {
        Role::Gateway => {
            let writable = binds.iter().filter(|bind| !bind.read_only);
            require(
                writable.into_iter().all(|bind| bind.target == SOCKETS_DIR),
                "a gateway writes to its sockets' directory only",
            )?;
            require(volumes.is_empty(), "a gateway has no volume")?;
            require(user.is_some() && *read_only_root, "a gateway has a leased user and a read-only root")?;
            let publish = publish.as_ref().ok_or("a gateway publishes its port")?;
            require(publish.container_port == GATEWAY_PORT, "a gateway publishes its own port only")?;
            require(
                publish.address == settings.publish_address,
                "ports are published on the set address only",
            )
        }
        Role::Server(_) => {
            require(publish.is_none(), "a server publishes no port")?;
            require(binds.iter().all(|bind| bind.read_only), "no host directory is writable by a server")?;
            let bridge = format!("{BRIDGE_DIR}/{BRIDGE_FILE}");
            require(*entrypoint == [bridge], "a server is started through the bridge")
        }
        Role::Network => Err("a container carries the role gateway or server"),
    }
}

/// Whether a container may be made: what a plan that creates it would be asked.
pub(crate) fn admits(identity: &Identity, spec: &ContainerSpec, settings: &Settings) -> bool {
    check_container(identity, spec, settings).is_ok()
}

fn check_limits(limits: &Limits) -> Checked {
    require(limits.memory > 0 && limits.pids > 0, "memory and processes are limited")
}

fn check_joined(network: &str) -> Checked {
    check_name(network)?;
    // `host`, `bridge`, `default` and `container:…` are modes of Docker's, not names of ours.
    require(network.starts_with("mcp-net-"), "containers join no network but their gateway's")
}

fn check_variable(name: &str) -> Checked {
    require(!name.is_empty() && !name.contains('=') && !has_control(name), "environment names are words")
}

/// A bind's source is a directory that the controller made for this very object, or the bridge.
fn check_bind(bind: &Bind, identity: &Identity, settings: &Settings) -> Checked {
    let Bind { source, target, read_only } = bind;
    require(
        [CONFIG_DIR, SOCKETS_DIR, BRIDGE_DIR, SECRETS_DIR].contains(&target.as_str()),
        "binds have the targets of the gateway's contract",
    )?;
    if *source == settings.bridge_dir {
        return require(*read_only && target == BRIDGE_DIR, "the bridge is bound read-only in its place");
    }
    let tree = settings.tree(identity.uid);
    let path = source.strip_prefix(&tree).and_then(|rest| rest.strip_prefix('/'));
    let path = path.ok_or("a bind's source is a directory made for this very object")?;
    check_path(path)?;
    require(!path.is_empty(), "a bind's source is below the object's own tree")?;
    let is_secret = path == SECRETS || below_secrets(path).is_some();
    if !is_secret && target != SECRETS_DIR {
        return Ok(());
    }
    let own = match &identity.role {
        Role::Server(server) => Some(secrets::directory(server)),
        Role::Gateway | Role::Network => None,
    };
    require(
        own.as_deref() == Some(path) && target == SECRETS_DIR && *read_only,
        "secrets are bound read-only, in their place, and into the container of the very server",
    )
}

fn check_network(spec: &NetworkSpec, settings: &Settings) -> Checked {
    let pool = settings.ranges.subnets;
    let mask = u32::MAX.checked_shl(32 - u32::from(pool.prefix)).unwrap_or(0);
    let subnet = u32::from(spec.subnet.0);
    require(subnet & mask == u32::from(pool.address), "a subnet is cut from the pool")?;
    require(subnet.trailing_zeros() >= 32 - u32::from(SUBNET_PREFIX), "a subnet begins on its own boundary")
}

/// A volume is one that the controller gives to this very tenant: its name begins as those of no other namespace
/// do. Whose it is by its labels is looked at before it is made and before it is mounted.
fn check_volume_name(name: &str, namespace: &str) -> Checked {
    check_name(name)?;
    let rest = name.strip_prefix("mcp-vol-").and_then(|rest| rest.strip_prefix(namespace));
    require(rest.is_some_and(|rest| rest.starts_with('.')), "a volume is one of the gateway's own namespace")
}

/// Docker's own rule for names.
fn check_name(name: &str) -> Checked {
    let mut bytes = name.bytes();
    let good = bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    require(good, "names are made of letters, digits, `_`, `.` and `-`")
}

/// A path below a tree: relative, and going down only.
fn check_path(path: &str) -> Checked {
    let good = path.is_empty()
        || path.split('/').all(|part| !part.is_empty() && part != "." && part != ".." && !has_control(part));
    require(good, "paths are relative and go down only")
}

fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;
