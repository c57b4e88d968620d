//! A client that calls a tool all the time, whatever happens to its gateway, and counts what that cost it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::mcp::Door;
use crate::wait;

/// Between two calls: a client, not a load test. What runs beside it wants the processor, too.
const REST: Duration = Duration::from_millis(20);

/// What a client has seen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Calls that were answered.
    pub answered: usize,
    /// Calls that were under way when the connection broke, or were answered with an error.
    pub lost: usize,
    /// Sessions that had to be opened after the first one.
    pub sessions: usize,
    /// The longest time between two answers.
    pub gap: Duration,
}

/// A client that opens a new session whenever the one it has is broken.
#[derive(Debug)]
pub struct Client {
    stop: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    /// Calls `echo` through this door until it is dropped.
    #[must_use]
    pub fn start(door: Door) -> Self {
        let (stop, tally) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Tally::default())));
        let thread = thread::spawn({
            let (stop, tally) = (Arc::clone(&stop), Arc::clone(&tally));
            move || call_until(&door, &stop, &tally)
        });
        Self { stop, tally, thread: Some(thread) }
    }

    /// What it has seen since the last call of this; a gap that is not over yet is counted when it is.
    #[must_use]
    pub fn take(&self) -> Tally {
        std::mem::take(&mut *lock(&self.tally))
    }

    /// Waits for so many further answers.
    pub fn more(&self, count: usize, limit: Duration) {
        let answered = || lock(&self.tally).answered;
        let goal = answered() + count;
        wait::until_true("calls are answered", limit, || answered() >= goal);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

fn call_until(door: &Door, stop: &AtomicBool, tally: &Mutex<Tally>) {
    let mut session = door.open().ok();
    let mut last_answer = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        match &mut session {
            Some(open) => {
                let called = open.call("echo", &json!({ "n": 1 }));
                let mut tally = lock(tally);
                if called.is_ok() {
                    tally.answered += 1;
                    tally.gap = tally.gap.max(last_answer.elapsed());
                    last_answer = Instant::now();
                } else {
                    tally.lost += 1;
                    session = None;
                }
            }
            None => {
                session = door.open().ok();
                lock(tally).sessions += usize::from(session.is_some());
            }
        }
        thread::sleep(REST);
    }
}

/// No code panics halfway through a change of the tally.
fn lock(tally: &Mutex<Tally>) -> std::sync::MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
