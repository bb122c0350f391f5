//! Runs a command in a host, for so long and with so much to say.

use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use tokio::net::unix::pipe::Receiver;
use tokio::time::timeout;

use super::map::Ended;
use crate::host::{ExecError, HostCommand};

/// How a command came to its end.
pub(super) enum End {
    Ended(Ended),
    /// It was ended.
    TimedOut,
    /// The same.
    TooMuch,
}

/// Runs it. Output that a child of its own still holds open is not waited for.
pub(super) async fn ask(
    command: HostCommand<'_>,
    time: Duration,
    bytes: usize,
) -> Result<(End, Duration), ExecError> {
    let broken = |source: std::io::Error| ExecError::NotStarted { argv: "make a pipe".to_owned(), source };
    let (mut stdout, out) = Output::pipe(bytes).map_err(broken)?;
    let (mut stderr, err) = Output::pipe(bytes).map_err(broken)?;
    let begun = Instant::now();
    let mut process = command.stdout(out).stderr(err).spawn().await?;
    let ended = timeout(time, async {
        tokio::select! {
            status = process.wait() => status.map(Some),
            () = stdout.until_too_much() => Ok(None),
            () = stderr.until_too_much() => Ok(None),
        }
    });
    let end = match ended.await {
        Err(_) => End::TimedOut,
        Ok(status) => match status? {
            None => End::TooMuch,
            Some(status) => {
                stdout.take_what_is_there();
                stderr.take_what_is_there();
                if stdout.is_too_much() || stderr.is_too_much() {
                    End::TooMuch
                } else {
                    End::Ended(Ended { code: code(status), stdout: stdout.text(), stderr: stderr.text() })
                }
            }
        },
    };
    Ok((end, begun.elapsed()))
}

fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

/// One of its outputs.
struct Output {
    pipe: Receiver,
    kept: Vec<u8>,
    limit: usize,
}

impl Output {
    fn pipe(limit: usize) -> std::io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = pipe2(OFlag::O_CLOEXEC)?;
        Ok((Self { pipe: Receiver::from_owned_fd(ours)?, kept: Vec::new(), limit }, theirs))
    }

    fn is_too_much(&self) -> bool {
        self.kept.len() > self.limit
    }

    /// Reads until there is too much. Where it ends, or fails, that never comes.
    async fn until_too_much(&mut self) {
        while self.pipe.readable().await.is_ok() {
            if !self.take_what_is_there() {
                break;
            }
            if self.is_too_much() {
                return;
            }
        }
        std::future::pending().await
    }

    /// Whether more may come.
    fn take_what_is_there(&mut self) -> bool {
        let mut chunk = [0; 8 * 1024];
        while !self.is_too_much() {
            match self.pipe.try_read(&mut chunk) {
                Ok(0) => return false,
                Ok(length) => self.kept.extend_from_slice(&chunk[..length]),
                Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
            }
        }
        true
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept).into_owned()
    }
}
