//! From the normal form of a container to the Engine's create call: what is the same for every container is
//! added here, and nowhere else.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount,
    MountBindOptions, MountBindOptionsPropagationEnum, MountType, PortBinding, ResourcesUlimits,
    RestartPolicy, RestartPolicyNameEnum,
};
use bowline_core::container::{Bind, ContainerSpec, Limits, NetworkMode, VolumeMount};
use bowline_core::labels::Identity;

/// Seconds between SIGTERM and SIGKILL: our programs end within one, a server has no state to save.
const STOP_SECONDS: i64 = 5;
/// Open files, soft and hard: room for a server that opens many, none for one that opens all.
const NOFILE: (i64, i64) = (1024, 4096);

/// The body of `POST /containers/create` for `spec`, with the hardening that every container has.
pub fn create_body(identity: &Identity, spec: &ContainerSpec) -> ContainerCreateBody {
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
        // A part of what it is made from, and of nothing that the Engine is told.
        secrets: _,
    } = spec;
    let Limits { memory, nano_cpus, cpu_shares, pids } = limits;
    let ports = publish.as_ref().map(|publish| {
        let binding = PortBinding {
            host_ip: Some(publish.address.to_string()),
            host_port: Some(publish.host_port.to_string()),
        };
        (format!("{}/tcp", publish.container_port), binding)
    });

    let host_config = HostConfig {
        cap_drop: Some(vec!["ALL".to_owned()]),
        // Nothing else: the Engine's own seccomp and AppArmor profiles apply where none is named.
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        privileged: Some(false),
        readonly_rootfs: Some(*read_only_root),
        tmpfs: Some(HashMap::from([("/tmp".to_owned(), tmpfs_options(*tmp_bytes, *user))])),
        memory: Some(*memory),
        memory_swap: Some(*memory),
        nano_cpus: *nano_cpus,
        // Said outright, as an update has to say it: an update cannot take a value back, and on cgroup v2 what was
        // never said weighs more than the default that was.
        cpu_shares: Some(cpu_shares.unwrap_or(Limits::DEFAULT_CPU_SHARES)),
        pids_limit: Some(*pids),
        ulimits: Some(vec![ResourcesUlimits {
            name: Some("nofile".to_owned()),
            soft: Some(NOFILE.0),
            hard: Some(NOFILE.1),
        }]),
        ipc_mode: Some("private".to_owned()),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        log_config: Some(HostConfigLogConfig {
            typ: Some("local".to_owned()),
            config: Some(HashMap::from([
                ("max-size".to_owned(), "10m".to_owned()),
                ("max-file".to_owned(), "3".to_owned()),
            ])),
        }),
        restart_policy: Some(restart_policy(true)),
        mounts: Some(binds.iter().map(mount).chain(volumes.iter().map(volume_mount)).collect()),
        network_mode: Some(match network {
            NetworkMode::None => "none".to_owned(),
            NetworkMode::Named(name) => name.clone(),
        }),
        port_bindings: ports.clone().map(|(port, binding)| HashMap::from([(port, Some(vec![binding]))])),
        publish_all_ports: Some(false),
        auto_remove: Some(false),
        init: Some(false),
        ..HostConfig::default()
    };

    ContainerCreateBody {
        image: Some(image.clone()),
        // An empty list would be "no program", not "the image's own".
        entrypoint: (!entrypoint.is_empty()).then(|| entrypoint.clone()),
        cmd: (!command.is_empty()).then(|| command.clone()),
        env: Some(env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        user: user.map(|uid| format!("{uid}:{uid}")),
        exposed_ports: ports.map(|(port, _)| vec![port]),
        labels: Some(identity.to_labels().into_iter().collect()),
        stop_timeout: Some(STOP_SECONDS),
        tty: Some(false),
        open_stdin: Some(false),
        host_config: Some(host_config),
        ..ContainerCreateBody::default()
    }
}

/// The policy that lets Docker start a container again by itself, or not.
pub(crate) fn restart_policy(restart: bool) -> RestartPolicy {
    let name = if restart { RestartPolicyNameEnum::UNLESS_STOPPED } else { RestartPolicyNameEnum::NO };
    RestartPolicy { name: Some(name), maximum_retry_count: None }
}

/// Owner and mode are both given: runc 1.1 ignores `mode=` over a directory that the image has.
fn tmpfs_options(bytes: i64, user: Option<u32>) -> String {
    let base = format!("rw,nosuid,nodev,noexec,size={bytes},mode=1777");
    match user {
        Some(uid) => format!("{base},uid={uid},gid={uid}"),
        None => base,
    }
}

fn mount(bind: &Bind) -> Mount {
    let Bind { source, target, read_only } = bind;
    Mount {
        typ: Some(MountType::BIND),
        source: Some(source.clone()),
        target: Some(target.clone()),
        read_only: Some(*read_only),
        // `create_mountpoint` stays away: a missing source is an error, never a new empty directory.
        bind_options: Some(MountBindOptions {
            propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
            ..MountBindOptions::default()
        }),
        ..Mount::default()
    }
}

/// A volume that is there already: see [`crate::Host::execute`] for who makes it. A new one begins with what the
/// image has at its path, as with `docker run`.
fn volume_mount(volume: &VolumeMount) -> Mount {
    let VolumeMount { name, target, read_only } = volume;
    Mount {
        typ: Some(MountType::VOLUME),
        source: Some(name.clone()),
        target: Some(target.clone()),
        read_only: Some(*read_only),
        ..Mount::default()
    }
}

#[cfg(test)]
mod tests;
