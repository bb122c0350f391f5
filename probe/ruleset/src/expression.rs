//! What a condition reads of a packet, and the values that it compares with.

use serde::{Deserialize, Serialize};

/// A property of a packet, of its connection or of the place where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// IPv4 source; a packet of another family has none.
    Ip4Source,
    /// IPv4 destination.
    Ip4Destination,
    /// IPv6 source.
    Ip6Source,
    /// IPv6 destination.
    Ip6Destination,
    /// The protocol number in the IPv4 header.
    Ip4Protocol,
    /// IPv4 total length.
    Ip4Length,
    /// IPv4 time to live.
    Ip4Ttl,
    /// The next header in the IPv6 header.
    Ip6NextHeader,
    /// IPv6 hop limit.
    Ip6HopLimit,
    /// Length of the packet from its IP header on.
    Length,
    /// The transport protocol.
    L4Protocol,
    /// The family of the hook that the packet passes.
    NfProto,
    /// The ethertype.
    EtherType,
    /// A port of TCP.
    TcpSource,
    /// A port of TCP.
    TcpDestination,
    /// TCP flags.
    TcpFlags,
    /// A port of UDP, which a TCP packet has not.
    UdpSource,
    /// A port of UDP.
    UdpDestination,
    /// A port of any transport protocol.
    TransportSource,
    /// A port of any transport protocol.
    TransportDestination,
    /// The type of an ICMP message, which a TCP packet has not.
    IcmpType,
    /// The type of an ICMPv6 message.
    Icmp6Type,
    /// The type of an IPv6 routing header, which no packet here has.
    RoutingType,
    /// Something of a header that no packet here has.
    OtherHeader,
    /// Name of the interface that received the packet; empty where there is none.
    InputName,
    /// Name of the interface that is to send it.
    OutputName,
    /// The same as an index, known by its name.
    InputIndex,
    /// The same as an index.
    OutputIndex,
    /// The bridge of the port that received the frame.
    InputBridge,
    /// The bridge of the port that is to send it.
    OutputBridge,
    /// The packet's mark.
    Mark,
    /// To whom the frame was sent.
    PacketType,
    /// State of the packet in its connection, one bit.
    CtState,
    /// Status bits of the connection.
    CtStatus,
    /// Direction of the packet in its connection.
    CtDirection,
    /// The connection's mark.
    CtMark,
    /// What kind of address the source is.
    FibSourceType,
    /// What kind of address the destination is.
    FibDestinationType,
    /// Whether the route back to the source leads through the interface that received the packet.
    FibSourceOutput,
}

impl Field {
    /// The kind of its values.
    pub fn kind(self) -> DataKind {
        match self {
            Self::Ip4Source | Self::Ip4Destination => DataKind::Ip4,
            Self::Ip6Source | Self::Ip6Destination => DataKind::Ip6,
            Self::Ip4Protocol | Self::L4Protocol | Self::Ip6NextHeader => DataKind::Protocol,
            Self::Ip4Length | Self::Ip4Ttl | Self::Ip6HopLimit | Self::Length | Self::RoutingType => {
                DataKind::Number
            }
            Self::OtherHeader => DataKind::Other,
            Self::NfProto => DataKind::NfProto,
            Self::EtherType => DataKind::EtherType,
            Self::TcpSource
            | Self::TcpDestination
            | Self::UdpSource
            | Self::UdpDestination
            | Self::TransportSource
            | Self::TransportDestination => DataKind::Port,
            Self::TcpFlags => DataKind::TcpFlags,
            Self::IcmpType => DataKind::Icmp,
            Self::Icmp6Type => DataKind::Icmp6,
            Self::InputName
            | Self::OutputName
            | Self::InputIndex
            | Self::OutputIndex
            | Self::InputBridge
            | Self::OutputBridge => DataKind::Interface,
            Self::Mark | Self::CtMark => DataKind::Mark,
            Self::PacketType => DataKind::PacketType,
            Self::CtState => DataKind::CtState,
            Self::CtStatus => DataKind::CtStatus,
            Self::CtDirection => DataKind::CtDirection,
            Self::FibSourceType | Self::FibDestinationType => DataKind::AddressType,
            Self::FibSourceOutput => DataKind::Presence,
        }
    }
}

/// What values mean, and how they are spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DataKind {
    /// An IPv4 address.
    Ip4,
    /// An IPv6 address.
    Ip6,
    /// A port.
    Port,
    /// An IP protocol.
    Protocol,
    /// A mark.
    Mark,
    /// An interface's name.
    Interface,
    /// A family of hooks.
    NfProto,
    /// An ethertype.
    EtherType,
    /// TCP flags.
    TcpFlags,
    /// A state of conntrack.
    CtState,
    /// Status bits of conntrack.
    CtStatus,
    /// A direction of conntrack.
    CtDirection,
    /// To whom a frame was sent.
    PacketType,
    /// A kind of address.
    AddressType,
    /// There or not.
    Presence,
    /// An ICMP type.
    Icmp,
    /// An ICMPv6 type.
    Icmp6,
    /// A plain number.
    Number,
    /// Anything else: its values are not understood.
    Other,
}

/// What a condition reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Expression {
    /// One property.
    Field(Field),
    /// Some bits of one.
    And(
        Box<Expression>,
        #[serde(with = "crate::wide")]
        #[cfg_attr(test, schemars(with = "crate::wide::Written"))]
        u128,
    ),
    /// One with bits set.
    Or(
        Box<Expression>,
        #[serde(with = "crate::wide")]
        #[cfg_attr(test, schemars(with = "crate::wide::Written"))]
        u128,
    ),
    /// One with bits turned.
    Xor(
        Box<Expression>,
        #[serde(with = "crate::wide")]
        #[cfg_attr(test, schemars(with = "crate::wide::Written"))]
        u128,
    ),
    /// Several, one after another.
    Concat(Vec<Expression>),
    /// A value that no packet changes.
    Value(Datum),
    /// Something that is not understood, as it was written.
    Unknown(String),
}

impl Expression {
    /// The kinds of the components of its values.
    pub fn kinds(&self) -> Vec<DataKind> {
        match self {
            Self::Field(field) => vec![field.kind()],
            Self::And(inner, _) | Self::Or(inner, _) | Self::Xor(inner, _) => inner.kinds(),
            Self::Concat(parts) => parts.iter().flat_map(Self::kinds).collect(),
            Self::Value(_) => vec![DataKind::Number],
            Self::Unknown(_) => vec![DataKind::Other],
        }
    }

    /// Whether some part of it is not understood.
    pub fn is_unknown(&self) -> bool {
        match self {
            Self::Unknown(_) => true,
            Self::And(inner, _) | Self::Or(inner, _) | Self::Xor(inner, _) => inner.is_unknown(),
            Self::Concat(parts) => parts.iter().any(Self::is_unknown),
            Self::Field(_) | Self::Value(_) => false,
        }
    }
}

/// One value: addresses, ports, marks and bits are numbers, interfaces are names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Datum {
    /// A number.
    Number(
        #[serde(with = "crate::wide")]
        #[cfg_attr(test, schemars(with = "crate::wide::Written"))]
        u128,
    ),
    /// A name.
    Name(String),
    /// Several, one after another.
    Concat(Vec<Datum>),
}

/// What a value is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Element {
    /// Every value.
    Any,
    /// One value.
    One(Datum),
    /// All numbers from the first to the second.
    Range(
        #[serde(with = "crate::wide")]
        #[cfg_attr(test, schemars(with = "crate::wide::Written"))]
        u128,
        #[serde(with = "crate::wide")]
        #[cfg_attr(test, schemars(with = "crate::wide::Written"))]
        u128,
    ),
    /// An address and the number of bits that count; `bits` is the width of the kind.
    Prefix {
        /// The address.
        #[serde(with = "crate::wide")]
        #[cfg_attr(test, schemars(with = "crate::wide::Written"))]
        base: u128,
        /// How many of its bits count.
        length: u8,
        /// How many it has.
        bits: u8,
    },
    /// Every name that begins so.
    Beginning(String),
    /// Several, one after another.
    Concat(Vec<Element>),
}

impl Element {
    /// Whether it holds the value.
    pub fn holds(&self, datum: &Datum) -> bool {
        match (self, datum) {
            (Self::Any, _) => true,
            (Self::One(own), datum) => own == datum,
            (Self::Range(first, last), Datum::Number(number)) => (first..=last).contains(&number),
            (Self::Prefix { base, length, bits }, Datum::Number(number)) => {
                let shift = u32::from(bits.saturating_sub(*length));
                base.checked_shr(shift).unwrap_or(0) == number.checked_shr(shift).unwrap_or(0)
            }
            (Self::Beginning(start), Datum::Name(name)) => name.starts_with(start.as_str()),
            (Self::Concat(parts), Datum::Concat(data)) => {
                parts.len() == data.len() && parts.iter().zip(data).all(|(part, datum)| part.holds(datum))
            }
            _ => false,
        }
    }
}

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Operator {
    /// It is one of them.
    Equal,
    /// It is none of them.
    NotEqual,
    /// It has one of their bits.
    AnyBit,
    /// It is less.
    Less,
    /// It is more.
    Greater,
    /// It is not more.
    AtMost,
    /// It is not less.
    AtLeast,
}
