//! The first commit of #3441.
//!
//! It asks for the network's first subnet, runs a container on the network without any names, and calls everything but exit
//! code 0 a firewall that blocks: a name that nobody has injected, an engine that is down, an image that cannot be had.

use super::answer::{Answer, Reason};
use super::observation::{Command, Observation};
use super::route;

/// What it says.
#[must_use]
pub fn decide(seen: &Observation) -> Answer {
    if let Some(answer) = without_network(&seen.inspect) {
        return answer;
    }
    match &seen.without_alias {
        None => Answer::NOT_OBSERVED,
        Some(run) if run.command.status == Some(0) => Answer::OK,
        Some(_) => Answer::BLAMES,
    }
}

/// The answer of v0 and v1 when `{{(index .IPAM.Config 0).Subnet}}` is empty: the network is called missing, and that stops
/// everything. A failing command leaves it empty too, whatever it failed of; one that never ends is waited for.
#[must_use]
pub(super) fn without_network(inspect: &Command) -> Option<Answer> {
    if inspect.status.is_none() {
        return Some(Answer::HANGS);
    }
    let pools = route::pools(inspect).unwrap_or_default();
    let subnet = pools.first().is_some_and(|pool| !pool.subnet.is_empty());
    (!subnet).then(|| Answer::stops(Reason::NetworkNotFound))
}
