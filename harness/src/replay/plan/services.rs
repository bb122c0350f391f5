//! What listens, as stand-ins.

use std::collections::BTreeMap;
use std::net::IpAddr;

use snapshot::{Listener, Owner, Snapshot, Target};

use super::translation::translations;
use super::{Left, protocol};
use crate::service::Behaviour;

/// The most sockets of services that no check asked about.
const MOST_OTHERS: usize = 48;

/// A user below 1000, and one from there on, in the image and outside of it.
const SYSTEM_USER: u32 = 999;
const ORDINARY_USER: u32 = 1000;

/// Who stands in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in super::super) enum Kind {
    /// OpenShell's gateway, which has at most two addresses.
    Gateway,
    Other(Behaviour),
}

/// A service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in super::super) struct ServicePlan {
    pub(in super::super) kind: Kind,
    pub(in super::super) port: u16,
    pub(in super::super) addresses: Vec<IpAddr>,
    /// Whether its IPv6 sockets take no IPv4 connections.
    pub(in super::super) v6_only: bool,
    /// Whether the host has these addresses no more.
    pub(in super::super) stale: bool,
    /// Root unless said.
    pub(in super::super) user: Option<u32>,
}

pub(super) fn services(snapshot: &Snapshot, left: &mut Left) -> Vec<ServicePlan> {
    let mut groups: BTreeMap<(u16, u8, bool, bool), Vec<IpAddr>> = BTreeMap::new();
    let mut others = 0;
    for listener in snapshot.listeners.iter().flatten() {
        let what = format!("the socket on port {} of {}", listener.port, listener.address);
        let asked = snapshot.check.targets.iter().any(|target| target.port == listener.port);
        if listener.port == 0 {
            continue;
        }
        if let Some(interface) = &listener.interface {
            left.push(what, format!("it is bound to interface {interface}"));
            continue;
        }
        others += usize::from(!asked);
        if others > MOST_OTHERS && !asked {
            left.push(
                "further listening sockets",
                format!("{MOST_OTHERS} are made at most, besides those asked about"),
            );
            continue;
        }
        if listener.queue_full {
            left.push(
                format!("the connections that wait on port {}", listener.port),
                "they are not in a snapshot",
            );
        }
        let group = groups
            .entry((listener.port, owner(listener), strict(listener), is_stale(snapshot, listener)))
            .or_default();
        if !group.contains(&listener.address) {
            group.push(listener.address);
        }
    }
    let mut services = Vec::new();
    for ((port, owner, v6_only, stale), addresses) in groups {
        let target = target_of(snapshot, port);
        let kind = target.map_or(Kind::Other(Behaviour::Silent), |target| kind(target, v6_only || stale));
        let size = if kind == Kind::Gateway { 2 } else { addresses.len().max(1) };
        let user = [None, Some(SYSTEM_USER), Some(ORDINARY_USER)][usize::from(owner)];
        for addresses in addresses.chunks(size) {
            services.push(ServicePlan { kind, port, addresses: addresses.to_vec(), v6_only, stale, user });
        }
    }
    services
}

/// What the check asked about on that port, or on one whose packets are taken there.
fn target_of(snapshot: &Snapshot, port: u16) -> Option<&Target> {
    let asked = |port: u16| snapshot.check.targets.iter().find(|target| target.port == port);
    asked(port).or_else(|| {
        let taken = translations(snapshot).into_iter().find(|it| it.port == Some(port))?;
        asked(taken.from)
    })
}

/// Whether it is bound to an address that its host has lost, such as that of a network which was made anew.
fn is_stale(snapshot: &Snapshot, listener: &Listener) -> bool {
    let own = |address: IpAddr| snapshot.addresses.iter().any(|it| it.address.address() == address);
    let address = listener.address;
    !snapshot.addresses.is_empty() && !address.is_unspecified() && !address.is_loopback() && !own(address)
}

fn owner(listener: &Listener) -> u8 {
    match listener.owner {
        Owner::Root => 0,
        Owner::System => 1,
        Owner::User => 2,
    }
}

/// The wildcard of IPv6 takes IPv4's connections too unless told otherwise; no other address does.
fn strict(listener: &Listener) -> bool {
    listener.v6_only && listener.address.is_ipv6() && listener.address.is_unspecified()
}

/// What the check has seen of the service says who stands in. The gateway's own stand-in has no `special` sockets.
fn kind(target: &Target, special: bool) -> Kind {
    let (cause, protocol) = (target.cause.as_ref().map_or("", |it| it.as_str()), protocol(target));
    let gateway = target.label.as_ref().is_some_and(|label| label.as_str() == "gateway");
    match (cause, protocol) {
        ("unresponsive", _) => Kind::Other(Behaviour::Silent),
        ("other_protocol", "http") => Kind::Other(Behaviour::Banner),
        ("other_protocol", _) => Kind::Other(Behaviour::Http),
        (_, "grpc") if gateway && !special => Kind::Gateway,
        (_, "grpc") => Kind::Other(Behaviour::Grpc),
        (_, "http") => Kind::Other(Behaviour::Proxy),
        _ => Kind::Other(Behaviour::Silent),
    }
}
