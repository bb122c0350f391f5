//! Evidence → verdict. Pure: the same evidence always gives the same answer, and no trouble with the tools ever becomes
//! a statement about the network.
//!
//! A firewall is named only when everything else is excluded: the socket table proves a listener before and after, the
//! alias led to the expected address, the next hop answered ARP, and this process stands in the engine's host
//! namespace. The order of the questions below is that proof.

mod doubt;
mod grounds;
mod identity;

use std::net::Ipv4Addr;

pub(crate) use doubt::is_doubted;
pub use grounds::{Confidence, Ground, grounds};
pub use identity::identity;

use doubt::unless_counted;
use serde::{Deserialize, Serialize};

use crate::dial::{Answer, Dial, Greeted, Outcome};
use crate::engine::EngineTrouble;
use crate::evidence::{Evidence, PortEvidence, Trouble};
use crate::explain::Explanation;
use crate::image::ImageError;
use crate::listeners::{HostSide, Listener, Listening};
use crate::route::RouteError;
use crate::standpoint::Standpoint;
use crate::target::Protocol;

/// The stable outer answer about a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// A sandbox reaches the service.
    Ok,
    /// A sandbox cannot connect, or has no answer over the connection.
    TcpFailed,
    /// What a sandbox sends gets to something else than the service.
    WrongService,
    /// There is no network that a sandbox could join.
    NetworkNotFound,
    /// It could not be found out. Says nothing about the target.
    ProbeUnavailable,
    /// Nothing to find out.
    Skipped,
}

/// The typed reason inside a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// This host's firewall drops the packets of sandboxes.
    Dropped,
    /// This host's firewall refuses the packets of sandboxes.
    Rejected,
    /// The packets of sandboxes come in, and this host's firewall drops the answers.
    ReplyDropped,
    /// This host's route back to sandboxes leads elsewhere, so that their packets or the answers are lost.
    ReversePath,
    /// Traffic control of the network's bridge drops the packets of sandboxes or the answers, below the firewall. Since 1.6.
    TrafficControl,
    /// Nothing listens on the port.
    NotListening,
    /// Something listens on the port, but not on the address that sandboxes dial.
    WrongBind,
    /// What listened changed while the probe looked.
    ListenerChanged,
    /// The service does not accept, and its queue of connections is full.
    AcceptQueueFull,
    /// The connection is there, and the service says nothing, or hangs up without a word.
    Unresponsive,
    /// What answers speaks another protocol than the service.
    OtherProtocol,
    /// Another user than the declared owner holds the service's socket.
    OtherOwner,
    /// The service's certificate is not signed by the known authority.
    OtherCertificate,
    /// The packets are taken to another place than this host's own service, such as a container that the port is published
    /// for.
    Redirected,
    /// The container could not reach the next hop at all.
    LinkDown,
    /// The container has no route to the address.
    NoRoute,
    /// The connection failed, and the reason lies on a host that cannot be seen from here.
    UnknownFromHere,
    /// The facts do not add up to one reason.
    Undetermined,
    /// The facts contradict each other, or are too few to say whether a sandbox can connect.
    Inconclusive,
    /// The alias does not resolve.
    NameResolution,
    /// The alias resolves to another address than OpenShell's route has.
    AliasMismatch,
    /// The engine does not answer.
    DaemonUnreachable,
    /// The engine's socket may not be opened.
    PermissionDenied,
    /// The engine answered with an error, or with something that is no answer.
    EngineError,
    /// The dialer's image is not to be had.
    ImageUnavailable,
    /// There is no place on the network to dial from without a container. Since 1.5.
    VantageUnavailable,
    /// The probe's container gave no answer in time.
    ProbeTimeout,
    /// The probe's container ran and said nothing usable.
    ProbeFailed,
    /// A signal ended the check.
    Interrupted,
    /// The network has no IPv4 gateway, so OpenShell cannot use it.
    NoIpv4Gateway,
    /// The network's gateway is no address, so OpenShell cannot use it.
    InvalidGateway,
    /// The network is no bridge network, so OpenShell cannot use it.
    NotABridge,
    /// An optional target that nothing listens for.
    NotRunning,
    /// On WSL the Ollama proxy is not used.
    Wsl,
}

impl Cause {
    /// Whether this blames a firewall.
    #[must_use]
    pub fn is_firewall(self) -> bool {
        matches!(self, Self::Dropped | Self::Rejected | Self::ReplyDropped)
    }
}

/// A verdict and its cause; `ok` has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The outer answer.
    pub verdict: Verdict,
    /// The reason.
    pub cause: Option<Cause>,
}

impl Judgement {
    fn ok() -> Self {
        Self { verdict: Verdict::Ok, cause: None }
    }

    fn failed(cause: Cause) -> Self {
        Self { verdict: Verdict::TcpFailed, cause: Some(cause) }
    }

    fn wrong(cause: Cause) -> Self {
        Self { verdict: Verdict::WrongService, cause: Some(cause) }
    }

    fn unavailable(cause: Cause) -> Self {
        Self { verdict: Verdict::ProbeUnavailable, cause: Some(cause) }
    }

    /// The same with what is known of the rules: a firewall that lets the packets pass is not to blame that they are stopped.
    #[must_use]
    pub fn knowing(self, explanation: &Explanation) -> Self {
        match self.cause {
            Some(cause) if cause.is_firewall() && explanation.lets_pass => Self::failed(Cause::Undetermined),
            _ => self,
        }
    }

    fn not_running() -> Self {
        Self { verdict: Verdict::Skipped, cause: Some(Cause::NotRunning) }
    }
}

/// What `evidence` says of the target of `port`.
#[must_use]
pub fn decide(evidence: &Evidence, port: &PortEvidence) -> Judgement {
    let index = match evidence.standpoint {
        Some(Standpoint::EngineHost { index, .. }) => Some(index),
        _ => None,
    };
    if index.is_some() && idle(port) && port.sandbox.is_none() {
        return Judgement::not_running();
    }
    if let Some(trouble) = &evidence.trouble {
        return of_trouble(trouble);
    }
    let Some(dialled) = evidence.resolution.as_ref().and_then(|resolution| resolution.dialled()) else {
        return Judgement::unavailable(Cause::NameResolution);
    };
    if let Some(expected) = evidence.route.and_then(|route| route.address())
        && expected != dialled
    {
        return Judgement::unavailable(Cause::AliasMismatch);
    }
    let Some(dial) = &port.sandbox else {
        return Judgement::unavailable(Cause::ProbeFailed);
    };
    if dial.outcome == Outcome::Connected {
        return connected(evidence, port, dial, index);
    }
    let Some(index) = index else {
        // Nothing of the port is to be seen here and a closed port answered there: it is most likely not in use.
        let closed = dial.outcome.is_error("ECONNREFUSED") && dial.refusal().is_none();
        let unused = closed && idle(port);
        return if unused { Judgement::not_running() } else { Judgement::failed(Cause::UnknownFromHere) };
    };
    let listening = listening(port, dialled, index);
    if !port.target.required && listening == Listening::Nowhere {
        return Judgement::not_running();
    }
    match seen_from_the_host(evidence, port, dial, &listening) {
        cause @ Cause::Inconclusive => Judgement::unavailable(cause),
        cause @ Cause::Redirected => Judgement::wrong(cause),
        cause => Judgement::failed(cause),
    }
}

/// An optional target that nothing listens for.
fn idle(port: &PortEvidence) -> bool {
    let empty = |table: &Option<Vec<_>>| table.as_ref().is_some_and(Vec::is_empty);
    !port.target.required && empty(&port.listeners_before) && empty(&port.listeners_after)
}

fn listening(port: &PortEvidence, dialled: Ipv4Addr, bridge: u32) -> Listening {
    Listening::between(port.listeners_before.as_deref(), port.listeners_after.as_deref(), dialled, bridge)
}

/// The handshake completed. What came after it says whether there is a service, and whether it is the right one; the
/// doubt is the service's benefit wherever it answers at all.
fn connected(evidence: &Evidence, port: &PortEvidence, dial: &Dial, bridge: Option<u32>) -> Judgement {
    let listening = bridge.map(|index| listening(port, dial.address, index));
    if port.ends_elsewhere() && listening.as_ref().is_some_and(|listening| redirected(port, dial, listening))
    {
        return Judgement::wrong(Cause::Redirected);
    }
    let met = |greeted: &Greeted| match port.protocol() {
        Protocol::Grpc => matches!(greeted.kind, Some(Answer::Tls | Answer::Http2)),
        Protocol::Http => greeted.kind == Some(Answer::Http1),
        Protocol::Tcp => greeted.acknowledged,
    };
    let any = |wanted: &dyn Fn(&Greeted) -> bool| dial.greetings.iter().any(wanted);
    if any(&met) {
        return identity::stranger(port, dial.address, bridge).map_or_else(Judgement::ok, Judgement::wrong);
    }
    if dial.greetings.is_empty() {
        return Judgement::unavailable(Cause::ProbeFailed);
    }
    if any(&|greeted| greeted.kind.is_some()) {
        // A gateway without TLS answers the ClientHello as bad HTTP: only what answers the other greeting so too is none.
        let greetings = if port.protocol() == Protocol::Grpc { 2 } else { 1 };
        let all =
            dial.greetings.len() >= greetings && dial.greetings.iter().all(|greeted| greeted.acknowledged);
        return if all {
            Judgement::wrong(Cause::OtherProtocol)
        } else {
            Judgement::unavailable(Cause::Inconclusive)
        };
    }
    let Some(listening) = listening else {
        // A forwarder takes the connection before it knows whether there is a service behind it.
        let silent = any(&|greeted| greeted.acknowledged && !greeted.closed);
        return Judgement::failed(if silent { Cause::Unresponsive } else { Cause::UnknownFromHere });
    };
    let complete = evidence.next_hop.as_ref().is_some_and(|hop| hop.complete);
    let proven = complete && listening == Listening::Proven { queue_full: false };
    if proven && port.host_side == Some(HostSide::Unacknowledged) {
        // Whether the service answers or only its kernel acknowledges: what this host sends is lost.
        return Judgement::failed(if astray(evidence, port) {
            Cause::ReversePath
        } else {
            unless_counted(evidence, dial, Cause::ReplyDropped)
        });
    }
    if any(&|greeted| greeted.acknowledged) {
        return Judgement::failed(Cause::Unresponsive);
    }
    // Nothing after the handshake arrives: also where the kernel has no room for one more connection, because the last
    // packet of the handshake is dropped then.
    Judgement::failed(match listening {
        Listening::Proven { queue_full: true } => Cause::AcceptQueueFull,
        Listening::Proven { queue_full: false } if complete && dial.was_refused_late() => Cause::Rejected,
        Listening::Proven { queue_full: false } if complete => unless_counted(evidence, dial, Cause::Dropped),
        Listening::Changed => Cause::ListenerChanged,
        _ => Cause::Undetermined,
    })
}

/// Whether a connection that ends in another place than this host should have ended here. A container that the port is
/// published for is a service's proper place, unless this host has a service of its own on the very address.
fn redirected(port: &PortEvidence, dial: &Dial, listening: &Listening) -> bool {
    let own = |listeners: &Option<Vec<Listener>>| {
        listeners.iter().flatten().any(|listener| listener.address == dial.address)
    };
    match listening {
        Listening::Unknown | Listening::Changed => false,
        Listening::Proven { .. } => port.published_by.is_empty() || own(&port.listeners_before),
        Listening::Elsewhere { .. } | Listening::Nowhere => port.published_by.is_empty(),
    }
}

/// The cause of a failed dial, from inside the engine's host namespace.
fn seen_from_the_host(evidence: &Evidence, port: &PortEvidence, dial: &Dial, listening: &Listening) -> Cause {
    // Whether the next hop answered ARP, `None` when the container's table has no entry for it.
    let neighbour = evidence.next_hop.as_ref().map(|hop| hop.complete);
    let answered = dial.refusal().is_some() || dial.outcome.is_error("ECONNREFUSED");
    if neighbour != Some(true) && !answered {
        return if dial.outcome.is_error("ENETUNREACH") {
            Cause::NoRoute
        } else if neighbour == Some(false) && back_through_another(evidence, port) {
            // A host does not answer the ARP of an address that it would reach through another interface either.
            Cause::ReversePath
        } else if neighbour == Some(false) {
            Cause::LinkDown
        } else {
            Cause::Undetermined
        };
    }
    if !port.published_by.is_empty() && *listening != Listening::Changed {
        return Cause::Redirected;
    }
    match listening {
        Listening::Unknown => return Cause::Undetermined,
        Listening::Nowhere => return Cause::NotListening,
        Listening::Elsewhere { .. } => return Cause::WrongBind,
        Listening::Changed => return Cause::ListenerChanged,
        Listening::Proven { queue_full: true } => return Cause::AcceptQueueFull,
        Listening::Proven { queue_full: false } => {}
    }
    if neighbour != Some(true) {
        return Cause::Undetermined;
    }
    if dial.refusal().is_some() {
        return Cause::Rejected;
    }
    // A kernel does not refuse what one of its sockets listens for: a firewall does, and the same rule may refuse the
    // host's own dial. But a refusal here and silence there are not one rule's doing, and no firewall is blamed on that.
    // The host's timeout says nothing, because the same rule may drop it.
    let contradicted = port.host.as_ref().is_some_and(|dial| dial.outcome.is_error("ECONNREFUSED"));
    match &dial.outcome {
        Outcome::TimedOut if contradicted => Cause::Inconclusive,
        Outcome::TimedOut => silence(evidence, port, dial),
        outcome if outcome.is_error("ECONNREFUSED") => Cause::Rejected,
        _ => Cause::Undetermined,
    }
}

/// Why the SYNs to a proven listener stay without an answer.
fn silence(evidence: &Evidence, port: &PortEvidence, dial: &Dial) -> Cause {
    match port.host_side {
        // With or without a firewall: a strict filter drops what comes in, and no answer gets back.
        _ if astray(evidence, port) => Cause::ReversePath,
        // The SYN came in: what is lost is the answer to it.
        Some(HostSide::HalfOpen) => unless_counted(evidence, dial, Cause::ReplyDropped),
        // The host sends refusals only so often, and this may have been one.
        _ if dial.limited => Cause::Inconclusive,
        // A single SYN may have met a busy moment. What stays unanswered when it is repeated (first after 1 s) is dropped.
        _ if dial.was_repeated() => unless_counted(evidence, dial, Cause::Dropped),
        _ => Cause::Inconclusive,
    }
}

/// Whether this host's way back to the sandbox does not lead through the network's bridge.
fn astray(evidence: &Evidence, port: &PortEvidence) -> bool {
    let bridge = match evidence.standpoint {
        Some(Standpoint::EngineHost { index, .. }) => Some(index),
        _ => None,
    };
    port.return_path.as_ref().is_some_and(|path| path.index != bridge)
}

/// Whether it leads through another interface. It leads nowhere also when the bridge is down.
fn back_through_another(evidence: &Evidence, port: &PortEvidence) -> bool {
    port.return_path.as_ref().is_some_and(|path| path.index.is_some()) && astray(evidence, port)
}

fn of_trouble(trouble: &Trouble) -> Judgement {
    let cause = match trouble {
        Trouble::NetworkNotFound { .. } => {
            return Judgement { verdict: Verdict::NetworkNotFound, cause: None };
        }
        Trouble::Engine(_) => trouble.engine().map_or(Cause::EngineError, of_engine),
        Trouble::Route(RouteError::NoIpv4Gateway) => Cause::NoIpv4Gateway,
        Trouble::Route(RouteError::InvalidGateway { .. }) => Cause::InvalidGateway,
        Trouble::Route(RouteError::NotABridge { .. }) => Cause::NotABridge,
        Trouble::Image(ImageError::Engine(_)) => match trouble.engine().map(of_engine) {
            Some(cause @ (Cause::DaemonUnreachable | Cause::PermissionDenied)) => cause,
            _ => Cause::ImageUnavailable,
        },
        Trouble::Image(_) => Cause::ImageUnavailable,
        // The engine answered before: what is late now is the container.
        Trouble::Container(error) if matches!(error.trouble, EngineTrouble::Silent { .. }) => {
            Cause::ProbeTimeout
        }
        Trouble::Container(error) => of_engine(&error.trouble),
        Trouble::Interrupted => Cause::Interrupted,
        Trouble::Wsl => return Judgement { verdict: Verdict::Skipped, cause: Some(Cause::Wsl) },
        Trouble::Protocol(_) => Cause::ProbeFailed,
        Trouble::Vantage(_) => Cause::VantageUnavailable,
    };
    Judgement::unavailable(cause)
}

fn of_engine(trouble: &EngineTrouble) -> Cause {
    match trouble {
        EngineTrouble::Unreachable { .. }
        | EngineTrouble::Silent { .. }
        | EngineTrouble::Unsupported { .. } => Cause::DaemonUnreachable,
        EngineTrouble::PermissionDenied => Cause::PermissionDenied,
        EngineTrouble::Refused { .. } | EngineTrouble::Garbled { .. } => Cause::EngineError,
    }
}

#[cfg(test)]
mod tests;
