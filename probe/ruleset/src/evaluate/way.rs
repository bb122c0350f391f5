//! The hooks that a packet passes, one after the other.

use super::chain::Scene;
use super::connection;
use super::route::Route;
use super::spot::{Interface, Layer, Spot};
use super::state::{Bits, State};
use crate::model::Hook;
use crate::walk::{Outcome, Packet};

impl Scene<'_> {
    /// What becomes of one packet.
    pub(super) fn pass(&self, state: &mut State, packet: Packet) -> Outcome {
        (state.mark, state.ttl_changed) = (Bits::default(), false);
        (state.forwarded, state.lost) = (false, false);
        connection::forget(state);
        let outcome = match packet {
            Packet::SynAck | Packet::AnswerAck | Packet::Answer => self.answer(state, packet),
            Packet::Syn | Packet::Ack | Packet::Data => {
                (state.source, state.destination) = (self.flow.source, self.flow.destination);
                self.receive(state, packet, &Interface::Named(self.flow.input.clone()))
            }
        };
        match outcome {
            Outcome::Open => connection::confirm(state),
            _ => connection::lose(state),
        }
        outcome
    }

    /// The answer is the host's own, or that of another to whom the connection was sent on.
    fn answer(&self, state: &mut State, packet: Packet) -> Outcome {
        let entry = state.entry;
        state.destination = entry.destination.unwrap_or(self.flow.destination);
        let route = self.route(state);
        state.source = state.destination;
        state.destination = entry.source.unwrap_or(self.flow.source);
        match route {
            Route::On(input) => self.receive(state, packet, &input),
            Route::Here | Route::Nowhere => self.send(state, packet),
        }
    }

    fn send(&self, state: &mut State, packet: Packet) -> Outcome {
        // A socket that sees another source answers that one: the kernel looks for a route to it, and again once the answer is
        // changed back (`nf_nat_ipv4_local_fn`). The chains of the hook in between have the first route's interface.
        let first = self.way_of_answer(state.destination.ip()).unwrap_or(Interface::Unnamed);
        let output = Interface::Named(self.world.way_back.clone());
        let mut spots = vec![
            spot(packet, Layer::Ip, Hook::Output, (&Interface::Absent, &first)),
            spot(packet, Layer::Ip, Hook::Postrouting, (&Interface::Absent, &output)),
        ];
        spots.extend(self.way_out(packet, &output));
        self.pass_spots(state, &spots)
    }

    fn receive(&self, state: &mut State, packet: Packet, input: &Interface) -> Outcome {
        let none = Interface::Absent;
        let bridged = self.is_bridge(input);
        let port = self.port(packet.is_answer());
        let mut spots = Vec::new();
        if bridged {
            spots.push(spot(packet, Layer::Device, Hook::Ingress, (&port, &none)));
            spots.push(spot(packet, Layer::Bridge, Hook::Prerouting, (&port, &none)));
            spots.push(spot(packet, Layer::Bridge, Hook::Input, (&port, &none)));
        }
        spots.push(spot(packet, Layer::Device, Hook::Ingress, (input, &none)));
        let called = bridged && self.world.bridge_nf_call;
        if !called {
            spots.push(spot(packet, Layer::Ip, Hook::Prerouting, (input, &none)));
        }
        let outcome = self.pass_spots(state, &spots);
        if outcome != Outcome::Open {
            return outcome;
        }
        let output = match self.route(state) {
            Route::Here => {
                let mut last = spot(packet, Layer::Ip, Hook::Input, (input, &none));
                last.port = if called { port } else { none };
                return self.pass_spots(state, &[last]);
            }
            Route::Nowhere => {
                state.lost = true;
                return Outcome::Open;
            }
            Route::On(output) => output,
        };
        if called && output == *input {
            let why = "a bridge that asks iptables sends the packet on by itself".to_owned();
            return self.unknown_translation(state, why);
        }
        state.forwarded = true;
        let mut spots: Vec<_> = [Hook::Forward, Hook::Postrouting]
            .map(|hook| spot(packet, Layer::Ip, hook, (input, &output)))
            .into();
        for spot in &mut spots {
            spot.port = if called { port.clone() } else { Interface::Absent };
        }
        spots.extend(self.way_out(packet, &output));
        self.pass_spots(state, &spots)
    }

    /// After the hooks of IP.
    fn way_out(&self, packet: Packet, output: &Interface) -> Vec<Spot> {
        let none = Interface::Absent;
        let mut spots = vec![spot(packet, Layer::Device, Hook::Egress, (&none, output))];
        if self.is_bridge(output) {
            let port = self.port(!packet.is_answer());
            spots.push(spot(packet, Layer::Bridge, Hook::Output, (&none, &port)));
            spots.push(spot(packet, Layer::Bridge, Hook::Postrouting, (&none, &port)));
            spots.push(spot(packet, Layer::Device, Hook::Egress, (&none, &port)));
        }
        spots
    }

    fn pass_spots(&self, state: &mut State, spots: &[Spot]) -> Outcome {
        for spot in spots {
            let outcome = self.pass_spot(state, spot);
            if outcome != Outcome::Open {
                return outcome;
            }
        }
        Outcome::Open
    }

    fn is_bridge(&self, interface: &Interface) -> bool {
        self.world.bridge && matches!(interface, Interface::Named(name) if *name == self.flow.input)
    }

    /// The sandbox's port of the bridge, or somebody else's.
    fn port(&self, other: bool) -> Interface {
        if other { Interface::Unnamed } else { Interface::port(self.flow.port.as_ref()) }
    }

    /// What follows from a translation is not known.
    pub(super) fn unknown_translation(&self, state: &State, why: String) -> Outcome {
        let step = state.steps.last().map(|step| step.place.clone());
        match state.redirected.clone().or(step) {
            Some(place) => Outcome::Undetermined { place, why },
            // Only rules translate.
            None => Outcome::Open,
        }
    }
}

fn spot(packet: Packet, layer: Layer, hook: Hook, (input, output): (&Interface, &Interface)) -> Spot {
    Spot { packet, layer, hook, input: input.clone(), output: output.clone(), port: Interface::Absent }
}
