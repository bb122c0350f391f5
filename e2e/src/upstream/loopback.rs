//! The checks before #3441: the host dials itself. Whatever it dials goes over `lo`, which every firewall accepts first, so
//! they are green where no sandbox gets through.

use super::answer::{Answer, Reason};
use super::observation::{Dial, Observation, Outcome};

/// Whether 127.0.0.1 answers. A failure says that the service is not healthy, and has no word about firewalls.
#[must_use]
pub fn loopback(seen: &Observation) -> Answer {
    of(&seen.host_loopback)
}

/// Whether the network's gateway address answers the host itself. A debugging guide of OpenShell's has it as its second step.
/// Without a gateway address there is nothing to dial.
#[must_use]
pub fn gateway_address(seen: &Observation) -> Answer {
    seen.host_gateway.as_ref().map_or(Answer::NOT_OBSERVED, of)
}

fn of(dial: &Dial) -> Answer {
    match dial.outcome {
        Outcome::Connected => Answer::OK,
        Outcome::Errno(_) | Outcome::NoAnswer => Answer::stops(Reason::NotHealthy),
    }
}
