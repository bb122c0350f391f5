//! Trouble with the engine, told apart by what a user can do about it.

use std::time::Duration;

use crate::sanitize::sanitize;

/// A call to the engine failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to {call} at {endpoint}: {trouble}")]
pub struct EngineError {
    /// What was asked, in words that read well after "failed to".
    pub call: String,
    /// Who was asked.
    pub endpoint: String,
    /// What happened.
    pub trouble: EngineTrouble,
}

/// What happened to a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineTrouble {
    /// No engine takes connections there.
    #[error("no engine answers: {detail}")]
    Unreachable {
        /// The reason in the system's words.
        detail: String,
    },
    /// The engine took the connection and gave no answer in time.
    #[error("the engine took the connection but gave no answer within {}", seconds(*.after))]
    Silent {
        /// How long was waited.
        after: Duration,
    },
    /// The socket may not be opened by this user.
    #[error("permission denied on the engine's socket")]
    PermissionDenied,
    /// The endpoint is of a kind that this program does not speak.
    #[error("{detail}")]
    Unsupported {
        /// What is not supported.
        detail: String,
    },
    /// The engine answered with an error.
    #[error("the engine answered {status}: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its message, safe to print.
        message: String,
    },
    /// The answer could not be understood.
    #[error("the engine's answer could not be read: {detail}")]
    Garbled {
        /// What was wrong with it.
        detail: String,
    },
}

impl EngineTrouble {
    /// The engine's own error answer, with its text made safe to print.
    pub(crate) fn refused(status: u16, message: &str) -> Self {
        Self::Refused { status, message: sanitize(message) }
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
