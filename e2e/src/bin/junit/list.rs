//! What a whole run is, as nextest lists it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::merge::Test;

/// The tests of `cargo nextest list --message-format json`.
pub(crate) struct List {
    /// Those that a run without partitions runs.
    pub(crate) wanted: BTreeSet<Test>,
    /// Those that it leaves out because they are marked `#[ignore]`.
    pub(crate) ignored: BTreeSet<Test>,
}

impl List {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
        let list = Self::parse(&text).with_context(|| format!("{} is no list of nextest", path.display()))?;
        // With nothing to compare with, everything would be well.
        ensure!(!list.wanted.is_empty(), "{} has no tests", path.display());
        Ok(list)
    }

    pub(crate) fn parse(text: &str) -> Result<Self> {
        let document: Document = serde_json::from_str(text)?;
        let mut list = Self { wanted: BTreeSet::new(), ignored: BTreeSet::new() };
        for (suite, Suite { cases }) in document.suites {
            for (name, Case { verdict }) in cases {
                let test = Test { suite: suite.clone(), name };
                match verdict {
                    Match { status: Status::Matches, .. } => list.wanted.insert(test),
                    Match { reason: Some(reason), .. } if reason == "ignored" => list.ignored.insert(test),
                    Match { .. } => false,
                };
            }
        }
        Ok(list)
    }
}

// The parts of nextest's document that matter here.

#[derive(Deserialize)]
struct Document {
    #[serde(rename = "rust-suites")]
    suites: BTreeMap<String, Suite>,
}

#[derive(Deserialize)]
struct Suite {
    #[serde(rename = "testcases")]
    cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    #[serde(rename = "filter-match")]
    verdict: Match,
}

#[derive(Deserialize)]
struct Match {
    status: Status,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Status {
    Matches,
    Mismatch,
}
