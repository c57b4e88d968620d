//! What containers wrote, in lines.

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use bowline_core::labels::{self, Role};
use bowline_core::object::GatewayKey;
use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt, stream};
use serde::{Deserialize, Serialize};

use crate::Host;
use crate::engine::INSPECT;
use crate::error::{CallError, HostError};

/// A longer line is cut into several: a container may write without ever ending a line.
const LINE_BYTES: usize = 64 << 10;

/// Which lines of a container's log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Whether to go on with what will be written.
    pub follow: bool,
    /// Only so many of the last lines; `None` is all.
    pub tail: Option<u32>,
    /// Only lines written since; whole seconds count.
    pub since: Option<DateTime<Utc>>,
    /// Whether each line begins with the time at which it was written.
    pub timestamps: bool,
}

/// Where a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Where it was written to.
    pub stream: LogStream,
    /// The line without its end; what is no UTF-8 is replaced.
    pub text: String,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The gateway has no such container.
    #[error("{what} of {key} has no container")]
    NoContainer {
        /// `the gateway` or `server NAME`.
        what: String,
        /// Whose.
        key: GatewayKey,
    },
    /// The Engine could not be asked.
    #[error(transparent)]
    Host(#[from] HostError),
}

impl Host {
    /// The log of the gateway's container, or of the one of `server`. Of several (one is being replaced), the one
    /// that runs, else the newest.
    ///
    /// # Errors
    /// See [`LogsError`]; the stream itself ends with its first error.
    pub async fn logs(
        &self,
        key: &GatewayKey,
        server: Option<&str>,
        options: LogOptions,
    ) -> Result<impl Stream<Item = Result<LogLine, HostError>> + Send + use<>, LogsError> {
        let role = server.map_or(Role::Gateway, |server| Role::Server(server.to_owned()));
        let installation = self.settings.owner.installation.to_string();
        let filter = [
            (labels::INSTANCE, self.settings.owner.instance.as_str()),
            (labels::INSTALLATION, installation.as_str()),
            (labels::NAMESPACE, key.namespace.as_str()),
            (labels::GATEWAY, key.name.as_str()),
        ];
        let listed = self.engine.containers(&filter).await?;
        let ours = listed.into_iter().filter(|container| {
            let identity = self.identity(container.labels.as_ref());
            identity.is_some_and(|identity| self.owns(&identity, key) && identity.role == role)
        });
        let id = ours
            .max_by_key(|container| {
                let state = container.state.map(|state| state.to_string());
                (state.as_deref() == Some("running"), container.created)
            })
            .and_then(|container| container.id);
        match id {
            Some(id) => Ok(self.lines(&id, options)),
            None => Err(LogsError::NoContainer {
                what: server.map_or("the gateway".to_owned(), |server| format!("server {server}")),
                key: key.clone(),
            }),
        }
    }

    /// The last lines that a container wrote, for a description of how it ended.
    ///
    /// # Errors
    /// When the Engine does not give them.
    pub async fn last_lines(&self, container: &str, lines: u32) -> Result<Vec<String>, HostError> {
        let options = LogOptions { tail: Some(lines), ..LogOptions::default() };
        let read = async {
            let mut last = Vec::new();
            let mut all = std::pin::pin!(self.lines(container, options));
            while let Some(line) = all.next().await {
                last.push(line?.text);
            }
            Ok(last)
        };
        tokio::time::timeout(INSPECT, read)
            .await
            .unwrap_or_else(|_| Err(HostError::call("read a log")(CallError::Deadline(INSPECT))))
    }

    fn lines(
        &self,
        id: &str,
        options: LogOptions,
    ) -> impl Stream<Item = Result<LogLine, HostError>> + Send + use<> {
        let LogOptions { follow, tail, since, timestamps } = options;
        let since = since.map_or(0, |since| i32::try_from(since.timestamp()).unwrap_or(i32::MAX));
        let tail = tail.map_or("all".to_owned(), |lines| lines.to_string());
        let options = LogsOptionsBuilder::new()
            .stdout(true)
            .stderr(true)
            .follow(follow)
            .tail(&tail)
            .since(since)
            .timestamps(timestamps)
            .build();
        self.engine
            .docker
            .logs(id, Some(options))
            .map(|output| Some(output.map_err(CallError::from)))
            .chain(stream::iter([None]))
            .scan(Lines::default(), |lines, output| {
                std::future::ready(Some(match output {
                    Some(Ok(output)) => lines.take(output).into_iter().map(Ok).collect(),
                    Some(Err(error)) => vec![Err(HostError::call("read a log")(error))],
                    None => lines.rest().into_iter().map(Ok).collect::<Vec<_>>(),
                }))
            })
            .flat_map(stream::iter)
    }
}

/// What was read of lines that have not ended yet.
#[derive(Default)]
struct Lines {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Lines {
    /// The lines that `output` completes.
    fn take(&mut self, output: LogOutput) -> Vec<LogLine> {
        let (stream, pending, message) = match output {
            LogOutput::StdErr { message } => (LogStream::Stderr, &mut self.stderr, message),
            LogOutput::StdOut { message } | LogOutput::Console { message } | LogOutput::StdIn { message } => {
                (LogStream::Stdout, &mut self.stdout, message)
            }
        };
        let mut complete = Vec::new();
        for part in message.split_inclusive(|byte| *byte == b'\n') {
            pending.extend_from_slice(part);
            if pending.ends_with(b"\n") || pending.len() >= LINE_BYTES {
                complete.push(line(stream, &std::mem::take(pending)));
            }
        }
        complete
    }

    /// What is left at the end.
    fn rest(&mut self) -> Vec<LogLine> {
        [(LogStream::Stdout, &mut self.stdout), (LogStream::Stderr, &mut self.stderr)]
            .into_iter()
            .filter(|(_, pending)| !pending.is_empty())
            .map(|(stream, pending)| line(stream, &std::mem::take(pending)))
            .collect()
    }
}

fn line(stream: LogStream, bytes: &[u8]) -> LogLine {
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    LogLine { stream, text: String::from_utf8_lossy(text).into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_from_pieces_of_two_streams() {
        let out = |text: &'static str| LogOutput::StdOut { message: text.into() };
        let err = |text: &'static str| LogOutput::StdErr { message: text.into() };
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for piece in [out("a"), err("E1\nE2"), out("b\r\nc\n"), err("!\n"), out("end")] {
            seen.extend(lines.take(piece));
        }
        seen.extend(lines.rest());
        let seen: Vec<_> = seen.iter().map(|line| (line.stream, line.text.as_str())).collect();
        use LogStream::{Stderr, Stdout};
        assert_eq!(seen, [(Stderr, "E1"), (Stdout, "ab"), (Stdout, "c"), (Stderr, "E2!"), (Stdout, "end")]);
    }

    #[test]
    fn a_line_without_end_is_given_in_parts() {
        let mut lines = Lines::default();
        let piece = || LogOutput::StdOut { message: vec![b'x'; 40 << 10].into() };
        assert!(lines.take(piece()).is_empty());
        assert_eq!(lines.take(piece()).len(), 1);
        assert!(lines.rest().is_empty());
    }
}
