//! One standing host: its folder, and the state that it is in now.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::client::Client;
use super::error::StandingError;
use super::name::Name;
use super::process::ProcessId;
use super::record::{HostRecord, Listed, Record, Stage, State};

/// How long a caretaker may take to answer what its host's state is: an engine that is stopped takes two thirds of it.
const STATUS_PATIENCE: Duration = Duration::from_secs(3);

/// A host's own folder.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The host's name.
    pub name: Name,
    pub(super) path: PathBuf,
    /// Its record is somebody else's: only processes of this user are ended because of it.
    pub(super) only: Option<u32>,
}

impl Entry {
    /// Its record.
    ///
    /// # Errors
    /// When it cannot be read, or is of another version.
    pub fn record(&self) -> Result<Record, StandingError> {
        Record::read(&self.path)
    }

    /// Whether it is there, and that caretaker's. A record that cannot be read is nobody else's.
    pub(super) fn is_of(&self, caretaker: &ProcessId) -> bool {
        match self.record() {
            Ok(record) => record.caretaker == *caretaker,
            Err(StandingError::Io { source, .. }) => source.kind() != io::ErrorKind::NotFound,
            Err(_) => true,
        }
    }

    /// Where its log is.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.path.join("socket")
    }

    pub(super) fn write(&self, record: &Record) -> Result<(), StandingError> {
        record.write(&self.path)
    }

    /// What state it is in now. It never fails: a host that cannot be told about is listed too.
    #[must_use]
    pub fn look(&self) -> Listed {
        let mut listed = Listed {
            name: self.name.to_string(),
            state: State::Unreadable,
            why: None,
            source: None,
            title: None,
            image: None,
            engine: None,
            started_at: None,
            caretaker: None,
            hosts: Vec::new(),
            network: None,
            folder: self.path.clone(),
        };
        let record = match self.record() {
            Ok(record) => record,
            Err(error) => {
                listed.why = Some(error.to_string());
                return listed;
            }
        };
        (listed.state, listed.why) = if !record.caretaker.is_alive() {
            // It may have written its last words since; now that it is gone, they are the last.
            let why = match self.record().map(|last| last.stage) {
                Ok(Stage::Ended(why)) => why,
                _ => "its caretaker was killed".to_owned(),
            };
            (State::Dead, Some(why))
        } else if let Some(host) = record.hosts.iter().find(|host| !host.init.is_alive()) {
            (State::Dead, Some(gone(host)))
        } else if record.stage == Stage::Booting {
            (State::Booting, None)
        } else {
            match Client::connect(&self.socket()).and_then(|client| client.engine(STATUS_PATIENCE)) {
                Ok(Ok(version)) => {
                    listed.engine = Some(version);
                    (State::Up, None)
                }
                Ok(Err(message)) => (State::EngineDown, Some(message)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    (State::Stuck, Some(format!("its caretaker does not answer within {STATUS_PATIENCE:?}")))
                }
                Err(error) => (State::Stuck, Some(format!("its caretaker does not answer: {error}"))),
            }
        };
        listed.source = Some(record.source);
        listed.title = Some(record.title);
        listed.image = Some(record.image);
        listed.started_at = Some(record.started_at);
        listed.caretaker = Some(record.caretaker);
        listed.hosts = record.hosts;
        listed.network = record.network;
        listed
    }

    /// A connection to its caretaker.
    ///
    /// # Errors
    /// When the host does not take requests.
    pub fn connect(&self) -> Result<Client, StandingError> {
        Client::connect(&self.socket()).map_err(|_| {
            let Listed { state, why, .. } = self.look();
            let why = why.unwrap_or_else(|| "it does not take requests yet".to_owned());
            StandingError::NotUp { name: self.name.clone(), state, why }
        })
    }
}

pub(super) fn gone(host: &HostRecord) -> String {
    format!("the first process of {} (pid {}) is gone", host.hostname, host.init.pid)
}
