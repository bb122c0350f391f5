//! One event of the kernel's trace.

use std::fmt;

use crate::netlink::constants::{
    NF_ACCEPT, NF_DROP, NF_QUEUE, NF_REPEAT, NF_STOLEN, NF_VERDICT_MASK, NFPROTO_ARP, NFPROTO_BRIDGE,
    NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6, NFPROTO_NETDEV, NFT_BREAK, NFT_CONTINUE, NFT_GOTO, NFT_JUMP,
    NFT_RETURN, NFT_TRACETYPE_POLICY, NFT_TRACETYPE_RETURN, NFT_TRACETYPE_RULE, NFTA_TRACE_CHAIN,
    NFTA_TRACE_ID, NFTA_TRACE_IIF, NFTA_TRACE_MARK, NFTA_TRACE_NETWORK_HEADER, NFTA_TRACE_POLICY,
    NFTA_TRACE_RULE_HANDLE, NFTA_TRACE_TABLE, NFTA_TRACE_TRANSPORT_HEADER, NFTA_TRACE_TYPE,
    NFTA_TRACE_VERDICT, NFTA_VERDICT_CHAIN, NFTA_VERDICT_CODE,
};
use crate::netlink::{attributes, name, u32_be, u64_be};
use crate::{Error, Packet};

/// What happened to a packet at one place of the ruleset.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    /// The same for all events of a packet in one hook; in the next one it may be another.
    pub id: u32,
    /// The packet, in the first event of a base chain.
    pub packet: Option<Packet>,
    /// The packet's mark, unless it is 0.
    pub mark: u32,
    /// The family of the table.
    pub family: Family,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// The place in the chain.
    pub kind: Kind,
    /// What was said about the packet there.
    pub verdict: Verdict,
}

/// A family of tables.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Family {
    /// `ip`: what `iptables` writes.
    Ip,
    /// `ip6`: what `ip6tables` writes.
    Ip6,
    /// `inet`: both.
    Inet,
    /// `arp`.
    Arp,
    /// `bridge`.
    Bridge,
    /// `netdev`: before all of them, on a device.
    Netdev,
    /// One that did not exist when this was written.
    Other(u8),
}

/// The place of an event in its chain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// A rule that matched.
    Rule {
        /// The number that the kernel knows it by; see [`position`](crate::position).
        handle: u64,
    },
    /// A rule that says `return`, or without a handle the end of a chain.
    Return {
        /// The number of the rule.
        handle: Option<u64>,
    },
    /// The policy of a base chain: no rule of it, and of the chains that it jumped to, decided.
    Policy,
    /// A kind that did not exist when this was written.
    Other(u32),
}

/// What a rule or a policy says about a packet.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Verdict {
    /// It goes on to the next base chain, or to where it wants.
    Accept,
    /// It ends here. `REJECT` says that too, and sends a refusal.
    Drop,
    /// Something else has it now (`synproxy`, say).
    Stolen,
    /// A program decides about it.
    Queue(u16),
    /// The hook begins anew.
    Repeat,
    /// The next rule.
    Continue,
    /// The next rule, because this one did not match after all.
    Break,
    /// A chain, and back.
    Jump(String),
    /// A chain, and not back.
    Goto(String),
    /// Back to the chain that it came from.
    Return,
    /// One that did not exist when this was written.
    Other(i32),
}

impl Event {
    /// From the content of a `NFT_MSG_TRACE` message.
    pub(crate) fn parse(family: u8, body: &[u8]) -> Result<Self, Error> {
        let mut fields = Fields::default();
        for attribute in attributes(body) {
            let attribute = attribute?;
            let value = attribute.value;
            match attribute.kind {
                NFTA_TRACE_TABLE => fields.table = Some(name(value)),
                NFTA_TRACE_CHAIN => fields.chain = Some(name(value)),
                NFTA_TRACE_RULE_HANDLE => fields.handle = Some(u64_be(value)?),
                NFTA_TRACE_TYPE => fields.kind = Some(u32_be(value)?),
                NFTA_TRACE_VERDICT => fields.verdict = Some(verdict(value)?),
                NFTA_TRACE_POLICY => fields.policy = Some(u32_be(value)?),
                NFTA_TRACE_ID => fields.id = Some(u32_be(value)?),
                NFTA_TRACE_MARK => fields.mark = u32_be(value)?,
                NFTA_TRACE_IIF => fields.interface = Some(u32_be(value)?),
                NFTA_TRACE_NETWORK_HEADER => fields.network = value,
                NFTA_TRACE_TRANSPORT_HEADER => fields.transport = value,
                _ => {}
            }
        }
        fields.event(family)
    }
}

/// The attributes of an event, in whatever order they came.
#[derive(Debug, Default)]
struct Fields<'message> {
    id: Option<u32>,
    table: Option<String>,
    chain: Option<String>,
    kind: Option<u32>,
    handle: Option<u64>,
    verdict: Option<Verdict>,
    policy: Option<u32>,
    mark: u32,
    interface: Option<u32>,
    network: &'message [u8],
    transport: &'message [u8],
}

impl Fields<'_> {
    fn event(self, family: u8) -> Result<Event, Error> {
        let missing = |what| move || Error::Malformed { what };
        let kind = match (self.kind.ok_or_else(missing("a trace event without a type"))?, self.handle) {
            (NFT_TRACETYPE_POLICY, _) => Kind::Policy,
            (NFT_TRACETYPE_RULE, Some(handle)) => Kind::Rule { handle },
            // The end of a chain came as a rule without a handle before Linux 6.4.
            (NFT_TRACETYPE_RETURN | NFT_TRACETYPE_RULE, handle) => Kind::Return { handle },
            (other, _) => Kind::Other(other),
        };
        let verdict = match (kind, self.verdict, self.policy) {
            (Kind::Policy, _, Some(policy)) => hook_verdict(policy),
            (_, Some(verdict), _) => verdict,
            _ => return Err(Error::Malformed { what: "a trace event without a verdict" }),
        };
        Ok(Event {
            id: self.id.ok_or_else(missing("a trace event without an id"))?,
            packet: Packet::parse(self.network, self.transport, self.interface)?,
            mark: self.mark,
            family: Family::from_number(family),
            table: self.table.ok_or_else(missing("a trace event without a table"))?,
            chain: self.chain.ok_or_else(missing("a trace event without a chain"))?,
            kind,
            verdict,
        })
    }
}

fn verdict(value: &[u8]) -> Result<Verdict, Error> {
    let (mut code, mut chain) = (None, None);
    for attribute in attributes(value) {
        let attribute = attribute?;
        match attribute.kind {
            NFTA_VERDICT_CODE => code = Some(u32_be(attribute.value)?),
            NFTA_VERDICT_CHAIN => chain = Some(name(attribute.value)),
            _ => {}
        }
    }
    let code = code.ok_or(Error::Malformed { what: "a verdict without a code" })?;
    let target = || chain.ok_or(Error::Malformed { what: "a jump without a chain" });
    Ok(match code.cast_signed() {
        NFT_CONTINUE => Verdict::Continue,
        NFT_BREAK => Verdict::Break,
        NFT_JUMP => Verdict::Jump(target()?),
        NFT_GOTO => Verdict::Goto(target()?),
        NFT_RETURN => Verdict::Return,
        0.. => hook_verdict(code),
        other => Verdict::Other(other),
    })
}

fn hook_verdict(code: u32) -> Verdict {
    match code & NF_VERDICT_MASK {
        NF_DROP => Verdict::Drop,
        NF_ACCEPT => Verdict::Accept,
        NF_STOLEN => Verdict::Stolen,
        NF_QUEUE => Verdict::Queue((code >> 16) as u16),
        NF_REPEAT => Verdict::Repeat,
        _ => Verdict::Other(code.cast_signed()),
    }
}

impl Family {
    /// The kernel's number (`NFPROTO_*`).
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Ip => NFPROTO_IPV4,
            Self::Ip6 => NFPROTO_IPV6,
            Self::Inet => NFPROTO_INET,
            Self::Arp => NFPROTO_ARP,
            Self::Bridge => NFPROTO_BRIDGE,
            Self::Netdev => NFPROTO_NETDEV,
            Self::Other(number) => number,
        }
    }

    pub(crate) fn from_number(number: u8) -> Self {
        let known = [Self::Ip, Self::Ip6, Self::Inet, Self::Arp, Self::Bridge, Self::Netdev];
        known.into_iter().find(|it| it.number() == number).unwrap_or(Self::Other(number))
    }
}

/// As `nft` writes it.
impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Inet => "inet",
            Self::Arp => "arp",
            Self::Bridge => "bridge",
            Self::Netdev => "netdev",
            Self::Other(number) => return write!(f, "family {number}"),
        })
    }
}

/// As `nft` writes it.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Stolen => f.write_str("stolen"),
            Self::Queue(number) => write!(f, "queue {number}"),
            Self::Repeat => f.write_str("repeat"),
            Self::Continue => f.write_str("continue"),
            Self::Break => f.write_str("break"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
            Self::Return => f.write_str("return"),
            Self::Other(code) => write!(f, "verdict {code}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::netlink::constants::NFT_MSG_TRACE;
    use crate::netlink::{Message, Messages, messages};

    const HEADER: usize = 20;

    /// The attributes of a message with those.
    fn body(fill: impl FnOnce(&mut Message<'_>)) -> Vec<u8> {
        Messages::request(NFT_MSG_TRACE, 0, NFPROTO_IPV4, fill).bytes()[HEADER..].to_vec()
    }

    fn rule(it: &mut Message<'_>) {
        it.name(NFTA_TRACE_TABLE, "filter");
        it.name(NFTA_TRACE_CHAIN, "INPUT");
        it.number(NFTA_TRACE_ID, 7);
        it.number(NFTA_TRACE_TYPE, NFT_TRACETYPE_RULE);
        it.put(NFTA_TRACE_RULE_HANDLE, &9u64.to_be_bytes());
        it.nested(NFTA_TRACE_VERDICT, |it| {
            it.number(NFTA_VERDICT_CODE, NFT_JUMP.cast_unsigned());
            it.name(NFTA_VERDICT_CHAIN, "user");
        });
    }

    #[test]
    fn a_jump_is_read() {
        let event = Event::parse(NFPROTO_IPV4, &body(rule)).unwrap();
        assert_eq!((event.id, event.table.as_str(), event.chain.as_str()), (7, "filter", "INPUT"));
        assert_eq!((event.kind, event.verdict), (Kind::Rule { handle: 9 }, Verdict::Jump("user".into())));
        assert_eq!((event.family, event.packet), (Family::Ip, None));
    }

    #[test]
    fn a_verdict_has_its_number_in_the_lowest_byte() {
        assert_eq!(hook_verdict(NF_QUEUE | 5 << 16), Verdict::Queue(5));
        assert_eq!(hook_verdict(NF_DROP | 0xffff << 16), Verdict::Drop);
    }

    #[test]
    fn what_is_missing_is_an_error() {
        let read = |fill: fn(&mut Message<'_>)| Event::parse(NFPROTO_IPV4, &body(fill));
        assert!(read(|_| {}).is_err());
        assert!(read(|it| it.number(NFTA_TRACE_TYPE, NFT_TRACETYPE_POLICY)).is_err());
        assert!(read(|it| it.put(NFTA_TRACE_ID, &[1])).is_err());
        assert!(read(|it| it.nested(NFTA_TRACE_VERDICT, |_| {})).is_err());
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(datagram in proptest::collection::vec(any::<u8>(), 0..300)) {
            for message in messages(&datagram).map_while(Result::ok) {
                let _ = message.content().and_then(|(family, body)| Event::parse(family, body));
            }
            let _ = Event::parse(0, &datagram);
        }

        #[test]
        fn no_changed_byte_makes_it_panic(at in 0usize..80, byte in any::<u8>(), cut in 0usize..80) {
            let mut bytes = body(rule);
            let length = bytes.len();
            bytes[at % length] = byte;
            let _ = Event::parse(NFPROTO_IPV4, &bytes);
            let _ = Event::parse(NFPROTO_IPV4, &bytes[..cut % length]);
        }
    }
}
