//! The directories and settings of the server.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::account::Account;
use super::{EmbeddedError, PORT};

/// Longest path of a unix socket: `sun_path` has 108 bytes, one of them for the end.
const LONGEST_SOCKET: usize = 107;

/// Where the server's files are.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// Settings and locks; ours.
    pub(super) root: PathBuf,
    /// The cluster; the account's.
    pub(super) data: PathBuf,
    /// The server's logs, one per day of the week; the account's.
    pub(super) log: PathBuf,
}

impl Layout {
    /// Makes the directories, and checks that the account gets there.
    pub(super) async fn prepare(state_dir: &Path, account: &Account) -> Result<Self, EmbeddedError> {
        make_dir(state_dir, 0o711)?;
        let state_dir = state_dir.canonicalize().map_err(EmbeddedError::io("find", state_dir))?;
        if account.foreign {
            // Ours to change: Bowline's own directory. Passing is allowed, looking is not.
            let mode = fs::metadata(&state_dir).map_err(EmbeddedError::io("look at", &state_dir))?.mode();
            if mode & 0o001 == 0 {
                set_mode(&state_dir, (mode & 0o7777) | 0o011)?;
            }
        }
        let root = state_dir.join("postgres");
        make_dir(&root, 0o755)?;
        set_mode(&root, 0o755)?;
        if account.foreign {
            check_reachable(&root, account).await?;
        }
        let layout = Layout { data: root.join("data"), log: root.join("log"), root };
        make_dir(&layout.log, 0o700)?;
        give(&layout.log, account)?;
        Ok(layout)
    }

    /// Whether there is a complete cluster.
    pub(super) fn has_cluster(&self) -> bool {
        self.data.exists()
    }

    /// An empty directory for a new cluster. It becomes [`Layout::data`] only when `initdb` has finished: one
    /// that was killed on the way leaves something that `initdb` refuses to touch.
    pub(super) fn fresh_data(&self, account: &Account) -> Result<PathBuf, EmbeddedError> {
        let fresh = self.root.join("data.new");
        match fs::remove_dir_all(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(EmbeddedError::io("remove", &fresh)(error));
            }
            _ => {}
        }
        make_dir(&fresh, 0o700)?;
        give(&fresh, account)?;
        Ok(fresh)
    }

    /// Makes a finished cluster the cluster.
    pub(super) fn adopt_data(&self, fresh: &Path) -> Result<(), EmbeddedError> {
        fs::rename(fresh, &self.data).map_err(EmbeddedError::io("rename", fresh))
    }

    /// Waits until nobody else is starting or stopping the server; the file is the lock.
    pub(super) async fn lock_start(&self) -> Result<File, EmbeddedError> {
        let path = self.root.join("start.lock");
        let file = lock_file(&path)?;
        let locked = tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await;
        locked.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(EmbeddedError::io("lock", &path))
    }

    /// The file that everyone who uses the server holds a shared lock of.
    pub(super) fn users(&self) -> Result<File, EmbeddedError> {
        lock_file(&self.users_path())
    }

    pub(super) fn users_path(&self) -> PathBuf {
        self.root.join("users.lock")
    }

    /// Writes the settings. They are ours alone: what `initdb` wrote into the cluster is not read.
    pub(super) fn write_settings(&self, socket_dir: &Path, account: &Account) -> Result<(), EmbeddedError> {
        let file = |name: &str| self.root.join(name);
        let (hba, ident) = (file("pg_hba.conf"), file("pg_ident.conf"));
        let mut settings = String::from("# Written at every start of the server; changes here are lost.\n");
        for (name, value) in [
            ("data_directory", quoted(&self.data)),
            ("hba_file", quoted(&hba)),
            ("ident_file", quoted(&ident)),
            ("listen_addresses", "''".to_owned()),
            ("port", PORT.to_string()),
            ("unix_socket_directories", quoted_in_list(socket_dir)),
            ("unix_socket_permissions", "0700".to_owned()),
            // A desk's worth of sessions and memory, not a server's.
            ("max_connections", "40".to_owned()),
            ("shared_buffers", "'32MB'".to_owned()),
            ("maintenance_work_mem", "'32MB'".to_owned()),
            ("max_parallel_workers_per_gather", "0".to_owned()),
            ("jit", "off".to_owned()),
            ("min_wal_size", "'48MB'".to_owned()),
            ("max_wal_size", "'256MB'".to_owned()),
            // A commit is on the disk. That it is asked for here keeps anybody from wondering.
            ("fsync", "on".to_owned()),
            ("synchronous_commit", "on".to_owned()),
            // A killed client's locks are free again within seconds.
            ("client_connection_check_interval", "'2s'".to_owned()),
            ("timezone", "'UTC'".to_owned()),
            ("log_timezone", "'UTC'".to_owned()),
            ("logging_collector", "on".to_owned()),
            ("log_directory", quoted(&self.log)),
            ("log_filename", "'postgresql-%a.log'".to_owned()),
            ("log_rotation_age", "'1d'".to_owned()),
            ("log_rotation_size", "0".to_owned()),
            ("log_truncate_on_rotation", "on".to_owned()),
            ("log_checkpoints", "off".to_owned()),
            // No statement, parameter or row gets into a log.
            ("log_min_error_statement", "panic".to_owned()),
            ("log_parameter_max_length_on_error", "0".to_owned()),
            ("log_error_verbosity", "terse".to_owned()),
        ] {
            let _ = writeln!(settings, "{name} = {value}");
        }
        write_file(&file("postgresql.conf"), &settings)?;
        write_file(
            &hba,
            "# Who the kernel says is calling, over the socket only.\nlocal all all peer map=bowline\n",
        )?;
        let mut map = format!("bowline {} bowline\n", quoted_word(&account.name));
        if account.foreign {
            map.push_str("bowline root bowline\n");
        }
        write_file(&ident, &map)
    }

    /// A directory for the socket that the account reaches and whose path is short enough: `preferred`, or one
    /// of ours that is named by the state directory.
    pub(super) async fn socket_dir(
        &self,
        preferred: &Path,
        account: &Account,
    ) -> Result<PathBuf, EmbeddedError> {
        let digest = hex::encode(&Sha256::digest(self.root.as_os_str().as_encoded_bytes())[..6]);
        let short = if account.foreign {
            Path::new("/run").join(format!("bowline-postgres-{digest}"))
        } else {
            std::env::temp_dir().join(format!("bowline-postgres-{}-{digest}", account.uid))
        };
        let mut reasons = Vec::new();
        for candidate in [preferred, &short] {
            match prepare_socket_dir(candidate, account).await {
                Ok(()) => return Ok(candidate.to_owned()),
                Err(reason) => reasons.push(format!("{}: {reason}", candidate.display())),
            }
        }
        Err(EmbeddedError::NoSocketDir { reasons: reasons.join("; ") })
    }
}

/// Makes `dir` fit for the socket, or says what is wrong with it.
async fn prepare_socket_dir(dir: &Path, account: &Account) -> Result<(), String> {
    let socket = dir.join(format!(".s.PGSQL.{PORT}"));
    let length = socket.as_os_str().len();
    if !dir.is_absolute() {
        return Err("not an absolute path".to_owned());
    }
    if length > LONGEST_SOCKET {
        return Err(format!("the socket's path would be {length} bytes long, of at most {LONGEST_SOCKET}"));
    }
    if let Some(parent) = dir.parent() {
        make_dir(parent, 0o711).map_err(|error| chain(&error))?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.to_string()),
        _ => {}
    }
    // Not followed: in a directory where everybody may write, somebody else could have put a link there.
    let found = fs::symlink_metadata(dir).map_err(|error| error.to_string())?;
    if !found.is_dir() {
        return Err("not a directory".to_owned());
    }
    if found.uid() != account.uid && !(account.foreign && found.uid() == 0) {
        return Err(format!("belongs to the user {}", found.uid()));
    }
    set_mode(dir, 0o700).and_then(|()| give(dir, account)).map_err(|error| chain(&error))?;
    if account.foreign {
        check_reachable(dir, account).await.map_err(|error| chain(&error))?;
    }
    Ok(())
}

/// Removes a socket directory that is empty. What is not empty is not only ours.
pub(super) fn remove_socket_dir(dir: &Path) {
    let _ = fs::remove_dir(dir);
}

/// Removes a file that may be missing.
pub(super) fn remove_file(path: &Path) -> Result<(), EmbeddedError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(EmbeddedError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Finds the first directory on the way to `path` that the account may not pass.
async fn check_reachable(path: &Path, account: &Account) -> Result<(), EmbeddedError> {
    if account.may_pass(path).await {
        return Ok(());
    }
    let mut ways: Vec<&Path> = path.ancestors().collect();
    ways.reverse();
    for way in ways {
        if !account.may_pass(way).await {
            return Err(EmbeddedError::Unreachable {
                account: account.name.clone(),
                path: path.to_owned(),
                obstacle: way.to_owned(),
            });
        }
    }
    Ok(())
}

fn make_dir(path: &Path, mode: u32) -> Result<(), EmbeddedError> {
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(EmbeddedError::io("make", path))
}

fn set_mode(path: &Path, mode: u32) -> Result<(), EmbeddedError> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(EmbeddedError::io("change the mode of", path))
}

fn give(path: &Path, account: &Account) -> Result<(), EmbeddedError> {
    if !account.foreign {
        return Ok(());
    }
    chown(path, Some(account.uid), Some(account.gid)).map_err(EmbeddedError::io("change the owner of", path))
}

fn lock_file(path: &Path) -> Result<File, EmbeddedError> {
    // Never truncated or written: the file is only there to be locked.
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    opened.map_err(EmbeddedError::io("open", path))
}

fn write_file(path: &Path, text: &str) -> Result<(), EmbeddedError> {
    fs::write(path, text).map_err(EmbeddedError::io("write", path))?;
    set_mode(path, 0o644)
}

/// A value of postgresql.conf.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "''"))
}

/// A value of postgresql.conf that is a list of one.
fn quoted_in_list(path: &Path) -> String {
    let item = path.display().to_string().replace('"', "\"\"").replace('\'', "''");
    format!("'\"{item}\"'")
}

/// A word of pg_ident.conf.
fn quoted_word(word: &str) -> String {
    format!("\"{}\"", word.replace('"', ""))
}

/// An error with its cause, on one line.
fn chain(error: &EmbeddedError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
