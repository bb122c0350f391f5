//! Why there is no answer from a twin.

use std::fmt;
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Why a twin did not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TwinError {
    /// Its process could not be started.
    #[error("failed to start the twin: {source}")]
    NotStarted {
        /// What the kernel said.
        source: io::Error,
    },
    /// It says itself what went wrong.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// It was not done in time, and was ended.
    #[error("the twin was not done within {budget:?}")]
    TimedOut {
        /// How long it had.
        budget: Duration,
    },
    /// It ended without an answer.
    #[error("the twin ended without an answer ({status}): {stderr}")]
    NoAnswer {
        /// How it ended.
        status: String,
        /// The end of what it said.
        stderr: String,
    },
    /// A twin asked for a twin.
    #[error("the program that was started as a twin is none: it calls for another one")]
    Recursion,
}

/// What went wrong in a twin.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "failure")]
#[non_exhaustive]
pub enum Failure {
    /// The plan cannot be carried out by anybody.
    #[error("the twin's plan is wrong: {what}")]
    BadPlan {
        /// What is wrong with it.
        what: String,
    },
    /// This machine does not have what restores a kind of rules.
    #[error("{name} is not on this machine, so its rules cannot be replayed")]
    NoProgram {
        /// The program.
        name: String,
    },
    /// This machine lets nobody make the namespaces that a twin is.
    #[error("{step}: {message}; {obstacle}")]
    Forbidden {
        /// What was tried.
        step: String,
        /// What the kernel said.
        message: String,
        /// What forbids it.
        obstacle: Obstacle,
    },
    /// The twin would have been the machine itself.
    #[error("the twin's network namespace is not its own, so nothing was done in it")]
    NotIsolated,
    /// The kernel refused a step.
    #[error("{step}: {message}")]
    Kernel {
        /// What was tried.
        step: String,
        /// What the kernel said.
        message: String,
    },
    /// The captured rules could not be restored.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The time was over.
    #[error("the twin was not done in time, while it was to {step}")]
    TimedOut {
        /// What it was doing.
        step: String,
    },
}

/// A tool did not take rules.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
#[error("{program}: {status}: {stderr}")]
pub struct RestoreError {
    /// The tool.
    pub program: String,
    /// How it ended.
    pub status: String,
    /// The end of what it said, on one line.
    pub stderr: String,
}

/// What forbids user namespaces.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Obstacle {
    /// `user.max_user_namespaces` is 0.
    MaxUserNamespaces,
    /// `kernel.unprivileged_userns_clone` is 0 (Debian's and Arch's own setting).
    UnprivilegedUsernsClone,
    /// `kernel.apparmor_restrict_unprivileged_userns` is 1 (Ubuntu 23.10 and later).
    AppArmor,
    /// A filter on kernel calls, as Docker gives its containers.
    Seccomp,
    /// A limit on namespaces is reached, or they are nested too deep.
    Limit,
    /// Something else.
    Unknown,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MaxUserNamespaces => {
                "user.max_user_namespaces is 0 (a way out: sysctl user.max_user_namespaces=1000)"
            }
            Self::UnprivilegedUsernsClone => {
                "kernel.unprivileged_userns_clone is 0 (a way out: run as root)"
            }
            Self::AppArmor => {
                "AppArmor restricts user namespaces, by kernel.apparmor_restrict_unprivileged_userns (a way out: run as root)"
            }
            Self::Seccomp => {
                "a seccomp filter is in force, as in a container (a way out: run outside of it)"
            }
            Self::Limit => "a limit of namespaces is reached (see /proc/sys/user)",
            Self::Unknown => "user namespaces are forbidden here (a way out: run as root, outside of any container)",
        })
    }
}
