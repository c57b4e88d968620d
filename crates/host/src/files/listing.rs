//! What is in a tree, as the planner compares it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bowline_core::observed::{Entry, Tree};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::{MARK_FILE, names, open_directory, read_regular};

/// A file beyond this size is none of ours; it is listed as [`Entry::Other`].
const FILE_BYTES: u64 = 8 << 20;
/// Directories deeper than this are none of ours; they are listed as [`Entry::Other`] and not entered.
const DEPTH: usize = 8;
/// Entries beyond this number are left out: a container can fill its directories with names.
const ENTRIES: usize = 10_000;

/// Lists a tree, breadth first, so that what a container piles up deep inside hides nothing of ours above it.
/// The root is the entry with the empty path; the mark is left out.
pub(crate) fn list(root: BorrowedFd<'_>) -> io::Result<Tree> {
    let mut tree = Tree::new();
    tree.insert(String::new(), Entry::Directory { mode: permissions(fs::fstat(root)?.st_mode) });
    let mut queue = VecDeque::from([(String::new(), 0)]);
    while let Some((path, depth)) = queue.pop_front() {
        let opened = open_path(root, &path).map_err(io::Error::from);
        let (names, directory) = match opened.and_then(|opened| Ok((names(opened.as_fd())?, opened))) {
            Ok(both) => both,
            Err(error) => match Errno::from_io_error(&error) {
                // Gone or replaced since it was listed: what is true now is seen the next time.
                Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                // A container may close its own directory to us; that must not hide the rest of the tree.
                Some(errno) if is_refusal(errno) && !path.is_empty() => {
                    tree.insert(path, Entry::Other);
                    continue;
                }
                _ => return Err(error),
            },
        };
        for name in names {
            if path.is_empty() && name == MARK_FILE {
                continue;
            }
            if tree.len() >= ENTRIES {
                tracing::warn!(entries = ENTRIES, "listing of a gateway's directory was cut short");
                return Ok(tree);
            }
            let Some(entry) = look(directory.as_fd(), &name, depth)? else {
                continue;
            };
            let below = if path.is_empty() { name } else { format!("{path}/{name}") };
            if matches!(entry, Entry::Directory { .. }) {
                queue.push_back((below.clone(), depth + 1));
            }
            tree.insert(below, entry);
        }
    }
    Ok(tree)
}

fn look(directory: BorrowedFd<'_>, name: &str, depth: usize) -> io::Result<Option<Entry>> {
    let stat = match fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) if is_refusal(errno) => return Ok(Some(Entry::Other)),
        other => other?,
    };
    let mode = permissions(stat.st_mode);
    Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory if depth < DEPTH => Entry::Directory { mode },
        FileType::Socket => Entry::Socket,
        FileType::RegularFile => match read_regular(directory, name, FILE_BYTES) {
            Ok(Some(content)) => Entry::File { mode, sha256: hex::encode(Sha256::digest(content)) },
            Ok(None) => Entry::Other,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if Errno::from_io_error(&error).is_some_and(is_refusal) => Entry::Other,
            Err(error) => return Err(error),
        },
        _ => Entry::Other,
    }))
}

/// Whether we may not look, which says something of this one entry alone.
fn is_refusal(errno: Errno) -> bool {
    matches!(errno, Errno::ACCESS | Errno::PERM)
}

fn open_path(root: BorrowedFd<'_>, path: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut directory = fs::openat(root, ".", flags, Mode::empty())?;
    for part in path.split('/').filter(|part| !part.is_empty()) {
        directory = open_directory(directory.as_fd(), part)?;
    }
    Ok(directory)
}

fn permissions(mode: u32) -> u32 {
    mode & 0o7777
}
