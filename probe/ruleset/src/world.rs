//! The connection that is asked about, and the host that it comes to.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::condition::AddressKind;

/// A TCP connection from a sandbox to its host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// The interface that IP sees it come in through: the bridge.
    pub input: String,
    /// The port of the bridge, if it is known.
    pub port: Option<String>,
    /// The sandbox's address and port.
    pub source: SocketAddr,
    /// The host's address and port, of the same family.
    pub destination: SocketAddr,
}

impl Flow {
    /// A connection through a bridge whose port is not known.
    pub fn new(input: &str, source: SocketAddr, destination: SocketAddr) -> Self {
        Self { input: input.into(), port: None, source, destination }
    }
}

/// What rules ask about the host itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct World {
    /// The host's addresses. Those of the loopback network need not be named.
    pub addresses: Vec<LocalAddress>,
    /// The interface through which the host answers the flow's source.
    pub way_back: String,
    /// Whether the flow's input is a bridge: the tables of family bridge are on the way then.
    pub bridge: bool,
    /// Whether bridges call iptables for the flow's IP version (`net.bridge.bridge-nf-call-iptables`, `-ip6tables`).
    pub bridge_nf_call: bool,
}

impl World {
    /// A host that has the flow's destination at the flow's input, which is a bridge, and answers through it.
    pub fn new(flow: &Flow, prefix: u8) -> Self {
        let address = LocalAddress { interface: flow.input.clone(), address: flow.destination.ip(), prefix };
        Self { addresses: vec![address], way_back: flow.input.clone(), bridge: true, bridge_nf_call: false }
    }

    /// What kind of address it is to this host; with an interface, only that one's addresses are its own.
    pub(crate) fn kind(&self, address: IpAddr, interface: Option<&str>) -> AddressKind {
        if address.is_unspecified() {
            return AddressKind::Unspec;
        }
        if address.is_multicast() {
            return AddressKind::Multicast;
        }
        let at = |own: &&LocalAddress| interface.is_none_or(|name| own.interface == name);
        let loopback = interface.is_none_or(|name| name == "lo");
        if address.is_loopback() && loopback {
            return AddressKind::Local;
        }
        let IpAddr::V4(v4) = address else {
            let own = self.addresses.iter().filter(at).any(|own| own.address == address);
            return if own { AddressKind::Local } else { AddressKind::Unicast };
        };
        if v4.is_broadcast() {
            return AddressKind::Broadcast;
        }
        if self.addresses.iter().filter(at).any(|own| own.address == address) {
            return AddressKind::Local;
        }
        if self.addresses.iter().filter(at).any(|own| own.broadcast() == Some(address)) {
            return AddressKind::Broadcast;
        }
        AddressKind::Unicast
    }
}

/// An address of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalAddress {
    /// The interface that has it.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
    /// How many of its bits name the network.
    pub prefix: u8,
}

impl LocalAddress {
    /// The address of all systems of its network.
    fn broadcast(&self) -> Option<IpAddr> {
        let IpAddr::V4(own) = self.address else { return None };
        if self.prefix > 30 {
            return None;
        }
        let host = u32::MAX.checked_shr(u32::from(self.prefix))?;
        Some(IpAddr::V4((u32::from(own) | host).into()))
    }
}
