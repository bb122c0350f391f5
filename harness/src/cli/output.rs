//! Where everything that this program says goes through.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// A line of data. A reader that has gone away (`| head`) is no error.
pub(super) fn line(text: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// A line of talk.
pub(super) fn talk(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// An error with its causes, and its hints on lines of their own after a blank one.
pub(super) fn error(error: &anyhow::Error) {
    let text = format!("{error:#}");
    let mut lines = text.lines();
    talk(format_args!("error: {}", lines.next().unwrap_or_default()));
    let (hints, rest): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with("hint:"));
    rest.iter().for_each(talk);
    if !hints.is_empty() {
        talk("");
        hints.iter().for_each(talk);
    }
}

/// An error without causes, in words that a program of a host or its caretaker said.
pub(super) fn talk_error(message: &str) {
    error(&anyhow::anyhow!("{message}"));
}

/// What the caller has to mend: the error, and the exit code for it.
pub(super) fn refuse(message: impl Display) -> ExitCode {
    talk_error(&message.to_string());
    ExitCode::from(2)
}

/// A question on standard error.
pub(super) fn ask(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// What is going on, on a terminal only, in one line that goes when it is done.
pub(super) struct Progress {
    begun: Instant,
    on_terminal: bool,
}

impl Progress {
    pub(super) fn begin() -> Self {
        Self { begun: Instant::now(), on_terminal: std::io::stderr().is_terminal() }
    }

    pub(super) fn show(&self, what: &str) {
        if self.on_terminal {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K  … {what}");
        }
    }

    pub(super) fn clear(&self) {
        if self.on_terminal {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }

    /// Clears the line; returns how long it took.
    pub(super) fn end(self) -> String {
        self.clear();
        seconds(self.begun.elapsed())
    }
}

/// The steps of something that takes seconds: on a terminal a line that shows what is going on, and everywhere a line
/// for each step when it is done, with its time.
pub(super) struct Transcript {
    start: Instant,
    step: Instant,
    on_terminal: bool,
}

impl Transcript {
    pub(super) fn begin() -> Self {
        let now = Instant::now();
        Self { start: now, step: now, on_terminal: std::io::stderr().is_terminal() }
    }

    /// What is going on now.
    pub(super) fn doing(&self, what: impl Display) {
        if self.on_terminal {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K  … {what}");
        }
    }

    /// What is done, and how long it took.
    pub(super) fn done(&mut self, what: impl Display) {
        self.clear();
        line(format_args!("{:>7}  {what}", seconds(self.step.elapsed())));
        self.step = Instant::now();
    }

    /// Details of the step that was done last.
    pub(super) fn detail(&self, text: &str) {
        self.clear();
        for part in text.lines() {
            line(format_args!("         {part}").to_string().trim_end());
        }
    }

    pub(super) fn elapsed(&self) -> String {
        seconds(self.start.elapsed())
    }

    fn clear(&self) {
        if self.on_terminal {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}

impl Drop for Transcript {
    fn drop(&mut self) {
        self.clear();
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
