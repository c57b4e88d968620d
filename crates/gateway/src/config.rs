//! The two files that the controller renders for this gateway, read and checked.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use bowline_core::gateway_file::{GATEWAY_FILE, GatewayFile, ServerPlace, TOKENS_FILE, TokensFile};
use serde::de::DeserializeOwned;

/// Why the configuration directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A file is not what its type says.
    #[error("{path} is invalid: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        source: serde_json::Error,
    },
    /// The gateway file contradicts itself.
    #[error("{path} is invalid: {reason}")]
    Contradiction {
        /// The file.
        path: PathBuf,
        /// One sentence.
        reason: String,
    },
    /// A verifier is not a SHA-256.
    #[error("{path} is invalid: sha256 of token {id:?} is not 64 hexadecimal digits")]
    Verifier {
        /// The file.
        path: PathBuf,
        /// Public id of the token.
        id: String,
    },
}

/// Reads and checks both files of `directory`.
///
/// # Errors
/// The first thing that is wrong with either.
pub fn load(directory: &Path) -> Result<(GatewayFile, TokensFile), LoadError> {
    let path = directory.join(GATEWAY_FILE);
    let gateway: GatewayFile = read(&path)?;
    check(&gateway).map_err(|reason| LoadError::Contradiction { path, reason })?;
    let path = directory.join(TOKENS_FILE);
    let tokens: TokensFile = read(&path)?;
    match tokens.tokens.iter().find(|token| digest_bytes(&token.sha256).is_none()) {
        Some(token) => Err(LoadError::Verifier { path, id: token.id.clone() }),
        None => Ok((gateway, tokens)),
    }
}

/// The 32 bytes of a hexadecimal SHA-256, if it is one.
pub(crate) fn digest_bytes(hexadecimal: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(hexadecimal, &mut bytes).ok().map(|()| bytes)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, LoadError> {
    let text = fs::read(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    serde_json::from_slice(&text).map_err(|source| LoadError::Parse { path: path.to_owned(), source })
}

/// What a type cannot say: names and directories are used once, and a directory is one path component.
fn check(file: &GatewayFile) -> Result<(), String> {
    let (mut names, mut directories) = (HashSet::new(), HashSet::new());
    for server in &file.servers {
        let name = &server.name;
        if !names.insert(name) {
            return Err(format!("server {name:?} is there twice"));
        }
        let ServerPlace::Bridge { directory, uid: _ } = &server.place else {
            continue;
        };
        if directory.is_empty() || directory.contains(['/', '\0']) || [".", ".."].contains(&&**directory) {
            return Err(format!("directory {directory:?} of server {name:?} is not one path component"));
        }
        if !directories.insert(directory) {
            return Err(format!("directory {directory:?} is used by two servers"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: &str = r#"{"revision": 1, "tokens": []}"#;

    fn load_text(gateway: &str, tokens: &str) -> Result<(GatewayFile, TokensFile), LoadError> {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(GATEWAY_FILE), gateway).unwrap();
        fs::write(directory.path().join(TOKENS_FILE), tokens).unwrap();
        load(directory.path())
    }

    fn gateway(servers: &str) -> String {
        format!(r#"{{"revision": "r", "gateway": "u1/default", "allowedHosts": [], "servers": [{servers}]}}"#)
    }

    fn bridged(name: &str, directory: &str) -> String {
        format!(r#"{{"name": "{name}", "place": {{"bridge": {{"directory": "{directory}", "uid": 1}}}}}}"#)
    }

    #[test]
    fn a_gateway_without_servers_and_tokens_is_complete() {
        let (file, tokens) = load_text(&gateway(""), TOKENS).unwrap();
        assert_eq!((file.servers.len(), tokens.revision), (0, 1));
    }

    #[test]
    fn each_contradiction_is_refused_with_its_reason() {
        let table = [
            (vec![bridged("a", "d"), bridged("a", "e")], "there twice"),
            (vec![bridged("a", "d"), bridged("b", "d")], "used by two"),
            (vec![bridged("a", "..")], "not one path component"),
            (vec![bridged("a", "x/y")], "not one path component"),
            (vec![bridged("a", "d").replace("uid", "gid")], "unknown field"),
            (
                vec![r#"{"name": "a", "place": {"remote": {"url": "https://a", "transport": "ws"}}}"#.into()],
                "ws",
            ),
            (vec![r#"{"name": "a", "place": {"elsewhere": {}}}"#.into()], "elsewhere"),
        ];
        for (servers, reason) in table {
            let error = load_text(&gateway(&servers.join(",")), TOKENS).unwrap_err().to_string();
            assert!(error.contains(reason), "{servers:?}: {error}");
        }
    }

    #[test]
    fn a_verifier_that_is_no_digest_is_refused_by_its_id() {
        let tokens = r#"{"revision": 1, "tokens": [{"id": "t1", "sha256": "abcd"}]}"#;
        let error = load_text(&gateway(""), tokens).unwrap_err();
        assert!(matches!(error, LoadError::Verifier { ref id, .. } if id == "t1"), "{error}");
    }
}
