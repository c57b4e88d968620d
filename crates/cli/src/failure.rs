//! What goes wrong, as a user reads it: what, why, and what to do.

use std::error::Error;
use std::fmt;

use bowline_core::diagnostic::Diagnostic;

/// Whose move it is; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The user's: exit code 1.
    User,
    /// Ours, or of the machine: exit code 2.
    Ours,
}

/// A verb that did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    fault: Fault,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
    diagnostics: Vec<Diagnostic>,
    silent: bool,
}

impl Failure {
    fn new(fault: Fault, message: impl Into<String>) -> Self {
        Failure {
            fault,
            message: message.into(),
            causes: Vec::new(),
            hint: None,
            diagnostics: Vec::new(),
            silent: false,
        }
    }

    /// A failure that the user can put right.
    pub(crate) fn user(message: impl Into<String>) -> Self {
        Self::new(Fault::User, message)
    }

    /// A failure of ours or of the machine.
    pub(crate) fn ours(message: impl Into<String>) -> Self {
        Self::new(Fault::Ours, message)
    }

    /// A failure of which everything has been said on standard output already.
    pub(crate) fn said() -> Self {
        Failure { silent: true, ..Self::user("") }
    }

    /// The same failure, caused by `error` and what caused that.
    #[must_use]
    pub(crate) fn because(mut self, error: &(dyn Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(cause) = next {
            let text = cause.to_string();
            // Some errors repeat their source in their own text.
            if self.causes.last() != Some(&text) {
                self.causes.push(text);
            }
            next = cause.source();
        }
        self
    }

    /// The same failure with advice.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same failure with advice, if there is some.
    #[must_use]
    pub(crate) fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    /// The same failure with the places in the input.
    #[must_use]
    pub(crate) fn with_diagnostics(mut self, diagnostics: Vec<Diagnostic>) -> Self {
        self.diagnostics = diagnostics;
        self
    }

    /// The same failure with the exit code 2, whoever's fault it is: for a verb whose exit code 1 is an answer.
    #[must_use]
    pub(crate) fn into_trouble(self) -> Self {
        // What was said already is such an answer.
        Failure { fault: if self.silent { self.fault } else { Fault::Ours }, ..self }
    }

    /// 1 when it is the user's move, 2 otherwise.
    pub(crate) fn exit_code(&self) -> u8 {
        match self.fault {
            Fault::User => 1,
            Fault::Ours => 2,
        }
    }

    /// Whether nothing more is to be said.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.diagnostics {
            writeln!(f, "{diagnostic}\n")?;
        }
        write!(f, "error: {}", self.message)?;
        for cause in &self.causes {
            write!(f, "\n  caused by: {}", cause.replace('\n', "\n    "))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the socket is not there")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn says_what_why_and_what_to_do() {
        let error = Outer(std::io::Error::other("No such file"));
        let failure =
            Failure::ours("cannot reach the API").because(&error).hint("is `bowline serve` running?");
        assert_eq!(
            failure.to_string(),
            "error: cannot reach the API\n  caused by: the socket is not there\n  caused by: No such file\n\
             hint: is `bowline serve` running?"
        );
        assert_eq!(failure.exit_code(), 2);
        assert_eq!(Failure::user("no such gateway").exit_code(), 1);
    }
}
