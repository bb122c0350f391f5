//! What to do about a cause.

use super::words::{holder, in_doubt, limited, too_short};
use crate::engine::EngineTrouble;
use crate::evidence::{Evidence, PortEvidence};
use crate::route::{DOCKER_ALIAS, OPENSHELL_ALIAS, Route};
use crate::standpoint::Standpoint;
use crate::verdict::{Cause, Judgement, Verdict};

/// What to do, a line each.
pub(super) fn hints(
    evidence: &Evidence,
    port: &PortEvidence,
    judgement: Judgement,
    root: bool,
) -> Vec<String> {
    let number = port.target.port;
    let address = evidence.route.and_then(Route::address).map(|address| address.to_string());
    let address = address.unwrap_or_else(|| "the address that sandboxes dial".to_owned());
    if judgement.verdict == Verdict::NetworkNotFound {
        return vec![
            "the OpenShell gateway creates the network when it starts: start or restart it, or name another network with --network".to_owned(),
        ];
    }
    let lines: &[String] = match judgement.cause {
        Some(Cause::NotListening) => {
            &[format!("start the service so that it listens on {address} port {number}")]
        }
        Some(Cause::WrongBind) => &[format!(
            "make the service listen on {address} or 0.0.0.0; a gateway started before the network was recreated must be restarted"
        )],
        Some(Cause::ListenerChanged) => &["run the check again when the service has settled".to_owned()],
        Some(Cause::AcceptQueueFull) => &["restart the service: it is alive but hangs".to_owned()],
        Some(Cause::Unresponsive) => {
            &["restart the service: it takes connections and does not answer".to_owned()]
        }
        Some(Cause::OtherProtocol) => {
            let named = format!(
                "see what listens on port {number}, and whether the target is named rightly: PORT=LABEL/PROTOCOL"
            );
            return [named].into_iter().chain(who_holds(port)).collect();
        }
        Some(Cause::OtherCertificate) => {
            let named = format!(
                "see what listens on port {number}, and whether --ca is the file that sandboxes are given"
            );
            return [named].into_iter().chain(who_holds(port)).collect();
        }
        Some(Cause::OtherOwner) => {
            &[format!("stop what holds port {number} and start the service, or correct --owner {number}")]
        }
        Some(Cause::Redirected) => &[match port.published_by.first() {
            Some(name) => {
                format!("stop publishing port {number} for the container {name}, or move the service")
            }
            None => format!("see which rule of the nat table takes port {number} elsewhere, and remove it"),
        }],
        Some(Cause::ReversePath) => &[match &port.return_path {
            Some(path) => format!("ip route get {}, which should lead through the network's bridge", path.to),
            None => "see this host's routes to the sandbox network".to_owned(),
        }],
        Some(Cause::TrafficControl) => return beside_rules(evidence),
        Some(Cause::Undetermined) if in_doubt(evidence, port).is_some() => return beside_rules(evidence),
        Some(Cause::LinkDown) => &[match &evidence.standpoint {
            Some(Standpoint::EngineHost { interface, .. }) => format!("ip address show dev {interface}"),
            _ => "see whether the network's bridge is up on the engine's host".to_owned(),
        }],
        Some(Cause::NameResolution) => {
            &[format!("sandboxes know {OPENSHELL_ALIAS} and {DOCKER_ALIAS}; see --alias")]
        }
        Some(Cause::AliasMismatch) => {
            &["see --alias, and --host-gateway-ip if OpenShell's host_gateway_ip is set".to_owned()]
        }
        Some(Cause::UnknownFromHere) => match evidence.route {
            Some(Route::HostGateway) => {
                &["restart the engine's virtual machine and the OpenShell gateway, then check again"
                    .to_owned()]
            }
            _ => &["run the check on the host of the engine".to_owned()],
        },
        Some(Cause::PermissionDenied) if !root => &[
            "sudo usermod -aG docker $USER".to_owned(),
            "log in again after that, or run this once with sudo".to_owned(),
        ],
        Some(Cause::DaemonUnreachable) => &[engine_hint(evidence)],
        Some(Cause::NoIpv4Gateway | Cause::InvalidGateway | Cause::NotABridge) => {
            &["remove the network and restart the OpenShell gateway, which creates it anew".to_owned()]
        }
        Some(Cause::Inconclusive) if limited(port) => &["check fewer ports at once".to_owned()],
        Some(Cause::Inconclusive) if too_short(port) => &["give it more time: --timeout 3.5s".to_owned()],
        Some(Cause::ProbeTimeout) => {
            &["the engine is slow or stuck; see --deadline, or restart it".to_owned()]
        }
        _ => &[],
    };
    lines.to_vec()
}

/// Where to look for what is no rule.
pub(super) fn beside_rules(evidence: &Evidence) -> Vec<String> {
    let bridge = match &evidence.standpoint {
        Some(Standpoint::EngineHost { interface, .. }) => interface.as_str(),
        _ => "BRIDGE",
    };
    vec![
        format!("see what may drop them: tc -s qdisc show; tc filter show dev {bridge} ingress"),
        format!(
            "and as root, eBPF programs and IPsec: bpftool net; ip -details link show dev {bridge}; ip xfrm policy"
        ),
    ]
}

fn engine_hint(evidence: &Evidence) -> String {
    match evidence.trouble.as_ref().and_then(|trouble| trouble.engine()) {
        Some(EngineTrouble::Silent { .. }) => "the engine hangs: sudo systemctl restart docker".to_owned(),
        Some(EngineTrouble::Unsupported { .. }) => {
            "name the engine's socket: --host unix:///var/run/docker.sock".to_owned()
        }
        _ => "start the engine: sudo systemctl start docker, or name another with --host or DOCKER_HOST"
            .to_owned(),
    }
}

/// A line that says who holds the port.
fn who_holds(port: &PortEvidence) -> Option<String> {
    let uid = port.identity.holders.first()?.uid;
    let program = holder(port).unwrap_or_else(|| "its program cannot be seen".to_owned());
    Some(format!("port {} is held by user {uid}: {program}", port.target.port))
}
