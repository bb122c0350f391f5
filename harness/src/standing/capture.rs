//! Packets of one link of a host, written as a pcap file that Wireshark and tcpdump read.
//!
//! A packet socket in the host's own network namespace sees what the link's drivers do: a frame that is to be divided or given
//! a checksum by hardware later is whole, or has a checksum that is not there yet.

use std::io::{self, IoSliceMut, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recvmsg,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use serde::{Deserialize, Serialize};

/// What the program is called.
pub(super) const NAME: &str = "openshell-harness-capture";

/// A packet of a link, with all that segmentation leaves to the hardware, is no longer.
const SNAP: usize = 256 * 1024;

/// What the kernel keeps for us while we write, in bytes.
const BACKLOG: usize = 8 * 1024 * 1024;

/// The kernel's mark of a packet that leaves (`PACKET_OUTGOING` in `linux/if_packet.h`).
const OUTGOING: u8 = 4;

/// What to capture.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Capture {
    /// The link's name; the bridge of the sandboxes unless said.
    pub link: Option<String>,
    /// The container whose link is meant, instead of `link`; an empty name is the one that runs.
    pub sandbox: Option<String>,
    /// Ends after so many packets.
    pub count: Option<u64>,
    /// Ends after so much time.
    pub duration: Option<Duration>,
}

/// Runs in place of `main`, in the host: captures until the count or the time is reached, or a signal comes.
pub(super) fn run(config: &str) -> Result<i32, String> {
    let capture: Capture = serde_json::from_str(config).map_err(|error| error.to_string())?;
    let link = capture.link.clone().ok_or("no link is named")?;
    let said = |what: &'static str| move |errno: Errno| format!("{what}: {}", errno.desc());
    let mut mask = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGPIPE] {
        mask.add(signal);
    }
    mask.thread_block().map_err(said("block signals"))?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC).map_err(said("watch for signals"))?;
    let timer = timer(capture.duration).map_err(said("set the time"))?;
    let (socket, index) = open(&link).map_err(|error| format!("capture on {link}: {error}"))?;
    let mut output = io::stdout().lock();
    let mut taken = 0;
    let mut written = write_header(&mut output);
    crate::service::say(format_args!("capturing on {link}; Ctrl-C ends it"));
    while written.is_ok() && capture.count.is_none_or(|count| taken < count) {
        let mut watched = [
            PollFd::new(socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(timer.as_fd(), PollFlags::POLLIN),
        ];
        poll(&mut watched, PollTimeout::NONE).map_err(said("wait for packets"))?;
        let [has_packet, has_signal, is_over] =
            watched.map(|one| one.revents().is_some_and(|events| !events.is_empty()));
        if has_packet {
            match receive(&socket, index) {
                Ok(Some(packet)) => {
                    written = write_packet(&mut output, &packet);
                    taken += 1;
                }
                Ok(None) | Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(errno) => return Err(format!("capture on {link}: {}", errno.desc())),
            }
        } else if has_signal || is_over {
            // What had come before is written by now.
            break;
        }
    }
    // A reader that has seen enough is no error.
    if let Err(error) = written.and_then(|()| output.flush())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        return Err(format!("write the packets: {error}"));
    }
    let lost = netns::sys::packets_dropped(&socket).unwrap_or(0);
    let lost = if lost > 0 { format!(", and the kernel had no room for {lost} more") } else { String::new() };
    crate::service::say(format_args!("{taken} packets{lost}"));
    Ok(0)
}

fn timer(duration: Option<Duration>) -> nix::Result<TimerFd> {
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC)?;
    if let Some(duration) = duration {
        // Zero would mean never.
        let duration = TimeSpec::from_duration(duration.max(Duration::from_nanos(1)));
        timer.set(Expiration::OneShot(duration), TimerSetTimeFlags::empty())?;
    }
    Ok(timer)
}

/// A packet socket of that link, and the link's index. Until it is bound it hears all links, so a packet's link is looked at.
fn open(link: &str) -> io::Result<(OwnedFd, usize)> {
    let addresses = getifaddrs()?.filter(|one| one.interface_name == link);
    let address: Option<LinkAddr> = addresses.filter_map(|one| one.address?.as_link_addr().copied()).next();
    let address = address.ok_or_else(|| {
        let mut names: Vec<String> =
            getifaddrs().into_iter().flatten().map(|one| one.interface_name).collect();
        names.sort();
        names.dedup();
        io::Error::other(format!("there is no such link; there are: {}", names.join(", ")))
    })?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    // Above the limit of the system where this may be done, which is the host's root.
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &BACKLOG);
    bind(socket.as_raw_fd(), &address)?;
    Ok((socket, address.ifindex()))
}

struct Packet {
    time: TimeSpec,
    bytes: Vec<u8>,
    length: usize,
}

fn receive(socket: &OwnedFd, index: usize) -> nix::Result<Option<Packet>> {
    let mut buffer = vec![0; SNAP];
    let mut space = nix::cmsg_space!(TimeSpec);
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let message =
        recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::MSG_TRUNC)?;
    let time = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(time) => Some(time),
        _ => None,
    });
    let (length, from) = (message.bytes, message.address);
    // What a loopback interface sends comes in again at once, and is one packet.
    let is_wanted = |from: LinkAddr| {
        from.ifindex() == index && !(from.hatype() == libc::ARPHRD_LOOPBACK && from.pkttype() == OUTGOING)
    };
    if !from.is_some_and(is_wanted) {
        return Ok(None);
    }
    buffer.truncate(length);
    let time = time.unwrap_or_else(|| TimeSpec::new(0, 0));
    Ok(Some(Packet { time, bytes: buffer, length }))
}

/// The classic form with nanoseconds: <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-05.html>.
fn write_header(output: &mut impl Write) -> io::Result<()> {
    const MAGIC: u32 = 0xa1b2_3c4d;
    const ETHERNET: u32 = 1;
    let mut header = Vec::with_capacity(24);
    header.extend(MAGIC.to_le_bytes());
    header.extend(2_u16.to_le_bytes());
    header.extend(4_u16.to_le_bytes());
    header.extend([0; 8]);
    header.extend((SNAP as u32).to_le_bytes());
    header.extend(ETHERNET.to_le_bytes());
    output.write_all(&header)?;
    output.flush()
}

/// Each is written at once: whoever reads along sees it when it happens.
fn write_packet(output: &mut impl Write, packet: &Packet) -> io::Result<()> {
    let seconds = packet.time.tv_sec() as u32;
    let nanoseconds = packet.time.tv_nsec() as u32;
    let mut record = Vec::with_capacity(16 + packet.bytes.len());
    for number in [seconds, nanoseconds, packet.bytes.len() as u32, packet.length as u32] {
        record.extend(number.to_le_bytes());
    }
    record.extend(&packet.bytes);
    output.write_all(&record)?;
    output.flush()
}
