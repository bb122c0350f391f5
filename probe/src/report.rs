//! The result that people and machines read.
//!
//! The JSON form is an interface: its schema is `probe/schema/report.v1.json`, and within a major version fields are
//! only added.

mod hints;
mod words;

use serde::{Deserialize, Serialize};

use crate::check::{Checked, Request};
use crate::evidence::{Evidence, PortEvidence};
use crate::explain::{ExplainTimes, Explanation};
use crate::firewall::{self, Firewall};
use crate::identity::Identity;
use crate::preflight::Gate;
use crate::remedy::Remedy;
use crate::route::{Route, bridge_gateway};
use crate::verdict::{Cause, Confidence, Ground, Judgement, Verdict, decide, grounds, identity};

/// Major and minor version of the JSON form.
pub const SCHEMA_VERSION: &str = "1.6";
/// The JSON schema of [`Report`], as committed.
pub const SCHEMA: &str = include_str!("../schema/report.v1.json");
/// The release of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The digest of the sources and the lock file that this program was built from.
pub const BUILD_ID: &str = env!("OPENSHELL_BUILD_ID");

/// The result of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Report {
    /// [`SCHEMA_VERSION`].
    pub schema_version: String,
    /// [`VERSION`] of the program that made it.
    pub version: String,
    /// [`BUILD_ID`] of the program that made it.
    pub build_id: String,
    /// What the program exits with: 0 every judged target is reachable, 1 one is not, 3 it could not be found out. After
    /// a preflight: 0 go on, 1 and 3 stop.
    pub exit_code: u8,
    /// The sandbox network that was asked for.
    pub network: String,
    /// The name that was dialled.
    pub alias: String,
    /// What kept the probe from looking further, in words.
    pub trouble: Option<String>,
    /// The answers, in the order the targets were named.
    pub targets: Vec<TargetReport>,
    /// What is known of the host's firewall, where a target blames it.
    pub firewall: Option<Firewall>,
    /// Everything that was observed.
    pub evidence: Evidence,
    /// Trouble that changes no answer.
    pub warnings: Vec<String>,
    /// How a preflight ended; a check has none. Since 1.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preflight: Option<Gate>,
    /// How long the rules took, where `explain` read them. Since 1.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain_times: Option<ExplainTimes>,
}

/// The answer about one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TargetReport {
    /// The TCP port.
    pub port: u16,
    /// What lives there.
    pub label: String,
    /// Whether it must be there.
    pub required: bool,
    /// The outer answer.
    pub verdict: Verdict,
    /// The reason; `ok` and `network_not_found` have none.
    pub cause: Option<Cause>,
    /// How far the verdict and the cause may be trusted. Since 1.2.
    #[serde(default)]
    pub confidence: Confidence,
    /// What they rest on, the deciding pieces last. Since 1.2.
    #[serde(default)]
    pub because: Vec<Ground>,
    /// What vouches for the service's identity, where it is reached. Since 1.3.
    #[serde(default)]
    pub identity: Identity,
    /// The reason in plain words, on one line.
    pub summary: String,
    /// The command that opens the path, where a firewall is at fault.
    pub remedy: Option<Remedy>,
    /// What to do, a line each: the remedy's text first.
    pub hints: Vec<String>,
    /// Which rule decided, where the rules were looked at. Since 1.4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
}

impl Report {
    /// Judges what was `checked`. `firewall` is needed only where [`needs_firewall`] says so; `root` is whether the
    /// caller may run the remedies without `sudo`.
    #[must_use]
    pub fn new(request: &Request, checked: Checked, firewall: Option<Firewall>, root: bool) -> Self {
        let Checked { evidence, warnings } = checked;
        let judgements: Vec<Judgement> = evidence.ports.iter().map(|port| decide(&evidence, port)).collect();
        let targets: Vec<TargetReport> = evidence
            .ports
            .iter()
            .zip(&judgements)
            .map(|(port, judgement)| answer(&evidence, port, *judgement, firewall.as_ref(), root))
            .collect();
        Self {
            schema_version: SCHEMA_VERSION.to_owned(),
            version: VERSION.to_owned(),
            build_id: BUILD_ID.to_owned(),
            exit_code: exit_code(&judgements),
            network: request.network.clone(),
            alias: request.alias.clone(),
            trouble: evidence.trouble.as_ref().map(ToString::to_string),
            firewall: firewall.filter(|_| blames(&targets)),
            targets,
            evidence,
            warnings,
            preflight: None,
            explain_times: None,
        }
    }

    /// The same with what is known of the rules.
    #[must_use]
    pub fn explained(mut self, explanations: Vec<Explanation>, times: Option<ExplainTimes>) -> Self {
        self.explain_times = times;
        for explanation in explanations {
            let target = self.targets.iter_mut().find(|target| target.port == explanation.port);
            if let Some(target) = target {
                target.know(&self.evidence, explanation);
            }
        }
        self.firewall = self.firewall.filter(|_| blames(&self.targets));
        self
    }
}

impl TargetReport {
    /// Adds what is known of the rules, and takes back what they refute.
    fn know(&mut self, evidence: &Evidence, explanation: Explanation) {
        let before = Judgement { verdict: self.verdict, cause: self.cause };
        let judgement = before.knowing(&explanation);
        let port = evidence.ports.iter().find(|port| port.target.port == self.port);
        if let (Some(port), true) = (port, judgement != before) {
            (self.verdict, self.cause) = (judgement.verdict, judgement.cause);
            self.confidence = Confidence::Unknown;
            self.because.push(Ground::RulesLetPass);
            self.summary = words::innocent(evidence, port);
            self.remedy = None;
            self.hints = hints::beside_rules(evidence);
        }
        self.explanation = Some(explanation);
    }
}

fn blames(targets: &[TargetReport]) -> bool {
    targets.iter().any(|target| target.cause.is_some_and(Cause::is_firewall))
}

/// Judges what was `checked`, as the user that this process runs as: looks which firewall there is where one is blamed.
pub async fn judge(request: &Request, checked: Checked) -> Report {
    let root = nix::unistd::geteuid().is_root();
    let firewall = if needs_firewall(&checked.evidence) { Some(firewall::detect(root).await) } else { None };
    Report::new(request, checked, firewall, root)
}

/// Whether a target of `evidence` blames a firewall, so that it is worth to look which one there is.
#[must_use]
pub fn needs_firewall(evidence: &Evidence) -> bool {
    evidence.ports.iter().any(|port| decide(evidence, port).cause.is_some_and(Cause::is_firewall))
}

fn answer(
    evidence: &Evidence,
    port: &PortEvidence,
    judgement: Judgement,
    firewall: Option<&Firewall>,
    root: bool,
) -> TargetReport {
    let blamed = judgement.cause.is_some_and(Cause::is_firewall);
    let remedy = firewall.filter(|_| blamed).and_then(|firewall| {
        let network = evidence.network.as_ref()?;
        let Some(Route::BridgeGateway { address }) = evidence.route else { return None };
        // Sandboxes send from the subnet of the bridge, whatever address they dial.
        let subnet = network.subnet_of(bridge_gateway(network).ok()?)?;
        if judgement.cause == Some(Cause::ReplyDropped) {
            return Remedy::answer(subnet, address, port.target.port, root);
        }
        Remedy::open(firewall.tool, subnet, address, port.target.port, root)
    });
    let mut hints: Vec<String> = remedy.iter().map(|remedy| remedy.text.clone()).collect();
    hints.extend(hints::hints(evidence, port, judgement, root));
    let (confidence, because) = grounds(evidence, port, judgement);
    TargetReport {
        port: port.target.port,
        label: port.target.label.clone(),
        required: port.target.required,
        verdict: judgement.verdict,
        cause: judgement.cause,
        confidence,
        because,
        identity: identity(evidence, port, judgement),
        summary: words::summary(evidence, port, judgement),
        remedy,
        hints,
        explanation: None,
    }
}

fn exit_code(judgements: &[Judgement]) -> u8 {
    let any = |wanted: &[Verdict]| judgements.iter().any(|judgement| wanted.contains(&judgement.verdict));
    if any(&[Verdict::TcpFailed, Verdict::WrongService]) {
        1
    } else if any(&[Verdict::ProbeUnavailable, Verdict::NetworkNotFound]) {
        3
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_outranks_what_could_not_be_found_out() {
        let code = |verdicts: &[Verdict]| {
            let judgements: Vec<Judgement> =
                verdicts.iter().map(|verdict| Judgement { verdict: *verdict, cause: None }).collect();
            exit_code(&judgements)
        };
        assert_eq!(code(&[]), 0);
        assert_eq!(code(&[Verdict::Ok, Verdict::Skipped]), 0);
        assert_eq!(code(&[Verdict::Ok, Verdict::ProbeUnavailable]), 3);
        assert_eq!(code(&[Verdict::NetworkNotFound]), 3);
        assert_eq!(code(&[Verdict::ProbeUnavailable, Verdict::TcpFailed]), 1);
        assert_eq!(code(&[Verdict::WrongService, Verdict::NetworkNotFound]), 1);
    }

    /// `OPENSHELL_UPDATE_SCHEMA=1 cargo test -p openshell-probe` writes the file anew.
    #[test]
    fn the_committed_schema_is_the_reports() {
        let schema = schemars::schema_for!(Report);
        let generated = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if std::env::var_os("OPENSHELL_UPDATE_SCHEMA").is_some() {
            let file = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/report.v1.json");
            std::fs::write(file, &generated).unwrap();
        } else {
            assert_eq!(SCHEMA, generated, "set OPENSHELL_UPDATE_SCHEMA=1 to write it anew");
        }
    }
}
