//! What goes wrong.

use std::io;

/// Why nothing could be traced or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused a step.
    #[error("{step}: {source}")]
    Kernel {
        /// What was tried, as a lowercase fragment.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused what a request asked of its firewall.
    #[error("nf_tables refused to {request}: {source}")]
    Refused {
        /// What was asked, as a lowercase fragment.
        request: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A message of the kernel's is not what its headers describe.
    #[error("a netlink message is malformed: {what}")]
    Malformed {
        /// What is wrong, and where.
        what: &'static str,
    },
    /// Events were lost, so a decision may be among those that nobody read.
    #[error("the kernel had more trace events than its socket could hold, and lost some")]
    Overrun,
    /// The kernel did not answer a request.
    #[error("nf_tables did not answer a request to {request} within {milliseconds} ms")]
    NoAnswer {
        /// What was asked.
        request: &'static str,
        /// How long it was waited for.
        milliseconds: u128,
    },
    /// The rules changed all the while they were read.
    #[error("the rules changed during each of {attempts} readings")]
    Unsteady {
        /// How often they were read.
        attempts: usize,
    },
    /// A value that no kernel takes.
    #[error("{what}: {message}")]
    BadInput {
        /// The value.
        what: String,
        /// What is wrong with it.
        message: &'static str,
    },
}

impl Error {
    pub(crate) fn kernel(step: &'static str) -> impl FnOnce(nix::errno::Errno) -> Self {
        move |errno| Self::Kernel { step, source: errno.into() }
    }
}
