//! Which processes are the server.
//!
//! Every process of a Postgres cluster has the data directory as its working directory. That is how one is
//! known here: the process id in `postmaster.pid` may be anybody's by now.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::warn;

use super::EmbeddedError;
use super::layout::remove_file;

/// How long the children of a killed server may take to notice.
const ORPHANS: Duration = Duration::from_secs(20);

/// The lines of `postmaster.pid` that matter.
const PID_LINE: usize = 0;
const SOCKET_DIR_LINE: usize = 4;

/// The process id of the running server of `data`.
pub(super) fn postmaster(data: &Path) -> Option<u32> {
    let pid = pid_file_line(data, PID_LINE)?.parse().ok()?;
    (works_in(pid, data) && is_postgres(pid)).then_some(pid)
}

/// The directory of the running server's socket, as it wrote it down.
pub(super) fn socket_dir(data: &Path) -> Option<PathBuf> {
    pid_file_line(data, SOCKET_DIR_LINE).filter(|line| !line.is_empty()).map(PathBuf::from)
}

/// Waits until it is clear whether a server runs, and returns that.
///
/// It is not while processes work in the data directory and no server is known: one is just starting, or the
/// children of a killed one have not noticed yet and may still write.
pub(super) async fn settled(data: &Path) -> Result<bool, EmbeddedError> {
    let deadline = Instant::now() + ORPHANS;
    loop {
        if postmaster(data).is_some() {
            return Ok(true);
        }
        let workers = workers(data);
        if workers.is_empty() {
            return Ok(false);
        }
        if Instant::now() >= deadline {
            return Err(EmbeddedError::Program {
                program: "postgres",
                output: format!(
                    "processes of an earlier server are still at work in {}: {workers:?}",
                    data.display()
                ),
            });
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Removes the pid file of a server that is gone; only after [`settled`] has said so, because the file is what
/// keeps a second server from the data while children of the first still write.
///
/// Postgres itself sees through a process id that is free. It does not see through one that another process of
/// its account has by now, as happens after every start of a container.
pub(super) fn clear_stale(data: &Path) -> Result<(), EmbeddedError> {
    let path = data.join("postmaster.pid");
    if path.exists() {
        warn!(file = %path.display(), "removing the pid file of a server that is gone");
        remove_file(&path)?;
    }
    Ok(())
}

/// All processes that work in `data`.
fn workers(data: &Path) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| works_in(*pid, data) && is_postgres(*pid)).collect()
}

/// Whether the working directory of `pid` is `data`. Compared by inode: a name may lead elsewhere by now.
pub(super) fn works_in(pid: u32, data: &Path) -> bool {
    let cwd = fs::metadata(format!("/proc/{pid}/cwd"));
    match (cwd, fs::metadata(data)) {
        (Ok(cwd), Ok(data)) => (cwd.dev(), cwd.ino()) == (data.dev(), data.ino()),
        _ => false,
    }
}

/// Whether `pid` is a Postgres: an admin's shell in the data directory is no server.
fn is_postgres(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_end() == "postgres")
}

fn pid_file_line(data: &Path, line: usize) -> Option<String> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    text.lines().nth(line).map(|line| line.trim().to_owned())
}
