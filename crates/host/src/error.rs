//! Errors of calls to the Engine, told apart by status code and never by message text.

use std::time::Duration;

use bollard::errors::Error as Bollard;
use bowline_core::causes::with_causes;

/// Why the host could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The Engine did not answer at all, or not in time: "not known", never "nothing there".
    #[error("the Docker Engine did not answer: cannot {what}")]
    Unavailable {
        /// What was asked, as in "list containers".
        what: &'static str,
        /// Why.
        #[source]
        cause: CallError,
    },
    /// The Engine answered with an error.
    #[error("cannot {what}")]
    Engine {
        /// What was asked.
        what: &'static str,
        /// What it said.
        #[source]
        cause: CallError,
    },
    /// A file or directory could not be read.
    #[error("cannot read {path}")]
    Files {
        /// Which.
        path: String,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

impl HostError {
    /// Whether the Engine is away, so that nothing is known and waiting for it is all there is to do.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, HostError::Unavailable { .. })
    }

    pub(crate) fn call(what: &'static str) -> impl Fn(CallError) -> HostError {
        move |cause| match cause {
            CallError::Connection(_) | CallError::Deadline(_) => HostError::Unavailable { what, cause },
            CallError::Status { .. } | CallError::Other(_) => HostError::Engine { what, cause },
        }
    }

    pub(crate) fn files(path: impl Into<String>) -> impl FnOnce(std::io::Error) -> HostError {
        let path = path.into();
        move |cause| HostError::Files { path, cause }
    }
}

/// How one call to the Engine ended badly.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The Engine answered with an error status.
    #[error("the Docker Engine answered {code}: {message}")]
    Status {
        /// HTTP status code.
        code: u16,
        /// The Engine's words.
        message: String,
    },
    /// No connection, or it broke before the answer was complete.
    #[error("no connection to the Docker Engine: {0}")]
    Connection(String),
    /// No answer in time.
    #[error("no answer within {} s", .0.as_secs())]
    Deadline(Duration),
    /// An answer that could not be understood.
    #[error("{0}")]
    Other(String),
}

impl CallError {
    /// The status code, where the Engine answered with one.
    pub fn status(&self) -> Option<u16> {
        match self {
            CallError::Status { code, .. } => Some(*code),
            CallError::Connection(_) | CallError::Deadline(_) | CallError::Other(_) => None,
        }
    }
}

impl From<Bollard> for CallError {
    fn from(error: Bollard) -> Self {
        match error {
            Bollard::DockerResponseServerError { status_code, message } => {
                CallError::Status { code: status_code, message }
            }
            Bollard::IOError { .. }
            | Bollard::HyperResponseError { .. }
            | Bollard::HyperLegacyError { .. }
            | Bollard::RequestTimeoutError
            | Bollard::SocketNotFoundError(_) => CallError::Connection(with_causes(&error)),
            other => CallError::Other(with_causes(&other)),
        }
    }
}
