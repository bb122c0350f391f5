//! What came out of a run, for people and for machines.
//!
//! ```text
//!  Runner::run_recorded ─▶ Recorded ─┬─▶ ScenarioResult ─▶ Results ─┬─▶ JSON
//!                                    │                              ├─▶ page: one HTML file that needs nothing else
//!                                    │                              └─▶ annotations for GitHub
//!                                    └─▶ keep: a folder with all that was left, where something is wrong
//! ```
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use harness::results::{Results, ScenarioResult, keep};
//! use harness::scenario::{Keep, Runner, ScenarioFile, Tally};
//!
//! let file = ScenarioFile::read("e2e/scenarios/firewall/ufw-brev.toml".as_ref())?;
//! let recorded = Runner::new("target/debug/openshell-probe").run_recorded(&file, None, Keep::Wrong).await;
//! let mut tally = Tally::default();
//! let rows = tally.add(&file, recorded.result.as_ref());
//! let mut result = ScenarioResult::new(&file, &recorded, &rows);
//! if result.status.is_failure() {
//!     result.folder = Some(keep("results".as_ref(), &file, &recorded, &rows)?);
//! }
//! std::fs::write("report.html", Results::of(vec![result]).page())?;
//! # Ok(())
//! # }
//! ```

mod folder;
mod github;
mod page;
mod time;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use probe::{Cause, Report, TargetReport, Verdict};
use serde::Serialize;

use crate::scenario::format::{FirewallClass, RouteClass};
use crate::scenario::{Check, Recorded, Row, ScenarioFile, Step};

pub use folder::keep;
pub use github::annotations;

/// Major and minor version of the JSON form. Within a major version fields are only added.
pub const SCHEMA_VERSION: &str = "1.0";

/// A run.
#[derive(Debug, Serialize)]
pub struct Results {
    /// [`SCHEMA_VERSION`].
    pub schema_version: &'static str,
    /// The release of this library.
    pub version: &'static str,
    /// [`BUILD_ID`](crate::BUILD_ID).
    pub build_id: &'static str,
    /// When it began: a date and a time in UTC, as in RFC 3339.
    pub begun: String,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
    /// What made it harder than usual: a group member's rights, noise, several checks at once.
    pub conditions: Vec<String>,
    /// The scenarios, in the order of their files.
    pub scenarios: Vec<ScenarioResult>,
}

/// What came out of one scenario.
#[derive(Debug, Serialize)]
pub struct ScenarioResult {
    /// Its name in tables.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// What it is.
    pub title: String,
    /// Where it comes from.
    pub source: Vec<String>,
    /// What it stands for: its cause.
    pub cause: String,
    /// How a sandbox gets to its host.
    pub route: &'static str,
    /// Which firewall is in force.
    pub firewall: &'static str,
    /// How things came to be so.
    pub lifecycle: String,
    /// Whether it is as expected.
    pub status: Status,
    /// Why it was not run, or not to its end.
    pub reason: Option<String>,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
    /// An answer for each expectation.
    pub targets: Vec<TargetResult>,
    /// What was done, with times.
    pub steps: Vec<Step>,
    /// The probe's reports.
    pub checks: Vec<Check>,
    /// Where everything about it lies, when it was kept.
    pub folder: Option<PathBuf>,
}

/// Whether a scenario is as expected.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// All of it.
    Ok,
    /// Something is not.
    Wrong,
    /// It was not run to its end.
    Error,
    /// The machine cannot build it.
    Skipped,
}

/// What came out for one expectation.
#[derive(Debug, Serialize)]
pub struct TargetResult {
    /// The TCP port.
    pub port: u16,
    /// What lives there.
    pub label: String,
    /// The `check` event that it is about; none for the check after all events.
    pub at: Option<String>,
    /// The line of the expectation in the file.
    pub line: usize,
    /// The expected verdict and cause.
    pub expected: String,
    /// The probe's.
    pub found: String,
    /// The probe's verdict, where there is one.
    pub verdict: Option<Verdict>,
    /// And its cause.
    pub cause: Option<Cause>,
    /// What a real sandbox experienced; `-` where no oracle was asked.
    pub oracle: String,
    /// The same in the sandbox's words.
    pub oracle_detail: Option<String>,
    /// What is not as expected, in words.
    pub mismatches: Vec<String>,
}

impl Status {
    /// Whether somebody has to look at it.
    #[must_use]
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Wrong | Self::Error)
    }

    /// The word in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Wrong => "wrong",
            Self::Error => "error",
            Self::Skipped => "skipped",
        }
    }
}

impl Results {
    /// A run of these scenarios that ends now.
    #[must_use]
    pub fn of(scenarios: Vec<ScenarioResult>) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            version: env!("CARGO_PKG_VERSION"),
            build_id: crate::BUILD_ID,
            begun: time::rfc3339(SystemTime::now()),
            elapsed_ms: 0,
            conditions: Vec::new(),
            scenarios,
        }
    }

    /// Says how long the run took that ends now.
    #[must_use]
    pub fn took(mut self, elapsed: Duration) -> Self {
        self.begun = time::rfc3339(SystemTime::now() - elapsed);
        self.elapsed_ms = millis(elapsed);
        self
    }

    /// Says what made it harder.
    #[must_use]
    pub fn under(mut self, conditions: Vec<String>) -> Self {
        self.conditions = conditions;
        self
    }

    /// One HTML file that needs nothing else.
    #[must_use]
    pub fn page(&self) -> String {
        page::page(self)
    }
}

impl ScenarioResult {
    /// Of what was recorded; `rows` are those that [`Tally::add`](crate::scenario::Tally::add) made of it.
    #[must_use]
    pub fn new(file: &ScenarioFile, recorded: &Recorded, rows: &[Row]) -> Self {
        let scenario = &file.scenario;
        let (status, reason) = match &recorded.result {
            Err(error) => (Status::Error, Some(error.to_string())),
            Ok(outcome) if outcome.skipped.is_some() => (Status::Skipped, outcome.skipped.clone()),
            Ok(_) if rows.iter().any(|row| !row.mismatches.is_empty()) => (Status::Wrong, None),
            Ok(_) => (Status::Ok, None),
        };
        let answers = recorded.result.as_ref().map(|outcome| outcome.answers.as_slice()).unwrap_or_default();
        let target = |(index, row): (usize, &Row)| {
            let expect = scenario.expect.get(index)?;
            let answer = answers.get(index);
            let detail =
                answer.and_then(|answer| answer.experience.as_ref()).map(|(_, detail)| detail.clone());
            Some(TargetResult {
                port: expect.target.port,
                label: expect.target.label.clone(),
                at: expect.at.clone(),
                line: file.expect_lines.get(index).copied().unwrap_or(1),
                expected: row.expected.clone(),
                found: row.found.clone(),
                verdict: answer.map(|answer| answer.verdict),
                cause: answer.and_then(|answer| answer.cause),
                oracle: row.oracle.clone(),
                oracle_detail: detail.filter(|detail| !detail.is_empty()),
                mismatches: row.mismatches.clone(),
            })
        };
        Self {
            name: file.name(),
            path: file.path.clone(),
            title: scenario.title.clone(),
            source: scenario.source.clone(),
            cause: scenario.class.cause.clone(),
            route: route(scenario.class.route),
            firewall: firewall(scenario.class.firewall),
            lifecycle: scenario.class.lifecycle.clone(),
            status,
            reason,
            elapsed_ms: recorded.steps.iter().map(|step| step.at_ms + step.took_ms).max().unwrap_or(0),
            targets: rows.iter().enumerate().filter_map(target).collect(),
            steps: recorded.steps.clone(),
            checks: recorded.checks.clone(),
            folder: None,
        }
    }

    /// What the probe reported of a target, and the report around it.
    #[must_use]
    pub fn report(&self, target: &TargetResult) -> Option<(&Report, &TargetReport)> {
        let report = self.checks.iter().find(|check| check.at == target.at)?.reports.first()?;
        Some((report, report.targets.iter().find(|it| it.port == target.port)?))
    }
}

fn route(route: RouteClass) -> &'static str {
    match route {
        RouteClass::BridgeGateway => "bridge_gateway",
        RouteClass::HostGateway => "host_gateway",
        RouteClass::HostGatewayIp => "host_gateway_ip",
        RouteClass::None => "none",
    }
}

fn firewall(firewall: FirewallClass) -> &'static str {
    match firewall {
        FirewallClass::None => "none",
        FirewallClass::Ufw => "ufw",
        FirewallClass::Iptables => "iptables",
        FirewallClass::Nft => "nft",
        FirewallClass::Firewalld => "firewalld",
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests;
