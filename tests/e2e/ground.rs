//! The ground that everything else stands on: an engine that makes and removes, a database that answers.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use bowline_tests::allot::Allotment;
use bowline_tests::bowline::Bowline;
use bowline_tests::engine::{Engine, INSTANCE_LABEL, id, label};
use bowline_tests::figures;
use bowline_tests::foreign::Foreigners;
use bowline_tests::postgres::Postgres;
use bowline_tests::proxy::RecordingProxy;
use bowline_tests::second_engine::SecondEngine;
use tempfile::TempDir;

use crate::support::{LIGHT, all_ready, call, catalog, entry, gateway, gateway_image, members};

#[test]
fn the_engine_makes_and_removes_one_labelled_container() {
    let (engine, allotment) = (Engine::local(), Allotment::take());
    let instance = allotment.instance();
    let labels = BTreeMap::from([(INSTANCE_LABEL.to_owned(), instance.to_owned())]);

    let made = engine.create_container(&format!("ground-{instance}"), &labels);
    let listed = engine.containers_of(instance);
    engine.remove_container(&made);

    assert_eq!(listed.len(), 1);
    assert_eq!((id(&listed[0]), label(&listed[0], INSTANCE_LABEL)), (made.as_str(), Some(instance)));
    assert!(engine.containers_of(instance).is_empty());
}

#[test]
fn a_private_postgres_keeps_its_data_over_a_stop() {
    let mut postgres = Postgres::start();
    assert!(postgres.query("select current_setting('server_version_num')::int >= 150000") == "t");
    assert_eq!(postgres.query("create table kept (x int); insert into kept values (7) returning x"), "7");
    postgres.stop();
    postgres.resume();
    assert_eq!(postgres.query("select x from kept"), "7");
}

#[test]
fn the_proxy_shows_what_the_docker_client_does() {
    let engine = Engine::local();
    let proxy = RecordingProxy::start(engine.socket());
    let docker = |arguments: &[&str]| {
        let mut command = std::process::Command::new("docker");
        command.args(["--host", &format!("unix://{}", proxy.socket().display())]).args(arguments);
        bowline_tests::command::run(command, "", std::time::Duration::from_secs(30)).ok()
    };
    docker(&["ps"]);
    assert!(proxy.mutations().is_empty());

    let allotment = Allotment::take();
    let made = engine.create_container(&format!("proxy-{}", allotment.instance()), &BTreeMap::new());
    docker(&["rm", &made]);
    let removals = proxy.mutations();
    assert_eq!(removals.len(), 1);
    assert_eq!((removals[0].method.as_str(), removals[0].status), ("DELETE", Some(204)));
    assert!(removals[0].target.starts_with(&format!("/containers/{made}")), "{}", removals[0].target);
}

#[test]
fn forty_near_misses_are_seen_completely_and_go_without_a_trace() {
    let (engine, allotment) = (Engine::local(), Allotment::take());
    let roots = [(); 4].map(|()| tempfile::tempdir().expect("a folder"));
    let foreigners = Foreigners::make(&engine, &allotment, ["u1", "u2"], roots.each_ref().map(TempDir::path));
    let before = foreigners.portrait();
    assert_eq!((before.objects.len(), before.files.len()), (36, 8));
    assert_eq!(foreigners.portrait(), before, "looking changes nothing");

    let victim = before.objects.keys().next().expect("36").clone();
    engine.call("DELETE", &format!("/containers/{victim}"), b"");
    engine.call("DELETE", &format!("/networks/{victim}"), b"");
    assert_ne!(foreigners.portrait(), before, "a removal is seen");

    drop(foreigners);
    assert!(before.objects.keys().all(|id| {
        engine.call("GET", &format!("/containers/{id}/json"), b"").status == 404
            && engine.call("GET", &format!("/networks/{id}"), b"").status == 404
    }));
}

#[test]
fn a_second_engine_carries_a_gateway_in_a_network_of_its_own_and_leaves_nothing() {
    let begin = Instant::now();
    let second = SecondEngine::start(false);
    second.load_images(&[&gateway_image(), LIGHT]);
    let up = begin.elapsed();
    let mut bowline = Bowline::new().beside(&second);
    bowline.start();
    bowline
        .apply(&(catalog(&[("light", entry(LIGHT, "disableNetwork: true"))]) + &gateway("u1", &["light"])));
    all_ready(&bowline, &["u1"]);
    call(&bowline, "u1", "echo", "{}").ok();
    assert_eq!(members(&bowline, "u1").len(), 2);
    assert!(bowline.engine().containers_of(bowline.allotment().instance()).len() >= 2);
    assert!(
        Engine::local().containers_of(bowline.allotment().instance()).is_empty(),
        "none on the machine's"
    );

    let ports = bowline.allotment().ports();
    let limit = Duration::from_secs(5);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *ports.start()));
    second.connect(address, limit).expect("published in the network of the second Engine");

    let processes = second.processes();
    assert!(processes.len() >= 6, "dockerd, containerd, two shims and two containers: {processes:?}");
    drop(bowline);
    let folder = second.socket().parent().expect("a folder").to_owned();
    drop(second);
    for (pid, name) in processes {
        // Another process may have the number by now.
        let now = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        assert_ne!(now.trim(), name, "{pid} still runs");
    }
    assert!(!folder.exists());
    let name = folder.file_name().expect("a name").to_str().expect("text");
    assert!(!fs::read_to_string("/proc/mounts").expect("the mounts").contains(name));
    for hierarchy in ["", "memory", "pids", "systemd"] {
        assert!(!Path::new("/sys/fs/cgroup").join(hierarchy).join(name).exists(), "{hierarchy}");
    }
    figures::note(
        "ground",
        &format!("a second Engine with two images is up after {:.1} s", up.as_secs_f64()),
    );
}
