//! A service as its creator sees it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;

use super::stand_in;
use crate::host::{ExecError, Host, Process, tail};

/// How long a service may take until it listens; measured: 3 ms, with certificates 5 ms.
const READY_DEADLINE: Duration = Duration::from_secs(10);

/// How long it may take to end when it is told to; measured: 1 ms.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// Why a service does not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// It could not be started in the host.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// It ended by itself: while it started, or before it was stopped.
    #[error("{name} ended by itself: {status}{}", tail(.log, 10))]
    Ended {
        /// Its name.
        name: &'static str,
        /// How it ended; 1 when it could not bind an address.
        status: ExitStatus,
        /// All that it said on standard error.
        log: String,
    },
    /// It neither listened nor ended in time, and was ended.
    #[error("{name} was not ready within {deadline:?}{}", tail(.log, 10))]
    NotReady {
        /// Its name.
        name: &'static str,
        /// How long it was given.
        deadline: Duration,
        /// All that it said on standard error.
        log: String,
    },
    /// It did not end in time when it was told to. It is killed then, which is not waited for.
    #[error("{name} did not end within {deadline:?}{}", tail(.log, 10))]
    NotStopped {
        /// Its name.
        name: &'static str,
        /// How long it was given.
        deadline: Duration,
        /// All that it said on standard error.
        log: String,
    },
    /// The machine refused what the creator itself needs.
    #[error("{name}: {what}: {source}")]
    Io {
        /// The service's name.
        name: &'static str,
        /// What was tried, as a lowercase fragment.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// A running service. Dropping it ends the process without waiting for that; [`stop`](Self::stop) waits.
#[derive(Debug)]
pub struct Service {
    name: &'static str,
    addresses: Vec<SocketAddr>,
    process: Process,
    /// The other end of its standard input: it ends when this closes.
    lifeline: pipe::Sender,
}

impl Service {
    /// Starts a stand-in as root and waits until it says that it listens.
    pub(super) async fn start(
        host: &Host,
        name: &'static str,
        config: &impl Serialize,
    ) -> Result<Self, ServiceError> {
        Self::start_as(host, name, config, None).await
    }

    /// The same, as that user unless that is none.
    pub(super) async fn start_as(
        host: &Host,
        name: &'static str,
        config: &impl Serialize,
        user: Option<u32>,
    ) -> Result<Self, ServiceError> {
        let io = |what| move |source| ServiceError::Io { name, what, source };
        let config = serde_json::to_string(config).map_err(|error| ServiceError::Io {
            name,
            what: "describe it",
            source: error.into(),
        })?;
        let (lifeline, stdin) = pipe::pipe().map_err(io("make a lifeline"))?;
        let (stdout, announcements) = pipe::pipe().map_err(io("make a pipe"))?;
        let stdin: OwnedFd = stdin.into_nonblocking_fd().map_err(io("make a lifeline"))?;
        let stdout: OwnedFd = stdout.into_blocking_fd().map_err(io("make a pipe"))?;
        let command = host.command(name).itself();
        let process = user
            .into_iter()
            .fold(command, |command, user| command.user(user, user))
            .env(stand_in::VARIABLE, config)
            .stdin(stdin)
            .stdout(stdout)
            .spawn()
            .await?;
        let mut service = Self { name, addresses: Vec::new(), process, lifeline };
        match tokio::time::timeout(READY_DEADLINE, service.follow(announcements)).await {
            Ok(ready) => ready.map(|()| service),
            Err(_) => Err(ServiceError::NotReady { name, deadline: READY_DEADLINE, log: service.log() }),
        }
    }

    /// Reads its one announcement; its silence is its end.
    async fn follow(&mut self, announcements: pipe::Receiver) -> Result<(), ServiceError> {
        let mut line = String::new();
        let read = BufReader::new(announcements).read_line(&mut line).await;
        let unread = |source| ServiceError::Io { name: self.name, what: "wait until it listens", source };
        if read.map_err(unread)? == 0 {
            let status = self.process.wait().await?;
            return Err(ServiceError::Ended { name: self.name, status, log: self.log() });
        }
        self.addresses = serde_json::from_str(&line).map_err(|error| unread(error.into()))?;
        Ok(())
    }

    /// What it is called, on its command line and in messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its process id inside the host.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Where it listens, in the order of its binds. They never change: a service on the address of a network that is
    /// created anew with another one stays behind, as the real gateway does.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What it has said on standard error until now: a line for every listener and for every request.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.stderr()
    }

    /// Ends it and waits until it has ended, so that its addresses are free. A host that has ended took it along.
    ///
    /// # Errors
    /// When it had already ended by itself, or does not end in time.
    pub async fn stop(self) -> Result<(), ServiceError> {
        let Self { name, mut process, lifeline, .. } = self;
        drop(lifeline);
        match tokio::time::timeout(STOP_DEADLINE, process.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(ServiceError::Ended { name, status, log: process.stderr() }),
            Ok(Err(ExecError::HostEnded { .. })) => Ok(()),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(ServiceError::NotStopped { name, deadline: STOP_DEADLINE, log: process.stderr() }),
        }
    }
}
