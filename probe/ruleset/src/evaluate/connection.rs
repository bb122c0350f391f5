//! The connection as conntrack sees it, and iptables' questions about it.

use std::net::IpAddr;

use super::answer::Truth;
use super::chain::Scene;
use super::state::{Bits, Entry, State, Tracked};
use crate::condition::{CtProperty, CtTest, Network, ct_state, ct_status};
use crate::save::as_number;
use crate::walk::Packet;

/// A packet that conntrack has not seen.
pub(super) fn forget(state: &mut State) {
    state.tracked = Tracked::Nothing;
}

/// Conntrack sees the packet.
pub(super) fn track(state: &mut State, packet: Packet) {
    if state.tracked == Tracked::Exempt {
        return;
    }
    let entry = state.entry;
    state.tracked = match packet {
        Packet::Syn => Tracked::New,
        // An answer alone begins no connection.
        Packet::SynAck if !entry.exists => Tracked::Nothing,
        Packet::SynAck => Tracked::Established { reply: true },
        Packet::Ack | Packet::Data if entry.replied => Tracked::Established { reply: false },
        // What comes again for a connection that conntrack picked up in its middle.
        Packet::Data if entry.picked_up => Tracked::New,
        // An acknowledgement of an answer that conntrack has not seen.
        Packet::Ack | Packet::Data if entry.exists => Tracked::Nothing,
        // Conntrack picks up connections in their middle (`nf_conntrack_tcp_loose`), from whichever end.
        Packet::Ack | Packet::Data => Tracked::New,
        Packet::AnswerAck | Packet::Answer if entry.exists && !entry.by_host => {
            Tracked::Established { reply: true }
        }
        Packet::AnswerAck | Packet::Answer => Tracked::New,
    };
    match state.tracked {
        Tracked::New if entry.exists => {}
        Tracked::New => {
            let (picked_up, by_host) = (packet != Packet::Syn, packet.is_answer());
            state.entry = Entry { exists: true, picked_up, by_host, ..Entry::default() };
            state.begun_by_host |= by_host;
        }
        Tracked::Established { reply: true } => {
            // What was picked up in its middle counts as answered from the second answer on.
            if entry.replied && entry.picked_up {
                state.entry.status |= ct_status::ASSURED;
            }
            state.entry.replied = true;
            state.entry.status |= ct_status::SEEN_REPLY;
        }
        Tracked::Established { reply: false } => state.entry.status |= ct_status::ASSURED,
        Tracked::Nothing | Tracked::Exempt => {}
    }
}

/// The packet has passed all hooks.
pub(super) fn confirm(state: &mut State) {
    if state.entry.exists {
        state.entry.status |= ct_status::CONFIRMED;
    }
}

/// The packet is gone, and with it an entry that it began.
pub(super) fn lose(state: &mut State) {
    if state.entry.status & ct_status::CONFIRMED == 0 {
        state.entry = Entry::default();
    }
}

/// Whether the packet begins its connection, which is when nat is asked.
pub(super) fn begins(state: &State) -> bool {
    state.tracked == Tracked::New
}

/// The packet's state, one bit.
pub(super) fn state_bit(state: &State) -> u32 {
    match state.tracked {
        Tracked::Nothing => ct_state::INVALID,
        Tracked::Exempt => ct_state::UNTRACKED,
        Tracked::New => ct_state::NEW,
        Tracked::Established { .. } => ct_state::ESTABLISHED,
    }
}

/// What only iptables calls states: that an end is translated.
fn translated_bits(state: &State) -> u32 {
    let status = entry(state).map_or(0, |entry| entry.status);
    let bit = |of: u32, is: u32| if status & of != 0 { is } else { 0 };
    bit(ct_status::SNAT, ct_state::SNAT) | bit(ct_status::DNAT, ct_state::DNAT)
}

/// The connection's entry, if the packet has one.
pub(super) fn entry(state: &State) -> Option<&Entry> {
    match state.tracked {
        Tracked::New | Tracked::Established { .. } => Some(&state.entry),
        Tracked::Nothing | Tracked::Exempt => None,
    }
}

/// The connection's entry, to change it.
pub(super) fn mark_mut(state: &mut State) -> Option<&mut Bits> {
    match state.tracked {
        Tracked::New | Tracked::Established { .. } => Some(&mut state.entry.mark),
        Tracked::Nothing | Tracked::Exempt => None,
    }
}

impl Scene<'_> {
    /// iptables' `conntrack`: all tests must hold, and without a connection only those of its state can.
    pub(super) fn conntrack(&self, state: &State, tests: &[CtTest]) -> Truth {
        let connection = entry(state);
        for test in tests {
            let holds = match (&test.what, connection) {
                (CtProperty::State(bits), _) => bits & (state_bit(state) | translated_bits(state)) != 0,
                // Without a connection the kernel's answer depends on whether its state was asked for, too.
                (_, None) => {
                    let asks = tests.iter().any(|test| matches!(test.what, CtProperty::State(_)));
                    if asks {
                        continue;
                    }
                    return Truth::No;
                }
                (CtProperty::Status(bits), Some(entry)) => bits & entry.status != 0,
                (CtProperty::Reply(reply), Some(_)) => {
                    *reply == (state.tracked == Tracked::Established { reply: true })
                }
                (CtProperty::Protocol(number), Some(_)) => *number == 6,
                (property, Some(entry)) => self.address_or_port(entry, property),
            };
            if holds == test.negated {
                return Truth::No;
            }
        }
        Truth::Yes
    }

    fn address_or_port(&self, entry: &Entry, property: &CtProperty) -> bool {
        let ends = (self.flow.source, self.flow.destination);
        let (source, destination) = if entry.by_host { (ends.1, ends.0) } else { ends };
        // What the other end sees, and answers to.
        let from = entry.source.unwrap_or(source);
        let to = entry.destination.unwrap_or(destination);
        let port = |port: u16, first: u16, last: u16| (first..=last).contains(&port);
        match property {
            CtProperty::OriginalSource(net) => holds(net, source.ip()),
            CtProperty::OriginalDestination(net) => holds(net, destination.ip()),
            CtProperty::ReplySource(net) => holds(net, to.ip()),
            CtProperty::ReplyDestination(net) => holds(net, from.ip()),
            CtProperty::OriginalSourcePort(first, last) => port(source.port(), *first, *last),
            CtProperty::OriginalDestinationPort(first, last) => port(destination.port(), *first, *last),
            CtProperty::ReplySourcePort(first, last) => port(to.port(), *first, *last),
            CtProperty::ReplyDestinationPort(first, last) => port(from.port(), *first, *last),
            _ => false,
        }
    }
}

/// Whether the address is of the network.
fn holds(network: &Network, address: IpAddr) -> bool {
    let mask = as_number(network.mask);
    network.address.is_ipv4() == address.is_ipv4()
        && as_number(network.address) & mask == as_number(address) & mask
}
