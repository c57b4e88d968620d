//! Streams of server-sent events whose events are bounded before they are parsed.

use std::error::Error;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use sse_stream::{Error as EventError, Sse, SseStream};

use super::RemoteError;

/// Events, or what went wrong; after an error there is nothing more.
pub(crate) type Events = BoxStream<'static, Result<Sse, EventError>>;

/// The events of `body`, of at most `most` bytes each. `fatal` is told of one that is larger.
pub(super) fn events(body: Incoming, most: usize, fatal: impl Fn(RemoteError) + Send + 'static) -> Events {
    let mut gauge = Gauge::default();
    let chunks = body.into_data_stream().map(move |chunk| match chunk {
        Ok(chunk) if gauge.add(&chunk) > most => {
            fatal(RemoteError::TooLarge(most));
            Err(RemoteError::TooLarge(most))
        }
        Ok(chunk) => Ok::<Bytes, _>(chunk),
        Err(error) => Err(RemoteError::Broken(error.to_string())),
    });
    SseStream::from_bytes_stream(chunks).boxed()
}

/// What an error of [`Events`] is, in our words.
pub(super) fn explain(error: &EventError) -> RemoteError {
    let EventError::Body(cause) = error else {
        return RemoteError::Events;
    };
    let cause: &(dyn Error + 'static) = cause.as_ref();
    match cause.downcast_ref::<RemoteError>() {
        Some(RemoteError::TooLarge(most)) => RemoteError::TooLarge(*most),
        Some(RemoteError::Broken(cause)) => RemoteError::Broken(cause.clone()),
        _ => RemoteError::Events,
    }
}

/// Measures how much of an event that has not ended the parser must keep.
#[derive(Debug, Default)]
struct Gauge {
    /// Bytes of the event's finished lines.
    lines: usize,
    /// Bytes of the line that has not ended.
    line: usize,
    is_comment: bool,
    after_return: bool,
}

impl Gauge {
    /// The most that had to be kept at one time while `chunk` was read.
    fn add(&mut self, chunk: &[u8]) -> usize {
        let mut most = 0;
        for byte in chunk {
            let ends_line = match byte {
                // The second half of a line end, not another line.
                b'\n' if self.after_return => false,
                b'\n' | b'\r' => true,
                _ => {
                    if self.line == 0 {
                        self.is_comment = *byte == b':';
                    }
                    self.line += 1;
                    most = most.max(self.lines + self.line);
                    false
                }
            };
            self.after_return = *byte == b'\r';
            if ends_line {
                self.lines = match self.line {
                    0 => 0,
                    _ if self.is_comment => self.lines,
                    line => self.lines + line + 1,
                };
                self.line = 0;
            }
        }
        most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn most(chunks: &[&str]) -> usize {
        let mut gauge = Gauge::default();
        chunks.iter().map(|chunk| gauge.add(chunk.as_bytes())).max().unwrap_or_default()
    }

    #[test]
    fn an_event_is_measured_over_lines_and_chunks() {
        assert_eq!(most(&["data: abc\n", "data: d", "ef\n\n"]), 19);
        assert_eq!(most(&["data: abc\r\n", "data: def\r\n\r\n"]), 19);
        assert_eq!(most(&["data: abc\r", "\n", "data: def\r\r"]), 19);
    }

    #[test]
    fn a_blank_line_starts_over_whatever_its_ends_are() {
        for end in ["\n", "\r\n", "\r"] {
            let event = format!("data: abc{end}{end}");
            assert_eq!(most(&[&event, &event, &event]), 9, "{end:?}");
        }
    }

    #[test]
    fn comments_are_not_kept_and_do_not_start_over() {
        assert_eq!(most(&[": ping\n: ping\n: ping\n"]), 6);
        assert_eq!(most(&["data: abc\n: ping\ndata: def\n"]), 19);
    }
}
