//! What was seen in a twin.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::{RestoreError, Trial};

/// Everything that was seen.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Answer {
    /// The stages, as the plan has them.
    pub stages: Vec<StageAnswer>,
    /// What of the plan could not be set.
    pub unset: Vec<Unset>,
    /// The number of the twin's ruleset after the captured rules were restored.
    pub generation: u32,
    /// The inode of the network namespace that all of this happened in.
    pub namespace: u64,
    /// How long it took to make namespaces and links.
    pub setup_us: u64,
    /// How long it took to restore the captured rules.
    pub restore_us: u64,
    /// How long all stages took.
    pub trials_us: u64,
}

/// A stage's trials.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct StageAnswer {
    /// The stage's name.
    pub name: String,
    /// Why its change was not made, or not taken back. Without the change nothing is dialled; what is not taken back ends
    /// the twin's work.
    pub problem: Option<RestoreError>,
    /// The number of the ruleset that was dialled against.
    pub generation: u32,
    /// The trials, as the plan has them.
    pub trials: Vec<TrialAnswer>,
}

/// How one connection went.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct TrialAnswer {
    /// Which one.
    pub trial: Trial,
    /// Where it was dialled from.
    pub source: Option<SocketAddr>,
    /// How it went.
    pub outcome: Outcome,
    /// Whether a packet of it came to the host (left it, for the host's own). Not so when the one who dialled finds no
    /// neighbour: a firewall that drops IPv6's neighbour discovery does that.
    pub arrived: bool,
    /// What decided about it: what dropped the first packet or a later one, or what accepted last. None when no chain met
    /// it, as when the kernel itself drops it (`rp_filter`, say).
    pub decision: Option<Decision>,
    /// All rules and policies that the packets met and that matched, in their order.
    pub matched: Vec<Step>,
    /// How long it took.
    pub elapsed_us: u64,
}

/// How a connection went.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[non_exhaustive]
pub enum Outcome {
    /// A byte went there and one came back.
    Reached,
    /// The SYN was not answered. A twin loses nothing, so something dropped it or its answer.
    NoAnswer,
    /// It was refused, by a reset or by ICMP.
    Refused {
        /// What `connect(2)` says.
        errno: i32,
        /// The refusal, when it was ICMP.
        icmp: Option<Icmp>,
    },
    /// The one who dialled found no way: no route, or nobody who answers ARP.
    Unreachable {
        /// What `connect(2)` says.
        errno: i32,
        /// What the kernel says on its own behalf.
        icmp: Option<Icmp>,
    },
    /// The connection stood for the one who dialled, and no byte came back.
    ConnectedButSilent {
        /// What ended it, when something did.
        errno: Option<i32>,
    },
    /// It was not dialled.
    NotTried {
        /// Why.
        why: String,
    },
}

/// An ICMP message about a connection, of IPv4 or IPv6.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Icmp {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// Who sent it.
    pub offender: Option<IpAddr>,
}

/// What decided about a packet.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Decision {
    /// Where, and what it said.
    #[serde(flatten)]
    pub step: Step,
    /// Whether it was the answer that was decided about, and not what the one who dialled sent.
    pub reply: bool,
}

/// A rule that matched, or a policy.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Step {
    /// The table's family, as `nft` writes it.
    pub family: String,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// The rule's place in its chain, counted from 1; none for a policy.
    pub position: Option<usize>,
    /// The twin's own number for the rule; the machine has another one.
    pub handle: Option<u64>,
    /// What it says, as `nft` writes it: `accept`, `drop`, `jump CHAIN`. `REJECT` is a `drop` too.
    pub verdict: String,
}

/// A setting that the twin could not make.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Unset {
    /// What.
    pub name: String,
    /// Why.
    pub why: String,
}

impl Answer {
    /// The answer about a trial of a stage.
    #[must_use]
    pub fn trial(&self, stage: usize, trial: usize) -> Option<&TrialAnswer> {
        self.stages.get(stage)?.trials.get(trial)
    }
}

impl Step {
    /// Whether the packet ended there.
    #[must_use]
    pub fn is_drop(&self) -> bool {
        self.verdict == "drop"
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { family, table, chain, position, verdict, .. } = self;
        match position {
            Some(position) => write!(f, "{family} {table} {chain} rule {position}: {verdict}"),
            None => write!(f, "{family} {table} {chain} policy: {verdict}"),
        }
    }
}
