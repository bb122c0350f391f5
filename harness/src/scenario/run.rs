//! Runs a scenario: boots the host, makes the events happen, asks the probe and the oracle.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use probe::{Cause, Report, Verdict};

use super::events::{EventError, Stage};
use super::file::ScenarioFile;
use super::format::{Event, Expect, Experience};
use super::observer::{Moment, Observer};
use super::oracle::{self, OracleError};
use super::place::Place;
use crate::host::{BootError, ExecError, Host, tail};
use crate::vm::VmError;

/// Where the probe is in a host.
pub(super) const PROBE: &str = "/usr/local/bin/openshell-probe";

/// How long a check may take; its own deadline is 30 s unless the file says another.
const CHECK_DEADLINE: Duration = Duration::from_secs(90);

/// Runs scenarios with a probe and, where there is one, the oracle.
#[derive(Clone, Debug)]
pub struct Runner {
    probe: PathBuf,
    oracle: Option<PathBuf>,
    user: User,
}

/// Who runs the probe.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum User {
    /// Root.
    #[default]
    Root,
    /// User 1000 in the group of the engine's socket.
    GroupMember,
}

/// What came out of a scenario.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Why it was not run, when the machine lacks something that it needs.
    pub skipped: Option<String>,
    /// An answer for each expectation, in their order.
    pub answers: Vec<Answer>,
    /// How long it took, with the boot.
    pub elapsed: Duration,
}

/// What the probe and the oracle said of one target.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The probe's verdict.
    pub verdict: Verdict,
    /// The probe's cause.
    pub cause: Option<Cause>,
    /// The probe's summary.
    pub summary: String,
    /// The probe's hints.
    pub hints: Vec<String>,
    /// The probe's remedy, as a command line.
    pub remedy: Option<String>,
    /// What a real sandbox experienced, and in its own words; `None` where no oracle was asked.
    pub experience: Option<(Experience, String)>,
}

/// Why a scenario did not come to an outcome.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The host did not boot.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The virtual machine, or the machine of its user, did not boot.
    #[error(transparent)]
    Vm(#[from] VmError),
    /// The host could not be given a gateway to be onboarded.
    #[error("bring the gateway's program: {0}")]
    GatewayProgram(#[source] std::io::Error),
    /// It could not be tried whether the machine has what the scenario needs.
    #[error("skip_unless: {0}")]
    Capability(#[source] ExecError),
    /// An event did not happen.
    #[error("{path}:{line}: {source}", path = .path.display())]
    Event {
        /// The file.
        path: PathBuf,
        /// The line of the event.
        line: usize,
        /// Why.
        source: Box<EventError>,
    },
    /// What should happen during a check did not.
    #[error("during_check: {source}")]
    During {
        /// Why.
        source: Box<EventError>,
    },
    /// The probe did not run to its end.
    #[error(transparent)]
    Probe(#[from] ExecError),
    /// The probe said something that is no report.
    #[error("the probe ended with {code:?} and no report: {message}{said}")]
    Report {
        /// Its exit code.
        code: Option<i32>,
        /// What is wrong.
        message: String,
        /// What it said.
        said: String,
    },
    /// There is no answer of the oracle.
    #[error(transparent)]
    Oracle(#[from] OracleError),
    /// An observer did not see what it wanted to see.
    #[error("observe the host: {0}")]
    Observer(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The host did not end well.
    #[error("end the host: {0}")]
    Shutdown(#[source] std::io::Error),
}

impl Runner {
    /// Runs them with this probe, as root, and without an oracle.
    #[must_use]
    pub fn new(probe: impl Into<PathBuf>) -> Self {
        Self { probe: probe.into(), oracle: None, user: User::default() }
    }

    /// Asks this oracle too.
    #[must_use]
    pub fn oracle(mut self, oracle: impl Into<PathBuf>) -> Self {
        self.oracle = Some(oracle.into());
        self
    }

    /// Runs the probe as this user.
    #[must_use]
    pub fn user(mut self, user: User) -> Self {
        self.user = user;
        self
    }

    /// Runs one.
    ///
    /// # Errors
    /// When it does not come to an outcome: an outcome that is not the expected one is none of these.
    pub async fn run(&self, file: &ScenarioFile) -> Result<Outcome, RunError> {
        self.watched(file, None).await
    }

    /// Runs one while somebody looks at its host.
    ///
    /// # Errors
    /// Also when that fails.
    pub async fn run_observed(
        &self,
        file: &ScenarioFile,
        observer: &dyn Observer,
    ) -> Result<Outcome, RunError> {
        self.watched(file, Some(observer)).await
    }

    async fn watched(
        &self,
        file: &ScenarioFile,
        observer: Option<&dyn Observer>,
    ) -> Result<Outcome, RunError> {
        let begun = Instant::now();
        let place = Place::boot(&file.scenario, &self.probe, self.oracle.as_deref()).await?;
        let outcome = self.play(file, &place, observer).await;
        place.shutdown().await.map_err(RunError::Shutdown)?;
        Ok(Outcome { elapsed: begun.elapsed(), ..outcome? })
    }

    async fn play(
        &self,
        file: &ScenarioFile,
        place: &Place,
        observer: Option<&dyn Observer>,
    ) -> Result<Outcome, RunError> {
        let scenario = &file.scenario;
        for capability in &scenario.skip_unless {
            if let Some(reason) = capability.missing(place.user()).await.map_err(RunError::Capability)? {
                return Ok(Outcome { skipped: Some(reason.to_owned()), ..Outcome::default() });
            }
        }
        let failed = |index: usize| {
            move |source| RunError::Event {
                path: file.path.clone(),
                line: file.event_line(index),
                source: Box::new(source),
            }
        };
        if let Some(observer) = observer {
            observer.booted(place.user()).await.map_err(RunError::Observer)?;
        }
        let mut stage = Stage::new(place, self.user_in(place.user()).await?);
        let mut answers = Vec::new();
        for (index, event) in scenario.events.iter().enumerate() {
            if let Event::Check(name) = event {
                answers.extend(self.check(file, &mut stage, Some(name), observer).await?);
            } else {
                stage.perform(event).await.map_err(failed(index))?;
            }
        }
        answers.extend(self.check(file, &mut stage, None, observer).await?);
        // In the order of the expectations.
        answers.sort_by_key(|(index, _)| *index);
        let answers = answers.into_iter().map(|(_, answer)| answer).collect();
        Ok(Outcome { answers, ..Outcome::default() })
    }

    async fn user_in(&self, host: &Host) -> Result<Option<(u32, u32)>, RunError> {
        if self.user == User::Root {
            return Ok(None);
        }
        let group = host.command("stat").args(["-c", "%g", "/run/docker.sock"]).run().await?;
        // A group that cannot be told is root's: the probe says then that it may not open the socket.
        Ok(Some((1000, group.trim().parse().unwrap_or(0))))
    }

    /// The probe, then the oracle, for the expectations of one check. One after the other: the oracle loads an image and
    /// starts containers, and the probe measures time.
    async fn check(
        &self,
        file: &ScenarioFile,
        stage: &mut Stage<'_>,
        at: Option<&str>,
        observer: Option<&dyn Observer>,
    ) -> Result<Vec<(usize, Answer)>, RunError> {
        let scenario = &file.scenario;
        let expected: Vec<(usize, &Expect)> =
            scenario.expect.iter().enumerate().filter(|(_, expect)| expect.at.as_deref() == at).collect();
        if expected.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(vm) = stage.vm {
            // Services that have just started or ended are known to the forwarder then.
            vm.settle().await;
        }
        let report = probe(file, stage, &expected).await?;
        if let Some(observer) = observer {
            let named = scenario.check.iter().position(|argument| argument == "--network");
            let network = named.and_then(|index| scenario.check.get(index + 1)).map(String::as_str);
            let moment = Moment { host: stage.host, expected: &expected, user: stage.user, network };
            observer.checked(moment).await.map_err(RunError::Observer)?;
        }
        let asked: Vec<&Expect> =
            expected.iter().map(|(_, expect)| *expect).filter(|expect| expect.oracle.is_some()).collect();
        let said = match &self.oracle {
            Some(_) if !asked.is_empty() => {
                oracle::ask(stage.machine, scenario, &asked, stage.network.as_ref()).await?
            }
            _ => Vec::new(),
        };
        let answer = |(index, expect): &(usize, &Expect)| {
            let port = expect.target.port;
            let target = report.targets.iter().find(|target| target.port == port);
            let target = target.ok_or_else(|| RunError::Report {
                code: Some(report.exit_code.into()),
                message: format!("it says nothing of port {port}"),
                said: String::new(),
            })?;
            let said = said.iter().find(|said| said.port == port && expect.oracle.is_some());
            Ok((
                *index,
                Answer {
                    verdict: target.verdict,
                    cause: target.cause,
                    summary: target.summary.clone(),
                    hints: target.hints.clone(),
                    remedy: target.remedy.as_ref().map(|remedy| remedy.argv.join(" ")),
                    experience: said.map(|said| (said.experience, said.detail.clone())),
                },
            ))
        };
        expected.iter().map(answer).collect()
    }
}

/// `openshell-probe check`, as a user runs it.
async fn probe(
    file: &ScenarioFile,
    stage: &mut Stage<'_>,
    expected: &[(usize, &Expect)],
) -> Result<Report, RunError> {
    let target = |(_, expect): &(usize, &Expect)| {
        let option = if expect.optional { "--optional-port" } else { "--port" };
        [option.to_owned(), expect.target.argument.clone()]
    };
    let mut command = stage.host.command(PROBE).arg("check").args(expected.iter().flat_map(target));
    command = command.args(&file.scenario.check).args(["--format", "json"]).deadline(CHECK_DEADLINE);
    if let Some((user, group)) = stage.user {
        command = command.user(user, group);
    }
    let output = match stage.during.take() {
        None => command.output().await?,
        Some(during) => {
            let (output, happened) = tokio::join!(command.output(), stage.while_it_runs(&during));
            happened.map_err(|error| RunError::During { source: Box::new(error) })?;
            output?
        }
    };
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
