//! An answer against the truth.

use std::fmt;

use super::answer::{Answer, Effect};

/// What is so on the host, by the oracle and the scenario, of which no probe knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Truth {
    /// A real sandbox reached the right service.
    pub reached: bool,
    /// A firewall is what keeps it from that. Never together with `reached`.
    pub firewall_at_fault: bool,
}

/// What an answer is worth.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
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

    /// What `answer` is worth where `truth` is so.
    #[must_use]
    pub fn of(answer: Answer, truth: Truth) -> Self {
        match answer.effect {
            _ if answer.accuses_firewall && !truth.firewall_at_fault => Self::FalseBlame,
            Effect::Silent if truth.reached => Self::Right,
            Effect::Silent => Self::FalseHealthy,
            Effect::Fatal if truth.reached => Self::FalseAlarm,
            Effect::Fatal if truth.firewall_at_fault == answer.accuses_firewall => Self::Right,
            Effect::Fatal | Effect::Warn | Effect::Stuck => Self::NoAnswer,
        }
    }

    /// A wrong answer, which is worse than none.
    #[must_use]
    pub fn is_wrong(self) -> bool {
        matches!(self, Self::FalseBlame | Self::FalseHealthy | Self::FalseAlarm)
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
    use crate::upstream::Reason;

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
            assert_eq!([OPEN, FIREWALL, OTHER].map(|truth| Score::of(answer, truth)), worth, "{answer:?}");
        }
    }
}
