//! The hooks that a packet passes, and the base chains that each calls.

use super::chain::Scene;
use super::state::State;
use super::{connection, nat};
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
    pub(super) fn port(name: Option<&String>) -> Self {
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
    pub(super) fn pass_spot(&self, state: &mut State, spot: &Spot) -> Outcome {
        let first = spot.layer == Layer::Ip && matches!(spot.hook, Hook::Prerouting | Hook::Output);
        let tracks = first && self.tracks;
        let calls = spot.layer == Layer::Bridge && spot.hook == Hook::Prerouting && self.world.bridge_nf_call;
        let (mut tracked, mut called) = (!tracks, !calls);
        let nat_at = nat_position(spot);
        let mut translated = nat_at.is_none();
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
            if !translated && nat_at.is_some_and(|nat_at| at > nat_at) {
                translated = true;
                let outcome = self.translate(state, spot);
                if outcome != Outcome::Open {
                    return outcome;
                }
            }
            let kind = self.rules.tables[table].chains[chain].base.as_ref().map(|base| base.kind);
            if kind == Some(Kind::Nat) && (!connection::begins(state) || nat::is_settled(state, spot.hook)) {
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
        if translated { Outcome::Open } else { self.translate(state, spot) }
    }

    fn translate(&self, state: &mut State, spot: &Spot) -> Outcome {
        match nat::translate(state, spot, self.flow) {
            Ok(()) => Outcome::Open,
            Err(why) => self.unknown_translation(state, why),
        }
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

/// Where the kernel's nat stands among the chains of a hook (`NF_IP_PRI_NAT_DST`, `NF_IP_PRI_NAT_SRC`).
fn nat_position(spot: &Spot) -> Option<i32> {
    match (spot.layer, spot.hook) {
        (Layer::Ip, Hook::Prerouting | Hook::Output) => Some(-100),
        (Layer::Ip, Hook::Input | Hook::Postrouting) => Some(100),
        _ => None,
    }
}

/// Where a base chain stands among the others: all nat chains stand where the kernel's nat does.
fn position(spot: &Spot, base: &Base) -> i32 {
    match (base.kind, nat_position(spot)) {
        (Kind::Nat, Some(position)) => position,
        _ => base.priority,
    }
}
