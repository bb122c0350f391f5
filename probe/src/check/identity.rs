//! What a check finds out about who is behind a port.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, interval_at, timeout};

use super::Request;
use crate::dial::{Dial, Greeting};
use crate::evidence::{Evidence, PortEvidence};
use crate::identity::Handshake;
use crate::interrupt::Interrupt;
use crate::listeners::{self, End, Listener};
use crate::route::Route;
use crate::standpoint::Standpoint;
use crate::target::Protocol;

/// How long a service that answers may take to accept one more connection. On an idle host it takes a few microseconds. The dialer
/// holds its connections for 5 s.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(2);
/// How often it is looked for. A look takes microseconds, and the kernel announces no accept.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

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

/// Who has this host's end of each dial's connection.
///
/// The dialer holds a bare connection, and sees no further than the handshake, which is the kernel's: the service may not have
/// accepted it yet. Where the owner of a port is asked for, which are those of `owned`, that is waited for.
pub(super) async fn users(dials: &[Dial], owned: &[u16], interrupt: &Interrupt) -> Vec<(u16, u32)> {
    let holders = dials.iter().map(|dial| async {
        let local = SocketAddrV4::new(dial.address, dial.port);
        let peer = SocketAddrV4::new(dial.local?, dial.held?);
        Some((dial.port, holder(local, peer, patience(dial, owned), interrupt).await?))
    });
    join_all(holders).await.into_iter().flatten().collect()
}

fn patience(dial: &Dial, owned: &[u16]) -> Duration {
    // Who answers accepts connections; who does not may never do. Where only the end was said, it is the kernel that answers.
    let answered = dial.greetings.last().is_some_and(|it| it.kind.is_some() || it.greeting == Greeting::Fin);
    if answered && owned.contains(&dial.port) { ACCEPTED_WITHIN } else { Duration::ZERO }
}

/// The user that has this host's end of the connection from `peer` to `local`, as soon as somebody has it. With no patience it is
/// looked for once.
async fn holder(
    local: SocketAddrV4,
    peer: SocketAddrV4,
    patience: Duration,
    interrupt: &Interrupt,
) -> Option<u32> {
    let accepted = async {
        let mut again = interval_at(Instant::now() + LOOK_AGAIN, LOOK_AGAIN);
        loop {
            match listeners::end(local, peer) {
                Ok(End::Held(uid)) => return Some(uid),
                Ok(End::Queued) => again.tick().await,
                Ok(End::Nobody) | Err(_) => return None,
            };
        }
    };
    tokio::select! {
        biased;
        found = timeout(patience, accepted) => found.ok().flatten(),
        () = interrupt.raised() => None,
    }
}

#[cfg(test)]
mod tests;
