//! Finding the server binaries.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::EmbeddedError;

/// Where distributions keep versions side by side: a directory per version with `bin` beneath it.
const VERSIONED: [&str; 2] = ["/usr/lib/postgresql", "/opt/postgresql"];
/// What a directory must hold.
const PROGRAMS: [&str; 3] = ["initdb", "postgres", "pg_ctl"];
/// The oldest major version that will do.
const OLDEST: u32 = 15;

/// Server binaries of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binaries {
    dir: PathBuf,
    /// The major version.
    pub(super) version: u32,
}

impl Binaries {
    /// The binaries for the cluster in `data`: of the version that wrote it, or the newest for a new one.
    pub(super) async fn find(explicit: Option<&Path>, data: &Path) -> Result<Self, EmbeddedError> {
        let dirs = match explicit {
            Some(dir) => vec![dir.to_owned()],
            None => usual_dirs(std::env::var_os("PATH").as_deref()),
        };
        let mut found = BTreeMap::new();
        for dir in &dirs {
            if let Some(version) = version_in(dir).await.filter(|version| *version >= OLDEST) {
                found.entry(version).or_insert_with(|| dir.clone());
            }
        }
        let searched = || match explicit {
            Some(dir) => dir.display().to_string(),
            None => format!("{}/*/bin and PATH", VERSIONED.join("/*/bin, ")),
        };
        let newest = found.last_key_value().map(|(version, _)| *version);
        let newest = newest.ok_or_else(|| EmbeddedError::NoBinaries { searched: searched() })?;
        let version = version_of_data(data).unwrap_or(newest);
        match found.get(&version) {
            Some(dir) => Ok(Binaries { dir: dir.clone(), version }),
            None => Err(EmbeddedError::OtherVersion {
                data: data.to_owned(),
                written: version,
                found: found.keys().map(u32::to_string).collect::<Vec<_>>().join(", "),
            }),
        }
    }

    /// The path of one program.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// The directories that may hold server binaries.
fn usual_dirs(path: Option<&OsStr>) -> Vec<PathBuf> {
    let versioned = VERSIONED
        .iter()
        .filter_map(|root| fs::read_dir(root).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path().join("bin")));
    let named = path.iter().flat_map(std::env::split_paths).filter(|dir| dir.is_absolute());
    versioned.chain(named).filter(|dir| PROGRAMS.iter().all(|program| dir.join(program).is_file())).collect()
}

/// The major version of the binaries in `dir`, as `postgres --version` says: `postgres (PostgreSQL) 15.18 …`.
async fn version_in(dir: &Path) -> Option<u32> {
    if !PROGRAMS.iter().all(|program| dir.join(program).is_file()) {
        return None;
    }
    let output = Command::new(dir.join("postgres")).arg("--version").output().await.ok()?;
    major(&String::from_utf8_lossy(&output.stdout))
}

/// The major version in the words of `postgres --version`, also of a beta: `17beta1`.
fn major(said: &str) -> Option<u32> {
    let version = said.split_once("(PostgreSQL)")?.1.trim_start();
    let end = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    version[..end].parse().ok()
}

/// The major version that wrote the cluster; `None` when there is none.
fn version_of_data(data: &Path) -> Option<u32> {
    fs::read_to_string(data.join("PG_VERSION")).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_what_every_build_says() {
        assert_eq!(major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major("postgres (PostgreSQL) 17beta1"), Some(17));
        assert_eq!(major("postgres (EnterpriseDB) 16"), None);
    }

    #[tokio::test]
    async fn an_empty_directory_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let error = Binaries::find(Some(dir.path()), &dir.path().join("data")).await.unwrap_err();
        assert!(error.to_string().starts_with("no PostgreSQL server binaries"), "{error}");
        assert!(error.to_string().contains(&dir.path().display().to_string()), "{error}");
        assert!(error.hint().unwrap().contains("apt-get install postgresql"));
    }

    #[tokio::test]
    async fn data_of_another_version_is_refused_with_the_versions() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("PG_VERSION"), "9\n").unwrap();
        let error = Binaries::find(None, dir.path()).await.unwrap_err();
        assert!(matches!(error, EmbeddedError::OtherVersion { written: 9, .. }), "{error}");
        assert!(error.hint().unwrap().contains("postgresql-9"));
    }
}
