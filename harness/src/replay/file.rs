//! A snapshot as a scenario for the corpus.

use std::fmt::Write as _;

use snapshot::Snapshot;

use super::compare::{Outcome, Said};
use super::plan::spec;

/// The scenario's text: the snapshot beside it, and what was found.
///
/// `file` is the snapshot's name beside the scenario. `None` where nothing was checked: a scenario expects something.
#[must_use]
pub fn scenario_text(snapshot: &Snapshot, outcome: &Outcome, file: &str) -> Option<String> {
    let first = outcome.targets.first()?;
    let title = outcome.targets.iter().map(|target| format!("{} {}", target.port, target.here));
    let title = title.collect::<Vec<_>>().join(", ");
    let cause = first.here.cause.as_ref().unwrap_or(&first.here.verdict);
    let route = match snapshot.check.route.as_ref().map(|route| route.as_str()) {
        Some("bridge_gateway") => "bridge_gateway",
        Some("host_gateway") => "host_gateway",
        _ => "none",
    };
    let mut text = String::new();
    let _ = writeln!(text, "version = 1");
    let _ = writeln!(text, "title = {}", quoted(&format!("A snapshot: {title}")));
    let _ = writeln!(text, "source = [\"derived\"]");
    let _ = writeln!(
        text,
        "class = {{ cause = {}, route = \"{route}\", firewall = \"{}\", lifecycle = \"snapshot\" }}",
        quoted(cause),
        firewall(snapshot)
    );
    let _ = writeln!(text, "beside = \"the host of a user\"");
    let _ = writeln!(text, "events = []\n\n[replay]\nsnapshot = {}", quoted(file));
    for (target, asked) in outcome.targets.iter().zip(&snapshot.check.targets) {
        let _ = writeln!(text, "\n[[expect]]\ntarget = {}", quoted(&spec(asked)));
        if !asked.required {
            let _ = writeln!(text, "optional = true");
        }
        let _ = writeln!(text, "verdict = {}", quoted(&target.here.verdict));
        if let Some(cause) = &target.here.cause {
            let _ = writeln!(text, "cause = {}", quoted(cause));
        }
        if let Some(experience) = experience(&target.here) {
            let _ = writeln!(text, "oracle = \"{experience}\"");
        }
    }
    Some(text)
}

/// What a sandbox must have experienced, by the probe's word.
fn experience(said: &Said) -> Option<&'static str> {
    Some(match said.verdict.as_str() {
        "ok" => "reached",
        "network_not_found" => "network_missing",
        "probe_unavailable" => return None,
        "wrong_service" => "other_service",
        _ => "not_reached",
    })
}

fn firewall(snapshot: &Snapshot) -> &'static str {
    let native = |rules: &ruleset::Ruleset| {
        rules.tables.iter().any(|table| table.backend == ruleset::Backend::Native && !table.chains.is_empty())
    };
    if snapshot.firewalld.is_some() {
        "firewalld"
    } else if snapshot.ufw.as_ref().is_some_and(|ufw| ufw.enabled) {
        "ufw"
    } else if snapshot.rules.as_ref().is_some_and(native) {
        "nft"
    } else if snapshot.check.targets.iter().any(|target| target.decided.is_some()) {
        "iptables"
    } else {
        "none"
    }
}

/// A string of TOML; JSON's escapes are among its own.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
