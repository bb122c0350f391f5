//! What a check finds out about who is behind a port.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use super::Request;
use crate::dial::Dial;
use crate::evidence::{Evidence, PortEvidence};
use crate::identity::Handshake;
use crate::listeners::{self, Listener};
use crate::route::Route;
use crate::standpoint::Standpoint;
use crate::target::Protocol;

/// A handshake for each port whose certificate is to be asked for.
pub(super) fn begin(request: &Request, ports: &[(u16, Protocol)]) -> BTreeMap<u16, Handshake> {
    let wanted =
        ports.iter().filter(|(_, protocol)| request.authority.is_some() && *protocol == Protocol::Grpc);
    wanted.filter_map(|(port, _)| Some((*port, Handshake::begin(&request.alias)?))).collect()
}

pub(super) fn certificates(
    evidence: &mut Evidence,
    request: &Request,
    mut handshakes: BTreeMap<u16, Handshake>,
    flights: &[(u16, Vec<u8>)],
) {
    let Some(authority) = &request.authority else { return };
    for port in &mut evidence.ports {
        let flight = flights.iter().find(|(of, _)| *of == port.target.port);
        if let (Some(handshake), Some((_, flight))) = (handshakes.remove(&port.target.port), flight) {
            port.identity.certificate = Some(handshake.judge(flight, authority));
        }
    }
}

/// Finds out which programs have the sockets that listen for the address.
pub(super) fn holders(evidence: &mut Evidence) {
    let Some(Standpoint::EngineHost { index, .. }) = evidence.standpoint else { return };
    let Some(address) = evidence.route.and_then(Route::address) else { return };
    let covering = |port: &PortEvidence| -> Vec<Listener> {
        let listeners = port.listeners_after.iter().flatten();
        listeners.filter(|listener| listener.covers(address, index)).cloned().collect()
    };
    let all: Vec<Listener> = evidence.ports.iter().flat_map(covering).collect();
    let holders = crate::identity::holders(&all.iter().collect::<Vec<_>>());
    for port in evidence.ports.iter_mut().filter(|port| !port.stand_in) {
        let own = covering(port);
        let held = holders.iter().filter(|it| own.iter().any(|listener| listener.inode == it.inode));
        port.identity.holders = held.cloned().collect();
    }
}

/// Who has this host's end of a dial's connection.
pub(super) fn user(dial: &Dial) -> Option<(u16, u32)> {
    let local = SocketAddrV4::new(dial.address, dial.port);
    let uid = listeners::held_by(local, SocketAddrV4::new(dial.local?, dial.held?)).ok()??;
    Some((dial.port, uid))
}
