//! One instance of Bowline: a `bowline serve` of its own, and its command line.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::allot::Allotment;
use crate::command::{Output, program, run};
use crate::engine::{self, Engine};
use crate::namespace::NetworkNamespace;
use crate::postgres::Postgres;
use crate::second_engine::SecondEngine;
use crate::wait;

/// Longer than any single verb may take that is not waiting for gateways.
const COMMAND_LIMIT: Duration = Duration::from_secs(180);

/// An instance with folders, ports, uids and subnets of its own. When it is dropped its process ends, everything it
/// made is removed by `bowline teardown`, and it is an error when anything is left then.
#[derive(Debug)]
pub struct Bowline {
    allotment: Allotment,
    engine: Engine,
    /// Where `serve` and the command line run, when it is not the machine's own network.
    network: Option<NetworkNamespace>,
    docker_host: String,
    state: TempDir,
    runtime: TempDir,
    database_url_file: Option<PathBuf>,
    settings: Vec<(String, String)>,
    log_filter: &'static str,
    server: Option<Child>,
}

/// Ends a `bowline serve` from wherever a test decides to: a hook of the proxy, say.
#[derive(Debug, Clone, Copy)]
pub struct Killer(Pid);

impl Bowline {
    /// An instance that is not started yet, on an embedded Postgres and this machine's engine.
    #[must_use]
    pub fn new() -> Self {
        let folder = |parent| {
            let prefix = "bowline-t-";
            tempfile::Builder::new().prefix(prefix).tempdir_in(parent).expect("a folder of the instance")
        };
        let engine = Engine::local();
        let docker_host = format!("unix://{}", engine.socket().display());
        let (state, runtime) = (folder("/tmp"), folder("/dev/shm"));
        // An embedded Postgres runs under an account of its own and must pass through.
        let passable = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        fs::set_permissions(state.path(), passable).expect("permissions");
        Self {
            allotment: Allotment::take(),
            engine,
            network: None,
            docker_host,
            state,
            runtime,
            database_url_file: None,
            settings: Vec::new(),
            log_filter: "info",
            server: None,
        }
    }

    /// Uses this Postgres.
    #[must_use]
    pub fn on(mut self, postgres: &Postgres) -> Self {
        self.database_url_file = Some(postgres.url_file());
        self
    }

    /// On this Engine, in its network.
    #[must_use]
    pub fn beside(mut self, second: &SecondEngine) -> Self {
        self.engine = second.engine().clone();
        self.network = Some(second.network());
        self.through(second.socket())
    }

    /// Reaches the engine through this socket.
    #[must_use]
    pub fn through(mut self, socket: &Path) -> Self {
        self.docker_host = format!("unix://{}", socket.display());
        self
    }

    /// Lets `serve` log what this filter says.
    #[must_use]
    pub fn logging(mut self, filter: &'static str) -> Self {
        self.log_filter = filter;
        self
    }

    /// Sets one more setting of `serve` by the name of its flag without dashes before it; the last one wins. A flag
    /// without a value has an empty one.
    #[must_use]
    pub fn with(mut self, flag: &str, value: impl Into<String>) -> Self {
        self.set(flag, value);
        self
    }

    /// [`Self::with`] between two starts.
    pub fn set(&mut self, flag: &str, value: impl Into<String>) {
        self.settings.retain(|(name, _)| name != flag);
        self.settings.push((flag.to_owned(), value.into()));
    }

    /// The Engine that it works on, reached directly.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The network that it works in, when it is not the machine's.
    #[must_use]
    pub fn network(&self) -> Option<&NetworkNamespace> {
        self.network.as_ref()
    }

    /// The instance's name and its share of the machine.
    #[must_use]
    pub fn allotment(&self) -> &Allotment {
        &self.allotment
    }

    /// The state directory.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        self.state.path()
    }

    /// The runtime directory, on tmpfs.
    #[must_use]
    pub fn runtime_dir(&self) -> &Path {
        self.runtime.path()
    }

    /// The socket of the API.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.runtime.path().join("api/bowline.sock")
    }

    /// Everything that `serve` has logged, over all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.state.path().join("serve.log")
    }

    /// Starts `serve`, and waits until its API answers.
    pub fn start(&mut self) {
        self.launch();
        let limit = Duration::from_secs(60);
        wait::until_true("bowline serve answers", limit, || {
            if let Some(status) = self.ended() {
                panic!("bowline serve ended with {status}:\n{}", self.log());
            }
            self.cli(["get", "gateways", "-A", "-o", "name"]).status.success()
        });
    }

    /// Starts `serve` where it is to refuse, and returns how it ended; what it said is in [`Self::log`].
    pub fn start_refused(&mut self) -> ExitStatus {
        self.launch();
        wait::until("bowline serve refuses to start", Duration::from_secs(60), || self.ended()).0
    }

    /// Starts `serve` and does not wait for it: for a test that has something in store for its very first calls.
    pub fn launch(&mut self) {
        assert!(self.server.is_none(), "it runs already");
        let log = File::options().create(true).append(true).open(self.log_path()).expect("the log");
        let mut command = program(self.network.as_ref());
        command.arg("serve").args(self.flags()).env("RUST_LOG", self.log_filter);
        let server = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        self.server = Some(server);
    }

    fn flags(&self) -> Vec<String> {
        let (ports, uids) = (self.allotment.ports(), self.allotment.uids());
        let mut flags = vec![
            ("state-dir".to_owned(), self.state.path().display().to_string()),
            ("runtime-dir".to_owned(), self.runtime.path().display().to_string()),
            ("instance".to_owned(), self.allotment.instance().to_owned()),
            ("docker-host".to_owned(), self.docker_host.clone()),
            ("port-range".to_owned(), format!("{}-{}", ports.start(), ports.end())),
            ("uid-range".to_owned(), format!("{}-{}", uids.start(), uids.end())),
            ("subnet-pool".to_owned(), self.allotment.subnets()),
            ("log-format".to_owned(), "json".to_owned()),
        ];
        if let Some(file) = &self.database_url_file {
            flags.push(("database-url-file".to_owned(), file.display().to_string()));
        }
        flags.retain(|(name, _)| !self.settings.iter().any(|(set, _)| set == name));
        flags.extend(self.settings.iter().cloned());
        let flag = |(name, value): (String, String)| match value.as_str() {
            "" => format!("--{name}"),
            value => format!("--{name}={value}"),
        };
        flags.into_iter().map(flag).collect()
    }

    /// How `serve` ended, once it has.
    fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.server.as_mut()?.try_wait().expect("the state of serve")?;
        self.server = None;
        Some(status)
    }

    /// Something that kills this very process, and can be sent anywhere.
    #[must_use]
    pub fn killer(&self) -> Killer {
        Killer(Pid::from_child(self.server.as_ref().expect("serve runs")))
    }

    /// `kill -9`, and waits for the end.
    pub fn kill_9(&mut self) {
        self.killer().kill_9();
        self.wait_ended();
    }

    /// Waits until `serve` has ended, whoever ended it.
    pub fn wait_ended(&mut self) -> ExitStatus {
        wait::until("bowline serve ends", Duration::from_secs(60), || self.ended()).0
    }

    /// Ends `serve` as an administrator would, and waits for a clean exit.
    pub fn stop(&mut self) {
        kill_process(self.killer().0, Signal::TERM).expect("serve runs");
        let status = self.wait_ended();
        assert!(status.success(), "after SIGTERM: {status}\n{}", self.log());
    }

    /// Runs a verb of the command line against this instance.
    pub fn cli<I: IntoIterator<Item = impl AsRef<str>>>(&self, arguments: I) -> Output {
        self.cli_with_input(arguments, "")
    }

    /// [`Self::cli`] with a text as standard input.
    pub fn cli_with_input<I: IntoIterator<Item = impl AsRef<str>>>(
        &self,
        arguments: I,
        input: &str,
    ) -> Output {
        run(self.command(arguments), input, COMMAND_LIMIT)
    }

    /// A verb of the command line against this instance, for a test that runs it beside other things.
    pub fn command<I: IntoIterator<Item = impl AsRef<str>>>(&self, arguments: I) -> Command {
        let mut command = program(self.network.as_ref());
        command
            .env("BOWLINE_SERVER", self.socket())
            .env("BOWLINE_RUNTIME_DIR", self.runtime_dir())
            .env("BOWLINE_DOCKER_HOST", &self.docker_host);
        command.args(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        command
    }

    /// Applies a text, which must be accepted.
    pub fn apply(&self, yaml: &str) -> String {
        self.cli_with_input(["apply", "-f", "-"], yaml).ok()
    }

    /// The object as `get -o json` shows it.
    pub fn object(&self, kind: &str, namespace: &str, name: &str) -> Value {
        self.cli(["get", kind, "-n", namespace, name, "-o", "json"]).json()
    }

    /// Waits until this gateway has this condition.
    pub fn wait_for(&self, gateway: &str, condition: &str, limit: Duration) -> Output {
        let condition = format!("--for={condition}");
        self.cli(["wait", gateway, &condition, &format!("--timeout={}s", limit.as_secs())])
    }

    /// Removes everything that carries this instance, without its database.
    pub fn teardown(&self) -> Output {
        self.cli(["teardown", "--yes", "--instance", self.allotment.instance()])
    }

    /// What the engine still has of this instance: roles and names.
    #[must_use]
    pub fn left_over(&self) -> Vec<String> {
        let instance = self.allotment.instance();
        let containers =
            self.engine.containers_of(instance).into_iter().map(|found| found["Names"].to_string());
        let networks = self.engine.networks_of(instance).into_iter().map(|found| found["Name"].to_string());
        containers.chain(networks).collect()
    }

    fn clean_up(&mut self) {
        if let Some(mut server) = self.server.take() {
            // It may have ended by itself a moment ago.
            let _ended = server.kill();
            let _reaped = server.wait();
        }
        stop_embedded_postgres(self.state.path());
        if !self.left_over().is_empty() {
            let torn_down = self.teardown();
            let left = self.left_over();
            for container in self.engine.containers_of(self.allotment.instance()) {
                self.engine.remove_container(engine::id(&container));
            }
            for network in self.engine.networks_of(self.allotment.instance()) {
                self.engine.remove_network(engine::id(&network));
            }
            assert!(left.is_empty(), "left over after teardown: {left:?}\n{torn_down:?}");
        }
        // Kept by design, but not beyond a test. Each carries the labels that only this instance has.
        for volume in self.engine.volumes_of(self.allotment.instance()) {
            self.engine.remove_volume(volume["Name"].as_str().expect("a name"));
        }
    }
}

impl Default for Bowline {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Bowline {
    fn drop(&mut self) {
        if !thread::panicking() {
            return self.clean_up();
        }
        let log = self.log();
        let tail: Vec<_> = log.lines().rev().take(40).collect();
        let mut stderr = std::io::stderr();
        for line in tail.into_iter().rev() {
            // The log of a failed test is a courtesy; the test has failed anyhow.
            let _unwritable = writeln!(stderr, "serve: {line}");
        }
        // A second panic would hide the first; what it says goes to the test's output all the same.
        let _already_failing = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.clean_up()));
    }
}

impl Killer {
    /// `kill -9`; nothing happens when the process has ended already.
    pub fn kill_9(self) {
        let _ended_already = kill_process(self.0, Signal::KILL);
    }
}

/// An embedded Postgres outlives a killed `serve`, by design; a test's own must not outlive the test.
fn stop_embedded_postgres(state: &Path) {
    let Ok(entries) = fs::read_dir(state) else { return };
    for entry in entries.filter_map(Result::ok).filter(|entry| entry.path().is_dir()) {
        for folder in [entry.path(), entry.path().join("data")] {
            let Ok(file) = fs::read_to_string(folder.join("postmaster.pid")) else {
                continue;
            };
            let pid = file.lines().next().and_then(|line| line.trim().parse().ok()).and_then(Pid::from_raw);
            let Some(pid) = pid else { continue };
            let command_line = || fs::read_to_string(format!("/proc/{}/cmdline", pid.as_raw_nonzero()));
            let runs = || command_line().is_ok_and(|line| line.contains(&*state.to_string_lossy()));
            if runs() {
                let _ended_already = kill_process(pid, Signal::QUIT);
                wait::until_true("the embedded Postgres ends", Duration::from_secs(20), || !runs());
            }
        }
    }
}
