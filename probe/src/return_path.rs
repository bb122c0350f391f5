//! The way back: which interface this host answers a sandbox through.
//!
//! Where that is not the bridge, a strict `rp_filter` drops what comes in by it (RFC 3704), and otherwise the answers go
//! astray. Neither is a firewall's doing.

use std::net::Ipv4Addr;
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
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const AF_INET: u8 = 2;
/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// `struct rtmsg`.
const MESSAGE: usize = 12;
/// The kernel answers at once; this bounds a kernel that does not.
const PATIENCE_SECONDS: i64 = 2;

impl ReturnPath {
    /// The way to `to` as the kernel's routing has it, and the filter of `bridge`. `None` when the kernel does not say.
    #[must_use]
    pub fn find(to: Ipv4Addr, bridge: &str) -> Option<Self> {
        let index = match route(to) {
            Ok(index) => index,
            Err(Errno::ENETUNREACH | Errno::EHOSTUNREACH) => None,
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
        Some(Self { to, interface, index, rp_filter })
    }
}

/// The index of the interface that packets to `to` leave through (rtnetlink(7)).
fn route(to: Ipv4Addr) -> Result<Option<u32>, Errno> {
    let length = (HEADER + MESSAGE + 8) as u32;
    let mut request = Vec::with_capacity(length as usize);
    request.extend_from_slice(&length.to_ne_bytes());
    request.extend_from_slice(&RTM_GETROUTE.to_ne_bytes());
    request.extend_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    request.extend_from_slice(&[0; 8]);
    request.extend_from_slice(&[AF_INET, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    request.extend_from_slice(&8u16.to_ne_bytes());
    request.extend_from_slice(&RTA_DST.to_ne_bytes());
    request.extend_from_slice(&to.octets());
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
        let path = ReturnPath::find(Ipv4Addr::new(127, 0, 0, 2), "lo").unwrap();
        assert_eq!(path.interface.as_deref(), Some("lo"));
        assert!(path.rp_filter.is_some());
    }
}
