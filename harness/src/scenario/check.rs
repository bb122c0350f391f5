//! One check of a scenario: the probe, once or several times at once, with noise or without; then the oracle.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use probe::Report;

use super::events::Stage;
use super::file::ScenarioFile;
use super::format::{Expect, Experience};
use super::observer::{Moment, Observer};
use super::oracle;
use super::record::{Check, Recorder};
use super::run::{Answer, Beside, PROBE, RunError, Runner};
use crate::host::{HostCommand, tail};
use crate::noise::Measure;

/// How long a check may take; its own deadline is 30 s unless the file says another.
const CHECK_DEADLINE: Duration = Duration::from_secs(90);

/// What the checks of a scenario have come to.
#[derive(Default)]
pub(super) struct Checked {
    /// By the index of the expectation.
    pub(super) answers: BTreeMap<usize, Answer>,
    /// The same of what a sandbox experienced where the probe was not asked.
    pub(super) experiences: BTreeMap<usize, (Experience, String)>,
    /// The least noise of all checks.
    pub(super) noise: Option<Measure>,
}

impl Runner {
    /// The probe, then the oracle, for the expectations of one check. One after the other: the oracle loads an image and
    /// starts containers, and the probe measures time.
    pub(super) async fn check(
        &self,
        file: &ScenarioFile,
        stage: &mut Stage<'_>,
        at: Option<&str>,
        observer: Option<&dyn Observer>,
        checked: &mut Checked,
        recorder: &mut Recorder,
    ) -> Result<(), RunError> {
        let scenario = &file.scenario;
        let expected: Vec<(usize, &Expect)> =
            scenario.expect.iter().enumerate().filter(|(_, expect)| expect.at.as_deref() == at).collect();
        if expected.is_empty() {
            return Ok(());
        }
        if let Some(vm) = stage.vm {
            // Services that have just started or ended are known to the forwarder then.
            vm.settle().await;
        }
        recorder.before_check(stage).await;
        let (mut reports, mut noise) = (Vec::new(), None);
        if self.asks_probe {
            let begun = Instant::now();
            let asked = self.probe(file, stage, &expected).await;
            recorder.step(format!("check{}", at_name(at)), begun, asked.is_ok());
            (reports, noise) = asked?;
            recorder.checks.push(Check { at: at.map(str::to_owned), reports: reports.clone() });
        }
        if let Some(observer) = observer {
            let named = scenario.check.iter().position(|argument| argument == "--network");
            let network = named.and_then(|index| scenario.check.get(index + 1)).map(String::as_str);
            let moment = Moment { host: stage.host, expected: &expected, user: stage.user, network };
            let begun = Instant::now();
            let looked = observer.checked(moment).await;
            recorder.step(format!("a look at the host{}", at_name(at)), begun, looked.is_ok());
            looked.map_err(RunError::Observer)?;
        }
        let quietest = [checked.noise, noise].into_iter().flatten();
        checked.noise = quietest.min_by_key(|measure| measure.packets_per_second);
        let asked: Vec<&Expect> =
            expected.iter().map(|(_, expect)| *expect).filter(|expect| expect.oracle.is_some()).collect();
        let said = match &self.oracle {
            Some(_) if !asked.is_empty() => {
                let begun = Instant::now();
                let said = oracle::ask(stage.machine, scenario, &asked, stage.network.as_ref()).await;
                recorder.step(format!("oracle{}", at_name(at)), begun, said.is_ok());
                said?
            }
            _ => Vec::new(),
        };
        for (index, expect) in expected {
            let said = said.iter().find(|said| said.port == expect.target.port && expect.oracle.is_some());
            let experience = said.map(|said| (said.experience, said.detail.clone()));
            if !self.asks_probe {
                checked.experiences.extend(experience.map(|experience| (index, experience)));
                continue;
            }
            let mut answer = answer(&reports, expect.target.port)?;
            answer.experience = experience;
            checked.answers.insert(index, answer);
        }
        Ok(())
    }

    /// As many checks as there are to be at once, and how much noise there was.
    async fn probe(
        &self,
        file: &ScenarioFile,
        stage: &mut Stage<'_>,
        expected: &[(usize, &Expect)],
    ) -> Result<(Vec<Report>, Option<Measure>), RunError> {
        let taken: Vec<u16> = file.scenario.expect.iter().map(|expect| expect.target.port).collect();
        let noise = match &self.noise {
            Some(noise) => Some(noise.start(stage.host, &taken).await?),
            None => None,
        };
        let during = stage.during.take();
        let checks = join_all((0..self.checks_at_once).map(|_| probe(command(file, stage, expected))));
        let reports = match during {
            None => checks.await,
            Some(during) => {
                let (reports, happened) = tokio::join!(checks, stage.while_it_runs(&during));
                happened.map_err(|error| RunError::During { source: Box::new(error) })?;
                reports
            }
        };
        // What went wrong with a check is said rather than that there was not enough noise.
        let reports = reports.into_iter().collect::<Result<_, _>>()?;
        let noise = match noise {
            Some(running) => Some(running.stop(stage.host).await?),
            None => None,
        };
        Ok((reports, noise))
    }
}

/// ` at NAME` of a check that has a name.
fn at_name(at: Option<&str>) -> String {
    at.map(|at| format!(" at {at}")).unwrap_or_default()
}

/// `openshell-probe check`, as a user runs it: with a home of its own, which need not be there.
fn command<'host>(
    file: &ScenarioFile,
    stage: &Stage<'host>,
    expected: &[(usize, &Expect)],
) -> HostCommand<'host> {
    let target = |(_, expect): &(usize, &Expect)| {
        let option = if expect.optional { "--optional-port" } else { "--port" };
        [option.to_owned(), expect.target.argument.clone()]
    };
    let command = stage.host.command(PROBE).arg("check").args(expected.iter().flat_map(target));
    let command = command.args(&file.scenario.check).args(["--format", "json"]).deadline(CHECK_DEADLINE);
    match stage.user {
        Some((user, group)) => command.user(user, group).env("HOME", "/home/user"),
        None => command,
    }
}

async fn probe(command: HostCommand<'_>) -> Result<Report, RunError> {
    let output = command.output().await?;
    let no_report = |message: String| RunError::Report {
        code: output.status.code(),
        message,
        said: tail(&String::from_utf8_lossy(&output.stderr), 10),
    };
    let report: Report =
        serde_json::from_slice(&output.stdout).map_err(|error| no_report(error.to_string()))?;
    if output.status.code() != Some(report.exit_code.into()) {
        return Err(no_report(format!("its report says that it ends with {}", report.exit_code)));
    }
    Ok(report)
}

/// What the first report says of a target, and beside it what the others say.
fn answer(reports: &[Report], port: u16) -> Result<Answer, RunError> {
    let target = |report: &Report| {
        let target = report.targets.iter().find(|target| target.port == port).cloned();
        target.ok_or_else(|| RunError::Report {
            code: Some(report.exit_code.into()),
            message: format!("it says nothing of port {port}"),
            said: String::new(),
        })
    };
    let mut targets = reports.iter().map(target).collect::<Result<Vec<_>, _>>()?.into_iter();
    let first = targets.next().ok_or_else(|| RunError::Report {
        code: None,
        message: "no check was made".to_owned(),
        said: String::new(),
    })?;
    let beside = targets.map(|it| Beside { verdict: it.verdict, cause: it.cause, summary: it.summary });
    Ok(Answer {
        verdict: first.verdict,
        cause: first.cause,
        identity: first.identity,
        summary: first.summary,
        hints: first.hints,
        remedy: first.remedy.map(|remedy| remedy.argv.join(" ")),
        experience: None,
        beside: beside.collect(),
    })
}
