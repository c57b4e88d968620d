//! The unix socket: made with the right modes, and reached through paths of any length.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// Mode of the socket's directory: who is in its group may enter.
const DIRECTORY_MODE: u32 = 0o750;
/// Mode of the socket itself.
const SOCKET_MODE: u32 = 0o660;
/// What fits into `sun_path` together with its final zero.
const MAX_PATH: usize = 107;

/// Why the socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The path has no directory or no name.
    #[error("{} is no path for a socket", .0.display())]
    NoSuchPath(PathBuf),
    /// Somebody listens there already.
    #[error("another process already listens on {}", .0.display())]
    InUse(PathBuf),
    /// There is something that is no socket.
    #[error("{} exists and is no socket", .0.display())]
    NotASocket(PathBuf),
    /// The operating system refused.
    #[error("cannot listen on {}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

/// Listens on `path`: the directory 0750, the socket 0660. A socket on which nobody listens any more is
/// replaced; one on which somebody does is not touched.
pub(crate) async fn bind(path: &Path) -> Result<UnixListener, BindError> {
    let failed = |source| BindError::Io { path: path.to_owned(), source };
    let (Some(parent), Some(_)) = (path.parent(), path.file_name()) else {
        return Err(BindError::NoSuchPath(path.to_owned()));
    };
    // Only a directory that is made here gets the mode: one that was there, such as /run, is somebody's.
    if !parent.exists() {
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(parent).map_err(failed)?;
        fs::set_permissions(parent, Permissions::from_mode(DIRECTORY_MODE)).map_err(failed)?;
    }
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(BindError::NotASocket(path.to_owned())),
        Ok(_) => match connect(path).await {
            Ok(_) => return Err(BindError::InUse(path.to_owned())),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let listener = through_short_path(path, |short| UnixListener::bind(short)).map_err(failed)?;
    fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
    Ok(listener)
}

/// Connects to the unix socket at `path`, which may be longer than the 107 bytes of a socket address.
///
/// # Errors
/// Those of `connect(2)`, and of opening the socket's directory when the path is long.
pub async fn connect(path: &Path) -> io::Result<UnixStream> {
    let stream = through_short_path(path, |short| {
        let stream = std::os::unix::net::UnixStream::connect(short)?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    })?;
    UnixStream::from_std(stream)
}

/// Calls `with` with a path for the same file that fits into a socket address: long ones go through the
/// directory's file descriptor, which lives as long as the call.
fn through_short_path<T>(path: &Path, with: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    if path.as_os_str().len() <= MAX_PATH {
        return with(path);
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(ErrorKind::InvalidInput.into());
    };
    let directory = File::open(parent)?;
    with(&Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn directory_and_socket_have_their_modes() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("api").join("bowline.sock");
        let _listener = bind(&path).await.unwrap();
        assert_eq!(mode(path.parent().unwrap()), 0o750);
        assert_eq!(mode(&path), 0o660);
    }

    #[tokio::test]
    async fn a_socket_that_nobody_listens_on_is_replaced_and_a_live_one_is_not() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("bowline.sock");
        drop(bind(&path).await.unwrap());
        let _second = bind(&path).await.unwrap();
        assert!(matches!(bind(&path).await, Err(BindError::InUse(_))));
    }

    #[tokio::test]
    async fn a_file_in_the_way_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("bowline.sock");
        fs::write(&path, "mine").unwrap();
        assert!(matches!(bind(&path).await, Err(BindError::NotASocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[tokio::test]
    async fn a_path_longer_than_a_socket_address_works() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("d".repeat(120)).join("bowline.sock");
        let _listener = bind(&path).await.unwrap();
        connect(&path).await.unwrap();
    }
}
