//! The upstream probes over the corpus: each scenario's host is observed at each of its checks.

use std::error::Error;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use harness::Host;
use harness::scenario::format::{Event, Expect};
use harness::scenario::{Answer as Ours, Look, Moment, Observer, Outcome, ScenarioFile};
use probe::{Cause, Verdict};

use super::Truth;
use super::answer::{Answer, Reason};
use super::observation::Observation;
use super::record::Recorder;
use super::table::Row;

/// Records at every check of one scenario.
#[derive(Debug)]
pub struct Watcher {
    observer: PathBuf,
    seen: Mutex<Vec<(usize, Observation)>>,
}

impl Watcher {
    /// `observer` is the program of that name of this package.
    #[must_use]
    pub fn new(observer: impl Into<PathBuf>) -> Self {
        Self { observer: observer.into(), seen: Mutex::default() }
    }

    /// What was seen, with the place of its expectation in the scenario.
    #[must_use]
    pub fn into_seen(self) -> Vec<(usize, Observation)> {
        self.seen.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    async fn record(&self, moment: Moment<'_>) -> Result<()> {
        let mut recorder = Recorder::on(moment.host).user(moment.user);
        if let Some(network) = moment.network {
            recorder = recorder.network(network);
        }
        for (index, expect) in moment.expected {
            let seen = recorder.take(expect.target.port).await?;
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).push((*index, seen));
        }
        Ok(())
    }
}

impl Observer for Watcher {
    fn booted<'a>(&'a self, host: &'a Host) -> Look<'a> {
        Box::pin(async { Recorder::prepare(host, &self.observer).await.map_err(boxed) })
    }

    fn checked<'a>(&'a self, moment: Moment<'a>) -> Look<'a> {
        Box::pin(async move { self.record(moment).await.map_err(boxed) })
    }
}

fn boxed(error: anyhow::Error) -> Box<dyn Error + Send + Sync> {
    error.into()
}

/// A row for each expectation that was observed and can be judged.
#[must_use]
pub fn rows(file: &ScenarioFile, outcome: &Outcome, mut seen: Vec<(usize, Observation)>) -> Vec<Row> {
    seen.sort_by_key(|(index, _)| *index);
    let row = |(index, seen): (usize, Observation)| {
        let expect = file.scenario.expect.get(index)?;
        let ours = outcome.answers.get(index)?;
        if !is_judged(file, expect) {
            return None;
        }
        let experience = ours.experience.as_ref().map(|(experience, _)| *experience);
        let truth = Truth::of(expect, experience);
        let score = as_answer(ours).score(truth);
        Some(Row::of(name(file, expect), expect.reason(), truth, &seen, Some(score)))
    };
    seen.into_iter().filter_map(row).collect()
}

/// The names of the rows that a scenario has where the machine can build it.
#[must_use]
pub fn names(file: &ScenarioFile) -> Vec<String> {
    let judged = file.scenario.expect.iter().filter(|expect| is_judged(file, expect));
    judged.map(|expect| name(file, expect)).collect()
}

/// Where something happens during the probe's check, an observation is one of afterwards. Only the oracle's word is about
/// the same moment. On the machine of a virtual machine's user there is no sandbox to observe.
fn is_judged(file: &ScenarioFile, expect: &Expect) -> bool {
    if is_in_a_vm(file) {
        return false;
    }
    let moves = file.scenario.events.iter().any(|event| matches!(event, Event::DuringCheck(_)));
    !moves || expect.oracle.is_some()
}

fn is_in_a_vm(file: &ScenarioFile) -> bool {
    file.scenario.persona.machine().is_some()
}

fn name(file: &ScenarioFile, expect: &Expect) -> String {
    let at = expect.at.as_ref().map(|at| format!(", {at}")).unwrap_or_default();
    format!("{} {}{at}", file.name(), expect.target.port)
}

/// Our answer by the same measure: what says that it could not tell, or that it did not look, is a warning.
fn as_answer(ours: &Ours) -> Answer {
    match ours.verdict {
        Verdict::Ok => Answer::OK,
        Verdict::NetworkNotFound => Answer::stops(Reason::NetworkNotFound),
        Verdict::ProbeUnavailable | Verdict::Skipped => Answer::WARNS,
        _ if ours.cause.is_some_and(Cause::is_firewall) => Answer::BLAMES,
        _ => Answer::stops(Reason::TcpFailed),
    }
}
