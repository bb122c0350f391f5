//! The signals that a command passes on to the program that it runs in a host.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::thread;

use futures_util::StreamExt as _;
use futures_util::stream::SelectAll;
use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};

/// What is passed on, and the change of the terminal's size.
const WATCHED: [Signal; 5] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGWINCH];

/// Signals as something to read. They are caught and not blocked: a mask would be inherited by everything that is started.
pub(super) struct Signals {
    arrived: UnixStream,
}

impl Signals {
    /// From now on they do not end this process any more.
    pub(super) fn watch() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (arrived, mut tell) = UnixStream::pair()?;
        arrived.set_nonblocking(true)?;
        let mut all = SelectAll::new();
        {
            let _context = runtime.enter();
            for number in WATCHED {
                let mut stream = signal(SignalKind::from_raw(number as i32))?;
                all.push(futures_util::stream::poll_fn(move |context| {
                    stream.poll_recv(context).map(|came| came.map(|()| number as u8))
                }));
            }
        }
        thread::spawn(move || {
            runtime.block_on(async move {
                while let Some(number) = all.next().await {
                    if tell.write_all(&[number]).is_err() {
                        return;
                    }
                }
            });
        });
        Ok(Self { arrived })
    }

    /// Those that have come since.
    pub(super) fn take(&mut self) -> Vec<i32> {
        let mut numbers = [0; 64];
        let length = self.arrived.read(&mut numbers).unwrap_or(0);
        numbers[..length].iter().map(|number| i32::from(*number)).collect()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.arrived.as_fd()
    }
}
