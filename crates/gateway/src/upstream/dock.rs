//! A server's socket, on the gateway's side: where its bridge moors.
//!
//! The bridge keeps one connection open that nobody has used. The dock holds the newest such connection,
//! notices when it dies, and turns away everybody who is not the server's user.

use std::convert::Infallible;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tracing::{info, warn};

use crate::sun_path::SunPath;

/// After an accept that failed, which is about file descriptors or memory and not about the peer.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Listens on one server's socket. The file goes with it.
#[derive(Debug)]
pub(crate) struct Dock {
    listener: UnixListener,
    path: PathBuf,
    uid: u32,
    unclaimed: Option<UnixStream>,
    /// An unclaimed connection has died since the last claim.
    lost: bool,
    /// A connection has come in the place of an unclaimed one: another bridge, not the same one once more.
    renewed: bool,
}

impl Dock {
    /// Listens on `path` for connections of the user `uid`.
    ///
    /// # Errors
    /// When the directory is not there or not writable.
    pub(crate) fn open(path: &Path, uid: u32) -> io::Result<Self> {
        let (listener, path) = (listen(path)?, path.to_owned());
        Ok(Self { listener, path, uid, unclaimed: None, lost: false, renewed: false })
    }

    /// Waits for a living connection that nobody has used, and hands it over.
    pub(crate) async fn claim(&mut self) -> UnixStream {
        loop {
            if let Some(connection) = self.unclaimed.take_if(|connection| is_silent(connection)) {
                (self.lost, self.renewed) = (false, false);
                return connection;
            }
            self.step().await;
        }
    }

    /// Waits until another bridge has come since the last claim, as after a restart of its container.
    pub(crate) async fn renewed(&mut self) {
        while !std::mem::take(&mut self.renewed) {
            self.step().await;
        }
    }

    /// Keeps the unclaimed connection fresh for as long as it is polled.
    pub(crate) async fn tend(&mut self) -> Infallible {
        loop {
            self.step().await;
        }
    }

    /// One event: a peer has come, or the unclaimed connection has gone. Safe to cancel.
    async fn step(&mut self) {
        tokio::select! {
            accepted = self.listener.accept() => match accepted {
                Ok((connection, _)) => match connection.peer_cred() {
                    Ok(peer) if peer.uid() == self.uid => {
                        info!(socket = %self.path.display(), "bridge connected");
                        let replaced = self.unclaimed.replace(connection).is_some();
                        self.renewed |= replaced || self.lost;
                    }
                    Ok(peer) => {
                        warn!(socket = %self.path.display(), uid = peer.uid(), expected = self.uid,
                            "connection of another user refused");
                    }
                    Err(error) => warn!(%error, "connection without credentials refused"),
                },
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            () = closed(self.unclaimed.as_ref()) => {
                self.unclaimed = None;
                self.lost = true;
            }
        }
    }
}

impl Drop for Dock {
    fn drop(&mut self) {
        // The controller removes the directory; a file that is left would only look like a server.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Binds a unix socket at `path`, in the place of one that an earlier gateway left, for every uid to connect:
/// the directories above it say who can reach it.
pub(crate) fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(SunPath::new(path)?)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o777))?;
    Ok(listener)
}

/// Whether the connection is open and has nothing to say, as a bridge's must be.
fn is_silent(connection: &UnixStream) -> bool {
    matches!(connection.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// Completes when the connection is not one of a waiting bridge any more; never for `None`.
async fn closed(connection: Option<&UnixStream>) {
    let Some(connection) = connection else {
        return std::future::pending().await;
    };
    while connection.readable().await.is_ok() && is_silent(connection) {}
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn own_uid() -> u32 {
        rustix::process::getuid().as_raw()
    }

    #[tokio::test]
    async fn the_newest_living_connection_is_claimed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mcp.sock");
        let mut dock = Dock::open(&path, own_uid()).unwrap();
        drop(UnixStream::connect(&path).await.unwrap());
        let mut bridge = UnixStream::connect(&path).await.unwrap();
        let mut claimed = dock.claim().await;
        claimed.write_all(b"!").await.unwrap();
        assert_eq!(bridge.read_u8().await.unwrap(), b'!');
    }

    #[tokio::test]
    async fn a_peer_that_speaks_first_is_not_claimed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mcp.sock");
        let mut dock = Dock::open(&path, own_uid()).unwrap();
        let mut chatty = UnixStream::connect(&path).await.unwrap();
        chatty.write_all(b"!").await.unwrap();
        let mut bridge = UnixStream::connect(&path).await.unwrap();
        let mut claimed = dock.claim().await;
        claimed.write_all(b"?").await.unwrap();
        assert_eq!(bridge.read_u8().await.unwrap(), b'?');
    }

    #[tokio::test]
    async fn only_a_bridge_that_comes_in_the_place_of_another_is_a_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mcp.sock");
        let mut dock = Dock::open(&path, own_uid()).unwrap();
        let _first = UnixStream::connect(&path).await.unwrap();
        let _claimed = dock.claim().await;
        let next = UnixStream::connect(&path).await.unwrap();
        dock.step().await;
        assert!(!dock.renewed, "the next connection of the same bridge was taken for another bridge");
        drop(next);
        dock.step().await;
        let _other = UnixStream::connect(&path).await.unwrap();
        dock.renewed().await;
    }

    #[tokio::test]
    async fn another_user_is_turned_away() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mcp.sock");
        let mut dock = Dock::open(&path, own_uid() + 1).unwrap();
        let mut peer = UnixStream::connect(&path).await.unwrap();
        let mut byte = [0];
        let read = tokio::select! {
            read = peer.read(&mut byte) => read.unwrap(),
            _ = dock.claim() => panic!("a connection of another user was claimed"),
        };
        assert_eq!(read, 0);
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_ours_goes_with_the_dock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mcp.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let dock = Dock::open(&path, own_uid()).unwrap();
        UnixStream::connect(&path).await.unwrap();
        drop(dock);
        assert!(!path.exists());
    }
}
