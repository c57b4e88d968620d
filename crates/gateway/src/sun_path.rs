//! Unix socket paths of any length. `sun_path` has room for 108 bytes, and a runtime directory with uids in it
//! is easily longer; `/proc/self/fd/<directory>/<name>` names the same file in a few.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// Longest path that fits `sun_path` with its closing zero.
const LONGEST: usize = 107;

/// A path that fits `sun_path`, valid as long as this value lives.
#[derive(Debug)]
pub struct SunPath {
    path: PathBuf,
    /// Keeps the number in [`Self::path`] pointing at the directory.
    _directory: Option<OwnedFd>,
}

impl SunPath {
    /// Names the socket at `path`, whose directory must exist when the path is long.
    ///
    /// # Errors
    /// When the directory of a long path cannot be opened, or `path` has no file name.
    pub fn new(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() <= LONGEST {
            return Ok(Self { path: path.to_owned(), _directory: None });
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the path of a socket"));
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(parent, flags, Mode::empty())?;
        let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        Ok(Self { path, _directory: Some(directory) })
    }
}

impl AsRef<Path> for SunPath {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn a_socket_far_down_can_be_bound_and_reached() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let path = deep.join("mcp.sock");
        assert!(UnixListener::bind(&path).is_err(), "the path is short enough to prove nothing");
        let _listener = UnixListener::bind(SunPath::new(&path).unwrap()).unwrap();
        assert!(path.exists());
        UnixStream::connect(SunPath::new(&path).unwrap()).unwrap();
    }

    #[test]
    fn a_short_path_is_left_alone() {
        let path = Path::new("/run/bowline/mcp.sock");
        assert_eq!(AsRef::<Path>::as_ref(&SunPath::new(path).unwrap()), path);
    }
}
