//! `NETLINK_SOCK_DIAG`: the kernel's own list of sockets (include/uapi/linux/inet_diag.h). Unlike `/proc/net/tcp` it
//! says whether an IPv6 socket takes IPv4 connections, and it always shows this network namespace.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use super::Listener;

/// The socket table could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to read the table of listening sockets: {errno}")]
pub struct TableError {
    errno: Errno,
}

impl From<Errno> for TableError {
    fn from(errno: Errno) -> Self {
        Self { errno }
    }
}

impl From<TableError> for io::Error {
    fn from(error: TableError) -> Self {
        error.errno.into()
    }
}

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const IPPROTO_TCP: u8 = 6;
const TCP_LISTEN: u32 = 10;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const INET_DIAG_INFO: u16 = 2;
const INET_DIAG_SKV6ONLY: u16 = 11;
/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// `struct inet_diag_msg`.
const MESSAGE: usize = 72;
/// The kernel answers at once; this bounds a kernel that does not.
const PATIENCE_SECONDS: i64 = 2;

pub(super) fn read() -> Result<Vec<Listener>, TableError> {
    let mut listeners = dump(AF_INET)?;
    // A kernel without IPv6 has no such sockets.
    match dump(AF_INET6) {
        Ok(more) => listeners.extend(more),
        Err(TableError { errno: Errno::ENOENT | Errno::EAFNOSUPPORT }) => {}
        Err(error) => return Err(error),
    }
    Ok(listeners)
}

fn dump(family: u8) -> Result<Vec<Listener>, TableError> {
    let netlink = ask(&request(family, NLM_F_DUMP, 1 << TCP_LISTEN, [0; 48]))?;
    let mut listeners = Vec::new();
    // The kernel fills datagrams of at most 32 KiB for a dump.
    let mut buffer = vec![0u8; 64 * 1024];
    loop {
        let length = receive(&netlink, &mut buffer)?;
        if parse(&buffer[..length], &mut listeners)? {
            return Ok(listeners);
        }
    }
}

/// A connection as this side of it has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Connection {
    pub(super) state: u8,
    /// Whose it is; `None` as long as no process has accepted it.
    pub(super) uid: Option<u32>,
    /// Whether its peer has not acknowledged all that was said.
    pub(super) unacknowledged: bool,
    /// Whether its peer said anything.
    pub(super) heard: bool,
}

/// The connection between these two; `None` when there is none here.
pub(super) fn connection(local: SocketAddrV4, peer: SocketAddrV4) -> Result<Option<Connection>, TableError> {
    // `struct inet_diag_sockid`: ports, source, destination, interface, cookie; all ones is "no cookie".
    let mut id = [0u8; 48];
    id[0..2].copy_from_slice(&local.port().to_be_bytes());
    id[2..4].copy_from_slice(&peer.port().to_be_bytes());
    id[4..8].copy_from_slice(&local.ip().octets());
    id[20..24].copy_from_slice(&peer.ip().octets());
    id[40..48].fill(0xff);
    let netlink = ask(&request(AF_INET, 0, u32::MAX, id))?;
    let mut buffer = [0u8; 4096];
    let length = receive(&netlink, &mut buffer)?;
    let answer = &buffer[..length];
    let Some((header, body)) = answer.split_first_chunk::<HEADER>() else {
        return Err(Errno::EBADMSG.into());
    };
    match u16::from_ne_bytes([header[4], header[5]]) {
        NLMSG_ERROR => match body.first_chunk::<4>().map_or(0, |bytes| -i32::from_ne_bytes(*bytes)) {
            0 => Err(Errno::EBADMSG.into()),
            errno if Errno::from_raw(errno) == Errno::ENOENT => Ok(None),
            errno => Err(Errno::from_raw(errno).into()),
        },
        SOCK_DIAG_BY_FAMILY => {
            let message = body.first_chunk::<MESSAGE>().ok_or(Errno::EBADMSG)?;
            let (state, uid, inode) = (message[1], word(message, 64), word(message, 68));
            // A connection without a file has no user yet, and says root where it knows none.
            let uid = Some(uid).filter(|_| inode != 0);
            // Without such a connection the kernel finds the listener that would take it.
            // `idiag_wqueue` of a connection is what was written and not acknowledged.
            let unacknowledged = word(message, 60) > 0;
            let heard = heard(body.get(MESSAGE..).unwrap_or_default());
            let found = Connection { state, uid, unacknowledged, heard };
            Ok(Some(found).filter(|found| u32::from(found.state) != TCP_LISTEN))
        }
        _ => Err(Errno::EBADMSG.into()),
    }
}

/// Whether bytes came in, by a socket's attributes: `tcpi_bytes_received` of its `struct tcp_info` (include/uapi/linux/tcp.h).
fn heard(attributes: &[u8]) -> bool {
    const BYTES_RECEIVED: usize = 128;
    let info = each_attribute(attributes).find(|(kind, _)| *kind == INET_DIAG_INFO);
    let received = info.and_then(|(_, info)| info.get(BYTES_RECEIVED..BYTES_RECEIVED + 8));
    received.is_some_and(|received| received.iter().any(|byte| *byte != 0))
}

/// The attributes that follow a socket's message, with their numbers.
fn each_attribute(mut left: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header = left.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let value = left.get(4..length)?;
        let kind = u16::from_ne_bytes([header[2], header[3]]);
        left = &left[length.next_multiple_of(4).min(left.len())..];
        Some((kind, value))
    })
}

/// Whether any socket here has the connection of `peer`, by whatever address and port it came to it.
pub(super) fn has_peer(peer: SocketAddrV4) -> Result<bool, TableError> {
    for family in [AF_INET, AF_INET6] {
        let netlink = ask(&request(family, NLM_F_DUMP, !(1 << TCP_LISTEN), [0; 48]))?;
        let (mut found, mut buffer) = (false, vec![0u8; 64 * 1024]);
        loop {
            let length = receive(&netlink, &mut buffer)?;
            let done = each(&buffer[..length], |body| {
                let port = body.get(6..8) == Some(&peer.port().to_be_bytes());
                let mapped = peer.ip().to_ipv6_mapped().octets();
                let address = body.get(24..28) == Some(&peer.ip().octets()) && family == AF_INET
                    || body.get(24..40) == Some(&mapped);
                found |= port && address;
            });
            match done {
                Ok(false) => {}
                Ok(true) => break,
                // A kernel without IPv6 has no such sockets.
                Err(TableError { errno: Errno::ENOENT | Errno::EAFNOSUPPORT }) if family == AF_INET6 => break,
                Err(error) => return Err(error),
            }
        }
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

fn ask(request: &[u8]) -> Result<OwnedFd, TableError> {
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    setsockopt(&netlink, sockopt::ReceiveTimeout, &TimeVal::seconds(PATIENCE_SECONDS))?;
    sendto(netlink.as_raw_fd(), request, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    Ok(netlink)
}

fn receive(netlink: &OwnedFd, buffer: &mut [u8]) -> Result<usize, TableError> {
    loop {
        match recv(netlink.as_raw_fd(), buffer, MsgFlags::empty()) {
            Err(Errno::EINTR) => {}
            other => return Ok(other?),
        }
    }
}

/// `struct nlmsghdr`, then `struct inet_diag_req_v2`, which ends with a socket's id.
fn request(family: u8, flags: u16, states: u32, id: [u8; 48]) -> Vec<u8> {
    let length = (HEADER + 56) as u32;
    let mut request = Vec::with_capacity(length as usize);
    request.extend_from_slice(&length.to_ne_bytes());
    request.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
    request.extend_from_slice(&[0; 8]);
    // What a listener has more is not asked for, and of a connection how much came in.
    let more = if flags & NLM_F_DUMP == 0 { 1 << (INET_DIAG_INFO - 1) } else { 0 };
    request.extend_from_slice(&[family, IPPROTO_TCP, more, 0]);
    request.extend_from_slice(&states.to_ne_bytes());
    request.extend_from_slice(&id);
    request
}

/// Reads one datagram; `true` when it ends the dump.
fn parse(datagram: &[u8], listeners: &mut Vec<Listener>) -> Result<bool, TableError> {
    each(datagram, |body| listeners.extend(listener(body)))
}

/// Calls `take` with each socket of a datagram; `true` when it ends the dump.
fn each(mut datagram: &[u8], mut take: impl FnMut(&[u8])) -> Result<bool, TableError> {
    while let Some((header, _)) = datagram.split_first_chunk::<HEADER>() {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        if length < HEADER || length > datagram.len() {
            return Err(Errno::EBADMSG.into());
        }
        let body = &datagram[HEADER..length];
        match u16::from_ne_bytes([header[4], header[5]]) {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let errno = body.first_chunk::<4>().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
                return if errno == 0 { Ok(true) } else { Err(Errno::from_raw(-errno).into()) };
            }
            SOCK_DIAG_BY_FAMILY => take(body),
            _ => {}
        }
        datagram = &datagram[length.next_multiple_of(4).min(datagram.len())..];
    }
    Ok(false)
}

/// A number of a message in this machine's order.
fn word(message: &[u8; MESSAGE], at: usize) -> u32 {
    u32::from_ne_bytes([message[at], message[at + 1], message[at + 2], message[at + 3]])
}

/// `struct inet_diag_msg`: family, state, timer, retrans (one byte each), the socket id (ports in network order,
/// source, destination, interface, cookie), then expires, rqueue, wqueue, uid, inode; attributes follow.
fn listener(body: &[u8]) -> Option<Listener> {
    let (message, attributes) = body.split_first_chunk::<MESSAGE>()?;
    let word = |at: usize| word(message, at);
    let source: [u8; 16] = message[8..24].try_into().ok()?;
    let address = match message[0] {
        AF_INET => IpAddr::V4(Ipv4Addr::new(source[0], source[1], source[2], source[3])),
        AF_INET6 => IpAddr::V6(Ipv6Addr::from(source)),
        _ => return None,
    };
    let v6_only = each_attribute(attributes)
        .any(|(kind, flag)| kind == INET_DIAG_SKV6ONLY && flag.first().is_some_and(|flag| *flag != 0));
    Some(Listener {
        address,
        port: u16::from_be_bytes([message[4], message[5]]),
        v6_only,
        interface: word(40),
        queued: word(56),
        queue_limit: word(60),
        uid: word(64),
        inode: word(68),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_only_sockets_are_told_from_dual_ones() {
        use nix::sys::socket::{Backlog, SockaddrIn6, bind, getsockname, listen};
        let open = |only: bool| {
            let socket =
                socket(AddressFamily::Inet6, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
            setsockopt(&socket, sockopt::Ipv6V6Only, &only).unwrap();
            let any = std::net::SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0);
            bind(socket.as_raw_fd(), &SockaddrIn6::from(any)).unwrap();
            listen(&socket, Backlog::new(1).unwrap()).unwrap();
            let port = getsockname::<SockaddrIn6>(socket.as_raw_fd()).unwrap().port();
            (socket, port)
        };
        let ((_one, dual), (_two, only)) = (open(false), open(true));
        let table = read().unwrap();
        let v6_only = |port| table.iter().find(|listener| listener.port == port).unwrap().v6_only;
        assert!(!v6_only(dual));
        assert!(v6_only(only));
    }

    #[test]
    fn a_connection_is_found_from_its_other_end_only_while_it_is_there() {
        let v4 = |address: std::net::SocketAddr| match address {
            std::net::SocketAddr::V4(v4) => v4,
            std::net::SocketAddr::V6(_) => panic!("an IPv6 address"),
        };
        // A service on the IPv6 wildcard takes IPv4 connections too.
        for any in ["127.0.0.1:0", "[::]:0"] {
            let listener = std::net::TcpListener::bind(any).unwrap();
            let service = SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port());
            let client = std::net::TcpStream::connect(service).unwrap();
            let peer = v4(client.local_addr().unwrap());
            let queued = Connection { state: 1, uid: None, unacknowledged: false, heard: false };
            assert_eq!(connection(service, peer), Ok(Some(queued)), "established, before it is accepted");
            let accepted = listener.accept().unwrap();
            let own = Some(nix::unistd::geteuid().as_raw());
            assert_eq!(connection(service, peer), Ok(Some(Connection { uid: own, ..queued })));
            std::io::Write::write_all(&mut &client, b"?").unwrap();
            assert_eq!(connection(service, peer), Ok(Some(Connection { uid: own, heard: true, ..queued })));
            assert_eq!(has_peer(peer), Ok(true));
            let nobody = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);
            assert_eq!(has_peer(nobody), Ok(false));
            assert_eq!(connection(service, nobody), Ok(None), "the listener is no connection");
            drop((accepted, listener));
            assert_eq!(connection(nobody, peer), Ok(None));
        }
    }

    #[test]
    fn rubbish_is_an_error_and_not_a_panic() {
        let mut listeners = Vec::new();
        assert!(parse(&[0xff; 40], &mut listeners).is_err());
        assert_eq!(parse(&[1, 2, 3], &mut listeners), Ok(false));
        assert!(listener(&[0; 10]).is_none());
    }
}
