//! The connection that is asked about, and the host that it comes to.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::condition::AddressKind;
use crate::save::as_number;

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
    /// How many bytes the sandbox sends first, once the connection stands; with 0 it ends the connection instead.
    pub data: u16,
    /// How many bytes the service answers first, if that is known. Where the sandbox sends nothing, nothing is answered either.
    #[serde(default)]
    pub answer: Option<u16>,
}

impl Flow {
    /// A connection through a bridge whose port is not known, a byte of data, and an answer of some length.
    pub fn new(input: &str, source: SocketAddr, destination: SocketAddr) -> Self {
        Self { input: input.into(), port: None, source, destination, data: 1, answer: None }
    }
}

/// What rules ask about the host itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct World {
    /// The host's addresses. Those of the loopback network need not be named.
    pub addresses: Vec<LocalAddress>,
    /// The interface through which the host answers the flow's source.
    pub way_back: String,
    /// The interface of the default route, for what is sent on to addresses beyond the host's own networks.
    pub uplink: Option<String>,
    /// Whether the flow's input is a bridge: the tables of family bridge are on the way then.
    pub bridge: bool,
    /// Whether bridges call iptables for the flow's IP version (`net.bridge.bridge-nf-call-iptables`, `-ip6tables`).
    pub bridge_nf_call: bool,
    /// Whether the host passes on what comes in by the flow's input for others (`net.ipv4.ip_forward`,
    /// `net.ipv6.conf.all.forwarding`).
    pub forwards: bool,
    /// Whether the flow's input takes packets for 127.0.0.0/8 (`net.ipv4.conf.*.route_localnet`).
    pub route_localnet: bool,
}

impl World {
    /// A host that has the flow's destination at the flow's input, which is a bridge, answers through it, and passes on what is
    /// for others.
    pub fn new(flow: &Flow, prefix: u8) -> Self {
        let address = LocalAddress { interface: flow.input.clone(), address: flow.destination.ip(), prefix };
        Self {
            addresses: vec![address],
            way_back: flow.input.clone(),
            uplink: None,
            bridge: true,
            bridge_nf_call: false,
            forwards: true,
            route_localnet: false,
        }
    }

    /// The interface behind which an address is.
    pub(crate) fn link_to(&self, address: IpAddr) -> Option<&str> {
        let near = self.addresses.iter().filter(|own| own.covers(address));
        let near = near.max_by_key(|own| own.prefix).map(|own| own.interface.as_str());
        near.or(self.uplink.as_deref())
    }

    /// The host's first address at an interface, of the same IP version, which is the one that it takes for itself.
    pub(crate) fn own(&self, interface: &str, v4: bool) -> Option<IpAddr> {
        let link_local = |address: IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let here =
            self.addresses.iter().filter(|own| own.interface == interface && own.address.is_ipv4() == v4);
        here.map(|own| own.address).find(|address| !link_local(*address))
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
    /// Whether the address is of its subnet.
    fn covers(&self, address: IpAddr) -> bool {
        let bits: u8 = if self.address.is_ipv4() { 32 } else { 128 };
        let shift = u32::from(bits.saturating_sub(self.prefix));
        let network = |address: IpAddr| as_number(address).checked_shr(shift);
        self.address.is_ipv4() == address.is_ipv4() && network(self.address) == network(address)
    }

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
