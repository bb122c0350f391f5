//! The way back: which interface this host answers a sandbox through.
//!
//! It may depend on the ports too, by policy routing. Where it is not the bridge, a strict `rp_filter` drops what comes in by it (RFC 3704), and otherwise the answers go
//! astray. Neither is a firewall's doing.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::net::if_::if_indextoname;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};
use serde::{Deserialize, Serialize};

/// The way from this host to a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ReturnPath {
    /// The sandbox's address.
    pub to: Ipv4Addr,
    /// The interface that packets to it leave through; `None` when there is no route.
    pub interface: Option<String>,
    /// Its index.
    pub index: Option<u32>,
    /// `net.ipv4.conf.*.rp_filter` of the bridge: 0 off, 1 strict, 2 loose. The larger of the bridge's own and of `all`
    /// counts.
    pub rp_filter: Option<u8>,
}

const RTM_GETROUTE: u16 = 26;
const RTM_NEWROUTE: u16 = 24;
const NLM_F_REQUEST: u16 = 1;
// include/uapi/linux/rtnetlink.h
const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_IP_PROTO: u16 = 27;
const RTA_SPORT: u16 = 28;
const RTA_DPORT: u16 = 29;
const IPPROTO_TCP: u8 = 6;
const AF_INET: u8 = 2;
/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// `struct rtmsg`.
const MESSAGE: usize = 12;
/// The kernel answers at once; this bounds a kernel that does not.
const PATIENCE_SECONDS: i64 = 2;

impl ReturnPath {
    /// The way of an answer from the service at `from` to the sandbox at `to`, as the kernel's routing has it with all of
    /// its rules, and the filter of `bridge`. `None` when the kernel does not say.
    #[must_use]
    pub fn find(from: SocketAddrV4, to: SocketAddrV4, bridge: &str) -> Option<Self> {
        let index = match route(from, to) {
            Ok(index) => index,
            // No route, `unreachable`, `prohibit` and `blackhole` (ip-route(8)).
            Err(Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EACCES | Errno::EINVAL) => None,
            Err(_) => return None,
        };
        let interface = index
            .and_then(|index| if_indextoname(index).ok())
            .map(|name| name.to_string_lossy().into_owned());
        let filter = |of: &str| -> Option<u8> {
            let text = std::fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{of}/rp_filter")).ok()?;
            text.trim().parse().ok()
        };
        let rp_filter = filter("all").into_iter().chain(filter(bridge)).max();
        Some(Self { to: *to.ip(), interface, index, rp_filter })
    }
}

/// The index of the interface that TCP packets from `from` to `to` leave through (rtnetlink(7)). Rules may go by any of it.
fn route(from: SocketAddrV4, to: SocketAddrV4) -> Result<Option<u32>, Errno> {
    let mut attributes = Vec::new();
    let mut attribute = |kind: u16, value: &[u8]| {
        attributes.extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
        attributes.extend_from_slice(&kind.to_ne_bytes());
        attributes.extend_from_slice(value);
        attributes.resize(attributes.len().next_multiple_of(4), 0);
    };
    attribute(RTA_DST, &to.ip().octets());
    attribute(RTA_SRC, &from.ip().octets());
    attribute(RTA_IP_PROTO, &[IPPROTO_TCP]);
    attribute(RTA_SPORT, &from.port().to_be_bytes());
    attribute(RTA_DPORT, &to.port().to_be_bytes());
    let length = (HEADER + MESSAGE + attributes.len()) as u32;
    let mut request = Vec::with_capacity(length as usize);
    request.extend_from_slice(&length.to_ne_bytes());
    request.extend_from_slice(&RTM_GETROUTE.to_ne_bytes());
    request.extend_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    request.extend_from_slice(&[0; 8]);
    // Family, and the lengths of both prefixes.
    request.extend_from_slice(&[AF_INET, 32, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    request.extend_from_slice(&attributes);
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    setsockopt(&netlink, sockopt::ReceiveTimeout, &TimeVal::seconds(PATIENCE_SECONDS))?;
    sendto(netlink.as_raw_fd(), &request, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut buffer = [0u8; 4096];
    let length = loop {
        match recv(netlink.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Err(Errno::EINTR) => {}
            other => break other?,
        }
    };
    let (header, body) = buffer[..length].split_first_chunk::<HEADER>().ok_or(Errno::EBADMSG)?;
    if u16::from_ne_bytes([header[4], header[5]]) != RTM_NEWROUTE {
        let errno = body.first_chunk::<4>().map_or(0, |bytes| -i32::from_ne_bytes(*bytes));
        return Err(if errno == 0 { Errno::EBADMSG } else { Errno::from_raw(errno) });
    }
    let mut attributes = body.get(MESSAGE..).unwrap_or_default();
    while let Some((header, _)) = attributes.split_first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        if length < 4 || length > attributes.len() {
            break;
        }
        if u16::from_ne_bytes([header[2], header[3]]) == RTA_OIF {
            return Ok(attributes[4..length].first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes)));
        }
        attributes = &attributes[length.next_multiple_of(4).min(attributes.len())..];
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_to_this_host_leave_through_lo() {
        let (from, to) = ("127.0.0.1:8080".parse().unwrap(), "127.0.0.2:40000".parse().unwrap());
        let path = ReturnPath::find(from, to, "lo").unwrap();
        assert_eq!(path.interface.as_deref(), Some("lo"));
        assert!(path.rp_filter.is_some());
    }
}
