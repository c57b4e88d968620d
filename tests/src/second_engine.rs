//! An Engine of a test's own, which may be stopped, killed, frozen and cut off from power.
//!
//! It stands in two houses, one in the other:
//! - the *ground* is a network namespace that outlives every life of the Engine, as a machine's cables do: `serve` and
//!   clients of the test run in it, too, so that no published port meets one of the machine;
//! - the *house* is a mount and a process namespace on it with a `/run` of its own. Whatever the Engine starts is in
//!   there, so that one signal to its first process ends dockerd, containerd, shims and containers at once.
//!
//! Both end with the thread that made them, however that ends. The data directory stays until the value is dropped.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;

use crate::command::run;
use crate::engine::Engine;
use crate::namespace::NetworkNamespace;
use crate::wait;

/// How long an Engine may take to come up or to stop; it gives each container ten seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the keepers say when their namespaces are as they are to be.
const UP: &str = "up";

/// A dockerd with everything of its own: network, `/run`, processes, containerd, data directory, cgroup.
#[derive(Debug)]
pub struct SecondEngine {
    folder: TempDir,
    ground: Child,
    house: Option<House>,
    daemon: Option<Child>,
    engine: Engine,
}

/// The namespaces of one life of the Engine.
#[derive(Debug)]
struct House {
    /// Ends when the first process does.
    keeper: Child,
    /// The first process: with it everything ends.
    first: Pid,
}

impl SecondEngine {
    /// Starts an Engine without images, and waits until it answers. With `live_restore` its containers go on while
    /// it is away.
    #[must_use]
    pub fn start(live_restore: bool) -> Self {
        let folder = tempfile::Builder::new().prefix("bowline-e-").tempdir_in("/tmp").expect("a folder");
        let settings = json!({ "live-restore": live_restore, "exec-opts": ["native.cgroupdriver=cgroupfs"] });
        fs::write(folder.path().join("daemon.json"), settings.to_string()).expect("the settings");
        let ground = keeper(&["unshare", "--net"], "ip link set lo up && echo up && exec sleep infinity");
        let engine = Engine::at(folder.path().join("docker.sock"));
        let mut second = Self { folder, ground, house: None, daemon: None, engine };
        second.resume();
        second
    }

    /// The Engine, for what the test looks at and makes.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Its socket, which exists while it runs and after it was killed.
    #[must_use]
    pub fn socket(&self) -> &Path {
        self.engine.socket()
    }

    /// The network in which its ports are published, and in which `serve` and clients must run.
    #[must_use]
    pub fn network(&self) -> NetworkNamespace {
        NetworkNamespace::of(Pid::from_child(&self.ground))
    }

    /// Connects to a port that it published.
    ///
    /// # Errors
    /// As [`TcpStream::connect_timeout`].
    pub fn connect(&self, address: SocketAddr, limit: Duration) -> std::io::Result<TcpStream> {
        self.network().connect(address, limit)
    }

    /// Everything that dockerd and containerd have said, over all lives.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("dockerd.log")
    }

    /// Brings these images of the machine's Engine here, by reference.
    pub fn load_images(&self, references: &[&str]) {
        let archive = self.folder.path().join("images.tar");
        let mut save = Command::new("docker");
        save.arg("save").arg("--output").arg(&archive).args(references);
        run(save, "", PATIENCE).ok();
        self.docker(&["load", "--quiet", "--input", &archive.display().to_string()]);
        fs::remove_file(archive).expect("it was just written");
    }

    /// Runs the docker client against this Engine, and returns what it printed; it must succeed.
    pub fn docker(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("docker");
        command.arg("--host").arg(format!("unix://{}", self.socket().display())).args(arguments);
        run(command, "", PATIENCE).ok()
    }

    /// Starts dockerd again after [`Self::stop`], [`Self::kill`] or [`Self::power_loss`], and waits until it answers.
    pub fn resume(&mut self) {
        assert!(self.daemon.is_none(), "it runs already");
        let ground = Pid::from_child(&self.ground);
        let first = self.house.get_or_insert_with(|| House::build(ground)).first;
        let log = File::options().create(true).append(true).open(self.log_path()).expect("the log");
        let below = |name: &str| self.folder.path().join(name).display().to_string();
        let mut command = Command::new("nsenter");
        command.args(["--net", "--mount", "--pid", "--target", &first.to_string(), "--", "dockerd"]);
        command.args([
            format!("--config-file={}", below("daemon.json")),
            format!("--data-root={}", below("data")),
            format!("--host=unix://{}", self.socket().display()),
            format!("--cgroup-parent=/{}", self.cgroup()),
        ]);
        // A proxy of the machine is not for images that are here.
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        let daemon = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        self.daemon = Some(daemon);
        wait::until_true("the second Engine answers", PATIENCE, || {
            let daemon = self.daemon.as_mut().expect("just started");
            if let Some(status) = daemon.try_wait().expect("the state of dockerd") {
                panic!("dockerd ended with {status}:\n{}", self.log());
            }
            self.engine.answers()
        });
    }

    /// Stops dockerd as an administrator would, and waits for its end.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = self.wait_ended();
        assert!(status.success(), "dockerd ended with {status}:\n{}", self.log());
    }

    /// `kill -9` of dockerd alone: containerd, shims and containers go on.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait_ended();
    }

    /// [`Self::stop`], then [`Self::resume`].
    pub fn restart(&mut self) {
        self.stop();
        self.resume();
    }

    /// Stops dockerd's time: connections are accepted by the kernel and never answered.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Ends [`Self::freeze`].
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
        self.wake_parent();
    }

    /// Ends dockerd, containerd, every shim and every container at the same moment, or what of them still runs after
    /// [`Self::stop`]; `/run` is empty afterwards. Networks of the kernel and what lies outside of `/run` stay.
    pub fn power_loss(&mut self) {
        self.wake_parent();
        self.house.take().expect("it was started").demolish();
        if self.daemon.is_some() {
            self.wait_ended();
        }
    }

    /// Everything that runs because of this Engine, by process id of the machine, with the names.
    #[must_use]
    pub fn processes(&self) -> Vec<(Pid, String)> {
        let Some(house) = &self.house else { return Vec::new() };
        processes_beside(house.first)
    }

    fn signal(&self, signal: Signal) {
        let (dockerd, _) = self
            .processes()
            .into_iter()
            .find(|(_, name)| name == "dockerd")
            .unwrap_or_else(|| panic!("dockerd does not run:\n{}", self.log()));
        kill_process(dockerd, signal).expect("dockerd runs");
    }

    /// Whoever is parent to a process that is stopped stops itself, and would not see its end then.
    fn wake_parent(&self) {
        if let Some(daemon) = &self.daemon {
            kill_process(Pid::from_child(daemon), Signal::CONT).expect("the parent of dockerd");
        }
    }

    fn wait_ended(&mut self) -> std::process::ExitStatus {
        let mut daemon = self.daemon.take().expect("dockerd was started");
        let ended = || daemon.try_wait().expect("the state of dockerd");
        wait::until("dockerd ends", PATIENCE, ended).0
    }

    /// Name of the cgroup that all its containers are in.
    fn cgroup(&self) -> String {
        self.folder.path().file_name().expect("a name").to_string_lossy().into_owned()
    }
}

impl Drop for SecondEngine {
    fn drop(&mut self) {
        self.wake_parent();
        if let Some(house) = self.house.take() {
            house.demolish();
        }
        if let Some(mut daemon) = self.daemon.take() {
            daemon.wait().expect("dockerd ends with its house");
        }
        self.ground.kill().expect("the keeper of the ground");
        self.ground.wait().expect("the keeper of the ground");
        for parent in cgroup_hierarchies() {
            let group = parent.join(self.cgroup());
            // The kernel may still be about to take the last process out of it.
            wait::until_true("the cgroups are empty", PATIENCE, || remove_cgroup(&group));
        }
        fs::remove_dir_all(self.folder.path()).expect("the data of the second Engine");
    }
}

impl House {
    fn build(ground: Pid) -> Self {
        let network = format!("--net=/proc/{ground}/ns/net");
        let unshare = ["unshare", "--mount", "--propagation=private", "--pid", "--mount-proc", "--fork"];
        let prefix = [&["nsenter", &network, "--"], &unshare[..], &["--kill-child=KILL"]].concat();
        // The shell stays: the first process of a namespace has to wait for orphans.
        let keeper = keeper(&prefix, "mount -t tmpfs tmpfs /run && echo up && sleep infinity & wait");
        let children = format!("/proc/{0}/task/{0}/children", keeper.id());
        let children = fs::read_to_string(&children).unwrap_or_else(|error| panic!("{children}: {error}"));
        let first = children.trim().parse().ok().and_then(Pid::from_raw).expect("one child of the keeper");
        Self { keeper, first }
    }

    /// Ends everything within, and with the last process its mounts.
    fn demolish(mut self) {
        kill_process(self.first, Signal::KILL).expect("the first process of the house");
        self.keeper.wait().expect("the keeper of the house");
    }
}

/// Runs a script behind a command that makes namespaces, and waits until it says that it is [`UP`]. The kernel ends
/// it with the thread that calls.
fn keeper(namespaces: &[&str], script: &str) -> Child {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig=KILL", "--"]).args(namespaces).args(["--", "sh", "-c", script]);
    // `unshare` complains when its child is killed, which is how it ends here.
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut keeper = spawned.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut said = String::new();
    let stdout = keeper.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut said).expect("a line of the keeper");
    if said.trim() != UP {
        let ended = keeper.wait_with_output().expect("the keeper's end");
        panic!("{command:?}: {}", String::from_utf8_lossy(&ended.stderr));
    }
    keeper
}

/// All processes in the process namespace of this one.
fn processes_beside(first: Pid) -> Vec<(Pid, String)> {
    let namespace = |pid: Pid| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(ours) = namespace(first) else { return Vec::new() };
    let entries = fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
    let pids = entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    pids.filter(|pid| namespace(*pid).as_ref() == Some(&ours))
        .filter_map(|pid| {
            Some((pid, fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned()))
        })
        .collect()
}

/// The root of the unified hierarchy, and of each one of cgroup v1.
fn cgroup_hierarchies() -> Vec<PathBuf> {
    let root = PathBuf::from("/sys/fs/cgroup");
    let mut all: Vec<_> =
        fs::read_dir(&root).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    all.push(root);
    all
}

/// Removes a cgroup with those in it; `false` when one is not empty yet.
fn remove_cgroup(group: &Path) -> bool {
    let Ok(entries) = fs::read_dir(group) else { return true };
    let inner = entries.filter_map(Result::ok).filter(|entry| entry.path().is_dir());
    inner.map(|entry| entry.path()).all(|inner| remove_cgroup(&inner)) && fs::remove_dir(group).is_ok()
}
