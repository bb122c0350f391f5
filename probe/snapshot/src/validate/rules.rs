//! Tables, chains, rules and sets of a file.

use std::collections::HashMap;

use ruleset::{
    Action, Chain, Condition, Datum, Element, EntryValue, Expression, IpSet, Part, PhysdevProperty, Right,
    Ruleset, Table, VerdictMap,
};

use super::{Checked, refuse};
use crate::carry::METHODS;
use crate::kinds::known;
use crate::limits;
use crate::text::{Interface, Name};

pub(super) fn rules(rules: &Ruleset) -> Checked {
    for (at, set) in rules.ipsets.iter().enumerate() {
        ipset(set, rules, &format!("rules.ipsets[{at}]"))?;
    }
    let mut visits = 0_u64;
    for (at, table) in rules.tables.iter().enumerate() {
        let place = format!("rules.tables[{at}]");
        self::table(table, &place)?;
        visits = visits.saturating_add(Calls::new(table).of_all(&place)?);
    }
    if visits > limits::VISITS {
        let problem =
            format!("packets can be made to pass {visits} rules, and {} are the most", limits::VISITS);
        return refuse("rules.tables", problem);
    }
    Ok(())
}

fn name(text: &str, place: &str) -> Checked {
    Name::new(text).map(drop).or_else(|bad| refuse(place, bad.to_string()))
}

fn interface(text: &str, place: &str) -> Checked {
    Interface::new(text).map(drop).or_else(|bad| refuse(place, bad.to_string()))
}

fn kind(text: &str, place: &str) -> Checked {
    if known(text).is_some() { Ok(()) } else { refuse(place, "it is no kind of a part") }
}

fn table(table: &Table, place: &str) -> Checked {
    name(&table.name, &format!("{place}.name"))?;
    for (set, named) in &table.sets {
        let place = format!("{place}.sets");
        name(set, &place)?;
        named.elements.iter().flatten().try_for_each(|it| element(it, &place))?;
    }
    for (map, named) in &table.maps {
        let place = format!("{place}.maps");
        name(map, &place)?;
        named.verdicts.iter().flatten().try_for_each(|(key, deed)| {
            element(key, &place)?;
            action(deed, &place)
        })?;
    }
    for (at, chain) in table.chains.iter().enumerate() {
        self::chain(chain, &format!("{place}.chains[{at}]"))?;
    }
    Ok(())
}

fn chain(chain: &Chain, place: &str) -> Checked {
    name(&chain.name, &format!("{place}.name"))?;
    for device in chain.base.iter().flat_map(|base| &base.devices) {
        interface(device, &format!("{place}.base.devices"))?;
    }
    for (at, rule) in chain.rules.iter().enumerate() {
        let place = || format!("{place}.rules[{at}]");
        if rule.number != at + 1 {
            return refuse(place() + ".number", "rules are not in their order");
        }
        if !rule.text.is_empty() {
            return refuse(place() + ".text", "a rule has no text in a snapshot");
        }
        for part in &rule.parts {
            match part {
                Part::Ask(it) => condition(it, &place())?,
                Part::Do(it) => action(it, &place())?,
            }
        }
    }
    Ok(())
}

fn condition(condition: &Condition, place: &str) -> Checked {
    match condition {
        Condition::Compare { left, right, .. } => {
            expression(left, place)?;
            match right {
                Right::Set(set) => name(set, place),
                Right::Elements(elements) => elements.iter().try_for_each(|it| element(it, place)),
            }
        }
        Condition::EitherPort { ports, .. } => ports.iter().try_for_each(|it| element(it, place)),
        Condition::Recent(recent) => name(&recent.name, place),
        Condition::IpSet { name: set, .. } => name(set, place),
        Condition::Physdev(tests) => tests.iter().try_for_each(|test| match &test.what {
            PhysdevProperty::In(it) | PhysdevProperty::Out(it) => element(it, place),
            _ => Ok(()),
        }),
        Condition::Limit(limit) if limit.seconds == 0 => refuse(place, "a rate is per no time"),
        Condition::Unknown(text) => kind(text, place),
        Condition::Conntrack(_)
        | Condition::Limit(_)
        | Condition::AddressType(_)
        | Condition::ReversePath { .. }
        | Condition::Quota { .. } => Ok(()),
    }
}

fn expression(it: &Expression, place: &str) -> Checked {
    match it {
        Expression::Field(_) => Ok(()),
        Expression::And(inner, _) | Expression::Or(inner, _) | Expression::Xor(inner, _) => {
            expression(inner, place)
        }
        Expression::Concat(parts) => parts.iter().try_for_each(|part| expression(part, place)),
        Expression::Value(value) => datum(value, place),
        Expression::Unknown(text) => kind(text, place),
    }
}

fn datum(it: &Datum, place: &str) -> Checked {
    match it {
        Datum::Number(_) => Ok(()),
        Datum::Name(text) => interface(text, place),
        Datum::Concat(parts) => parts.iter().try_for_each(|part| datum(part, place)),
    }
}

fn element(it: &Element, place: &str) -> Checked {
    match it {
        Element::Any | Element::Range(..) => Ok(()),
        Element::One(value) => datum(value, place),
        Element::Prefix { length, bits, .. } if length > bits || *bits > 128 => {
            refuse(place, "a network has more bits than an address")
        }
        Element::Prefix { .. } => Ok(()),
        Element::Beginning(text) => interface(text, place),
        Element::Concat(parts) => parts.iter().try_for_each(|part| element(part, place)),
    }
}

fn action(it: &Action, place: &str) -> Checked {
    match it {
        Action::Jump(chain) | Action::Goto(chain) => name(chain, place),
        Action::VerdictMap { key, map } => {
            expression(key, place)?;
            match map {
                VerdictMap::Named(map) => name(map, place),
                VerdictMap::Inline(pairs) => pairs.iter().try_for_each(|(key, deed)| {
                    element(key, place)?;
                    action(deed, place)
                }),
            }
        }
        Action::SetMark(value) | Action::SetCtMark(value) => expression(value, place),
        Action::ChangeIpSet { name: set, .. } | Action::ChangeSet(set) => name(set, place),
        Action::Harmless(text) | Action::Handover(text) | Action::Unknown(text) => kind(text, place),
        _ => Ok(()),
    }
}

fn ipset(set: &IpSet, rules: &Ruleset, place: &str) -> Checked {
    name(&set.name, &format!("{place}.name"))?;
    if set.method != "other" && !METHODS.contains(&set.method.as_str()) {
        return refuse(format!("{place}.method"), "no set is stored so");
    }
    for (at, entry) in set.entries.iter().enumerate() {
        let place = format!("{place}.entries[{at}]");
        if entry.values.len() != set.components.len() {
            return refuse(place, "it has not as many components as its set");
        }
        for value in &entry.values {
            match value {
                EntryValue::Net(address, length) => {
                    if crate::Net::new(*address, *length).is_none() {
                        return refuse(place, "a network has more bits than an address");
                    }
                }
                EntryValue::Iface { name, .. } => interface(name, &place)?,
                EntryValue::Set(inner) => {
                    name(inner, &place)?;
                    let list = |other: &&IpSet| other.name == *inner && other.method == "list";
                    if rules.ipsets.iter().any(|other| list(&other)) {
                        return refuse(place, "a list of sets is in a list of sets");
                    }
                }
                EntryValue::Range(..) | EntryValue::Port(..) | EntryValue::Mark(_) => {}
            }
        }
    }
    Ok(())
}

/// How much a packet can be made to pass.
struct Calls<'a> {
    table: &'a Table,
    chains: HashMap<&'a str, usize>,
    /// The visits and the depth of each chain that was counted.
    known: HashMap<usize, (u64, usize)>,
}

impl<'a> Calls<'a> {
    fn new(table: &'a Table) -> Self {
        let chains = table.chains.iter().enumerate().map(|(at, chain)| (chain.name.as_str(), at)).collect();
        Self { table, chains, known: HashMap::new() }
    }

    /// The visits of all base chains.
    fn of_all(mut self, place: &str) -> Result<u64, super::Invalid> {
        let mut all = 0_u64;
        for (at, chain) in self.table.chains.iter().enumerate() {
            let (visits, _) = self.of(at, 0, place)?;
            if chain.base.is_some() {
                all = all.saturating_add(visits);
            }
        }
        Ok(all)
    }

    fn of(&mut self, at: usize, depth: usize, place: &str) -> Result<(u64, usize), super::Invalid> {
        if let Some(known) = self.known.get(&at) {
            return Ok(*known);
        }
        // Chains that call each other in a ring are deeper than any.
        if depth > limits::CALLS {
            let problem = format!("chains call each other more than {} deep", limits::CALLS);
            return refuse(format!("{place}.chains[{at}]"), problem).map(|()| (0, 0));
        }
        let (mut visits, mut deepest) = (0_u64, 0);
        let table = self.table;
        for rule in &table.chains[at].rules {
            visits = visits.saturating_add(1);
            let mut called = Vec::new();
            for part in &rule.parts {
                if let Part::Do(action) = part {
                    targets(table, action, &mut called);
                }
            }
            for name in called {
                let Some(chain) = self.chains.get(name).copied() else { continue };
                let (inner, below) = self.of(chain, depth + 1, place)?;
                visits = visits.saturating_add(inner);
                deepest = deepest.max(below + 1);
            }
        }
        if deepest > limits::CALLS {
            let problem = format!("chains call each other more than {} deep", limits::CALLS);
            return refuse(format!("{place}.chains[{at}]"), problem).map(|()| (0, 0));
        }
        self.known.insert(at, (visits, deepest));
        Ok((visits, deepest))
    }
}

/// The chains that an action may lead to.
fn targets<'a>(table: &'a Table, action: &'a Action, found: &mut Vec<&'a str>) {
    match action {
        Action::Jump(chain) | Action::Goto(chain) => found.push(chain),
        Action::VerdictMap { map: VerdictMap::Inline(pairs), .. } => {
            pairs.iter().for_each(|(_, action)| targets(table, action, found));
        }
        Action::VerdictMap { map: VerdictMap::Named(name), .. } => {
            let pairs = table.maps.get(name).and_then(|map| map.verdicts.as_ref());
            // A map within a map's verdict would be its own.
            let plain =
                pairs.into_iter().flatten().filter(|(_, it)| !matches!(it, Action::VerdictMap { .. }));
            plain.for_each(|(_, action)| targets(table, action, found));
        }
        _ => {}
    }
}
