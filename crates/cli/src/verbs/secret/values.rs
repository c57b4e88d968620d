//! Where the values of `secret set` come from: the command line, files, the terminal, standard input.
//!
//! No message of this module has a part of a value in it, and none has a line of a file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use bowline_api::wire::HiddenText;
use bowline_core::secret::{MAX_KEYS, MAX_VALUE, check_value, is_key};
use zeroize::Zeroizing;

use super::prompt::{PromptError, hidden_line};
use crate::args::{KeyFile, SecretSetArgs};
use crate::failure::Failure;

/// Longest file of `--from-env-file`, in bytes: all that a Secret can hold, and as much again of comments.
const MAX_ENV_FILE: usize = 2 * MAX_KEYS * MAX_VALUE;

/// The two ways in which standard input gives values.
pub(super) trait Input {
    /// Whether somebody sits at it.
    fn is_terminal(&self) -> bool;
    /// Reads all that comes, `limit` bytes at most.
    fn read(&mut self, limit: usize) -> io::Result<Zeroizing<Vec<u8>>>;
    /// Asks somebody for the value of `key`.
    fn ask(&mut self, key: &str) -> Result<Zeroizing<Vec<u8>>, PromptError>;
}

/// The process's own standard input.
pub(super) struct Stdin;

impl Input for Stdin {
    fn is_terminal(&self) -> bool {
        io::stdin().is_terminal()
    }

    fn read(&mut self, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
        read(io::stdin().lock(), limit)
    }

    fn ask(&mut self, key: &str) -> Result<Zeroizing<Vec<u8>>, PromptError> {
        hidden_line(&format!("Value of {key}: "))
    }
}

/// What is to be set, and what the user should know of it.
#[derive(Debug, Default)]
pub(super) struct Values {
    /// Key to value.
    pub(super) values: BTreeMap<String, HiddenText>,
    /// Sentences.
    pub(super) warnings: Vec<String>,
}

/// Collects the values that `args` name.
pub(super) fn collect(args: &SecretSetArgs, input: &mut impl Input) -> Result<Values, Failure> {
    let mut collected = Collected { found: Values::default(), input, stdin_is_used: false };
    // What is wrong with the command line is told before anybody is asked for anything.
    let asked: Vec<&str> =
        args.words.iter().filter(|word| word.value.is_none()).map(|word| word.key.as_str()).collect();
    for key in args.words.iter().map(|word| &word.key).chain(args.from_file.iter().map(|file| &file.key)) {
        if !is_key(key) {
            return Err(bad_key(key));
        }
    }
    let is_piped = args.from_stdin || !collected.input.is_terminal();
    match asked.as_slice() {
        [] if args.from_stdin => {
            return Err(Failure::user("--from-stdin gives one value, and no KEY without a value is named"));
        }
        [_, _, ..] if is_piped => {
            return Err(Failure::user(format!(
                "standard input gives one value, and these have none: {}",
                asked.join(", ")
            ))
            .hint("set them one by one, or give KEY=VALUE lines to --from-env-file -"));
        }
        _ => {}
    }
    for word in &args.words {
        let Some(value) = &word.value else { continue };
        collected.add(&word.key, value.clone())?;
    }
    if let Some(word) = args.words.iter().find(|word| word.value.is_some()) {
        collected.found.warnings.push(format!(
            "the value of {} was on the command line: it is in the shell's history, and others could read it in `ps`",
            word.key
        ));
    }
    for KeyFile { key, path } in &args.from_file {
        let bytes = collected.file(path, MAX_VALUE + 2)?;
        collected.add_bytes(key, &without_line_end(bytes))?;
    }
    for path in &args.from_env_file {
        collected.env_file(path)?;
    }
    for key in asked {
        let bytes = if is_piped {
            collected.stdin(MAX_VALUE + 2)?
        } else {
            collected.input.ask(key).map_err(|error| match error {
                PromptError::Cancelled => Failure::user("cancelled; nothing was set"),
                PromptError::TooLong => Failure::user(format!("the value of {key} is too long: {error}"))
                    .hint("pipe it in, or give it with --from-file"),
                PromptError::Terminal(source) => Failure::ours("cannot ask on the terminal").because(&source),
            })?
        };
        let bytes = without_line_end(bytes);
        if bytes.is_empty() {
            // Such as of a command before the pipe that has failed.
            return Err(Failure::user(format!("there was no value for {key}; nothing was set"))
                .hint(format!("`{key}=` sets an empty one")));
        }
        collected.add_bytes(key, &bytes)?;
    }
    Ok(collected.found)
}

/// What was collected so far.
struct Collected<'i, I> {
    found: Values,
    input: &'i mut I,
    stdin_is_used: bool,
}

impl<I: Input> Collected<'_, I> {
    fn add_bytes(&mut self, key: &str, bytes: &[u8]) -> Result<(), Failure> {
        let text = std::str::from_utf8(bytes).map_err(|_| {
            Failure::user(format!("the value of {key} is not UTF-8")).hint("store it in base64")
        })?;
        self.add(key, HiddenText::from(text.to_owned()))
    }

    fn add(&mut self, key: &str, value: HiddenText) -> Result<(), Failure> {
        check_value(key, value.expose()).map_err(|error| Failure::user(error.to_string()))?;
        if value.expose().contains(['\n', '\r']) {
            self.found.warnings.push(format!(
                "the value of {key} has a line break: it is stored, but no server can be given it; store it in base64"
            ));
        }
        if self.found.values.insert(key.to_owned(), value).is_some() {
            return Err(Failure::user(format!("{key} is named twice")));
        }
        Ok(())
    }

    fn stdin(&mut self, limit: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
        if std::mem::replace(&mut self.stdin_is_used, true) {
            return Err(Failure::user("standard input can be read only once"));
        }
        self.input.read(limit).map_err(|error| Failure::user("cannot read standard input").because(&error))
    }

    fn file(&mut self, path: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
        if path == Path::new("-") {
            return self.stdin(limit);
        }
        File::open(path)
            .and_then(|file| read(file, limit))
            .map_err(|error| Failure::user(format!("cannot read {}", path.display())).because(&error))
    }

    /// Reads a file as `docker run --env-file` does: a value is all that is behind the first `=`.
    fn env_file(&mut self, path: &Path) -> Result<(), Failure> {
        let bytes = self.file(path, MAX_ENV_FILE)?;
        let name = path.display();
        if bytes.len() > MAX_ENV_FILE {
            return Err(Failure::user(format!("{name} is larger than {MAX_ENV_FILE} bytes")));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| Failure::user(format!("{name} is not UTF-8")))?;
        for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some((key, value)) = line.split_once('=').filter(|(key, _)| is_key(key)) else {
                return Err(Failure::user(format!("line {} of {name} does not begin with KEY=", index + 1))
                    .hint("a key has letters, digits, `-`, `_` and `.`; there is no `export` and no blank before `=`"));
            };
            if is_quoted(value) {
                self.found.warnings.push(format!(
                    "the value of {key} is in quotes, which belong to it: {name} is read as by `docker run --env-file`"
                ));
            }
            self.add(key, HiddenText::from(value.to_owned()))?;
        }
        Ok(())
    }
}

/// One line end at the end of what was read belongs to the file and not to the value.
fn without_line_end(mut bytes: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    if bytes.ends_with(b"\n") {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    bytes
}

fn is_quoted(value: &str) -> bool {
    let by = |quote| value.len() > 1 && value.starts_with(quote) && value.ends_with(quote);
    by('"') || by('\'')
}

fn bad_key(key: &str) -> Failure {
    // `check_value` judges the key first.
    let text = check_value(key, "").err().map_or_else(String::new, |error| error.to_string());
    Failure::user(text)
}

/// Reads up to `limit` bytes and one more, by which a longer text is known.
fn read(reader: impl Read, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room for all of it: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit + 2));
    reader.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
pub(super) mod tests;
