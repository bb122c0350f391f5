//! Packets of one link of a host, written as a pcap file that Wireshark and tcpdump read.
//!
//! A packet socket in the host's own network namespace sees what the link's drivers do: a frame that is to be divided or given
//! a checksum by hardware later is whole, or has a checksum that is not there yet.

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{LinkAddr, SockType, bind};
use nix::sys::stat::fstat;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::unistd::ftruncate;
use serde::{Deserialize, Serialize};

use crate::packets::pcap::{self, LinkType};
use crate::packets::socket;

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
    /// Standard output is a file of which the content is replaced when the capture begins.
    #[serde(default)]
    pub replace: bool,
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
    if capture.replace && fstat(&output).is_ok_and(|found| found.st_mode & libc::S_IFMT == libc::S_IFREG) {
        ftruncate(&output, 0).map_err(said("empty the file"))?;
    }
    let mut taken = 0;
    let mut written = write(&mut output, &pcap::header(LinkType::Ethernet, SNAP));
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
                Ok(Some(record)) => {
                    written = write(&mut output, &record);
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
    let socket = socket::open(SockType::Raw, BACKLOG)?;
    bind(socket.as_raw_fd(), &address)?;
    Ok((socket, address.ifindex()))
}

/// The next packet of that link as a record of the file; nothing for a packet of another one.
fn receive(socket: &OwnedFd, index: usize) -> nix::Result<Option<Vec<u8>>> {
    let mut buffer = vec![0; SNAP];
    let heard = socket::receive(socket, &mut buffer)?;
    // What a loopback interface sends comes in again at once, and is one packet.
    let is_wanted = |from: LinkAddr| {
        from.ifindex() == index && !(from.hatype() == libc::ARPHRD_LOOPBACK && from.pkttype() == OUTGOING)
    };
    buffer.truncate(heard.length);
    Ok(heard.from.is_some_and(is_wanted).then(|| pcap::record(heard.time, &[&buffer], heard.length)))
}

/// Each packet is written at once: whoever reads along sees it when it happens.
fn write(output: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    output.write_all(bytes)?;
    output.flush()
}
