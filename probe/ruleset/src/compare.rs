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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Family;

    fn rules(text: &str) -> Ruleset {
        let mut rules = Ruleset::default();
        rules.add_save(Backend::Nft, Family::Ip, text.as_bytes()).unwrap();
        rules
    }

    const BEFORE: &str =
        "*filter\n:INPUT DROP [1:60]\n:own - [0:0]\n[5:300] -A INPUT -j own\n[2:100] -A own -j LOG\nCOMMIT\n";

    #[test]
    fn what_counted_is_told_by_place() {
        let now = rules(&BEFORE.replace("[1:60]", "[4:240]").replace("[5:300]", "[8:480]"));
        let counted = now.counted_since(&rules(BEFORE));
        let told: Vec<_> = counted
            .iter()
            .map(|(place, since)| (place.to_string(), since.map(|since| (since.packets, since.bytes))))
            .collect();
        let expected = [
            ("ip filter INPUT policy DROP".to_owned(), Some((3, 180))),
            ("ip filter INPUT rule 1: -j own".to_owned(), Some((3, 180))),
            ("ip filter own rule 1: -j LOG".to_owned(), Some((0, 0))),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_changed_chain_or_a_counter_that_began_anew_tells_nothing() {
        let changed = rules(&BEFORE.replace("-A own -j LOG", "-A own -j DROP")).counted_since(&rules(BEFORE));
        assert_eq!(changed.values().filter(|since| since.is_none()).count(), 1);
        let anew = rules(&BEFORE.replace("[5:300]", "[1:60]")).counted_since(&rules(BEFORE));
        assert_eq!(anew.values().filter(|since| since.is_none()).count(), 1);
        let policy = rules(&BEFORE.replace("INPUT DROP", "INPUT ACCEPT")).counted_since(&rules(BEFORE));
        assert_eq!(policy.values().filter(|since| since.is_none()).count(), 2);
    }

    #[test]
    fn counters_are_not_part_of_the_digest_and_rules_are() {
        let before = rules(BEFORE).digest_input();
        assert_eq!(
            before,
            rules(&BEFORE.replace("[5:300]", "[6:360]").replace("[1:60]", "[2:120]")).digest_input()
        );
        assert_ne!(before, rules(&BEFORE.replace("-j LOG", "-j LOG --log-prefix x")).digest_input());
        assert_ne!(before, rules(&BEFORE.replace("INPUT DROP", "INPUT ACCEPT")).digest_input());
    }

    #[test]
    fn a_ruleset_can_be_kept_as_json() {
        let mut kept = rules(BEFORE);
        let v6 = b"*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -s fd00:1:2:3::/64 -m mark --mark 0x1/0x3 -j DROP\nCOMMIT\n";
        kept.add_save(Backend::Legacy, Family::Ip6, v6).unwrap();
        let value = serde_json::to_value(&kept).unwrap();
        assert_eq!(serde_json::from_value::<Ruleset>(value).unwrap(), kept);
        assert_eq!(serde_json::from_slice::<Ruleset>(&serde_json::to_vec(&kept).unwrap()).unwrap(), kept);
    }
}
