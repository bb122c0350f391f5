//! From a host to a snapshot and back to a host: the same verdict, cause and deciding rule.
//!
//! ```text
//!  scenario ─► host A ─► openshell-probe snapshot ─► Snapshot ─► replay: host B ─► openshell-probe explain ─► the same?
//! ```

pub mod table;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use harness::replay::{Outcome, Replay};
use harness::scenario::format::{Event, Expect};
use harness::scenario::{Look, Moment, Observer, Runner, ScenarioFile};
use harness::{Host, Privilege};
use probe::{Report, TargetReport};
use snapshot::Snapshot;

use crate::lab::PROBE;

/// Where the snapshot is in host A, which goes with it.
const FILE: &str = "/tmp/roundtrip.snapshot";

/// Why a scenario is not tried.
const DURING: &str = "what happens during a check is not in a snapshot";

/// What came of a scenario.
#[derive(Debug)]
pub enum Tried {
    /// It went there and back.
    Replayed(Outcome),
    /// A snapshot cannot carry what it is about.
    NotTried(&'static str),
    /// The machine cannot build its host.
    Skipped(String),
}

/// Takes a scenario there and back, with root's hosts: the snapshot is our own.
///
/// # Errors
/// When a host does not come to be, or the probe gives no answer.
pub async fn there_and_back(probe: &Path, file: &ScenarioFile) -> Result<Tried> {
    if file.scenario.events.iter().any(|event| matches!(event, Event::DuringCheck(_))) {
        return Ok(Tried::NotTried(DURING));
    }
    let taker = Taker { check: &file.scenario.check, taken: Mutex::default() };
    // The snapshot checks by itself.
    let outcome = Runner::new(probe).observer_only().run_observed(file, &taker).await?;
    if let Some(reason) = outcome.skipped {
        return Ok(Tried::Skipped(reason));
    }
    let snapshot = taker.taken.into_inner().unwrap_or_else(PoisonError::into_inner);
    let Taken { snapshot, settings } =
        snapshot.with_context(|| format!("{}: no snapshot was taken", file.name()))?;
    let replay = Replay::new(probe).privilege(Privilege::Auto);
    let outcome = replay.run(&snapshot).await.with_context(|| file.name())?;
    for target in outcome.targets.iter().filter(|target| target.agrees && target.there.decided.is_some()) {
        let there =
            settings.iter().find(|(port, _)| *port == target.port).and_then(|(_, text)| text.as_ref());
        let (name, port, here) = (file.name(), target.port, target.here.set_by.as_ref());
        ensure!(there == here, "{name} {port}: set by {there:?} there and by {here:?} here");
    }
    Ok(Tried::Replayed(outcome))
}

/// What is brought from a host.
struct Taken {
    snapshot: Snapshot,
    /// The setting that decides about each port, which a snapshot does not have.
    settings: Vec<(u16, Option<String>)>,
}

/// Takes a snapshot of a scenario's host at its last check.
struct Taker<'a> {
    check: &'a [String],
    taken: Mutex<Option<Taken>>,
}

impl Taker<'_> {
    /// As the scenario's user.
    async fn ask(&self, moment: &Moment<'_>, words: &[&str], targets: &[String]) -> Result<Output> {
        let command = moment.host.command(PROBE).args(words.iter().copied());
        let command = command.args(targets.iter().cloned()).args(self.check.iter().cloned());
        let command = match moment.user {
            Some((user, group)) => command.user(user, group).env("HOME", "/tmp"),
            None => command,
        };
        Ok(command.deadline(std::time::Duration::from_secs(120)).output().await?)
    }

    async fn take(&self, moment: Moment<'_>) -> Result<()> {
        let expected = moment.expected.iter().filter(|(_, expect)| expect.at.is_none());
        let target = |(_, expect): &(usize, &Expect)| {
            let option = if expect.optional { "--optional-port" } else { "--port" };
            [option.to_owned(), expect.target.argument.clone()]
        };
        let targets: Vec<String> = expected.flat_map(target).collect();
        if targets.is_empty() {
            return Ok(());
        }
        let output = self.ask(&moment, &["snapshot", "--force", "-o", FILE], &targets).await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let snapshot = snapshot::read_file(&moment.host.path(FILE))?;
        let mut settings = Vec::new();
        if snapshot.check.targets.iter().any(|target| target.decided.is_some()) {
            let output = self.ask(&moment, &["explain", "--format", "json"], &targets).await?;
            let report: Report = serde_json::from_slice(&output.stdout)
                .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
            let text = |it: &TargetReport| {
                Some(it.explanation.as_ref()?.decided.as_ref()?.setting.as_ref()?.text.clone())
            };
            settings = report.targets.iter().map(|it| (it.port, text(it))).collect();
        }
        let taken = Taken { snapshot, settings };
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = Some(taken);
        Ok(())
    }
}

impl Observer for Taker<'_> {
    fn booted<'a>(&'a self, _: &'a Host) -> Look<'a> {
        Box::pin(async { Ok(()) })
    }

    fn checked<'a>(&'a self, moment: Moment<'a>) -> Look<'a> {
        Box::pin(async move { self.take(moment).await.map_err(Into::into) })
    }
}

/// The corpus of the checkout that this runs in.
#[must_use]
pub fn scenarios() -> PathBuf {
    crate::programs::checkout().join("scenarios")
}
