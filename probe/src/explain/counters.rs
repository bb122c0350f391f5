//! What the rules on a predicted way have counted during a check.

use std::collections::BTreeMap;

use ruleset::{Counters, Effect, Place, Walk};

use crate::dial::Dial;

/// What the counters say of a prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Every rule on the way counted at least the check's own packets.
    Agree,
    /// A rule on the way counted fewer: the packets did not come that way.
    Disagree,
    /// Some rule on the way does not count, or began anew.
    Nothing,
}

/// How many SYNs the sandbox's dial sent at least.
pub(super) fn sent(dial: &Dial) -> u64 {
    u64::from(dial.unanswered).max(1)
}

/// Compares the way of the first packet with what was `counted` while at least `packets` of the check's own came.
pub(super) fn compare(walk: &Walk, counted: &BTreeMap<Place, Option<Counters>>, packets: u64) -> Said {
    let Some(first) = walk.packets.first() else { return Said::Nothing };
    // What only watches has a limit most often, and so has what was taken for granted.
    let assumed = |place: &Place| walk.assumptions.iter().any(|assumption| assumption.place == *place);
    let mut said = Said::Agree;
    for step in first.steps.iter().filter(|step| step.effect != Effect::Continue && !assumed(&step.place)) {
        match counted.get(&step.place).copied().flatten() {
            Some(counters) if counters.packets < packets => return Said::Disagree,
            Some(_) => {}
            None => said = Said::Nothing,
        }
    }
    if first.steps.is_empty() { Said::Nothing } else { said }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ruleset::{Backend, Family, Flow, Ruleset, World};

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
        compare(&after.connect(&flow, &World::new(&flow, 16)), &after.counted_since(&before), 3)
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
        assert_eq!(counted(&after(2, 10)), Said::Disagree, "the policy counted fewer");
        assert_eq!(counted(&after(3, 9)), Said::Disagree, "the jump counted fewer");
        assert_eq!(counted(&after(3, 6)), Said::Nothing, "its counter began anew");
    }
}
