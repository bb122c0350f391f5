//! Where a packet goes on its way through the host: taken, passed on, or neither.

use std::net::IpAddr;

use super::chain::Scene;
use super::spot::Interface;
use super::state::State;
use crate::condition::AddressKind;

/// What the host does with a packet that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// It is the host's own.
    Here,
    /// It leaves by that interface.
    On(Interface),
    /// No socket and no other host gets it.
    Nowhere,
}

impl Scene<'_> {
    /// After the hooks where packets come in, by the destination that they have then.
    pub(super) fn route(&self, state: &State) -> Route {
        let destination = state.destination.ip();
        // What is asked about is a connection to the host, wherever it has that address.
        if destination == self.flow.destination.ip() {
            return Route::Here;
        }
        // A packet from outside to 127.0.0.0/8 is a martian; IPv6 looks before the address is translated.
        if destination.is_ipv4() && destination.is_loopback() && !self.world.route_localnet {
            return Route::Nowhere;
        }
        match self.world.kind(destination, None) {
            AddressKind::Local => Route::Here,
            AddressKind::Unicast if self.world.forwards => Route::On(self.way_to(destination)),
            _ => Route::Nowhere,
        }
    }

    /// The interface by which the host sends an answer to an address, which may be its own. `None` where no route is known.
    pub(super) fn way_of_answer(&self, address: IpAddr) -> Option<Interface> {
        let named = |name: &str| Some(Interface::Named(name.to_owned()));
        if address == self.flow.source.ip() {
            return named(&self.world.way_back);
        }
        match self.world.kind(address, None) {
            AddressKind::Local => named("lo"),
            AddressKind::Unicast => self.world.link_to(address).and_then(named),
            _ => None,
        }
    }

    /// The interface that leads to an address.
    pub(super) fn way_to(&self, address: IpAddr) -> Interface {
        let world = self.world;
        let known = if address == self.flow.source.ip() {
            Some(world.way_back.as_str())
        } else {
            world.link_to(address)
        };
        known.map_or(Interface::Unnamed, |name| Interface::Named(name.to_owned()))
    }
}
