//! Two captures side by side.

use std::collections::{BTreeMap, HashMap};

use crate::condition::Condition;
use crate::model::{Chain, Counters, Part, Ruleset, Table};
use crate::place::{Backend, Place, TableFamily};

impl Ruleset {
    /// Bytes that two captures share if and only if they have the same rules: without counters, handles and what changes
    /// by itself, such as the elements of sets that rules fill.
    pub fn digest_input(&self) -> Vec<u8> {
        let mut plain = self.clone();
        for table in &mut plain.tables {
            for chain in &mut table.chains {
                chain.counters = None;
                for rule in &mut chain.rules {
                    (rule.handle, rule.counters) = (None, None);
                    for part in &mut rule.parts {
                        if let Part::Ask(Condition::Quota { used, .. }) = part {
                            *used = 0;
                        }
                    }
                }
            }
            for set in table.sets.values_mut().filter(|set| set.dynamic) {
                set.elements = None;
            }
        }
        // Names and numbers only: there is nothing that cannot be written.
        serde_json::to_vec(&plain).unwrap_or_default()
    }

    /// What each rule and each policy counted since an earlier capture; `None` where its chain is not the same any more,
    /// or where its counters began anew. What has no counters is not in it.
    pub fn counted_since(&self, earlier: &Self) -> BTreeMap<Place, Option<Counters>> {
        let mut counted = BTreeMap::new();
        let before = chains(earlier);
        for table in &self.tables {
            for chain in &table.chains {
                let old = before.get(&key(table, chain)).copied().filter(|old| same(old, chain));
                if let Some(now) = chain.counters.filter(|_| chain.base.is_some()) {
                    let since = old.and_then(|old| since(now, old.counters));
                    counted.insert(table.policy_place(chain), since);
                }
                for (at, rule) in chain.rules.iter().enumerate() {
                    let Some(now) = rule.counters else { continue };
                    let since = old.and_then(|old| since(now, old.rules[at].counters));
                    counted.insert(table.rule_place(chain, rule), since);
                }
            }
        }
        counted
    }
}

type Key<'a> = (Backend, TableFamily, &'a str, &'a str);

fn key<'a>(table: &'a Table, chain: &'a Chain) -> Key<'a> {
    (table.backend, table.family, &table.name, &chain.name)
}

fn chains(rules: &Ruleset) -> HashMap<Key<'_>, &Chain> {
    let of = |table| move |chain| (key(table, chain), chain);
    rules.tables.iter().flat_map(|table: &Table| table.chains.iter().map(of(table))).collect()
}

/// Whether both have the same rules in the same order; a rule that was made anew has another handle.
fn same(old: &Chain, new: &Chain) -> bool {
    old.base == new.base
        && old.rules.len() == new.rules.len()
        && old.rules.iter().zip(&new.rules).all(|(old, new)| old.text == new.text && old.handle == new.handle)
}

fn since(now: Counters, before: Option<Counters>) -> Option<Counters> {
    let before = before?;
    Some(Counters {
        packets: now.packets.checked_sub(before.packets)?,
        bytes: now.bytes.checked_sub(before.bytes)?,
    })
}
