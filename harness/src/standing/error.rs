//! What goes wrong with standing hosts.

use std::io;
use std::path::PathBuf;

use super::name::Name;
use super::record::State;

/// Why something about standing hosts could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StandingError {
    /// There is no private place for their records.
    #[error("{path}: {message}\nhint: {hint}", path = .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
        /// The way out.
        hint: &'static str,
    },
    /// There is a host of that name.
    #[error("there is a host {name} already, and it is {state}\nhint: openshell-harness down {name}, or --name gives the new one another name", state = .state.word())]
    Exists {
        /// The name.
        name: Name,
        /// Its state.
        state: State,
    },
    /// There is no host of that name.
    #[error("there is no host {name}{known}")]
    Unknown {
        /// The name.
        name: Name,
        /// Those that there are, on a line of its own.
        known: String,
    },
    /// The host does not take requests.
    #[error("host {name} is {state}: {why}\nhint: openshell-harness logs {name}; openshell-harness down {name}", state = .state.word())]
    NotUp {
        /// The name.
        name: Name,
        /// Its state.
        state: State,
        /// What is wrong.
        why: String,
    },
    /// The host did not come up; in the words of what failed.
    #[error("{0}")]
    Failed(String),
    /// Something of the host is left.
    #[error("{0}")]
    Left(String),
    /// A file could not be read or written.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl StandingError {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.into(), source }
    }
}
