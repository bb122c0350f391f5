//! What a judgement rests on, as the report names it, and how far it may be trusted.

use serde::{Deserialize, Serialize};

use super::{Cause, Judgement, Verdict, identity, is_doubted, listening};
use crate::dial::Outcome;
use crate::evidence::{Evidence, PortEvidence};
use crate::identity::Identity;
use crate::listeners::{HostSide, Listening};
use crate::standpoint::Standpoint;

/// How far the cause may be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// Evidence of this very connection decides, and every other known reason is excluded.
    Proven,
    /// Every other known reason is excluded, and one fact is inferred.
    Likely,
    /// The cause is not known.
    #[default]
    Unknown,
}

/// A piece of evidence that a judgement rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ground {
    /// The probe does not stand in the network namespace of the engine's host.
    NotOnTheEnginesHost,
    /// The next hop answered ARP.
    NextHopAnswers,
    /// The next hop did not answer ARP.
    NextHopSilent,
    /// The container's own kernel refused to send.
    NotSent,
    /// The same socket listened for the address before and after.
    ListenerProven,
    /// Its queue of connections is full.
    QueueFull,
    /// Sockets listen on the port, on other addresses.
    ListenerElsewhere,
    /// No socket listens on the port.
    NoListener,
    /// What listened changed between the two readings.
    ListenerChanged,
    /// The table of sockets could not be read.
    ListenersUnknown,
    /// The SYN was repeated and stayed without an answer.
    SynsUnanswered,
    /// The only SYN stayed without an answer.
    OneSynUnanswered,
    /// An ICMP message refused the connection.
    RefusedByIcmp,
    /// A TCP reset refused the connection.
    RefusedByReset,
    /// The handshake completed.
    Connected,
    /// The service answered a greeting in its own protocol.
    AnsweredInItsProtocol,
    /// The peer's kernel acknowledged what was sent.
    Acknowledged,
    /// Something answered in another protocol.
    AnsweredInAnother,
    /// A greeting was acknowledged, and nothing came back.
    GreetingUnanswered,
    /// A greeting was not acknowledged.
    GreetingUnacknowledged,
    /// The peer ended the connection without a word.
    HungUp,
    /// This host has a half-open connection: the SYN came in, and the answer to it was not acknowledged.
    HalfOpenHere,
    /// What the sandbox said came in here, and what this host says to it does not get back. Since 1.6.
    UnheardHere,
    /// No socket of this host has the connection.
    NoSocketHere,
    /// The engine says that the port is published for a container.
    Published,
    /// This host's route back does not lead through the bridge.
    ReturnPathElsewhere,
    /// Traffic control has dropped packets on the bridge or its ports meanwhile, as many as stayed without an answer. Since 1.6.
    QueuesDropped,
    /// It has dropped some, but fewer. Since 1.6.
    QueuesDroppedSome,
    /// An XDP program is on the bridge or its ports. Since 1.6.
    XdpProgram,
    /// IPsec or TCP have dropped packets on this host meanwhile, for which it counts them. Since 1.6.
    HostDropped,
    /// Every rule of this host lets these packets pass, where all could be read. Since 1.6.
    RulesLetPass,
    /// This host's own dial to the same address is refused.
    HostsDialRefused,
    /// The declared owner holds the service's socket.
    HeldByItsOwner,
    /// Another user than the declared owner does, before and after, and has the sandbox's connection.
    HeldByAnother,
    /// The service's certificate is signed by the known authority, and the service has its key.
    CertificateOfTheKnownAuthority,
    /// It is signed by another one.
    CertificateOfAnotherAuthority,
    /// Refusals are rationed, and others were sent at the same time.
    RefusalsRationed,
}

/// What `judgement` about `port` rests on, the deciding pieces last.
#[must_use]
pub fn grounds(evidence: &Evidence, port: &PortEvidence, judgement: Judgement) -> (Confidence, Vec<Ground>) {
    let mut because = Vec::new();
    let dialled = matches!(judgement.verdict, Verdict::Ok | Verdict::TcpFailed | Verdict::WrongService)
        || judgement.cause == Some(Cause::Inconclusive);
    if let (true, Some(dial)) = (dialled, &port.sandbox) {
        match &evidence.standpoint {
            Some(Standpoint::EngineHost { index, .. }) => {
                because.extend(evidence.next_hop.as_ref().map(|hop| match hop.complete {
                    true => Ground::NextHopAnswers,
                    false => Ground::NextHopSilent,
                }));
                match listening(port, dial.address, *index) {
                    Listening::Unknown => because.push(Ground::ListenersUnknown),
                    Listening::Changed => because.push(Ground::ListenerChanged),
                    Listening::Elsewhere { .. } => because.push(Ground::ListenerElsewhere),
                    Listening::Nowhere => because.push(Ground::NoListener),
                    Listening::Proven { queue_full } => {
                        because.push(Ground::ListenerProven);
                        because.extend(queue_full.then_some(Ground::QueueFull));
                    }
                }
            }
            _ => because.push(Ground::NotOnTheEnginesHost),
        }
        because.push(match &dial.outcome {
            Outcome::Connected => Ground::Connected,
            Outcome::TimedOut if dial.was_repeated() => Ground::SynsUnanswered,
            Outcome::TimedOut => Ground::OneSynUnanswered,
            Outcome::Failed { .. } if dial.refusal().is_some() => Ground::RefusedByIcmp,
            outcome if outcome.is_error("ECONNREFUSED") => Ground::RefusedByReset,
            Outcome::Failed { .. } if dial.unresolved_neighbour() => Ground::NextHopSilent,
            Outcome::Failed { .. } => Ground::NotSent,
        });
        let refused = port.host.as_ref().is_some_and(|dial| dial.outcome.is_error("ECONNREFUSED"));
        because.extend((refused && judgement.verdict != Verdict::Ok).then_some(Ground::HostsDialRefused));
        because.extend(dial.limited.then_some(Ground::RefusalsRationed));
        because.extend(of_the_greetings(port, judgement));
        match port.host_side {
            Some(HostSide::HalfOpen) => because.push(Ground::HalfOpenHere),
            Some(HostSide::Unacknowledged) => because.push(Ground::UnheardHere),
            Some(HostSide::Absent) if port.ends_elsewhere() => because.push(Ground::NoSocketHere),
            _ => {}
        }
        because.extend(beside_rules(evidence, port, judgement));
        because.extend((!port.published_by.is_empty()).then_some(Ground::Published));
        let elsewhere = judgement.cause == Some(Cause::ReversePath);
        because.extend(elsewhere.then_some(Ground::ReturnPathElsewhere));
        because.extend(match (judgement.cause, identity(evidence, port, judgement)) {
            (Some(Cause::OtherOwner), _) => Some(Ground::HeldByAnother),
            (Some(Cause::OtherCertificate), _) => Some(Ground::CertificateOfAnotherAuthority),
            (_, Identity::Owner) => Some(Ground::HeldByItsOwner),
            (_, Identity::Certificate) => Some(Ground::CertificateOfTheKnownAuthority),
            (_, Identity::Unverified) => None,
        });
        because.dedup();
    }
    (confidence(judgement, &because), because)
}

/// What besides rules may have dropped the packets, where that changes the cause.
fn beside_rules(evidence: &Evidence, port: &PortEvidence, judgement: Judgement) -> Option<Ground> {
    let drops = evidence.drops.as_ref().filter(|_| is_doubted(evidence, port))?;
    match judgement.cause? {
        Cause::TrafficControl => Some(Ground::QueuesDropped),
        Cause::Undetermined if drops.queues > 0 => Some(Ground::QueuesDroppedSome),
        Cause::Undetermined if !drops.programs.is_empty() => Some(Ground::XdpProgram),
        Cause::Undetermined if !drops.host.is_empty() => Some(Ground::HostDropped),
        _ => None,
    }
}

fn of_the_greetings(port: &PortEvidence, judgement: Judgement) -> Option<Ground> {
    let dial = port.sandbox.as_ref()?;
    let last = dial.greetings.last()?;
    Some(match (judgement.cause, last.kind) {
        (None, Some(_)) => Ground::AnsweredInItsProtocol,
        (None, None) if last.acknowledged => Ground::Acknowledged,
        (Some(Cause::OtherOwner), None) if last.acknowledged => Ground::Acknowledged,
        (Some(Cause::OtherProtocol), _) => Ground::AnsweredInAnother,
        _ if dial.was_refused_late() => Ground::RefusedByIcmp,
        _ if last.closed => Ground::HungUp,
        (_, Some(_)) => Ground::AnsweredInItsProtocol,
        _ if last.acknowledged => Ground::GreetingUnanswered,
        _ => Ground::GreetingUnacknowledged,
    })
}

fn confidence(judgement: Judgement, because: &[Ground]) -> Confidence {
    match judgement.cause {
        Some(Cause::UnknownFromHere | Cause::Undetermined | Cause::Inconclusive) => Confidence::Unknown,
        // That it was not the service itself that reset the connection is inferred from its socket.
        Some(Cause::Rejected) if because.contains(&Ground::RefusedByReset) => Confidence::Likely,
        // That nothing below the firewall dropped it that is counted nowhere, such as a program of tcx, is inferred.
        Some(Cause::Dropped | Cause::ReplyDropped) => Confidence::Likely,
        // That the packets that were dropped are these.
        Some(Cause::TrafficControl) => Confidence::Likely,
        _ => Confidence::Proven,
    }
}
