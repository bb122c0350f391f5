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

/// What an answer comes to, whoever gave it and however it was said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Conclusion {
    /// What follows.
    pub effect: Effect,
    /// Its message names a firewall or prints a firewall's command.
    pub accuses_firewall: bool,
}

impl Conclusion {
    /// All is well, and it says nothing.
    pub const HEALTHY: Self = Self::without_accusation(Effect::Silent);
    /// It stops, and blames a firewall.
    pub const FIREWALL: Self = Self { effect: Effect::Fatal, accuses_firewall: true };
    /// It stops, with a message that has nothing to do with firewalls.
    pub const FAILED: Self = Self::without_accusation(Effect::Fatal);
    /// It could not tell, says so and goes on.
    pub const UNKNOWN: Self = Self::without_accusation(Effect::Warn);
    /// There is no answer.
    pub const NONE: Self = Self::without_accusation(Effect::Stuck);

    const fn without_accusation(effect: Effect) -> Self {
        Self { effect, accuses_firewall: false }
    }

    /// What it is worth where `truth` is so.
    #[must_use]
    pub fn score(self, truth: Truth) -> Score {
        match self.effect {
            _ if self.accuses_firewall && !truth.firewall_at_fault => Score::FalseBlame,
            Effect::Silent if truth.reached => Score::Right,
            Effect::Silent => Score::FalseHealthy,
            Effect::Fatal if truth.reached => Score::FalseAlarm,
            Effect::Fatal if truth.firewall_at_fault == self.accuses_firewall => Score::Right,
            Effect::Fatal | Effect::Warn | Effect::Stuck => Score::NoAnswer,
        }
    }
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
            (Conclusion::HEALTHY, [Score::Right, Score::FalseHealthy, Score::FalseHealthy]),
            (Conclusion::FIREWALL, [Score::FalseBlame, Score::Right, Score::FalseBlame]),
            (Conclusion::FAILED, [Score::FalseAlarm, Score::NoAnswer, Score::Right]),
            (Conclusion::UNKNOWN, [Score::NoAnswer; 3]),
            (Conclusion::NONE, [Score::NoAnswer; 3]),
        ];
        for (conclusion, worth) in table {
            let found = [OPEN, FIREWALL, OTHER].map(|truth| conclusion.score(truth));
            assert_eq!(found, worth, "{conclusion:?}");
        }
    }
}
