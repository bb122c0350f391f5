//! The report for people.

use std::fmt::Write as _;

use crate::preflight::Decision;
use crate::report::{Report, TargetReport};
use crate::route::Route;
use crate::sanitize::sanitize;
use crate::snapshot::Offline;
use crate::vantage::Vantage;
use crate::verdict::Verdict;

/// The report as lines: where it looked, one line for each target, which rule decided, then what to do. `walks` are the
/// packets' ways through the rules.
pub(super) fn render(report: &Report, colour: bool, walks: bool) -> String {
    let mut text = String::new();
    header(&mut text, report);
    let width = report.targets.iter().map(|target| name(target).chars().count()).max().unwrap_or(0);
    for target in &report.targets {
        let name = name(target);
        let verdict = paint(&verdict(target), target.verdict, colour);
        let _ = writeln!(text, "{name:width$}  {verdict}: {}", target.summary);
    }
    for target in &report.targets {
        if let Some(explanation) = &target.explanation {
            super::walk::render(&mut text, &name(target), target.cause, explanation, walks);
        }
    }
    hints(&mut text, report);
    text
}

/// What the rules of a snapshot say, beside what was said where it was made.
pub(super) fn offline(offline: &Offline) -> String {
    let mut text = format!("snapshot {} of probe {}\n", offline.schema, offline.made_by);
    for target in &offline.targets {
        let name = match &target.label {
            Some(label) => format!("{} {label}", target.port),
            None => target.port.to_string(),
        };
        let cause = target.cause.as_ref().map_or_else(String::new, |cause| format!(" ({cause})"));
        let _ = writeln!(text, "{name}  {}{cause}, as found there", target.verdict);
    }
    for target in &offline.targets {
        match &target.here {
            Some(explanation) => {
                super::walk::render(&mut text, &target.port.to_string(), None, explanation, true);
            }
            None => {
                let _ = writeln!(text, "\n{}: the rules are not in this snapshot", target.port);
            }
        }
        let said = match target.agrees {
            Some(true) => "the same rule as there",
            Some(false) => "another rule than there",
            None => continue,
        };
        let _ = writeln!(text, "  compared   {said}");
    }
    text
}

/// What a preflight has to say: nothing when all is well.
pub(super) fn gate(report: &Report) -> String {
    let mut text = String::new();
    let decision = report.preflight.map_or(Decision::Proceed, |gate| gate.decision);
    let strict = report.preflight.is_some_and(|gate| gate.strict);
    let needs_network = report.preflight.is_some_and(|gate| gate.path.network_must_exist());
    for target in &report.targets {
        let (name, summary) = (name(target), &target.summary);
        let _ = match target.verdict {
            Verdict::Ok => Ok(()),
            Verdict::Skipped => writeln!(text, "note: {name} is not checked: {summary}"),
            Verdict::TcpFailed | Verdict::WrongService => {
                writeln!(text, "error: sandboxes cannot reach {name}: {summary}")
            }
            Verdict::NetworkNotFound if decision == Decision::Stop && needs_network => {
                writeln!(
                    text,
                    "error: sandboxes cannot be created: {summary}, which a gateway that runs needs"
                )
            }
            Verdict::NetworkNotFound | Verdict::ProbeUnavailable => {
                let level = if decision == Decision::Stop && strict { "error" } else { "warning" };
                writeln!(text, "{level}: could not verify that sandboxes reach {name}: {summary}")
            }
        };
    }
    if decision == Decision::Warn {
        text.push_str("warning: this does not prove that they cannot; going on\n");
    }
    hints(&mut text, report);
    text
}

/// What to do, each line once, after a blank one.
fn hints(text: &mut String, report: &Report) {
    let mut hints: Vec<&String> = Vec::new();
    for hint in report.targets.iter().flat_map(|target| &target.hints) {
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    }
    if !hints.is_empty() {
        text.push('\n');
    }
    for hint in hints {
        let _ = writeln!(text, "hint: {hint}");
    }
}

/// Where it looked, as far as it came.
fn header(text: &mut String, report: &Report) {
    let evidence = &report.evidence;
    if let Some(endpoint) = &evidence.endpoint {
        let engine = evidence.engine.as_ref();
        let engine =
            engine.map_or_else(String::new, |engine| format!(", Docker {}", sanitize(&engine.version)));
        let _ =
            writeln!(text, "engine    {} ({}){engine}", sanitize(&endpoint.url), endpoint.chosen_by.words());
    }
    if let Some(network) = &evidence.network {
        let subnets: Vec<String> =
            network.ipam.iter().filter_map(|entry| entry.subnet.as_deref()).map(sanitize).collect();
        let _ = writeln!(text, "network   {} {}", sanitize(&report.network), subnets.join(", "));
    }
    if let Some(route) = evidence.route {
        let way = match route {
            Route::BridgeGateway { address } => format!("{address}"),
            Route::HostGateway => "the engine's host-gateway".to_owned(),
        };
        let _ = writeln!(text, "route     {} -> {way}", sanitize(&report.alias));
    }
    if let Vantage::Netns { address, interface, .. } = &evidence.vantage {
        let from = format!("{address}, a network namespace on {}", sanitize(interface));
        let _ = writeln!(text, "vantage   {from}: the name is not resolved");
    }
    if let Some(firewall) = &report.firewall {
        let tool = match firewall.tool {
            crate::firewall::Tool::Ufw => "ufw",
            crate::firewall::Tool::Iptables => "iptables",
        };
        let _ = writeln!(text, "firewall  {tool}: {}", firewall.known_from);
    }
    if !text.is_empty() {
        text.push('\n');
    }
}

fn name(target: &TargetReport) -> String {
    format!("{} {}", target.port, sanitize(&target.label))
}

/// `tcp_failed (dropped)`, in the words of the JSON form.
fn verdict(target: &TargetReport) -> String {
    let word = |value: serde_json::Result<serde_json::Value>| match value {
        Ok(serde_json::Value::String(word)) => word,
        _ => "unknown".to_owned(),
    };
    let verdict = word(serde_json::to_value(target.verdict));
    match target.cause {
        Some(cause) => format!("{verdict} ({})", word(serde_json::to_value(cause))),
        None => verdict,
    }
}

fn paint(word: &str, verdict: Verdict, colour: bool) -> String {
    if !colour {
        return word.to_owned();
    }
    let code = match verdict {
        Verdict::Ok => 32,
        Verdict::TcpFailed | Verdict::WrongService => 31,
        Verdict::NetworkNotFound | Verdict::ProbeUnavailable => 33,
        Verdict::Skipped => 2,
    };
    format!("\u{1b}[{code}m{word}\u{1b}[0m")
}

#[cfg(test)]
mod tests;
