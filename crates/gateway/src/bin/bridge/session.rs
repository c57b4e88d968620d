//! One claimed connection and the process behind it, from the first byte to the exit notification.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStderr};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bowline_core::gateway_file::{EXIT_NOTIFICATION, ServerExit};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, WaitStatus};
use serde::Serialize;

use crate::children::{Children, Process};
use crate::command::Settings;
use crate::logging::say;

/// From the end of its input to SIGTERM: MCP servers end by themselves when stdin closes.
const INPUT_GRACE: Duration = Duration::from_secs(2);
/// From SIGTERM to SIGKILL when the gateway has gone.
const TERM_GRACE: Duration = Duration::from_secs(3);
/// For what is still in a pipe after the process has ended. A grandchild in a group of its own may hold the
/// pipe for ever.
const FLUSH: Duration = Duration::from_secs(1);
/// Lines of standard error that are told to the gateway, and the bytes of each.
const TAIL_LINES: usize = 20;
const TAIL_BYTES: usize = 400;
/// Bytes that are carried at a time.
const BUFFER: usize = 16 * 1024;
/// A longer line of standard error is logged in pieces.
const LINE_BYTES: u64 = 8 * 1024;

/// Starts the server behind `connection` and returns when both have ended.
pub(crate) fn serve(connection: &UnixStream, settings: &Settings, children: &Children) {
    let exit = match start(settings, children) {
        Ok(Some((child, process))) => accompany(connection, child, &process),
        Ok(None) => return,
        Err(exit) => exit,
    };
    say_farewell(connection, &exit);
}

/// Starts the process; the error is what the gateway is told of it.
fn start(settings: &Settings, children: &Children) -> Result<Option<(Child, Process)>, ServerExit> {
    let refused = |code, reason: String| {
        say(format_args!("{reason}"));
        ServerExit { code: Some(code), signal: None, stderr: vec![clip(&reason)] }
    };
    let mut command = settings.command().map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        refused(126, format!("{error}{cause}"))
    })?;
    children.spawn(&mut command).map_err(|error| {
        // What a shell answers: 127 for a command that is not there, 126 for one that cannot be run.
        let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
        refused(code, format!("cannot start {}: {error}", settings.program.display()))
    })
}

/// Carries bytes until the process has ended and its last output is through.
fn accompany(connection: &UnixStream, child: Child, process: &Process) -> ServerExit {
    let tail = Arc::new(Mutex::new(VecDeque::new()));
    let Child { stdin, stdout, stderr, .. } = child;
    let output = connection.try_clone().ok().zip(stdout).map(|(mut sink, mut source)| {
        // When one side has gone, `wait_for_end` sees it by itself.
        in_thread(move || carry(&mut source, &mut sink))
    });
    let errors = stderr.map(|stderr| {
        let tail = Arc::clone(&tail);
        in_thread(move || follow(stderr, &tail))
    });
    let input = connection.try_clone().ok().zip(stdin).map(|(mut source, mut sink)| {
        // The end of this thread closes the server's stdin.
        in_thread(move || carry(&mut source, &mut sink))
    });

    let status = wait_for_end(connection, process);
    let finished = [output, errors].into_iter().flatten().all(|thread| ended_within(&thread, FLUSH));
    if !finished {
        say(format_args!("output of an ended server is still held open by another process"));
    }
    // The input thread sits in a read that the end of the connection wakes; nothing waits for it.
    drop(input);
    let stderr = lock(&tail).drain(..).collect();
    ServerExit { code: status.exit_status(), signal: status.terminating_signal(), stderr }
}

/// Copies until one side ends. Not `io::copy`: from a unix socket to a pipe that becomes a `splice` which, as
/// tried on Linux 6, keeps a short message until more comes.
fn carry(source: &mut impl Read, sink: &mut impl Write) {
    let mut buffer = [0; BUFFER];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) if sink.write_all(&buffer[..length]).is_err() => return,
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return,
            Ok(_) | Err(_) => {}
        }
    }
}

/// Waits for the process, and sees to its end when the gateway goes first.
fn wait_for_end(connection: &UnixStream, process: &Process) -> WaitStatus {
    let mut steps = [(INPUT_GRACE, Signal::TERM), (TERM_GRACE, Signal::KILL)].into_iter();
    // What is sent next, and when; `None` before the gateway has gone and after the last signal.
    let mut pending: Option<(Instant, Signal)> = None;
    let mut gone = false;
    loop {
        if let Some(status) = process.status() {
            return status;
        }
        let limit = pending.map(|(at, _)| at.saturating_duration_since(Instant::now()));
        let timeout = limit.and_then(|limit| Timespec::try_from(limit).ok());
        let hangup = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        let mut interest =
            [PollFd::new(process.wake(), PollFlags::IN), PollFd::new(connection, PollFlags::RDHUP)];
        // A connection that has gone stays ready; from then on only the process is of interest.
        let watched = if gone { &mut interest[..1] } else { &mut interest[..] };
        let polled = poll(watched, timeout.as_ref());
        if !gone && polled.is_ok() && interest[1].revents().intersects(hangup) {
            gone = true;
            pending = steps.next().map(|(grace, signal)| (Instant::now() + grace, signal));
        }
        if let Some((at, signal)) = pending
            && Instant::now() >= at
        {
            process.signal(signal);
            pending = steps.next().map(|(grace, signal)| (Instant::now() + grace, signal));
        }
    }
}

/// Copies standard error to the container's log line by line, and keeps the last lines.
fn follow(stderr: ChildStderr, tail: &Mutex<VecDeque<String>>) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        let kept = clip(&String::from_utf8_lossy(&line));
        line.push(b'\n');
        let _ = io::stderr().lock().write_all(&line);
        let mut tail = lock(tail);
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(kept);
    }
}

/// The beginning of a line that is told to the gateway.
fn clip(line: &str) -> String {
    line[..line.floor_char_boundary(TAIL_BYTES)].to_owned()
}

/// The last line of a connection, and its end.
fn say_farewell(mut connection: &UnixStream, exit: &ServerExit) {
    #[derive(Serialize)]
    struct Notification<'a> {
        jsonrpc: &'static str,
        method: &'static str,
        params: &'a ServerExit,
    }
    let notification = Notification { jsonrpc: "2.0", method: EXIT_NOTIFICATION, params: exit };
    // A newline first: the process may have died in the middle of a line.
    let mut text = vec![b'\n'];
    if serde_json::to_writer(&mut text, &notification).is_ok() {
        text.push(b'\n');
        // A gateway that has gone, or does not read, needs no farewell.
        let _ = connection.set_write_timeout(Some(FLUSH));
        let _ = connection.write_all(&text);
    }
    // What the gateway has said in the meantime is read and dropped until it closes, too: a socket that is
    // closed with unread bytes in it resets the connection instead of ending it.
    let _ = connection.shutdown(Shutdown::Write);
    let _ = connection.set_read_timeout(Some(FLUSH));
    let until = Instant::now() + FLUSH;
    let mut unread = [0; BUFFER];
    while Instant::now() < until && connection.read(&mut unread).is_ok_and(|length| length > 0) {}
    let _ = connection.shutdown(Shutdown::Both);
}

/// Runs `work` in a thread; the receiver is disconnected when it has ended.
fn in_thread(work: impl FnOnce() + Send + 'static) -> Receiver<()> {
    let (running, ended) = channel();
    thread::spawn(move || {
        work();
        drop(running);
    });
    ended
}

fn ended_within(thread: &Receiver<()>, limit: Duration) -> bool {
    thread.recv_timeout(limit) == Err(RecvTimeoutError::Disconnected)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many sessions there may be at one time.
pub(crate) struct Slots {
    most: usize,
    taken: Mutex<usize>,
    freed: Condvar,
}

/// One session's place; given back when dropped.
pub(crate) struct Slot(Arc<Slots>);

impl Slots {
    /// Room for `most` sessions.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, taken: Mutex::new(0), freed: Condvar::new() }
    }

    /// Waits for a free place and takes it.
    pub(crate) fn take(self: &Arc<Self>) -> Slot {
        let full = |taken: &mut usize| *taken >= self.most;
        let mut taken =
            self.freed.wait_while(lock(&self.taken), full).unwrap_or_else(PoisonError::into_inner);
        *taken += 1;
        Slot(Arc::clone(self))
    }

    /// Waits until only the place of the connection that is being dialled is taken, at most for `limit`.
    pub(crate) fn empty_within(&self, limit: Duration) {
        drop(self.freed.wait_timeout_while(lock(&self.taken), limit, |taken| *taken > 1));
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *lock(&self.0.taken) -= 1;
        self.0.freed.notify_all();
    }
}
