//! `NETLINK_SOCK_DIAG`: the kernel's own list of sockets (include/uapi/linux/inet_diag.h). Unlike `/proc/net/tcp` it
//! says whether an IPv6 socket takes IPv4 connections, and it always shows this network namespace.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd as _;

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
const NLM_F_REQUEST_DUMP: u16 = 0x1 | 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const IPPROTO_TCP: u8 = 6;
const TCP_LISTEN: u32 = 10;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
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
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    setsockopt(&netlink, sockopt::ReceiveTimeout, &TimeVal::seconds(PATIENCE_SECONDS))?;
    sendto(netlink.as_raw_fd(), &request(family), &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut listeners = Vec::new();
    // The kernel fills datagrams of at most 32 KiB for a dump.
    let mut buffer = vec![0u8; 64 * 1024];
    loop {
        let length = match recv(netlink.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        if parse(&buffer[..length], &mut listeners)? {
            return Ok(listeners);
        }
    }
}

/// `struct nlmsghdr`, then `struct inet_diag_req_v2` with an empty socket id.
fn request(family: u8) -> Vec<u8> {
    let length = (HEADER + 56) as u32;
    let mut request = Vec::with_capacity(length as usize);
    request.extend_from_slice(&length.to_ne_bytes());
    request.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend_from_slice(&NLM_F_REQUEST_DUMP.to_ne_bytes());
    request.extend_from_slice(&[0; 8]);
    request.extend_from_slice(&[family, IPPROTO_TCP, 0, 0]);
    request.extend_from_slice(&(1u32 << TCP_LISTEN).to_ne_bytes());
    request.extend_from_slice(&[0; 48]);
    request
}

/// Reads one datagram; `true` when it ends the dump.
fn parse(mut datagram: &[u8], listeners: &mut Vec<Listener>) -> Result<bool, TableError> {
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
            SOCK_DIAG_BY_FAMILY => listeners.extend(listener(body)),
            _ => {}
        }
        datagram = &datagram[length.next_multiple_of(4).min(datagram.len())..];
    }
    Ok(false)
}

/// `struct inet_diag_msg`: family, state, timer, retrans (one byte each), the socket id (ports in network order,
/// source, destination, interface, cookie), then expires, rqueue, wqueue, uid, inode; attributes follow.
fn listener(body: &[u8]) -> Option<Listener> {
    let (message, mut attributes) = body.split_first_chunk::<MESSAGE>()?;
    let word =
        |at: usize| u32::from_ne_bytes([message[at], message[at + 1], message[at + 2], message[at + 3]]);
    let source: [u8; 16] = message[8..24].try_into().ok()?;
    let address = match message[0] {
        AF_INET => IpAddr::V4(Ipv4Addr::new(source[0], source[1], source[2], source[3])),
        AF_INET6 => IpAddr::V6(Ipv6Addr::from(source)),
        _ => return None,
    };
    let mut v6_only = false;
    while let Some((header, _)) = attributes.split_first_chunk::<4>() {
        let length = u16::from_ne_bytes([header[0], header[1]]) as usize;
        if length < 4 || length > attributes.len() {
            break;
        }
        if u16::from_ne_bytes([header[2], header[3]]) == INET_DIAG_SKV6ONLY {
            v6_only = attributes.get(4).is_some_and(|flag| *flag != 0);
        }
        attributes = &attributes[length.next_multiple_of(4).min(attributes.len())..];
    }
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
    fn rubbish_is_an_error_and_not_a_panic() {
        let mut listeners = Vec::new();
        assert!(parse(&[0xff; 40], &mut listeners).is_err());
        assert_eq!(parse(&[1, 2, 3], &mut listeners), Ok(false));
        assert!(listener(&[0; 10]).is_none());
    }
}
