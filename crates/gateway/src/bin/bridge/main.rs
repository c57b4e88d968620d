//! The bridge: PID 1 of a server container. It turns an MCP server that speaks on stdin and stdout into one
//! that is reached through a unix socket, without the container listening anywhere.
//!
//! It dials the gateway's socket and keeps one connection open that nobody has used yet. At the first byte on
//! it the bridge starts the server's command behind that connection and dials the next. A connection is a
//! process: the bridge never starts one again by itself, and tells the gateway how it ended.
//!
//! Threads and blocking calls instead of an async runtime: a bridge mostly sleeps, there is one per server of
//! every user, and this is the smallest resident size.
//!
//! Not done here: the bridge does not check who listens on the socket. Its directory is bound into the
//! container read-only, so only the gateway can have made it.

mod children;
mod command;
mod dial;
mod logging;
mod session;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::children::Children;
use crate::command::Settings;
use crate::session::Slots;

/// Connections with a process behind them at one time; a gateway needs one, and two while it replaces one.
const MOST_SESSIONS: usize = 16;
/// From SIGTERM to SIGKILL when the container is stopped.
const STOP_GRACE: Duration = Duration::from_millis(800);
/// For the last lines to the gateway, after the processes have ended.
const FAREWELL: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let settings = match Settings::parse(std::env::args_os().skip(1)) {
        Ok(settings) => Arc::new(settings),
        Err(error) => {
            logging::say(format_args!("{error}"));
            return ExitCode::from(2);
        }
    };
    match run(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::say(format_args!("cannot prepare signals: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Serves until SIGTERM or SIGINT.
fn run(settings: &Arc<Settings>) -> io::Result<()> {
    // The secrets pass through this process's memory: no core file, and no reading of it by its own uid.
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        logging::say(format_args!("cannot forbid dumps: {error}"));
    }
    // Handlers and no blocked signals: a mask is inherited over the start of a server, a handler is not.
    let mut stop = Signals::new([SIGTERM, SIGINT])?;
    let mut ended = Signals::new([SIGCHLD])?;

    let children = Arc::new(Children::default());
    let slots = Arc::new(Slots::new(MOST_SESSIONS));
    let reaped = Arc::clone(&children);
    thread::spawn(move || {
        for _ in ended.forever() {
            reaped.reap();
        }
    });
    let (dialling, of, slot) = (Arc::clone(settings), Arc::clone(&children), Arc::clone(&slots));
    thread::spawn(move || dial_for_ever(&dialling, &of, &slot));

    stop.forever().next();
    children.stop();
    if !children.ended_within(STOP_GRACE) {
        children.kill();
    }
    slots.empty_within(FAREWELL);
    Ok(())
}

/// Keeps one unclaimed connection, and gives each claimed one a session of its own.
fn dial_for_ever(settings: &Arc<Settings>, children: &Arc<Children>, slots: &Arc<Slots>) {
    let mut dialler = dial::Dialler::new(&settings.socket);
    loop {
        let slot = slots.take();
        let connection = dialler.claimed();
        let (settings, children) = (Arc::clone(settings), Arc::clone(children));
        thread::spawn(move || {
            session::serve(&connection, &settings, &children);
            drop(slot);
        });
    }
}
