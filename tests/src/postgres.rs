//! A Postgres of a test's own: unix socket only, a folder under `/tmp`, gone with the value.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::wait;

/// A running (or stopped, after [`Self::stop`]) private server.
#[derive(Debug)]
pub struct Postgres {
    folder: TempDir,
    binaries: PathBuf,
    server: Option<Child>,
}

impl Postgres {
    /// Makes a cluster and starts it.
    ///
    /// # Panics
    /// When no server binaries are installed or the server does not come up.
    #[must_use]
    pub fn start() -> Self {
        let binaries = newest_binaries().expect("PostgreSQL server binaries under /usr/lib/postgresql");
        let folder = tempfile::Builder::new().prefix("bowline-pg-").tempdir_in("/tmp").expect("a folder");
        // Whoever tests with it may run under another uid; the data below stays the server's alone.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("permissions");
        run(Command::new("chown").arg("postgres").arg(folder.path()));
        let mut postgres = Self { folder, binaries, server: None };
        run(postgres.command("initdb").arg("--pgdata").arg(postgres.data()).args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ]));
        postgres.resume();
        postgres
    }

    /// Starts the server again after [`Self::stop`], over the same data.
    pub fn resume(&mut self) {
        assert!(self.server.is_none(), "it runs already");
        let log = File::options().create(true).append(true).open(self.log_path()).expect("the server's log");
        let socket = format!("unix_socket_directories={}", self.folder.path().display());
        let child = self
            .command("postgres")
            .arg("-D")
            .arg(self.data())
            .args(["-c", "listen_addresses=", "-c", &socket, "-c", "max_connections=200", "-c", "fsync=off"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the server's log"))
            .stderr(log)
            .spawn()
            .expect("postgres");
        self.server = Some(child);
        wait::until_true("Postgres answers", Duration::from_secs(30), || {
            let server = self.server.as_mut().expect("just started");
            if let Some(status) = server.try_wait().expect("the server's state") {
                panic!(
                    "postgres ended with {status}: {}",
                    fs::read_to_string(self.log_path()).unwrap_or_default()
                );
            }
            let mut probe = Command::new(self.binaries.join("pg_isready"));
            probe.arg("-q").arg("-h").arg(self.folder.path()).status().expect("pg_isready").success()
        });
    }

    /// Stops the server as an administrator would (sessions are cut), and keeps the data.
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let pid = Pid::from_child(&server);
            kill_process(pid, Signal::INT).expect("the server runs");
            server.wait().expect("the server ends");
        }
    }

    /// The connection URL (no password: the socket's folder is the guard).
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@localhost/postgres?host={}", self.folder.path().display())
    }

    /// A file that holds [`Self::url`], for `--database-url-file`.
    #[must_use]
    pub fn url_file(&self) -> PathBuf {
        let file = self.folder.path().join("url");
        fs::write(&file, self.url()).expect("the file of the URL");
        fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("permissions");
        file
    }

    /// Runs SQL, and returns what `psql` prints without headers or alignment: columns split by `|`, a line per row.
    #[must_use]
    pub fn query(&self, sql: &str) -> String {
        let mut psql = Command::new(self.binaries.join("psql"));
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", &self.url(), "-c", sql]);
        run(&mut psql).trim_end().to_owned()
    }

    /// All data as `pg_dump` writes it.
    #[must_use]
    pub fn dump(&self) -> String {
        run(Command::new(self.binaries.join("pg_dump")).args(["-d", &self.url()]))
    }

    /// The folder with everything that the server has on disk: data, write-ahead log, and what it logs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// One of the server's programs under Debian's account for it, ended by the kernel with this test.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--pdeathsig=QUIT", "--"]);
        command.arg(self.binaries.join(program)).current_dir("/").env("LC_ALL", "C.UTF-8");
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The folder of the newest installed server.
fn newest_binaries() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(Result::ok);
    versions
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin")))
        })
        .filter(|(_, bin)| is_file(&bin.join("postgres")))
        .max()
        .map(|(_, bin)| bin)
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file())
}

/// Runs a command that must succeed, and returns its standard output.
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
