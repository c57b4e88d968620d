//! What the bridge was asked to do: its arguments, and the secret file that each start of the server reads.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

const USAGE: &str = "usage: bridge --socket PATH [--env-file PATH] -- COMMAND [ARGUMENT…]";

/// The bridge's settings, from its arguments alone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The gateway's socket for this server.
    pub(crate) socket: PathBuf,
    /// `KEY=VALUE` lines for the server's environment, read at each start.
    pub(crate) env_file: Option<PathBuf>,
    /// The server's program.
    pub(crate) program: OsString,
    /// The server's arguments.
    pub(crate) arguments: Vec<OsString>,
}

/// Why the arguments are no order to work.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UsageError {
    #[error("unknown argument {0:?}; {USAGE}")]
    Unknown(OsString),
    #[error("{0} is missing; {USAGE}")]
    Missing(&'static str),
}

/// Why the server's process could not be prepared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    #[error("cannot read the secret file {path}")]
    Read { path: PathBuf, source: io::Error },
    /// Names the line, never its text.
    #[error("line {line} of the secret file {path} is not KEY=VALUE")]
    Line { path: PathBuf, line: usize },
}

impl Settings {
    /// Reads the arguments that follow the program's name.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, UsageError> {
        let mut arguments = arguments.into_iter();
        let (mut socket, mut env_file) = (None, None);
        while let Some(argument) = arguments.next() {
            match argument.to_str() {
                Some("--socket") => socket = Some(arguments.next().ok_or(UsageError::Missing("PATH"))?),
                Some("--env-file") => env_file = Some(arguments.next().ok_or(UsageError::Missing("PATH"))?),
                Some("--") => break,
                _ => return Err(UsageError::Unknown(argument)),
            }
        }
        Ok(Self {
            socket: socket.ok_or(UsageError::Missing("--socket"))?.into(),
            env_file: env_file.map(PathBuf::from),
            program: arguments.next().ok_or(UsageError::Missing("COMMAND"))?,
            arguments: arguments.collect(),
        })
    }

    /// The server's process, ready to be started: all three streams piped, in a process group of its own, with
    /// the secrets in its environment and in nobody else's.
    pub(crate) fn command(&self) -> Result<Command, PrepareError> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if let Some(path) = &self.env_file {
            command.envs(read_env_file(path)?);
        }
        Ok(command)
    }
}

/// The pairs of a file of `KEY=VALUE` lines; the value is everything after the first `=`, as it is. Lines that begin
/// with `#` are not for us: in the first, the controller says which file this is.
fn read_env_file(path: &Path) -> Result<Vec<(String, String)>, PrepareError> {
    let text =
        fs::read_to_string(path).map_err(|source| PrepareError::Read { path: path.to_owned(), source })?;
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(index, line)| match line.split_once('=') {
            Some((key, value)) if !key.is_empty() && !line.contains('\0') => Ok((key.into(), value.into())),
            _ => Err(PrepareError::Line { path: path.to_owned(), line: index + 1 }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Settings, UsageError> {
        Settings::parse(arguments.iter().map(Into::into))
    }

    #[test]
    fn everything_after_the_dashes_is_the_command() {
        let settings = parse(&["--socket", "/s", "--env-file", "/e", "--", "run", "--socket", "x"]).unwrap();
        assert_eq!(settings.socket, Path::new("/s"));
        assert_eq!(settings.env_file.as_deref(), Some(Path::new("/e")));
        assert_eq!(settings.program, "run");
        assert_eq!(settings.arguments, ["--socket", "x"]);
    }

    #[test]
    fn an_incomplete_or_unknown_argument_is_refused() {
        assert_eq!(parse(&["--", "run"]), Err(UsageError::Missing("--socket")));
        assert_eq!(parse(&["--socket", "/s"]), Err(UsageError::Missing("COMMAND")));
        assert_eq!(parse(&["--socket"]), Err(UsageError::Missing("PATH")));
        assert_eq!(parse(&["--sockets", "/s"]), Err(UsageError::Unknown("--sockets".into())));
    }

    #[test]
    fn a_secret_keeps_every_character_after_the_first_equals_sign() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "A=b=c d\n\nEMPTY=\nQ=\"quoted\"\n").unwrap();
        let pairs = read_env_file(file.path()).unwrap();
        let expected = [("A", "b=c d"), ("EMPTY", ""), ("Q", "\"quoted\"")];
        assert_eq!(pairs, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_line_that_begins_with_a_hash_is_skipped_and_a_hash_elsewhere_is_a_character_like_any() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "# 0123 4567\n#A=1\nB=#2\nC#=3 # 4\n").unwrap();
        let pairs = read_env_file(file.path()).unwrap();
        let expected = [("B", "#2"), ("C#", "3 # 4")];
        assert_eq!(pairs, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn an_error_in_the_secret_file_names_the_line_and_not_the_text() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "A=1\nhunter2\n").unwrap();
        let error = read_env_file(file.path()).unwrap_err().to_string();
        assert!(error.contains("line 2") && !error.contains("hunter2"), "{error}");
    }
}
