//! The ICMP message that ended a connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd as _};

use nix::cmsg_space;
use nix::libc::{SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6, sock_extended_err, sockaddr_in6};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};

use super::super::Icmp;

/// The first one that waits; the kernel also says there what it found itself, with an address of this host as offender.
pub(super) fn icmp(socket: impl AsFd) -> Option<Icmp> {
    let mut space = cmsg_space!(sock_extended_err, sockaddr_in6);
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let descriptor = socket.as_fd().as_raw_fd();
    let message = recvmsg::<SockaddrStorage>(descriptor, &mut [], Some(&mut space), flags).ok()?;
    message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4RecvErr(error, offender) => {
            let ip = offender.map(|it| IpAddr::V4(Ipv4Addr::from(u32::from_be(it.sin_addr.s_addr))));
            read(&error, ip)
        }
        ControlMessageOwned::Ipv6RecvErr(error, offender) => {
            let ip = offender.map(|it| IpAddr::V6(Ipv6Addr::from(it.sin6_addr.s6_addr)));
            read(&error, ip)
        }
        _ => None,
    })
}

fn read(error: &sock_extended_err, offender: Option<IpAddr>) -> Option<Icmp> {
    let is_icmp = matches!(error.ee_origin, SO_EE_ORIGIN_ICMP | SO_EE_ORIGIN_ICMP6);
    is_icmp.then_some(Icmp { kind: error.ee_type, code: error.ee_code, offender })
}
