//! The packets of a host, kept in memory and written as a pcap file.
//!
//! One packet socket in the host's network namespace hears all links. The kernel keeps what comes until it is fetched, so there
//! is no thread that reads along: whoever keeps the packets [fetches](Tap::fetch) them between two steps.

pub(crate) mod pcap;
pub(crate) mod socket;

use std::os::fd::OwnedFd;

use netns::Namespace;
use nix::sys::socket::SockType;

use pcap::LinkType;
use socket::Heard;

/// So much of a packet is kept, in bytes: all headers, and the beginning of what is said.
const SNAP: usize = 256;

/// What the kernel keeps between two fetches, in bytes. A SYN takes about 800.
const BACKLOG: usize = 4 * 1024 * 1024;

/// What is kept altogether, in bytes.
const LIMIT: usize = 8 * 1024 * 1024;

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
        let opened = namespace.run(|| socket::open(SockType::Datagram, BACKLOG));
        let opened = opened.map_err(|error| error.to_string())?;
        let socket = opened.map_err(|errno| errno.desc().to_owned())?;
        Ok(Self { socket, records: Vec::new(), count: 0, cut: false })
    }

    /// Takes what the kernel has kept since the last time.
    pub(crate) fn fetch(&mut self) {
        let mut buffer = [0; SNAP];
        while let Ok(heard) = socket::receive(&self.socket, &mut buffer) {
            let Some(record) = record(&heard, &buffer) else { continue };
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
        let mut file = pcap::header(LinkType::LinuxSll2, HEADER + SNAP);
        file.extend(&self.records);
        file
    }
}

/// The length of a packet's header of this link type.
const HEADER: usize = 20;

/// A packet as a record of the file, with a header that names its link.
fn record(heard: &Heard, buffer: &[u8; SNAP]) -> Option<Vec<u8>> {
    let from = heard.from?;
    let mut header = Vec::with_capacity(HEADER);
    // The kernel has the protocol in network order already.
    header.extend(from.protocol().to_ne_bytes());
    header.extend([0; 2]);
    header.extend((from.ifindex() as u32).to_be_bytes());
    header.extend(from.hatype().to_be_bytes());
    header.push(from.pkttype());
    header.push(from.halen() as u8);
    header.extend(from.addr().unwrap_or_default());
    header.extend([0; 2]);
    let kept = &buffer[..heard.length.min(SNAP)];
    Some(pcap::record(heard.time, &[&header, kept], HEADER + heard.length))
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
        assert_eq!(file[..24], pcap::header(LinkType::LinuxSll2, HEADER + SNAP));
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
