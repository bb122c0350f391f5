//! How a command's end becomes an answer. `docs/conform.md` says what every key means.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::score::Conclusion;
use crate::form::{Fault, line_at};

/// The version of the form.
const VERSION: u32 = 1;

/// Where the form is described.
const HINT: &str = "hint: docs/conform.md has every key";

/// The most that a command may take and say.
const MOST_SECONDS: f64 = 600.0;
const MOST_KB: usize = 16 * 1024;

/// How a command's end becomes an answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Map {
    version: u32,
    #[serde(default = "default_seconds")]
    time_limit_s: f64,
    #[serde(default = "default_kb")]
    output_limit_kb: usize,
    #[serde(default, rename = "rule")]
    rules: Vec<Rule>,
}

fn default_seconds() -> f64 {
    30.0
}

fn default_kb() -> usize {
    256
}

/// The first rule of which everything fits gives the answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    exit: Option<OneOrMany<i32>>,
    stdout: Option<OneOrMany<String>>,
    stderr: Option<OneOrMany<String>>,
    pointer: Option<String>,
    is: Option<OneOrMany<serde_json::Value>>,
    answer: Meaning,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    Many(Vec<T>),
    One(T),
}

/// What an answer says, in the words of a map.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Meaning {
    /// Sandboxes reach the port; the onboarding goes on.
    Healthy,
    /// They do not, and a firewall is named or a firewall's command is printed; the onboarding stops.
    Firewall,
    /// They do not, without a word about firewalls; the onboarding stops.
    Failed,
    /// It could not be told, and that is said; the onboarding goes on.
    Unknown,
}

/// How a command ended.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ended {
    /// Its exit code; that of a signal is 128 and the signal's number, as a shell says it.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Why a file is no map.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// It cannot be read.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It says something that a map does not say.
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
}

impl fmt::Debug for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The same text once more, for the lines of the rules.
#[derive(Deserialize)]
struct Places {
    #[serde(default)]
    rule: Vec<toml::Spanned<toml::Value>>,
}

impl Map {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or is no map; the place is named.
    pub fn read(path: &Path) -> Result<Self, MapError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| MapError::Io { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// Reads a text as if it were in that file.
    ///
    /// # Errors
    /// When it is no map.
    pub fn parse(path: &Path, text: &str) -> Result<Self, MapError> {
        let refused =
            |Fault { line, message, text }| MapError::Form { path: path.to_owned(), line, message, text };
        let wrong = |line: usize, message: String| refused(Fault::at(text, line, message));
        let form = |error: toml::de::Error| refused(Fault::of(text, &error));
        let map: Self = toml::from_str(text).map_err(form)?;
        let places: Places = toml::from_str(text).map_err(form)?;
        let key = |key: &str| {
            let found = text.lines().position(|line| line.trim_start().starts_with(key));
            found.map_or(1, |index| index + 1)
        };
        if map.version != VERSION {
            let message = format!("version {} is not known; this program knows {VERSION}", map.version);
            return Err(wrong(key("version"), message));
        }
        if !(map.time_limit_s > 0.0 && map.time_limit_s <= MOST_SECONDS) {
            let message = format!("time_limit_s is a time of up to {MOST_SECONDS} seconds");
            return Err(wrong(key("time_limit_s"), message));
        }
        if !(1..=MOST_KB).contains(&map.output_limit_kb) {
            let message = format!("output_limit_kb is a number from 1 to {MOST_KB}");
            return Err(wrong(key("output_limit_kb"), message));
        }
        if map.rules.is_empty() {
            return Err(wrong(1, "there is no [[rule]]: every answer would be none".to_owned()));
        }
        for (index, rule) in map.rules.iter().enumerate() {
            let start = places.rule.get(index).map_or(0, |place| place.span().start);
            if let Some(message) = rule.contradiction(index + 1 == map.rules.len()) {
                return Err(wrong(line_at(text, start), message.to_owned()));
            }
        }
        Ok(map)
    }

    /// How long a command may take.
    #[must_use]
    pub fn time_limit(&self) -> Duration {
        Duration::from_secs_f64(self.time_limit_s)
    }

    /// How many bytes it may say on either output.
    #[must_use]
    pub fn output_limit(&self) -> usize {
        self.output_limit_kb * 1024
    }

    /// What that end means; nothing where no rule fits.
    #[must_use]
    pub fn meaning(&self, ended: &Ended) -> Option<Meaning> {
        let json = serde_json::from_str(&ended.stdout).ok();
        self.rules.iter().find(|rule| rule.fits(ended, json.as_ref())).map(|rule| rule.answer)
    }
}

impl Rule {
    fn contradiction(&self, is_last: bool) -> Option<&'static str> {
        let empty = self.exit.is_none() && self.stdout.is_none() && self.stderr.is_none();
        if empty && self.pointer.is_none() && !is_last {
            return Some("a rule without any condition fits always, so it can only be the last one");
        }
        if self.is.is_some() && self.pointer.is_none() {
            return Some("`is` needs the `pointer` to the value that it is about");
        }
        let starts = self.pointer.as_deref().is_none_or(|it| it.is_empty() || it.starts_with('/'));
        (!starts).then_some("a pointer begins with /, such as /targets/0/verdict (RFC 6901)")
    }

    fn fits(&self, ended: &Ended, json: Option<&serde_json::Value>) -> bool {
        let exit = self.exit.as_ref().is_none_or(|codes| codes.has(|code| *code == ended.code));
        let says = |patterns: &Option<OneOrMany<String>>, text: &str| {
            patterns.as_ref().is_none_or(|patterns| patterns.has(|pattern| is_in(pattern, text)))
        };
        let pointer = self.pointer.as_ref().is_none_or(|pointer| {
            let value = json.and_then(|json| json.pointer(pointer));
            let fits = |value| self.is.as_ref().is_none_or(|wanted| wanted.has(|wanted| wanted == value));
            value.filter(|value| !value.is_null()).is_some_and(fits)
        });
        exit && says(&self.stdout, &ended.stdout) && says(&self.stderr, &ended.stderr) && pointer
    }
}

impl<T> OneOrMany<T> {
    fn has(&self, fits: impl Fn(&T) -> bool) -> bool {
        match self {
            Self::One(one) => fits(one),
            Self::Many(many) => many.iter().any(fits),
        }
    }
}

/// Whether a line of the text has the pattern's parts in this order, whatever is at the `*` between them, in any case of letters.
fn is_in(pattern: &str, text: &str) -> bool {
    let pattern = pattern.to_lowercase();
    let has_all = |line: &str| {
        let line = line.to_lowercase();
        let mut rest = line.as_str();
        pattern.split('*').all(|part| match rest.find(part) {
            Some(index) => {
                rest = &rest[index + part.len()..];
                true
            }
            None => false,
        })
    };
    text.lines().any(has_all)
}

impl Meaning {
    /// What it comes to.
    #[must_use]
    pub fn conclusion(self) -> Conclusion {
        match self {
            Self::Healthy => Conclusion::HEALTHY,
            Self::Firewall => Conclusion::FIREWALL,
            Self::Failed => Conclusion::FAILED,
            Self::Unknown => Conclusion::UNKNOWN,
        }
    }

    /// The word in a map.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Firewall => "firewall",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests;
