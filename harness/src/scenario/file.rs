//! Scenario files: read, and refused with the place when they make no sense.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use probe::Verdict;
use serde::Deserialize;
use snapshot::Snapshot;

use super::format::{Address, Event, Expect, Experience, Lifecycle, Mode, Scenario, VERSION};
use crate::form::{Fault, line_at};

/// Where the form is described.
const HINT: &str = "hint: docs/scenarios.md has every key, and so has `openshell-harness scenarios --schema`";

/// Why a file is no scenario.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be read.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no TOML, or has keys or values that the form does not have.
    #[error("{path}:{line}: {message}\n    {text}\n{HINT}", path = .path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
        /// The line's text.
        text: String,
    },
    /// Its parts do not fit together.
    #[error("{path}:{line}: {message}\n{HINT}", path = .path.display())]
    Inconsistent {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong and what would be right.
        message: String,
    },
}

/// In its words, with the hint: what a test or a `main` that returns it prints.
impl std::fmt::Debug for FileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Display::fmt(self, f)
    }
}

/// A scenario and where it is written.
#[derive(Clone, Debug)]
pub struct ScenarioFile {
    /// The file, as it was named.
    pub path: PathBuf,
    /// What it says. With a snapshot, the arguments of its check are those of the snapshot's.
    pub scenario: Scenario,
    /// The host, where the file names a snapshot.
    pub snapshot: Option<Arc<Snapshot>>,
    /// The line of each event, from 1.
    pub event_lines: Vec<usize>,
    /// The line of each expectation, from 1.
    pub expect_lines: Vec<usize>,
}

/// The same text once more, for the places of its parts.
#[derive(Deserialize)]
struct Places {
    #[serde(default)]
    events: Vec<toml::Spanned<toml::Value>>,
    #[serde(default)]
    expect: Vec<toml::Spanned<toml::Value>>,
}

impl ScenarioFile {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or is no scenario.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| FileError::Io { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// Reads a text as if it were in that file.
    ///
    /// # Errors
    /// When it is no scenario.
    pub fn parse(path: &Path, text: &str) -> Result<Self, FileError> {
        Self::parse_by(path, text, |file, name| file.read_snapshot(name))
    }

    /// The same, where the snapshot beside it is read already.
    pub(crate) fn parse_with(path: &Path, text: &str, snapshot: Snapshot) -> Result<Self, FileError> {
        Self::parse_by(path, text, |file, _| file.take_snapshot(snapshot))
    }

    fn parse_by(
        path: &Path,
        text: &str,
        snapshot: impl FnOnce(&mut Self, &str) -> Result<(), FileError>,
    ) -> Result<Self, FileError> {
        let form = |error: toml::de::Error| {
            let Fault { line, message, text } = Fault::of(text, &error);
            FileError::Form { path: path.to_owned(), line, message, text }
        };
        let scenario: Scenario = toml::from_str(text).map_err(form)?;
        let places: Places = toml::from_str(text).map_err(form)?;
        let lines = |parts: &[toml::Spanned<toml::Value>]| {
            parts.iter().map(|part| line_at(text, part.span().start)).collect::<Vec<_>>()
        };
        let (event_lines, expect_lines) = (lines(&places.events), lines(&places.expect));
        let mut file = Self { path: path.to_owned(), scenario, snapshot: None, event_lines, expect_lines };
        file.check()?;
        if let Some(replay) = file.scenario.replay.clone() {
            snapshot(&mut file, &replay.snapshot)?;
        }
        Ok(file)
    }

    /// The file's name in tables: the last folder and the name, without the ending.
    #[must_use]
    pub fn name(&self) -> String {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        match self.path.parent().and_then(Path::file_name) {
            Some(folder) => format!("{}/{stem}", folder.to_string_lossy()),
            None => stem.into_owned(),
        }
    }

    /// The line of an event in the file.
    #[must_use]
    pub fn event_line(&self, index: usize) -> usize {
        self.event_lines.get(index).copied().unwrap_or(1)
    }

    /// Whether every expectation says that sandboxes reach the target.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.scenario.expect.iter().all(|expect| expect.verdict == Verdict::Ok)
    }

    /// What the form alone cannot tell.
    fn check(&self) -> Result<(), FileError> {
        let scenario = &self.scenario;
        if scenario.version != VERSION {
            let message = format!("version {} is not known; this program knows {VERSION}", scenario.version);
            return Err(self.wrong(1, message));
        }
        for (index, pair) in self.event_lines.windows(2).enumerate() {
            if pair[0] == pair[1] {
                let message =
                    format!("events {} and {} are on one line: one event a line", index + 1, index + 2);
                return Err(self.wrong(pair[0], message));
            }
        }
        if scenario.expect.is_empty() {
            return Err(self.wrong(1, "there is no [[expect]]: a scenario expects something".to_owned()));
        }
        let empty = [("title", scenario.title.trim().is_empty()), ("source", scenario.source.is_empty())];
        if let Some((key, _)) = empty.into_iter().find(|(_, empty)| *empty) {
            return Err(self.wrong(1, format!("{key} is empty")));
        }
        self.check_words()?;
        self.check_place()?;
        self.check_checks()?;
        for (index, expect) in scenario.expect.iter().enumerate() {
            let line = self.expect_lines.get(index).copied().unwrap_or(1);
            contradiction(expect).map_or(Ok(()), |message| Err(self.wrong(line, message)))?;
        }
        Ok(())
    }

    fn check_words(&self) -> Result<(), FileError> {
        let class = &self.scenario.class;
        if !class.lifecycle.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            let message = format!("class.lifecycle {:?} is no word of a-z and _", class.lifecycle);
            return Err(self.wrong(1, message));
        }
        let causes: Vec<String> = self.scenario.expect.iter().map(Expect::reason).collect();
        if causes.contains(&class.cause) {
            return Ok(());
        }
        let message = format!(
            "class.cause {:?} is the cause of no expectation; those are {}",
            class.cause,
            causes.join(", ")
        );
        Err(self.wrong(1, message))
    }

    /// What one host cannot do, and what two cannot.
    fn check_place(&self) -> Result<(), FileError> {
        let is_vm = self.scenario.persona.machine().is_some();
        let on_bridge = |bind: &[Address]| is_vm && bind.contains(&Address::Bridge);
        for (index, event) in self.scenario.events.iter().enumerate() {
            let is_on_bridge = match event {
                Event::Gateway(it) => it.bind.as_deref().is_some_and(on_bridge),
                Event::Proxy(it) => on_bridge(&[it.bind]),
                Event::Service(it) => on_bridge(&it.bind),
                _ => false,
            };
            let message = match event {
                _ if is_on_bridge => {
                    "bind: the bridge is in the virtual machine, and services are on the user's"
                }
                Event::Forwarder(_) if !is_vm => "a forwarder needs a persona with a virtual machine",
                Event::Gateway(it) if is_vm && it.lifecycle != Lifecycle::StandIn => {
                    "an onboarding needs a persona without a virtual machine"
                }
                Event::Gateway(it) if is_vm && it.mode == Mode::Tls => {
                    "a gateway with TLS needs a persona without a virtual machine: the oracle has its certificates there only"
                }
                _ => continue,
            };
            return Err(self.wrong(self.event_line(index), message.to_owned()));
        }
        Ok(())
    }

    /// Every `at` names a check event, every check event has an expectation, and no target is named twice at one check.
    fn check_checks(&self) -> Result<(), FileError> {
        let mut names = Vec::new();
        for (index, event) in self.scenario.events.iter().enumerate() {
            let Event::Check(name) = event else { continue };
            let line = self.event_line(index);
            if names.contains(&Some(name.as_str())) {
                return Err(self.wrong(line, format!("there are two checks {name:?}")));
            }
            names.push(Some(name.as_str()));
        }
        names.push(None);
        for (index, expect) in self.scenario.expect.iter().enumerate() {
            let line = self.expect_lines.get(index).copied().unwrap_or(1);
            if !names.contains(&expect.at.as_deref()) {
                return Err(self.wrong(line, format!("at = {:?}: there is no such check event", expect.at)));
            }
            let same = |other: &&Expect| other.at == expect.at && other.target.port == expect.target.port;
            if self.scenario.expect.iter().filter(same).count() > 1 {
                let message = format!("two expectations of one check are about port {}", expect.target.port);
                return Err(self.wrong(line, message));
            }
        }
        // After those: a name that is misspelt is wrong where it is used.
        for (index, event) in self.scenario.events.iter().enumerate() {
            let Event::Check(name) = event else { continue };
            if self.scenario.expecting(Some(name)).next().is_none() {
                return Err(self.wrong(self.event_line(index), format!("no [[expect]] has at = {name:?}")));
            }
        }
        Ok(())
    }

    pub(super) fn wrong(&self, line: usize, message: String) -> FileError {
        FileError::Inconsistent { path: self.path.clone(), line, message }
    }
}

impl Scenario {
    /// The expectations of one check, `None` for the one after all events.
    pub fn expecting<'a>(&'a self, at: Option<&'a str>) -> impl Iterator<Item = &'a Expect> {
        self.expect.iter().filter(move |expect| expect.at.as_deref() == at)
    }
}

impl Expect {
    /// The cause, or the verdict where that has none.
    #[must_use]
    pub fn reason(&self) -> String {
        self.cause.map_or_else(|| word(&self.verdict), |cause| word(&cause))
    }
}

/// The word of a verdict or a cause in reports and files.
pub(crate) fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// What no outcome could ever fulfil.
fn contradiction(expect: &Expect) -> Option<String> {
    let has_cause = !matches!(expect.verdict, Verdict::Ok | Verdict::NetworkNotFound);
    if has_cause != expect.cause.is_some() {
        let (verdict, what) = (word(&expect.verdict), if has_cause { "always has" } else { "never has" });
        return Some(format!("the verdict {verdict} {what} a cause"));
    }
    let Some(experience) = expect.oracle else {
        let unavailable = expect.verdict == Verdict::ProbeUnavailable;
        let message = "oracle is missing: what does a real sandbox experience? Only with probe_unavailable may it be left out";
        return (!unavailable).then(|| message.to_owned());
    };
    let reached = experience == Experience::Reached;
    let judged =
        !matches!(expect.verdict, Verdict::ProbeUnavailable | Verdict::NetworkNotFound | Verdict::Skipped);
    if judged && reached != (expect.verdict == Verdict::Ok) {
        let (verdict, experience) = (word(&expect.verdict), experience.name());
        return Some(format!(
            "verdict {verdict} and oracle {experience}: it is ok where it is reached, and only there"
        ));
    }
    let remedy = &expect.remedy;
    let both = remedy.none && !(remedy.contains.is_empty() && remedy.lacks.is_empty());
    both.then(|| "remedy: with none = true there is nothing to contain or lack".to_owned())
}

mod replayed;
#[cfg(test)]
mod tests;
