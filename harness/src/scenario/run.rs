//! Runs a scenario: boots the host, makes the events happen, asks the probe and the oracle.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use probe::{Cause, Identity, Verdict};

use super::check::Checked;
use super::compare::compare;
use super::events::{EventError, Stage};
use super::file::ScenarioFile;
use super::format::{Event, Experience};
use super::observer::Observer;
use super::oracle::OracleError;
use super::place::Place;
use super::record::{Keep, Recorded, Recorder};
use crate::host::{BootError, ExecError, Host, HostBuilder};
use crate::image::Image;
use crate::noise::{self, Noise, NoiseError};
use crate::replay::ReplayError;
use crate::vm::VmError;

/// Where the probe is in a host.
pub(super) const PROBE: &str = "/usr/local/bin/openshell-probe";

/// Runs scenarios with a probe and, where there is one, the oracle.
#[derive(Clone, Debug)]
pub struct Runner {
    probe: PathBuf,
    pub(super) oracle: Option<PathBuf>,
    user: User,
    pub(super) noise: Option<Noise>,
    pub(super) checks_at_once: usize,
    /// Not so where only an observer looks.
    pub(super) asks_probe: bool,
    image: Option<Image>,
    binds: Vec<(PathBuf, PathBuf)>,
    trusted: bool,
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
    /// What a real sandbox experienced, by the places of the expectations, where the probe was not asked.
    pub experiences: BTreeMap<usize, (Experience, String)>,
    /// How much noise there was, in the check that had the least; `None` where none was made.
    pub noise: Option<noise::Measure>,
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
    /// What vouches for the service, as the probe says.
    pub identity: Identity,
    /// The probe's summary.
    pub summary: String,
    /// The probe's hints.
    pub hints: Vec<String>,
    /// The probe's remedy, as a command line.
    pub remedy: Option<String>,
    /// What a real sandbox experienced, and in its own words; `None` where no oracle was asked.
    pub experience: Option<(Experience, String)>,
    /// What the checks that were made at the same time say.
    pub beside: Vec<Beside>,
}

/// What one more check says of the same target, at the same time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Beside {
    /// The probe's verdict.
    pub verdict: Verdict,
    /// The probe's cause.
    pub cause: Option<Cause>,
    /// The probe's summary.
    pub summary: String,
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
    /// The host lacks what the scenario needs.
    #[error("{path}: {reason}", path = .path.display())]
    Lacks {
        /// The file.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
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
    /// The host could not be made of its snapshot.
    #[error("replay: {0}")]
    Replay(#[from] Box<ReplayError>),
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
    /// There was no noise, or not enough of it.
    #[error(transparent)]
    Noise(#[from] NoiseError),
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
    /// Runs them with this probe, as root, one check at a time in a host that has nothing else to do, and without an
    /// oracle.
    #[must_use]
    pub fn new(probe: impl Into<PathBuf>) -> Self {
        Self {
            probe: probe.into(),
            oracle: None,
            user: User::default(),
            noise: None,
            checks_at_once: 1,
            asks_probe: true,
            image: None,
            binds: Vec::new(),
            trusted: false,
        }
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

    /// Makes noise in the host while the probe runs.
    #[must_use]
    pub fn noise(mut self, noise: Noise) -> Self {
        self.noise = Some(noise);
        self
    }

    /// Runs the probe so often at the same time; all have to say the same.
    #[must_use]
    pub fn checks_at_once(mut self, checks: usize) -> Self {
        self.checks_at_once = checks.max(1);
        self
    }

    /// Does not run the probe in checks: an observer alone looks, and the oracle is asked. An onboarding runs it all the same.
    #[must_use]
    pub fn observer_only(mut self) -> Self {
        self.asks_probe = false;
        self
    }

    /// Builds hosts of snapshots with the same rights as others; without it they are an ordinary user's.
    #[must_use]
    pub fn trust_snapshots(mut self) -> Self {
        self.trusted = true;
        self
    }

    /// Builds hosts of this image instead of the default one.
    #[must_use]
    pub fn image(mut self, image: Image) -> Self {
        self.image = Some(image);
        self
    }

    /// Lets the hosts see a file or folder of the machine at that path, for reading only.
    #[must_use]
    pub fn bind(mut self, source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        self.binds.push((source.into(), target.into()));
        self
    }

    /// Runs one.
    ///
    /// # Errors
    /// When it does not come to an outcome: an outcome that is not the expected one is none of these.
    pub async fn run(&self, file: &ScenarioFile) -> Result<Outcome, RunError> {
        self.watched(file, None, &mut Recorder::new(file, None)).await
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
        self.watched(file, Some(observer), &mut Recorder::new(file, None)).await
    }

    /// Runs one and writes down what happens, for [`results`](crate::results).
    pub async fn run_recorded(
        &self,
        file: &ScenarioFile,
        observer: Option<&dyn Observer>,
        keep: Keep,
    ) -> Recorded {
        let mut recorder = Recorder::new(file, Some(keep));
        let result = self.watched(file, observer, &mut recorder).await;
        Recorded { result, steps: recorder.steps, checks: recorder.checks, files: recorder.files }
    }

    async fn watched(
        &self,
        file: &ScenarioFile,
        observer: Option<&dyn Observer>,
        recorder: &mut Recorder,
    ) -> Result<Outcome, RunError> {
        let begun = Instant::now();
        let more = |host: HostBuilder| {
            let host = self.image.iter().fold(host, |host, image| host.image(image.clone()));
            self.binds.iter().fold(host, |host, (source, target)| host.bind(source, target))
        };
        let booted = Place::boot(file, self.trusted, &self.probe, self.oracle.as_deref(), more).await;
        let place = booted.inspect_err(|_| recorder.step("boot", begun, false))?;
        recorder.booted(&place);
        let outcome = self.play(file, &place, observer, recorder).await;
        let ending = Instant::now();
        let ended = place.shutdown().await;
        recorder.step("end of the host", ending, ended.is_ok());
        // What went wrong before is said rather than what went wrong then.
        let outcome = outcome?;
        ended.map_err(RunError::Shutdown)?;
        Ok(Outcome { elapsed: begun.elapsed(), ..outcome })
    }

    async fn play(
        &self,
        file: &ScenarioFile,
        place: &Place,
        observer: Option<&dyn Observer>,
        recorder: &mut Recorder,
    ) -> Result<Outcome, RunError> {
        let scenario = &file.scenario;
        for capability in &scenario.skip_unless {
            if let Some(reason) = capability.missing(place.user()).await.map_err(RunError::Capability)? {
                return Ok(Outcome { skipped: Some(reason.to_owned()), ..Outcome::default() });
            }
        }
        if let Some(observer) = observer {
            let begun = Instant::now();
            let looked = observer.booted(place.user()).await;
            recorder.step("a look at the booted host", begun, looked.is_ok());
            looked.map_err(RunError::Observer)?;
        }
        let mut stage = Stage::new(place, self.user_in(place.user()).await?);
        if let Some(snapshot) = &file.snapshot {
            let begun = Instant::now();
            let made = stage.replay(snapshot).await;
            recorder.step("a host of the snapshot", begun, made.is_ok());
            made?;
        }
        let outcome = self.perform(file, &mut stage, observer, recorder).await;
        // While the services still run.
        let wrong = match &outcome {
            Ok(outcome) => {
                self.asks_probe && compare(scenario, outcome).iter().any(|row| !row.mismatches.is_empty())
            }
            Err(_) => true,
        };
        let mut ports: Vec<u16> = scenario.expect.iter().map(|expect| expect.target.port).collect();
        ports.dedup();
        recorder.end(&stage, wrong, &ports).await;
        outcome
    }

    /// The events, and the checks among them and after them.
    async fn perform(
        &self,
        file: &ScenarioFile,
        stage: &mut Stage<'_>,
        observer: Option<&dyn Observer>,
        recorder: &mut Recorder,
    ) -> Result<Outcome, RunError> {
        let mut checked = Checked::default();
        for (index, event) in file.scenario.events.iter().enumerate() {
            if let Event::Check(name) = event {
                self.check(file, stage, Some(name), observer, &mut checked, recorder).await?;
                continue;
            }
            let (begun, line) = (Instant::now(), file.event_line(index));
            let performed = stage.perform(event).await;
            recorder.event(line, begun, performed.is_ok());
            let path = file.path.clone();
            performed.map_err(|source| RunError::Event { path, line, source: Box::new(source) })?;
        }
        self.check(file, stage, None, observer, &mut checked, recorder).await?;
        let answers = checked.answers.into_values().collect();
        let (noise, experiences) = (checked.noise, checked.experiences);
        Ok(Outcome { answers, noise, experiences, ..Outcome::default() })
    }

    async fn user_in(&self, host: &Host) -> Result<Option<(u32, u32)>, RunError> {
        if self.user == User::Root {
            return Ok(None);
        }
        let group = host.command("stat").args(["-c", "%g", "/run/docker.sock"]).run().await?;
        // A group that cannot be told is root's: the probe says then that it may not open the socket.
        Ok(Some((1000, group.trim().parse().unwrap_or(0))))
    }
}
