//! The control port: what shows that a posture is in force.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::time::Duration;

use netns::Vantage;

use super::{Passage, Posture, PostureError};
use crate::engine::NetworkInfo;
use crate::host::Host;

/// How long an answer is waited for. An open path answers within 1 ms, and the first SYN is not repeated before 1 s.
const PATIENCE: Duration = Duration::from_millis(600);

/// How a firewall refuses: `tcp-reset` and `icmp-port-unreachable`, `icmp-net-unreachable`, `icmp-host-unreachable` and the
/// prohibitions.
const REFUSALS: [io::ErrorKind; 4] = [
    io::ErrorKind::ConnectionRefused,
    io::ErrorKind::NetworkUnreachable,
    io::ErrorKind::HostUnreachable,
    io::ErrorKind::PermissionDenied,
];

/// What went wrong while a posture was to be proven.
type Trouble = Box<dyn std::error::Error + Send + Sync>;

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
    /// What it is to prove, in words.
    posture: String,
    address: SocketAddrV4,
    vantage: Vantage,
    _listener: Option<TcpListener>,
}

impl<'a> ControlPort<'a> {
    /// Opens a listener on a port that no rule mentions, or on the port that the posture is about unless somebody
    /// listens there already. The socket table has to show it.
    pub(super) fn open(
        host: &'a Host,
        posture: &Posture,
        network: &NetworkInfo,
    ) -> Result<Self, PostureError> {
        let port = match posture {
            Posture::DropPorts(ports) => ports.first().copied(),
            _ => None,
        };
        Self::open_on(host, posture.to_string(), port, network)
    }

    fn open_on(
        host: &'a Host,
        posture: String,
        port: Option<u16>,
        network: &NetworkInfo,
    ) -> Result<Self, PostureError> {
        let port = port.unwrap_or(0);
        let control = |source| PostureError::Control { posture: posture.clone(), source };
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
        if !is_listening(host, address).map_err(control)? {
            let message = format!("nothing listens on {address}");
            return Err(control(message.into()));
        }
        let vantage = host.vantage(network).map_err(|error| control(error.into()))?;
        Ok(Self { host, posture, address, vantage, _listener: listener })
    }

    /// Dials the port and compares.
    pub(super) async fn expect(&self, expected: Seen, when: &str) -> Result<(), PostureError> {
        let control = |source| PostureError::Control { posture: self.posture.clone(), source };
        let seen = self.dial().map_err(control)?;
        if seen == expected {
            return Ok(());
        }
        Err(self.not_in_force(seen, when))
    }

    fn not_in_force(&self, seen: Seen, when: &str) -> PostureError {
        let host = self.host.name();
        let message = match seen {
            Seen::Reached => format!("{when}, a sandbox of {host} reached {}", self.address),
            Seen::NoAnswer => format!("{when}, a sandbox of {host} had no answer from {}", self.address),
            Seen::Refused => format!("{when}, a sandbox of {host} was refused by {}", self.address),
        };
        PostureError::NotInForce { posture: self.posture.clone(), message }
    }

    fn dial(&self) -> Result<Seen, Trouble> {
        let dial = || TcpStream::connect_timeout(&self.address.into(), PATIENCE);
        match self.vantage.namespace().run(dial)? {
            Ok(_) => Ok(Seen::Reached),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(Seen::NoAnswer),
            // By a reset, or by an ICMP message.
            Err(error) if REFUSALS.contains(&error.kind()) => Ok(Seen::Refused),
            Err(error) => Err(error.into()),
        }
    }
}

impl Host {
    /// Proves by a control port what a firewall does now that the harness did not put in force itself: a listener, seen in
    /// the host's socket table, is dialled from the sandbox side of the network's bridge. Without a port it is one that no
    /// rule mentions.
    ///
    /// # Errors
    /// When it does something else, or nobody could find out.
    pub fn prove(
        &self,
        passage: Passage,
        port: Option<u16>,
        network: &NetworkInfo,
    ) -> Result<(), PostureError> {
        let control = ControlPort::open_on(self, format!("control {passage}"), port, network)?;
        let failed = |source| PostureError::Control { posture: control.posture.clone(), source };
        let seen = control.dial().map_err(failed)?;
        if (seen == Seen::Reached) == (passage == Passage::Open) {
            return Ok(());
        }
        Err(control.not_in_force(seen, "now"))
    }
}

/// Whether a socket of the host takes connections from the network's bridge to the address.
fn is_listening(host: &Host, address: SocketAddrV4) -> Result<bool, Trouble> {
    let listeners = host.network_namespace().run(probe::read_listeners)??;
    // The control port's own socket, or a service's that stands in: none is bound to an interface.
    Ok(listeners.iter().any(|it| it.port == address.port() && it.covers(*address.ip(), 0)))
}
