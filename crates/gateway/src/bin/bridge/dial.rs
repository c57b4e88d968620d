//! Reaching the gateway: one open connection that nobody has used yet, for as long as it takes.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use bowline_gateway::backoff::Backoff;
use bowline_gateway::sun_path::SunPath;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::logging::say;

/// An unclaimed connection that lived this long was a good one: the gateway ended it for a reason of its own.
const LIVED: Duration = Duration::from_secs(1);

/// Dials one socket again and again.
pub(crate) struct Dialler {
    socket: PathBuf,
    backoff: Backoff,
    /// Whether the last thing said was that the gateway is away, so that it is said once.
    away: bool,
}

impl Dialler {
    /// Dials `socket`.
    pub(crate) fn new(socket: &Path) -> Self {
        let backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        Self { socket: socket.to_owned(), backoff, away: false }
    }

    /// Waits until the gateway has sent a first byte on a connection; the byte is still in it.
    pub(crate) fn claimed(&mut self) -> UnixStream {
        loop {
            match SunPath::new(&self.socket).and_then(UnixStream::connect) {
                Ok(connection) => {
                    self.away = false;
                    let since = Instant::now();
                    match wait_for_first_byte(&connection) {
                        Ok(true) => {
                            self.backoff.reset();
                            return connection;
                        }
                        Ok(false) if since.elapsed() >= LIVED => self.backoff.reset(),
                        Ok(false) => {}
                        Err(error) => say(format_args!("cannot wait for the gateway: {error}")),
                    }
                }
                Err(error) if !self.away => {
                    self.away = true;
                    say(format_args!("the gateway is not there yet: {error}"));
                }
                Err(_) => {}
            }
            thread::sleep(self.backoff.pause());
        }
    }
}

/// Whether a byte came before the other side closed.
fn wait_for_first_byte(connection: &UnixStream) -> io::Result<bool> {
    loop {
        let mut interest = [PollFd::new(connection, PollFlags::IN | PollFlags::RDHUP)];
        match poll(&mut interest, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        if interest[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR) {
            return Ok(false);
        }
        let mut byte = [0];
        match recv(connection, &mut byte, RecvFlags::PEEK) {
            Ok((received, _)) => return Ok(received > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
