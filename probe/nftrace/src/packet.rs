//! What an event says of its packet.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::Error;
use crate::netlink::u16_be;

/// Protocol numbers of IANA's.
const TCP: u8 = 6;
const UDP: u8 = 17;

/// A packet, as the first event of every base chain shows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Packet {
    /// From where to where.
    pub flow: Flow,
    /// The number that tells an IPv4 packet from the same sender's other ones.
    pub ip_id: Option<u16>,
    /// TCP's sequence number, which no address translation changes.
    pub sequence: Option<u32>,
    /// The index of the interface that it came in by.
    pub interface: Option<u32>,
    identity: Identity,
}

/// What tells a packet from the others of its flow and no address translation changes: the IPv4 number, and TCP's sequence
/// numbers, flags and window.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Identity {
    ip_id: Option<u16>,
    tcp: Option<[u8; 12]>,
}

/// From where to where, and over what. Ports are 0 for a protocol other than TCP and UDP.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Flow {
    /// The number of the transport protocol; 6 is TCP.
    pub protocol: u8,
    /// The sender.
    pub source: SocketAddr,
    /// The receiver, as it is at this place: translation changes it on the way.
    pub destination: SocketAddr,
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.source, self.destination)
    }
}

impl Packet {
    /// The name of the interface that it came in by, in the network namespace of the calling thread.
    #[must_use]
    pub fn interface_name(&self) -> Option<String> {
        let name = nix::net::if_::if_indextoname(self.interface?).ok()?;
        name.into_string().ok()
    }

    /// Whether the other is this very packet at another place, where one of its ends may have been translated.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let (mine, its) = (&self.flow, &other.flow);
        let translated = || mine.source == its.source || mine.destination == its.destination;
        self.identity == other.identity && (mine == its || (self.identity.tcp.is_some() && translated()))
    }

    /// Whether the other may be this very packet with both ends translated.
    pub(crate) fn is_alike(&self, other: &Self) -> bool {
        self.identity == other.identity && self.identity.tcp.is_some()
    }

    /// From the headers that an event has; none for what is neither IPv4 nor IPv6.
    pub(crate) fn parse(
        network: &[u8],
        transport: &[u8],
        interface: Option<u32>,
    ) -> Result<Option<Self>, Error> {
        let (protocol, source, destination, ip_id) = match network.first().map(|byte| byte >> 4) {
            Some(4) => {
                let header: &[u8; 20] = first(network, "an IPv4 header")?;
                let [.., a, b, c, d, e, f, g, h] = *header;
                let id = u16::from_be_bytes([header[4], header[5]]);
                let (source, destination) = (Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h));
                (header[9], IpAddr::V4(source), IpAddr::V4(destination), Some(id))
            }
            Some(6) => {
                let header: &[u8; 40] = first(network, "an IPv6 header")?;
                let address = |at| first(&header[at..], "an IPv6 address").map(|it| Ipv6Addr::from(*it));
                (header[6], IpAddr::V6(address(8)?), IpAddr::V6(address(24)?), None)
            }
            _ => return Ok(None),
        };
        let has_ports = matches!(protocol, TCP | UDP) && !transport.is_empty();
        let port = |at: usize| match has_ports {
            true => u16_be(transport.get(at..at + 2).unwrap_or_default()),
            false => Ok(0),
        };
        let flow = Flow {
            protocol,
            source: SocketAddr::new(source, port(0)?),
            destination: SocketAddr::new(destination, port(2)?),
        };
        let tcp = transport.get(4..16).filter(|_| protocol == TCP).and_then(|it| it.try_into().ok());
        let identity = Identity { ip_id, tcp };
        let sequence = transport.get(4..8).filter(|_| protocol == TCP).and_then(|it| it.try_into().ok());
        Ok(Some(Self { flow, ip_id, sequence: sequence.map(u32::from_be_bytes), interface, identity }))
    }
}

fn first<'bytes, const LENGTH: usize>(
    bytes: &'bytes [u8],
    what: &'static str,
) -> Result<&'bytes [u8; LENGTH], Error> {
    bytes.first_chunk().ok_or(Error::Malformed { what })
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: [u8; 20] = [0x45, 0, 0, 60, 0x12, 0x34, 0, 0, 64, 6, 0, 0, 172, 18, 0, 2, 172, 18, 0, 1];
    const PORTS: [u8; 8] = [0xaf, 0xdf, 0x1f, 0x90, 0, 0, 1, 2];

    #[test]
    fn an_ipv4_packet_is_read() {
        let packet = Packet::parse(&V4, &PORTS, Some(7)).unwrap().unwrap();
        assert_eq!(packet.flow.to_string(), "172.18.0.2:45023 -> 172.18.0.1:8080");
        assert_eq!((packet.ip_id, packet.sequence, packet.interface), (Some(0x1234), Some(0x0102), Some(7)));
    }

    #[test]
    fn an_ipv6_packet_is_read() {
        let mut header = [0; 40];
        (header[0], header[6], header[23], header[39]) = (0x60, 6, 1, 2);
        let packet = Packet::parse(&header, &PORTS, None).unwrap().unwrap();
        assert_eq!(packet.flow.to_string(), "[::1]:45023 -> [::2]:8080");
    }

    #[test]
    fn a_cut_header_is_an_error() {
        assert!(Packet::parse(&V4[..19], &PORTS, None).is_err());
        assert!(Packet::parse(&[0x60; 39], &PORTS, None).is_err());
        assert!(Packet::parse(&V4, &PORTS[..3], None).is_err());
    }

    #[test]
    fn what_is_no_ip_is_no_packet() {
        assert_eq!(Packet::parse(&[], &[], None).unwrap(), None);
        assert_eq!(Packet::parse(&[0; 28], &[], None).unwrap(), None);
    }
}
