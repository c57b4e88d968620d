//! Who reaches a server: its gateway, and nobody else. What a container may do: what its server needs, and no more.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bowline_tests::bowline::Bowline;
use bowline_tests::command::{Output, run};
use bowline_tests::figures;
use serde_json::{Value, json};

use crate::support::{TIME, all_ready, catalog, docker, entry, gateway, members};

const PYTHON: &str = "localhost/bowline-python:bookworm";
const USERS: [&str; 2] = ["u1", "u2"];
/// The port of a gateway in its container.
const GATEWAY_PORT: u16 = 8811;

/// Two users with a server without a network and one with a network each, all in Python.
fn two_users() -> Bowline {
    let mut bowline = Bowline::new();
    // A temporary folder is private by itself; what guards the sockets must be what Bowline puts below it.
    fs::set_permissions(bowline.runtime_dir(), Permissions::from_mode(0o755)).expect("permissions");
    bowline.start();
    let entries = [("quiet", entry(TIME, "disableNetwork: true")), ("online", entry(TIME, "prefix: online"))];
    let gateways: String = USERS.map(|user| gateway(user, &["quiet", "online"])).concat();
    bowline.apply(&(catalog(&entries) + &gateways));
    all_ready(&bowline, &USERS);
    bowline
}

/// Every container of the two users: user, role, inspect.
fn everyone(bowline: &Bowline) -> Vec<(&'static str, String, Value)> {
    USERS
        .iter()
        .flat_map(|user| members(bowline, user).into_iter().map(move |(role, seen)| (*user, role, seen)))
        .collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// The address of a container in its network, if it has one.
fn address(seen: &Value) -> Option<&str> {
    let networks = seen["NetworkSettings"]["Networks"].as_object()?;
    networks.values().find_map(|network| network["IPAddress"].as_str()).filter(|address| !address.is_empty())
}

/// The address of the host in a container's network.
fn host_address(seen: &Value) -> Option<&str> {
    let networks = seen["NetworkSettings"]["Networks"].as_object()?;
    networks.values().find_map(|network| network["Gateway"].as_str()).filter(|address| !address.is_empty())
}

fn published_port(seen: &Value) -> u64 {
    let binding = &seen["HostConfig"]["PortBindings"][format!("{GATEWAY_PORT}/tcp")][0];
    assert_eq!(binding["HostIp"], "127.0.0.1");
    text(&binding["HostPort"]).parse().expect("a port")
}

/// Everything over TCP that somebody could want to reach: each gateway where it listens and where it is published,
/// each networked server at the port that docker/mcp-gateway's servers listen on.
fn targets(everyone: &[(&str, String, Value)]) -> Vec<String> {
    let mut targets = BTreeSet::new();
    for (_, role, seen) in everyone {
        for port in [GATEWAY_PORT, 4444] {
            targets.extend(address(seen).map(|address| format!("{address}:{port}")));
        }
        if role == "gateway" {
            let port = published_port(seen);
            let hosts = everyone.iter().filter_map(|(_, _, other)| host_address(other)).chain(["127.0.0.1"]);
            targets.extend(hosts.map(|host| format!("{host}:{port}")));
        }
    }
    targets.into_iter().collect()
}

/// Runs the probe in a container that runs.
fn probe(id: &str, targets: &[String]) -> Value {
    let script = ["exec", id, "python3", "-c", include_str!("probe.py")];
    docker(script.into_iter().chain(targets.iter().map(String::as_str))).json()
}

#[test]
fn a_server_sees_its_own_socket_writes_nothing_of_the_host_and_reaches_nobody() {
    let bowline = two_users();
    let everyone = everyone(&bowline);
    let targets = targets(&everyone);
    for (user, role, seen) in everyone.iter().filter(|(_, role, _)| role != "gateway") {
        let who = format!("{user}'s {role}");
        let found = probe(text(&seen["Id"]), &targets);
        let uid = found["uid"].as_u64().expect("a uid");
        assert!(bowline.allotment().uids().contains(&u32::try_from(uid).expect("a uid")), "{who}: {uid}");
        assert_eq!(found["sockets"], json!(["/run/bowline/mcp.sock"]), "{who}");
        assert_eq!(found["reached"], json!([]), "{who}");
        assert_eq!(found["secrets"], json!([]), "{who}");
        let writable: Vec<_> = found["writable"].as_object().expect("mounts").iter().collect();
        for (point, kind) in &writable {
            let own = ["/tmp", "/dev/shm", "/dev/mqueue"].contains(&point.as_str());
            assert!(own && (*kind == "tmpfs" || *kind == "mqueue"), "{who} can write {point} ({kind})");
        }
        assert!(
            writable.iter().any(|(point, _)| *point == "/tmp"),
            "{who}: the probe tells what is writable"
        );
    }
    figures::note(
        "isolation",
        &format!(
            "{} servers, each of {} TCP targets tried from each: none reached",
            everyone.len() - 2,
            targets.len()
        ),
    );
}

#[test]
fn a_container_of_somebody_else_reaches_nobody_not_even_in_a_gateways_own_network() {
    let bowline = two_users();
    let everyone = everyone(&bowline);
    let targets = targets(&everyone);
    let network = text(&everyone[0].2["HostConfig"]["NetworkMode"]).to_owned();
    assert!(network.starts_with("mcp-net-"), "{network}");
    for network in ["bridge", network.as_str()] {
        let script = ["run", "--rm", "--network", network, PYTHON, "python3", "-c", include_str!("probe.py")];
        let found = docker(script.into_iter().chain(targets.iter().map(String::as_str))).json();
        assert_eq!((&found["uid"], &found["reached"]), (&json!(0), &json!([])), "from {network}");
    }
}

#[test]
fn nothing_but_gateways_listens_and_they_on_one_port() {
    let bowline = two_users();
    for (user, role, seen) in everyone(&bowline) {
        let who = format!("{user}'s {role}");
        let pid = seen["State"]["Pid"].as_u64().expect("a pid");
        let expected: &[u16] = if role == "gateway" { &[GATEWAY_PORT] } else { &[] };
        assert_eq!(listening(pid), expected, "{who}");
        let bindings = seen["HostConfig"]["PortBindings"].as_object().map_or(0, serde_json::Map::len);
        assert_eq!(bindings, expected.len(), "{who}");
    }
}

/// The ports on which TCP listens in the network namespace of a process, apart from Docker's own name server.
fn listening(pid: u64) -> Vec<u16> {
    const LISTEN: &str = "0A";
    /// 127.0.0.11, as the kernel writes it.
    const NAME_SERVER: &str = "0B00007F";
    let mut ports = BTreeSet::new();
    for table in ["tcp", "tcp6"] {
        // Where IPv6 is switched off its table is missing.
        let table = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for line in table.lines().skip(1) {
            let fields: Vec<_> = line.split_ascii_whitespace().collect();
            let (address, port) = fields[1].split_once(':').expect("an address");
            if fields[3] == LISTEN && address != NAME_SERVER {
                ports.insert(u16::from_str_radix(port, 16).expect("a port"));
            }
        }
    }
    ports.into_iter().collect()
}

/// A command as a user of the host who is nobody.
fn as_nobody(command: &[&str]) -> Output {
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).args(command);
    run(nobody, "", Duration::from_secs(60))
}

/// Every unix socket below a folder.
fn sockets_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry")) {
            let kind = entry.file_type().expect("a type");
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_socket() {
                found.push(entry.path());
            }
        }
    }
    found
}

#[test]
fn an_unprivileged_user_of_the_host_reaches_no_socket_and_no_gateway_without_a_token() {
    /// Of curl: it could not connect.
    const UNREACHABLE: Option<i32> = Some(7);
    let bowline = two_users();
    let sockets = sockets_below(bowline.runtime_dir());
    let names: BTreeSet<_> = sockets.iter().filter_map(|path| path.file_name()?.to_str()).collect();
    for name in ["bowline.sock", "controller.sock", "control.sock", "mcp.sock"] {
        assert!(names.contains(name), "{name} is not among {names:?}");
    }
    for socket in &sockets {
        let path = socket.to_str().expect("a path");
        let curl = [
            "curl",
            "--silent",
            "--max-time",
            "5",
            "--output",
            "/dev/null",
            "--unix-socket",
            path,
            "http://x/",
        ];
        let output = as_nobody(&curl);
        assert_eq!(output.status.code(), UNREACHABLE, "{path}: {output:?}");
        // The same without the disguise, so that it is the user who is refused and not the command.
        if path.ends_with("control.sock") {
            let mut root = Command::new(curl[0]);
            root.args(&curl[1..]);
            assert!(run(root, "", Duration::from_secs(60)).status.success(), "{path}");
        }
    }
    let found = as_nobody(&["find", bowline.runtime_dir().to_str().expect("a path"), "-type", "f"]);
    assert_eq!(found.stdout, "", "files that nobody can see");
    for (_, role, seen) in everyone(&bowline) {
        if role == "gateway" {
            let base = format!("http://127.0.0.1:{}", published_port(&seen));
            let status = |path: &str| {
                let url = format!("{base}{path}");
                as_nobody(&["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", &url])
                    .ok()
            };
            assert_eq!((status("/health").as_str(), status("/mcp").as_str()), ("200", "401"));
        }
    }
    figures::note("isolation", &format!("{} sockets tried as nobody: none reached", sockets.len()));
}

#[test]
fn every_container_is_hardened_as_the_floor_says() {
    let bowline = two_users();
    let everyone = everyone(&bowline);
    assert_eq!(everyone.len(), 6);
    let mut uids = BTreeSet::new();
    for (user, role, seen) in &everyone {
        let who = format!("{user}'s {role}");
        let (config, host) = (&seen["Config"], &seen["HostConfig"]);

        let (uid, gid) = text(&config["User"]).split_once(':').expect("uid:gid");
        let number: u32 = uid.parse().expect("a uid");
        assert_eq!(uid, gid, "{who}");
        assert!(bowline.allotment().uids().contains(&number), "{who}: {uid}");
        assert!(uids.insert(number), "{who} shares its uid");

        assert_eq!(host["CapDrop"], json!(["ALL"]), "{who}");
        assert_eq!(host["SecurityOpt"], json!(["no-new-privileges"]), "{who}");
        for (field, expected) in [
            ("ReadonlyRootfs", json!(true)),
            ("Privileged", json!(false)),
            ("PublishAllPorts", json!(false)),
            ("AutoRemove", json!(false)),
            ("IpcMode", json!("private")),
            ("PidMode", json!("")),
            ("UTSMode", json!("")),
            ("UsernsMode", json!("")),
        ] {
            assert_eq!(host[field], expected, "{who}: {field}");
        }
        for field in [
            "CapAdd",
            "Binds",
            "Devices",
            "DeviceRequests",
            "DeviceCgroupRules",
            "Sysctls",
            "VolumesFrom",
            "Links",
            "GroupAdd",
            "ExtraHosts",
        ] {
            let nothing = host[field].is_null() || host[field].as_array().is_some_and(Vec::is_empty);
            assert!(nothing, "{who}: {field} is {}", host[field]);
        }
        assert!(host["CgroupnsMode"] == "private", "{who}: {}", host["CgroupnsMode"]);
        let memory = host["Memory"].as_i64().expect("a limit");
        assert!(memory > 0 && host["MemorySwap"] == memory, "{who}: {memory} and {}", host["MemorySwap"]);
        assert!(host["PidsLimit"].as_i64().is_some_and(|limit| limit > 0), "{who}");
        assert!(host["NanoCpus"].as_i64().is_some_and(|limit| limit > 0), "{who}");
        assert_eq!(host["Ulimits"][0]["Name"], "nofile", "{who}");
        assert_eq!(
            host["LogConfig"],
            json!({ "Type": "local", "Config": { "max-size": "10m", "max-file": "3" } })
        );
        assert_eq!(host["RestartPolicy"]["Name"], "unless-stopped", "{who}");
        let tmp = text(&host["Tmpfs"]["/tmp"]);
        assert!(tmp.contains(&format!("uid={uid},gid={gid}")) && tmp.contains("size="), "{who}: {tmp}");

        let networked = role != "quiet";
        assert_eq!(text(&host["NetworkMode"]) != "none", networked, "{who}: {}", host["NetworkMode"]);
        check_mounts(&bowline, &who, role, seen);
    }
}

/// Binds of directories that were made for this object, read-only but for the gateway's own sockets.
fn check_mounts(bowline: &Bowline, who: &str, role: &str, seen: &Value) {
    let tree =
        bowline.runtime_dir().join("gateways").join(text(&seen["Config"]["Labels"]["dev.bowline.uid"]));
    let mounts = seen["Mounts"].as_array().expect("mounts");
    assert_eq!(mounts.len(), 2, "{who}: {mounts:?}");
    for mount in mounts {
        let (source, target) = (Path::new(text(&mount["Source"])), text(&mount["Destination"]));
        assert_eq!((&mount["Type"], &mount["Propagation"]), (&json!("bind"), &json!("rprivate")), "{who}");
        let (expected, writable) = match (role, target) {
            ("gateway", "/etc/bowline") => (tree.join("config"), false),
            ("gateway", "/run/bowline") => (tree.join("sockets"), true),
            (server, "/run/bowline") => (tree.join("sockets/servers").join(server), false),
            (_, "/bowline") => (bowline.state_dir().join("bridge"), false),
            _ => panic!("{who} has {} at {target}", source.display()),
        };
        assert!(
            source == expected || target == "/bowline" && source.starts_with(&expected),
            "{who}: {source:?}"
        );
        assert_eq!(mount["RW"], writable, "{who}: {target}");
    }
}
