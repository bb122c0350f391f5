//! What an upstream probe says, and what its caller makes of it.

use std::fmt;

use harness::conform::{Effect, Score, Truth};

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

/// An answer and its effect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Answer {
    /// Why.
    pub reason: Reason,
    /// What follows.
    pub effect: Effect,
    /// Its message names a firewall or prints a firewall's command.
    pub accuses_firewall: bool,
}

impl Answer {
    /// Reachable, and silent about it.
    pub const OK: Self = Self { reason: Reason::Ok, effect: Effect::Silent, accuses_firewall: false };
    /// A call that never came back.
    pub const HANGS: Self = Self { reason: Reason::Hangs, effect: Effect::Stuck, accuses_firewall: false };
    /// Nothing was observed of what it looks at.
    pub const NOT_OBSERVED: Self =
        Self { reason: Reason::NotObserved, effect: Effect::Stuck, accuses_firewall: false };

    /// It could not tell, says so and goes on.
    #[must_use]
    pub const fn warns() -> Self {
        Self { reason: Reason::ProbeUnavailable, effect: Effect::Warn, accuses_firewall: false }
    }

    /// It stops, with a message that has nothing to do with firewalls.
    #[must_use]
    pub const fn stops(reason: Reason) -> Self {
        Self { reason, effect: Effect::Fatal, accuses_firewall: false }
    }

    /// What it is worth where `truth` is so.
    #[must_use]
    pub fn score(self, truth: Truth) -> Score {
        Score::of(self.effect, self.accuses_firewall, truth)
    }

    /// It stops with `tcp_failed`, and its message has a `ufw` command.
    pub const BLAMES: Self =
        Self { reason: Reason::TcpFailed, effect: Effect::Fatal, accuses_firewall: true };
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

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Truth = Truth { reached: true, firewall_at_fault: false };
    const FIREWALL: Truth = Truth { reached: false, firewall_at_fault: true };
    const OTHER: Truth = Truth { reached: false, firewall_at_fault: false };

    #[test]
    fn every_answer_has_its_worth() {
        let silent_without = Answer { effect: Effect::Silent, ..Answer::warns() };
        let stops = Answer::stops(Reason::ProbeTimeout);
        let table = [
            (Answer::OK, [Score::Right, Score::FalseHealthy, Score::FalseHealthy]),
            (silent_without, [Score::Right, Score::FalseHealthy, Score::FalseHealthy]),
            (Answer::BLAMES, [Score::FalseBlame, Score::Right, Score::FalseBlame]),
            (stops, [Score::FalseAlarm, Score::NoAnswer, Score::Right]),
            (Answer::warns(), [Score::NoAnswer; 3]),
            (Answer::HANGS, [Score::NoAnswer; 3]),
            (Answer::NOT_OBSERVED, [Score::NoAnswer; 3]),
        ];
        for (answer, worth) in table {
            assert_eq!([OPEN, FIREWALL, OTHER].map(|truth| answer.score(truth)), worth, "{answer:?}");
        }
    }
}
