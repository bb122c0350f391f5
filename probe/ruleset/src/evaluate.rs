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

use crate::action::RejectWith;
use crate::model::Ruleset;
use crate::walk::{Outcome, Packet, PacketWalk, Walk};
use crate::world::{Flow, World};

use chain::Scene;
use state::State;

impl Ruleset {
    /// What the rules do to a connection from a sandbox to its host: to its SYN, to the host's SYN-ACK, to the sandbox's
    /// acknowledgement and to the first data that it sends, and to the service's acknowledgement of those and its first answer.
    ///
    /// A connection that is sent on to another address or port is followed there, to a socket of the host or through the
    /// hooks of what the host passes on. What follows the first answer, and the notice of a rejection, are not walked: rules for
    /// outgoing packets can still lose them. A sandbox that sends nothing gets no answer but the acknowledgement of its end.
    ///
    /// Buckets of rates are taken as full and lists of recent addresses as empty, which the walk's assumptions say. Routes
    /// and sockets are not part of it: an open path is one that no rule closes.
    pub fn connect(&self, flow: &Flow, world: &World) -> Walk {
        let scene = Scene::new(self, flow, world);
        let mut state = State::new(flow);
        let mut packets = Vec::new();
        let mut outcome = Outcome::Open;
        let packets_of_both =
            [Packet::Syn, Packet::SynAck, Packet::Ack, Packet::Data, Packet::AnswerAck, Packet::Answer];
        for packet in packets_of_both {
            if packet == Packet::Answer && flow.data == 0 {
                break;
            }
            outcome = match scene.pass(&mut state, packet) {
                Outcome::Open => redirected(&state),
                // A dial through such a drop was answered nevertheless, and why is not known (fuzz, seed 17957956560627).
                Outcome::Dropped(place) | Outcome::Rejected { place, .. } if state.begun_by_host => {
                    let why = "conntrack sees the connection from the host's end first".to_owned();
                    Outcome::Undetermined { place, why }
                }
                other => other,
            };
            let steps = std::mem::take(&mut state.steps);
            packets.push(PacketWalk { packet, steps, outcome: outcome.clone() });
            let passed = matches!(outcome, Outcome::Open | Outcome::Redirected { .. }) && !state.lost;
            let made_good = packet.is_bare() && is_made_good(packet, flow, &outcome);
            if !passed && !made_good {
                break;
            }
        }
        Walk { packets, outcome, assumptions: state.assumptions }
    }
}

/// Whether the loss of a bare acknowledgement ends nothing: data acknowledge too, where the same end sends some.
fn is_made_good(packet: Packet, flow: &Flow, outcome: &Outcome) -> bool {
    match (packet, outcome) {
        (Packet::AnswerAck, _) if flow.data == 0 => false,
        (_, Outcome::Dropped(_)) => true,
        // What ICMP says to the service's end of a connection that stands, is a soft error there.
        (Packet::AnswerAck, Outcome::Rejected { with, .. }) => *with != RejectWith::TcpReset,
        _ => false,
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
