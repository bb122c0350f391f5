//! What a rule asks of a packet.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::expression::{Element, Expression, Operator};

/// A question about a packet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// A property compared with values. A packet without the property fits neither way.
    Compare {
        /// What is read.
        left: Expression,
        /// How it is compared.
        operator: Operator,
        /// With what.
        right: Right,
    },
    /// Source or destination port, as `multiport --ports`.
    EitherPort {
        /// Whether none of both may be one of them.
        negated: bool,
        /// The ports.
        ports: Vec<Element>,
    },
    /// iptables' `conntrack` and `state`.
    Conntrack(Vec<CtTest>),
    /// A rate, as a bucket of tokens.
    Limit(Limit),
    /// iptables' lists of recent addresses.
    Recent(Recent),
    /// iptables' `addrtype`.
    AddressType(AddressType),
    /// A set of `ipset`.
    IpSet {
        /// Its name.
        name: String,
        /// Whether the packet must not be in it.
        negated: bool,
        /// Which side of the packet each component of the set's entries is compared with.
        sides: Vec<Side>,
    },
    /// The port of a bridge, as iptables sees it while a bridge calls it.
    Physdev(Vec<PhysdevTest>),
    /// iptables' `rpfilter`: whether the way back leads through the interface that received the packet.
    ReversePath {
        /// Whether it must not.
        negated: bool,
        /// Whether any interface will do.
        loose: bool,
    },
    /// nft's `quota`: whether so many bytes have passed.
    Quota {
        /// Whether it fits above the quota, not below.
        over: bool,
        /// The quota.
        bytes: u64,
        /// What had passed at the capture.
        used: u64,
    },
    /// Something that is not understood, as it was written.
    Unknown(String),
}

impl Condition {
    /// Whether some part of it is not understood.
    pub fn is_unknown(&self) -> bool {
        match self {
            Self::Unknown(_) => true,
            Self::Compare { left, .. } => left.is_unknown(),
            _ => false,
        }
    }
}

/// What a property is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// These values.
    Elements(Vec<Element>),
    /// Those of a named set of the rule's table.
    Set(String),
}

/// One question about the packet's connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CtTest {
    /// Whether it must not be so.
    pub negated: bool,
    /// What is asked.
    pub what: CtProperty,
}

/// A property of the packet's connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CtProperty {
    /// One of the states of [`ct_state`].
    State(u32),
    /// One of the bits of [`ct_status`].
    Status(u32),
    /// Whether the packet is of the reply's direction.
    Reply(bool),
    /// The connection's protocol.
    Protocol(u8),
    /// Source before translation.
    OriginalSource(Network),
    /// Destination before translation.
    OriginalDestination(Network),
    /// Source of the reply.
    ReplySource(Network),
    /// Destination of the reply.
    ReplyDestination(Network),
    /// Source port before translation.
    OriginalSourcePort(u16, u16),
    /// Destination port before translation.
    OriginalDestinationPort(u16, u16),
    /// Source port of the reply.
    ReplySourcePort(u16, u16),
    /// Destination port of the reply.
    ReplyDestinationPort(u16, u16),
}

/// Addresses that share the bits of a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Network {
    /// The address.
    pub address: IpAddr,
    /// Its mask.
    pub mask: IpAddr,
}

/// Bits of conntrack's states: the kernel's for nft, and two more that only iptables asks for.
pub mod ct_state {
    /// No connection that conntrack knows, or one that it cannot make sense of.
    pub const INVALID: u32 = 1;
    /// Packets of both directions were seen.
    pub const ESTABLISHED: u32 = 2;
    /// Begun by another connection.
    pub const RELATED: u32 = 4;
    /// The first packet.
    pub const NEW: u32 = 8;
    /// Exempt from conntrack.
    pub const UNTRACKED: u32 = 64;
    /// Its source was translated; iptables only.
    pub const SNAT: u32 = 256;
    /// Its destination was translated; iptables only.
    pub const DNAT: u32 = 512;
}

/// Bits of conntrack's status, as in the kernel.
pub mod ct_status {
    /// Another connection announced it.
    pub const EXPECTED: u32 = 1;
    /// The reply was seen.
    pub const SEEN_REPLY: u32 = 2;
    /// Not given up early.
    pub const ASSURED: u32 = 4;
    /// Its first packet has passed.
    pub const CONFIRMED: u32 = 8;
    /// Its source is translated.
    pub const SNAT: u32 = 16;
    /// Its destination is translated.
    pub const DNAT: u32 = 32;
}

/// A rate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Limit {
    /// Whether it fits what is above the rate, not what is below.
    pub over: bool,
    /// How many packets, or bytes.
    pub rate: u64,
    /// In how many seconds.
    pub seconds: u64,
    /// How many at once.
    pub burst: u64,
    /// Whether bytes are counted.
    pub bytes: bool,
    /// Whether there is one bucket for each address or port, as with `hashlimit`.
    pub hashed: bool,
}

/// A question about a list of recent addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Recent {
    /// The list's name.
    pub name: String,
    /// Whether the answer is turned.
    pub negated: bool,
    /// What is done to the list.
    pub deed: RecentDeed,
    /// Which address is looked up.
    pub side: Side,
    /// The bits of the address that count.
    pub mask: IpAddr,
    /// How long ago counts.
    pub seconds: Option<u64>,
    /// How many times are needed.
    pub hits: Option<u64>,
}

/// What is done to a list of recent addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RecentDeed {
    /// The address is put into it.
    Set,
    /// It is only read.
    Check,
    /// It is read, and the time of an address that fits is noted.
    Update,
    /// The address is taken out.
    Remove,
}

/// A side of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Where it comes from.
    Source,
    /// Where it goes.
    Destination,
}

/// What kinds of addresses are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AddressType {
    /// Kinds of the source, and whether it must be none of them.
    pub source: Option<(bool, Vec<AddressKind>)>,
    /// Kinds of the destination.
    pub destination: Option<(bool, Vec<AddressKind>)>,
    /// Whether only addresses of the receiving interface are local.
    pub of_input: bool,
    /// Whether only addresses of the sending interface are.
    pub of_output: bool,
}

/// A kind of address, as the kernel's routing tables say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AddressKind {
    /// No address.
    Unspec = 0,
    /// One system.
    Unicast = 1,
    /// This host.
    Local = 2,
    /// All of a network.
    Broadcast = 3,
    /// Any one of several.
    Anycast = 4,
    /// A group.
    Multicast = 5,
    /// Dropped by a route.
    Blackhole = 6,
    /// Refused by a route.
    Unreachable = 7,
    /// Forbidden by a route.
    Prohibit = 8,
}

impl AddressKind {
    const ALL: [Self; 9] = [
        Self::Unspec,
        Self::Unicast,
        Self::Local,
        Self::Broadcast,
        Self::Anycast,
        Self::Multicast,
        Self::Blackhole,
        Self::Unreachable,
        Self::Prohibit,
    ];

    /// As nft spells it; iptables has it in capitals.
    pub fn name(self) -> &'static str {
        [
            "unspec",
            "unicast",
            "local",
            "broadcast",
            "anycast",
            "multicast",
            "blackhole",
            "unreachable",
            "prohibit",
        ][self as usize]
    }

    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }
}

/// One question about the ports of a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PhysdevTest {
    /// Whether it must not be so.
    pub negated: bool,
    /// What is asked.
    pub what: PhysdevProperty,
}

/// A property of a frame that passes a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PhysdevProperty {
    /// The port that received it.
    In(Element),
    /// The port that is to send it.
    Out(Element),
    /// Whether a port received it.
    IsIn,
    /// Whether a port is to send it.
    IsOut,
    /// Whether it goes from port to port.
    IsBridged,
}
