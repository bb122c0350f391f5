//! Random rules, and three answers about a dial through them that have to agree: what [`ruleset`] predicts from the rules'
//! text, what the kernel's trace says, and what the one who dialled saw.
//!
//! ```text
//!  seed ─▶ rules ─▶ iptables, nft ─▶ what they list ─────▶ Ruleset::connect ─▶ every step of every packet         ┐
//!                         │                                                                                     ├─ equal?
//!                         └─▶ a real dial ─▶ the kernel's trace of them, and what the dialler saw ───────────────┘
//! ```
//!
//! All is done in one host, in pairs of namespaces of its own (lanes), several at once: a drop takes its time-out.

mod compare;
mod generate;
mod lane;
mod native;
mod random;
mod regressions;
pub mod report;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Result;
use futures_util::future::try_join_all;
use harness::Host;

pub use compare::Agreement;
pub use generate::{Case, Tool, case};
pub use lane::Experience;
use lane::Lane;
pub use regressions::{Regression, regressions};

/// What is dialled.
const PORT: &str = "8080";

/// The sandbox's addresses.
const SANDBOX_V4: &str = "10.99.0.2";
/// See [`SANDBOX_V4`].
const SANDBOX_V6: &str = "fd99::2";

/// The host's address behind another link, and a neighbour there.
const LAN: [&str; 2] = ["10.98.0.1", "10.98.0.2"];
/// See [`LAN`].
const LAN6: [&str; 2] = ["fd98::1", "fd98::2"];
/// The link.
const LINK: &str = "lan0";

/// Ports with a service, on the host and at the neighbour. Rules send connections to others, too.
const SERVED: [&str; 2] = [PORT, "9000"];

/// The bridge that the dial comes through, and its port.
const BRIDGE: &str = "br0";
/// See [`BRIDGE`].
const VETH: &str = "van1";

/// An answer comes within a millisecond, and the first SYN is repeated after 1 s.
const PATIENCE: Duration = Duration::from_millis(150);

/// For a second try, where the machine may have been too busy for [`PATIENCE`].
const LONG_PATIENCE: Duration = Duration::from_millis(900);

/// How many lanes there have been: a host has no two of one name.
static LANES: AtomicU32 = AtomicU32::new(0);

/// What many cases came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Cases where all agree.
    pub same: usize,
    /// What these came to, each with how often.
    pub outcomes: BTreeMap<String, usize>,
    /// Why rules alone did not say it, each with how often.
    pub undetermined: BTreeMap<String, usize>,
    /// What was different, each with its seed and its rules.
    pub different: Vec<String>,
    /// Rules that the tool does not take, each with what it says.
    pub refused: Vec<String>,
}

/// Tries the cases in `lanes` lanes at once.
///
/// # Errors
/// When a lane cannot be made or nothing be traced.
pub async fn run(host: &Host, lanes: usize, cases: Vec<Case>) -> Result<Tally> {
    let mut shares = vec![Vec::new(); lanes];
    for (index, case) in cases.into_iter().enumerate() {
        shares[index % lanes].push(case);
    }
    let share = async |cases: Vec<Case>| -> Result<Tally> {
        let name = format!("lane{}", LANES.fetch_add(1, Ordering::Relaxed));
        let mut lane = Lane::new(host, &name).await?;
        let mut tally = Tally::default();
        for case in cases {
            lane = one(host, lane, case, &mut tally).await?;
        }
        Ok(tally)
    };
    let tallies = try_join_all(shares.into_iter().map(share)).await?;
    Ok(tallies.into_iter().fold(Tally::default(), Tally::and))
}

async fn one(host: &Host, lane: Lane, case: Case, tally: &mut Tally) -> Result<Lane> {
    let (mut lane, mut answer) = answer(host, lane, &case, PATIENCE).await?;
    if matches!(answer, Answer::Compared(Agreement::Different(_))) {
        (lane, answer) = self::answer(host, lane, &case, LONG_PATIENCE).await?;
    }
    match answer {
        Answer::Compared(Agreement::Same(outcome)) => {
            tally.same += 1;
            *tally.outcomes.entry(outcome).or_default() += 1;
        }
        Answer::Compared(Agreement::Undetermined(why)) => *tally.undetermined.entry(why).or_default() += 1,
        Answer::Compared(Agreement::Different(how)) => {
            // One of a lane: it takes a dial for each rule.
            let mut how = how;
            if tally.different.is_empty() {
                (lane, how) = shrink(host, lane, case, how).await?;
            }
            tally.different.push(how);
        }
        Answer::Refused(why) => tally.refused.push(format!("seed {}\n{why}\n{}", case.seed, case.text)),
    }
    Ok(lane)
}

/// What came of one try.
enum Answer {
    Compared(Agreement),
    Refused(String),
}

async fn answer(host: &Host, mut lane: Lane, case: &Case, patience: Duration) -> Result<(Lane, Answer)> {
    let saved = match lane.load(host, case).await {
        Ok(saved) => saved,
        Err(error) => return Ok((lane, Answer::Refused(format!("{error:#}")))),
    };
    let case = case.clone();
    let task = move || -> Result<_> {
        let dialled = lane.dial(case.family, patience)?;
        let agreement = compare::compare(&lane, &case, &saved, &dialled)?;
        Ok((lane, Answer::Compared(agreement)))
    };
    tokio::task::spawn_blocking(task).await?
}

/// Leaves rules out, one after the other, as long as the answers still differ: how they differ at the end.
async fn shrink(host: &Host, mut lane: Lane, mut case: Case, mut how: String) -> Result<(Lane, String)> {
    let mut at = 0;
    while at < case.text.lines().count() {
        let kept = case.text.lines().enumerate().filter(|(line, _)| *line != at);
        let text = kept.map(|(_, line)| format!("{line}\n")).collect();
        let smaller = Case { text, ..case.clone() };
        // In iptables' text, and in nft's.
        let is_rule =
            |line: &str| line.starts_with("-A") || (line.starts_with("    ") && !line.contains("type"));
        let is_rule = case.text.lines().nth(at).is_some_and(is_rule);
        at += 1;
        if !is_rule {
            continue;
        }
        let answer;
        (lane, answer) = self::answer(host, lane, &smaller, LONG_PATIENCE).await?;
        if let Answer::Compared(Agreement::Different(still)) = answer {
            (case, how, at) = (smaller, still, at - 1);
        }
    }
    Ok((lane, how))
}

impl Tally {
    fn and(mut self, other: Self) -> Self {
        self.same += other.same;
        for (outcome, times) in other.outcomes {
            *self.outcomes.entry(outcome).or_default() += times;
        }
        for (why, times) in other.undetermined {
            *self.undetermined.entry(why).or_default() += times;
        }
        self.different.extend(other.different);
        self.refused.extend(other.refused);
        self
    }
}
