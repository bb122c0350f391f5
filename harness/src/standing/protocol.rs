//! What a command says to a caretaker: a line of JSON, with descriptors where the request needs them. Every answer is a line.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde::{Deserialize, Serialize};

use super::program::Program;

/// No request is so long: a command line of this length is refused where it is read.
pub(super) const REQUEST_LIMIT: usize = 256 * 1024;

/// What a command asks for.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Request {
    /// Whether the engine answers.
    Engine,
    /// What the engine and the first processes have logged.
    Log,
    /// Runs a program. With it come standard input, output and error, unless it is to have a terminal. The connection is the
    /// program's life: when it closes, the program is ended.
    Run {
        /// The program.
        program: Program,
        /// The terminal that it is to have.
        terminal: Option<Window>,
    },
    /// Sends a signal to the program that runs on this connection.
    Signal(i32),
}

/// A terminal.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Window {
    pub(super) rows: u16,
    pub(super) columns: u16,
    /// The environment's `TERM`.
    pub(super) kind: Option<String>,
}

/// What a caretaker answers.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Answer {
    /// The engine's version, or why it does not answer.
    Engine(Result<String, String>),
    /// The logs.
    Log(String),
    /// The program runs. The terminal's other end comes with it, when there is one.
    Started,
    /// The program does not run: what to say, and the exit code that a shell would have.
    Refused {
        /// Why.
        message: String,
        /// 125, 126 or 127.
        code: u8,
    },
    /// It ended with that code.
    Exited(i32),
    /// It was ended by that signal.
    Signaled(i32),
}

/// A message as a line.
pub(super) fn line(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

/// Sends a part of a line, with descriptors; returns how much was taken.
pub(super) fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let raw: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let slices = [io::IoSlice::new(bytes)];
    Ok(sendmsg::<()>(socket.as_raw_fd(), &slices, control, MsgFlags::MSG_NOSIGNAL, None)?)
}

/// Collects what comes until there is a whole line.
#[derive(Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    pub(super) descriptors: Vec<OwnedFd>,
}

impl Lines {
    /// Receives once. `false` is the end.
    pub(super) fn receive(&mut self, socket: impl AsFd) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        let (length, descriptors) = netns::sys::receive_with_descriptors(socket, &mut buffer)?;
        self.bytes.extend_from_slice(&buffer[..length]);
        self.descriptors.extend(descriptors);
        Ok(length > 0)
    }

    /// The next whole line.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        let end = self.bytes.iter().position(|byte| *byte == b'\n')?;
        let rest = self.bytes.split_off(end + 1);
        Some(std::mem::replace(&mut self.bytes, rest))
    }

    pub(super) fn is_too_long(&self) -> bool {
        self.bytes.len() > REQUEST_LIMIT
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn lines_come_whole_however_they_were_cut() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let mut lines = Lines::default();
        ours.write_all(b"one\ntw").unwrap();
        assert!(lines.receive(&theirs).unwrap());
        assert_eq!(lines.next().unwrap(), b"one\n");
        assert!(lines.next().is_none());
        send(ours.as_fd(), b"o\n", &[io::stdin().as_fd()]).unwrap();
        assert!(lines.receive(&theirs).unwrap());
        assert_eq!(lines.next().unwrap(), b"two\n");
        assert_eq!(lines.descriptors.len(), 1);
        drop(ours);
        assert!(!lines.receive(&theirs).unwrap());
    }
}
