//! Which rule decided about a target's packets, and how sure that is.
//!
//! ```text
//!  rules of all backends ─► static evaluation ─┐
//!  the same, counted before and after ─────────┼─► Explanation: the walk, the deciding rule, its setting
//!  replayed in a twin, traced by the kernel ───┘        named only where all that could be asked agree
//! ```
//!
//! Reading the rules takes root. Without it there is what everybody may read, and an explanation says that it is inferred.

mod candidate;
mod capture;
mod counters;
mod judge;
mod mark;
mod prove;
mod rehearsal;
mod setting;
mod suspect;
mod ufw;
mod uplink;
mod way;
mod wide;
mod world;

use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::check::{self, Checked, Request};
use crate::evidence::{Evidence, PortEvidence};
use crate::interrupt::Interrupt;
use crate::vantage::Via;
use crate::verdict::{Cause, decide};

pub(crate) use capture::{Capture, CaptureError};
pub(crate) use judge::{flow, of_walk};
pub(crate) use setting::Files;

use judge::{Counting, Judge};
pub use setting::Setting;
pub use suspect::{Suspect, SuspectTool};
pub use ufw::{UfwRemedy, UfwRule};
pub use way::{Leg, Station};

/// What the firewall does to the packets of one target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Explanation {
    /// The TCP port of the target.
    pub port: u16,
    /// What could be seen of the rules.
    pub seen: RulesSeen,
    /// The rule or policy that decided; `None` where nothing stops the packets, or where it is not certain enough to be named.
    pub decided: Option<Decided>,
    /// What says so, and agrees.
    pub confirmed_by: Vec<Method>,
    /// Why the rules' counters do not say so, where they were to be asked: `firewalld`, `--no-packets`. Since 1.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_counters: Option<String>,
    /// What everybody may read and what may stop the packets, where the rules were not seen: inferred, and no rule. Since 1.5.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspects: Vec<Suspect>,
    /// The way from the sandbox to the service, and where it ends. Empty where it is not known. Since 1.5.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub way: Vec<Leg>,
    /// The way of the packets through the rules, by static evaluation.
    pub walk: Vec<WalkedPacket>,
    /// What opens the path, tried in a twin.
    pub remedies: Vec<TriedRemedy>,
    /// What is doubtful, or could not be asked.
    pub notes: Vec<String>,
    /// Every rule of this host could be read, and lets these packets pass. Where the check saw them stopped, the firewall is
    /// innocent. Since 1.6.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lets_pass: bool,
}

/// Commands that may open the path, and what they did in a twin of this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TriedRemedy {
    /// What to run, in this order, as root.
    pub commands: Vec<String>,
    /// What takes it back.
    pub undo: Vec<String>,
    /// It opens the path, and nothing else that was tried.
    pub proven: bool,
    /// How many other connections were tried: another port, other addresses, the local network, the rest of the world.
    pub controls: usize,
    /// What it opens besides.
    pub opens_too: Vec<String>,
    /// The same as typed values, where it is UFW's.
    #[serde(skip)]
    pub ufw: Option<UfwRemedy>,
    /// What is to be known of it.
    pub note: Option<String>,
}

/// How much of the rules could be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RulesSeen {
    /// The kernel's rules.
    Rules,
    /// Only what everybody may read: what is said is inferred.
    Inferred,
    /// Nothing: the rules are of another machine, or nothing here reads them.
    #[default]
    Nothing,
}

/// Who says which rule decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Method {
    /// The rules, evaluated.
    Static,
    /// The kernel's trace of the same rules in a twin.
    Twin,
    /// The rules' own counters, which rose with the check's dials.
    Counters,
}

/// A rule or a policy that decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Decided {
    /// What it did: dropped, rejected, redirected.
    pub effect: String,
    /// Whose packet: `syn`, `syn_ack`, `ack`, `data`, `answer_ack` or `answer`.
    pub packet: String,
    /// `legacy`, `nft` (iptables-nft) or `native`.
    pub backend: String,
    /// The table's family.
    pub family: String,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// The rule's number in its chain, from 1; `None` is the chain's policy.
    pub rule: Option<usize>,
    /// The rule as its tool prints it.
    pub text: String,
    /// The setting that it stems from.
    pub setting: Option<Setting>,
}

/// A packet's way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WalkedPacket {
    /// `syn`, `syn_ack`, `ack`, `data`, `answer_ack` or `answer`.
    pub packet: String,
    /// The rules that matched and the policies that decided, in order.
    pub steps: Vec<StepSeen>,
}

/// A rule that matched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StepSeen {
    /// Table, chain, number and text.
    pub place: String,
    /// What it did.
    pub effect: String,
    /// Packets that it counted during the check, where it counts.
    pub counted: Option<u64>,
    /// It decided.
    pub decides: bool,
}

/// How long it took to find out which rule decides, without the check. Microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ExplainTimes {
    /// To read the rules of all backends once: the longer reading of those before and after the check.
    pub capture_us: u64,
    /// To evaluate them for all targets, and to compare the readings.
    pub evaluation_us: u64,
    /// To replay them in a twin and try there what opens the path.
    pub twin_us: u64,
}

/// A check, and what the rules do to its targets.
#[derive(Debug)]
pub struct Explained {
    /// The check.
    pub checked: Checked,
    /// One for each target that a firewall may stand before.
    pub explanations: Vec<Explanation>,
    /// How long that took; `None` where the rules were not read.
    pub times: Option<ExplainTimes>,
}

/// Checks, and reads the rules before and after, where this process may and where they are this host's. Then the rules are
/// replayed in a twin, with what may open the path. The rules' counters are asked only where the check sends what they can tell
/// from others' packets ([`Request::mark`]).
///
/// `program` is an `openshell-probe` that becomes the twin; without one it is this very program, which has to call
/// [`twin::hook`](crate::twin::hook) first.
pub async fn explain(request: &Request, interrupt: &Interrupt, program: Option<&Path>) -> Explained {
    let root = nix::unistd::geteuid().is_root();
    let before = if root { Capture::take().await.ok() } else { None };
    let checked = check::check(request, interrupt).await;
    let capture = if root { Some(Capture::take().await) } else { None };
    let files = setting::Files::read();
    let counting = match request.via {
        _ if !request.mark => Counting::LeftOut,
        Via::Netns => Counting::NoContainer,
        Via::Container => Counting::Asked,
    };
    let mut warnings = Vec::new();
    let mut judge = Judge::new(&checked.evidence, before.as_ref(), capture.as_ref(), &files, counting);
    let ports = judge.to_mark();
    if !ports.is_empty() && interrupt.number().is_none() {
        match mark::send(request, &checked.evidence, &ports, interrupt).await {
            Ok(sent) => {
                warnings.extend(sent.left);
                if let Ok(after) = Capture::take().await {
                    judge.marked(sent.marked, &after);
                }
            }
            Err(why) => warnings.push(format!("no packets for the rules' counters: {why}")),
        }
    }
    let evaluating = Instant::now();
    let mut cases: Vec<_> = checked.evidence.ports.iter().map(|port| judge.explain(port)).collect();
    let evaluation_us = micros(evaluating.elapsed());
    let mut times = None;
    if let Some(Ok(capture)) = &capture {
        let longer = before.as_ref().map_or(capture.elapsed, |before| before.elapsed.max(capture.elapsed));
        let proving = Instant::now();
        if interrupt.number().is_none() {
            prove::prove(&mut cases, capture, &checked.evidence, program).await;
        }
        let twin_us = micros(proving.elapsed());
        times = Some(ExplainTimes { capture_us: micros(longer), evaluation_us, twin_us });
    }
    let explanations = cases.into_iter().map(|case| case.explanation).collect();
    let mut checked = checked;
    checked.warnings.extend(warnings);
    Explained { checked, explanations, times }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Reads the rules for those targets of a check that blame a firewall, or where one may be to blame. Nothing is read where none does, and nothing is
/// replayed.
pub async fn explain_failures(evidence: &Evidence) -> Vec<Explanation> {
    let blamed = |port: &&PortEvidence| {
        let cause = decide(evidence, port).cause;
        // Where it is not to be told what drops them, the rules may.
        cause.is_some_and(|cause| {
            cause.is_firewall()
                || matches!(cause, Cause::Redirected | Cause::Undetermined | Cause::TrafficControl)
        })
    };
    let blamed: Vec<&PortEvidence> = evidence.ports.iter().filter(blamed).collect();
    if blamed.is_empty() {
        return Vec::new();
    }
    let root = nix::unistd::geteuid().is_root();
    let capture = if root { Some(Capture::take().await) } else { None };
    let files = setting::Files::read();
    let judge = Judge::new(evidence, None, capture.as_ref(), &files, Counting::NotAsked);
    blamed.into_iter().map(|port| judge.explain(port).explanation).collect()
}
