//! The way of a packet as a row of stations, and where it stopped. Pure: a report gives a picture.

use std::fmt::Write as _;

use probe::{Cause, Decided, Outcome, PortEvidence, Report, Route, TargetReport, Verdict};

use super::html::text;

/// A place on the way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Station {
    pub(super) name: &'static str,
    pub(super) state: State,
    /// What is known of it, a line each.
    pub(super) lines: Vec<String>,
}

/// Whether the packet came through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
    Passed,
    Stopped,
    /// It stopped before that.
    NotReached,
    /// It cannot be told.
    Unknown,
}

impl State {
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Passed => ("passed", "✓ passed"),
            Self::Stopped => ("stopped", "✗ stopped here"),
            Self::NotReached => ("beyond", "not reached"),
            Self::Unknown => ("unknown", "? not known"),
        }
    }
}

const SANDBOX: usize = 0;
const BRIDGE: usize = 1;
const PREROUTING: usize = 2;
const INPUT: usize = 3;
const SOCKET: usize = 4;
const ANSWER: usize = 5;
const SERVICE: usize = 6;

const NAMES: [&str; 7] = ["sandbox", "bridge", "PREROUTING", "INPUT", "socket", "way back", "service"];

/// The stations of a target's packet.
pub(super) fn stations(report: &Report, target: &TargetReport) -> Vec<Station> {
    let port = report.evidence.ports.iter().find(|port| port.target.port == target.port);
    let stop = stop(target);
    let station = |(index, name): (usize, &&'static str)| {
        let state = match stop {
            Stop::Nowhere => State::Passed,
            Stop::Before => State::NotReached,
            Stop::Unknown if index == SANDBOX => State::Passed,
            Stop::Unknown => State::Unknown,
            Stop::At(stop) if index < stop => State::Passed,
            Stop::At(stop) if index == stop => State::Stopped,
            Stop::At(_) => State::NotReached,
        };
        Station { name, state, lines: lines(index, report, target, port) }
    };
    NAMES.iter().enumerate().map(station).collect()
}

enum Stop {
    /// It got through.
    Nowhere,
    /// Nothing was sent.
    Before,
    At(usize),
    Unknown,
}

fn stop(target: &TargetReport) -> Stop {
    let decided = target.explanation.as_ref().and_then(|it| it.decided.as_ref());
    match (target.verdict, target.cause) {
        (Verdict::Ok, _) => Stop::Nowhere,
        (Verdict::NetworkNotFound, _) => Stop::At(BRIDGE),
        (Verdict::Skipped, _) => Stop::Before,
        (_, Some(cause)) => match cause {
            Cause::NameResolution | Cause::AliasMismatch | Cause::NoRoute => Stop::At(SANDBOX),
            Cause::LinkDown | Cause::TrafficControl => Stop::At(BRIDGE),
            Cause::Redirected => Stop::At(PREROUTING),
            Cause::Dropped | Cause::Rejected => Stop::At(decided.map_or(INPUT, place)),
            Cause::NotListening | Cause::WrongBind | Cause::ListenerChanged | Cause::AcceptQueueFull => {
                Stop::At(SOCKET)
            }
            Cause::ReplyDropped | Cause::ReversePath => Stop::At(ANSWER),
            Cause::Unresponsive | Cause::OtherProtocol | Cause::OtherOwner | Cause::OtherCertificate => {
                Stop::At(SERVICE)
            }
            Cause::UnknownFromHere | Cause::Undetermined | Cause::Inconclusive => Stop::Unknown,
            _ => Stop::Before,
        },
        _ => Stop::Unknown,
    }
}

/// The station of a rule, by its family and the chains' names that everybody uses.
fn place(decided: &Decided) -> usize {
    let names = format!("{} {}", decided.table, decided.chain).to_lowercase();
    if decided.family == "bridge" || decided.family == "netdev" {
        BRIDGE
    } else if ["prerouting", "raw", "mangle pre"].iter().any(|word| names.contains(word)) {
        PREROUTING
    } else {
        INPUT
    }
}

fn lines(index: usize, report: &Report, target: &TargetReport, port: Option<&PortEvidence>) -> Vec<String> {
    let evidence = &report.evidence;
    let dial = port.and_then(|port| port.sandbox.as_ref());
    let mut lines: Vec<String> = Vec::new();
    match index {
        SANDBOX => {
            lines.extend(dial.and_then(|dial| dial.local).map(|local| local.to_string()));
            if let Some(resolution) = &evidence.resolution {
                let found = resolution.addresses.first().map(ToString::to_string);
                lines.push(format!("{} → {}", resolution.alias, found.as_deref().unwrap_or("nothing")));
            }
        }
        BRIDGE => {
            match &evidence.network {
                Some(network) => lines.push(network.bridge_name()),
                None => lines.push(format!("network {}", report.network)),
            }
            match evidence.route {
                Some(Route::BridgeGateway { address }) => lines.push(address.to_string()),
                Some(Route::HostGateway) => lines.push("host-gateway of a virtual machine".to_owned()),
                None => {}
            }
        }
        PREROUTING | INPUT => {
            let decided = target.explanation.as_ref().and_then(|it| it.decided.as_ref());
            let here = |decided: &&Decided| decided.packet == "syn" && place(decided) == index;
            match decided.filter(here) {
                Some(decided) => lines.push(rule(decided)),
                None if index == INPUT
                    && target.explanation.is_none()
                    && target.cause.is_some_and(Cause::is_firewall) =>
                {
                    lines.push("the rules were not read".to_owned());
                }
                None => {}
            }
        }
        SOCKET => {
            let listeners = port.and_then(|port| port.listeners_before.as_ref());
            match listeners {
                Some(listeners) if listeners.is_empty() => lines.push("nobody listens".to_owned()),
                Some(listeners) => {
                    lines.extend(
                        listeners.iter().map(|it| std::net::SocketAddr::new(it.address, it.port).to_string()),
                    );
                }
                None => lines.push(format!("port {}", target.port)),
            }
        }
        ANSWER => {
            let decided = target.explanation.as_ref().and_then(|it| it.decided.as_ref());
            lines.extend(decided.filter(|decided| is_answer(decided)).map(rule));
            let back = port.and_then(|port| port.return_path.as_ref());
            lines.extend(
                back.and_then(|back| back.interface.clone()).map(|interface| format!("by {interface}")),
            );
        }
        _ => {
            lines.push(target.label.clone());
            if let Some(dial) = dial
                && dial.outcome == Outcome::Connected
            {
                lines.push(format!("{} µs", dial.elapsed_us));
            }
        }
    }
    lines
}

/// `ip filter INPUT policy`: where a rule is.
pub(super) fn rule(decided: &Decided) -> String {
    let Decided { family, table, chain, .. } = decided;
    match decided.rule {
        Some(rule) => format!("{family} {table} {chain} rule {rule}"),
        None => format!("{family} {table} {chain} policy"),
    }
}

pub(super) fn picture(page: &mut String, stations: &[Station]) {
    page.push_str("<ol class=\"way\" aria-label=\"The way of the packet\">\n");
    for Station { name, state, lines } in stations {
        let (class, words) = state.words();
        let _ = write!(page, "<li class=\"{class}\"><span class=\"name\">{name}</span>");
        for line in lines {
            let _ = write!(page, "<span class=\"fact\">{}</span>", text(line));
        }
        let _ = writeln!(page, "<span class=\"state\">{words}</span></li>");
    }
    page.push_str("</ol>\n");
}

/// Whether it is a packet of the service's end that was stopped.
fn is_answer(decided: &probe::Decided) -> bool {
    matches!(decided.packet.as_str(), "syn_ack" | "answer_ack" | "answer")
}
