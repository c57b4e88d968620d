//! Reading a directory that anybody may have written anything into: nothing is followed, waited for or trusted.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

/// Greatest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// Greatest directory that is read: files of specifications, and their bytes together.
const MAX_FILES: usize = 10_000;
const MAX_TOTAL: usize = 64 << 20;
/// How deeply directories may nest, and how many there may be.
const MAX_DEPTH: usize = 16;
const MAX_DIRECTORIES: usize = 1_000;
/// Longest path within the directory, in bytes: the database's index has an end, too.
const MAX_PATH: usize = 1_024;
/// Why a file or a directory is not read whose path nobody could write down.
const BAD_NAME: &str = "its name is not UTF-8, too long or has control characters; give it another one";

/// What is in the directory.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// The files of specifications, by their path within the directory.
    pub(super) files: BTreeMap<String, Content>,
    /// What could not be read and is, or may have been, a directory, and why: what is in it is not known.
    pub(super) blind: BTreeMap<String, String>,
    /// A directory whose name is none of a path: any file that is gone may be in it.
    pub(super) nameless: Option<String>,
    /// Every directory that was read.
    pub(super) directories: BTreeSet<Directory>,
    bytes: usize,
}

/// A directory as the kernel knows it: another one of the same name is another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    device: u64,
    inode: u64,
}

/// What a file was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// Text, its hash, and when it was written last, in seconds of Unix time.
    Text { text: String, sha256: String, modified: i64 },
    /// Nothing that is read, and why.
    Unreadable(String),
}

/// A directory of which nothing is known.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScanError {
    /// It is missing, or not to be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// The directory.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// There is more in it than is read.
    #[error("{} has more than {what} in it", path.display())]
    TooMuch {
        /// The directory.
        path: PathBuf,
        /// What there is too much of.
        what: String,
    },
}

impl Scan {
    /// Whether nothing is known of this file, because it is or was in a directory that could not be read.
    pub(super) fn cannot_see(&self, path: &str) -> Option<&str> {
        let mut above = path.match_indices('/').map(|(end, _)| &path[..end]);
        above.find_map(|directory| self.blind.get(directory)).map(String::as_str)
    }

    /// Whether this file, which is not where it was, may have gone to where no path leads.
    pub(super) fn may_hide(&self, path: &str) -> Option<String> {
        let directory = self.nameless.as_ref().filter(|_| !self.files.contains_key(path))?;
        Some(format!("it is gone, and may be in {directory}, whose name is not read"))
    }
}

/// Whether a name is that of a specification: `*.yaml`, `*.yml` and `*.json`. Hidden names, and those that editors
/// give to what they are about to write (`.x.yaml.swp`, `x.yaml~`, `#x.yaml#`), are not.
pub(super) fn is_spec_name(name: &str) -> bool {
    let ends = [".yaml", ".yml", ".json"].iter().any(|end| name.len() > end.len() && name.ends_with(end));
    ends && !name.starts_with(['.', '#'])
}

/// Reads the directory at `root` with all its subdirectories that are not hidden.
pub(super) fn scan(root: &Path) -> Result<Scan, ScanError> {
    let unreadable = |error: Errno| ScanError::Unreadable { path: root.to_owned(), source: error.into() };
    // Only the directory itself may be a link: whoever set it may do so.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = fs::open(root, flags, Mode::empty()).map_err(unreadable)?;
    let mut scan = Scan::default();
    Walk { root, scan: &mut scan }.directory(&top, "", 0)?;
    match scan.blind.remove("") {
        Some(why) => Err(ScanError::Unreadable { path: root.to_owned(), source: io::Error::other(why) }),
        None => Ok(scan),
    }
}

struct Walk<'a> {
    root: &'a Path,
    scan: &'a mut Scan,
}

impl Walk<'_> {
    /// Reads one directory; what cannot be read of it makes it blind.
    fn directory(&mut self, directory: &OwnedFd, path: &str, depth: usize) -> Result<(), ScanError> {
        if self.scan.directories.len() >= MAX_DIRECTORIES {
            return Err(self.too_much(format!("{MAX_DIRECTORIES} directories")));
        }
        let read = fs::fstat(directory).and_then(|stat| Ok((stat, Dir::read_from(directory)?)));
        let (stat, entries) = match read {
            Ok(read) => read,
            Err(error) => {
                self.blind(path, error);
                return Ok(());
            }
        };
        let full = self.root.join(path);
        self.scan.directories.insert(Directory { path: full, device: stat.st_dev, inode: stat.st_ino });
        for entry in entries {
            match entry {
                Ok(entry) => self.entry(directory.as_fd(), path, entry.file_name(), depth)?,
                Err(error) => self.blind(path, error),
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        directory: BorrowedFd<'_>,
        path: &str,
        name: &CStr,
        depth: usize,
    ) -> Result<(), ScanError> {
        let text = name.to_string_lossy();
        if text.starts_with('.') {
            return Ok(());
        }
        let path = if path.is_empty() { text.to_string() } else { format!("{path}/{text}") };
        let is_plain = name.to_str().is_ok() && !text.contains(char::is_control) && path.len() <= MAX_PATH;
        // As it is told, for which it need not be found by it.
        let told = || clipped(path.replace(char::is_control, "\u{fffd}"), MAX_PATH);
        let stat = match fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // It has gone since the directory was listed.
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => {
                self.blind(&path, error);
                return Ok(());
            }
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        match kind {
            FileType::Directory if is_plain => return self.subdirectory(directory, name, &path, depth),
            FileType::Directory => self.scan.nameless = Some(told()),
            // It may stand for a directory, even for one that was here.
            FileType::Symlink if self.scan.blind.len() >= MAX_FILES => {
                return Err(self.too_much(format!("{MAX_FILES} symbolic links")));
            }
            FileType::Symlink if is_plain => {
                self.scan.blind.insert(path.clone(), format!("its directory is {}", what(kind)));
            }
            _ => {}
        }
        if kind != FileType::Directory && !is_spec_name(&text) {
            return Ok(());
        }
        if self.scan.files.len() >= MAX_FILES {
            return Err(self.too_much(format!("{MAX_FILES} files")));
        }
        let content = match kind {
            _ if !is_plain => Err(Some(BAD_NAME.to_owned())),
            FileType::RegularFile => read(directory, name),
            other => Err(Some(not_regular(other))),
        };
        let content = match content {
            Ok((text, modified)) => {
                self.scan.bytes += text.len();
                Content::Text { sha256: hex::encode(Sha256::digest(&text)), text, modified }
            }
            Err(Some(why)) => Content::Unreadable(why),
            Err(None) => return Ok(()),
        };
        if self.scan.bytes > MAX_TOTAL {
            return Err(self.too_much(format!("{MAX_TOTAL} bytes of specifications")));
        }
        self.scan.files.insert(told(), content);
        Ok(())
    }

    fn subdirectory(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &CStr,
        path: &str,
        depth: usize,
    ) -> Result<(), ScanError> {
        if depth >= MAX_DEPTH {
            self.scan.blind.insert(path.to_owned(), format!("it is more than {MAX_DEPTH} directories deep"));
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match fs::openat(parent, name, flags, Mode::empty()) {
            Ok(directory) => self.directory(&directory, path, depth + 1),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => {
                self.blind(path, error);
                Ok(())
            }
        }
    }

    fn blind(&mut self, path: &str, error: Errno) {
        self.scan.blind.insert(path.to_owned(), io::Error::from(error).to_string());
    }

    fn too_much(&self, what: String) -> ScanError {
        ScanError::TooMuch { path: self.root.to_owned(), what }
    }
}

/// The text of a regular file and when it was written last; `Err(None)` when it has gone, else why it is not read.
fn read(directory: BorrowedFd<'_>, name: &CStr) -> Result<(String, i64), Option<String>> {
    // It may be something else by now: no link is followed and no FIFO waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let failed = |error: Errno| match error {
        Errno::NOENT => None,
        Errno::LOOP => Some(not_regular(FileType::Symlink)),
        other => Some(io::Error::from(other).to_string()),
    };
    let file = fs::openat(directory, name, flags, Mode::empty()).map_err(failed)?;
    let stat = fs::fstat(&file).map_err(failed)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind != FileType::RegularFile {
        return Err(Some(not_regular(kind)));
    }
    let mut bytes = Vec::new();
    let read = File::from(file).take(MAX_FILE + 1).read_to_end(&mut bytes);
    read.map_err(|error| Some(error.to_string()))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Some(format!("it is greater than {MAX_FILE} bytes; divide it into several files")));
    }
    let text = String::from_utf8(bytes).map_err(|_| Some("it is not UTF-8".to_owned()))?;
    Ok((text, stat.st_mtime))
}

fn not_regular(kind: FileType) -> String {
    format!("it is {}; put the file itself here", what(kind))
}

fn what(kind: FileType) -> &'static str {
    match kind {
        FileType::Symlink => "a symbolic link, which is not followed",
        FileType::Directory => "a directory",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "no regular file",
    }
}

/// The text, cut between characters where it has more than `limit` bytes.
fn clipped(mut text: String, limit: usize) -> String {
    text.truncate(text.floor_char_boundary(limit));
    text
}

#[cfg(test)]
mod tests;
