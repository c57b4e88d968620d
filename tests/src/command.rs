//! Running a program to its end: what it printed, how it ended, and never longer than it may take.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::namespace::NetworkNamespace;

/// What a command printed, and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Its data.
    pub stdout: String,
    /// Its talk.
    pub stderr: String,
}

impl Output {
    /// The data of a command that must succeed.
    pub fn ok(self) -> String {
        assert!(self.status.success(), "{}: {}\n{}{}", self.command, self.status, self.stdout, self.stderr);
        self.stdout
    }

    /// The talk of a command that must fail with this exit code.
    pub fn fails_with(self, code: i32) -> String {
        assert_eq!(self.status.code(), Some(code), "{}\n{}{}", self.command, self.stdout, self.stderr);
        self.stderr
    }

    /// [`Self::ok`], read as JSON.
    #[must_use]
    pub fn json(self) -> Value {
        let command = self.command.clone();
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{command}: {error} in {text}"))
    }
}

/// Runs a command to its end.
///
/// # Panics
/// When it takes longer than `limit`; it is ended then.
pub fn run(mut command: Command, input: &str, limit: Duration) -> Output {
    let line = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{line}: {error}"));
    let drain = |mut pipe: Box<dyn Read + Send>| {
        thread::spawn(move || {
            let mut text = Vec::new();
            pipe.read_to_end(&mut text).expect("a pipe of the command");
            String::from_utf8_lossy(&text).into_owned()
        })
    };
    let stdout = drain(Box::new(child.stdout.take().expect("piped")));
    let stderr = drain(Box::new(child.stderr.take().expect("piped")));
    // A command that reads no input may have closed it.
    let _unread = child.stdin.take().expect("piped").write_all(input.as_bytes());
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("the state of the command") {
            break status;
        }
        if begin.elapsed() > limit {
            child.kill().expect("the command runs");
            let talk = stderr.join().expect("the reader of stderr");
            panic!("{line}: not within {limit:?}\n{talk}");
        }
        thread::sleep(Duration::from_millis(10));
    };
    let text = |reader: thread::JoinHandle<String>| reader.join().expect("the reader of a pipe");
    Output { command: line, status, stdout: text(stdout), stderr: text(stderr) }
}

/// The program under test, with an environment in which nothing of the developer's can be read as a setting.
pub(crate) fn program(network: Option<&NetworkNamespace>) -> Command {
    let program = program_path();
    let mut command = network.map_or_else(|| Command::new(&program), |network| network.command(&program));
    command.env_clear().env("RUST_BACKTRACE", "1");
    for name in ["PATH", "BOWLINE_BRIDGE", "BOWLINE_GATEWAY_IMAGE"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command
}

/// `BOWLINE_BIN`, or the build beside this test: `target/debug/deps/e2e-…` finds `target/debug/bowline`.
fn program_path() -> PathBuf {
    if let Some(path) = std::env::var_os("BOWLINE_BIN") {
        return PathBuf::from(path);
    }
    let test = std::env::current_exe().expect("the path of this test");
    let folder = test.parent().and_then(Path::parent).expect("a target folder");
    let program = folder.join("bowline");
    assert!(program.exists(), "{} is missing: cargo build -p bowline-cli", program.display());
    program
}
