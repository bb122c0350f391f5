//! What was found there and what is found here.

use std::fmt;

use probe::{Report, TargetReport};
use serde::{Deserialize, Serialize};
use snapshot::{Decided, Name, Snapshot, Word};

use super::plan::{NotReplayed, Plan, hindrance};
use crate::scenario::word;

/// What came of a replay.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Outcome {
    /// Whether all targets agree.
    pub agrees: bool,
    /// One for each port of the snapshot's check.
    pub targets: Vec<Target>,
    /// What the replayed host has not.
    pub not_replayed: Vec<NotReplayed>,
}

/// One port, there and here.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Target {
    /// The port.
    pub port: u16,
    /// What lives there, where it is one of OpenShell's services.
    pub label: Option<String>,
    /// What the snapshot's check found.
    pub there: Said,
    /// What the probe finds on the replayed host.
    pub here: Said,
    /// Whether verdict, cause and deciding rule are the same.
    pub agrees: bool,
    /// Why they cannot be the same, where that was to be expected.
    pub cannot: Option<String>,
}

/// An answer about a port.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Said {
    /// The verdict.
    pub verdict: String,
    /// The cause; `ok` has none.
    pub cause: Option<String>,
    /// The rule or policy that decided. Of the replayed host it has the number that it had there.
    pub decided: Option<Decided>,
    /// The setting that it stems from, in its tool's words; a snapshot does not have that of the captured host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_by: Option<String>,
}

impl Said {
    /// The rule or policy in words: `nft ip filter INPUT policy`.
    #[must_use]
    pub fn rule(&self) -> String {
        let Some(it) = &self.decided else { return "-".to_owned() };
        let number = it.rule.map_or_else(|| "policy".to_owned(), |number| format!("rule {number}"));
        format!("{} {} {} {} {number}", it.backend, it.family, it.table, it.chain)
    }

    fn place(&self) -> Option<(&str, &str, &str, &str, Option<usize>)> {
        let it = self.decided.as_ref()?;
        Some((it.backend.as_str(), it.family.as_str(), it.table.as_str(), it.chain.as_str(), it.rule))
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Some(cause) => write!(f, "{} ({cause})", self.verdict),
            None => f.write_str(&self.verdict),
        }
    }
}

impl Outcome {
    /// Compares a report with the snapshot's check. `refused` is what could not be made besides what the plan says.
    pub(super) fn of(snapshot: &Snapshot, plan: &Plan, refused: Vec<NotReplayed>, report: &Report) -> Self {
        let targets: Vec<Target> = snapshot
            .check
            .targets
            .iter()
            .map(|there| {
                let here = report.targets.iter().find(|here| here.port == there.port);
                target(snapshot, plan, there, here)
            })
            .collect();
        let mut not_replayed = plan.not_replayed().to_vec();
        not_replayed.extend(refused);
        Self { agrees: targets.iter().all(|target| target.agrees), targets, not_replayed }
    }
}

fn target(snapshot: &Snapshot, plan: &Plan, there: &snapshot::Target, here: Option<&TargetReport>) -> Target {
    let cannot = hindrance(snapshot, there).map(str::to_owned);
    let captured = Said {
        verdict: there.verdict.to_string(),
        cause: there.cause.as_ref().map(ToString::to_string),
        decided: there.decided.clone(),
        set_by: None,
    };
    let here = here.map_or_else(nothing, |here| said(plan, here));
    let same_rule = snapshot.rules.is_none() || captured.place() == here.place();
    Target {
        port: there.port,
        label: there.label.as_ref().map(ToString::to_string),
        agrees: (&captured.verdict, &captured.cause) == (&here.verdict, &here.cause) && same_rule,
        there: captured,
        here,
        cannot,
    }
}

fn nothing() -> Said {
    Said { verdict: "nothing".to_owned(), cause: None, decided: None, set_by: None }
}

fn said(plan: &Plan, here: &TargetReport) -> Said {
    let decided = here.explanation.as_ref().and_then(|it| it.decided.as_ref()).and_then(|it| {
        let word = |text: &str| Word::new(text).ok();
        Some(Decided {
            packet: word(&it.packet)?,
            backend: word(&it.backend)?,
            family: word(&it.family)?,
            table: Name::new(it.table.as_str()).ok()?,
            chain: Name::new(it.chain.as_str()).ok()?,
            rule: it.rule,
        })
    });
    Said {
        verdict: word(&here.verdict),
        cause: here.cause.as_ref().map(word),
        decided: decided.map(|decided| plan.rules.captured(&decided)),
        set_by: here
            .explanation
            .as_ref()
            .and_then(|it| Some(it.decided.as_ref()?.setting.as_ref()?.text.clone())),
    }
}
