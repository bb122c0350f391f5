//! Captured rules and a target's evidence → what may be said.

use std::collections::BTreeMap;
use std::net::{SocketAddr, SocketAddrV4};
use std::path::Path;

use ruleset::{Backend, Counters, Effect, Flow, Outcome, Packet, Place, Ruleset, Walk};

use super::capture::{Capture, CaptureError};
use super::counters::{self, MarkedRound, Round, Said, Silence};
use super::setting::{Files, setting};
use super::suspect::suspects;
use super::uplink::uplink;
use super::way::{Ends, Seen, way};
use super::wide::{self, Outside};
use super::world::world;
use super::{Decided, Explanation, Method, RulesSeen, StepSeen, WalkedPacket};
use crate::dial::{self, Greeting};
use crate::evidence::{Evidence, PortEvidence};
use crate::route::{DEFAULT_NETWORK, Route, bridge_gateway};
use crate::sanitize::sanitize;
use crate::standpoint::Standpoint;
use crate::vantage::Marked;
use crate::verdict::{Cause, Judgement, Verdict, decide};

/// A source port, where no dial has one: what rules say of it is the same for all that programs choose.
const SOME_PORT: u16 = 40_000;

/// What is to be said of one target, and what it is said of.
pub(super) struct Case {
    pub(super) explanation: Explanation,
    /// The connection and its way, where the rules were read.
    pub(super) walked: Option<(Flow, Walk)>,
}

/// Whether the rules' counters are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counting {
    /// Nobody wants to know: a check.
    NotAsked,
    /// They were to be left out.
    LeftOut,
    /// They take a container, and there was to be none.
    NoContainer,
    /// They are.
    Asked,
}

/// What is known of all targets.
pub(super) struct Judge<'a> {
    evidence: &'a Evidence,
    before: Option<&'a Capture>,
    /// `None` where this process may not read the rules.
    capture: Option<&'a Result<Capture, CaptureError>>,
    files: &'a Files,
    counting: Counting,
    /// Whether the rules are those that there were before the check.
    same: bool,
    marks: Option<Marks>,
}

/// Packets that were sent after the check to be counted.
struct Marks {
    /// By port.
    own: BTreeMap<u16, Marked>,
    /// Of all targets, by the places that they come by.
    all: BTreeMap<Place, Marked>,
    /// What each place counted in their time.
    counted: BTreeMap<Place, Option<Counters>>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(
        evidence: &'a Evidence,
        before: Option<&'a Capture>,
        capture: Option<&'a Result<Capture, CaptureError>>,
        files: &'a Files,
        counting: Counting,
    ) -> Self {
        let same = match (before, capture) {
            (Some(before), Some(Ok(capture))) => before.is_same(capture),
            _ => true,
        };
        Self { evidence, before, capture, files, counting, same, marks: None }
    }

    /// The ports whose packets the rules stop where counters could show it, if they may be asked.
    pub(super) fn to_mark(&self) -> Vec<u16> {
        let (Counting::Asked, Some(_), Some(Ok(capture))) = (self.counting, self.before, self.capture) else {
            return Vec::new();
        };
        let stopped = |port: &&PortEvidence| {
            let silent = port.sandbox.as_ref().is_some_and(|dial| dial.outcome != dial::Outcome::Connected);
            let walk = self.walk(port, capture).filter(|walk| silent && walk.packets.len() == 1);
            let walk = walk.filter(|_| self.is_still(port));
            walk.is_some_and(|it| matches!(it.outcome, Outcome::Dropped(_) | Outcome::Rejected { .. }))
        };
        self.evidence.ports.iter().filter(stopped).map(|port| port.target.port).collect()
    }

    /// What was sent to ports, and the rules after that.
    pub(super) fn marked(&mut self, sent: Vec<(u16, Marked)>, after: &Capture) {
        let Some(Ok(capture)) = self.capture else { return };
        let still = after.is_same(capture);
        let own: BTreeMap<u16, Marked> = sent.into_iter().collect();
        if own.is_empty()
            || !still
                && self.evidence.ports.iter().any(|port| {
                    own.contains_key(&port.target.port) && !self.has_same_way(port, capture, after)
                })
        {
            return;
        }
        let mut all: BTreeMap<Place, Marked> = BTreeMap::new();
        for port in &self.evidence.ports {
            let (Some(marked), Some(walk)) = (own.get(&port.target.port), self.walk(port, capture)) else {
                continue;
            };
            for step in walk.packets.into_iter().take(1).flat_map(|packet| packet.steps) {
                let sum = all.entry(step.place).or_default();
                sum.packets = sum.packets.saturating_add(marked.packets);
                sum.payload = sum.payload.saturating_add(marked.payload);
            }
        }
        let counted = after.rules.counted_since(&capture.rules, all.keys());
        self.marks = Some(Marks { own, all, counted });
    }

    /// The way of a target's connection through captured rules.
    fn walk(&self, port: &PortEvidence, capture: &Capture) -> Option<Walk> {
        let flow = self.flow(port)?;
        Some(capture.rules.connect(&flow, &world(&flow, port.return_path.as_ref())))
    }

    /// What is to be said of one target.
    pub(super) fn explain(&self, port: &PortEvidence) -> Case {
        let mut explanation = Explanation { port: port.target.port, ..Explanation::default() };
        let Some(flow) = self.flow(port) else {
            explanation.notes.push("the rules that decide are not on this machine".to_owned());
            return Case { explanation, walked: None };
        };
        let judgement = decide(self.evidence, port);
        let mut walked = None;
        match self.capture {
            None => {
                explanation.seen = RulesSeen::Inferred;
                explanation.suspects = suspects(Path::new("/"), judgement.cause);
                explanation.notes.push(format!("only root may read the rules: {}", self.as_root(port)));
            }
            Some(Err(error)) => explanation.notes.push(format!("the rules could not be read: {error}")),
            Some(Ok(capture)) => {
                let walk = self.with_rules(&mut explanation, port, judgement, &flow, capture);
                walked = Some((flow.clone(), walk));
            }
        }
        let certain = explanation.confirmed_by.contains(&Method::Static);
        let judgement = judgement.knowing(&explanation);
        let rules = match (self.capture, &walked) {
            _ if judgement.cause == Some(Cause::TrafficControl) => seen(judgement),
            (Some(Ok(capture)), Some((_, walk))) if certain => Some(Seen::Rules(walk, &capture.rules)),
            _ => seen(judgement),
        };
        explanation.way = rules.map_or_else(Vec::new, |seen| way(&ends(&flow, judgement), &seen));
        Case { explanation, walked }
    }

    fn with_rules(
        &self,
        to: &mut Explanation,
        port: &PortEvidence,
        judgement: Judgement,
        flow: &Flow,
        capture: &Capture,
    ) -> Walk {
        to.seen = RulesSeen::Rules;
        to.notes.extend(capture.unseen.iter().map(|why| format!("not read: {why}")));
        let world = world(flow, port.return_path.as_ref());
        let walk = capture.rules.connect(flow, &world);
        let said = self.counted(to, port, &walk, capture);
        if self.counting != Counting::NotAsked {
            let outside = Outside::of(&world, uplink());
            to.notes.extend(wide::notes(&capture.rules, flow, &outside, self.files));
        }
        // What only watches decides nothing, whatever its rate.
        let decides = |place: &Place| {
            let steps = walk.packets.iter().flat_map(|packet| &packet.steps);
            !steps.into_iter().any(|step| step.place == *place && step.effect == Effect::Continue)
        };
        to.notes.extend(
            walk.assumptions
                .iter()
                .filter(|it| decides(&it.place))
                .map(|it| format!("taken for granted: {} at {}", it.what, sanitize(&it.place.to_string()))),
        );
        let all_read = capture.missing.is_empty() && capture.unseen.is_empty() && self.is_still(port);
        to.lets_pass = walk.outcome == Outcome::Open && walk.assumptions.is_empty() && all_read;
        if let Some(doubt) = self.doubt(port, judgement, &walk, capture, said) {
            to.notes.push(doubt);
            return walk;
        }
        to.confirmed_by.push(Method::Static);
        match said {
            Some(Said::Agree) => to.confirmed_by.push(Method::Counters),
            Some(Said::Nothing(why)) => to.no_counters = Some(why.words().to_owned()),
            _ => {}
        }
        to.decided = decided(&walk, &capture.rules, self.files);
        walk
    }

    /// What the counters say, where they are asked; the walk is written down with them.
    fn counted(
        &self,
        to: &mut Explanation,
        port: &PortEvidence,
        walk: &Walk,
        capture: &Capture,
    ) -> Option<Said> {
        let silent = match (self.counting, self.before, &port.sandbox) {
            (Counting::NotAsked, ..) => None,
            (Counting::LeftOut, ..) => Some(Silence::LeftOut),
            (Counting::NoContainer, ..) => Some(Silence::NoContainer),
            (Counting::Asked, Some(before), Some(dial)) if self.is_still(port) => {
                let counted = capture.rules.counted_since(&before.rules, walk.places());
                to.walk = walked(walk, |place| counted.get(place).copied().flatten().map(|it| it.packets));
                let marked = self.marks.as_ref().and_then(|marks| {
                    let own = *marks.own.get(&port.target.port)?;
                    Some(MarkedRound { counted: &marks.counted, own, all: &marks.all })
                });
                let round = Round { counted: &counted, packets: counters::sent(dial), marked };
                return Some(counters::compare(walk, &capture.rules, &round));
            }
            (Counting::Asked, ..) => Some(Silence::NotCounted),
        };
        to.walk = walked(walk, |_| None);
        silent.map(Said::Nothing)
    }

    /// Why no rule may be named.
    fn doubt(
        &self,
        port: &PortEvidence,
        judgement: Judgement,
        walk: &Walk,
        capture: &Capture,
        said: Option<Said>,
    ) -> Option<String> {
        if let Outcome::Undetermined { place, why } = &walk.outcome {
            return Some(format!("undetermined: {} at {}", sanitize(why), sanitize(&place.to_string())));
        }
        if let Some(note) = contradiction(judgement, port, &walk.outcome) {
            return Some(note);
        }
        if said == Some(Said::Disagree) {
            let text = "the counters contradict the rules: a rule on this way counted none of the packets";
            return Some(text.to_owned());
        }
        // Only packets that were counted where it ends show that nothing of what was not read stopped them before.
        if !capture.missing.is_empty() && said != Some(Said::Agree) {
            return Some(format!(
                "the kernel has tables that nothing here could read: {}; install iptables and nftables",
                capture.missing.join(", ")
            ));
        }
        (!self.is_still(port)).then(|| "the rules changed while the check ran: run it again".to_owned())
    }

    /// Whether what the check changed or others did is not on a target's way. Docker 28 has rules for each container, which come
    /// and go with the dialer's own.
    fn is_still(&self, port: &PortEvidence) -> bool {
        let (Some(before), Some(Ok(capture))) = (self.before, self.capture) else { return true };
        self.same || self.has_same_way(port, before, capture)
    }

    fn has_same_way(&self, port: &PortEvidence, one: &Capture, other: &Capture) -> bool {
        let of = |capture: &Capture| self.walk(port, capture).as_ref().map(way_of);
        of(one) == of(other)
    }

    /// The command that says more. `sudo` hands no environment on.
    fn as_root(&self, port: &PortEvidence) -> String {
        let plain =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./:".contains(&byte));
        let mut command = format!("sudo openshell-probe explain --port {}", port.target.port);
        if plain(&port.target.label) && !port.target.label.is_empty() {
            command.push_str(&format!("={}", port.target.label));
        }
        let network = self.evidence.network.as_ref().map(|network| &network.name);
        if let Some(name) = network.filter(|name| *name != DEFAULT_NETWORK && plain(name)) {
            command.push_str(&format!(" --network {name}"));
        }
        let endpoint = self.evidence.endpoint.as_ref().map(|endpoint| &endpoint.url);
        if let Some(url) = endpoint.filter(|url| !url.ends_with("/var/run/docker.sock") && plain(url)) {
            command.push_str(&format!(" --host {url}"));
        }
        command
    }

    fn flow(&self, port: &PortEvidence) -> Option<Flow> {
        flow(self.evidence, port)
    }
}

/// The connection that was dialled, or would have been. `None` where the rules on its way are not this host's.
pub(crate) fn flow(evidence: &Evidence, port: &PortEvidence) -> Option<Flow> {
    let Some(Standpoint::EngineHost { interface, .. }) = &evidence.standpoint else { return None };
    let network = evidence.network.as_ref()?;
    let Some(Route::BridgeGateway { address }) = evidence.route else { return None };
    let gateway = bridge_gateway(network).ok()?;
    let dial = port.sandbox.as_ref();
    // The first address that the engine gives out, where no dial has one.
    let source = dial.and_then(|dial| dial.local).unwrap_or_else(|| (u32::from(gateway) + 1).into());
    let from = dial.and_then(|dial| dial.local_port).unwrap_or(SOME_PORT);
    let to = dial.map_or(address, |dial| dial.address);
    let source = SocketAddr::V4(SocketAddrV4::new(source, from));
    let destination = SocketAddr::V4(SocketAddrV4::new(to, port.target.port));
    let data = Greeting::first(port.protocol()).length();
    Some(Flow { data, ..Flow::new(interface, source, destination) })
}

/// What is known of the way without the rules.
fn seen(judgement: Judgement) -> Option<Seen<'static>> {
    match judgement.cause {
        Some(Cause::Dropped | Cause::ReplyDropped) => Some(Seen::Stopped("dropped")),
        Some(Cause::Rejected) => Some(Seen::Stopped("refused")),
        Some(Cause::TrafficControl) => Some(Seen::StoppedBefore("traffic control")),
        None if judgement.verdict == Verdict::Ok => Some(Seen::Passes),
        _ => no_answer(judgement).map(|_| Seen::Passes),
    }
}

fn ends(flow: &Flow, judgement: Judgement) -> Ends {
    Ends {
        sandbox: flow.source.ip().to_string(),
        bridge: flow.input.clone(),
        socket: flow.destination.to_string(),
        no_answer: no_answer(judgement),
    }
}

/// Why the service does not answer what reaches it.
fn no_answer(judgement: Judgement) -> Option<&'static str> {
    match judgement.cause? {
        Cause::NotListening | Cause::WrongBind | Cause::NotRunning => Some("nothing listens"),
        Cause::AcceptQueueFull => Some("the service's queue is full"),
        Cause::Unresponsive => Some("the service does not answer"),
        Cause::OtherProtocol | Cause::OtherCertificate | Cause::OtherOwner => Some("another service"),
        _ => None,
    }
}

/// The rules that a connection comes by, without their numbers, which others' changes move, and without chains in which nothing
/// happens to it.
fn way_of(walk: &Walk) -> Vec<(Packet, Place)> {
    let steps = walk.packets.iter().flat_map(|packet| {
        let steps = packet.steps.iter().filter(|step| step.effect != Effect::PolicyAccept);
        steps.map(|step| (packet.packet, &step.place))
    });
    let unnumbered = |place: &Place| Place { rule: place.rule.map(|_| 0), handle: None, ..place.clone() };
    steps.map(|(packet, place)| (packet, unnumbered(place))).collect()
}

/// Where the rules say another thing than the check has seen. Then no rule is named.
fn contradiction(judgement: Judgement, port: &PortEvidence, outcome: &Outcome) -> Option<String> {
    let blamed = judgement.cause.is_some_and(Cause::is_firewall);
    match outcome {
        Outcome::Open if blamed => Some(
            "the rules that could be read let these packets pass, and the check saw them stopped: something else stops them"
                .to_owned(),
        ),
        Outcome::Dropped(place) | Outcome::Rejected { place, .. }
            if judgement.verdict == Verdict::Ok && !port.stand_in =>
        {
            Some(format!("the rules stop these packets at {}, and the check saw them pass", sanitize(&place.to_string())))
        }
        _ => None,
    }
}

/// What rules alone say of a target, where nothing else can be asked: those of a snapshot.
pub(crate) fn of_walk(port: u16, walk: &Walk, rules: &Ruleset, files: &Files) -> Explanation {
    let mut notes: Vec<String> = Vec::new();
    if let Outcome::Undetermined { place, why } = &walk.outcome {
        notes.push(format!("undetermined: {} at {}", sanitize(why), sanitize(&place.to_string())));
    }
    Explanation {
        port,
        seen: RulesSeen::Rules,
        decided: decided(walk, rules, files),
        confirmed_by: vec![Method::Static],
        walk: walked(walk, |_| None),
        notes,
        ..Explanation::default()
    }
}

fn decided(walk: &Walk, rules: &Ruleset, files: &Files) -> Option<Decided> {
    let packet = walk.packets.iter().find(|packet| packet.outcome == walk.outcome)?;
    let (effect, place) = match &walk.outcome {
        Outcome::Dropped(place) => ("dropped".to_owned(), place),
        Outcome::Rejected { place, with } => (format!("rejected with {}", with.name()), place),
        Outcome::Redirected { place, to } => (format!("redirected to {to}"), place),
        _ => return None,
    };
    let way: Vec<&str> = packet.steps.iter().map(|step| step.place.chain.as_str()).collect();
    Some(Decided {
        effect,
        packet: word(packet.packet).to_owned(),
        backend: backend(place.backend).to_owned(),
        family: place.family.name().to_owned(),
        table: sanitize(&place.table),
        chain: sanitize(&place.chain),
        rule: place.rule,
        text: sanitize(&place.text),
        setting: setting(place, &way, rules, files),
    })
}

fn walked(walk: &Walk, counted: impl Fn(&Place) -> Option<u64>) -> Vec<WalkedPacket> {
    let packets = walk.packets.iter().map(|packet| {
        // A rule that sends a connection on decides once, and what comes after it goes on.
        let deciding = packet.outcome.place();
        let last = packet.steps.iter().rposition(|step| Some(&step.place) == deciding);
        let steps = packet.steps.iter().enumerate().map(|(at, step)| StepSeen {
            place: sanitize(&step.place.to_string()),
            effect: effect(&step.effect),
            counted: counted(&step.place),
            decides: Some(at) == last,
        });
        WalkedPacket { packet: word(packet.packet).to_owned(), steps: steps.collect() }
    });
    packets.collect()
}

fn word(packet: Packet) -> &'static str {
    match packet {
        Packet::Syn => "syn",
        Packet::SynAck => "syn_ack",
        Packet::Ack => "ack",
        Packet::Data => "data",
        Packet::AnswerAck => "answer_ack",
        Packet::Answer => "answer",
    }
}

fn backend(backend: Backend) -> &'static str {
    match backend {
        Backend::Legacy => "legacy",
        Backend::Nft => "nft",
        Backend::Native => "native",
    }
}

fn effect(effect: &Effect) -> String {
    match effect {
        Effect::Jump(chain) | Effect::Goto(chain) => format!("to {}", sanitize(chain)),
        Effect::Return => "return".to_owned(),
        Effect::Accept => "accept".to_owned(),
        Effect::Drop => "drop".to_owned(),
        Effect::Reject(with) => format!("reject with {}", with.name()),
        Effect::Continue => "goes on".to_owned(),
        Effect::Redirect(to) => format!("to {to}"),
        Effect::PolicyAccept => "policy: accept".to_owned(),
        Effect::PolicyDrop => "policy: drop".to_owned(),
        Effect::Undetermined => "undetermined".to_owned(),
    }
}
