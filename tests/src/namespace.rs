//! A network namespace of a test's own: what listens there meets no port of the machine.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::process::Pid;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The network namespace of a process, as long as that process lives.
#[derive(Debug, Clone)]
pub struct NetworkNamespace {
    link: PathBuf,
}

impl NetworkNamespace {
    pub(crate) fn of(process: Pid) -> Self {
        Self { link: PathBuf::from(format!("/proc/{process}/ns/net")) }
    }

    /// A command that runs this program there. It becomes that program: its process id is the program's.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.link.display())).arg("--").arg(program);
        command
    }

    /// Connects to an address of the namespace. The connection can be used from anywhere.
    ///
    /// # Errors
    /// As [`TcpStream::connect_timeout`].
    pub fn connect(&self, address: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
        let link = File::open(&self.link)?;
        // A socket stays in the namespace that it was made in; the thread that goes there does not come back.
        let connecting = thread::spawn(move || {
            move_into_link_name_space(link.as_fd(), Some(LinkNameSpaceType::Network))?;
            TcpStream::connect_timeout(&address, limit)
        });
        connecting.join().expect("the thread that connects")
    }
}
