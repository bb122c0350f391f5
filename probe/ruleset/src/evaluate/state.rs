//! What changes while packets pass.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::place::Place;
use crate::walk::{Assumption, Step};
use crate::world::Flow;

/// A number of which some bits are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Bits {
    pub(super) value: u128,
    pub(super) unknown: u128,
}

impl Bits {
    /// Either of both.
    pub(super) fn or_else(self, other: Self) -> Self {
        let unknown = self.unknown | other.unknown | (self.value ^ other.value);
        Self { value: self.value & !unknown, unknown }
    }
}

/// What conntrack knows of the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Tracked {
    /// Conntrack has not seen it, or cannot make sense of it.
    #[default]
    Nothing,
    /// A rule exempted it.
    Exempt,
    /// It begins the connection.
    New,
    /// Both directions were seen.
    Established {
        /// Whether the packet is of the reply's direction.
        reply: bool,
    },
}

/// The connection's entry in conntrack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Entry {
    /// Whether there is one.
    pub(super) exists: bool,
    /// Whether conntrack saw the reply.
    pub(super) replied: bool,
    /// Whether conntrack saw the connection from its middle on only.
    pub(super) picked_up: bool,
    /// Whether it began with a packet of the host's, so that for conntrack the sandbox is the one who answers.
    pub(super) by_host: bool,
    /// The connection's mark.
    pub(super) mark: Bits,
    /// Status bits.
    pub(super) status: u32,
    /// Where its packets come from, if that is translated.
    pub(super) source: Option<SocketAddr>,
    /// Where they go, if that is translated.
    pub(super) destination: Option<SocketAddr>,
    /// Whether nat has decided about the source.
    pub(super) source_settled: bool,
    /// Whether nat has decided about the destination.
    pub(super) destination_settled: bool,
}

/// A part of a rule: table, chain, rule, part.
pub(super) type PartId = (usize, usize, usize, usize);

/// Everything that changes while packets pass.
#[derive(Debug, Clone)]
pub(super) struct State {
    /// Where the packet comes from, as its header has it now.
    pub(super) source: SocketAddr,
    /// Where it goes, as its header has it now.
    pub(super) destination: SocketAddr,
    /// Whether the host passes it on.
    pub(super) forwarded: bool,
    /// Whether neither the host nor another gets it.
    pub(super) lost: bool,
    /// Whether the first packet that conntrack saw of the connection was the host's.
    pub(super) begun_by_host: bool,
    /// The rule that sends the connection elsewhere.
    pub(super) redirected: Option<Place>,
    /// The packet's mark.
    pub(super) mark: Bits,
    /// What conntrack knows of the packet.
    pub(super) tracked: Tracked,
    /// The connection's entry.
    pub(super) entry: Entry,
    /// Whether a rule changed the time to live.
    pub(super) ttl_changed: bool,
    /// Tokens that were taken from each bucket.
    pub(super) taken: BTreeMap<PartId, u64>,
    /// How often each address was put into each list.
    pub(super) recent: BTreeMap<(String, u128), u64>,
    /// Lists of which nobody knows what is in them.
    pub(super) recent_unknown: BTreeSet<String>,
    /// Sets of `ipset` that rules changed.
    pub(super) ipsets_changed: BTreeSet<String>,
    /// nft's sets that rules changed, by table and name.
    pub(super) sets_changed: BTreeSet<(usize, String)>,
    /// What matched so far.
    pub(super) steps: Vec<Step>,
    /// What was taken for granted so far.
    pub(super) assumptions: Vec<Assumption>,
}

impl State {
    /// Before the first packet.
    pub(super) fn new(flow: &Flow) -> Self {
        Self {
            source: flow.source,
            destination: flow.destination,
            forwarded: false,
            lost: false,
            begun_by_host: false,
            redirected: None,
            mark: Bits::default(),
            tracked: Tracked::default(),
            entry: Entry::default(),
            ttl_changed: false,
            taken: BTreeMap::new(),
            recent: BTreeMap::new(),
            recent_unknown: BTreeSet::new(),
            ipsets_changed: BTreeSet::new(),
            sets_changed: BTreeSet::new(),
            steps: Vec::new(),
            assumptions: Vec::new(),
        }
    }

    /// Either of two states that one has become by an unknown answer; this one tells the steps.
    pub(super) fn or_else(mut self, other: Self) -> Option<Self> {
        let entry = Entry { mark: self.entry.mark, ..other.entry };
        if self.tracked != other.tracked || self.entry != entry || self.redirected != other.redirected {
            return None;
        }
        self.mark = self.mark.or_else(other.mark);
        self.entry.mark = self.entry.mark.or_else(other.entry.mark);
        self.ttl_changed |= other.ttl_changed;
        for (part, taken) in other.taken {
            let own = self.taken.entry(part).or_default();
            *own = taken.max(*own);
        }
        if self.recent != other.recent {
            let names = self.recent.keys().chain(other.recent.keys()).map(|(name, _)| name.clone());
            self.recent_unknown.extend(names);
        }
        self.recent_unknown.extend(other.recent_unknown);
        self.ipsets_changed.extend(other.ipsets_changed);
        self.sets_changed.extend(other.sets_changed);
        for assumption in other.assumptions {
            if !self.assumptions.contains(&assumption) {
                self.assumptions.push(assumption);
            }
        }
        Some(self)
    }
}
