//! Programs in a host.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Output};
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixStream;

use super::protocol::{Answer, MESSAGE_LIMIT, Request};
use super::{Host, read_whole, tail};

/// How long a program may run unless it is said; the slowest step of a posture, `ufw enable`, takes one second.
const DEADLINE: Duration = Duration::from_secs(30);

/// A clean environment: what a login on a new machine has.
const ENVIRONMENT: [(&str, &str); 4] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/root"),
    ("LANG", "C.UTF-8"),
    ("LC_ALL", "C.UTF-8"),
];

/// Why a program in a host did not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// It could not be started.
    #[error("{argv}: {source}")]
    NotStarted {
        /// The command line.
        argv: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// It said that it failed.
    #[error("{argv}: {status}{stderr}")]
    Failed {
        /// The command line.
        argv: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its standard error, or of its standard output when there are none.
        stderr: String,
    },
    /// It did not end in time, and was ended.
    #[error("{argv}: not done within {deadline:?}{stderr}")]
    TimedOut {
        /// The command line.
        argv: String,
        /// How long it was given.
        deadline: Duration,
        /// The last lines of its standard error.
        stderr: String,
    },
    /// The host has ended.
    #[error("{argv}: host {host} has ended{log}")]
    HostEnded {
        /// The command line.
        argv: String,
        /// The host's name.
        host: String,
        /// What the host's first processes said.
        log: String,
    },
    /// The command line and the environment are larger than a request can be.
    #[error("{argv}: the command line and its environment have {size} bytes, {MESSAGE_LIMIT} is the limit")]
    TooLong {
        /// The beginning of the command line.
        argv: String,
        /// The size of the request.
        size: usize,
    },
}

/// A program to run in a host: in its namespaces, with a clean environment, ended with the host at the latest.
#[derive(Debug)]
pub struct HostCommand<'host> {
    host: &'host Host,
    request: Request,
    deadline: Duration,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

impl<'host> HostCommand<'host> {
    pub(super) fn new(host: &'host Host, program: String) -> Self {
        let env = ENVIRONMENT.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let request = Request {
            program,
            itself: false,
            arg0: None,
            args: Vec::new(),
            env,
            cwd: PathBuf::from("/"),
            user: None,
            detached: false,
        };
        Self { host, request, deadline: DEADLINE, stdin: None, stdout: None, stderr: None }
    }

    /// Runs the creator's own program again instead, under that name, with `main` never reached: the way of stand-ins.
    pub(crate) fn itself(mut self) -> Self {
        self.request.itself = true;
        self.request.arg0 = Some(self.request.program.clone());
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.request.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.request.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable, above `PATH`, `HOME`, `LANG` and `LC_ALL`, which are always set.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let name = name.into();
        self.request.env.retain(|(known, _)| *known != name);
        self.request.env.push((name, value.into()));
        self
    }

    /// Runs it in that folder of the host instead of `/`.
    #[must_use]
    pub fn cwd(mut self, folder: impl Into<PathBuf>) -> Self {
        self.request.cwd = folder.into();
        self
    }

    /// Runs it as that user and group, with no other groups, instead of root.
    #[must_use]
    pub fn user(mut self, user: u32, group: u32) -> Self {
        self.request.user = Some((user, group));
        self
    }

    /// Ends it when it has run for so long, instead of 30 seconds.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Reads its input from there instead of `/dev/null`.
    #[must_use]
    pub fn stdin(mut self, descriptor: impl Into<OwnedFd>) -> Self {
        self.stdin = Some(descriptor.into());
        self
    }

    /// Writes its output there instead of capturing it.
    #[must_use]
    pub fn stdout(mut self, descriptor: impl Into<OwnedFd>) -> Self {
        self.stdout = Some(descriptor.into());
        self
    }

    /// Writes its errors there instead of capturing them.
    #[must_use]
    pub fn stderr(mut self, descriptor: impl Into<OwnedFd>) -> Self {
        self.stderr = Some(descriptor.into());
        self
    }

    /// Runs it and captures what it says. Its failure is in the output's status; `assert_cmd`'s `OutputAssertExt` gives
    /// the output an `assert()`.
    ///
    /// # Errors
    /// When it cannot be started, runs too long, or the host ends.
    pub async fn output(self) -> Result<Output, ExecError> {
        let deadline = self.deadline;
        let mut process = self.spawn().await?;
        match tokio::time::timeout(deadline, process.wait()).await {
            Ok(status) => {
                let status = status?;
                let (stdout, stderr) = (process.stdout().into_bytes(), process.stderr().into_bytes());
                Ok(Output { status, stdout, stderr })
            }
            Err(_) => {
                let stderr = tail(&process.stderr(), 10);
                Err(ExecError::TimedOut { argv: process.argv.clone(), deadline, stderr })
            }
        }
    }

    /// Like [`output`](Self::output), but its failure is an error; returns its standard output.
    ///
    /// # Errors
    /// Also when it ends with another status than 0.
    pub async fn run(self) -> Result<String, ExecError> {
        let argv = self.argv();
        let output = self.output().await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        let said = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
        Err(ExecError::Failed { argv, status: output.status, stderr: tail(&text(said), 10) })
    }

    /// Starts it and leaves it running.
    ///
    /// # Errors
    /// When it cannot be started, or the host ends.
    pub async fn spawn(self) -> Result<Process, ExecError> {
        let argv = self.argv();
        let not_started = |source| ExecError::NotStarted { argv: argv.clone(), source };
        let message = serde_json::to_vec(&self.request).map_err(|error| not_started(error.into()))?;
        if message.len() > MESSAGE_LIMIT {
            let argv = argv.chars().take(200).collect();
            return Err(ExecError::TooLong { argv, size: message.len() });
        }
        let gone = || ExecError::HostEnded {
            argv: argv.clone(),
            host: self.host.name.clone(),
            log: tail(&self.host.log(), 10),
        };
        let stdin = match self.stdin {
            Some(stdin) => stdin,
            None => File::open("/dev/null").map_err(not_started)?.into(),
        };
        let stdout = Capture::or(self.stdout).map_err(not_started)?;
        let stderr = Capture::or(self.stderr).map_err(not_started)?;
        let (ours, theirs) = StdUnixStream::pair().map_err(not_started)?;
        let descriptors = [stdin.as_raw_fd(), stdout.fd(), stderr.fd(), theirs.as_raw_fd()];
        let control = self.host.control.as_ref().ok_or_else(gone)?;
        sendmsg::<()>(
            control.as_fd().as_raw_fd(),
            &[IoSlice::new(&message)],
            &[ControlMessage::ScmRights(&descriptors)],
            MsgFlags::MSG_NOSIGNAL,
            None,
        )
        .map_err(|_| gone())?;
        drop((stdin, theirs));
        let (stdout, stderr) = (stdout.without_given(), stderr.without_given());
        ours.set_nonblocking(true).map_err(not_started)?;
        let answers = BufReader::new(UnixStream::from_std(ours).map_err(not_started)?);
        let mut process =
            Process { argv: argv.clone(), pid: 0, answers, stdout, stderr, host: self.host.name.clone() };
        match process.answer().await? {
            Answer::Started(pid) => process.pid = pid,
            Answer::NotStarted(errno) => return Err(not_started(io::Error::from_raw_os_error(errno))),
            Answer::Exited(_) | Answer::Signaled(_) => return Err(gone()),
        }
        Ok(process)
    }

    /// Starts it, says its process id inside the host, and lets go of it: it runs until it ends or the host does, in a
    /// process group of its own, as what a program leaves behind when it has ended. Output that is not directed anywhere
    /// is lost.
    ///
    /// # Errors
    /// When it cannot be started, or the host ends.
    pub async fn spawn_detached(mut self) -> Result<i32, ExecError> {
        self.request.detached = true;
        Ok(self.spawn().await?.pid)
    }

    fn argv(&self) -> String {
        let mut argv = self.request.program.clone();
        for arg in &self.request.args {
            argv.push(' ');
            argv.push_str(arg);
        }
        argv
    }
}

/// A running program of a host. Dropping it ends the program and the children that stayed in its process group.
#[derive(Debug)]
pub struct Process {
    argv: String,
    pid: i32,
    answers: BufReader<UnixStream>,
    stdout: Capture,
    stderr: Capture,
    host: String,
}

impl Process {
    /// Its process id inside the host.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When the host ends first.
    pub async fn wait(&mut self) -> Result<ExitStatus, ExecError> {
        match self.answer().await? {
            Answer::Exited(code) => Ok(ExitStatus::from_raw(code << 8)),
            Answer::Signaled(signal) => Ok(ExitStatus::from_raw(signal)),
            Answer::Started(_) | Answer::NotStarted(_) => Err(self.host_ended()),
        }
    }

    /// What it has said on standard output until now.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.read()
    }

    /// What it has said on standard error until now.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.read()
    }

    async fn answer(&mut self) -> Result<Answer, ExecError> {
        let mut line = String::new();
        match self.answers.read_line(&mut line).await {
            Ok(1..) => serde_json::from_str(&line).map_err(|_| self.host_ended()),
            Ok(0) | Err(_) => Err(self.host_ended()),
        }
    }

    fn host_ended(&self) -> ExecError {
        ExecError::HostEnded { argv: self.argv.clone(), host: self.host.clone(), log: String::new() }
    }
}

/// Where a program's output goes: a file in memory, which never fills up and never blocks, or what the caller gave.
#[derive(Debug)]
enum Capture {
    Memory(File),
    Given(OwnedFd),
    Elsewhere,
}

impl Capture {
    fn or(given: Option<OwnedFd>) -> io::Result<Self> {
        match given {
            Some(descriptor) => Ok(Self::Given(descriptor)),
            None => Ok(Self::Memory(memfd_create("output", MFdFlags::MFD_CLOEXEC)?.into())),
        }
    }

    fn fd(&self) -> RawFd {
        match self {
            Self::Memory(file) => file.as_raw_fd(),
            Self::Given(descriptor) => descriptor.as_raw_fd(),
            Self::Elsewhere => -1,
        }
    }

    /// Lets go of a given descriptor once the program has it, so that a reader sees the end when the program ends.
    fn without_given(self) -> Self {
        match self {
            Self::Given(_) => Self::Elsewhere,
            kept => kept,
        }
    }

    fn read(&self) -> String {
        match self {
            Self::Memory(file) => read_whole(file),
            Self::Given(_) | Self::Elsewhere => String::new(),
        }
    }
}
