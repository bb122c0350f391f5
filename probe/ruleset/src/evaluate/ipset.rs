//! Whether a packet is in a set of `ipset`.

use std::net::{IpAddr, SocketAddr};

use super::answer::Truth;
use super::chain::Run;
use super::read::Reading;
use super::spot::Interface;
use crate::condition::Side;
use crate::expression::{Expression, Field};
use crate::ipset::{Component, Entry, EntryValue, IpSet};
use crate::save::as_number;

/// How deep lists of sets may name each other; the kernel allows one level.
const DEEPEST: usize = 2;

impl Run<'_, '_> {
    /// Whether the packet is in the set.
    pub(super) fn in_ipset(&self, name: &str, sides: &[Side]) -> Truth {
        self.in_set(name, sides, 0)
    }

    fn in_set(&self, name: &str, sides: &[Side], depth: usize) -> Truth {
        let unknown = || Truth::Maybe(format!("the set \"{name}\" is not known"));
        let set = self.scene.rules.ipsets.iter().rev().find(|set| set.name == name);
        let Some(set) = set.filter(|set| set.known && depth < DEEPEST) else { return unknown() };
        if self.state.ipsets_changed.contains(name) {
            return unknown();
        }
        if set.components == [Component::Set] {
            return self.in_list(set, sides, depth);
        }
        if sides.len() < set.components.len() {
            return unknown();
        }
        let addressed = set.components.iter().any(|part| matches!(part, Component::Ip | Component::Net));
        if addressed && set.v6 == self.scene.flow.source.is_ipv4() {
            return Truth::No;
        }
        // Of several entries the narrowest counts: it may be an exception.
        let mut best: Option<(u32, &Entry)> = None;
        for entry in &set.entries {
            let mut width = 0;
            let mut all = Truth::Yes;
            for (value, side) in entry.values.iter().zip(sides) {
                match self.holds(value, *side) {
                    Truth::Yes => width += narrowness(value),
                    other => {
                        all = other;
                        break;
                    }
                }
            }
            match all {
                Truth::Yes if best.is_none_or(|(other, _)| width > other) => best = Some((width, entry)),
                Truth::Yes | Truth::No => {}
                Truth::Maybe(why) => return Truth::Maybe(why),
            }
        }
        best.is_some_and(|(_, entry)| !entry.nomatch).into()
    }

    fn in_list(&self, list: &IpSet, sides: &[Side], depth: usize) -> Truth {
        let mut answer = Truth::No;
        for entry in &list.entries {
            let [EntryValue::Set(name)] = entry.values.as_slice() else { continue };
            match self.in_set(name, sides, depth + 1) {
                Truth::Yes => return Truth::Yes,
                Truth::No => {}
                maybe => answer = maybe,
            }
        }
        answer
    }

    fn holds(&self, value: &EntryValue, side: Side) -> Truth {
        let address = self.side(side);
        match value {
            EntryValue::Net(net, length) => in_net(*net, *length, address.ip()).into(),
            EntryValue::Range(first, last) => {
                let number = as_number(address.ip());
                (first.is_ipv4() == address.is_ipv4()
                    && (as_number(*first)..=as_number(*last)).contains(&number))
                .into()
            }
            EntryValue::Port(protocol, first, last) => (protocol.is_none_or(|number| number == 6)
                && (first..=last).contains(&&address.port()))
            .into(),
            EntryValue::Iface { name, port } => {
                let interface = match (port, side) {
                    (true, Side::Source) => &self.spot.port,
                    (true, Side::Destination) => &Interface::Absent,
                    (false, Side::Source) => &self.spot.input,
                    (false, Side::Destination) => &self.spot.output,
                };
                match interface {
                    Interface::Named(own) => (own == name).into(),
                    Interface::Absent => Truth::No,
                    Interface::Unnamed => Truth::Maybe("the name of the bridge's port is not known".into()),
                }
            }
            EntryValue::Mark(mark) => {
                match self.read((self.table, 0, 0, 0), &Expression::Field(Field::Mark)) {
                    Reading::Number(bits) if bits.unknown == 0 => (bits.value == u128::from(*mark)).into(),
                    _ => Truth::Maybe("the mark depends on what is not understood".into()),
                }
            }
            EntryValue::Set(_) => Truth::Maybe("a list within a list".into()),
        }
    }

    fn side(&self, side: Side) -> SocketAddr {
        match side {
            Side::Source => self.state.source,
            Side::Destination => self.state.destination,
        }
    }
}

fn in_net(net: IpAddr, length: u8, address: IpAddr) -> bool {
    let bits: u8 = if net.is_ipv4() { 32 } else { 128 };
    let shift = u32::from(bits.saturating_sub(length));
    let shifted = |address: IpAddr| as_number(address).checked_shr(shift).unwrap_or(0);
    net.is_ipv4() == address.is_ipv4() && shifted(net) == shifted(address)
}

fn narrowness(value: &EntryValue) -> u32 {
    match value {
        EntryValue::Net(_, length) => u32::from(*length),
        EntryValue::Range(..) => 0,
        _ => 1,
    }
}
