//! The control port: what shows that a posture is in force.

use std::io;
use std::io::ErrorKind::{ConnectionRefused, HostUnreachable};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::time::Duration;

use netns::Vantage;

use super::{Posture, PostureError};
use crate::engine::NetworkInfo;
use crate::host::Host;

/// How long an answer is waited for. An open path answers within 1 ms, and the first SYN is not repeated before 1 s.
const PATIENCE: Duration = Duration::from_millis(600);

/// What a dial of the control port showed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Seen {
    Reached,
    NoAnswer,
    /// A reset or an ICMP message.
    Refused,
}

/// A listener in a host and a place on the bridge to dial it from.
pub(super) struct ControlPort<'a> {
    host: &'a Host,
    posture: &'a Posture,
    address: SocketAddrV4,
    vantage: Vantage,
    _listener: Option<TcpListener>,
}

impl<'a> ControlPort<'a> {
    /// Opens a listener on a port that no rule mentions, or on the port that the posture is about unless somebody
    /// listens there already. The socket table has to show it.
    pub(super) fn open(
        host: &'a Host,
        posture: &'a Posture,
        network: &NetworkInfo,
    ) -> Result<Self, PostureError> {
        let port = match posture {
            Posture::DropPorts(ports) => ports.first().copied().unwrap_or(0),
            _ => 0,
        };
        let control = |source| PostureError::Control { posture: posture.to_string(), source };
        let bound = host
            .network_namespace()
            .run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))
            .map_err(|error| control(error.into()))?;
        let (listener, port) = match bound {
            Ok(listener) => {
                let port = listener.local_addr().map_err(|error| control(error.into()))?.port();
                (Some(listener), port)
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => (None, port),
            Err(error) => return Err(control(error.into())),
        };
        let address = SocketAddrV4::new(network.gateway, port);
        if !is_listening(host, address).map_err(|error| control(error.into()))? {
            let message = format!("nothing listens on {address}");
            return Err(control(message.into()));
        }
        let vantage = host.vantage(network).map_err(|error| control(error.into()))?;
        Ok(Self { host, posture, address, vantage, _listener: listener })
    }

    /// Dials the port and compares.
    pub(super) async fn expect(&self, expected: Seen, when: &str) -> Result<(), PostureError> {
        let control = |source| PostureError::Control { posture: self.posture.to_string(), source };
        let seen = self.dial().map_err(control)?;
        if seen == expected {
            return Ok(());
        }
        let host = self.host.name();
        let message = match seen {
            Seen::Reached => format!("{when}, a sandbox of {host} reached {}", self.address),
            Seen::NoAnswer => format!("{when}, a sandbox of {host} had no answer from {}", self.address),
            Seen::Refused => format!("{when}, a sandbox of {host} was refused by {}", self.address),
        };
        Err(PostureError::NotInForce { posture: self.posture.to_string(), message })
    }

    fn dial(&self) -> Result<Seen, Box<dyn std::error::Error + Send + Sync>> {
        let dial = || TcpStream::connect_timeout(&self.address.into(), PATIENCE);
        match self.vantage.namespace().run(dial)? {
            Ok(_) => Ok(Seen::Reached),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(Seen::NoAnswer),
            // A refusal of the administrator's is "no route to host" for a socket.
            Err(error) if matches!(error.kind(), ConnectionRefused | HostUnreachable) => Ok(Seen::Refused),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether a socket of the host listens on the address, or on the wildcard of that port.
fn is_listening(host: &Host, address: SocketAddrV4) -> io::Result<bool> {
    // The kernel prints the four bytes of an address as one number in the machine's own order.
    let local = |ip: Ipv4Addr| format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), address.port());
    let (own, any) = (local(*address.ip()), local(Ipv4Addr::UNSPECIFIED));
    const LISTEN: &str = "0A";
    let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", host.init_pid()))?;
    Ok(table.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next(), fields.nth(1));
        state == Some(LISTEN) && (local == Some(&own) || local == Some(&any))
    }))
}
