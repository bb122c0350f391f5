//! Who listens where, from the socket table of this network namespace.
//!
//! A dial from the host to itself goes over `lo` and may be dropped by the same rule that is looked for: only the
//! socket table proves that a service is there.

mod sock_diag;

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use serde::{Deserialize, Serialize};
pub use sock_diag::TableError;

/// States of a connection (include/net/tcp_states.h).
const ESTABLISHED: u8 = 1;
const SYN_RECV: u8 = 3;
const NEW_SYN_RECV: u8 = 12;

/// A listening TCP socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Listener {
    /// The address it is bound to.
    pub address: IpAddr,
    /// The port it is bound to.
    pub port: u16,
    /// An IPv6 socket that takes no IPv4 connections.
    pub v6_only: bool,
    /// The index of the interface it is bound to (`SO_BINDTODEVICE`), 0 for none.
    pub interface: u32,
    /// The socket's inode, which tells one socket from a later one in its place.
    pub inode: u32,
    /// The user it belongs to.
    pub uid: u32,
    /// Connections that wait to be accepted.
    pub queued: u32,
    /// The most that may wait: from one more on, SYNs are dropped.
    pub queue_limit: u32,
}

impl Listener {
    /// Whether it takes connections to `address` that come in through the interface with the index `interface`.
    #[must_use]
    pub fn covers(&self, address: Ipv4Addr, interface: u32) -> bool {
        let bound = match self.address {
            IpAddr::V4(own) => own.is_unspecified() || own == address,
            IpAddr::V6(own) => match own.to_ipv4_mapped() {
                Some(own) => own.is_unspecified() || own == address,
                None => own.is_unspecified() && !self.v6_only,
            },
        };
        bound && (self.interface == 0 || self.interface == interface)
    }

    /// Whether its accept queue is full, so that SYNs stay without an answer.
    #[must_use]
    pub fn queue_full(&self) -> bool {
        self.queued > self.queue_limit
    }
}

/// Every listening TCP socket of this network namespace. Needs no privilege and takes less than a millisecond.
///
/// # Errors
/// When the kernel does not answer.
pub fn read() -> Result<Vec<Listener>, TableError> {
    sock_diag::read()
}

/// What this network namespace has of a connection that a sandbox made or tried to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum HostSide {
    /// No socket: the packets did not get to one, or went to somebody else's.
    Absent,
    /// The SYN came in and was answered, and the answer has not been acknowledged.
    HalfOpen,
    /// A socket has the connection, or had it a moment ago.
    Present,
    /// What was said came in, and what this host says to that, if only that it came in, is not acknowledged or did not get back.
    /// Since 1.6.
    Unacknowledged,
}

/// What there is here of the connection from `peer` to `local`. An exact question: it takes microseconds however many
/// sockets there are, and needs no privilege. Only when there is none all sockets are looked through, for one that the
/// connection was redirected to by another address or port of this host.
///
/// # Errors
/// When the kernel does not answer.
pub fn host_side(local: SocketAddrV4, peer: SocketAddrV4) -> Result<HostSide, TableError> {
    Ok(match sock_diag::connection(local, peer)?.map(|found| found.state) {
        None if sock_diag::has_peer(peer)? => HostSide::Present,
        None => HostSide::Absent,
        Some(SYN_RECV | NEW_SYN_RECV) => HostSide::HalfOpen,
        Some(_) => HostSide::Present,
    })
}

/// Whether this host's part of a talk does not get back to the sandbox, which still has the connection and has heard nothing on it,
/// and no acknowledgement either unless `acknowledged`: there is something to send that is not acknowledged, or what nobody
/// acknowledged came in. Where this host has ended the connection, `ended` is to be known: that it came here at all.
///
/// # Errors
/// When the kernel does not answer.
pub(crate) fn is_unheard(
    local: SocketAddrV4,
    peer: SocketAddrV4,
    acknowledged: bool,
    ended: impl FnOnce() -> bool,
) -> Result<bool, TableError> {
    Ok(match sock_diag::connection(local, peer)? {
        Some(sock_diag::Connection { state: SYN_RECV | NEW_SYN_RECV, .. }) => false,
        Some(found) => found.heard && (found.unacknowledged || !acknowledged),
        None => !acknowledged && ended() && !sock_diag::has_peer(peer)?,
    })
}

/// The user that has this host's end of the connection from `peer` to `local`; `None` when there is none, or when no
/// process has accepted it. Needs no privilege.
///
/// # Errors
/// When the kernel does not answer.
pub fn held_by(local: SocketAddrV4, peer: SocketAddrV4) -> Result<Option<u32>, TableError> {
    Ok(match end(local, peer)? {
        End::Held(uid) => Some(uid),
        End::Queued | End::Nobody => None,
    })
}

/// Who has this host's end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A process of this user.
    Held(u32),
    /// The kernel, until a process accepts it. A service does so a moment after the handshake, and later on a busy host.
    Queued,
    /// Nobody: there is no such connection here, or whoever had it has closed it.
    Nobody,
}

/// Who has this host's end of the connection from `peer` to `local`.
pub(crate) fn end(local: SocketAddrV4, peer: SocketAddrV4) -> Result<End, TableError> {
    Ok(match sock_diag::connection(local, peer)? {
        Some(sock_diag::Connection { uid: Some(uid), .. }) => End::Held(uid),
        Some(sock_diag::Connection { state: ESTABLISHED | SYN_RECV | NEW_SYN_RECV, uid: None, .. }) => {
            End::Queued
        }
        // In every other state a socket without a file is one that was closed.
        Some(_) | None => End::Nobody,
    })
}

/// What two readings of the table, before and after the dials, say of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listening {
    /// The table could not be read.
    Unknown,
    /// The same socket covered the address both times.
    Proven {
        /// Its accept queue was full at either time.
        queue_full: bool,
    },
    /// A socket covered the address at one time only, or another one took its place.
    Changed,
    /// Sockets listen on the port, but none covers the address.
    Elsewhere {
        /// Where they listen.
        addresses: Vec<IpAddr>,
    },
    /// No socket listens on the port.
    Nowhere,
}

impl Listening {
    /// Compares the listeners of one port at two times.
    #[must_use]
    pub fn between(
        before: Option<&[Listener]>,
        after: Option<&[Listener]>,
        address: Ipv4Addr,
        interface: u32,
    ) -> Self {
        let (Some(before), Some(after)) = (before, after) else { return Self::Unknown };
        let covering = |listeners: &[Listener]| -> Vec<Listener> {
            listeners.iter().filter(|listener| listener.covers(address, interface)).cloned().collect()
        };
        let (first, second) = (covering(before), covering(after));
        let lasting: Vec<&Listener> = first
            .iter()
            .chain(&second)
            .filter(|one| {
                let there = |table: &[Listener]| table.iter().any(|other| other.inode == one.inode);
                there(&first) && there(&second)
            })
            .collect();
        if !lasting.is_empty() {
            return Self::Proven { queue_full: lasting.iter().any(|listener| listener.queue_full()) };
        }
        if !first.is_empty() || !second.is_empty() {
            return Self::Changed;
        }
        let mut addresses: Vec<IpAddr> =
            before.iter().chain(after).map(|listener| listener.address).collect();
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.is_empty() { Self::Nowhere } else { Self::Elsewhere { addresses } }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 1);

    pub(crate) fn listener(address: &str, inode: u32) -> Listener {
        Listener {
            address: address.parse().unwrap(),
            port: 8080,
            v6_only: false,
            interface: 0,
            inode,
            uid: 0,
            queued: 0,
            queue_limit: 128,
        }
    }

    #[test]
    fn wildcards_cover_the_address_unless_they_are_ipv6_only() {
        let table = [
            ("172.18.0.1", false, true),
            ("0.0.0.0", false, true),
            ("::", false, true),
            ("::", true, false),
            ("::ffff:172.18.0.1", false, true),
            ("::ffff:0.0.0.0", false, true),
            ("127.0.0.1", false, false),
            ("172.17.0.1", false, false),
            ("::1", false, false),
        ];
        for (address, v6_only, covers) in table {
            let listener = Listener { v6_only, ..listener(address, 1) };
            assert_eq!(listener.covers(GATEWAY, 7), covers, "{address} v6_only={v6_only}");
        }
    }

    #[test]
    fn a_listener_bound_to_another_interface_does_not_cover() {
        let on = |interface| Listener { interface, ..listener("0.0.0.0", 1) }.covers(GATEWAY, 7);
        assert!(on(0) && on(7) && !on(1));
    }

    #[test]
    fn a_listener_is_proven_only_by_the_same_socket_before_and_after() {
        let between = |before: &[Listener], after: &[Listener]| {
            Listening::between(Some(before), Some(after), GATEWAY, 7)
        };
        let gateway = listener("172.18.0.1", 10);
        let proven = Listening::Proven { queue_full: false };
        assert_eq!(between(std::slice::from_ref(&gateway), std::slice::from_ref(&gateway)), proven);
        assert_eq!(between(std::slice::from_ref(&gateway), &[]), Listening::Changed);
        assert_eq!(between(&[], std::slice::from_ref(&gateway)), Listening::Changed);
        assert_eq!(between(std::slice::from_ref(&gateway), &[listener("0.0.0.0", 11)]), Listening::Changed);
        assert_eq!(between(&[], &[]), Listening::Nowhere);
        let loopback = listener("127.0.0.1", 12);
        let elsewhere = Listening::Elsewhere { addresses: vec![loopback.address] };
        assert_eq!(between(std::slice::from_ref(&loopback), std::slice::from_ref(&loopback)), elsewhere);
        assert_eq!(Listening::between(None, Some(&[gateway]), GATEWAY, 7), Listening::Unknown);
    }

    #[test]
    fn a_full_accept_queue_at_either_time_is_seen() {
        let idle = listener("172.18.0.1", 10);
        let full = Listener { queued: 2, queue_limit: 1, ..idle.clone() };
        let listening = Listening::between(Some(&[idle]), Some(&[full]), GATEWAY, 7);
        assert_eq!(listening, Listening::Proven { queue_full: true });
    }

    #[test]
    fn this_process_finds_its_own_sockets() {
        let any = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let loopback = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let table = read().unwrap();
        let find = |socket: &std::net::TcpListener| {
            let port = socket.local_addr().unwrap().port();
            table.iter().find(|listener| listener.port == port).unwrap().clone()
        };
        assert!(find(&any).covers(GATEWAY, 7));
        assert!(!find(&loopback).covers(GATEWAY, 7));
        assert_ne!(find(&any).inode, find(&loopback).inode);
        assert!(find(&any).queue_limit > 0);
    }
}
