//! Translated connections: who sets a translation, and where each packet's header is changed.
//!
//! The kernel asks its nat chains about the first packet of a connection only, and remembers. It changes a packet's header
//! where its nat stands in a hook: the destination where packets come in and where the host sends, the source where packets
//! leave and where the host takes them. An answer is changed back at the same places. So the chains before that place and those
//! behind it see different packets.

use std::net::{IpAddr, SocketAddr};

use super::chain::{Next, Run};
use super::spot::{Interface, Spot};
use super::state::{PartId, State, Tracked};
use crate::action::NatTarget;
use crate::condition::ct_status;
use crate::model::Hook;
use crate::walk::{Effect, Outcome, Packet};
use crate::world::Flow;

/// Which end of a packet is changed at a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Destination,
}

impl End {
    fn at(hook: Hook) -> Self {
        match hook {
            Hook::Prerouting | Hook::Output => Self::Destination,
            _ => Self::Source,
        }
    }
}

/// Whether a chain has already said what becomes of that end: the later ones are not asked.
pub(super) fn is_settled(state: &State, hook: Hook) -> bool {
    match End::at(hook) {
        End::Source => state.entry.source_settled,
        End::Destination => state.entry.destination_settled,
    }
}

/// Changes the header as the connection's entry has it. `Err` says why nobody knows what happens then.
pub(super) fn translate(state: &mut State, spot: &Spot, flow: &Flow) -> Result<(), String> {
    let end = End::at(spot.hook);
    // Where no chain says anything, the kernel keeps the end as it is, and does not ask again (`nf_nat_alloc_null_binding`).
    match (state.tracked, end) {
        (Tracked::New, End::Source) => state.entry.source_settled = true,
        (Tracked::New, End::Destination) => state.entry.destination_settled = true,
        _ => {}
    }
    let entry = state.entry;
    match (state.tracked, end) {
        (Tracked::Nothing | Tracked::Exempt, _) => {
            let translated = entry.source.is_some() || entry.destination.is_some();
            if translated && spot.packet != Packet::Syn {
                return Err("the connection is translated, and conntrack does not know this packet".into());
            }
        }
        (Tracked::Established { reply: true }, End::Source) => state.source = flow.destination,
        (Tracked::Established { reply: true }, End::Destination) => state.destination = flow.source,
        (_, End::Source) => state.source = entry.source.unwrap_or(state.source),
        (_, End::Destination) => state.destination = entry.destination.unwrap_or(state.destination),
    }
    Ok(())
}

impl Run<'_, '_> {
    /// `DNAT` and `REDIRECT`, of a rule that matched.
    pub(super) fn set_destination(&mut self, id: PartId, target: &NatTarget, redirect: bool) -> Next {
        let old = self.state.destination;
        let address = match (redirect, target.addresses) {
            (true, _) => self.own(&self.spot.input),
            (false, Some((first, _))) => Some(first),
            (false, None) => Some(old.ip()),
        };
        let Some(address) = address else {
            return self.nobody_knows(id, "the host's address at the packet's interface is not known");
        };
        let to = SocketAddr::new(address, target.ports.map_or(old.port(), |(first, _)| first));
        if to != old && self.spot.packet != Packet::Syn {
            return self.nobody_knows(id, "the connection is translated in its middle");
        }
        self.step(id, Effect::Redirect(to));
        self.state.entry.destination_settled = true;
        if to != old {
            self.state.entry.destination = Some(to);
            self.state.entry.status |= ct_status::DNAT;
            self.state.redirected = Some(self.place(id));
        }
        Next::outcome(Outcome::Open)
    }

    /// `SNAT` and, without a target, `MASQUERADE`.
    pub(super) fn set_source(&mut self, id: PartId, target: Option<&NatTarget>) -> Next {
        let old = self.state.source;
        let (addresses, ports) = target.map_or((None, None), |target| (target.addresses, target.ports));
        // The kernel chooses among several, and keeps a port that is among them (`nf_nat_l4proto_unique_tuple`).
        let port = match ports {
            Some((first, last)) if (first..=last).contains(&old.port()) => old.port(),
            Some((first, last)) if first == last => first,
            Some(_) => return self.nobody_knows(id, "which of several ports the source gets is not known"),
            None => old.port(),
        };
        let address = match (target, addresses) {
            (None, _) => self.own(&self.spot.output),
            (Some(_), Some((first, last))) if first != last => {
                return self.nobody_knows(id, "which of several addresses the source gets is not known");
            }
            (Some(_), addresses) => Some(addresses.map_or(old.ip(), |(first, _)| first)),
        };
        let Some(address) = address else {
            return self.nobody_knows(id, "the host's address at the packet's interface is not known");
        };
        // The host answers what its socket sees, by the route there, before the answer is changed back.
        if self.spot.hook == Hook::Input && self.scene.way_of_answer(address).is_none() {
            return self.nobody_knows(id, "the way to the translated source is not known");
        }
        let from = SocketAddr::new(address, port);
        if from != old && self.spot.packet != Packet::Syn {
            return self.nobody_knows(id, "the connection is translated in its middle");
        }
        self.step(id, Effect::Accept);
        self.state.entry.source_settled = true;
        if from != old {
            self.state.entry.source = Some(from);
            self.state.entry.status |= ct_status::SNAT;
        }
        Next::outcome(Outcome::Open)
    }

    pub(super) fn is_for_other_version(&self, target: &NatTarget) -> bool {
        let v4 = self.scene.flow.source.is_ipv4();
        target.addresses.is_some_and(|(first, _)| first.is_ipv4() != v4)
    }

    fn own(&self, interface: &Interface) -> Option<IpAddr> {
        let Interface::Named(name) = interface else { return None };
        self.scene.world.own(name, self.scene.flow.source.is_ipv4())
    }
}
