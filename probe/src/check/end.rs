//! What is read at the end of the dials, while their connections are there.

use std::net::SocketAddrV4;

use super::identity;
use crate::dial::{Dial, Outcome};
use crate::drops::{self, Drops};
use crate::interrupt::Interrupt;
use crate::listeners::{self, HostSide, Listener};
use crate::return_path::ReturnPath;
use crate::standpoint::Standpoint;
use crate::vantage::DialerOutput;

/// What is read while the dialer still holds its connections.
pub(super) struct AtTheEnd {
    pub(super) table: Option<Vec<Listener>>,
    pub(super) sides: Vec<(u16, HostSide)>,
    pub(super) users: Vec<(u16, u32)>,
    pub(super) ways: Vec<(u16, ReturnPath)>,
    pub(super) drops: Option<Drops>,
}

/// What has to be known before to look.
pub(super) struct View {
    /// The network's bridge, where this process stands on the engine's host: its name, and what was counted before.
    bridge: Option<(String, drops::Before)>,
    /// Ports of which the owner is asked for.
    owned: Vec<u16>,
}

impl View {
    /// From where this process stands, before the dials.
    pub(super) async fn before(standpoint: Option<&Standpoint>, owned: Vec<u16>) -> Self {
        let bridge = match standpoint {
            Some(Standpoint::EngineHost { interface, index, .. }) => {
                Some((interface.clone(), drops::Before::look(*index).await))
            }
            _ => None,
        };
        Self { bridge, owned }
    }

    /// Looks while the dialer still holds its connections.
    pub(super) async fn at_the_end(&self, output: Option<&DialerOutput>, interrupt: &Interrupt) -> AtTheEnd {
        let table = listeners::read().ok();
        let dials = output.map_or(&[][..], |output| &output.dials);
        let Some((bridge, counted)) = &self.bridge else {
            return AtTheEnd { table, sides: Vec::new(), users: Vec::new(), ways: Vec::new(), drops: None };
        };
        AtTheEnd {
            table,
            sides: dials.iter().filter_map(side).collect(),
            ways: dials.iter().filter_map(|dial| way_back(dial, bridge)).collect(),
            drops: Some(counted.since().await),
            // At last, because it may take a while.
            users: identity::users(dials, &self.owned, interrupt).await,
        }
    }
}

/// What this host has of a dial's connection: of the one that is silent or held, or of the one that was never answered.
fn side(dial: &Dial) -> Option<(u16, HostSide)> {
    let local = SocketAddrV4::new(dial.address, dial.port);
    let peer = |port: u16| Some(SocketAddrV4::new(dial.local?, port));
    if let (Some(silent), Some(greeted)) = (dial.silent, dial.greetings.last()) {
        // What is held beside it comes to this host, and what is silent does too.
        let here = || match dial.held.and_then(peer) {
            Some(held) => listeners::host_side(local, held) == Ok(HostSide::Present),
            None => false,
        };
        match listeners::is_unheard(local, peer(silent)?, greeted.acknowledged, here) {
            Ok(true) => return Some((dial.port, HostSide::Unacknowledged)),
            // Nothing of it came here, perhaps: then the one beside it says nothing either.
            _ if !greeted.acknowledged => return None,
            _ => {}
        }
    }
    let port = match dial.outcome {
        Outcome::Connected => dial.held?,
        _ => dial.local_port?,
    };
    let side = listeners::host_side(local, peer(port)?).ok()?;
    Some((dial.port, side))
}

fn way_back(dial: &Dial, bridge: &str) -> Option<(u16, ReturnPath)> {
    let from = SocketAddrV4::new(dial.address, dial.port);
    let to = SocketAddrV4::new(dial.local?, dial.local_port?);
    Some((dial.port, ReturnPath::find(from, to, bridge)?))
}
