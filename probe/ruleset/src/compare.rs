//! Two captures side by side.

use std::collections::{BTreeMap, HashMap};

use crate::condition::Condition;
use crate::model::{Chain, Counters, NamedSet, Part, Rule, Ruleset, Table};
use crate::place::{Backend, Place, TableFamily};

impl Ruleset {
    /// Whether both have the same rules in the same order, whatever counters, handles and what changes by itself say, such as
    /// the elements of sets that rules fill.
    pub fn has_same_rules(&self, other: &Self) -> bool {
        self.ipsets == other.ipsets && pairwise(&self.tables, &other.tables, Table::has_same_rules)
    }

    /// What these places counted since an earlier capture; `None` where a place's chain is not the same any more, or where its
    /// counters began anew. What has no counters is not in it, nor is what is not there.
    pub fn counted_since<'a>(
        &self,
        earlier: &Self,
        places: impl IntoIterator<Item = &'a Place>,
    ) -> BTreeMap<Place, Option<Counters>> {
        let (now, before) = (chains(self), chains(earlier));
        let mut same_chains = HashMap::new();
        let mut counted = BTreeMap::new();
        for place in places {
            let key = (place.backend, place.family, place.table.as_str(), place.chain.as_str());
            let Some(chain) = now.get(&key) else { continue };
            let old = before.get(&key).copied();
            let is_same = *same_chains.entry(key).or_insert_with(|| old.is_some_and(|old| same(old, chain)));
            let old = old.filter(|_| is_same);
            let at = place.rule.map(|number| number.wrapping_sub(1));
            let counters = |chain: &Chain| match at {
                Some(at) => chain.rules.get(at)?.counters,
                None => chain.counters.filter(|_| chain.base.is_some()),
            };
            let Some(now) = counters(chain) else { continue };
            counted.insert(place.clone(), old.and_then(|old| since(now, counters(old))));
        }
        counted
    }
}

impl Table {
    /// The same of two tables, which are one table at two times.
    pub fn has_same_rules(&self, other: &Self) -> bool {
        let same_sets = pairwise(&self.sets, &other.sets, |(name, set), (other_name, other)| {
            let known = |set: &NamedSet| NamedSet { elements: None, ..set.clone() };
            let static_set = !set.dynamic;
            name == other_name && if static_set { set == other } else { known(set) == known(other) }
        });
        let own = |table: &Self| (table.backend, table.family, table.dormant);
        own(self) == own(other)
            && self.name == other.name
            && same_sets
            && self.maps == other.maps
            && pairwise(&self.chains, &other.chains, |one, other| {
                one.name == other.name
                    && one.base == other.base
                    && pairwise(&one.rules, &other.rules, same_rule)
            })
    }
}

fn same_rule(one: &Rule, other: &Rule) -> bool {
    one.number == other.number
        && one.text == other.text
        && pairwise(&one.parts, &other.parts, |one, other| match (one, other) {
            (
                Part::Ask(Condition::Quota { over, bytes, .. }),
                Part::Ask(Condition::Quota { over: other_over, bytes: other_bytes, .. }),
            ) => (over, bytes) == (other_over, other_bytes),
            _ => one == other,
        })
}

/// Whether two lists have the same length and what `same` says of each pair.
fn pairwise<T: Copy, L: IntoIterator<Item = T>>(one: L, other: L, same: impl Fn(T, T) -> bool) -> bool {
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some(one), Some(other)) if same(one, other) => {}
            _ => return false,
        }
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

    /// What all places of one capture counted since another.
    fn counted(now: &str, before: &str) -> BTreeMap<Place, Option<Counters>> {
        let now = rules(now);
        let of = |table: &Table, chain: &Chain| {
            let policy = table.policy_place(chain);
            let rules = chain.rules.iter().map(|rule| table.rule_place(chain, rule));
            rules.chain([policy]).collect::<Vec<_>>()
        };
        let chains = now.tables.iter().flat_map(|table| table.chains.iter().map(move |chain| (table, chain)));
        let places: Vec<Place> = chains.flat_map(|(table, chain)| of(table, chain)).collect();
        now.counted_since(&rules(before), &places)
    }

    #[test]
    fn what_counted_is_told_by_place() {
        let now = BEFORE.replace("[1:60]", "[4:240]").replace("[5:300]", "[8:480]");
        let counted = counted(&now, BEFORE);
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
        let changed = counted(&BEFORE.replace("-A own -j LOG", "-A own -j DROP"), BEFORE);
        assert_eq!(changed.values().filter(|since| since.is_none()).count(), 1);
        let anew = counted(&BEFORE.replace("[5:300]", "[1:60]"), BEFORE);
        assert_eq!(anew.values().filter(|since| since.is_none()).count(), 1);
        let policy = counted(&BEFORE.replace("INPUT DROP", "INPUT ACCEPT"), BEFORE);
        assert_eq!(policy.values().filter(|since| since.is_none()).count(), 2);
    }

    #[test]
    fn what_was_counted_is_no_difference_and_each_rule_is() {
        let same = |now: &str| rules(BEFORE).has_same_rules(&rules(now));
        assert!(same(&BEFORE.replace("[5:300]", "[6:360]").replace("[1:60]", "[2:120]")));
        assert!(!same(&BEFORE.replace("-j LOG", "-j LOG --log-prefix x")));
        assert!(!same(&BEFORE.replace("INPUT DROP", "INPUT ACCEPT")));
        assert!(!same(&BEFORE.replace("[2:100] -A own -j LOG\n", "")));
        assert!(!same(&BEFORE.replace("COMMIT", ":more - [0:0]\nCOMMIT")));
        assert!(!same(&format!("{BEFORE}*nat\nCOMMIT\n")));
    }

    #[test]
    fn what_rules_put_into_a_set_and_what_a_quota_has_used_are_no_difference() {
        let native = |set: &str, used: u64| {
            let text = format!(
                r#"{{"nftables": [{{"table": {{"family": "inet", "name": "own"}}}},
                {{"set": {{"family": "inet", "table": "own", "name": "seen", "type": "ipv4_addr", {set}}}}},
                {{"chain": {{"family": "inet", "table": "own", "name": "in"}}}},
                {{"rule": {{"family": "inet", "table": "own", "chain": "in", "handle": {used}, "expr": [
                    {{"quota": {{"val": 9, "val_unit": "bytes", "used": {used}, "used_unit": "bytes", "inv": true}}}}]}}}}]}}"#
            );
            let mut rules = Ruleset::default();
            rules.add_nft_json(text.as_bytes()).unwrap();
            rules
        };
        let same = |one: Ruleset, other: Ruleset| one.has_same_rules(&other);
        let (filled, fixed) = (r#""flags": ["dynamic"], "elem": ["10.0.0.1"]"#, r#""elem": ["10.0.0.1"]"#);
        assert!(same(native(filled, 1), native(&filled.replace("0.1", "0.2"), 1)));
        assert!(!same(native(fixed, 1), native(&fixed.replace("0.1", "0.2"), 1)));
        let parts = |rules: Ruleset| rules.tables[0].chains[0].rules[0].parts.clone();
        assert_ne!(parts(native(fixed, 1)), parts(native(fixed, 2)), "a quota that is understood");
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
