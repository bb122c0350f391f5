//! What is written down about a standing host, and what is told of it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};

use super::error::StandingError;
use super::name::Name;
use super::process::ProcessId;

/// The version of the record and of what is said over the socket.
pub(super) const VERSION: u32 = 1;

/// No record is so long, in bytes.
const LIMIT: u64 = 256 * 1024;

/// What a caretaker writes into its host's folder.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Record {
    /// The version of this form.
    pub version: u32,
    /// The host's name.
    pub name: Name,
    /// The preset or the file that it was made of.
    pub source: String,
    /// What that says it is.
    pub title: String,
    /// The image's name.
    pub image: String,
    /// When it was started, in seconds since 1970.
    pub started_at: u64,
    /// The process that owns it.
    pub caretaker: ProcessId,
    /// How far it is.
    pub stage: Stage,
    /// Its hosts: one, or two where the engine is in a virtual machine.
    pub hosts: Vec<HostRecord>,
    /// The network of the sandboxes, where there is one.
    pub network: Option<NetworkRecord>,
}

impl Record {
    /// That of a host's folder.
    ///
    /// # Errors
    /// When it cannot be read, or is of another version.
    pub(super) fn read(folder: &Path) -> Result<Self, StandingError> {
        let path = folder.join("record.json");
        let read = || {
            let flags = OFlag::O_NOFOLLOW.bits() | OFlag::O_NONBLOCK.bits();
            let file = File::options().read(true).custom_flags(flags).open(&path)?;
            let mut text = String::new();
            file.take(LIMIT).read_to_string(&mut text)?;
            let record: Self = serde_json::from_str(&text)?;
            if record.version != VERSION {
                let message =
                    format!("version {} is not known; this program knows {VERSION}", record.version);
                return Err(io::Error::other(message));
            }
            Ok(record)
        };
        read().map_err(StandingError::io(&path))
    }

    /// Writes it into a host's folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&self, folder: &Path) -> Result<(), StandingError> {
        let (path, new) = (folder.join("record.json"), folder.join("record.json.new"));
        let write = || {
            let mut file = File::options()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .custom_flags(OFlag::O_NOFOLLOW.bits())
                .open(&new)?;
            serde_json::to_writer_pretty(&mut file, self)?;
            file.write_all(b"\n")?;
            // A reader sees the old one or the new one, and never half of one.
            fs::rename(&new, &path)
        };
        write().map_err(StandingError::io(&path))
    }
}

/// How far a host is, as its caretaker knows.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// It is being made.
    Booting,
    /// It is there.
    Ready,
    /// It ended by itself; why.
    Ended(String),
}

/// One host.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HostRecord {
    /// Its host name.
    pub hostname: String,
    /// Whether the engine runs in it.
    pub engine: bool,
    /// Its first process.
    pub init: ProcessId,
}

/// The network that sandboxes join.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NetworkRecord {
    /// Its name.
    pub name: String,
    /// Its subnet in CIDR notation.
    pub subnet: String,
    /// The bridge's address.
    pub gateway: String,
    /// The bridge's interface.
    pub bridge: String,
}

/// What state a standing host is in.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is being made.
    Booting,
    /// It is there, and its engine answers.
    Up,
    /// It is there, and its engine does not answer.
    EngineDown,
    /// Its caretaker runs and does not answer.
    Stuck,
    /// It is gone, and its folder is left.
    Dead,
    /// Its record cannot be read.
    Unreadable,
}

impl State {
    /// The word in tables and in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Booting => "booting",
            Self::Up => "up",
            Self::EngineDown => "engine-down",
            Self::Stuck => "stuck",
            Self::Dead => "dead",
            Self::Unreadable => "unreadable",
        }
    }
}

/// A standing host as it is listed. Within a version fields are only added.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: State,
    /// What is wrong with it, in words.
    pub why: Option<String>,
    /// The preset or the file that it was made of.
    pub source: Option<String>,
    /// What that says it is.
    pub title: Option<String>,
    /// The image's name.
    pub image: Option<String>,
    /// The engine's version, when it answers.
    pub engine: Option<String>,
    /// When it was started, in seconds since 1970.
    pub started_at: Option<u64>,
    /// The process that owns it.
    pub caretaker: Option<ProcessId>,
    /// Its hosts: one, or two where the engine is in a virtual machine.
    pub hosts: Vec<HostRecord>,
    /// The network of the sandboxes, where there is one.
    pub network: Option<NetworkRecord>,
    /// Where its record and its log are.
    pub folder: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `OPENSHELL_UPDATE_SCHEMA=1 cargo test -p openshell-harness` writes the file anew.
    #[test]
    fn the_committed_schema_is_that_of_the_list() {
        let schema = schemars::schema_for!(Vec<Listed>);
        let generated = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/hosts.v1.json");
        if std::env::var_os("OPENSHELL_UPDATE_SCHEMA").is_some() {
            std::fs::write(file, &generated).unwrap();
        }
        let committed = std::fs::read_to_string(file).unwrap();
        assert_eq!(committed, generated, "set OPENSHELL_UPDATE_SCHEMA=1 to write it anew");
    }

    #[test]
    fn a_state_is_one_word_everywhere() {
        use State::{Booting, Dead, EngineDown, Stuck, Unreadable, Up};
        for state in [Booting, Up, EngineDown, Stuck, Dead, Unreadable] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.word());
        }
    }
}
