//! Where packets are picked for a trace, and the owned table that does it.

use std::hash::{BuildHasher, Hasher, RandomState};

use crate::Error;
use crate::netlink::constants::*;
use crate::netlink::{Message, Messages, Socket};

/// Before everything else: netfilter's own lowest priority in use is -400 (defragmentation).
const PRIORITY: i32 = -500;

/// How the tables of tracers begin.
const TABLE: &str = "openshell-trace-";

/// The only chain of the table.
const CHAIN: &str = "pick";

/// As many ports as a rule each is still little for.
const MOST_PORTS: usize = 256;

/// IANA's number of TCP; where a TCP header has its destination port and its flags; the flags (RFC 9293).
const TCP: u8 = 6;
const DESTINATION_PORT: u32 = 2;
const FLAGS: u32 = 13;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// Where packets are picked. What happens to them before is not seen.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Place {
    /// Where one device receives, before every other chain of netfilter. The device has to exist.
    Device(String),
    /// Where bridges receive, on all their ports, also those that will come.
    Bridges,
    /// Where IPv4 and IPv6 receive, on all devices, also those that will come. Chains of the families `netdev` and `bridge`
    /// have been passed by then.
    Received,
    /// Where this host sends.
    Sent,
}

/// Which packets of TCP are picked.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Packets {
    /// The first one: with SYN and without ACK.
    #[default]
    First,
    /// All of them, since a firewall can accept the SYN and drop what follows. An accept may then come from a rule for
    /// established connections.
    All,
}

/// Whether a table of that name is a tracer's: whoever lists the rules meanwhile sees it.
#[must_use]
pub fn is_own(table: &str) -> bool {
    table.starts_with(TABLE)
}

/// Makes the table, which goes with the socket. Its name is nobody else's.
pub(crate) fn plant(
    socket: &mut Socket,
    place: &Place,
    ports: &[u16],
    packets: Packets,
) -> Result<String, Error> {
    check(place, ports)?;
    let table = format!("{TABLE}{:016x}", RandomState::new().build_hasher().finish());
    let (family, hook) = place.hook();
    let wanted = match ports {
        [] => vec![None],
        ports => ports.iter().copied().map(Some).collect(),
    };
    let batch = Messages::batch(|batch| {
        batch.add(NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, family, |it| {
            it.name(NFTA_TABLE_NAME, &table);
            it.number(NFTA_TABLE_FLAGS, NFT_TABLE_F_OWNER);
        });
        batch.add(NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL, family, |it| {
            it.name(NFTA_CHAIN_TABLE, &table);
            it.name(NFTA_CHAIN_NAME, CHAIN);
            it.name(NFTA_CHAIN_TYPE, "filter");
            it.number(NFTA_CHAIN_POLICY, NF_ACCEPT);
            it.nested(NFTA_CHAIN_HOOK, |it| {
                it.number(NFTA_HOOK_HOOKNUM, hook);
                it.number(NFTA_HOOK_PRIORITY, PRIORITY.cast_unsigned());
                if let Place::Device(device) = place {
                    it.name(NFTA_HOOK_DEV, device);
                }
            });
        });
        for (index, port) in wanted.iter().enumerate() {
            // Errors are answered in the order of their requests, so the last one's answer is the whole batch's.
            let ack = if index + 1 == wanted.len() { NLM_F_ACK } else { 0 };
            batch.add(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND | ack, family, |it| {
                it.name(NFTA_RULE_TABLE, &table);
                it.name(NFTA_RULE_CHAIN, CHAIN);
                it.nested(NFTA_RULE_EXPRESSIONS, |it| pick(it, *port, packets));
            });
        }
    });
    socket.ask("make a table for a trace", &batch, |message| {
        Ok(message.is_control(NLMSG_ERROR).then_some(()))
    })?;
    Ok(table)
}

fn check(place: &Place, ports: &[u16]) -> Result<(), Error> {
    if let Place::Device(device) = place {
        let bad = |message| Err(Error::BadInput { what: format!("device {device:?}"), message });
        if device.is_empty() || device.len() >= IFNAMSIZ || device.contains('\0') {
            return bad("an interface's name has 1 to 15 bytes");
        }
        // Linux 6.16 and later take the name of a device that may come, and would never say that it has not.
        if nix::net::if_::if_nametoindex(device.as_str()).is_err() {
            return bad("there is no such interface in this network namespace");
        }
    }
    if ports.len() > MOST_PORTS {
        let message = "256 at most, or none for every port";
        return Err(Error::BadInput { what: format!("{} ports", ports.len()), message });
    }
    Ok(())
}

impl Place {
    fn hook(&self) -> (u8, u32) {
        match self {
            Self::Device(_) => (NFPROTO_NETDEV, NF_NETDEV_INGRESS),
            Self::Bridges => (NFPROTO_BRIDGE, NF_BR_PRE_ROUTING),
            Self::Received => (NFPROTO_INET, NF_INET_PRE_ROUTING),
            Self::Sent => (NFPROTO_INET, NF_INET_LOCAL_OUT),
        }
    }
}

/// `meta l4proto tcp tcp dport PORT tcp flags & (syn | ack) == syn meta nftrace set 1`. The protocol and the place of its
/// header are known in every family, for IPv4 and IPv6.
fn pick(rule: &mut Message<'_>, port: Option<u16>, packets: Packets) {
    expression(rule, "meta", |it| {
        it.number(NFTA_META_DREG, NFT_REG_1);
        it.number(NFTA_META_KEY, NFT_META_L4PROTO);
    });
    equals(rule, &[TCP]);
    if let Some(port) = port {
        load(rule, DESTINATION_PORT, 2);
        equals(rule, &port.to_be_bytes());
    }
    if packets == Packets::First {
        load(rule, FLAGS, 1);
        expression(rule, "bitwise", |it| {
            it.number(NFTA_BITWISE_SREG, NFT_REG_1);
            it.number(NFTA_BITWISE_DREG, NFT_REG_1);
            it.number(NFTA_BITWISE_LEN, 1);
            it.nested(NFTA_BITWISE_MASK, |it| it.put(NFTA_DATA_VALUE, &[SYN | ACK]));
            it.nested(NFTA_BITWISE_XOR, |it| it.put(NFTA_DATA_VALUE, &[0]));
        });
        equals(rule, &[SYN]);
    }
    expression(rule, "immediate", |it| {
        it.number(NFTA_IMMEDIATE_DREG, NFT_REG_1);
        it.nested(NFTA_IMMEDIATE_DATA, |it| it.put(NFTA_DATA_VALUE, &[1]));
    });
    expression(rule, "meta", |it| {
        it.number(NFTA_META_KEY, NFT_META_NFTRACE);
        it.number(NFTA_META_SREG, NFT_REG_1);
    });
}

/// One expression of a rule.
pub(crate) fn expression(rule: &mut Message<'_>, name: &str, fill: impl FnOnce(&mut Message<'_>)) {
    rule.nested(NFTA_LIST_ELEM, |it| {
        it.name(NFTA_EXPR_NAME, name);
        it.nested(NFTA_EXPR_DATA, fill);
    });
}

/// Loads bytes of the transport header.
pub(crate) fn load(rule: &mut Message<'_>, offset: u32, length: u32) {
    expression(rule, "payload", |it| {
        it.number(NFTA_PAYLOAD_DREG, NFT_REG_1);
        it.number(NFTA_PAYLOAD_BASE, NFT_PAYLOAD_TRANSPORT_HEADER);
        it.number(NFTA_PAYLOAD_OFFSET, offset);
        it.number(NFTA_PAYLOAD_LEN, length);
    });
}

/// Goes on only when what was loaded is this.
pub(crate) fn equals(rule: &mut Message<'_>, value: &[u8]) {
    expression(rule, "cmp", |it| {
        it.number(NFTA_CMP_SREG, NFT_REG_1);
        it.number(NFTA_CMP_OP, NFT_CMP_EQ);
        it.nested(NFTA_CMP_DATA, |it| it.put(NFTA_DATA_VALUE, value));
    });
}
