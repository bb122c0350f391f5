//! What an answer is worth, and the truth that it is measured by. All probes are scored by this rule: NemoClaw's and ours in
//! `docs/upstream-probes.md`, and anybody's by `openshell-harness conform`.

use std::fmt;

use probe::{Cause, Verdict};
use serde::Serialize;

use crate::scenario::Experience;
use crate::scenario::format::Expect;

/// What an onboarding does after an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It goes on, and says nothing.
    Silent,
    /// It says that it could not tell, and goes on.
    Warn,
    /// It stops.
    Fatal,
    /// It neither goes on nor stops.
    Stuck,
}

/// What is so on the host, by the oracle and the scenario, of which no probe knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Truth {
    /// A real sandbox reached the right service.
    pub reached: bool,
    /// A firewall is what keeps it from that. Never together with `reached`.
    pub firewall_at_fault: bool,
}

impl Truth {
    /// What is so where this is expected: `experience` is the oracle's word where it was asked, and else the scenario's counts.
    #[must_use]
    pub fn of(expect: &Expect, experience: Option<Experience>) -> Self {
        let reached = experience.or(expect.oracle);
        let reached = reached.map_or(expect.verdict == Verdict::Ok, |it| it == Experience::Reached);
        Self { reached, firewall_at_fault: !reached && expect.cause.is_some_and(Cause::is_firewall) }
    }
}

/// What an answer is worth.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// Silence where the way is open; a stop where it is not, with a firewall named exactly when one is at fault.
    Right,
    /// A firewall is named where none is at fault, whether the way is open or not.
    FalseBlame,
    /// Silence where the way is not open: the onboarding goes on into its long failure. Whether a probe found all well or
    /// keeps to itself that it could not tell makes no difference to who waits.
    FalseHealthy,
    /// A stop without a word about firewalls where the way is open.
    FalseAlarm,
    /// Nobody learns what is so: a warning that it could not tell, a probe that hangs or had nothing to look at, or a stop
    /// that leaves the firewall at fault unnamed.
    NoAnswer,
}

impl Score {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Right, Self::FalseBlame, Self::FalseHealthy, Self::FalseAlarm, Self::NoAnswer];

    /// What an answer is worth where `truth` is so; `accuses_firewall` is whether it names a firewall or prints a firewall's
    /// command.
    #[must_use]
    pub fn of(effect: Effect, accuses_firewall: bool, truth: Truth) -> Self {
        match effect {
            _ if accuses_firewall && !truth.firewall_at_fault => Self::FalseBlame,
            Effect::Silent if truth.reached => Self::Right,
            Effect::Silent => Self::FalseHealthy,
            Effect::Fatal if truth.reached => Self::FalseAlarm,
            Effect::Fatal if truth.firewall_at_fault == accuses_firewall => Self::Right,
            Effect::Fatal | Effect::Warn | Effect::Stuck => Self::NoAnswer,
        }
    }

    /// A wrong answer, which is worse than none.
    #[must_use]
    pub fn is_wrong(self) -> bool {
        matches!(self, Self::FalseBlame | Self::FalseHealthy | Self::FalseAlarm)
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silent => "silent",
            Self::Warn => "warn",
            Self::Fatal => "fatal",
            Self::Stuck => "stuck",
        })
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Right => "right",
            Self::FalseBlame => "false blame",
            Self::FalseHealthy => "false healthy",
            Self::FalseAlarm => "false alarm",
            Self::NoAnswer => "no answer",
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
        let table = [
            (Effect::Silent, false, [Score::Right, Score::FalseHealthy, Score::FalseHealthy]),
            (Effect::Fatal, true, [Score::FalseBlame, Score::Right, Score::FalseBlame]),
            (Effect::Fatal, false, [Score::FalseAlarm, Score::NoAnswer, Score::Right]),
            (Effect::Warn, false, [Score::NoAnswer; 3]),
            (Effect::Stuck, false, [Score::NoAnswer; 3]),
        ];
        for (effect, accuses, worth) in table {
            let found = [OPEN, FIREWALL, OTHER].map(|truth| Score::of(effect, accuses, truth));
            assert_eq!(found, worth, "{effect:?} {accuses}");
        }
    }
}
