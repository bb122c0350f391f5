//! Deeds of rules.

use std::net::IpAddr;

use ruleset::{Action, Expression, NatTarget, VerdictMap};

use super::Carrier;
use super::condition::{addresses, is_plain, unknown_kind, whole};
use crate::kinds::{kind_of, known};
use crate::mapping::{number, of_number};

/// The kind of an action that is not carried.
pub(super) fn unknown(action: &Action) -> Option<String> {
    if let Action::Unknown(kind) = action { Some(kind.clone()) } else { None }
}

fn not_carried(kind: &str) -> Action {
    Action::Unknown(kind.to_owned())
}

impl Carrier<'_> {
    pub(super) fn action(&mut self, action: &Action) -> Action {
        match action {
            Action::Jump(chain) => Action::Jump(self.name(chain)),
            Action::Goto(chain) => Action::Goto(self.name(chain)),
            Action::VerdictMap { key, map } => self.look_up(key, map),
            Action::SetMark(value) => mark(value).map_or_else(not_carried, Action::SetMark),
            Action::SetCtMark(value) => mark(value).map_or_else(not_carried, Action::SetCtMark),
            Action::ChangeIpSet { name, add, sides } => {
                Action::ChangeIpSet { name: self.name(name), add: *add, sides: sides.clone() }
            }
            Action::ChangeSet(name) => Action::ChangeSet(self.name(name)),
            Action::Dnat(to) => self.target(to).map_or_else(|| not_carried("DNAT"), Action::Dnat),
            Action::Redirect(to) => self.target(to).map_or_else(|| not_carried("DNAT"), Action::Redirect),
            Action::Snat(to) => self.target(to).map_or_else(|| not_carried("SNAT"), Action::Snat),
            Action::Harmless(name) => Action::Harmless(known(name).unwrap_or("other").to_owned()),
            Action::Handover(name) => Action::Handover(known(name).unwrap_or("other").to_owned()),
            Action::Unknown(text) => not_carried(kind_of(text)),
            Action::Accept
            | Action::Drop
            | Action::Reject(_)
            | Action::Return
            | Action::Continue
            | Action::Counter
            | Action::Log(_)
            | Action::Trace
            | Action::NoTrack
            | Action::SaveMark { .. }
            | Action::RestoreMark { .. }
            | Action::Masquerade
            | Action::ChangeTtl => action.clone(),
        }
    }

    fn look_up(&mut self, key: &Expression, map: &VerdictMap) -> Action {
        if unknown_kind(key).is_some() || !is_plain(key) {
            return not_carried("vmap");
        }
        let map = match map {
            VerdictMap::Named(name) => Some(VerdictMap::Named(self.name(name))),
            VerdictMap::Inline(pairs) => self.pairs(&key.kinds(), pairs).map(VerdictMap::Inline),
        };
        match map {
            Some(map) => Action::VerdictMap { key: key.clone(), map },
            None => not_carried("vmap"),
        }
    }

    /// Several addresses that are no network cannot stay next to each other.
    fn target(&self, to: &NatTarget) -> Option<NatTarget> {
        let addresses: Option<(IpAddr, IpAddr)> = match to.addresses {
            None => None,
            Some((first, last)) if first == last => {
                let mapped = self.mapping.address(first);
                Some((mapped, mapped))
            }
            Some((first, last)) => {
                let net = self.mapping.net(whole(first, last)?);
                let (base, v6) = number(net.address());
                let size = number(first).0 ^ number(last).0;
                Some((net.address(), of_number(base | size, v6)))
            }
        };
        Some(NatTarget { addresses, ports: to.ports })
    }
}

/// A mark, unless it is made of something else.
fn mark(value: &Expression) -> Result<Expression, &'static str> {
    if let Some(kind) = unknown_kind(value) {
        return Err(kind);
    }
    if !is_plain(value) || addresses(&value.kinds()) {
        return Err("address");
    }
    Ok(value.clone())
}
