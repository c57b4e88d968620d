//! Secret files: how one is written, and how one of ours is told from one that somebody changed.
//!
//! The first line holds the file's revision and a proof of it, made with a key that never leaves this host's
//! memory-backed runtime directory. So a look at the file says "this is what we wrote, in this revision" with no
//! digest of a value in the answer: what is observed is kept in the database.
//!
//! ```text
//! # <revision> <hexadecimal HMAC-SHA256 over place, revision and lines>
//! KEY=VALUE
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, PoisonError};

use bowline_core::desired::below_secrets;
use bowline_core::object::GatewayKey;
use bowline_core::secret::FILE_MODE;
use hmac::{Hmac, KeyInit, Mac};
use rand::TryRngCore;
use rand::rngs::OsRng;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use sha2::Sha256;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{FileError, Trees, open_absolute, read_regular, write_atomically};

/// Name, in the runtime directory, of the key that proves secret files.
pub(crate) const KEY_FILE: &str = "secret-files.key";
/// Permission bits of the key.
const KEY_MODE: u32 = 0o400;
/// Length of the key.
const KEY_BYTES: usize = 32;
/// A secret file is read in pieces of this size; its first line is shorter.
const PIECE: usize = 4096;
/// What a line that is not for the server's environment begins with.
const MARK: char = '#';

/// Why values cannot be the lines of a secret file. Names the variable, never the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unwritable {
    #[error("{0:?} is no name of a variable in a secret file")]
    Name(String),
    #[error("the value for {0} has a line break or a NUL in it")]
    Value(String),
    #[error("two values are given for {0}")]
    Twice(String),
    #[error("{0:?} is no revision of a secret file")]
    Revision(String),
}

/// The key that proves secret files. One per runtime directory: both end with a boot, and a lost key only means
/// that every file is written again.
pub(crate) struct FileKey(Zeroizing<[u8; KEY_BYTES]>);

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileKey(…)")
    }
}

impl FileKey {
    /// The key of a runtime directory that is ours; made when there is none, or none that only we can read.
    pub(crate) fn of(runtime: BorrowedFd<'_>) -> io::Result<Self> {
        if let Some(key) = Self::read(runtime)? {
            return Ok(key);
        }
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        OsRng.try_fill_bytes(&mut *key).map_err(io::Error::other)?;
        write_atomically(runtime, KEY_FILE, KEY_MODE, &*key)?;
        Ok(FileKey(key))
    }

    fn read(runtime: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        let stat = match fs::statat(runtime, KEY_FILE, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(None),
            other => other?,
        };
        let ours = stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o7777 == KEY_MODE;
        if !ours || FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        let Some(bytes) = read_regular(runtime, KEY_FILE, KEY_BYTES as u64)?.map(Zeroizing::new) else {
            return Ok(None);
        };
        Ok(<[u8; KEY_BYTES]>::try_from(&bytes[..]).ok().map(|key| FileKey(Zeroizing::new(key))))
    }

    /// The content of the secret file at `place`, which no other place has: a file that is moved is not ours.
    pub(crate) fn render(
        &self,
        place: &str,
        revision: &str,
        values: &[(String, Zeroizing<String>)],
    ) -> Result<Zeroizing<Vec<u8>>, Unwritable> {
        if !is_revision(revision) {
            return Err(Unwritable::Revision(revision.to_owned()));
        }
        let mut lines = BTreeMap::new();
        for (name, value) in values {
            if name.is_empty() || name.starts_with(MARK) || name.contains(['=', '\0', '\n', '\r']) {
                return Err(Unwritable::Name(name.clone()));
            }
            if value.contains(['\0', '\n', '\r']) {
                return Err(Unwritable::Value(name.clone()));
            }
            if lines.insert(name, value).is_some() {
                return Err(Unwritable::Twice(name.clone()));
            }
        }
        // Never larger than its first allocation: a vector that grows leaves what it held behind.
        let length: usize = lines.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
        let mut body = Zeroizing::new(Vec::with_capacity(length));
        for (name, value) in lines {
            for part in [name.as_bytes(), b"=", value.as_bytes(), b"\n"] {
                body.extend_from_slice(part);
            }
        }
        let mut proof = self.proof(place, revision);
        proof.update(&body);
        let first = format!("{MARK} {revision} {}\n", hex::encode(proof.finalize().into_bytes()));
        let mut content = Zeroizing::new(Vec::with_capacity(first.len() + length));
        content.extend_from_slice(first.as_bytes());
        content.extend_from_slice(&body);
        Ok(content)
    }

    /// The revision in which we wrote the file `name` of `directory`, which is the one at `place`; `None` when it is
    /// not what we wrote.
    pub(super) fn revision(
        &self,
        directory: BorrowedFd<'_>,
        name: &str,
        place: &str,
    ) -> io::Result<Option<String>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = fs::openat(directory, name, flags, Mode::empty())?;
        if FileType::from_raw_mode(fs::fstat(&file)?.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        self.read_revision(std::fs::File::from(file), place)
    }

    /// Reads in pieces, so that no copy of the values stays behind in our memory.
    fn read_revision(&self, mut file: impl Read, place: &str) -> io::Result<Option<String>> {
        let mut piece = Zeroizing::new([0_u8; PIECE]);
        let mut filled = fill(&mut file, &mut *piece)?;
        let Some(end) = piece[..filled].iter().position(|byte| *byte == b'\n') else {
            return Ok(None);
        };
        let Some((revision, claimed)) = first_line(&piece[..end]) else {
            return Ok(None);
        };
        let mut proof = self.proof(place, &revision);
        let mut from = end + 1;
        while filled > 0 {
            proof.update(&piece[from..filled]);
            (from, filled) = (0, fill(&mut file, &mut *piece)?);
        }
        Ok(proof.verify_slice(&claimed).is_ok().then_some(revision))
    }

    /// Everything before the lines. None of the parts has a line break in it, so they cannot be read otherwise.
    fn proof(&self, place: &str, revision: &str) -> Hmac<Sha256> {
        // HMAC fills a key that is shorter than a block with zeros, and this type takes whole blocks.
        let mut block = Zeroizing::new([0; 64]);
        block[..KEY_BYTES].copy_from_slice(&*self.0);
        let mut proof = Hmac::<Sha256>::new((&*block).into());
        proof.update(format!("bowline secret file 1\n{place}\n{revision}\n").as_bytes());
        proof
    }
}

impl Trees {
    /// The key that proves secret files. To be had for the first time at start, which is when a runtime directory
    /// that cannot have one is to be refused.
    pub(crate) fn file_key(&self) -> io::Result<Arc<FileKey>> {
        // Held over the making: of two that were made at a time, only one would be on disk.
        let mut known = self.file_key.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = &*known {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(FileKey::of(open_absolute(&self.runtime)?.as_fd())?);
        Ok(Arc::clone(known.insert(key)))
    }

    /// Writes the secret file of a server, in the way of [`Trees::write_file`]. `values` are variables with what goes
    /// into them.
    pub(crate) fn write_secrets(
        &self,
        key: &GatewayKey,
        uid: Uuid,
        path: &str,
        revision: &str,
        values: &[(String, Zeroizing<String>)],
    ) -> Result<(), FileError> {
        // Elsewhere a look would take a digest of it.
        if !is_secret(path) {
            return Err(FileError::BadPath(path.to_owned()));
        }
        let file_key = self.file_key().map_err(|cause| FileError::Io { path: path.to_owned(), cause })?;
        let content = file_key.render(&place(uid, path), revision, values)?;
        self.write_file(key, uid, path, FILE_MODE, &content)
    }
}

/// Whether files at the path are told by their revision, and no digest is taken of them: whatever is below the
/// directory of the secret files, and be it the rest of a write that was cut off.
pub(super) fn is_secret(path: &str) -> bool {
    below_secrets(path).is_some()
}

/// Where a file is, in words that no other file has.
pub(super) fn place(uid: Uuid, path: &str) -> String {
    format!("{uid}/{path}")
}

/// Fills the piece as far as the file goes.
fn fill(file: &mut impl Read, piece: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < piece.len() {
        match file.read(&mut piece[filled..]) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Revision and proof, as the first line claims them.
fn first_line(line: &[u8]) -> Option<(String, Vec<u8>)> {
    let (revision, proof) =
        std::str::from_utf8(line).ok()?.strip_prefix(MARK)?.strip_prefix(' ')?.split_once(' ')?;
    Some((revision.to_owned(), hex::decode(proof).ok()?)).filter(|(revision, _)| is_revision(revision))
}

fn is_revision(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}
