//! Captured rules and a target's evidence → what may be said; pure.

use std::net::{SocketAddr, SocketAddrV4};

use ruleset::{Backend, Effect, Flow, Outcome, Packet, Place, Ruleset, Walk};

use super::capture::{Capture, CaptureError};
use super::counters::{self, Said};
use super::setting::{Files, setting};
use super::world::world;
use super::{Decided, Explanation, Method, RulesSeen, StepSeen, WalkedPacket};
use crate::evidence::{Evidence, PortEvidence};
use crate::route::{Route, bridge_gateway};
use crate::sanitize::sanitize;
use crate::standpoint::Standpoint;
use crate::verdict::{Cause, Judgement, Verdict, decide};

/// A source port, where no dial has one: what rules say of it is the same for all that programs choose.
const SOME_PORT: u16 = 40_000;

/// What is to be said of one target, and what it is said of.
pub(super) struct Case {
    pub(super) explanation: Explanation,
    /// The connection and its way, where the rules were read.
    pub(super) walked: Option<(Flow, Walk)>,
}

pub(super) struct Judge<'a> {
    pub(super) evidence: &'a Evidence,
    pub(super) before: Option<&'a Capture>,
    pub(super) files: &'a Files,
}

impl Judge<'_> {
    /// What is to be said of one target. `capture` is `None` where this process may not read the rules.
    pub(super) fn explain(
        &self,
        port: &PortEvidence,
        capture: Option<&Result<Capture, CaptureError>>,
    ) -> Case {
        let mut explanation = Explanation {
            port: port.target.port,
            seen: RulesSeen::Nothing,
            decided: None,
            confirmed_by: Vec::new(),
            walk: Vec::new(),
            remedies: Vec::new(),
            notes: Vec::new(),
        };
        let Some(flow) = flow(self.evidence, port) else {
            explanation.notes.push("the rules that decide are not on this machine".to_owned());
            return Case { explanation, walked: None };
        };
        let mut walked = None;
        match capture {
            None => {
                explanation.seen = RulesSeen::Inferred;
                explanation.notes.push("only root may read the rules: run this with sudo".to_owned());
            }
            Some(Err(error)) => explanation.notes.push(format!("the rules could not be read: {error}")),
            Some(Ok(capture)) => {
                let walk = self.with_rules(&mut explanation, port, &flow, capture);
                walked = Some((flow, walk));
            }
        }
        Case { explanation, walked }
    }

    fn with_rules(&self, to: &mut Explanation, port: &PortEvidence, flow: &Flow, capture: &Capture) -> Walk {
        to.seen = RulesSeen::Rules;
        to.notes.extend(capture.unseen.iter().map(|why| format!("not read: {why}")));
        let world = world(flow, port.return_path.as_ref());
        let walk = capture.rules.connect(flow, &world);
        let same = self.before.is_none_or(|before| before.is_same(capture));
        if !same {
            to.notes.push("the rules changed while the check ran: run it again".to_owned());
        }
        let said = match (self.before, &port.sandbox) {
            (Some(before), Some(dial)) if same => {
                let counted = capture.rules.counted_since(&before.rules);
                to.walk = walked(&walk, |place| counted.get(place).copied().flatten().map(|it| it.packets));
                counters::compare(&walk, &capture.rules, &counted, counters::sent(dial))
            }
            _ => {
                to.walk = walked(&walk, |_| None);
                Said::Nothing
            }
        };
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
        if let Outcome::Undetermined { place, why } = &walk.outcome {
            to.notes.push(format!("undetermined: {} at {}", sanitize(why), sanitize(&place.to_string())));
            return walk;
        }
        let judgement = decide(self.evidence, port);
        if let Some(note) = contradiction(judgement, port, &walk.outcome) {
            to.notes.push(note);
            return walk;
        }
        if said == Said::Disagree {
            to.notes.push(
                "the counters contradict the rules: a rule on this way counted none of the packets"
                    .to_owned(),
            );
            return walk;
        }
        if !same {
            return walk;
        }
        to.confirmed_by.push(Method::Static);
        if said == Said::Agree {
            to.confirmed_by.push(Method::Counters);
        }
        to.decided = decided(&walk, &capture.rules, self.files);
        walk
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
    Some(Flow::new(
        interface,
        SocketAddr::V4(SocketAddrV4::new(source, from)),
        SocketAddr::V4(SocketAddrV4::new(to, port.target.port)),
    ))
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
        remedies: Vec::new(),
        notes,
    }
}

fn decided(walk: &Walk, rules: &Ruleset, files: &Files) -> Option<Decided> {
    let packet = walk.packets.last()?;
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
        let deciding = packet.outcome.place();
        let last = packet.steps.len().saturating_sub(1);
        let steps = packet.steps.iter().enumerate().map(|(at, step)| StepSeen {
            place: sanitize(&step.place.to_string()),
            effect: effect(&step.effect),
            counted: counted(&step.place),
            decides: at == last && deciding == Some(&step.place),
        });
        WalkedPacket { packet: word(packet.packet).to_owned(), steps: steps.collect() }
    });
    packets.collect()
}

fn word(packet: Packet) -> &'static str {
    match packet {
        Packet::Syn => "syn",
        Packet::SynAck => "syn_ack",
        Packet::Data => "data",
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
