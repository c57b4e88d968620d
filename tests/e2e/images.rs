//! Images that must be pulled, images that are nowhere, pulls and servers that hang: each is one server's trouble.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bowline_tests::bowline::Bowline;
use bowline_tests::engine::{Engine, encode};
use bowline_tests::figures;
use bowline_tests::wait;
use tempfile::TempDir;

use crate::support::{
    LIGHT, PATIENCE, all_ready, call, catalog, condition, docker, entry, gateway, server_state,
};

/// A registry of Debian's `docker-registry` on loopback; it ends with the value.
struct Registry {
    server: Child,
    port: u16,
    _folder: TempDir,
}

impl Registry {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let config = folder.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage: {{ filesystem: {{ rootdirectory: {} }} }}\n\
             http: {{ addr: '127.0.0.1:{port}' }}\n",
            folder.path().join("images").display()
        );
        fs::write(&config, text).expect("the registry's configuration");
        let server = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry");
        let registry = Self { server, port, _folder: folder };
        wait::until_true("the registry listens", Duration::from_secs(30), || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        registry
    }

    /// The reference of a repository here.
    fn reference(&self, repository: &str) -> String {
        format!("127.0.0.1:{}/{repository}:1", self.port)
    }

    /// Puts the light server here under this name. The engine never has it under the reference itself: it is
    /// pushed by another name of the same registry.
    fn push_light(&self, repository: &str) -> String {
        let alias = format!("localhost:{}/{repository}:1", self.port);
        docker(["tag", LIGHT, &alias]).ok();
        docker(["push", "--quiet", &alias]).ok();
        docker(["image", "rm", &alias]).ok();
        self.reference(repository)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It has no state to save; its folder goes with it.
        let _ended_already = self.server.kill();
        let _reaped = self.server.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

fn is_present(reference: &str) -> bool {
    Engine::local().call("GET", &format!("/images/{}/json", encode(reference)), b"").status == 200
}

#[test]
fn an_image_that_is_absent_is_pulled_and_one_that_is_nowhere_is_that_servers_state() {
    let registry = Registry::start();
    let (there, nowhere) = (registry.push_light("there"), registry.reference("nowhere"));
    assert!(!is_present(&there), "it is only in the registry");
    let mut bowline = Bowline::new();
    bowline.start();
    let tools = |name: &str| format!("disableNetwork: true, command: [--tools, {name}]");
    let entries = [
        ("local", entry(LIGHT, &tools("echo"))),
        ("pulled", entry(&there, &tools("pid"))),
        ("absent", entry(&nowhere, &tools("env"))),
    ];
    bowline.apply(
        &(catalog(&entries) + &gateway("u1", &["local", "pulled", "absent"]) + &gateway("u2", &["local"])),
    );

    all_ready(&bowline, &["u2"]);
    let states = || {
        let object = bowline.object("gateway", "u1", "default");
        ["local", "pulled", "absent"].map(|name| server_state(&object, name))
    };
    let state = |state: &str, reason: &str| (state.to_owned(), reason.to_owned());
    let settled = [state("Running", ""), state("Running", ""), state("Failed", "ImageMissing")];
    wait::until_true("two of three servers run", PATIENCE, || states() == settled);
    assert!(is_present(&there), "it was pulled");

    let object = bowline.object("gateway", "u1", "default");
    assert_eq!(condition(&object, "Available").0, "True");
    assert_eq!(condition(&object, "Ready"), state("False", "ServersFailed"));
    assert_eq!(condition(&object, "ImagesReady"), state("False", "ImageMissing"));
    let table = bowline.cli(["get", "gateway", "-n", "u1"]).ok();
    assert!(table.contains("2/3"), "{table}");
    let described = bowline.cli(["describe", "gateway/u1/default"]).ok();
    assert!(described.contains("ImageMissing") && described.contains(&nowhere), "{described}");
    call(&bowline, "u1", "echo", "{}").ok();
    call(&bowline, "u1", "pid", "{}").ok();

    // It is tried again by itself once somebody has pushed it.
    registry.push_light("nowhere");
    wait::until_true("the third server runs", PATIENCE, || states()[2] == state("Running", ""));
    call(&bowline, "u1", "env", r#"{"name": "HOME"}"#).ok();
    all_ready(&bowline, &["u1"]);

    bowline.cli(["delete", "gateway/u1/default"]).ok();
    for reference in [&there, &nowhere] {
        docker(["image", "rm", reference]).ok();
    }
}

/// A registry that accepts every connection and never says a word. Returns its port, and what must live as long.
fn silent_registry() -> (u16, mpsc::Sender<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let (end, ended) = mpsc::channel::<()>();
    thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            held.push(stream);
            if let Err(mpsc::TryRecvError::Disconnected) = ended.try_recv() {
                break;
            }
        }
    });
    (port, end)
}

#[test]
fn a_pull_that_hangs_and_a_server_that_never_answers_hold_up_nobody_else() {
    const HEALTHY: [&str; 6] = ["h1", "h2", "h3", "h4", "h5", "h6"];
    let (port, _open) = silent_registry();
    let mut bowline = Bowline::new();
    bowline.start();
    let entries = [
        ("good", entry(LIGHT, "disableNetwork: true")),
        ("other", entry(LIGHT, "disableNetwork: true, prefix: other")),
        ("mute", entry(LIGHT, "disableNetwork: true, command: [--hang]")),
        ("hanging", entry(&format!("127.0.0.1:{port}/hanging:1"), "disableNetwork: true")),
    ];
    bowline.apply(&catalog(&entries));
    let healthy: String = HEALTHY.map(|user| gateway(user, &["good"])).concat();
    // Beside three more, which come first: all of them well, or all of them in trouble.
    let run = |more: [&[&str]; 3]| {
        let more = ["t1", "t2", "t3"].iter().zip(more).map(|(user, servers)| gateway(user, servers));
        let declared = more.collect::<String>() + &healthy;
        let begun = Instant::now();
        bowline.apply(&declared);
        all_ready(&bowline, &HEALTHY);
        begun.elapsed().as_secs_f64()
    };
    let delete = || {
        let mut delete = vec!["delete".to_owned()];
        delete
            .extend(HEALTHY.iter().chain(&["t1", "t2", "t3"]).map(|user| format!("gateway/{user}/default")));
        bowline.cli(delete).ok();
    };
    let well: [&[&str]; 3] = [&["other", "good"]; 3];
    // The first run also warms the Engine up, and is not counted.
    run(well);
    delete();
    let without = run(well);
    delete();
    let with = run([&["hanging", "good"], &["mute", "good"], &["hanging", "mute"]]);
    figures::note(
        "trouble",
        &format!(
            "6 gateways Ready {without:.1} s after the apply beside 3 that are well, {with:.1} s beside 3 with hanging \
             pulls and servers: ratio {:.2}",
            with / without
        ),
    );

    // And in a gateway with such a neighbour the healthy server works, too.
    for (user, server, expected) in [("t1", "hanging", "Pulling"), ("t2", "mute", "Starting")] {
        wait::until_true("the healthy server runs", PATIENCE, || {
            server_state(&bowline.object("gateway", user, "default"), "good").0 == "Running"
        });
        let object = bowline.object("gateway", user, "default");
        let (state, _) = server_state(&object, server);
        assert!(state == expected || state == "Failed", "{server}: {state}");
        assert_eq!(condition(&object, "Available").0, "True");
        call(&bowline, user, "echo", "{}").ok();
    }
}
