//! What an upstream probe says, and what its caller makes of it.

use std::fmt;

use harness::conform::{Conclusion, Score, Truth};

/// Why it says so, by the words that the probes themselves have, and three that they lack.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// Reachable.
    Ok,
    /// Not reachable.
    TcpFailed,
    /// It could not tell.
    ProbeUnavailable,
    /// The engine has no such network, or did not say. v0 and v1 only.
    NetworkNotFound,
    /// The kernel makes no veth pairs. v5 only.
    VethUnsupported,
    /// `docker run` did not end. v5 only.
    ProbeTimeout,
    /// v5 only.
    DockerDaemonUnreachable,
    /// A host's own dial failed: the service is called unhealthy. The checks before #3441 have no word.
    NotHealthy,
    /// A call without a time limit never came back, so there is no answer at all.
    Hangs,
    /// The recorder has nothing on what this probe looks at.
    NotObserved,
}

/// An answer, and what it comes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Answer {
    /// Why.
    pub reason: Reason,
    /// What follows.
    pub conclusion: Conclusion,
}

impl Answer {
    /// Reachable, and silent about it.
    pub const OK: Self = Self { reason: Reason::Ok, conclusion: Conclusion::HEALTHY };
    /// A call that never came back.
    pub const HANGS: Self = Self { reason: Reason::Hangs, conclusion: Conclusion::NONE };
    /// Nothing was observed of what it looks at.
    pub const NOT_OBSERVED: Self = Self { reason: Reason::NotObserved, conclusion: Conclusion::NONE };
    /// It could not tell, says so and goes on.
    pub const WARNS: Self = Self { reason: Reason::ProbeUnavailable, conclusion: Conclusion::UNKNOWN };
    /// It stops with `tcp_failed`, and its message has a `ufw` command.
    pub const BLAMES: Self = Self { reason: Reason::TcpFailed, conclusion: Conclusion::FIREWALL };

    /// It stops, with a message that has nothing to do with firewalls.
    #[must_use]
    pub const fn stops(reason: Reason) -> Self {
        Self { reason, conclusion: Conclusion::FAILED }
    }

    /// What it is worth where `truth` is so.
    #[must_use]
    pub fn score(self, truth: Truth) -> Score {
        self.conclusion.score(truth)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::TcpFailed => "tcp_failed",
            Self::ProbeUnavailable => "probe_unavailable",
            Self::NetworkNotFound => "network_not_found",
            Self::VethUnsupported => "veth_unsupported",
            Self::ProbeTimeout => "probe_timeout",
            Self::DockerDaemonUnreachable => "docker_daemon_unreachable",
            Self::NotHealthy => "not_healthy",
            Self::Hangs => "hangs",
            Self::NotObserved => "not_observed",
        })
    }
}
