//! What the rules on a predicted way have counted during a check.

use std::collections::BTreeMap;

use ruleset::{Backend, Counters, Effect, Kind, Place, Ruleset, Table, Walk};

use crate::dial::Dial;

/// What the counters say of a prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Every rule on the way counted at least the check's own packets.
    Agree,
    /// A rule on the way counted none: the packets did not come that way.
    Disagree,
    /// Some rule on the way does not count, began anew, or counted too few to tell.
    Nothing,
}

/// How many SYNs of the sandbox's dial came in at least. A container's port on the bridge may not forward yet when the first one
/// is sent, and that one is lost before any rule.
pub(super) fn sent(dial: &Dial) -> u64 {
    u64::from(dial.unanswered).saturating_sub(1).max(1)
}

/// Compares the way of the first packet with what was counted since `before` while at least `packets` of the check's own came.
pub(super) fn compare(
    walk: &Walk,
    now: &Ruleset,
    counted: &BTreeMap<Place, Option<Counters>>,
    packets: u64,
) -> Said {
    let Some(first) = walk.packets.first() else { return Said::Nothing };
    // What only watches has a limit most often, and so has what was taken for granted.
    let assumed = |place: &Place| walk.assumptions.iter().any(|assumption| assumption.place == *place);
    let mut said = Said::Agree;
    for step in first.steps.iter().filter(|step| step.effect != Effect::Continue && !assumed(&step.place)) {
        // A SYN that is repeated has its entry in conntrack, and nat is asked about a connection once.
        let wanted = if is_nat(now, &step.place) { 1 } else { packets };
        match counted.get(&step.place).copied().flatten() {
            Some(counters) if counters.packets >= wanted => {}
            Some(counters) if counters.packets > 0 || never_counts(now, &step.place) => said = Said::Nothing,
            Some(_) => return Said::Disagree,
            None => said = Said::Nothing,
        }
    }
    if first.steps.is_empty() { Said::Nothing } else { said }
}

/// Whether it is a policy of iptables-nft that never counted anything. Its chains have counters only where the tool asked for
/// them, and show 0 where it did not (measured: the policy of INPUT stays at 0 until somebody sets it).
fn never_counts(now: &Ruleset, place: &Place) -> bool {
    let chain =
        table_of(now, place).and_then(|table| table.chains.iter().find(|chain| chain.name == place.chain));
    let counters = chain.and_then(|chain| chain.counters);
    let counted = counters.is_some_and(|counters| counters.packets > 0);
    place.backend == Backend::Nft && place.rule.is_none() && !counted
}

/// Whether the table only translates addresses.
fn is_nat(now: &Ruleset, place: &Place) -> bool {
    let chains = table_of(now, place).into_iter().flat_map(|table| &table.chains);
    let mut kinds = chains.filter_map(|chain| Some(chain.base.as_ref()?.kind)).peekable();
    kinds.peek().is_some() && kinds.all(|kind| kind == Kind::Nat)
}

fn table_of<'a>(now: &'a Ruleset, place: &Place) -> Option<&'a Table> {
    now.tables.iter().find(|table| {
        (table.backend, table.family, &table.name) == (place.backend, place.family, &place.table)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ruleset::{Family, Flow, World};

    fn counted(after: &str) -> Said {
        let text = "*filter\n:INPUT DROP [0:0]\n:a - [0:0]\n[0:0] -A INPUT -m limit --limit 3/min -j LOG\n\
            [7:420] -A INPUT -j a\nCOMMIT\n";
        let parse = |text: &str| {
            let mut rules = Ruleset::default();
            rules.add_save(Backend::Nft, Family::Ip, text.as_bytes()).unwrap();
            rules
        };
        let (before, after) = (parse(text), parse(after));
        let flow = Flow::new("br0", "172.18.0.2:40000".parse().unwrap(), "172.18.0.1:8080".parse().unwrap());
        compare(&after.connect(&flow, &World::new(&flow, 16)), &after, &after.counted_since(&before), 3)
    }

    #[test]
    fn every_rule_on_the_way_has_to_have_counted_the_packets() {
        let after = |policy: u32, jump: u32| {
            format!(
                "*filter\n:INPUT DROP [{policy}:0]\n:a - [0:0]\n[1:60] -A INPUT -m limit --limit 3/min -j LOG\n\
                [{jump}:900] -A INPUT -j a\nCOMMIT\n"
            )
        };
        assert_eq!(counted(&after(3, 10)), Said::Agree);
        assert_eq!(counted(&after(2, 10)), Said::Nothing, "the policy counted too few to tell");
        assert_eq!(counted(&after(3, 7)), Said::Disagree, "the jump counted none");
        assert_eq!(counted(&after(3, 6)), Said::Nothing, "its counter began anew");
        assert_eq!(counted(&after(0, 10)), Said::Nothing, "a policy without counters shows 0");
    }
}
