//! Why no healthy gateway came out of it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use probe::{LifecyclePath, Report};

use super::identity::Executable;
use super::setup::LifecycleStep;
use crate::engine::EngineError;
use crate::host::{ExecError, tail};

/// Why no healthy gateway came out of it.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// The preflight stopped it. What this run had started is ended, and its records are gone.
    #[error(transparent)]
    Preflight(Box<Stop>),
    /// Somebody else has the port.
    #[error(
        "port {port} is not available: {owner} listens there, and it is not this gateway\nhint: end it, or use another port"
    )]
    Foreign {
        /// The port.
        port: u16,
        /// The process, its id first, as far as it can be told.
        owner: String,
        /// Its id.
        pid: Option<i32>,
    },
    /// The gateway runs without records, and otherwise than it should.
    #[error(
        "the gateway that runs as process {pid} is not what is wanted: {drift}\nhint: end it (kill {pid}) and run this again"
    )]
    Drifted {
        /// Its process id.
        pid: i32,
        /// What differs.
        drift: Drift,
    },
    /// It did not become healthy in time, and was ended if this run had started it.
    #[error("the gateway is not healthy at step {step}: {message}{}", tail(.log, 10))]
    NotHealthy {
        /// The step that was not passed.
        step: LifecycleStep,
        /// What was seen last.
        message: String,
        /// Its log.
        log: String,
    },
    /// It ended while it started.
    #[error("the gateway ended while it started{}", tail(.log, 10))]
    Ended {
        /// Its log.
        log: String,
    },
    /// Another run is at it and does not come to an end.
    #[error("another run holds {path}", path = .path.display())]
    Busy {
        /// The lock.
        path: PathBuf,
    },
    /// A file of the records could not be read or written.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// The file as the machine sees it.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The text that says how a gateway is started is none.
    #[error("the gateway's definition: {message}")]
    Definition {
        /// What is wrong, with its line.
        message: String,
    },
    /// The probe did not answer as a preflight does.
    #[error("{program} preflight: {message}")]
    Probe {
        /// The probe.
        program: String,
        /// What it did instead.
        message: String,
    },
    /// A process of this onboarding's own does not end.
    #[error("process {pid} does not end")]
    NotEnded {
        /// Its id in the host.
        pid: i32,
    },
    /// The service manager does not do its work.
    #[error("the service manager: {message}")]
    Manager {
        /// What is wrong.
        message: String,
    },
    /// A program could not be run in the host.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The engine failed a question.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The host's network could not be looked at.
    #[error("read who listens in the host: {0}")]
    Listeners(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// In its words, with the hint: what a test or a `main` that returns it prints.
impl fmt::Debug for GatewayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl GatewayError {
    /// The preflight's stop, when it was that.
    #[must_use]
    pub fn stop(&self) -> Option<&Stop> {
        match self {
            Self::Preflight(stop) => Some(stop),
            _ => None,
        }
    }
}

/// A preflight that stopped.
#[derive(Clone, Debug)]
pub struct Stop {
    /// What was about to be called healthy.
    pub path: LifecyclePath,
    /// The exit code: 1, or 3 when it could not be found out.
    pub code: i32,
    /// All that was found.
    pub report: Report,
    /// What the probe told the user.
    pub talk: String,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.talk.trim_end())
    }
}

impl std::error::Error for Stop {}

/// How a running gateway differs from the one that is wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Drift {
    /// A variable has another value.
    Environment {
        /// Its name.
        name: String,
        /// What the gateway has.
        was: Option<String>,
        /// What is wanted.
        wanted: Option<String>,
    },
    /// It runs another file, or one that is gone: the program was replaced since.
    Executable {
        /// What it runs.
        was: Executable,
        /// What is wanted; `None` when there is no program any more.
        wanted: Option<Executable>,
    },
    /// It does not listen on its port.
    NotListening,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: &Option<String>| value.as_ref().map_or("unset".to_owned(), |v| format!("{v:?}"));
        match self {
            Self::Environment { name, was, wanted } => {
                write!(f, "{name} is {} and should be {}", value(was), value(wanted))
            }
            Self::Executable { was, .. } => {
                write!(f, "its program {} has been replaced since it started", was.path.display())
            }
            Self::NotListening => f.write_str("it does not listen on its port"),
        }
    }
}
