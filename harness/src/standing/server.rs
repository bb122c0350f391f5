//! Answers what commands ask of a standing host.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::time::Duration;

use nix::libc;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::capture;
use super::program::{Inside, Program, Task};
use super::protocol::{Answer, Lines, Request, Window, line, send};
use super::terminal;
use super::{Capture, sandbox};
use crate::engine::connect;
use crate::host::{ExecError, Host, HostCommand, Process};
use crate::scenario::Stand;
use crate::service::STAND_IN_VARIABLE;

/// How long an engine may take to say its version; a stopped one never does.
const ENGINE_PATIENCE: Duration = Duration::from_secs(2);

/// The exit code of a program that was not tried, as `docker run` and `timeout` have it.
const NOT_TRIED: u8 = 125;

/// An interactive shell of the host.
const SHELL: [&str; 3] = ["sh", "-c", "command -v bash >/dev/null 2>&1 && exec bash; exec sh"];

/// Serves one connection until it closes.
pub(super) async fn serve(stand: &Stand<'_>, stream: UnixStream) {
    // Whoever has gone away needs no answer.
    let _ = converse(stand, &Connection { stream }).await;
}

async fn converse(stand: &Stand<'_>, connection: &Connection) -> io::Result<()> {
    let mut lines = Lines::default();
    while let Some(request) = connection.request(&mut lines).await? {
        match request {
            Request::Engine => {
                let engine = engine(stand.machine()).await;
                connection.answer(&Answer::Engine(engine), None).await?;
            }
            Request::Log => connection.answer(&Answer::Log(log(stand)), None).await?,
            Request::Run { program, terminal } => {
                let descriptors = std::mem::take(&mut lines.descriptors);
                run(stand, connection, &mut lines, &program, terminal.as_ref(), descriptors).await?;
            }
            // The program that it was for has ended.
            Request::Signal(_) => {}
        }
    }
    Ok(())
}

async fn engine(host: &Host) -> Result<String, String> {
    let socket = host.engine().map_err(|error| error.to_string())?.socket().to_owned();
    let asked = timeout(ENGINE_PATIENCE, async {
        let version = connect(&socket).await?.version().await?;
        Ok::<_, bollard::errors::Error>(version.version.unwrap_or_default())
    });
    match asked.await {
        Ok(Ok(version)) => Ok(version),
        Ok(Err(error)) => Err(format!("the engine does not answer: {error}")),
        Err(_) => Err(format!("the engine does not answer within {ENGINE_PATIENCE:?}")),
    }
}

/// What the first processes and the engine have said until now.
pub(super) fn log(stand: &Stand<'_>) -> String {
    let mut text = String::new();
    let mut add = |head: &str, body: &str| {
        if !body.trim().is_empty() {
            text.extend(["== ", head, "\n", body.trim_end(), "\n"]);
        }
    };
    add("the host's first processes", &stand.user().log());
    if stand.has_virtual_machine() {
        add("the virtual machine's first processes", &stand.machine().log());
    }
    if let Ok(engine) = stand.machine().engine() {
        add("the engine", &engine.log());
    }
    text
}

/// What a program needs besides its command line.
struct Prepared<'host> {
    host: &'host Host,
    command: HostCommand<'host>,
    /// What a message calls it.
    name: String,
    /// The container that goes with it.
    made: Option<String>,
}

async fn run(
    stand: &Stand<'_>,
    connection: &Connection,
    lines: &mut Lines,
    program: &Program,
    window: Option<&Window>,
    descriptors: Vec<OwnedFd>,
) -> io::Result<()> {
    let refuse = |message: String, code| Answer::Refused { message, code };
    let (mut master, descriptors) = match window {
        None => (None, descriptors),
        Some(window) => {
            let host = if program.inside == Inside::Engine { stand.machine() } else { stand.user() };
            match terminal::open(host, window)
                .and_then(|(master, slave)| Ok((master, vec![slave.try_clone()?, slave.try_clone()?, slave])))
            {
                Ok((master, three)) => (Some(master), three),
                Err(error) => {
                    let answer = refuse(format!("make a terminal in the host: {error}"), NOT_TRIED);
                    return connection.answer(&answer, None).await;
                }
            }
        }
    };
    let Ok([stdin, stdout, stderr]) = <[OwnedFd; 3]>::try_from(descriptors) else {
        let answer = refuse("standard input, output and error did not come along".to_owned(), NOT_TRIED);
        return connection.answer(&answer, None).await;
    };
    let prepared = match prepare(stand, program, window).await {
        Ok(prepared) => prepared,
        Err(message) => return connection.answer(&refuse(message, NOT_TRIED), None).await,
    };
    let Prepared { host, command, name, made } = prepared;
    let answer = match command.stdin(stdin).stdout(stdout).stderr(stderr).spawn().await {
        Ok(mut process) => match connection.answer(&Answer::Started, master.take()).await {
            Ok(()) => follow(host, connection, lines, &mut process).await,
            Err(_) => None,
        },
        Err(ExecError::NotStarted { source, .. }) => {
            let code = terminal::code_of(&source);
            Some(refuse(terminal::refusal(&name, &source), code))
        }
        Err(error) => Some(refuse(error.to_string(), NOT_TRIED)),
    };
    if let Some(container) = made {
        sandbox::remove(host, &container).await;
    }
    match answer {
        Some(answer) => connection.answer(&answer, None).await,
        None => Ok(()),
    }
}

/// Waits for the program's end, and passes signals on meanwhile; `None` when the asker has gone away.
async fn follow(
    host: &Host,
    connection: &Connection,
    lines: &mut Lines,
    process: &mut Process,
) -> Option<Answer> {
    let group = format!("-{}", process.pid());
    let mut end = pin!(process.wait());
    loop {
        tokio::select! {
            status = &mut end => {
                use std::os::unix::process::ExitStatusExt as _;
                return Some(match status {
                    Ok(status) => match (status.code(), status.signal()) {
                        (Some(code), _) => Answer::Exited(code),
                        (None, signal) => Answer::Signaled(signal.unwrap_or(libc::SIGKILL)),
                    },
                    Err(error) => Answer::Refused { message: error.to_string(), code: NOT_TRIED },
                });
            }
            request = connection.request(lines) => match request {
                Ok(Some(Request::Signal(signal))) => {
                    let arguments = ["-s".to_owned(), signal.to_string(), "--".to_owned(), group.clone()];
                    // One that has just ended gets none.
                    let _ = host.command("kill").args(arguments).output().await;
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return None,
            },
        }
    }
}

async fn prepare<'host>(
    stand: &'host Stand<'host>,
    program: &Program,
    window: Option<&Window>,
) -> Result<Prepared<'host>, String> {
    let host = if program.inside == Inside::Engine { stand.machine() } else { stand.user() };
    let (argv, cwd, environment) = match &program.task {
        Task::Capture(capture) => return prepare_capture(stand, capture).await,
        Task::Shell => (None, None, &[][..]),
        Task::Command { argv, cwd, env } => (Some(argv.as_slice()), cwd.as_deref(), env.as_slice()),
    };
    if argv.is_some_and(<[String]>::is_empty) {
        return Err("the command line is empty".to_owned());
    }
    let mut made = None;
    let argv: Vec<String> = match &program.inside {
        Inside::Sandbox(wanted) => {
            if cwd.is_some() {
                return Err("a folder to run in is for the host, not for a sandbox".to_owned());
            }
            let entered = sandbox::enter(stand, wanted.as_deref(), argv, environment, window).await?;
            made = entered.made;
            entered.argv
        }
        Inside::Host | Inside::Engine => {
            argv.map_or_else(|| SHELL.map(str::to_owned).to_vec(), <[String]>::to_vec)
        }
    };
    let name = argv[0].clone();
    let mut command = match window {
        Some(window) => {
            let config = serde_json::to_string(&argv).map_err(|error| error.to_string())?;
            let command = host.command(terminal::NAME).itself().env(STAND_IN_VARIABLE, config);
            command.env("TERM", window.kind.as_deref().unwrap_or("xterm"))
        }
        None => host.command(&name).args(&argv[1..]),
    };
    if !matches!(program.inside, Inside::Sandbox(_)) {
        command = environment.iter().fold(command, |command, (name, value)| command.env(name, value));
    }
    if let Some(folder) = cwd {
        if !host.path(folder).is_dir() {
            return Err(format!("{folder}: there is no such folder in the host"));
        }
        command = command.cwd(folder);
    }
    Ok(Prepared { host, command, name, made })
}

async fn prepare_capture<'host>(
    stand: &'host Stand<'host>,
    capture: &Capture,
) -> Result<Prepared<'host>, String> {
    let link = match (&capture.link, &capture.sandbox, stand.network()) {
        (Some(link), ..) => link.clone(),
        (None, Some(container), _) => sandbox::link_of(stand, container).await?,
        (None, None, Some(network)) => network.bridge.clone(),
        (None, None, None) => return Err("there is no network of sandboxes; --link names a link".to_owned()),
    };
    let config = Capture { link: Some(link), sandbox: None, ..capture.clone() };
    let config = serde_json::to_string(&config).map_err(|error| error.to_string())?;
    let host = stand.machine();
    let command = host.command(capture::NAME).itself().env(STAND_IN_VARIABLE, config);
    Ok(Prepared { host, command, name: capture::NAME.to_owned(), made: None })
}

struct Connection {
    stream: UnixStream,
}

impl Connection {
    /// The next request; `None` when the asker has gone away.
    async fn request(&self, lines: &mut Lines) -> io::Result<Option<Request>> {
        loop {
            if let Some(line) = lines.next() {
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            if lines.is_too_long() {
                return Err(io::Error::other("the request is too long"));
            }
            self.stream.readable().await?;
            match self.stream.try_io(Interest::READABLE, || lines.receive(&self.stream)) {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn answer(&self, answer: &Answer, descriptor: Option<OwnedFd>) -> io::Result<()> {
        let bytes = line(answer)?;
        let mut descriptors: Vec<_> = descriptor.as_ref().map(AsFd::as_fd).into_iter().collect();
        let mut sent = 0;
        while sent < bytes.len() {
            self.stream.writable().await?;
            let result = self
                .stream
                .try_io(Interest::WRITABLE, || send(self.stream.as_fd(), &bytes[sent..], &descriptors));
            match result {
                Ok(length) => {
                    sent += length;
                    // They went with the first byte.
                    descriptors.clear();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
