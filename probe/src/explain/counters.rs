//! What the rules on a predicted way have counted during a check.
//!
//! Others' packets are counted as well. So where a prediction ends at a rule, more SYNs are sent after the check, with a payload,
//! which nobody else's SYN has. What was counted in the time of the check, without them, says how long others' packets are at
//! each rule; and what a rule has counted with them has to have their bytes above that.

use std::collections::BTreeMap;

use ruleset::{Backend, Counters, Effect, Kind, Place, Ruleset, Step, Table, Walk};

use crate::dial::Dial;
use crate::vantage::Marked;

/// The shortest packet that IPv4 has.
const SHORTEST: u64 = 20;
/// Where packets of more bytes than this are decided about, on average, those with a payload do not stand out.
const SMALL: u64 = 200;

/// What the counters say of a prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Every rule on the way counted the check's own packets.
    Agree,
    /// A rule on the way counted none: the packets did not come that way.
    Disagree,
    /// They do not tell.
    Nothing(Silence),
}

/// Why counters do not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// They were not to be asked.
    LeftOut,
    /// What is counted is sent by a container, and there was to be none.
    NoContainer,
    /// Nothing was dialled, or the rules could not be read before.
    NotCounted,
    /// firewalld's rules have none.
    Firewalld,
    /// Some rule on the way has none, or they began anew.
    None,
    /// A rule counted some of the packets, or as many as others may have sent.
    TooFew,
    /// Packets of all lengths were decided about at the same place.
    Others,
    /// None could be sent that can be told from others.
    Unmarked,
    /// A rule asks how long packets are, and those that are told by their length may go another way.
    Length,
    /// The host's answer was decided about, which nothing tells from other answers.
    Answer,
}

impl Silence {
    /// In words, after "no counters: ".
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::LeftOut => "--no-packets",
            Self::NoContainer => "--via netns, and they take a container",
            Self::NotCounted => "no packets were counted",
            Self::Firewalld => "firewalld",
            Self::None => "a rule on the way has none",
            Self::TooFew => "too few packets were counted to tell",
            Self::Others => "too many other packets",
            Self::Unmarked => "no packets could be sent that can be told from others",
            Self::Length => "a rule asks for the length of packets",
            Self::Answer => "the host's answers cannot be told from others",
        }
    }
}

/// How many SYNs of the sandbox's dial came in at least. A container's port on the bridge may not forward yet when the first one
/// is sent, and that one is lost before any rule.
pub(super) fn sent(dial: &Dial) -> u64 {
    u64::from(dial.unanswered).saturating_sub(1).max(1)
}

/// What was sent, and counted.
pub(super) struct Round<'a> {
    /// What each place counted in the time of the check.
    pub(super) counted: &'a BTreeMap<Place, Option<Counters>>,
    /// SYNs of this target's dial in that time, at least.
    pub(super) packets: u64,
    /// And in the time after it, with marked packets.
    pub(super) marked: Option<MarkedRound<'a>>,
}

/// The time in which SYNs were sent that can be told from others.
#[derive(Clone, Copy)]
pub(super) struct MarkedRound<'a> {
    /// What each place counted.
    pub(super) counted: &'a BTreeMap<Place, Option<Counters>>,
    /// What was sent to this target.
    pub(super) own: Marked,
    /// To all targets, by the places that they come by.
    pub(super) all: &'a BTreeMap<Place, Marked>,
}

/// Compares the way of the first packet with what was counted.
pub(super) fn compare(walk: &Walk, now: &Ruleset, round: &Round<'_>) -> Said {
    let Some(first) = walk.packets.first().filter(|first| !first.steps.is_empty()) else {
        return Said::Nothing(Silence::NotCounted);
    };
    let decides = walk.outcome.place();
    if decides.is_some() && walk.packets.len() > 1 {
        return Said::Nothing(Silence::Answer);
    }
    if decides.is_some() && asks_for_length(now) {
        return Said::Nothing(Silence::Length);
    }
    // What only watches has a limit most often, and so has what was taken for granted.
    let assumed = |place: &Place| walk.assumptions.iter().any(|assumption| assumption.place == *place);
    // A policy that let them pass is no rule, and one without counters takes nothing from what the rules counted.
    let mute = |step: &Step| step.effect == Effect::PolicyAccept && never_counts(now, &step.place);
    let asked = |step: &&Step| step.effect != Effect::Continue && !assumed(&step.place) && !mute(step);
    let (mut silence, mut agreed) = (None, false);
    for step in first.steps.iter().filter(asked) {
        let place = &step.place;
        match at(place, now, round, decides) {
            Said::Agree => agreed = true,
            Said::Disagree => return Said::Disagree,
            // That none could be sent is the least of the reasons.
            Said::Nothing(why) => silence = silence.filter(|it| *it != Silence::Unmarked).or(Some(why)),
        }
    }
    match silence {
        Some(why) => Said::Nothing(why),
        None if agreed => Said::Agree,
        None => Said::Nothing(Silence::None),
    }
}

/// What one place says.
fn at(place: &Place, now: &Ruleset, round: &Round<'_>, decides: Option<&Place>) -> Said {
    let of = |counted: &BTreeMap<Place, Option<Counters>>| counted.get(place).copied().flatten();
    let Some(first) = of(round.counted) else {
        let firewalld = place.table == "firewalld";
        return Said::Nothing(if firewalld { Silence::Firewalld } else { Silence::None });
    };
    let none = || {
        if never_counts(now, place) { Said::Nothing(Silence::None) } else { Said::Disagree }
    };
    if first.packets == 0 {
        return none();
    }
    let Some(marked) = round.marked else {
        if decides.is_some() {
            return Said::Nothing(Silence::Unmarked);
        }
        // A SYN that is repeated has its entry in conntrack, and nat is asked about a connection once.
        let wanted = if is_nat(now, place) { 1 } else { round.packets };
        return if first.packets >= wanted { Said::Agree } else { Said::Nothing(Silence::TooFew) };
    };
    match (of(marked.counted), marked.all.get(place)) {
        (Some(second), Some(_)) if second.packets == 0 => none(),
        (Some(second), Some(all)) => told_by_bytes(first, second, marked.own, *all, decides == Some(place)),
        _ => Said::Nothing(Silence::None),
    }
}

/// What a place says that the marked packets of `all` targets come by, those of this target among them: it counted the `first`
/// without them, and the `second` with them.
fn told_by_bytes(first: Counters, second: Counters, own: Marked, all: Marked, decides: bool) -> Said {
    // Whatever else was counted has headers.
    let spare = second.bytes.saturating_sub(second.packets.saturating_mul(SHORTEST));
    let one = own.payload / own.packets.max(1);
    if spare < one {
        return Said::Disagree;
    }
    if second.packets < all.packets || spare < all.payload {
        return Said::Nothing(Silence::TooFew);
    }
    if !decides {
        return Said::Agree;
    }
    if first.bytes / first.packets.max(1) > SMALL {
        return Said::Nothing(Silence::Others);
    }
    let without = u128::from(first.bytes) * u128::from(second.packets) / u128::from(first.packets.max(1));
    let excess = u128::from(second.bytes).saturating_sub(without);
    let payload = u128::from(all.payload);
    if excess * 2 < u128::from(one) {
        Said::Disagree
    } else if excess.abs_diff(payload) * 2 <= payload {
        Said::Agree
    } else {
        Said::Nothing(Silence::Others)
    }
}

/// Whether any rule asks how long a packet is.
fn asks_for_length(now: &Ruleset) -> bool {
    let rules = now.tables.iter().flat_map(|table| &table.chains).flat_map(|chain| &chain.rules);
    rules
        .into_iter()
        .any(|rule| rule.text.split_whitespace().any(|word| matches!(word, "length" | "connbytes")))
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
mod tests;
