//! Causes in plain words.

use std::net::IpAddr;
use std::time::Duration;

use crate::dial::{Answer, Dial, Outcome};
use crate::evidence::{Evidence, PortEvidence};
use crate::identity::Identity;
use crate::listeners::Listening;
use crate::route::Route;
use crate::sanitize::sanitize;
use crate::standpoint::Standpoint;
use crate::target::Protocol;
use crate::verdict::{Cause, Judgement, Verdict, identity, is_doubted};

/// The answer in plain words, on one line.
pub(super) fn summary(evidence: &Evidence, port: &PortEvidence, judgement: Judgement) -> String {
    let place = place(evidence, port);
    match (judgement.verdict, judgement.cause) {
        (Verdict::Ok, _) if port.stand_in => {
            format!("nothing listens on {place} yet, and sandboxes would reach it: they reached a stand-in")
        }
        (_, Some(cause)) if port.stand_in && cause.is_firewall() => format!(
            "nothing listens on {place} yet, and sandboxes would be blocked: this host's firewall {} a stand-in ({})",
            if cause == Cause::Rejected { "refuses what they send to" } else { "drops the packets of" },
            ended(port)
        ),
        _ => explained(evidence, port, judgement),
    }
}

fn explained(evidence: &Evidence, port: &PortEvidence, judgement: Judgement) -> String {
    let place = place(evidence, port);
    let trouble = || evidence.trouble.as_ref().map_or_else(String::new, ToString::to_string);
    let Some(cause) = judgement.cause else {
        return match judgement.verdict {
            Verdict::Ok => connected(evidence, port, judgement, &place),
            _ => trouble(),
        };
    };
    match cause {
        Cause::Dropped => {
            format!(
                "no answer from {place}: a service listens there, and this host's firewall drops what sandboxes send"
            )
        }
        Cause::Rejected => format!(
            "{} by {place}: a service listens there, and this host's firewall refuses what sandboxes send",
            ended(port)
        ),
        Cause::ReplyDropped => format!(
            "no answer from {place}: what sandboxes send comes in, and this host's firewall drops the answers"
        ),
        Cause::ReversePath => format!("no answer from {place}: {}", way_back(port)),
        Cause::TrafficControl => format!(
            "no answer from {place}: a service listens there, and traffic control of the network's bridge drops packets ({} meanwhile)",
            evidence.drops.as_ref().map_or(0, |drops| drops.queues)
        ),
        Cause::Unresponsive => silent(port, &place),
        Cause::OtherProtocol => format!(
            "what answers on {place} is not the service: {} instead of {}",
            answer(port),
            expected(port.target.protocol)
        ),
        Cause::OtherOwner => other_owner(port, &place),
        Cause::OtherCertificate => {
            format!("what answers on {place} is not the service: the known CA did not sign its certificate")
        }
        Cause::Redirected => format!("what sandboxes send to {place} goes elsewhere: {}", elsewhere(port)),
        Cause::NotListening => format!("nothing listens on {place} ({})", ended(port)),
        Cause::WrongBind => {
            format!("nothing listens on {place}, the service listens on {} only", addresses(evidence, port))
        }
        Cause::ListenerChanged => {
            format!("the service on {place} started or stopped while the probe looked ({})", ended(port))
        }
        Cause::AcceptQueueFull => {
            format!("the service on {place} accepts no connections: its queue is full ({})", ended(port))
        }
        Cause::LinkDown => {
            format!("{place} cannot be found on the sandbox network: the bridge or its address is down")
        }
        Cause::NoRoute => format!("sandboxes have no route to {place}"),
        Cause::UnknownFromHere => {
            format!("{} at {place}; why cannot be seen from here: {}", ended(port), reason(evidence))
        }
        Cause::Undetermined if in_doubt(evidence, port).is_some() => format!(
            "{} at {place}: a service listens there, and what stops the packets of sandboxes is not to be told: {}",
            ended(port),
            in_doubt(evidence, port).unwrap_or_default()
        ),
        Cause::Inconclusive if refused_here(port) => {
            format!(
                "{} at {place}, and so is this host's own dial, although a socket listens there",
                ended(port)
            )
        }
        Cause::Inconclusive if limited(port) => format!(
            "{} at {place}, which may be a refusal that was held back: this host sends only so many at once",
            ended(port)
        ),
        Cause::Inconclusive if too_short(port) => {
            format!(
                "{} at {place}, which is too short for a verdict: TCP repeats itself after 1 s",
                ended(port)
            )
        }
        Cause::Inconclusive
            if port.sandbox.as_ref().is_some_and(|dial| dial.outcome == Outcome::Connected) =>
        {
            format!(
                "{place} answers {}, and the next connection, which would tell more, failed",
                answer(port)
            )
        }
        Cause::Undetermined | Cause::Inconclusive => {
            format!("{} at {place}, and the facts do not add up to one reason", ended(port))
        }
        Cause::NameResolution => resolution(evidence),
        Cause::AliasMismatch => mismatch(evidence),
        Cause::NotRunning => "not running: nothing listens on the port".to_owned(),
        _ => trouble(),
    }
}

/// The summary where all rules let pass what was stopped.
pub(super) fn innocent(evidence: &Evidence, port: &PortEvidence) -> String {
    format!(
        "{} at {}: a service listens there, and every rule of this host lets pass what sandboxes send, so something else stops it",
        ended(port),
        place(evidence, port)
    )
}

/// What besides rules may have stopped the packets.
pub(super) fn in_doubt(evidence: &Evidence, port: &PortEvidence) -> Option<String> {
    let drops = evidence.drops.as_ref().filter(|_| is_doubted(evidence, port))?;
    let count = |number: u64| match number {
        1 => "1 packet".to_owned(),
        _ => format!("{number} packets"),
    };
    if drops.queues > 0 {
        let packets = count(drops.queues);
        return Some(format!(
            "traffic control dropped {packets} of the bridge meanwhile, whosever they were"
        ));
    }
    if !drops.programs.is_empty() {
        let names: Vec<String> = drops.programs.iter().map(|name| sanitize(name)).collect();
        return Some(format!("an XDP program is on {}", names.join(", ")));
    }
    let (name, number) = drops.host.iter().max_by_key(|(_, number)| **number)?;
    Some(format!("this host counted {} as {} meanwhile, whosever they were", count(*number), sanitize(name)))
}

/// `172.18.0.1:8080`.
fn place(evidence: &Evidence, port: &PortEvidence) -> String {
    let number = port.target.port;
    let dialled = port.sandbox.as_ref().map(|dial| dial.address);
    match dialled.or_else(|| evidence.route.and_then(Route::address)) {
        Some(address) => format!("{address}:{number}"),
        None => format!("port {number}"),
    }
}

fn connected(evidence: &Evidence, port: &PortEvidence, judgement: Judgement, place: &str) -> String {
    let known = &port.identity;
    let vouched = match (identity(evidence, port, judgement), &known.owner, &known.certificate) {
        (Identity::Certificate, ..) => ", and the known CA signed its certificate".to_owned(),
        (Identity::Owner, Some(owner), _) => format!(", and user {owner} holds it"),
        (_, _, Some(certificate)) => format!(", and its certificate is not verified: {}", certificate.detail),
        (_, Some(_), _) => ", and whose it is is not known".to_owned(),
        _ => String::new(),
    };
    match &port.sandbox {
        Some(dial) => format!("sandboxes reach {place} ({:.1} ms){vouched}", milliseconds(dial)),
        None => format!("sandboxes reach {place}{vouched}"),
    }
}

fn other_owner(port: &PortEvidence, place: &str) -> String {
    let known = &port.identity;
    let owner = known.owner.as_ref().map_or_else(String::new, ToString::to_string);
    let uid = known.held_by.map_or_else(|| "another".to_owned(), |uid| uid.to_string());
    let program = holder(port).map_or_else(String::new, |program| format!(" ({program})"));
    format!("what answers on {place} is not the service: user {uid}{program} holds it, and not {owner}")
}

/// The program that holds the socket, where it is to be seen.
pub(super) fn holder(port: &PortEvidence) -> Option<String> {
    let holders = &port.identity.holders;
    let held = holders.iter().find(|it| port.identity.held_by.is_none_or(|uid| it.uid == uid));
    let (pid, program) = held.and_then(|it| Some((it.pid?, it.program.as_ref()?)))?;
    Some(format!("{}, process {pid}", sanitize(program)))
}

fn milliseconds(dial: &Dial) -> f64 {
    Duration::from_micros(dial.elapsed_us).as_secs_f64() * 1000.0
}

/// How the sandbox's dial ended, in a few words.
fn ended(port: &PortEvidence) -> String {
    let Some(dial) = &port.sandbox else { return "not dialled".to_owned() };
    let icmp =
        dial.refusal().map_or_else(String::new, |icmp| format!(" with ICMP {}/{}", icmp.kind, icmp.code));
    match &dial.outcome {
        Outcome::Connected => "connected".to_owned(),
        Outcome::TimedOut => format!("no answer within {:.1} s", milliseconds(dial) / 1000.0),
        outcome if outcome.is_error("ECONNREFUSED") => format!("refused{icmp}"),
        Outcome::Failed { name, .. } => format!("{}{icmp}", sanitize(name)),
    }
}

/// A service that takes connections and says nothing.
fn silent(port: &PortEvidence, place: &str) -> String {
    let dial = port.sandbox.as_ref();
    let hung_up = dial.is_some_and(|dial| dial.greetings.iter().any(|greeted| greeted.closed));
    if hung_up {
        return format!("the service on {place} takes the connection and hangs up without a word");
    }
    let waited: u64 = dial.iter().flat_map(|dial| &dial.greetings).map(|greeted| greeted.elapsed_us).sum();
    let waited = Duration::from_micros(waited).as_secs_f64();
    format!("the service on {place} takes the connection and says nothing for {waited:.1} s")
}

/// What came back instead of what was expected, in a few words.
fn answer(port: &PortEvidence) -> String {
    let greetings = port.sandbox.iter().flat_map(|dial| &dial.greetings);
    match greetings.filter_map(|greeted| Some((greeted.kind?, &greeted.answer))).next_back() {
        Some((Answer::Tls, _)) => "TLS".to_owned(),
        Some((Answer::Http2, _)) => "HTTP/2".to_owned(),
        Some((Answer::Http1, _)) => "HTTP/1".to_owned(),
        Some((Answer::Other, hex)) => format!("'{}'", first_line(hex)),
        None => "another protocol".to_owned(),
    }
}

/// The first line of an answer in hexadecimal, safe to print.
fn first_line(hex: &str) -> String {
    let byte = |at: usize| hex.get(at..at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
    let bytes: Vec<u8> = (0..hex.len()).step_by(2).map_while(byte).collect();
    let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    sanitize(&String::from_utf8_lossy(&line[..line.len().min(40)]))
}

fn expected(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Grpc => "gRPC",
        Protocol::Http => "HTTP/1",
        Protocol::Tcp => "a connection",
    }
}

fn elsewhere(port: &PortEvidence) -> String {
    match port.published_by.first() {
        Some(name) => format!("the port is published for the container {}", sanitize(name)),
        None => "no socket of this host has the connection, so a rule of the nat table takes it".to_owned(),
    }
}

fn way_back(port: &PortEvidence) -> String {
    let Some(path) = &port.return_path else { return "the way back is not the way in".to_owned() };
    let through = path.interface.as_deref().map_or_else(
        || "there is no route back".to_owned(),
        |name| format!("this host's route back to {} leads through {}", path.to, sanitize(name)),
    );
    if path.rp_filter == Some(1) {
        format!("{through}, and rp_filter drops what does not come in by it")
    } else {
        through
    }
}

pub(super) fn limited(port: &PortEvidence) -> bool {
    port.sandbox.as_ref().is_some_and(|dial| dial.limited)
}

/// Whether the time-out ended before the kernel had a reason to dial twice.
pub(super) fn too_short(port: &PortEvidence) -> bool {
    port.sandbox.as_ref().is_some_and(|dial| dial.outcome == Outcome::TimedOut && !dial.was_repeated())
}

fn refused_here(port: &PortEvidence) -> bool {
    port.host.as_ref().is_some_and(|dial| dial.outcome.is_error("ECONNREFUSED"))
}

/// Where the service listens instead.
fn addresses(evidence: &Evidence, port: &PortEvidence) -> String {
    let index = match evidence.standpoint {
        Some(Standpoint::EngineHost { index, .. }) => index,
        _ => 0,
    };
    let Some(address) = evidence.route.and_then(Route::address) else { return "another address".to_owned() };
    let listening =
        Listening::between(port.listeners_before.as_deref(), port.listeners_after.as_deref(), address, index);
    let Listening::Elsewhere { addresses } = listening else { return "another address".to_owned() };
    let shown = |address: &IpAddr| match address {
        IpAddr::V4(v4) => format!("{v4}:{}", port.target.port),
        IpAddr::V6(v6) => format!("[{v6}]:{}", port.target.port),
    };
    addresses.iter().map(shown).collect::<Vec<_>>().join(", ")
}

fn reason(evidence: &Evidence) -> String {
    match &evidence.standpoint {
        Some(Standpoint::Elsewhere { reason }) => sanitize(reason),
        _ => "the engine's host is not here".to_owned(),
    }
}

fn resolution(evidence: &Evidence) -> String {
    let Some(resolution) = &evidence.resolution else { return "the alias was not resolved".to_owned() };
    let alias = sanitize(&resolution.alias);
    match (&resolution.error, resolution.addresses.as_slice()) {
        (Some(error), _) => format!("sandboxes cannot resolve {alias}: {}", sanitize(error)),
        (None, []) => format!("sandboxes cannot resolve {alias}"),
        (None, _) => format!("{alias} has no IPv4 address in a sandbox"),
    }
}

fn mismatch(evidence: &Evidence) -> String {
    let expected = evidence.route.and_then(Route::address);
    let dialled = evidence.resolution.as_ref().and_then(|resolution| resolution.dialled());
    match (expected, dialled, &evidence.resolution) {
        (Some(expected), Some(dialled), Some(resolution)) => {
            format!("{} resolves to {dialled} in a sandbox, not to {expected}", sanitize(&resolution.alias))
        }
        _ => "the alias resolves to another address".to_owned(),
    }
}
