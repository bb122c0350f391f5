//! Where rules take the packets for a port.

use std::net::IpAddr;

use ruleset::{Action, Part, Rule};
use snapshot::Snapshot;

/// Another destination.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Translation {
    /// The port that is asked for.
    pub(super) from: u16,
    /// The address, unless it stays one of the host's.
    pub(super) to: Option<IpAddr>,
    /// The port, unless it stays.
    pub(super) port: Option<u16>,
}

/// Those of rules that name a port of the snapshot's check.
pub(super) fn translations(snapshot: &Snapshot) -> Vec<Translation> {
    let tables = snapshot.rules.iter().flat_map(|rules| &rules.tables);
    let rules = tables.flat_map(|table| &table.chains).flat_map(|chain| &chain.rules);
    let ports: Vec<u16> = snapshot.check.targets.iter().map(|target| target.port).collect();
    rules.filter_map(|rule| of_rule(rule, &ports)).collect()
}

fn of_rule(rule: &Rule, ports: &[u16]) -> Option<Translation> {
    let target = rule.parts.iter().find_map(|part| match part {
        Part::Do(Action::Dnat(to) | Action::Redirect(to)) => Some(to),
        _ => None,
    })?;
    // The reader has written the text from the rule's parts.
    let words: Vec<&str> = rule.text.split([' ', '"', ',', ':', '[', ']', '{', '}']).collect();
    let from = ports.iter().copied().find(|port| words.contains(&port.to_string().as_str()))?;
    let to = target.addresses.map(|(first, _)| first);
    Some(Translation { from, to, port: target.ports.map(|(first, _)| first) })
}

/// Whether packets for a port are taken to an address on a bridge of the engine's that is not the host's own: a container's.
pub(super) fn to_a_container(snapshot: &Snapshot, port: u16) -> bool {
    let own = |address: IpAddr| snapshot.addresses.iter().any(|it| it.address.address() == address);
    let taken = translations(snapshot).into_iter().filter(|it| it.from == port);
    taken.filter_map(|it| it.to).any(|address| !address.is_loopback() && !own(address))
}
