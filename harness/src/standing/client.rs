//! A command's side of the conversation with a caretaker. It has no runtime: it waits for its terminal, its signals and the
//! answers with one `poll`.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use tokio::sync::oneshot;

use super::program::Program;
use super::protocol::{Answer, Lines, Request, Window, line, send};
use super::signals::Signals;
use super::{server, terminal};
use crate::scenario::{RunError, ScenarioFile, StandOptions, on_stand};

/// A shell's exit code for a program that a signal has ended is this and the signal's number.
const BY_SIGNAL: i32 = 128;

/// A connection to the caretaker of a standing host.
pub struct Client {
    stream: UnixStream,
    lines: Lines,
}

/// What came of waiting.
enum Waited {
    /// Something was carried, or an answer is there.
    On,
    /// The caretaker has gone away.
    Alone,
    /// Signals came that are for the program.
    Signalled(Vec<i32>),
}

impl Client {
    pub(super) fn connect(socket: &Path) -> io::Result<Self> {
        // A socket's path has room for 108 bytes only; through the folder's descriptor it is always short.
        let folder = socket.parent().unwrap_or(Path::new("/"));
        let folder = File::open(folder)?;
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&folder);
        let name = socket.file_name().unwrap_or_default();
        let short = Path::new("/proc/self/fd").join(descriptor.to_string()).join(name);
        Ok(Self::over(UnixStream::connect(short)?))
    }

    fn over(stream: UnixStream) -> Self {
        Self { stream, lines: Lines::default() }
    }

    /// The engine's version, or why it does not answer.
    ///
    /// # Errors
    /// When the caretaker does not answer.
    pub(super) fn engine(mut self, patience: Duration) -> io::Result<Result<String, String>> {
        self.stream.set_read_timeout(Some(patience))?;
        self.stream.set_write_timeout(Some(patience))?;
        self.ask(&Request::Engine, &[])?;
        match self.answer()? {
            Answer::Engine(engine) => Ok(engine),
            _ => Err(io::Error::other("it answered something else")),
        }
    }

    /// What the engine and the first processes have logged.
    ///
    /// # Errors
    /// When the caretaker does not answer.
    pub fn log(mut self) -> io::Result<String> {
        self.stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        self.ask(&Request::Log, &[])?;
        match self.answer()? {
            Answer::Log(text) => Ok(text),
            _ => Err(io::Error::other("it answered something else")),
        }
    }

    /// Runs a program with this process's standard input, output and error, and returns the exit code that a shell would have.
    /// Where input and output are a terminal the program gets one of the host's own. Signals are passed on to it; a second one
    /// before it runs gives it up. Its standard output is `output` where that is given. `say` prints what there is to say when it could not be started.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn run(self, program: &Program, output: Option<OwnedFd>, say: impl Fn(&str)) -> io::Result<u8> {
        self.follow(Signals::watch()?, &|| false, program, output, say)
    }

    /// The same, where the first signal gives it up as long as the host is `booting`.
    fn follow(
        mut self,
        mut signals: Signals,
        booting: &dyn Fn() -> bool,
        program: &Program,
        output: Option<OwnedFd>,
        say: impl Fn(&str),
    ) -> io::Result<u8> {
        let on_terminal = output.is_none() && io::stdin().is_terminal() && io::stdout().is_terminal();
        let window = on_terminal.then(window).transpose()?;
        let request = Request::Run { program: program.clone(), terminal: window };
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        let stdout = output.as_ref().map_or_else(|| stdout.as_fd(), AsFd::as_fd);
        let descriptors = [stdin.as_fd(), stdout, stderr.as_fd()];
        let given = if on_terminal { &[][..] } else { &descriptors[..] };
        self.ask(&request, given)?;
        // A reader of what the program writes waits for the end of all that can write.
        drop(output);
        let mut screen: Option<Screen> = None;
        let (mut started, mut asked_to_end) = (false, false);
        loop {
            while let Some(line) = self.lines.next() {
                let (code, refusal) = match serde_json::from_slice(&line)? {
                    Answer::Started => {
                        started = true;
                        screen = self.lines.descriptors.pop().map(Screen::begin).transpose()?;
                        continue;
                    }
                    Answer::Engine(_) | Answer::Log(_) => continue,
                    Answer::Exited(code) => (code as u8, None),
                    Answer::Signaled(signal) => ((BY_SIGNAL + signal) as u8, None),
                    Answer::Refused { message, code } => (code, Some(message)),
                };
                if let Some(mut screen) = screen {
                    screen.drain()?;
                }
                // On a terminal that is as it was before.
                refusal.iter().for_each(|message| say(message));
                return Ok(code);
            }
            match self.wait(&mut signals, screen.as_mut())? {
                Waited::On => {}
                Waited::Alone => return Err(io::Error::other("the host has ended")),
                Waited::Signalled(numbers) => {
                    for signal in numbers {
                        if !started && (asked_to_end || booting()) {
                            return Ok((BY_SIGNAL + signal) as u8);
                        }
                        // The program may run already, and the word of it be on its way.
                        asked_to_end = true;
                        self.ask(&Request::Signal(signal), &[])?;
                    }
                }
            }
        }
    }

    /// Waits until something happens, and carries what is there.
    fn wait(&mut self, signals: &mut Signals, mut screen: Option<&mut Screen>) -> io::Result<Waited> {
        let (answered, signalled, ready) = {
            let mut watched = vec![
                PollFd::new(self.stream.as_fd(), PollFlags::POLLIN),
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            ];
            let stdin = io::stdin();
            let timeout =
                screen.as_deref().map_or(PollTimeout::NONE, |screen| screen.watch(&stdin, &mut watched));
            match poll(&mut watched, timeout) {
                Ok(_) => {}
                Err(Errno::EINTR) => return Ok(Waited::On),
                Err(errno) => return Err(errno.into()),
            }
            let happened = |one: &PollFd<'_>| one.revents().is_some_and(|events| !events.is_empty());
            let ready: Vec<bool> = watched.iter().skip(2).map(happened).collect();
            (happened(&watched[0]), happened(&watched[1]), ready)
        };
        let here = !answered || self.lines.receive(&self.stream)?;
        let passing = if signalled { signals.take() } else { Vec::new() };
        if let Some(screen) = &mut screen {
            if passing.contains(&(Signal::SIGWINCH as i32)) {
                let _ = screen.fit();
            }
            screen.carry(&ready)?;
        }
        let numbers: Vec<i32> =
            passing.into_iter().filter(|signal| *signal != Signal::SIGWINCH as i32).collect();
        Ok(match (here, numbers.is_empty()) {
            (_, false) => Waited::Signalled(numbers),
            (true, true) => Waited::On,
            (false, true) => Waited::Alone,
        })
    }

    fn ask(&self, request: &Request, descriptors: &[std::os::fd::BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = line(request)?;
        let sent = send(self.stream.as_fd(), &bytes, descriptors)?;
        (&self.stream).write_all(&bytes[sent..])
    }

    fn answer(&mut self) -> io::Result<Answer> {
        loop {
            if let Some(line) = self.lines.next() {
                return Ok(serde_json::from_slice(&line)?);
            }
            if !self.lines.receive(&self.stream)? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

fn window() -> io::Result<Window> {
    let size = tcgetwinsize(io::stdout())?;
    Ok(Window { rows: size.ws_row, columns: size.ws_col, kind: std::env::var("TERM").ok() })
}

/// How often a terminal that no program has open is looked at, in milliseconds.
const IDLE: u8 = 50;

/// This process's terminal while a program of the host has it: every key goes there, Ctrl-C too.
struct Screen {
    master: File,
    before: Termios,
    /// What was typed and not taken yet.
    pending: Vec<u8>,
    input_ended: bool,
    /// No program has the host's terminal any more.
    hung_up: bool,
}

impl Screen {
    fn begin(master: OwnedFd) -> io::Result<Self> {
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK))?;
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        let screen =
            Self { master: master.into(), before, pending: Vec::new(), input_ended: false, hung_up: false };
        // It may have changed since the request was sent.
        let _ = screen.fit();
        Ok(screen)
    }

    fn fit(&self) -> io::Result<()> {
        let size = window()?;
        terminal::resize(&self.master, size.rows, size.columns)
    }

    /// Adds what it waits for: what is typed, once all that was typed before is taken, and what the program prints. A terminal
    /// that nobody has open is always ready, so it is looked at from time to time.
    fn watch<'fd>(&'fd self, stdin: &'fd io::Stdin, watched: &mut Vec<PollFd<'fd>>) -> PollTimeout {
        let input =
            if self.pending.is_empty() && !self.input_ended { PollFlags::POLLIN } else { PollFlags::empty() };
        watched.push(PollFd::new(stdin.as_fd(), input));
        if self.hung_up {
            return PollTimeout::from(IDLE);
        }
        let room = if self.pending.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT };
        watched.push(PollFd::new(self.master.as_fd(), PollFlags::POLLIN | room));
        PollTimeout::NONE
    }

    /// Carries what is there: `ready` says so of what [`watch`](Self::watch) has added.
    fn carry(&mut self, ready: &[bool]) -> io::Result<()> {
        if self.pending.is_empty() && ready.first() == Some(&true) {
            self.read_input()?;
        }
        if !self.pending.is_empty() {
            self.write_input()?;
        }
        if self.hung_up || ready.get(1) == Some(&true) {
            self.show()?;
        }
        Ok(())
    }

    fn read_input(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        match io::stdin().read(&mut buffer) {
            Ok(0) => self.input_ended = true,
            Ok(length) => self.pending.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The terminal itself is gone.
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn write_input(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            match self.master.write(&self.pending) {
                Ok(length) => drop(self.pending.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // Nobody is there to take it.
                Err(_) => self.pending.clear(),
            }
        }
        Ok(())
    }

    /// Shows what the program has printed until now.
    fn show(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        match self.master.read(&mut buffer) {
            Ok(length @ 1..) => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(&buffer[..length])?;
                stdout.flush()?;
                self.hung_up = false;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => self.hung_up = true,
        }
        Ok(())
    }

    /// Shows what is still on its way when the program has ended.
    fn drain(&mut self) -> io::Result<()> {
        let has_more = |master: &File| {
            let mut watched = [PollFd::new(master.as_fd(), PollFlags::POLLIN)];
            poll(&mut watched, PollTimeout::ZERO).is_ok()
                && watched[0].revents().is_some_and(|events| events.contains(PollFlags::POLLIN))
        };
        while has_more(&self.master) {
            self.show()?;
        }
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.before);
    }
}

/// Why a program did not run in a host of its own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FreshError {
    /// The host did not come to be, or not to its end.
    #[error(transparent)]
    Host(Box<RunError>),
    /// The machine refused what the command itself needs.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, as a lowercase fragment.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl From<RunError> for FreshError {
    fn from(error: RunError) -> Self {
        Self::Host(Box::new(error))
    }
}

/// Makes a host for one program, runs it as [`Client::run`] does, and removes the host. `ready` is called before the program
/// starts.
///
/// # Errors
/// When the host does not come to be; nothing is left then.
pub fn run_fresh(
    file: &ScenarioFile,
    options: &StandOptions,
    program: &Program,
    ready: impl Fn() + Sync,
    say: impl Fn(&str),
) -> Result<u8, FreshError> {
    let io = |what| move |source| FreshError::Io { what, source };
    // Before anything is there that a signal could leave behind.
    let signals = Signals::watch().map_err(io("watch for signals"))?;
    let (ours, theirs) = UnixStream::pair().map_err(io("make a connection"))?;
    theirs.set_nonblocking(true).map_err(io("make a connection"))?;
    let booting = AtomicBool::new(true);
    let (abandon, abandoned) = oneshot::channel::<()>();
    thread::scope(|scope| {
        let host = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(io("start a runtime"))?;
            runtime.block_on(async {
                let theirs = tokio::net::UnixStream::from_std(theirs).map_err(io("make a connection"))?;
                let stand = on_stand(file, options, async |stand| {
                    ready();
                    booting.store(false, Ordering::Relaxed);
                    server::serve(stand, theirs).await;
                });
                tokio::select! {
                    done = stand => Ok(done?),
                    // What is there of the host ends when it is dropped.
                    _ = abandoned => Ok(()),
                }
            })
        });
        let is_booting = || booting.load(Ordering::Relaxed);
        let code = Client::over(ours).follow(signals, &is_booting, program, None, say);
        // A program that runs is ended in order: its connection is closed now.
        if code.as_ref().is_ok_and(|code| *code >= BY_SIGNAL as u8) {
            drop(abandon);
        }
        match host.join() {
            Ok(Ok(())) => code.map_err(io("run the program")),
            Ok(Err(error)) => Err(error),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
