//! What a rule does to a packet.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::condition::Side;
use crate::expression::{Element, Expression};

/// A deed of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The base chain is left, the packet goes on.
    Accept,
    /// The packet is gone.
    Drop,
    /// The packet is gone, and its sender is told.
    Reject(RejectWith),
    /// Back to the calling chain.
    Return,
    /// On with the next rule.
    Continue,
    /// To a chain, and back at its end.
    Jump(String),
    /// To a chain, and from there to where this one would go back.
    Goto(String),
    /// What the map has for the packet.
    VerdictMap {
        /// What is looked up.
        key: Expression,
        /// In what.
        map: VerdictMap,
    },
    /// Counts.
    Counter,
    /// Logs; with a group, to a program.
    Log(Option<u16>),
    /// Asks for a trace of the packet.
    Trace,
    /// Exempts the packet from conntrack.
    NoTrack,
    /// Changes the packet's mark.
    SetMark(Expression),
    /// Changes the connection's mark.
    SetCtMark(Expression),
    /// `CONNMARK --save-mark`: the connection gets bits of the packet's mark.
    SaveMark {
        /// Bits of the packet's mark.
        packet: u32,
        /// Bits of the connection's mark.
        connection: u32,
    },
    /// `CONNMARK --restore-mark`: the packet gets bits of the connection's mark.
    RestoreMark {
        /// Bits of the packet's mark.
        packet: u32,
        /// Bits of the connection's mark.
        connection: u32,
    },
    /// Changes a set of `ipset`.
    ChangeIpSet {
        /// Its name.
        name: String,
        /// Whether the packet is added, not taken out.
        add: bool,
        /// Which side of the packet each component of an entry is.
        sides: Vec<Side>,
    },
    /// Changes a named set of the rule's table.
    ChangeSet(String),
    /// Another destination.
    Dnat(NatTarget),
    /// The same host, at another port.
    Redirect(NatTarget),
    /// Another source.
    Snat(NatTarget),
    /// Another source: the sending interface's address.
    Masquerade,
    /// Changes the packet in a way that no condition reads, such as `TCPMSS`.
    Harmless(String),
    /// Changes the time to live.
    ChangeTtl,
    /// Asks a program, or another kernel part, which nobody knows the answer of.
    Handover(String),
    /// Something that is not understood, as it was written.
    Unknown(String),
}

impl Action {
    /// Whether some part of it is not understood.
    pub fn is_unknown(&self) -> bool {
        match self {
            Self::Unknown(_) => true,
            Self::SetMark(value) | Self::SetCtMark(value) => value.is_unknown(),
            Self::VerdictMap { key, .. } => key.is_unknown(),
            _ => false,
        }
    }
}

/// Where verdicts are looked up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum VerdictMap {
    /// In the rule itself.
    Inline(Vec<(Element, Action)>),
    /// In a named map of its table.
    Named(String),
}

/// Where a packet is translated to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NatTarget {
    /// First and last address.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// First and last port.
    pub ports: Option<(u16, u16)>,
}

/// What the sender of a rejected packet is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RejectWith {
    /// A reset, as if the port were closed.
    TcpReset,
    /// ICMP destination unreachable, with this code.
    Icmp(u8),
    /// ICMPv6 destination unreachable, with this code.
    Icmp6(u8),
    /// nft's code that is translated to either.
    Icmpx(u8),
}

const ICMP: [(u8, &str); 7] = [
    (0, "net-unreachable"),
    (1, "host-unreachable"),
    (2, "prot-unreachable"),
    (3, "port-unreachable"),
    (9, "net-prohibited"),
    (10, "host-prohibited"),
    (13, "admin-prohibited"),
];
const ICMP6: [(u8, &str); 6] = [
    (0, "no-route"),
    (1, "admin-prohibited"),
    (3, "addr-unreachable"),
    (4, "port-unreachable"),
    (5, "policy-fail"),
    (6, "reject-route"),
];
const ICMPX: [(u8, &str); 4] =
    [(0, "no-route"), (1, "port-unreachable"), (2, "host-unreachable"), (3, "admin-prohibited")];

impl RejectWith {
    /// The code's name in nft.
    pub fn name(self) -> &'static str {
        let (names, code): (&[_], _) = match self {
            Self::TcpReset => return "tcp reset",
            Self::Icmp(code) => (&ICMP, code),
            Self::Icmp6(code) => (&ICMP6, code),
            Self::Icmpx(code) => (&ICMPX, code),
        };
        names.iter().find(|(number, _)| *number == code).map_or("unknown", |(_, name)| name)
    }

    /// The code of a name: of nft, or of iptables.
    pub(crate) fn code(names: RejectFamily, name: &str) -> Option<u8> {
        let short = |list: &[(u8, &str)], name: &str| {
            list.iter().find(|(_, own)| *own == name).map(|(code, _)| *code)
        };
        match names {
            RejectFamily::Icmp => {
                let name = name.strip_prefix("icmp-").unwrap_or(name);
                let name = match name {
                    "proto-unreachable" => "prot-unreachable",
                    "net-prohib" | "net-prohibited" => "net-prohibited",
                    "host-prohib" | "host-prohibited" => "host-prohibited",
                    "admin-prohib" | "admin-prohibited" => "admin-prohibited",
                    "net-unreach" => "net-unreachable",
                    "host-unreach" => "host-unreachable",
                    "port-unreach" => "port-unreachable",
                    other => other,
                };
                short(&ICMP, name)
            }
            RejectFamily::Icmp6 => {
                let name = name.strip_prefix("icmp6-").unwrap_or(name);
                let name = match name {
                    "adm-prohibited" | "adm-prohib" => "admin-prohibited",
                    "port-unreach" => "port-unreachable",
                    "addr-unreach" => "addr-unreachable",
                    other => other,
                };
                short(&ICMP6, name)
            }
            RejectFamily::Icmpx => short(&ICMPX, name),
        }
    }
}

/// Whose names of codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RejectFamily {
    Icmp,
    Icmp6,
    Icmpx,
}

impl fmt::Display for RejectWith {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TcpReset => f.write_str("tcp reset"),
            Self::Icmp(_) => write!(f, "icmp {}", self.name()),
            Self::Icmp6(_) => write!(f, "icmpv6 {}", self.name()),
            Self::Icmpx(_) => write!(f, "icmpx {}", self.name()),
        }
    }
}
