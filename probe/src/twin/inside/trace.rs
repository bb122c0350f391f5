//! Which rules decided, from the kernel's trace.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;

use nftrace::{Event, Family, Kind, Packets, Place, Trace, Tracer, Traces, Verdict};

use super::super::{Decision, Failure, Step};
use super::dial::Dial;

/// A trace of all that some dials do.
pub(super) struct Watching {
    tracers: Vec<Tracer>,
    replies: Option<Tracer>,
    seen: Vec<Traces>,
    seen_replies: Vec<Traces>,
    /// The rules' numbers of each chain that was asked about, in their order: the kernel lists a chain as a whole.
    chains: HashMap<(Family, String, String), Vec<u64>>,
}

/// What the kernel says about one connection.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Whether any packet of it was there.
    pub(super) arrived: bool,
    /// What decided about it.
    pub(super) decision: Option<Decision>,
    /// All that its packets met.
    pub(super) matched: Vec<Step>,
}

impl Watching {
    /// Follows what comes in by those interfaces (the host's own dials where there is none) for those ports: the first
    /// packets, or all of them and the answers too.
    pub(super) fn begin<'device>(
        devices: impl IntoIterator<Item = Option<&'device str>>,
        ports: impl IntoIterator<Item = u16>,
        packets: Packets,
    ) -> Result<Self, Failure> {
        let devices: BTreeSet<_> = devices.into_iter().collect();
        let ports: BTreeSet<_> = ports.into_iter().collect();
        let ports: Vec<_> = ports.into_iter().collect();
        let mut tracers = Vec::new();
        for device in devices {
            let place = device.map_or(Place::Sent, |device| Place::Device(device.to_owned()));
            tracers.push(Tracer::at(&place, &ports, packets).map_err(failed)?);
        }
        let replies = match packets {
            Packets::All => Some(Tracer::at(&Place::Sent, &[], packets).map_err(failed)?),
            _ => None,
        };
        let (seen, seen_replies) = (Vec::new(), Vec::new());
        Ok(Self { tracers, replies, seen, seen_replies, chains: HashMap::new() })
    }

    /// Reads what the kernel has said by now.
    pub(super) fn read(&mut self) -> Result<(), Failure> {
        for tracer in &mut self.tracers {
            self.seen.push(tracer.drain().map_err(failed)?);
        }
        if let Some(tracer) = &mut self.replies {
            self.seen_replies.push(tracer.drain().map_err(failed)?);
        }
        Ok(())
    }

    /// Whether a rule or a policy has dropped what this one sent.
    pub(super) fn has_dropped(&self, dial: &Dial) -> bool {
        self.flow(dial).is_some_and(is_drop)
    }

    /// What decided about a connection, and all that its packets met.
    pub(super) fn explain(&mut self, dial: &Dial) -> Result<Seen, Failure> {
        let sent = self.flow(dial).cloned();
        let answered = self.reply(dial).filter(|it| is_drop(it)).cloned();
        let dropped = sent.as_ref().is_some_and(is_drop);
        let (trace, reply) = match (sent, answered) {
            (Some(sent), None) => (sent, false),
            (Some(sent), Some(_)) if dropped => (sent, false),
            (_, Some(answered)) => (answered, true),
            (None, None) => return Ok(Seen::default()),
        };
        let decision = match decisive(&trace) {
            Some(it) => {
                let position = self.position(it.family, &it.table, &it.chain, it.rule)?;
                let step = Step {
                    family: it.family.to_string(),
                    table: it.table,
                    chain: it.chain,
                    position,
                    handle: it.rule,
                    verdict: it.verdict.to_string(),
                };
                Some(Decision { step, reply })
            }
            None => None,
        };
        let mut matched = Vec::new();
        for event in trace.events() {
            if let Some(step) = self.step(event)? {
                matched.push(step);
            }
        }
        Ok(Seen { arrived: true, decision, matched })
    }

    fn flow(&self, dial: &Dial) -> Option<&Trace> {
        find(&self.seen, dial.source?, dial.to)
    }

    fn reply(&self, dial: &Dial) -> Option<&Trace> {
        find(&self.seen_replies, dial.to, dial.source?)
    }

    /// None for the end of a chain, which is no rule's.
    fn step(&mut self, event: &Event) -> Result<Option<Step>, Failure> {
        let handle = match event.kind {
            Kind::Rule { handle } | Kind::Return { handle: Some(handle) } => Some(handle),
            Kind::Policy => None,
            _ => return Ok(None),
        };
        Ok(Some(Step {
            family: event.family.to_string(),
            table: event.table.clone(),
            chain: event.chain.clone(),
            position: self.position(event.family, &event.table, &event.chain, handle)?,
            handle,
            verdict: event.verdict.to_string(),
        }))
    }

    fn position(
        &mut self,
        family: Family,
        table: &str,
        chain: &str,
        handle: Option<u64>,
    ) -> Result<Option<usize>, Failure> {
        let Some(handle) = handle else { return Ok(None) };
        let handles = match self.chains.entry((family, table.to_owned(), chain.to_owned())) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(nftrace::handles(family, table, chain).map_err(failed)?),
        };
        Ok(handles.iter().position(|it| *it == handle).map(|index| index + 1))
    }
}

/// A later reading can have more packets of it; what dropped one is what counts.
fn find(seen: &[Traces], source: SocketAddr, destination: SocketAddr) -> Option<&Trace> {
    let wanted = |flow: &nftrace::Flow| flow.source == source && flow.destination == destination;
    let found = || seen.iter().filter_map(|traces| traces.find(wanted));
    found().find(|trace| is_drop(trace)).or_else(|| found().next())
}

/// A drop, or else the last word of a chain that filters: those of iptables' `nat` only translate, and are the last ones.
fn decisive(trace: &Trace) -> Option<nftrace::Decision> {
    let translates =
        |it: &nftrace::Decision| matches!(it.family, Family::Ip | Family::Ip6) && it.table == "nat";
    let last = || trace.decisions().filter(|it| !translates(it)).last();
    trace.decision().map(|it| if it.verdict == Verdict::Drop { it } else { last().unwrap_or(it) })
}

fn is_drop(trace: &Trace) -> bool {
    trace.decision().is_some_and(|it| it.verdict == Verdict::Drop)
}

fn failed(error: nftrace::Error) -> Failure {
    Failure::kernel("trace packets in the twin", error)
}
