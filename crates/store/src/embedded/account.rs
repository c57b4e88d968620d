//! Who the server runs as.

use std::path::Path;
use std::process::Stdio;

use rustix::process::geteuid;
use tokio::process::Command;

use super::EmbeddedError;

/// The account that a `serve` of root uses; Debian's and everybody's name for it.
const POSTGRES: &str = "postgres";
/// How much of a program's words is repeated, in bytes.
const WORDS: usize = 2000;

/// The account of the server.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Whether it is another than ours, which only root can have.
    pub(super) foreign: bool,
}

impl Account {
    /// `postgres` when we are root, else ourselves.
    pub(super) async fn of_server() -> Result<Self, EmbeddedError> {
        let ours = geteuid();
        let (foreign, key) =
            if ours.is_root() { (true, POSTGRES.to_owned()) } else { (false, ours.to_string()) };
        // getent and not /etc/passwd: the account may come from a directory service.
        let output = Command::new("getent").args(["passwd", &key]).stdin(Stdio::null()).output().await;
        let line = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
        let found = line.and_then(|line| parse(&String::from_utf8_lossy(&line)));
        let (name, uid, gid) = found.ok_or_else(|| EmbeddedError::NoAccount {
            refused: if foreign { "root".to_owned() } else { "an account without a name".to_owned() },
            name: key,
        })?;
        Ok(Account { name, uid, gid, foreign })
    }

    /// A command that runs as this account, with a bare environment: `PGDATA` and its like in ours must not
    /// lead it elsewhere. It is in a process group of its own, so that no Ctrl-C reaches it.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null());
        if self.foreign {
            // Also drops the groups of root.
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// Whether this account may pass through the directory `path`.
    pub(super) async fn may_pass(&self, path: &Path) -> bool {
        let mut test = self.command(Path::new("test"));
        test.arg("-x").arg(path);
        test.status().await.is_ok_and(|status| status.success())
    }

    /// The last lines of a log of this account, read with its rights and not with ours.
    pub(super) async fn tail(&self, log: &Path) -> Option<String> {
        let mut tail = self.command(Path::new("tail"));
        tail.args(["-n", "8"]).arg(log);
        let output = tail.output().await.ok()?;
        let text = words(&output.stdout);
        (!text.is_empty()).then_some(text)
    }
}

/// Name, uid and gid of a line of passwd.
fn parse(line: &str) -> Option<(String, u32, u32)> {
    let mut fields = line.trim_end().split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some((name.to_owned(), uid, gid))
}

/// Runs a program of PostgreSQL to its end.
pub(super) async fn run(program: &'static str, mut command: Command) -> Result<(), EmbeddedError> {
    let output = match command.output().await {
        Ok(output) => output,
        Err(error) => {
            return Err(EmbeddedError::Program { program, output: error.to_string() });
        }
    };
    if output.status.success() {
        return Ok(());
    }
    let mut said = words(&output.stderr);
    if said.is_empty() {
        said = words(&output.stdout);
    }
    if said.is_empty() {
        said = output.status.to_string();
    }
    Err(EmbeddedError::Program { program, output: said })
}

/// The end of what was said, on one line.
fn words(bytes: &[u8]) -> String {
    let tail = &bytes[bytes.len().saturating_sub(WORDS)..];
    let text = String::from_utf8_lossy(tail);
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}
