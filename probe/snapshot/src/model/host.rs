//! The system, its interfaces, addresses, routes, settings and listeners.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::text::{Interface, Mac, Name, Net, Version, Word};

/// The system and its tools.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct System {
    /// The release of the probe.
    pub probe: Version,
    /// The digest of the sources that the probe was built from.
    pub build: Word,
    /// What the probe might read.
    pub privilege: Privilege,
    /// The kernel's release, numbers only.
    pub kernel: Option<Version>,
    /// `ID` of `os-release`.
    pub os: Option<Word>,
    /// `VERSION_ID` of `os-release`.
    pub os_version: Option<Version>,
    /// The tools that are here.
    pub tools: Vec<Tool>,
}

/// What the probe might read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Privilege {
    /// Everything.
    Root,
    /// What everybody may read.
    User,
}

/// An administration program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Tool {
    /// `iptables`, `nft`, `ufw`, `firewalld`, `ipset`.
    pub name: Word,
    /// Its release, where it says one.
    pub version: Option<Version>,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Link {
    /// Its name.
    pub name: Interface,
    /// Its kind.
    pub kind: LinkKind,
    /// Whether it is up.
    pub up: bool,
    /// The bridge that it is a port of.
    pub master: Option<Interface>,
    /// Its largest packet, in bytes.
    pub mtu: u32,
    /// Its hardware address, mapped.
    pub mac: Option<Mac>,
}

/// The kind of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LinkKind {
    /// The loopback interface.
    Loopback,
    /// A bridge.
    Bridge,
    /// One end of a veth pair.
    Veth,
    /// A tunnel or VPN.
    Tunnel,
    /// A VLAN, a bond, a team.
    Virtual,
    /// A device.
    Device,
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Address {
    /// The interface.
    pub interface: Interface,
    /// The address, and the length of its network.
    pub address: Net,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Route {
    /// Its table.
    pub table: Name,
    /// What it does.
    pub kind: RouteKind,
    /// Where it leads.
    pub to: Net,
    /// The next hop.
    pub gateway: Option<IpAddr>,
    /// The interface.
    pub interface: Option<Interface>,
    /// The address that the host sends from.
    pub source: Option<IpAddr>,
    /// Lower ones come first.
    pub metric: Option<u32>,
}

/// What a route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RouteKind {
    /// Sends.
    Unicast,
    /// Drops.
    Blackhole,
    /// Refuses.
    Unreachable,
    /// Forbids.
    Prohibit,
    /// Is the host's own.
    Local,
    /// Sends to all of a network.
    Broadcast,
    /// Sends to a group.
    Multicast,
}

/// A rule of policy routing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PolicyRule {
    /// Whether it is of IPv6.
    pub v6: bool,
    /// Lower ones come first.
    pub priority: u32,
    /// Whether it holds where the rest does not.
    pub negated: bool,
    /// Where the packet comes from.
    pub from: Option<Net>,
    /// Where it goes.
    pub to: Option<Net>,
    /// The interface that it came in by.
    pub input: Option<Interface>,
    /// The interface that it is bound to.
    pub output: Option<Interface>,
    /// Its mark.
    pub mark: Option<u32>,
    /// The bits of the mark that count.
    pub mask: Option<u32>,
    /// Its protocol.
    pub protocol: Option<Word>,
    /// First and last source port.
    pub from_port: Option<(u16, u16)>,
    /// First and last destination port.
    pub to_port: Option<(u16, u16)>,
    /// The table that is asked.
    pub table: Option<Name>,
}

/// A setting of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Sysctl {
    /// Which one.
    pub key: SysctlKey,
    /// The interface that it is of: also `all` and `default`.
    pub interface: Option<Interface>,
    /// Its value.
    pub value: i64,
}

/// Settings of the kernel that decide about a sandbox's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SysctlKey {
    /// `net.ipv4.ip_forward`
    IpForward,
    /// `net.ipv4.conf.*.rp_filter`
    RpFilter,
    /// `net.ipv4.conf.*.accept_local`
    AcceptLocal,
    /// `net.ipv4.conf.*.route_localnet`
    RouteLocalnet,
    /// `net.ipv4.conf.*.arp_ignore`
    ArpIgnore,
    /// `net.ipv4.icmp_ratelimit`
    IcmpRatelimit,
    /// `net.ipv4.icmp_ratemask`
    IcmpRatemask,
    /// `net.ipv4.tcp_syncookies`
    TcpSyncookies,
    /// `net.ipv6.conf.*.disable_ipv6`
    DisableIpv6,
    /// `net.bridge.bridge-nf-call-iptables`
    BridgeNfCallIptables,
    /// `net.bridge.bridge-nf-call-ip6tables`
    BridgeNfCallIp6tables,
}

impl SysctlKey {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::IpForward,
        Self::RpFilter,
        Self::AcceptLocal,
        Self::RouteLocalnet,
        Self::ArpIgnore,
        Self::IcmpRatelimit,
        Self::IcmpRatemask,
        Self::TcpSyncookies,
        Self::DisableIpv6,
        Self::BridgeNfCallIptables,
        Self::BridgeNfCallIp6tables,
    ];

    /// The file below `/proc/sys`. Settings of interfaces have a `*` in the interface's place.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::IpForward => "net/ipv4/ip_forward",
            Self::RpFilter => "net/ipv4/conf/*/rp_filter",
            Self::AcceptLocal => "net/ipv4/conf/*/accept_local",
            Self::RouteLocalnet => "net/ipv4/conf/*/route_localnet",
            Self::ArpIgnore => "net/ipv4/conf/*/arp_ignore",
            Self::IcmpRatelimit => "net/ipv4/icmp_ratelimit",
            Self::IcmpRatemask => "net/ipv4/icmp_ratemask",
            Self::TcpSyncookies => "net/ipv4/tcp_syncookies",
            Self::DisableIpv6 => "net/ipv6/conf/*/disable_ipv6",
            Self::BridgeNfCallIptables => "net/bridge/bridge-nf-call-iptables",
            Self::BridgeNfCallIp6tables => "net/bridge/bridge-nf-call-ip6tables",
        }
    }
}

/// A listening TCP socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Listener {
    /// The address that it is bound to.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// An IPv6 socket that takes no IPv4 connections.
    pub v6_only: bool,
    /// The interface that it is bound to.
    pub interface: Option<Interface>,
    /// Whose it is.
    pub owner: Owner,
    /// Its accept queue is full.
    pub queue_full: bool,
}

/// Whose a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// Root's.
    Root,
    /// A system user's: below 1000.
    System,
    /// A user's.
    User,
}
