//! Captured rules as they may be carried: understood parts with mapped addresses, the rest by its kind.
//!
//! What a rule does to a connection stays the same. Its text is not carried, because comments and everything else that nobody
//! looked at are in it; a part that is not carried becomes an unknown part, whose rule stays where it is.

mod action;
mod condition;
mod element;
mod ipset;

pub(crate) use ipset::METHODS;

use ruleset::{Base, Chain, NamedMap, NamedSet, Part, Place, Rule, Ruleset, Table};

use crate::mapping::Mapping;
use crate::model::NotCarried;
use crate::names::Names;

/// The most elements that a set or a condition may become: a range of addresses becomes many networks.
const MOST_ELEMENTS: usize = 100_000;

/// Turns what a host has into what a snapshot may have.
pub struct Carrier<'a> {
    mapping: &'a Mapping,
    names: &'a mut Names,
    not_carried: Vec<NotCarried>,
}

impl<'a> Carrier<'a> {
    /// A carrier that maps addresses so and names so.
    pub fn new(mapping: &'a Mapping, names: &'a mut Names) -> Self {
        Self { mapping, names, not_carried: Vec::new() }
    }

    /// The rules, without what is not on the allow list.
    pub fn rules(&mut self, rules: &Ruleset) -> Ruleset {
        Ruleset {
            tables: rules.tables.iter().map(|table| self.table(table)).collect(),
            ipsets: rules.ipsets.iter().map(|set| self.ipset(set)).collect(),
        }
    }

    /// The parts of rules that were not carried.
    #[must_use]
    pub fn not_carried(self) -> Vec<NotCarried> {
        self.not_carried
    }

    fn name(&mut self, name: &str) -> String {
        self.names.name(name).into()
    }

    fn table(&mut self, table: &Table) -> Table {
        let name = self.name(&table.name);
        let sets = table.sets.iter().map(|(name, set)| {
            let elements = set.elements.as_ref().and_then(|it| self.elements(&set.kinds, it));
            (self.name(name), NamedSet { elements, ..set.clone() })
        });
        let sets = sets.collect();
        let maps = table.maps.iter().map(|(name, map)| {
            let verdicts = map.verdicts.as_ref().and_then(|it| self.pairs(&map.kinds, it));
            (self.name(name), NamedMap { verdicts, ..map.clone() })
        });
        let maps = maps.collect();
        let chains = table.chains.iter().map(|chain| self.chain(table, chain)).collect();
        Table {
            family: table.family,
            name,
            backend: table.backend,
            dormant: table.dormant,
            chains,
            sets,
            maps,
        }
    }

    fn chain(&mut self, table: &Table, chain: &Chain) -> Chain {
        let base = chain.base.as_ref().map(|base| Base {
            devices: base.devices.iter().map(|name| self.names.interface(name).into()).collect(),
            ..base.clone()
        });
        let rules = chain.rules.iter().map(|rule| self.rule(table, chain, rule)).collect();
        Chain { name: self.name(&chain.name), base, counters: chain.counters, rules }
    }

    fn rule(&mut self, table: &Table, chain: &Chain, rule: &Rule) -> Rule {
        let mut parts = Vec::with_capacity(rule.parts.len());
        for part in &rule.parts {
            let (part, kind) = match part {
                Part::Ask(condition) => {
                    let carried = self.condition(condition);
                    let kind = condition::unknown(&carried);
                    (Part::Ask(carried), kind)
                }
                Part::Do(action) => {
                    let carried = self.action(action);
                    let kind = action::unknown(&carried);
                    (Part::Do(carried), kind)
                }
            };
            if let Some(kind) = kind {
                let place = NotCarried {
                    backend: table.backend,
                    family: table.family,
                    table: self.names.name(&table.name),
                    chain: self.names.name(&chain.name),
                    rule: rule.number,
                    kind,
                };
                self.not_carried.push(place);
            }
            parts.push(part);
        }
        Rule { text: String::new(), number: rule.number, handle: rule.handle, counters: rule.counters, parts }
    }
}

/// The name by which a snapshot's text of a place is found: without the text, which is written anew.
#[must_use]
pub fn same_place(one: &Place, other: &Place) -> bool {
    let key =
        |place: &Place| (place.backend, place.family, place.table.clone(), place.chain.clone(), place.rule);
    key(one) == key(other)
}
