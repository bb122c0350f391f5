//! `openshell-harness` at somebody's desk: a place for standing hosts that nobody else has.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::Value;

use crate::programs;

/// How long anything here may take: a boot takes one second, on two busy cores ten.
const PATIENCE: Duration = Duration::from_secs(90);

/// A user's folder for standing hosts. All of them end when this is dropped.
pub struct Desk {
    folder: tempfile::TempDir,
    program: PathBuf,
}

impl Desk {
    /// A new one, without hosts.
    ///
    /// # Errors
    /// When the program is stale.
    pub fn new() -> Result<Self> {
        Ok(Self { folder: tempfile::tempdir()?, program: programs::harness()? })
    }

    /// Where its hosts are written down.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.folder.path().join("openshell-harness")
    }

    /// What is run, by `setsid` on a terminal of its own for one.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The program with those arguments.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("XDG_RUNTIME_DIR", self.folder.path()).stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(&self, arguments: &[&str]) -> Result<Output> {
        self.command(arguments).output().with_context(|| arguments.join(" "))
    }

    /// The same, where another exit code than 0 is an error; returns its standard output.
    ///
    /// # Errors
    /// Also when it fails.
    pub fn succeed(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {}: {stderr}", arguments.join(" "), output.status);
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Runs a line of shell in a standing host.
    ///
    /// # Errors
    /// When it fails.
    pub fn shell(&self, name: &str, line: &str) -> Result<String> {
        Ok(self.succeed(&["exec", name, "--", "sh", "-c", line])?.trim_end().to_owned())
    }

    /// What `list --json` has of a host; null where it has none of that name.
    ///
    /// # Errors
    /// When it is no JSON.
    pub fn look(&self, name: &str) -> Result<Value> {
        let all: Vec<Value> = serde_json::from_str(&self.succeed(&["list", "--json"])?)?;
        Ok(all.into_iter().find(|host| host["name"] == name).unwrap_or(Value::Null))
    }

    /// Waits until a host is in that state.
    ///
    /// # Errors
    /// When it never is.
    pub fn until(&self, name: &str, state: &str) -> Result<Value> {
        let begun = Instant::now();
        loop {
            let host = self.look(name)?;
            if host["state"] == state {
                return Ok(host);
            }
            ensure!(begun.elapsed() < PATIENCE, "{name} is not {state}: {host:#}");
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = self.run(&["down", "--all"]);
    }
}

/// Waits until something is so.
///
/// # Errors
/// When it never is; `what` names it.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let begun = Instant::now();
    while !is_so() {
        ensure!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::yield_now();
    }
    Ok(())
}

/// A program that says when it is ready, a line on one of its pipes.
///
/// # Errors
/// When it ends before it has said so.
pub fn until_said(pipe: &mut impl Read, words: &str) -> Result<()> {
    let mut said = String::new();
    let mut byte = [0];
    while !said.contains(words) {
        if pipe.read(&mut byte)? == 0 {
            bail!("it never said {words:?}: {said}");
        }
        said.push(char::from(byte[0]));
    }
    Ok(())
}

/// A terminal with a program in it, as a person has it. Dropping it is the terminal's end: what is in its session hangs up.
pub struct Terminal {
    master: File,
    child: Child,
    shown: Arc<(Mutex<String>, Condvar)>,
}

impl Terminal {
    /// Starts a program as the first of a session on a new terminal of 24 lines and 80 columns.
    ///
    /// # Errors
    /// When the kernel has no terminal, or `setsid` is missing.
    pub fn start(program: &Command) -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let slave =
            ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            value.map(|value| command.env(name, value));
        }
        command.env("TERM", "xterm");
        command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave);
        let child = command.spawn()?;
        // Its own copies of the slave end with it.
        drop(command);
        let terminal = Self { master: master.into(), child, shown: Arc::default() };
        terminal.resize(24, 80)?;
        let (shown, mut reader) = (terminal.shown.clone(), terminal.master.try_clone()?);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                let mut text = shown.0.lock().unwrap_or_else(PoisonError::into_inner);
                text.push_str(&String::from_utf8_lossy(&buffer[..length]));
                shown.1.notify_all();
            }
        });
        Ok(terminal)
    }

    /// Gives it another size.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn resize(&self, rows: u16, columns: u16) -> io::Result<()> {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(tcsetwinsize(&self.master, size)?)
    }

    /// Types keys.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn type_keys(&mut self, keys: &str) -> io::Result<()> {
        self.master.write_all(keys.as_bytes())
    }

    /// Waits until it has shown those words, and forgets what it has shown.
    ///
    /// # Errors
    /// When it never does.
    pub fn until_shown(&self, words: &str) -> Result<()> {
        let text = self.shown.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = self.shown.1.wait_timeout_while(text, PATIENCE, |text| !text.contains(words));
        let (mut text, waited) = wait.unwrap_or_else(PoisonError::into_inner);
        ensure!(!waited.timed_out(), "the terminal never showed {words:?}: {text:?}");
        text.clear();
        Ok(())
    }

    /// Waits for the program's end.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
