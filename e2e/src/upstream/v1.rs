//! #3441 as it was merged, and reverted within a day.
//!
//! As [v0], but only exit code 1 is a firewall, and other codes are a warning. There are still no names in the
//! container, and busybox ends with 1 for a name that does not resolve: on every host there is.

use super::answer::Answer;
use super::observation::Observation;
use super::v0;

/// What it says.
#[must_use]
pub fn decide(seen: &Observation) -> Answer {
    if let Some(answer) = v0::without_network(&seen.inspect) {
        return answer;
    }
    match seen.without_alias.as_ref().map(|run| run.command.status) {
        None => Answer::NOT_OBSERVED,
        Some(Some(0)) => Answer::OK,
        Some(Some(1)) => Answer::BLAMES,
        Some(_) => Answer::WARNS,
    }
}
