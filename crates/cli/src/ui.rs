//! Standard output is data, standard error is talk.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

use crate::failure::Failure;

/// Where a verb speaks.
pub(crate) struct Ui {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
}

impl Ui {
    /// The process's own streams.
    pub(crate) fn stdio() -> Self {
        Ui { out: Box::new(io::stdout()), err: Box::new(io::stderr()) }
    }

    /// Streams of which a test reads the standard output.
    #[cfg(test)]
    pub(crate) fn captured() -> (Self, Captured) {
        let captured = Captured::default();
        (Ui { out: Box::new(captured.clone()), err: Box::new(io::sink()) }, captured)
    }

    /// Writes `text` to standard output as it is.
    pub(crate) fn out(&mut self, text: impl Display) -> Result<(), Failure> {
        write!(self.out, "{text}").and_then(|()| self.out.flush()).map_err(|error| closed(&error))
    }

    /// Writes a line to standard output.
    pub(crate) fn line(&mut self, text: impl Display) -> Result<(), Failure> {
        self.out(format_args!("{text}\n"))
    }

    /// Writes bytes to standard output.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes).and_then(|()| self.out.flush()).map_err(|error| closed(&error))
    }

    /// Says something to the user. Nobody listening is no reason to stop.
    pub(crate) fn say(&mut self, text: impl Display) {
        let _ = writeln!(self.err, "{text}");
    }

    /// Whether somebody can answer a question.
    pub(crate) fn can_ask() -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Asks a question on the terminal; only a plain yes is a yes.
    pub(crate) fn ask(&mut self, question: &str) -> Result<bool, Failure> {
        let mut answer = String::new();
        let asked = write!(self.err, "{question} [y/N] ").and_then(|()| self.err.flush());
        asked
            .and_then(|()| io::stdin().read_line(&mut answer))
            .map_err(|error| Failure::ours("cannot ask").because(&error))?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }

    /// Reports a failure; gives its exit code.
    pub(crate) fn fail(&mut self, failure: &Failure) -> ExitCode {
        if !failure.is_silent() {
            self.say(failure);
        }
        ExitCode::from(failure.exit_code())
    }
}

/// A reader that has read enough (`| head`) is not worth an error message.
fn closed(error: &io::Error) -> Failure {
    if error.kind() == ErrorKind::BrokenPipe {
        return Failure::said();
    }
    Failure::ours("cannot write to standard output").because(error)
}

/// What a verb has written in a test.
#[cfg(test)]
#[derive(Debug, Clone, Default)]
pub(crate) struct Captured(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

#[cfg(test)]
impl Captured {
    /// Everything so far.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[cfg(test)]
impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
