//! Where the database URL comes from: a file or the environment, never the command line.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The environment variable that may hold the URL.
pub const DATABASE_URL: &str = "DATABASE_URL";

/// A database URL that could not be obtained.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read the database URL from {}", path.display())]
    Unreadable {
        /// The file of `--database-url-file`.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Everybody can read the file, so its password is no secret.
    #[error("{} is readable by every user of this machine; run: chmod 600 {}", path.display(), path.display())]
    WorldReadable {
        /// The file of `--database-url-file`.
        path: PathBuf,
    },
    /// The file holds nothing.
    #[error("{} is empty", path.display())]
    Empty {
        /// The file of `--database-url-file`.
        path: PathBuf,
    },
    /// The environment variable holds something else than text.
    #[error("the environment variable {DATABASE_URL} is not valid UTF-8")]
    NotText,
}

/// The database URL: the first line of `file` when one is given, else [`DATABASE_URL`] of the environment,
/// else `None`, which means the embedded Postgres.
///
/// # Errors
/// [`SettingsError`] when the source exists but must not or cannot be used. A file that its group can read is
/// accepted (that is how services share credentials), one that everybody can read is not.
pub fn database_url(file: Option<&Path>) -> Result<Option<String>, SettingsError> {
    match file {
        Some(path) => from_file(path).map(Some),
        None => match std::env::var(DATABASE_URL) {
            Ok(url) if url.trim().is_empty() => Ok(None),
            Ok(url) => Ok(Some(url.trim().to_owned())),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err(SettingsError::NotText),
        },
    }
}

fn from_file(path: &Path) -> Result<String, SettingsError> {
    let unreadable = |source| SettingsError::Unreadable { path: path.to_owned(), source };
    if fs::metadata(path).map_err(unreadable)?.mode() & 0o004 != 0 {
        return Err(SettingsError::WorldReadable { path: path.to_owned() });
    }
    let text = fs::read_to_string(path).map_err(unreadable)?;
    match text.lines().map(str::trim).find(|line| !line.is_empty()) {
        Some(url) => Ok(url.to_owned()),
        None => Err(SettingsError::Empty { path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(mode: u32, text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn a_private_file_gives_its_first_line() {
        let file = file(0o640, "\n  postgres://u:p@h/d \nrest\n");
        assert_eq!(database_url(Some(file.path())).unwrap().as_deref(), Some("postgres://u:p@h/d"));
    }

    #[test]
    fn a_file_that_everybody_reads_is_refused_and_an_empty_one_too() {
        let open = file(0o644, "postgres://u:p@h/d");
        let error = database_url(Some(open.path())).unwrap_err();
        assert!(matches!(error, SettingsError::WorldReadable { .. }), "{error}");
        assert!(error.to_string().contains("chmod 600"));
        let empty = file(0o600, "\n\n");
        assert!(matches!(database_url(Some(empty.path())), Err(SettingsError::Empty { .. })));
    }
}
