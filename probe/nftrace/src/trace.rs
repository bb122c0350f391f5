//! The events of one flow, and what decided about it.

use std::collections::HashMap;
use std::fmt;

use crate::place::is_own;
use crate::{Event, Family, Flow, Kind, Packet, Verdict};

/// Flows, each with its events.
#[derive(Clone, Debug)]
pub struct Traces {
    /// The tracer's own table, which picks the packets.
    table: String,
    traces: Vec<Trace>,
    /// Of which flow, and which packet of it, the last packet with an id was.
    by_id: HashMap<u32, (usize, usize)>,
}

/// The events of one flow, in their order.
#[derive(Clone, Debug)]
pub struct Trace {
    first: Packet,
    picked: Vec<Packet>,
    events: Vec<Event>,
    /// Which packet each event is of.
    of: Vec<usize>,
}

/// What decided about a packet, and what it said.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Decision {
    /// The family of the table.
    pub family: Family,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// The number that the kernel knows the rule by; none when the policy of the base chain decided. See
    /// [`position`](crate::position).
    pub rule: Option<u64>,
    /// What it said.
    pub verdict: Verdict,
}

impl Traces {
    /// None yet, of the packets that this table picks.
    pub(crate) fn new(table: &str) -> Self {
        Self { table: table.to_owned(), traces: Vec::new(), by_id: HashMap::new() }
    }

    /// Joins one more event to those of its flow. Events of packets that the tracer's table did not pick are left out: the
    /// kernel tells everybody in the network namespace of all traced packets.
    ///
    /// A packet's id changes from hook to hook, so an event is joined by what the first one in each base chain shows: the
    /// addresses and ports, or where they have been translated, TCP's sequence numbers. Those with one end as it was come before
    /// those with none.
    pub fn add(&mut self, event: Event) {
        let known = match event.packet {
            // The tracer's rule matched. A packet that somebody else picked before has a policy's event there only.
            Some(packet) if event.table == self.table && matches!(event.kind, Kind::Rule { .. }) => {
                Some(self.pick(packet))
            }
            Some(packet) => {
                let one_end = self.find_picked(|it| it.is_same(&packet));
                one_end.or_else(|| self.find_picked(|it| it.is_alike(&packet)))
            }
            None => self.by_id.get(&event.id).copied(),
        };
        let Some((index, of)) = known else {
            self.by_id.remove(&event.id);
            return;
        };
        self.by_id.insert(event.id, (index, of));
        if !is_own(&event.table) {
            self.traces[index].events.push(event);
            self.traces[index].of.push(of);
        }
    }

    /// All flows, the first one first.
    pub fn iter(&self) -> impl Iterator<Item = &Trace> {
        self.traces.iter()
    }

    /// The first flow that is as wanted.
    pub fn find(&self, wanted: impl Fn(&Flow) -> bool) -> Option<&Trace> {
        self.iter().find(|trace| wanted(trace.flow()))
    }

    /// Whether no packet was picked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.traces.is_empty()
    }

    /// One more packet of its flow, which may be the first one.
    fn pick(&mut self, packet: Packet) -> (usize, usize) {
        let known = self.traces.iter().rposition(|trace| trace.first.flow == packet.flow);
        let index = known.unwrap_or_else(|| {
            let (picked, events, of) = Default::default();
            self.traces.push(Trace { first: packet, picked, events, of });
            self.traces.len() - 1
        });
        self.traces[index].picked.push(packet);
        (index, self.traces[index].picked.len() - 1)
    }

    /// The last ones first: it is most often one of those.
    fn find_picked(&self, wanted: impl Fn(&Packet) -> bool) -> Option<(usize, usize)> {
        self.traces
            .iter()
            .enumerate()
            .rev()
            .find_map(|(index, trace)| trace.picked.iter().rposition(&wanted).map(|of| (index, of)))
    }
}

impl Trace {
    /// From where to where, as the first event shows it.
    #[must_use]
    pub fn flow(&self) -> &Flow {
        &self.first.flow
    }

    /// The packet that began it.
    #[must_use]
    pub fn packet(&self) -> &Packet {
        &self.first
    }

    /// How many packets of it were picked. A SYN that is not answered comes again.
    #[must_use]
    pub fn picked(&self) -> usize {
        self.picked.len()
    }

    /// What the chains said, without the tracer's own.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// What the chains said of one packet of it, counted from 0 in the order in which they were picked.
    pub fn events_of(&self, packet: usize) -> impl Iterator<Item = &Event> {
        self.events.iter().zip(&self.of).filter(move |(_, of)| **of == packet).map(|(event, _)| event)
    }

    /// What decided: the first drop if there is one, else the last base chain's word. None when no chain of nf_tables
    /// met the packet, which is also so when only legacy tables did.
    #[must_use]
    pub fn decision(&self) -> Option<Decision> {
        let drop = self.decisions().find(|it| it.verdict == Verdict::Drop);
        drop.or_else(|| self.decisions().last())
    }

    /// The word of every base chain that the packet met, in its order.
    pub fn decisions(&self) -> impl Iterator<Item = Decision> {
        self.events.iter().filter_map(Decision::of)
    }
}

impl Decision {
    /// An event that ends the way through a base chain.
    fn of(event: &Event) -> Option<Self> {
        let rule = match (event.kind, &event.verdict) {
            (Kind::Policy, _) => None,
            (
                Kind::Rule { handle },
                Verdict::Accept | Verdict::Drop | Verdict::Stolen | Verdict::Queue(_) | Verdict::Repeat,
            ) => Some(handle),
            _ => return None,
        };
        Some(Self {
            family: event.family,
            table: event.table.clone(),
            chain: event.chain.clone(),
            rule,
            verdict: event.verdict.clone(),
        })
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, table, chain, rule, verdict } = self;
        match rule {
            Some(handle) => write!(f, "{family} {table} {chain} rule # handle {handle}: {verdict}"),
            None => write!(f, "{family} {table} {chain} policy: {verdict}"),
        }
    }
}
