//! The processes of this container. As PID 1 the bridge reaps every orphan, so nobody but [`Children::reap`]
//! may wait for a process: it hands each status to the session that started it.

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process_group, wait};

/// Every process that a session has started and that has not been reaped.
#[derive(Default)]
pub(crate) struct Children {
    table: Mutex<Table>,
    /// Notified when the table becomes empty.
    ended: Condvar,
}

#[derive(Default)]
struct Table {
    running: HashMap<Pid, Running>,
    stopping: bool,
}

/// The reaper's side of one process.
struct Running {
    status: Arc<OnceLock<WaitStatus>>,
    /// Dropped when the process has been reaped, which makes the session's side readable.
    _wake: UnixStream,
}

/// A session's side of its process.
pub(crate) struct Process {
    pid: Pid,
    status: Arc<OnceLock<WaitStatus>>,
    wake: UnixStream,
}

impl Process {
    /// How the process ended, once it has.
    pub(crate) fn status(&self) -> Option<WaitStatus> {
        self.status.get().copied()
    }

    /// Readable from the moment on in which [`Self::status`] is known.
    pub(crate) fn wake(&self) -> &UnixStream {
        &self.wake
    }

    /// Sends a signal to the process and all of its group. Without effect after its end.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.status.get().is_none() {
            signal_group(self.pid, signal);
        }
    }
}

impl Children {
    /// Starts a process. `Ok(None)` when the bridge is stopping.
    ///
    /// # Errors
    /// What the operating system says to the start.
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<Option<(Child, Process)>> {
        let (wake, reaper) = UnixStream::pair()?;
        let status = Arc::new(OnceLock::new());
        // Held over the start: the reaper must not see the end of a process that is not in the table yet.
        let mut table = self.lock();
        if table.stopping {
            return Ok(None);
        }
        let child = command.spawn()?;
        let pid = Pid::from_child(&child);
        table.running.insert(pid, Running { status: Arc::clone(&status), _wake: reaper });
        Ok(Some((child, Process { pid, status, wake })))
    }

    /// Takes every process that has ended from the kernel. What is left of the group of a session's process
    /// is killed: its connection is over.
    pub(crate) fn reap(&self) {
        let mut table = self.lock();
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if let Some(running) = table.running.remove(&pid) {
                signal_group(pid, Signal::KILL);
                let _ = running.status.set(status);
            }
        }
        if table.running.is_empty() {
            self.ended.notify_all();
        }
    }

    /// Asks every process to end, and lets no other start.
    pub(crate) fn stop(&self) {
        self.lock().stopping = true;
        self.signal_all(Signal::TERM);
    }

    /// Ends every process.
    pub(crate) fn kill(&self) {
        self.signal_all(Signal::KILL);
    }

    /// Whether every process has ended within `limit`.
    pub(crate) fn ended_within(&self, limit: Duration) -> bool {
        let outcome = self.ended.wait_timeout_while(self.lock(), limit, |table| !table.running.is_empty());
        let (table, _) = outcome.unwrap_or_else(PoisonError::into_inner);
        table.running.is_empty()
    }

    fn signal_all(&self, signal: Signal) {
        for pid in self.lock().running.keys() {
            signal_group(*pid, signal);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Every change of the table is one call: a panic elsewhere leaves it whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A group that is gone needs no signal.
fn signal_group(pid: Pid, signal: Signal) {
    let _ = kill_process_group(pid, signal);
}
