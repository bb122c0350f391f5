//! A netlink socket of netfilter.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, sendto,
    setsockopt, socket, sockopt,
};

use super::message::{Messages, Received, messages};
use crate::Error;

/// More than the kernel puts into a datagram: a dump's are 32 KiB at most, a trace event's some hundred bytes.
const DATAGRAM: usize = 64 * 1024;

/// How many bytes of events the kernel keeps until they are read: some thousand events.
const EVENTS: usize = 4 * 1024 * 1024;

/// How long the kernel may take to answer; it answers while it is asked.
const PATIENCE: Duration = Duration::from_secs(5);

/// A socket in the network namespace that its creator's thread was in.
pub(crate) struct Socket {
    descriptor: OwnedFd,
    buffer: Vec<u8>,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("descriptor", &self.descriptor).finish_non_exhaustive()
    }
}

impl Socket {
    /// A socket for requests.
    pub(crate) fn open() -> Result<Self, Error> {
        Self::bound(0)
    }

    /// A socket that receives what the kernel says to a group.
    pub(crate) fn subscribed(group: u32) -> Result<Self, Error> {
        let socket = Self::bound(1 << (group - 1))?;
        // Beyond the machine's limit where the caller may, else up to it.
        if setsockopt(&socket.descriptor, sockopt::RcvBufForce, &EVENTS).is_err() {
            setsockopt(&socket.descriptor, sockopt::RcvBuf, &EVENTS)
                .map_err(Error::kernel("enlarge the buffer of a netlink socket"))?;
        }
        Ok(socket)
    }

    fn bound(groups: u32) -> Result<Self, Error> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkNetFilter;
        let descriptor = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)
            .map_err(Error::kernel("open a netlink socket of netfilter"))?;
        bind(descriptor.as_raw_fd(), &NetlinkAddr::new(0, groups))
            .map_err(Error::kernel("bind a netlink socket of netfilter"))?;
        Ok(Self { descriptor, buffer: vec![0; DATAGRAM] })
    }

    /// Sends requests, and gives every message that comes back to `read` until it has what it waits for.
    pub(crate) fn ask<T>(
        &mut self,
        request: &'static str,
        messages: &Messages,
        mut read: impl FnMut(Received<'_>) -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        let deadline = Instant::now() + PATIENCE;
        sendto(self.descriptor.as_raw_fd(), messages.bytes(), &NetlinkAddr::new(0, 0), MsgFlags::empty())
            .map_err(|errno| Error::Refused { request, source: errno.into() })?;
        let refused = |number| Error::Refused { request, source: std::io::Error::from_raw_os_error(number) };
        loop {
            let mut answer = None;
            let more = self.receive(deadline, |message| {
                if let Some(number @ 1..) = message.errno()? {
                    return Err(refused(number));
                }
                answer = match answer.take() {
                    None => read(message)?,
                    found => found,
                };
                Ok(())
            })?;
            if let Some(answer) = answer {
                return Ok(answer);
            }
            if !more {
                return Err(Error::NoAnswer { request, milliseconds: PATIENCE.as_millis() });
            }
        }
    }

    /// Waits for a datagram until the deadline, and gives its messages to `read`; whether there was one. What is there
    /// already is read also after the deadline.
    pub(crate) fn receive(
        &mut self,
        deadline: Instant,
        mut read: impl FnMut(Received<'_>) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        loop {
            match recvfrom::<NetlinkAddr>(self.descriptor.as_raw_fd(), &mut self.buffer) {
                // Only the kernel's word counts: another process can send to this socket too.
                Ok((length, Some(sender))) if sender.pid() == 0 => {
                    messages(&self.buffer[..length]).try_for_each(|message| read(message?))?;
                    return Ok(true);
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if Instant::now() >= deadline => return Ok(false),
                Err(Errno::EAGAIN) => self.wait(deadline)?,
                Err(Errno::ENOBUFS) => return Err(Error::Overrun),
                Err(errno) => return Err(Error::kernel("read a netlink socket of netfilter")(errno)),
            }
        }
    }

    fn wait(&self, deadline: Instant) -> Result<(), Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up, so that it does not turn in the last millisecond.
        let left = left.checked_add(Duration::from_micros(999)).unwrap_or(left);
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLIN)], left) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(Error::kernel("wait for a netlink socket of netfilter")(errno)),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
