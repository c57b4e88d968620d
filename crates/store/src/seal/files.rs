//! Private keys in files: one line each, for their owner's eyes only.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, RenameFlags};
use zeroize::Zeroizing;

use super::{KeyId, PrivateKey};

/// Extension of the key files of a directory.
const EXTENSION: &str = "key";
/// What the names of keys among systemd's credentials begin with.
const CREDENTIAL: &str = "bowline-key";
/// The only permission bits of a key file.
const FILE_MODE: u32 = 0o400;
/// More bytes than a key file ever has.
const MAX_FILE: u64 = 4096;

/// Where the private keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// The `*.key` files of a directory of ours, where new ones are made.
    Directory(PathBuf),
    /// The `bowline-key*` files of a directory in which systemd puts the service's credentials.
    Credentials(PathBuf),
}

/// A key that was made and written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKeyFile {
    /// Which key.
    pub id: KeyId,
    /// Its file.
    pub path: PathBuf,
}

/// Keys that cannot be read or written. Nothing of a file's content is ever repeated.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The directory cannot be read.
    #[error("cannot read the directory of keys {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others than its owner can put files into the directory.
    #[error("others can write to the directory of keys {}; run: chmod 700 {}", path.display(), path.display())]
    OpenDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read the key {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no regular file.
    #[error("{} is no regular file", path.display())]
    NoFile {
        /// What it is called.
        path: PathBuf,
    },
    /// The file, or the directory of a new one, belongs to somebody else.
    #[error("{} belongs to the user {found}, not to {ours}, as whom this runs", path.display())]
    Owner {
        /// The file or directory.
        path: PathBuf,
        /// Whose it is.
        found: u32,
        /// As whom this process runs.
        ours: u32,
    },
    /// Others may be able to read the file, or somebody to change it.
    #[error("the key {} has mode {found:04o} instead of 0400; run: chmod 400 {}", path.display(), path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        found: u32,
    },
    /// What is in it is no key.
    #[error("{} is not one line `bowline-key-v1 …` with a key in it", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// A new key cannot be written.
    #[error("cannot write a key to {}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The keys are credentials, which only systemd writes.
    #[error("the keys are systemd credentials in {}: add a new one to the unit and restart the service", path.display())]
    Credentials {
        /// The directory.
        path: PathBuf,
    },
}

impl KeySource {
    /// The credentials of the service when a key is among them and no directory was asked for, else the directory.
    ///
    /// # Errors
    /// [`KeyFileError`] when the directory of the credentials cannot be read.
    pub fn choose(
        asked: Option<PathBuf>,
        default: PathBuf,
        credentials: Option<PathBuf>,
    ) -> Result<Self, KeyFileError> {
        match (asked, credentials) {
            (Some(asked), _) => Ok(KeySource::Directory(asked)),
            (None, Some(path)) => {
                let credentials = KeySource::Credentials(path);
                let holds_keys = !credentials.files()?.is_empty();
                Ok(if holds_keys { credentials } else { KeySource::Directory(default) })
            }
            (None, None) => Ok(KeySource::Directory(default)),
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        match self {
            KeySource::Directory(path) | KeySource::Credentials(path) => path,
        }
    }

    /// All keys. None is no error: a directory that does not exist yet has none.
    ///
    /// # Errors
    /// [`KeyFileError`]: one file that must not or cannot be used is enough.
    pub fn load(&self) -> Result<Vec<PrivateKey>, KeyFileError> {
        let files = self.files()?;
        if let KeySource::Directory(path) = self
            && !files.is_empty()
        {
            refuse_open_directory(path)?;
        }
        files.into_iter().map(|path| self.read(path)).collect()
    }

    /// Makes a key and writes it to a file of its own, which carries its id. No file is ever overwritten, and one that
    /// is there is complete.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn generate(&self) -> Result<NewKeyFile, KeyFileError> {
        let directory = match self {
            KeySource::Directory(path) => path,
            KeySource::Credentials(path) => {
                return Err(KeyFileError::Credentials { path: path.clone() });
            }
        };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|source| KeyFileError::Unwritable { path: directory.clone(), source })?;
        refuse_open_directory(directory)?;
        // Only the user as whom `serve` runs can read what is made here.
        let owner = fs::metadata(directory)
            .map_err(|source| KeyFileError::Directory { path: directory.clone(), source })?
            .uid();
        let ours = rustix::process::geteuid().as_raw();
        if owner != ours {
            return Err(KeyFileError::Owner { path: directory.clone(), found: owner, ours });
        }
        let key = PrivateKey::generate();
        let path = directory.join(format!("{}.{EXTENSION}", key.id()));
        write(directory, &path, &key)
            .map_err(|source| KeyFileError::Unwritable { path: path.clone(), source })?;
        Ok(NewKeyFile { id: key.id().clone(), path })
    }

    /// The names of the files that should be keys, in order.
    fn files(&self) -> Result<Vec<PathBuf>, KeyFileError> {
        let failed = |source| KeyFileError::Directory { path: self.path().to_owned(), source };
        let entries = match fs::read_dir(self.path()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let ours = match self {
                KeySource::Directory(_) => path.extension().is_some_and(|extension| extension == EXTENSION),
                KeySource::Credentials(_) => path
                    .file_name()
                    .is_some_and(|name| name.as_encoded_bytes().starts_with(CREDENTIAL.as_bytes())),
            };
            if ours {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    fn read(&self, path: PathBuf) -> Result<PrivateKey, KeyFileError> {
        // No link is followed, and opening a pipe does not wait for somebody at its other end.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(CWD, &path, flags, Mode::empty()).map(File::from);
        let file = match opened {
            Ok(file) => file,
            Err(rustix::io::Errno::LOOP) => return Err(KeyFileError::NoFile { path }),
            Err(error) => return Err(KeyFileError::Unreadable { path, source: error.into() }),
        };
        let metadata = match file.metadata() {
            Ok(metadata) => metadata,
            Err(source) => return Err(KeyFileError::Unreadable { path, source }),
        };
        if !metadata.is_file() {
            return Err(KeyFileError::NoFile { path });
        }
        let (mode, owner) = (metadata.mode() & 0o7777, metadata.uid());
        let ours = rustix::process::geteuid().as_raw();
        let (good_owner, good_mode) = match self {
            KeySource::Directory(_) => (owner == ours, mode == FILE_MODE),
            // systemd leaves the file to root and lets the service in by an access list, which shows as the group's bit.
            KeySource::Credentials(_) => (owner == ours || owner == 0, mode == FILE_MODE || mode == 0o440),
        };
        if !good_owner {
            return Err(KeyFileError::Owner { path, found: owner, ours });
        }
        if !good_mode {
            return Err(KeyFileError::Mode { path, found: mode });
        }
        // Room for all of it: a text that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(MAX_FILE as usize));
        match file.take(MAX_FILE).read_to_string(&mut text) {
            Ok(_) => PrivateKey::from_text(&text).ok_or(KeyFileError::Malformed { path }),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(KeyFileError::Malformed { path }),
            Err(source) => Err(KeyFileError::Unreadable { path, source }),
        }
    }
}

/// Refuses a directory into which others could put a key.
fn refuse_open_directory(path: &Path) -> Result<(), KeyFileError> {
    let metadata =
        fs::metadata(path).map_err(|source| KeyFileError::Directory { path: path.to_owned(), source })?;
    if metadata.mode() & 0o022 != 0 {
        return Err(KeyFileError::OpenDirectory { path: path.to_owned() });
    }
    Ok(())
}

/// Writes a key beside its place, and moves it there when it is on the disk.
fn write(directory: &Path, path: &Path, key: &PrivateKey) -> io::Result<()> {
    let draft = directory.join(format!(".{}.new", key.id()));
    let written = (|| {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&draft)?;
        file.write_all(key.to_text().as_bytes())?;
        file.sync_all()?;
        rustix::fs::renameat_with(CWD, &draft, CWD, path, RenameFlags::NOREPLACE)?;
        File::open(directory)?.sync_all()
    })();
    if written.is_err() {
        // What is left of it opens nothing: no value was ever sealed for this key.
        let _ = fs::remove_file(&draft);
    }
    written
}

#[cfg(test)]
mod tests;
