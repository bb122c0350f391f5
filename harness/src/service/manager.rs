//! A stand-in for a service manager with one unit: it starts the gateway, starts it again when it ends, and restarts it
//! when it is asked to, as `systemctl --user restart openshell-gateway` does.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, Command};
use tokio::time::{interval, timeout};

use super::gateway::{GatewayError, GatewayProgram};
use super::process::{Service, ServiceError};
use super::stand_in::{CONTRACT, announce, say};
use crate::host::Host;

/// What it is called.
pub(super) const NAME: &str = "openshell-service-manager";

/// Where it takes requests, in the host.
const SOCKET: &str = "/run/openshell-service-manager.sock";

/// How long a request may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// systemd's `RestartSec` unless a unit says otherwise.
const RESTART_AFTER: Duration = Duration::from_millis(100);

/// How long a process may take to end after SIGTERM.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Config {
    program: String,
    args: Vec<String>,
    environment: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Request {
    Status,
    /// With what the unit's files say now.
    Restart {
        args: Vec<String>,
        environment: BTreeMap<String, String>,
    },
}

/// What the manager says of its unit.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct UnitStatus {
    /// The program of the unit.
    pub program: String,
    /// Its process in the host; `None` between an end and the next start.
    pub main_pid: Option<i32>,
    /// How often it was started.
    pub starts: u32,
}

/// A service manager in a host, with the gateway as its unit.
#[derive(Debug)]
pub struct ServiceManager {
    service: Service,
    socket: std::path::PathBuf,
}

impl ServiceManager {
    /// Starts a manager whose unit runs that gateway, at first without arguments and with a bare environment, as that of a
    /// package that was just installed. An onboarding restarts it with what it wants.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(host: &Host, program: &GatewayProgram) -> Result<Self, ServiceError> {
        let mut environment = BTreeMap::new();
        if program.is_stand_in() {
            environment.insert(CONTRACT.0.to_owned(), CONTRACT.1.to_owned());
        }
        let config = Config { program: program.path().to_owned(), args: Vec::new(), environment };
        let service = Service::start(host, NAME, &config).await?;
        Ok(Self { service, socket: host.path(SOCKET) })
    }

    /// What it says of its unit.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn status(&self) -> Result<UnitStatus, GatewayError> {
        self.ask(&Request::Status).await
    }

    /// Restarts the unit with those arguments and that environment.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn restart(
        &self,
        args: Vec<String>,
        environment: BTreeMap<String, String>,
    ) -> Result<UnitStatus, GatewayError> {
        self.ask(&Request::Restart { args, environment }).await
    }

    /// What it and its unit have said.
    #[must_use]
    pub fn log(&self) -> String {
        self.service.log()
    }

    async fn ask(&self, request: &Request) -> Result<UnitStatus, GatewayError> {
        let wrong = |message: String| GatewayError::Manager { message };
        let asked = async {
            let stream = UnixStream::connect(&self.socket).await?;
            let mut stream = BufReader::new(stream);
            let mut line = serde_json::to_vec(request)?;
            line.push(b'\n');
            stream.write_all(&line).await?;
            let mut answer = String::new();
            stream.read_line(&mut answer).await?;
            serde_json::from_str(&answer).map_err(io::Error::from)
        };
        match timeout(DEADLINE, asked).await {
            Ok(answer) => answer.map_err(|error| wrong(error.to_string())),
            Err(_) => Err(wrong(format!("it did not answer within {DEADLINE:?}"))),
        }
    }
}

/// The process.
pub(super) async fn run(config: Config) -> Result<Infallible, String> {
    // The listener of one that was killed may have left its file.
    let _ = std::fs::remove_file(SOCKET);
    let listener = UnixListener::bind(Path::new(SOCKET)).map_err(|error| format!("{SOCKET}: {error}"))?;
    let mut unit = Unit { config, child: None, starts: 0 };
    unit.start();
    announce(&[])?;
    let mut retry = interval(RESTART_AFTER);
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.map_err(|error| format!("{SOCKET}: {error}"))?;
                if let Err(error) = unit.answer(stream).await {
                    say(format_args!("request failed: {error}"));
                }
            }
            () = unit.ended() => {
                unit.child = None;
                retry.reset();
            }
            _ = retry.tick(), if unit.child.is_none() => unit.start(),
        }
    }
}

struct Unit {
    config: Config,
    child: Option<Child>,
    starts: u32,
}

impl Unit {
    fn start(&mut self) {
        self.starts += 1;
        let started = Command::new(&self.config.program)
            .args(&self.config.args)
            .env_clear()
            .envs(&self.config.environment)
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        match started {
            Ok(child) => {
                say(format_args!("started unit pid={:?} start={}", child.id(), self.starts));
                self.child = Some(child);
            }
            Err(error) => say(format_args!("start unit: {error}")),
        }
    }

    async fn ended(&mut self) {
        match &mut self.child {
            Some(child) => {
                let status = child.wait().await;
                say(format_args!("unit ended: {status:?}"));
            }
            None => std::future::pending().await,
        }
    }

    async fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        if timeout(STOP_DEADLINE, child.wait()).await.is_err() {
            let _ = child.kill().await;
        }
    }

    async fn answer(&mut self, stream: UnixStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        if let Request::Restart { args, environment } = serde_json::from_str(&line)? {
            self.stop().await;
            self.config.args = args;
            self.config.environment.extend(environment);
            self.start();
        }
        let status = UnitStatus {
            program: self.config.program.clone(),
            main_pid: self.child.as_ref().and_then(Child::id).and_then(|pid| i32::try_from(pid).ok()),
            starts: self.starts,
        };
        let mut line = serde_json::to_vec(&status)?;
        line.push(b'\n');
        stream.write_all(&line).await
    }
}
