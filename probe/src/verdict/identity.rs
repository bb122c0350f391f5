//! Whether it is the service: what vouches for it, and what proves that it is another one.
//!
//! Identity never fails a healthy service: it is asked only where something answers rightly, and what cannot be seen counts
//! for it.

use std::net::Ipv4Addr;

use super::{Cause, Judgement, Verdict, listening};
use crate::evidence::{Evidence, PortEvidence};
use crate::identity::{Identity, Signed};
use crate::listeners::Listening;
use crate::standpoint::Standpoint;

/// What vouches for the identity of a target's service, where `judgement` says that sandboxes reach it.
#[must_use]
pub fn identity(evidence: &Evidence, port: &PortEvidence, judgement: Judgement) -> Identity {
    let known = &port.identity;
    if judgement.verdict != Verdict::Ok || port.stand_in {
        return Identity::Unverified;
    }
    if known.certificate.as_ref().is_some_and(|it| it.signed == Signed::KnownAuthority) {
        return Identity::Certificate;
    }
    let (Some(owner), Some(Standpoint::EngineHost { index, .. }), Some(dial)) =
        (&known.owner, &evidence.standpoint, &port.sandbox)
    else {
        return Identity::Unverified;
    };
    let own = |uid: u32| uid == owner.uid && Some(uid) != known.hidden_uid;
    let all = sockets(port, dial.address, *index).is_some_and(|mut uids| uids.all(own));
    if known.held_by.is_some_and(own) && all { Identity::Owner } else { Identity::Unverified }
}

/// What proves that a service which answers rightly is another one. Whatever cannot be seen is no proof.
pub(super) fn stranger(port: &PortEvidence, address: Ipv4Addr, bridge: Option<u32>) -> Option<Cause> {
    let identity = &port.identity;
    if identity.certificate.as_ref().is_some_and(|it| it.signed == Signed::AnotherAuthority) {
        return Some(Cause::OtherCertificate);
    }
    let owner = identity.owner.as_ref().filter(|_| !port.stand_in)?;
    let another = |uid: u32| uid != owner.uid && Some(uid) != identity.hidden_uid;
    // A service may have its socket from a manager of another user: then the connection is its own all the same.
    let held = identity.held_by.is_some_and(another);
    let all = sockets(port, address, bridge?).is_some_and(|mut uids| uids.all(another));
    (held && all).then_some(Cause::OtherOwner)
}

/// The users of all sockets that listened for the address, before and after; `None` when no socket is proven to.
fn sockets(port: &PortEvidence, address: Ipv4Addr, bridge: u32) -> Option<impl Iterator<Item = u32>> {
    let proven = matches!(listening(port, address, bridge), Listening::Proven { .. });
    let both = port.listeners_before.iter().chain(&port.listeners_after).flatten();
    proven.then(|| both.filter(move |it| it.covers(address, bridge)).map(|it| it.uid))
}
