//! The report of a check, reduced to what a replay is compared with.

use serde::Serialize;
use snapshot::{Check, Decided, Dialled, Path, Target, Word};

use super::Gathering;
use crate::dial::Outcome;
use crate::evidence::PortEvidence;
use crate::explain::{self, Explanation};
use crate::report::{Report, TargetReport};
use crate::route::Route;
use crate::standpoint::Standpoint;

/// Labels that are everybody's. Others are a user's words.
const LABELS: [&str; 2] = ["gateway", "ollama-proxy"];

pub(super) fn check(gathering: &mut Gathering, report: &Report) -> Check {
    let evidence = &report.evidence;
    let (route, dialled) = match evidence.route {
        Some(Route::BridgeGateway { address }) => (Some("bridge_gateway"), Some(address)),
        Some(Route::HostGateway) => (Some("host_gateway"), None),
        None => (None, None),
    };
    let bridge = match &evidence.standpoint {
        Some(Standpoint::EngineHost { interface, .. }) => Some(gathering.names.interface(interface)),
        _ => None,
    };
    let dialled = dialled.and_then(|address| match gathering.mapping.address(address.into()) {
        std::net::IpAddr::V4(address) => Some(address),
        std::net::IpAddr::V6(_) => None,
    });
    let ports = evidence.ports.iter().zip(&report.targets);
    Check {
        exit_code: report.exit_code,
        route: route.and_then(|word| Word::new(word).ok()),
        dialled,
        bridge,
        targets: ports.map(|(port, target)| self::target(gathering, report, port, target)).collect(),
    }
}

fn target(gathering: &mut Gathering, report: &Report, port: &PortEvidence, target: &TargetReport) -> Target {
    let label = LABELS.iter().find(|label| **label == target.label);
    let explanation = target.explanation.as_ref();
    let confirmed_by = explanation.map(|it| it.confirmed_by.clone()).unwrap_or_default();
    Target {
        port: target.port,
        label: label.and_then(|label| Word::new(*label).ok()),
        required: target.required,
        protocol: word(&port.protocol()),
        verdict: word(&target.verdict),
        cause: target.cause.as_ref().map(word),
        confidence: word(&target.confidence),
        dialled: port
            .sandbox
            .as_ref()
            .map(|dial| Dialled { outcome: outcome(&dial.outcome), elapsed_us: dial.elapsed_us }),
        path: path(gathering, report, port),
        decided: explanation.and_then(|it| decided(gathering, it)),
        confirmed_by: confirmed_by.iter().map(word).collect(),
    }
}

/// A value of an enumeration, as the report spells it.
fn word(value: &impl Serialize) -> Word {
    let spelled = serde_json::to_value(value).ok();
    let text = spelled.as_ref().and_then(serde_json::Value::as_str).unwrap_or("unknown");
    Word::new(text).unwrap_or_else(|_| Word::new("unknown").expect("letters are a word"))
}

fn outcome(outcome: &Outcome) -> Word {
    let text = match outcome {
        Outcome::Connected => "connected".to_owned(),
        Outcome::TimedOut => "timed_out".to_owned(),
        Outcome::Failed { name, .. } => name.to_ascii_lowercase(),
    };
    Word::new(text).unwrap_or_else(|_| Word::new("failed").expect("letters are a word"))
}

fn path(gathering: &mut Gathering, report: &Report, port: &PortEvidence) -> Option<Path> {
    let flow = explain::flow(&report.evidence, port)?;
    let way_back = port.return_path.as_ref().and_then(|path| path.interface.as_deref());
    let mapped = |mut end: std::net::SocketAddr| {
        end.set_ip(gathering.mapping.address(end.ip()));
        end
    };
    let (source, destination) = (mapped(flow.source), mapped(flow.destination));
    Some(Path {
        input: gathering.names.interface(&flow.input),
        source,
        destination,
        way_back: way_back.map(|name| gathering.names.interface(name)),
        data: flow.data,
    })
}

fn decided(gathering: &mut Gathering, explanation: &Explanation) -> Option<Decided> {
    let decided = explanation.decided.as_ref()?;
    let word = |text: &str| Word::new(text).ok();
    Some(Decided {
        packet: word(&decided.packet)?,
        backend: word(&decided.backend)?,
        family: word(&decided.family)?,
        table: gathering.names.name(&decided.table),
        chain: gathering.names.name(&decided.chain),
        rule: decided.rule,
    })
}
