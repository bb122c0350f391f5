//! One TCP connect and what it showed, from whatever vantage.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::target::Protocol;

/// One TCP connect and what it showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Dial {
    /// The address that was dialled.
    pub address: Ipv4Addr,
    /// The port that was dialled.
    pub port: u16,
    /// The source address that the kernel chose.
    pub local: Option<Ipv4Addr>,
    /// And the source port.
    #[serde(default)]
    pub local_port: Option<u16>,
    /// How it ended.
    pub outcome: Outcome,
    /// Microseconds from the call to the end.
    pub elapsed_us: u64,
    /// What ICMP messages the kernel kept for the socket.
    pub icmp: Vec<Icmp>,
    /// What TCP knew at the end.
    pub tcp: Option<TcpState>,
    /// SYNs that stayed without an answer, over all sockets of the dial.
    #[serde(default)]
    pub unanswered: u32,
    /// Sockets that sent them.
    #[serde(default)]
    pub sockets: u32,
    /// Other ports were refused by ICMP, which the host sends only so often: silence may be a refusal that was held back.
    #[serde(default)]
    pub limited: bool,
    /// What was said after the handshake, and what came back.
    #[serde(default)]
    pub greetings: Vec<Greeted>,
    /// The source port of a connection that was open when the host was asked about it.
    #[serde(default)]
    pub held: Option<u16>,
    /// The source port of the connection on which the last greeting stayed without an answer, which was open then, too.
    /// Since 1.6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent: Option<u16>,
}

/// A greeting and what came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Greeted {
    /// What was said.
    pub greeting: Greeting,
    /// The peer's kernel acknowledged it.
    pub acknowledged: bool,
    /// The first bytes of the answer, in hexadecimal.
    pub answer: String,
    /// What they are an answer of; `None` when none came, or too little of one.
    pub kind: Option<Answer>,
    /// The peer ended the connection.
    pub closed: bool,
    /// 0, or what the socket failed with.
    pub errno: i32,
    /// Microseconds.
    pub elapsed_us: u64,
}

/// The first bytes that are sent to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Greeting {
    /// A TLS ClientHello.
    Tls,
    /// The HTTP/2 preface.
    Http2,
    /// An HTTP/1.1 request.
    Http1,
    /// Only the connection's end, which the peer's kernel acknowledges.
    Fin,
}

impl Greeting {
    /// What a service of a protocol is told first.
    pub(crate) fn first(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Grpc => Self::Tls,
            Protocol::Http => Self::Http1,
            Protocol::Tcp => Self::Fin,
        }
    }

    /// How many bytes it has: rules can ask for the length of a packet.
    pub(crate) fn length(self) -> u16 {
        match self {
            Self::Tls => 214,
            Self::Http2 => 33,
            Self::Http1 => 91,
            Self::Fin => 0,
        }
    }
}

/// What an answer is, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// A TLS handshake or alert.
    Tls,
    /// HTTP/2 frames.
    Http2,
    /// An HTTP/1 status line.
    Http1,
    /// A whole answer of something else.
    Other,
}

/// How a connect ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Outcome {
    /// The handshake completed.
    Connected,
    /// Nothing came back in time.
    TimedOut,
    /// The kernel reported an error.
    Failed {
        /// The number, as on Linux.
        errno: i32,
        /// The symbol, for example `ECONNREFUSED`.
        name: String,
    },
}

impl Outcome {
    /// Whether this is the error with the symbol `wanted`.
    #[must_use]
    pub fn is_error(&self, wanted: &str) -> bool {
        matches!(self, Self::Failed { name, .. } if name == wanted)
    }
}

/// An entry of a socket's error queue (`struct sock_extended_err`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Icmp {
    /// The errno it means.
    pub errno: u32,
    /// 1: this kernel, 2: an ICMP message.
    pub origin: u8,
    /// ICMP type.
    #[serde(rename = "type")]
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// Who sent it.
    pub offender: Option<IpAddr>,
}

/// The part of `TCP_INFO` that tells an unanswered SYN from a slow service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TcpState {
    /// 1 established, 2 SYN sent, 7 closed.
    pub state: u8,
    /// Retransmissions without an answer.
    pub retransmits: u8,
    /// Smoothed round-trip time in microseconds.
    pub rtt_us: u32,
}

/// ICMP "destination unreachable" (RFC 792).
const UNREACHABLE: u8 = 3;
/// `SO_EE_ORIGIN_ICMP` (include/uapi/linux/errqueue.h).
const ORIGIN_ICMP: u8 = 2;

impl Dial {
    /// Whether the kernel has repeated the SYN at least once.
    #[must_use]
    pub fn was_repeated(&self) -> bool {
        self.tcp.is_some_and(|tcp| tcp.retransmits > 0) || self.unanswered > self.sockets
    }

    /// Whether an ICMP message refused a greeting. The kernel reports it as the connection's error, with nothing in the
    /// error queue; the peer's own end has other errors, and its silence too.
    #[must_use]
    pub fn was_refused_late(&self) -> bool {
        const OTHER: [i32; 4] = [0, 32, 104, 110]; // none, EPIPE, ECONNRESET, ETIMEDOUT
        self.greetings.iter().any(|greeted| !OTHER.contains(&greeted.errno))
    }

    /// The ICMP refusal that another machine sent, if one did. The kernel's own notice that an address cannot be
    /// resolved has the dialler's address as its offender and is none.
    #[must_use]
    pub fn refusal(&self) -> Option<&Icmp> {
        self.icmp.iter().find(|icmp| {
            icmp.origin == ORIGIN_ICMP
                && icmp.kind == UNREACHABLE
                && icmp.offender.is_some_and(|offender| Some(offender) != self.local.map(IpAddr::V4))
        })
    }

    /// Whether the kernel gave up finding the next hop: EHOSTUNREACH that nobody else sent.
    #[must_use]
    pub fn unresolved_neighbour(&self) -> bool {
        self.outcome.is_error("EHOSTUNREACH") && self.refusal().is_none()
    }
}

/// The dialer's own file: it is compiled alone, and says no lengths.
#[cfg(test)]
#[path = "../dialer/greeting.rs"]
#[allow(dead_code, reason = "the dialer uses all of it")]
mod said;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings_are_as_long_as_what_the_dialer_says() {
        let said = [said::Greeting::Tls, said::Greeting::Http2, said::Greeting::Http1, said::Greeting::Fin];
        let ours = [Greeting::Tls, Greeting::Http2, Greeting::Http1, Greeting::Fin];
        for (said, ours) in said.into_iter().zip(ours) {
            assert_eq!(said.bytes().len(), usize::from(ours.length()), "{said:?}");
        }
    }
}
