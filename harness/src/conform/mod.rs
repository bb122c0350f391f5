//! Any command as the probe: run over the corpus, in each scenario's host, and scored as all probes are.
//!
//! ```text
//!  scenario ─▶ host, events ─▶ CMD {network} {port} ─▶ exit code, output ── Map ──▶ healthy, firewall, failed, unknown
//!      │                           (in the host)                                      │
//!      └── what a real sandbox experiences, whose fault it is ──▶ Truth ──────────────┴──▶ right, false blame, …
//! ```
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use harness::conform::{Command, Conform, Map};
//! use harness::scenario::{Runner, ScenarioFile};
//!
//! let map = Map::read("docs/conform/nc.toml".as_ref())?;
//! let command = Command::new(["/usr/bin/my-probe", "{network}", "{port}"])?;
//! let conform = Conform::new(Runner::new("target/debug/openshell-probe"), command, map);
//! let file = ScenarioFile::read("e2e/scenarios/firewall/ufw-brev.toml".as_ref())?;
//! println!("{:?}", conform.run(&file).await?);
//! # Ok(())
//! # }
//! ```

mod ask;
mod map;
mod score;
mod table;

use std::error::Error;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::host::{ExecError, Host};
use crate::scenario::format::Expect;
use crate::scenario::{Look, Moment, Observer, RunError, Runner, ScenarioFile};
use ask::{End, ask};

pub use map::{Ended, Map, MapError, Meaning};
pub use score::{Conclusion, Effect, Score, Truth};
pub use table::{Table, left_out_always};

/// How long loading an image may take.
const LOAD_DEADLINE: Duration = Duration::from_secs(60);

/// So much of what a command said is shown, in characters.
const SHOWN: usize = 200;

/// A command line with `{network}`, `{port}` and `{alias}` where their values go.
#[derive(Clone, Debug, Serialize)]
pub struct Command(Vec<String>);

/// A command line that cannot be a probe's.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is none.
    #[error("there is no command\nhint: conform --map FILE -- CMD {{network}} {{port}}")]
    Empty,
    /// It would be asked of every port in the same words.
    #[error(
        "the command has no {{port}}, so it cannot know which port is meant\nhint: conform --map FILE -- CMD {{network}} {{port}}"
    )]
    NoPort,
}

impl Command {
    /// Of its words.
    ///
    /// # Errors
    /// When there is none, or none has `{port}`.
    pub fn new(words: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, CommandError> {
        let words: Vec<String> = words.into_iter().map(Into::into).collect();
        if words.is_empty() {
            return Err(CommandError::Empty);
        }
        if !words.iter().any(|word| word.contains("{port}")) {
            return Err(CommandError::NoPort);
        }
        Ok(Self(words))
    }

    fn of(&self, network: &str, port: u16) -> Vec<String> {
        let fill = |word: &String| {
            let word = word.replace("{network}", network).replace("{port}", &port.to_string());
            word.replace("{alias}", probe::OPENSHELL_ALIAS)
        };
        self.0.iter().map(fill).collect()
    }

    /// As it was given.
    #[must_use]
    pub fn words(&self) -> &[String] {
        &self.0
    }
}

/// Asks a command about scenarios.
#[derive(Clone, Debug)]
pub struct Conform {
    runner: Runner,
    command: Command,
    map: Map,
    archive: Option<PathBuf>,
}

/// What a command said of one port of one scenario, and what that is worth.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Answer {
    /// The scenario's name.
    pub scenario: String,
    /// The port.
    pub port: u16,
    /// The `check` event that it is about; none for the state after all events.
    pub at: Option<String>,
    /// What is so, in a word of our probe's: `ok`, a cause, or a verdict without one.
    pub is: String,
    /// By what it is measured.
    pub truth: Truth,
    /// What it says by the map; nothing where no rule fits, or it was ended.
    pub meaning: Option<Meaning>,
    /// How it ended, in words.
    pub ended: String,
    /// What that is worth.
    pub score: Score,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
}

/// What came of a scenario.
#[derive(Debug)]
pub enum Asked {
    /// The command was asked.
    Answers(Vec<Answer>),
    /// It was not, for this reason.
    LeftOut(String),
}

/// Why nothing came of a scenario.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConformError {
    /// The command is not in the host, or cannot be started there.
    #[error(
        "the command cannot be started in a host: {0}\nhint: a host has a userland of its own: --bind FILE lets it see a file of this machine, --image another userland"
    )]
    NotStarted(String),
    /// The host did not come to be, or an event did not happen.
    #[error(transparent)]
    Run(RunError),
}

impl Conform {
    /// Asks that command. `runner` says which image hosts have, what they see of the machine, and which oracle is asked. The probe
    /// in it runs in onboardings only.
    #[must_use]
    pub fn new(runner: Runner, command: Command, map: Map) -> Self {
        Self { runner: runner.observer_only(), command, map, archive: None }
    }

    /// Loads an archive of `docker save` into each engine first: hosts reach no registry.
    #[must_use]
    pub fn load_image(mut self, archive: impl Into<PathBuf>) -> Self {
        self.archive = Some(archive.into());
        self
    }

    /// Asks it about one scenario: of each port at each check.
    ///
    /// # Errors
    /// When the host does not come to be, or the command cannot be started. How it ends is no error.
    pub async fn run(&self, file: &ScenarioFile) -> Result<Asked, ConformError> {
        if let Some(reason) = left_out_always(file) {
            return Ok(Asked::LeftOut(reason.to_owned()));
        }
        let asker = Asker { conform: self, said: Mutex::default(), not_started: Mutex::default() };
        let outcome = self.runner.run_observed(file, &asker).await;
        if let Some(message) = asker.not_started.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(ConformError::NotStarted(message));
        }
        let outcome = outcome.map_err(ConformError::Run)?;
        if let Some(reason) = outcome.skipped {
            return Ok(Asked::LeftOut(reason));
        }
        let mut said = asker.said.into_inner().unwrap_or_else(PoisonError::into_inner);
        said.sort_by_key(|said| said.index);
        let answer = |said: Said| {
            let expect: &Expect = file.scenario.expect.get(said.index)?;
            let experience = outcome.experiences.get(&said.index).map(|(experience, _)| *experience);
            let truth = Truth::of(expect, experience);
            let conclusion = said.meaning.map_or(Conclusion::NONE, Meaning::conclusion);
            Some(Answer {
                scenario: file.name(),
                port: expect.target.port,
                at: expect.at.clone(),
                is: expect.reason(),
                truth,
                meaning: said.meaning,
                ended: said.ended,
                score: conclusion.score(truth),
                elapsed_ms: u64::try_from(said.elapsed.as_millis()).unwrap_or(u64::MAX),
            })
        };
        Ok(Asked::Answers(said.into_iter().filter_map(answer).collect()))
    }
}

struct Said {
    /// The place of the expectation in the scenario.
    index: usize,
    meaning: Option<Meaning>,
    ended: String,
    elapsed: Duration,
}

struct Asker<'a> {
    conform: &'a Conform,
    said: Mutex<Vec<Said>>,
    not_started: Mutex<Option<String>>,
}

impl Asker<'_> {
    async fn load(&self, host: &Host) -> Result<(), Box<dyn Error + Send + Sync>> {
        if let Some(archive) = &self.conform.archive {
            let load = host.command("docker").arg("load").stdin(File::open(archive)?);
            load.deadline(LOAD_DEADLINE).run().await?;
        }
        Ok(())
    }

    async fn ask(&self, moment: Moment<'_>) -> Result<(), ExecError> {
        let Conform { command, map, .. } = self.conform;
        let network = moment.network.unwrap_or(probe::DEFAULT_NETWORK);
        for (index, expect) in moment.expected {
            let mut words = command.of(network, expect.target.port).into_iter();
            let Some(program) = words.next() else { continue };
            let mut line = moment.host.command(program).args(words);
            if let Some((user, group)) = moment.user {
                line = line.user(user, group).env("HOME", "/home/user");
            }
            let (end, elapsed) = match ask(line, map.time_limit(), map.output_limit()).await {
                Err(ExecError::NotStarted { argv, source }) => {
                    let message = format!("{argv}: {source}");
                    *self.not_started.lock().unwrap_or_else(PoisonError::into_inner) = Some(message);
                    return Ok(());
                }
                asked => asked?,
            };
            let (meaning, ended) = match end {
                End::Ended(ended) => (map.meaning(&ended), words_of(&ended)),
                End::TimedOut => (None, format!("not done within {:?}", map.time_limit())),
                End::TooMuch => (None, format!("said more than {} kB", map.output_limit() / 1024)),
            };
            let said = Said { index: *index, meaning, ended, elapsed };
            self.said.lock().unwrap_or_else(PoisonError::into_inner).push(said);
        }
        Ok(())
    }
}

/// `exit 1: the last line of what it said`.
fn words_of(ended: &Ended) -> String {
    let last = |text: &str| text.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned);
    let said = last(&ended.stderr).or_else(|| last(&ended.stdout)).unwrap_or_default();
    let said: String = probe::sanitize(&said).chars().take(SHOWN).collect();
    if said.is_empty() { format!("exit {}", ended.code) } else { format!("exit {}: {said}", ended.code) }
}

impl Observer for Asker<'_> {
    fn booted<'a>(&'a self, host: &'a Host) -> Look<'a> {
        Box::pin(self.load(host))
    }

    fn checked<'a>(&'a self, moment: Moment<'a>) -> Look<'a> {
        Box::pin(async move { self.ask(moment).await.map_err(Into::into) })
    }
}

impl Asked {
    /// Whether an answer is a wrong one.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        matches!(self, Self::Answers(answers) if answers.iter().any(|answer| answer.score.is_wrong()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::format::Event;

    #[test]
    fn a_command_is_told_network_and_port() {
        let command = Command::new(["sh", "-c", "probe {alias}:{port}", "{network}"]).unwrap();
        let told = ["sh", "-c", "probe host.openshell.internal:8080", "net"];
        assert_eq!(command.of("net", 8080), told);
        assert!(Command::new(["probe", "{network}"]).unwrap_err().to_string().contains("{port}"));
        assert!(Command::new(Vec::<String>::new()).is_err());
    }

    #[test]
    fn the_last_line_that_was_said_is_shown() {
        let ended = |stdout: &str, stderr: &str| {
            words_of(&Ended { code: 1, stdout: stdout.to_owned(), stderr: stderr.to_owned() })
        };
        assert_eq!(ended("", ""), "exit 1");
        assert_eq!(ended("out\n", ""), "exit 1: out");
        assert_eq!(ended("out\n", "first\nlast\n\n"), "exit 1: last");
        assert!(!ended("", "\u{1b}[2J").contains('\u{1b}'));
    }

    /// `conform` leaves them out, and says so.
    #[test]
    fn what_happens_during_our_own_check_is_left_out() {
        let text = include_str!("../results/tests/scenario.toml");
        let file = |text: &str| ScenarioFile::parse("a/b.toml".as_ref(), text).unwrap();
        assert_eq!(left_out_always(&file(text)), None);
        let moving = text.replace("events = [", "events = [\n  { during_check = \"engine_kill\" },");
        assert!(left_out_always(&file(&moving)).is_some());
        let Event::DuringCheck(_) = &file(&moving).scenario.events[0] else { panic!("another event") };
    }
}
