//! Connections that are dialled all at once.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect, setsockopt, socket,
    sockopt,
};

use super::super::Outcome;
use super::errqueue::icmp;
use super::micros;
use super::topology::Standpoint;

/// How long a SYN or a byte may be unanswered. Everything is on one machine, where an answer takes microseconds.
const PATIENCE: Duration = Duration::from_millis(350);

/// How long it takes at most until the trace says all about the first packets.
const SETTLED: Duration = Duration::from_millis(50);

/// One connection.
#[derive(Debug)]
pub(super) struct Dial {
    /// Where it comes from, once the kernel has said so.
    pub(super) source: Option<SocketAddr>,
    /// Where it goes.
    pub(super) to: SocketAddr,
    /// How it went, when that is known.
    pub(super) outcome: Option<Outcome>,
    /// How long it took.
    pub(super) elapsed_us: u64,
    data: u16,
    began: Instant,
    stream: Option<TcpStream>,
    connected: bool,
    until: Instant,
}

impl Dial {
    /// Sends the SYN.
    pub(super) fn begin(from: &Standpoint<'_>, to: SocketAddr, data: u16) -> Self {
        let began = Instant::now();
        let mut dial = Self {
            source: None,
            to,
            outcome: None,
            elapsed_us: 0,
            data,
            began,
            stream: None,
            connected: false,
            until: began + PATIENCE,
        };
        match from.namespace.run(|| dial.connect(from.source)) {
            Ok(Ok(())) => {}
            Ok(Err(errno)) => dial.failed(errno as i32),
            Err(error) => dial.end(Outcome::NotTried { why: error.to_string() }),
        }
        dial
    }

    /// One that cannot be.
    pub(super) fn not_tried(to: SocketAddr, why: String) -> Self {
        let now = Instant::now();
        let outcome = Some(Outcome::NotTried { why });
        let (source, stream) = (None, None);
        Self { source, to, outcome, elapsed_us: 0, data: 0, began: now, stream, connected: false, until: now }
    }

    fn connect(&mut self, source: Option<IpAddr>) -> Result<(), Errno> {
        let v4 = self.to.is_ipv4();
        let family = if v4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let descriptor = socket(family, SockType::Stream, flags, SockProtocol::Tcp)?;
        match v4 {
            true => setsockopt(&descriptor, sockopt::Ipv4RecvErr, &true)?,
            false => setsockopt(&descriptor, sockopt::Ipv6RecvErr, &true)?,
        }
        if let Some(source) = source {
            bind(descriptor.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(source, 0)))?;
        }
        let result = connect(descriptor.as_raw_fd(), &SockaddrStorage::from(self.to));
        let stream = TcpStream::from(descriptor);
        self.source = stream.local_addr().ok().filter(|it| it.port() != 0);
        self.stream = Some(stream);
        match result {
            Ok(()) | Err(Errno::EINPROGRESS) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Whether its SYN is neither answered nor given up.
    pub(super) fn is_connecting(&self) -> bool {
        self.outcome.is_none() && !self.connected
    }

    /// What there is to see now.
    fn advance(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        if !self.connected {
            match stream.take_error() {
                Ok(None) => {}
                Ok(Some(error)) | Err(error) => return self.failed(number(&error)),
            }
            if stream.peer_addr().is_err() {
                return;
            }
            (self.connected, self.until) = (true, Instant::now() + PATIENCE);
            let said = match self.data {
                0 => stream.shutdown(Shutdown::Write),
                length => stream.write_all(&vec![b'?'; length.into()]),
            };
            if let Err(error) = said {
                return self.broken(&error);
            }
        }
        let mut byte = [0];
        match stream.read(&mut byte) {
            // To its end only the other's end is an answer.
            Ok(0) if self.data == 0 => self.end(Outcome::Reached),
            Ok(0) => self.end(Outcome::ConnectedButSilent { errno: None }),
            Ok(_) => self.end(Outcome::Reached),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => self.broken(&error),
        }
    }

    fn broken(&mut self, error: &io::Error) {
        self.end(Outcome::ConnectedButSilent { errno: Some(number(error)) });
    }

    fn failed(&mut self, errno: i32) {
        let icmp = self.stream.as_ref().and_then(icmp);
        let own = self.source.map(|it| it.ip());
        let foreign = icmp.is_some_and(|it| it.offender.is_some() && it.offender != own);
        self.end(if foreign || errno == Errno::ECONNREFUSED as i32 {
            Outcome::Refused { errno, icmp }
        } else {
            Outcome::Unreachable { errno, icmp }
        });
    }

    /// Nothing came.
    pub(super) fn give_up(&mut self) {
        self.end(if self.connected {
            Outcome::ConnectedButSilent { errno: None }
        } else {
            Outcome::NoAnswer
        });
    }

    fn end(&mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
        self.elapsed_us = micros(self.began);
    }
}

/// Waits for all of them. After a while `dropped` is asked whether a SYN that is not answered never will be.
pub(super) fn finish<E>(
    dials: &mut [Dial],
    mut dropped: impl FnMut(&[Dial]) -> Result<bool, E>,
) -> Result<(), E> {
    let settled = Instant::now() + SETTLED;
    let mut asked = false;
    loop {
        let now = Instant::now();
        for dial in dials.iter_mut().filter(|dial| dial.outcome.is_none()) {
            dial.advance();
            if dial.outcome.is_none() && dial.until <= now {
                dial.give_up();
            }
        }
        let open = dials.iter().filter(|dial| dial.outcome.is_none());
        let Some(mut until) = open.map(|dial| dial.until).min() else { return Ok(()) };
        if !asked && now >= settled {
            asked = true;
            if dials.iter().all(|dial| dial.outcome.is_some() || dial.is_connecting()) && dropped(dials)? {
                dials.iter_mut().filter(|dial| dial.outcome.is_none()).for_each(Dial::give_up);
                return Ok(());
            }
        }
        if !asked {
            until = until.min(settled);
        }
        wait(dials, until);
    }
}

fn wait(dials: &[Dial], until: Instant) {
    let mut descriptors: Vec<_> = dials
        .iter()
        .filter(|dial| dial.outcome.is_none())
        .filter_map(|dial| {
            let events = if dial.connected { PollFlags::POLLIN } else { PollFlags::POLLOUT };
            Some(PollFd::new(dial.stream.as_ref()?.as_fd(), events))
        })
        .collect();
    // Rounded up, so that it does not turn in the last millisecond.
    let left = until.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
    // What it says is seen at the sockets.
    let _ = poll(&mut descriptors, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
}

fn number(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(Errno::EIO as i32)
}
