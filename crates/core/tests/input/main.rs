//! What users write, as files: golden diagnostics, the examples, the schemas, and a real catalog.
//!
//! `BOWLINE_BLESS=1` writes the expected files anew; the difference is reviewed like code.
#![allow(clippy::disallowed_methods, reason = "these tests read the files that core itself never reads")]
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod cases;
mod examples;
mod schemas;
mod snapshot;

use std::path::{Path, PathBuf};

/// A path from the top of the repository.
fn top(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Every `.yaml` beneath a directory, sorted.
fn yaml_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(yaml_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Whether `path` holds `actual`; written first when blessing.
fn holds(path: &Path, actual: &str) -> Result<(), String> {
    if std::env::var_os("BOWLINE_BLESS").is_some() {
        std::fs::write(path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    if expected == actual {
        return Ok(());
    }
    Err(format!("{} differs\n--- expected\n{expected}\n--- actual\n{actual}", path.display()))
}
