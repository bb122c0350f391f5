//! Who has an address on a link: address probes of RFC 5227.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

/// `PROBE_NUM` of RFC 5227.
const PROBES: u32 = 3;
/// After each, where everybody on the link is a kernel that has answered when the question was sent.
const HERE: Duration = Duration::from_micros(330);
/// After each, where somebody may be a virtual machine or behind a cable. RFC 5227 has seconds, for an address that is kept.
const ELSEWHERE: Duration = Duration::from_millis(70);

/// Ethernet broadcast, and the type of ARP (RFC 826).
const BROADCAST: [u8; 6] = [0xff; 6];
const ETHERTYPE: [u8; 2] = [0x08, 0x06];
/// Hardware type Ethernet, protocol IPv4, lengths 6 and 4.
const IPV4_ON_ETHERNET: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];
const REQUEST: [u8; 2] = [0, 1];
const LENGTH: usize = 42;

/// A socket for ARP on one interface.
pub(crate) struct Arp {
    socket: File,
    own: [u8; 6],
}

impl Arp {
    pub(crate) fn on(interface: u32, own: [u8; 6]) -> io::Result<Self> {
        Ok(Self { socket: File::from(crate::sys::arp_socket(interface)?), own })
    }

    /// Whether nobody answers for the address, and nobody else probes for it.
    pub(crate) fn is_free(&mut self, address: Ipv4Addr, all_here: bool) -> io::Result<bool> {
        let wait = if all_here { HERE } else { ELSEWHERE };
        for _ in 0..PROBES {
            self.socket.write_all(&probe(self.own, address))?;
            if self.is_claimed(address, Instant::now() + wait)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_claimed(&mut self, address: Ipv4Addr, until: Instant) -> io::Result<bool> {
        let mut frame = [0; 64];
        loop {
            match self.socket.read(&mut frame) {
                Ok(length) if claims(&frame[..length], self.own, address) => return Ok(true),
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let mut ready = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            match ppoll(&mut ready, Some(TimeSpec::from_duration(left)), None) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// An ARP request without a sender's address (RFC 5227, 1.1), so that nobody learns anything from it.
fn probe(own: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    let target = address.octets();
    [&BROADCAST[..], &own, &ETHERTYPE, &IPV4_ON_ETHERNET, &REQUEST, &own, &[0; 4], &[0; 6], &target].concat()
}

/// Whether a frame says that somebody else has the address or is about to take it (RFC 5227, 2.1.1).
fn claims(frame: &[u8], own: [u8; 6], address: Ipv4Addr) -> bool {
    let Some(frame) = frame.get(..LENGTH) else { return false };
    if frame[12..14] != ETHERTYPE || frame[14..20] != IPV4_ON_ETHERNET || frame[22..28] == own {
        return false;
    }
    let (sender, target) = (&frame[28..32], &frame[38..42]);
    let probes = frame[20..22] == REQUEST && sender == [0; 4] && target == address.octets();
    sender == address.octets() || probes
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [u8; 6] = [2, 0x42, 172, 18, 0, 254];
    const OTHER: [u8; 6] = [2, 0x42, 172, 18, 0, 9];
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 254);

    #[test]
    fn an_answer_and_anothers_probe_claim_an_address_and_nothing_else_does() {
        let claims = |frame: &[u8]| claims(frame, OWN, ADDRESS);
        let others = probe(OTHER, ADDRESS);
        assert_eq!(others.len(), LENGTH);
        assert!(claims(&others), "somebody else probes for it");
        assert!(!claims(&probe(OWN, ADDRESS)), "our own probe, by a hairpin");
        assert!(!claims(&probe(OTHER, Ipv4Addr::new(172, 18, 0, 253))));
        let mut answer = others.clone();
        answer[21] = 2;
        assert!(!claims(&answer), "an answer for another address");
        answer[28..32].copy_from_slice(&ADDRESS.octets());
        assert!(claims(&answer), "somebody has it");
        assert!(!claims(&answer[..LENGTH - 1]), "cut short");
    }
}
