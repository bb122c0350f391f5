//! The packets of a host, kept in memory and written as a pcap file.
//!
//! One packet socket in the host's network namespace hears all links. The kernel keeps what comes until it is fetched, so there
//! is no thread that reads along: whoever keeps the packets [fetches](Tap::fetch) them between two steps.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd};

use netns::Namespace;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;

/// So much of a packet is kept, in bytes: all headers, and the beginning of what is said.
const SNAP: usize = 256;

/// What the kernel keeps between two fetches, in bytes. A SYN takes about 800.
const BACKLOG: usize = 4 * 1024 * 1024;

/// What is kept altogether, in bytes.
const LIMIT: usize = 8 * 1024 * 1024;

/// `LINKTYPE_LINUX_SLL2`: one file for all links, with each packet's link (<https://www.tcpdump.org/linktypes.html>).
const LINK_TYPE: u32 = 276;

/// The classic form with nanoseconds (draft-ietf-opsawg-pcap, 4).
const MAGIC: u32 = 0xa1b2_3c4d;

/// Hears a host's packets from its making on.
#[derive(Debug)]
pub(crate) struct Tap {
    socket: OwnedFd,
    /// The file's records.
    records: Vec<u8>,
    count: usize,
    /// There were more than are kept.
    cut: bool,
}

impl Tap {
    /// Begins to hear.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or the kernel gives no such socket.
    pub(crate) fn open(namespace: &Namespace) -> Result<Self, String> {
        let open = || -> nix::Result<OwnedFd> {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let socket = socket(AddressFamily::Packet, SockType::Datagram, flags, SockProtocol::EthAll)?;
            setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
            // Without the right to more than the system's limit there is less room.
            let _ = setsockopt(&socket, sockopt::RcvBufForce, &BACKLOG);
            Ok(socket)
        };
        let opened = namespace.run(open).map_err(|error| error.to_string())?;
        let socket = opened.map_err(|errno| errno.desc().to_owned())?;
        Ok(Self { socket, records: Vec::new(), count: 0, cut: false })
    }

    /// Takes what the kernel has kept since the last time.
    pub(crate) fn fetch(&mut self) {
        let mut buffer = [0; SNAP];
        while let Some(record) = receive(&self.socket, &mut buffer) {
            if self.records.len() + record.len() > LIMIT {
                self.cut = true;
                continue;
            }
            self.records.extend(record);
            self.count += 1;
        }
    }

    /// How many packets there are, in words.
    pub(crate) fn words(&self) -> String {
        let more = if self.cut { ", and more that were not kept" } else { "" };
        format!("{} packets{more}", self.count)
    }

    /// All of it as a pcap file.
    pub(crate) fn file(&self) -> Vec<u8> {
        let mut file = Vec::with_capacity(24 + self.records.len());
        file.extend(MAGIC.to_le_bytes());
        file.extend(2_u16.to_le_bytes());
        file.extend(4_u16.to_le_bytes());
        file.extend([0; 8]);
        file.extend((SNAP as u32 + HEADER as u32).to_le_bytes());
        file.extend(LINK_TYPE.to_le_bytes());
        file.extend(&self.records);
        file
    }
}

/// The length of a packet's header of this link type.
const HEADER: usize = 20;

/// The next packet as a record of the file; nothing when there is none now.
fn receive(socket: &OwnedFd, buffer: &mut [u8; SNAP]) -> Option<Vec<u8>> {
    let mut space = nix::cmsg_space!(TimeSpec);
    let (length, time, from) = {
        let mut slices = [IoSliceMut::new(buffer)];
        let message =
            recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::MSG_TRUNC)
                .ok()?;
        let time = message.cmsgs().ok()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(time) => Some(time),
            _ => None,
        });
        (message.bytes, time.unwrap_or_else(|| TimeSpec::new(0, 0)), message.address)
    };
    let kept = length.min(SNAP);
    let mut record = Vec::with_capacity(16 + HEADER + kept);
    let (seconds, nanoseconds) = (time.tv_sec() as u32, time.tv_nsec() as u32);
    for number in [seconds, nanoseconds, (HEADER + kept) as u32, (HEADER + length) as u32] {
        record.extend(number.to_le_bytes());
    }
    let from = from?;
    // The kernel has the protocol in network order already.
    record.extend(from.protocol().to_ne_bytes());
    record.extend([0; 2]);
    record.extend((from.ifindex() as u32).to_be_bytes());
    record.extend(from.hatype().to_be_bytes());
    record.push(from.pkttype());
    record.push(from.halen() as u8);
    record.extend(from.addr().unwrap_or_default());
    record.extend([0; 2]);
    record.extend(&buffer[..kept]);
    Some(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    /// In a namespace of its own, where nobody else sends anything.
    #[test]
    fn what_is_sent_is_in_the_file_with_its_link_and_time() {
        let namespace = match Namespace::create() {
            Ok(namespace) => namespace,
            Err(error) => return println!("skipped: no namespace can be made here: {error}"),
        };
        let mut tap = Tap::open(&namespace).unwrap();
        let dialled = namespace.run(|| {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            TcpStream::connect(listener.local_addr()?)
        });
        dialled.unwrap().unwrap();
        tap.fetch();
        assert!(tap.count >= 3, "a handshake: {}", tap.words());
        let file = tap.file();
        assert_eq!(file[..4], MAGIC.to_le_bytes());
        assert_eq!(file[20..24], LINK_TYPE.to_le_bytes());
        let record = &file[24..];
        assert_ne!(record[..4], [0; 4], "the time");
        assert_eq!(record[16..18], [8, 0], "IPv4");
        assert_eq!(record[20..24], [0, 0, 0, 1], "the index of lo");
        assert_eq!(record[36] >> 4, 4, "an IPv4 header");
    }

    #[test]
    fn what_is_too_much_is_said() {
        let Ok(namespace) = Namespace::create() else { return };
        let mut tap = Tap::open(&namespace).unwrap();
        tap.records = vec![0; LIMIT];
        assert_eq!(tap.words(), "0 packets");
        let sent = namespace.run(|| TcpStream::connect("127.0.0.1:9").is_err());
        assert!(sent.unwrap());
        tap.fetch();
        assert_eq!(tap.words(), "0 packets, and more that were not kept");
    }
}
