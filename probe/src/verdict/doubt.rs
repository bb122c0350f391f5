//! What raises a doubt whether a firewall is to blame for silence: what else the kernel has counted as dropped.

use super::{Cause, Judgement, decide};
use crate::dial::{Dial, Outcome};
use crate::evidence::{Evidence, PortEvidence};

/// `cause`, which blames a firewall for the silence that met `dial`, unless something else may have dropped the packets.
pub(super) fn unless_counted(evidence: &Evidence, dial: &Dial, cause: Cause) -> Cause {
    match &evidence.drops {
        None => cause,
        Some(drops) if drops.exclude(lost(dial)) => cause,
        Some(drops) if drops.queues > 0 && drops.queues >= lost_of_all(evidence) => Cause::TrafficControl,
        // Others' packets, or those of another port, and maybe these.
        Some(_) => Cause::Undetermined,
    }
}

/// Whether a firewall would be blamed if nothing else was counted.
pub(crate) fn is_doubted(evidence: &Evidence, port: &PortEvidence) -> bool {
    let rules_only = Evidence { drops: None, ..evidence.clone() };
    let blamed = |judgement: Judgement| judgement.cause.is_some_and(Cause::is_firewall);
    blamed(decide(&rules_only, port)) && !blamed(decide(evidence, port))
}

/// How many packets stayed without an answer, over all ports.
fn lost_of_all(evidence: &Evidence) -> u64 {
    evidence.ports.iter().filter_map(|port| port.sandbox.as_ref()).map(lost).sum()
}

fn lost(dial: &Dial) -> u64 {
    match dial.outcome {
        Outcome::TimedOut => u64::from(dial.unanswered.max(1)),
        Outcome::Connected => {
            let unanswered = dial.greetings.last().is_some_and(|greeted| !greeted.acknowledged);
            u64::from(unanswered || dial.silent.is_some())
        }
        Outcome::Failed { .. } => 0,
    }
}
