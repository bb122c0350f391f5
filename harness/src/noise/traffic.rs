//! One of the two sides: what it listens on, and how it dials the other.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener as StdTcpListener};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use netns::Namespace;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, listen, setsockopt, socket, sockopt,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::NoiseError;
use crate::service::accept;

/// How often each side dials its [`ROUND`]: a hundred times a second. What a busy machine misses is made up for.
const EVERY: Duration = Duration::from_millis(10);

/// A connection that comes to be is about seven packets, one that is refused two, and one without an answer a SYN and its
/// repetition.
const ROUND: [Kind; 4] = [Kind::Open, Kind::Closed, Kind::Closed, Kind::Full];

/// How long an answer is waited for where there should be one; it comes within 1 ms. A firewall may take it.
const PATIENCE: Duration = Duration::from_millis(150);

/// How long one is waited for where there should be none: long enough for the first repetition, after 1 s.
const LONG_PATIENCE: Duration = Duration::from_millis(1100);

/// When a side ends by itself. No check takes so long.
const LIMIT: Duration = Duration::from_secs(120);

/// No descriptor or no port was left for a dial.
const ITS_OWN: [i32; 3] = [Errno::EMFILE as i32, Errno::ENFILE as i32, Errno::EADDRNOTAVAIL as i32];

/// What a port answers.
#[derive(Clone, Copy)]
enum Kind {
    Open,
    Closed,
    Full,
}

/// A port of each kind, the same on both sides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Ports {
    open: u16,
    closed: u16,
    full: u16,
}

impl Ports {
    /// The first three from there on that are not taken.
    pub(super) fn above(first: u16, taken: &[u16]) -> Self {
        let mut free = (first..).filter(|port| !taken.contains(port));
        let mut next = || free.next().unwrap_or(first);
        Self { open: next(), closed: next(), full: next() }
    }

    fn of(self, kind: Kind) -> u16 {
        match kind {
            Kind::Open => self.open,
            Kind::Closed => self.closed,
            Kind::Full => self.full,
        }
    }
}

/// What became of the connections of both sides.
#[derive(Debug, Default)]
pub(super) struct Counts {
    opened: AtomicU64,
    refused: AtomicU64,
    unanswered: AtomicU64,
}

impl Counts {
    /// Opened, refused, without an answer.
    pub(super) fn read(&self) -> (u64, u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.opened), read(&self.refused), read(&self.unanswered))
    }

    pub(super) fn clear(&self) {
        for counter in [&self.opened, &self.refused, &self.unanswered] {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

/// A side that listens.
pub(super) struct Side {
    own: Ipv4Addr,
    peer: Ipv4Addr,
    ports: Ports,
    open: StdTcpListener,
    full: OwnedFd,
    /// Bound and listening for nobody: the kernel refuses, and nobody else gets the port.
    _closed: OwnedFd,
}

impl Side {
    /// Takes its ports.
    pub(super) fn listen(
        namespace: &Namespace,
        own: Ipv4Addr,
        peer: Ipv4Addr,
        ports: Ports,
    ) -> Result<Self, NoiseError> {
        let failed = |what| move |errno: Errno| NoiseError::Socket { what, source: errno.into() };
        let bound = |kind| bound(SocketAddrV4::new(own, ports.of(kind))).map_err(failed("take a port"));
        namespace.run(|| {
            let open = bound(Kind::Open)?;
            listen(&open, Backlog::MAXCONN).map_err(failed("listen"))?;
            let full = bound(Kind::Full)?;
            // Room for one connection.
            listen(&full, Backlog::new(0).unwrap_or(Backlog::MAXCONN)).map_err(failed("listen"))?;
            Ok(Self { own, peer, ports, open: open.into(), full, _closed: bound(Kind::Closed)? })
        })?
    }

    /// Dials the other side until it is dropped, or its time is over.
    pub(super) async fn make_noise(self, counts: &Arc<Counts>) {
        let Ok(open) = TcpListener::from_std(self.open) else { return };
        let opened = tokio::spawn(accept(open, async |stream, _| drop(stream)));
        // Where a firewall leaves it empty, nothing of a stranger's gets an answer anyway.
        let full = (self.own, self.ports.full);
        let _kept = (self.full, timeout(PATIENCE, TcpStream::connect(full)).await);
        let dial_all = async {
            let mut tick = interval(EVERY);
            tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
            loop {
                tick.tick().await;
                for kind in ROUND {
                    let address = SocketAddrV4::new(self.peer, self.ports.of(kind));
                    tokio::spawn(dial(address, kind, Arc::clone(counts)));
                }
            }
        };
        let _: Result<(), _> = timeout(LIMIT, dial_all).await;
        opened.abort();
    }
}

async fn dial(address: SocketAddrV4, kind: Kind, counts: Arc<Counts>) {
    let patience = if matches!(kind, Kind::Full) { LONG_PATIENCE } else { PATIENCE };
    let counter = match timeout(patience, TcpStream::connect(address)).await {
        Ok(Ok(_)) => &counts.opened,
        // No packet was sent.
        Ok(Err(error)) if error.raw_os_error().is_none_or(|errno| ITS_OWN.contains(&errno)) => return,
        // By a reset, or by a firewall's message.
        Ok(Err(_)) => &counts.refused,
        Err(_) => &counts.unanswered,
    };
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A socket of TCP at that address, also where connections of an earlier one linger.
fn bound(address: SocketAddrV4) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(address))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_of_a_target_is_used() {
        let ports = Ports::above(61000, &[8080, 61000, 61002]);
        assert_eq!(ports, Ports { open: 61001, closed: 61003, full: 61004 });
    }
}
