//! The hooks that a packet passes, and the base chains that each calls.

use super::chain::Scene;
use super::connection;
use super::state::{Bits, State};
use crate::model::{Base, Hook, Kind};
use crate::place::TableFamily;
use crate::walk::{Outcome, Packet};

/// Which hooks: those of one IP version, of bridges or of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layer {
    Ip,
    Bridge,
    Device,
}

/// An interface as a rule sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Interface {
    /// There is none here.
    Absent,
    /// This one.
    Named(String),
    /// One whose name nobody knows: the port of the bridge.
    Unnamed,
}

impl Interface {
    fn port(name: Option<&String>) -> Self {
        name.map_or(Self::Unnamed, |name| Self::Named(name.clone()))
    }
}

/// A hook that a packet passes.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    pub(super) packet: Packet,
    pub(super) layer: Layer,
    pub(super) hook: Hook,
    pub(super) input: Interface,
    pub(super) output: Interface,
    /// The port of the bridge, where iptables can see it.
    pub(super) port: Interface,
}

/// Where the kernel's conntrack stands (`NF_IP_PRI_CONNTRACK`).
const CONNTRACK: i32 = -200;
/// Where a bridge calls iptables (`NF_BR_PRI_BRNF`).
const BRIDGE_CALLS: i32 = 0;

impl Scene<'_> {
    /// What becomes of one packet.
    pub(super) fn pass(&self, state: &mut State, packet: Packet) -> Outcome {
        state.mark = Bits::default();
        state.ttl_changed = false;
        connection::forget(state);
        for spot in self.spots(packet) {
            let outcome = self.pass_spot(state, &spot);
            if outcome != Outcome::Open {
                return outcome;
            }
        }
        connection::confirm(state);
        Outcome::Open
    }

    fn spots(&self, packet: Packet) -> Vec<Spot> {
        let (flow, world) = (self.flow, self.world);
        let mut spots = Vec::new();
        let mut add = |layer, hook, input: &Interface, output: &Interface, port: &Interface| {
            let (input, output, port) = (input.clone(), output.clone(), port.clone());
            spots.push(Spot { packet, layer, hook, input, output, port });
        };
        let none = Interface::Absent;
        if packet == Packet::SynAck {
            let back = Interface::Named(world.way_back.clone());
            add(Layer::Ip, Hook::Output, &none, &back, &none);
            add(Layer::Ip, Hook::Postrouting, &none, &back, &none);
            add(Layer::Device, Hook::Egress, &none, &back, &none);
            if world.bridge && world.way_back == flow.input {
                let port = Interface::port(flow.port.as_ref());
                add(Layer::Bridge, Hook::Output, &none, &port, &none);
                add(Layer::Bridge, Hook::Postrouting, &none, &port, &none);
                add(Layer::Device, Hook::Egress, &none, &port, &none);
            }
            return spots;
        }
        let bridge = Interface::Named(flow.input.clone());
        let seen = if world.bridge && world.bridge_nf_call {
            Interface::port(flow.port.as_ref())
        } else {
            Interface::Absent
        };
        if world.bridge {
            let port = Interface::port(flow.port.as_ref());
            add(Layer::Device, Hook::Ingress, &port, &none, &none);
            add(Layer::Bridge, Hook::Prerouting, &port, &none, &none);
            add(Layer::Bridge, Hook::Input, &port, &none, &none);
        }
        add(Layer::Device, Hook::Ingress, &bridge, &none, &none);
        if !(world.bridge && world.bridge_nf_call) {
            add(Layer::Ip, Hook::Prerouting, &bridge, &none, &none);
        }
        add(Layer::Ip, Hook::Input, &bridge, &none, &seen);
        spots
    }

    fn pass_spot(&self, state: &mut State, spot: &Spot) -> Outcome {
        let tracks = spot.layer == Layer::Ip && matches!(spot.hook, Hook::Prerouting | Hook::Output);
        let calls = spot.layer == Layer::Bridge
            && spot.hook == Hook::Prerouting
            && self.world.bridge_nf_call
            && spot.packet != Packet::SynAck;
        let (mut tracked, mut called) = (!tracks, !calls);
        for (at, table, chain) in self.bases(spot) {
            if !called && at >= BRIDGE_CALLS {
                called = true;
                let outcome = self.pass_spot(state, &self.called(spot));
                if outcome != Outcome::Open {
                    return outcome;
                }
            }
            if !tracked && at >= CONNTRACK {
                tracked = true;
                connection::track(state, spot.packet);
            }
            let nat = self.rules.tables[table].chains[chain].base.as_ref().map(|base| base.kind);
            if nat == Some(Kind::Nat) && !connection::begins(state) {
                continue;
            }
            let outcome = self.run(state, spot, table, chain);
            if outcome != Outcome::Open {
                return outcome;
            }
        }
        if !called {
            let outcome = self.pass_spot(state, &self.called(spot));
            if outcome != Outcome::Open {
                return outcome;
            }
        }
        if !tracked {
            connection::track(state, spot.packet);
        }
        Outcome::Open
    }

    /// iptables' hook as a bridge calls it: the frame seems to have come in through the bridge.
    fn called(&self, spot: &Spot) -> Spot {
        Spot {
            packet: spot.packet,
            layer: Layer::Ip,
            hook: Hook::Prerouting,
            input: Interface::Named(self.flow.input.clone()),
            output: Interface::Absent,
            port: spot.input.clone(),
        }
    }

    /// The base chains of a spot as (position, table, chain), in the order in which the kernel calls them.
    fn bases(&self, spot: &Spot) -> Vec<(i32, usize, usize)> {
        let mut found = Vec::new();
        for (table_at, table) in self.rules.tables.iter().enumerate().filter(|(_, table)| !table.dormant) {
            for (chain_at, chain) in table.chains.iter().enumerate() {
                let Some(base) = &chain.base else { continue };
                if base.hook == spot.hook && self.calls(spot, table.family, base) {
                    found.push((position(spot, base), base.priority, table_at, chain_at));
                }
            }
        }
        // Among equals the kernel calls the one that was made last.
        found.sort_by_key(|&(at, priority, table, chain)| {
            (at, priority, std::cmp::Reverse(table), std::cmp::Reverse(chain))
        });
        found.into_iter().map(|(at, _, table, chain)| (at, table, chain)).collect()
    }

    fn calls(&self, spot: &Spot, family: TableFamily, base: &Base) -> bool {
        let version = if self.flow.source.is_ipv4() { TableFamily::Ip } else { TableFamily::Ip6 };
        let on_device = matches!(base.hook, Hook::Ingress | Hook::Egress);
        match spot.layer {
            Layer::Ip => !on_device && (family == version || family == TableFamily::Inet),
            Layer::Bridge => !on_device && family == TableFamily::Bridge,
            Layer::Device => {
                let interface = if base.hook == Hook::Ingress { &spot.input } else { &spot.output };
                let Interface::Named(name) = interface else { return false };
                matches!(family, TableFamily::Netdev | TableFamily::Inet) && base.devices.contains(name)
            }
        }
    }
}

/// Where a base chain stands among the others: all nat chains stand where the kernel's nat does.
fn position(spot: &Spot, base: &Base) -> i32 {
    match (base.kind, spot.layer, base.hook) {
        (Kind::Nat, Layer::Ip, Hook::Prerouting | Hook::Output) => -100,
        (Kind::Nat, Layer::Ip, Hook::Input | Hook::Postrouting) => 100,
        _ => base.priority,
    }
}
