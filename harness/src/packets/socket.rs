//! The packet socket: what passes a network namespace's links, with its link and its time.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;

/// A packet that came or went; its bytes are in the buffer that it was received into.
pub(crate) struct Heard {
    /// How long it was, in bytes, whatever the buffer had room for.
    pub(crate) length: usize,
    /// When; zero where the kernel did not say.
    pub(crate) time: TimeSpec,
    /// The link, and what is known of the packet without looking into it.
    pub(crate) from: Option<LinkAddr>,
}

/// A socket that never blocks and hears every link of the calling thread's network namespace, packets with their header of the link
/// (`SockType::Raw`) or without (`SockType::Datagram`). The kernel keeps `backlog` bytes between two fetches.
///
/// # Errors
/// What the kernel says; the caller needs CAP_NET_RAW.
pub(crate) fn open(kind: SockType, backlog: usize) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Packet, kind, flags, SockProtocol::EthAll)?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    // Without the right to more than the system's limit there is less room.
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &backlog);
    Ok(socket)
}

/// The next packet.
///
/// # Errors
/// `EAGAIN` when there is none now, or what the kernel says.
pub(crate) fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> nix::Result<Heard> {
    let mut space = nix::cmsg_space!(TimeSpec);
    let mut slices = [IoSliceMut::new(buffer)];
    let message =
        recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::MSG_TRUNC)?;
    let time = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(time) => Some(time),
        _ => None,
    });
    let time = time.unwrap_or_else(|| TimeSpec::new(0, 0));
    Ok(Heard { length: message.bytes, time, from: message.address })
}
