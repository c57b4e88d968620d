//! What is in a tree, as the planner compares it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bowline_core::desired::SECRETS;
use bowline_core::observed::{Entry, Tree};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::{MARK_FILE, is_secret, names, open_directory, read_regular};

/// A file beyond this size is none of ours; it is listed as [`Entry::Other`].
const FILE_BYTES: u64 = 8 << 20;
/// Directories deeper than this are none of ours; they are listed as [`Entry::Other`] and not entered.
const DEPTH: usize = 8;
/// Entries beyond this number are left out: a container can fill its directories with names.
const ENTRIES: usize = 10_000;

/// Lists a tree, breadth first, so that what a container piles up deep inside hides nothing of ours above it.
/// The root is the entry with the empty path; the mark is left out.
pub(super) fn list(root: BorrowedFd<'_>, revision: &Revision<'_>) -> io::Result<Tree> {
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
            let below = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            let file = File { directory: directory.as_fd(), name: &name, path: &below };
            let Some(entry) = look(file, depth, revision)? else {
                continue;
            };
            if matches!(entry, Entry::Directory { .. }) {
                let next = (below.clone(), depth + 1);
                // Nobody but us puts anything there: not even one of its own depth may hide it.
                if below == SECRETS || is_secret(&below) {
                    queue.push_front(next);
                } else {
                    queue.push_back(next);
                }
            }
            tree.insert(below, entry);
        }
    }
    Ok(tree)
}

/// Tells in which revision we wrote the secret file at a place; `None` when it is not what we wrote.
pub(super) type Revision<'a> = dyn Fn(File<'_>) -> io::Result<Option<String>> + 'a;

/// An entry of a directory.
#[derive(Clone, Copy)]
pub(super) struct File<'a> {
    pub(super) directory: BorrowedFd<'a>,
    pub(super) name: &'a str,
    /// From the tree's root.
    pub(super) path: &'a str,
}

fn look(file: File<'_>, depth: usize, revision: &Revision<'_>) -> io::Result<Option<Entry>> {
    let stat = match fs::statat(file.directory, file.name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) if is_refusal(errno) => return Ok(Some(Entry::Other)),
        other => other?,
    };
    let mode = permissions(stat.st_mode);
    Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory if depth < DEPTH => Entry::Directory { mode },
        FileType::Socket => Entry::Socket,
        FileType::RegularFile => match read(file, mode, revision) {
            Ok(entry) => entry,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if Errno::from_io_error(&error).is_some_and(is_refusal) => Entry::Other,
            Err(error) => return Err(error),
        },
        _ => Entry::Other,
    }))
}

fn read(file: File<'_>, mode: u32, revision: &Revision<'_>) -> io::Result<Entry> {
    if is_secret(file.path) {
        return Ok(Entry::Secret { mode, revision: revision(file)?.unwrap_or_default() });
    }
    let content = read_regular(file.directory, file.name, FILE_BYTES)?;
    Ok(content
        .map_or(Entry::Other, |content| Entry::File { mode, sha256: hex::encode(Sha256::digest(content)) }))
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
