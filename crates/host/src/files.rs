//! The directories of gateways below the runtime directory.
//!
//! Each tree `gateways/<uid>` has a mark in its root that says whose it is. A directory without a valid mark of
//! this owner is foreign: it is never listed, changed or removed. Every operation starts at the opened tree and
//! goes down one component at a time without following links, because a gateway's container may write into some
//! of its directories and could put a link where we expect a directory.

mod listing;
mod removal;
mod secrets;

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bowline_core::labels::Owner;
use bowline_core::object::GatewayKey;
use bowline_core::observed::Tree;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use listing::File;
pub(crate) use removal::remove_entry;
pub(crate) use secrets::KEY_FILE;
use secrets::{FileKey, Unwritable, is_secret, place};

/// Name of the mark in the root of each tree.
pub const MARK_FILE: &str = "owner.json";
/// Name, below the runtime directory, of the directory that holds all trees.
pub(crate) const GATEWAYS: &str = "gateways";
/// Prefix of a tree that is being made: it has no name of its own before its mark is in it.
pub(crate) const NEW: &str = ".new.";
/// Prefix of a tree whose last step of removal is under way.
const GONE: &str = ".gone.";
/// No mark is larger.
const MARK_BYTES: u64 = 4096;

/// Whose a directory tree is: the content of [`MARK_FILE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// Instance and installation.
    pub owner: Owner,
    /// Uid of the Gateway object, also the directory's name.
    pub uid: Uuid,
    /// Namespace and name of the gateway.
    pub key: GatewayKey,
}

/// Why an operation on a tree did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// The tree, or a directory on the way, is not there (any more).
    #[error("{0} is not there")]
    Absent(String),
    /// Something else is where a directory should be, or the other way round.
    #[error("{0} is not what it should be")]
    Unexpected(String),
    /// The directory has no valid mark of ours.
    #[error("{0} has no mark of this installation and gateway; it is left alone")]
    Foreign(String),
    /// The path leaves the tree or names the mark.
    #[error("{0:?} is no path for a file of a gateway")]
    BadPath(String),
    /// The values cannot be the lines of a secret file.
    #[error(transparent)]
    Unwritable(#[from] Unwritable),
    /// The system refused.
    #[error("{path}: {cause}")]
    Io {
        /// Where.
        path: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

/// All trees of one owner below one runtime directory.
#[derive(Debug)]
pub(crate) struct Trees {
    runtime: PathBuf,
    gateways: PathBuf,
    owner: Owner,
    /// Keys by uid. A tree keeps its mark for life and no uid is used twice, so an entry never becomes wrong; it
    /// spares reading every mark to find the trees of one key.
    keys: Mutex<HashMap<Uuid, GatewayKey>>,
    /// What proves secret files, once it was needed.
    file_key: Mutex<Option<Arc<FileKey>>>,
}

impl Trees {
    pub(crate) fn new(runtime_dir: &Path, owner: Owner) -> Self {
        Trees {
            runtime: runtime_dir.to_owned(),
            gateways: runtime_dir.join(GATEWAYS),
            owner,
            keys: Mutex::default(),
            file_key: Mutex::default(),
        }
    }

    /// The directory that holds all trees.
    pub(crate) fn root(&self) -> &Path {
        &self.gateways
    }

    pub(crate) fn path(&self, uid: Uuid) -> PathBuf {
        self.gateways.join(uid.to_string())
    }

    /// The trees of this owner that are there, by uid. None when there is no directory of trees yet.
    pub(crate) fn marked(&self) -> io::Result<HashMap<Uuid, GatewayKey>> {
        let gateways = match open_absolute(&self.gateways) {
            Err(Errno::NOENT) => return Ok(HashMap::new()),
            other => other?,
        };
        let mut known = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let mut present = HashMap::new();
        for name in names(gateways.as_fd())? {
            let Ok(uid) = name.parse::<Uuid>() else { continue };
            if let Some(key) = known.get(&uid) {
                present.insert(uid, key.clone());
            } else if let Ok(tree) = open_directory(gateways.as_fd(), &name)
                && let Some(mark) = read_mark(tree.as_fd(), uid)
                && mark.owner == self.owner
            {
                present.insert(uid, mark.key);
            }
        }
        known.clone_from(&present);
        Ok(present)
    }

    /// The listing of one tree of `key`; `None` when it is not there or not ours.
    pub(crate) fn listing(&self, key: &GatewayKey, uid: Uuid) -> io::Result<Option<Tree>> {
        match self.open(key, uid) {
            Ok(tree) => {
                let revision = |file: File<'_>| {
                    self.file_key()?.revision(file.directory, file.name, &place(uid, file.path))
                };
                listing::list(tree.as_fd(), &revision).map(Some)
            }
            Err(FileError::Io { cause, .. }) => Err(cause),
            Err(_) => Ok(None),
        }
    }

    /// Makes a directory with exactly these permission bits, or puts the bits right. The empty path is the tree
    /// itself, which appears together with its mark.
    pub(crate) fn ensure_directory(
        &self,
        key: &GatewayKey,
        uid: Uuid,
        path: &str,
        mode: u32,
    ) -> Result<(), FileError> {
        if path.is_empty() {
            return match self.open(key, uid) {
                Ok(tree) => fs::fchmod(&tree, Mode::from_raw_mode(mode)).map_err(io_at("")),
                Err(FileError::Absent(_)) => self.make_tree(key, uid, mode),
                Err(error) => Err(error),
            };
        }
        let (parent, name) = self.open_parent(key, uid, path)?;
        match fs::mkdirat(&parent, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(io_at(path)(errno)),
        }
        let directory = open_directory(parent.as_fd(), name).map_err(|errno| walk_error(path, errno))?;
        // Not by mkdir's mode, which the umask narrows.
        fs::fchmod(&directory, Mode::from_raw_mode(mode)).map_err(io_at(path))
    }

    /// Writes a file so that a reader sees the old content or the new, and a crash leaves one of both.
    pub(crate) fn write_file(
        &self,
        key: &GatewayKey,
        uid: Uuid,
        path: &str,
        mode: u32,
        content: &[u8],
    ) -> Result<(), FileError> {
        let (parent, name) = self.open_parent(key, uid, path)?;
        let fail = |cause: io::Error| match Errno::from_io_error(&cause) {
            Some(Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST) => FileError::Unexpected(path.to_owned()),
            _ => FileError::Io { path: path.to_owned(), cause },
        };
        write_atomically(parent.as_fd(), name, mode, content).map_err(fail)
    }

    /// Removes what is at `path` with all below it. What is not there is removed.
    pub(crate) fn remove(&self, key: &GatewayKey, uid: Uuid, path: &str) -> Result<(), FileError> {
        if path.is_empty() {
            return match self.open(key, uid) {
                Ok(tree) => self.remove_tree(tree.as_fd(), uid),
                Err(FileError::Absent(_)) => Ok(()),
                Err(error) => Err(error),
            };
        }
        let (parent, name) = match self.open_parent(key, uid, path) {
            Err(FileError::Absent(_)) => return Ok(()),
            other => other?,
        };
        remove_entry(parent.as_fd(), name).map_err(|cause| FileError::Io { path: path.to_owned(), cause })
    }

    /// Removes what interrupted steps left behind: trees that were never finished or are all but gone.
    pub(crate) fn sweep(&self) -> io::Result<()> {
        let gateways = open_absolute(&self.gateways)?;
        for name in names(gateways.as_fd())? {
            let rest = name.strip_prefix(NEW).or_else(|| name.strip_prefix(GONE));
            if rest.is_some_and(|uid| uid.parse::<Uuid>().is_ok()) {
                remove_entry(gateways.as_fd(), &name)?;
            }
        }
        Ok(())
    }

    /// Opens the tree of `uid` after its mark has said that it is ours and the gateway's.
    pub(crate) fn open(&self, key: &GatewayKey, uid: Uuid) -> Result<OwnedFd, FileError> {
        self.open_marked(uid, |mark| mark.key == *key)
    }

    /// Opens one directory of a tree of ours, whatever its key: for probes.
    pub(crate) fn open_below(&self, uid: Uuid, path: &str) -> Result<OwnedFd, FileError> {
        let mut directory = self.open_marked(uid, |_| true)?;
        for part in components(path)? {
            directory = open_directory(directory.as_fd(), part).map_err(|errno| walk_error(path, errno))?;
        }
        Ok(directory)
    }

    fn open_marked(&self, uid: Uuid, wanted: impl Fn(&Mark) -> bool) -> Result<OwnedFd, FileError> {
        let name = uid.to_string();
        let gateways = open_absolute(&self.gateways).map_err(|errno| walk_error(GATEWAYS, errno))?;
        let tree = open_directory(gateways.as_fd(), &name).map_err(|errno| walk_error(&name, errno))?;
        match read_mark(tree.as_fd(), uid) {
            Some(mark) if mark.owner == self.owner && wanted(&mark) => Ok(tree),
            _ => Err(FileError::Foreign(self.path(uid).display().to_string())),
        }
    }

    fn open_parent<'path>(
        &self,
        key: &GatewayKey,
        uid: Uuid,
        path: &'path str,
    ) -> Result<(OwnedFd, &'path str), FileError> {
        let mut parts = components(path)?;
        let name = parts.pop().ok_or_else(|| FileError::BadPath(path.to_owned()))?;
        if parts.is_empty() && name == MARK_FILE {
            return Err(FileError::BadPath(path.to_owned()));
        }
        let mut directory = self.open(key, uid)?;
        for part in parts {
            directory = open_directory(directory.as_fd(), part).map_err(|errno| walk_error(path, errno))?;
        }
        Ok((directory, name))
    }

    fn make_tree(&self, key: &GatewayKey, uid: Uuid, mode: u32) -> Result<(), FileError> {
        let make = || -> io::Result<()> {
            let gateways = open_absolute(&self.gateways)?;
            let temporary = format!("{NEW}{uid}");
            remove_entry(gateways.as_fd(), &temporary)?;
            fs::mkdirat(&gateways, &temporary, Mode::RWXU)?;
            let tree = open_directory(gateways.as_fd(), &temporary)?;
            let mark = Mark { owner: self.owner.clone(), uid, key: key.clone() };
            write_atomically(tree.as_fd(), MARK_FILE, 0o400, &serde_json::to_vec(&mark)?)?;
            fs::fchmod(&tree, Mode::from_raw_mode(mode))?;
            // Never over something that appeared meanwhile, not even an empty directory.
            fs::renameat_with(&gateways, &temporary, &gateways, uid.to_string(), RenameFlags::NOREPLACE)?;
            Ok(fs::fsync(&gateways)?)
        };
        make().map_err(|cause| FileError::Io { path: self.path(uid).display().to_string(), cause })
    }

    /// The mark goes last: a removal that was interrupted is still ours to finish.
    fn remove_tree(&self, tree: BorrowedFd<'_>, uid: Uuid) -> Result<(), FileError> {
        let remove = || -> io::Result<()> {
            for name in names(tree)? {
                if name != MARK_FILE {
                    remove_entry(tree, &name)?;
                }
            }
            let gateways = open_absolute(&self.gateways)?;
            let gone = format!("{GONE}{uid}");
            remove_entry(gateways.as_fd(), &gone)?;
            fs::renameat(&gateways, uid.to_string(), &gateways, &gone)?;
            remove_entry(gateways.as_fd(), &gone)
        };
        remove().map_err(|cause| FileError::Io { path: self.path(uid).display().to_string(), cause })
    }
}

/// Reads the mark of a tree; `None` unless it is a well-formed mark for this uid.
pub(crate) fn read_mark(tree: BorrowedFd<'_>, uid: Uuid) -> Option<Mark> {
    let bytes = read_regular(tree, MARK_FILE, MARK_BYTES).ok()??;
    serde_json::from_slice(&bytes).ok().filter(|mark: &Mark| mark.uid == uid)
}

/// The content of a regular file; `None` when it is something else or larger than `limit` bytes.
pub(crate) fn read_regular(directory: BorrowedFd<'_>, name: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
    // Without NONBLOCK, a pipe put here by a container would hold us for ever.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = fs::openat(directory, name, flags, Mode::empty())?;
    if FileType::from_raw_mode(fs::fstat(&file)?.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    std::fs::File::from(file).take(limit + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

/// Opens a directory by absolute path; only its last component must not be a link.
pub(crate) fn open_absolute(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(fs::CWD, path, flags, Mode::empty())
}

/// Opens a directory by one name.
pub(crate) fn open_directory(parent: BorrowedFd<'_>, name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(parent, name, flags, Mode::empty())
}

/// The names in a directory. Names that are not UTF-8 are none of ours and left out; they go with the directory.
pub(crate) fn names(directory: BorrowedFd<'_>) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::Dir::read_from(directory)? {
        if let Ok(name) = entry?.file_name().to_str()
            && name != "."
            && name != ".."
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Writes beside the name, syncs, renames over it, syncs the directory.
pub(crate) fn write_atomically(
    directory: BorrowedFd<'_>,
    name: &str,
    mode: u32,
    content: &[u8],
) -> io::Result<()> {
    // One fixed name: what a crash leaves here is replaced by the next attempt.
    let temporary = format!(".{name}.tmp");
    remove_entry(directory, &temporary)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = std::fs::File::from(fs::openat(directory, &temporary, flags, Mode::RUSR | Mode::WUSR)?);
    file.write_all(content)?;
    fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    file.sync_all()?;
    if let Err(errno) = fs::renameat(directory, &temporary, directory, name) {
        fs::unlinkat(directory, &temporary, AtFlags::empty())?;
        return Err(errno.into());
    }
    Ok(fs::fsync(directory)?)
}

fn components(path: &str) -> Result<Vec<&str>, FileError> {
    let parts: Vec<&str> = path.split('/').collect();
    let bad = |part: &&str| part.is_empty() || *part == "." || *part == ".." || part.contains('\0');
    if parts.iter().any(bad) {
        return Err(FileError::BadPath(path.to_owned()));
    }
    Ok(parts)
}

fn walk_error(path: &str, errno: Errno) -> FileError {
    match errno {
        Errno::NOENT => FileError::Absent(path.to_owned()),
        Errno::LOOP | Errno::NOTDIR => FileError::Unexpected(path.to_owned()),
        _ => io_at(path)(errno),
    }
}

fn io_at(path: &str) -> impl FnOnce(Errno) -> FileError {
    let path = path.to_owned();
    move |errno| FileError::Io { path, cause: errno.into() }
}

#[cfg(test)]
mod tests;
