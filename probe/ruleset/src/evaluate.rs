//! A connection's way through the rules, packet by packet, as the kernel would take it.
//!
//! One packet passes *spots*, hooks of one family in order. Each spot calls its base chains by priority. A base chain is
//! run with a list of answers to what nobody knows: without one more answer it stops, and both answers are tried. Only if
//! they lead to the same end, that end is what becomes of the packet.

mod answer;
mod chain;
mod connection;
mod ipset;
mod nat;
mod read;
mod remember;
mod route;
mod spot;
mod state;
mod tracking;
mod way;

use crate::model::Ruleset;
use crate::walk::{Outcome, Packet, PacketWalk, Walk};
use crate::world::{Flow, World};

use chain::Scene;
use state::State;

impl Ruleset {
    /// What the rules do to a connection from a sandbox to its host: to its SYN, to the host's SYN-ACK, to the sandbox's
    /// acknowledgement and to the first data that it sends.
    ///
    /// A connection that is sent on to another address or port is followed there, to a socket of the host or through the
    /// hooks of what the host passes on. What the host sends after its SYN-ACK, and the notice of a rejection, are not walked:
    /// rules for outgoing packets can still lose them.
    ///
    /// Buckets of rates are taken as full and lists of recent addresses as empty, which the walk's assumptions say. Routes
    /// and sockets are not part of it: an open path is one that no rule closes.
    pub fn connect(&self, flow: &Flow, world: &World) -> Walk {
        let scene = Scene::new(self, flow, world);
        let mut state = State::new(flow);
        let mut packets = Vec::new();
        let mut outcome = Outcome::Open;
        for packet in [Packet::Syn, Packet::SynAck, Packet::Ack, Packet::Data] {
            outcome = match scene.pass(&mut state, packet) {
                Outcome::Open => redirected(&state),
                other => other,
            };
            let steps = std::mem::take(&mut state.steps);
            packets.push(PacketWalk { packet, steps, outcome: outcome.clone() });
            let passed = matches!(outcome, Outcome::Open | Outcome::Redirected { .. }) && !state.lost;
            // Data acknowledge too.
            let made_good = packet == Packet::Ack && matches!(outcome, Outcome::Dropped(_));
            if !passed && !made_good {
                break;
            }
        }
        Walk { packets, outcome, assumptions: state.assumptions }
    }
}

/// Where a connection has got to that no rule stops.
fn redirected(state: &State) -> Outcome {
    match (&state.redirected, state.entry.destination) {
        (Some(place), Some(to)) => Outcome::Redirected { place: place.clone(), to },
        _ => Outcome::Open,
    }
}

#[cfg(test)]
mod tests;
