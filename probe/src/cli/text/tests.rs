//! What people and machines are shown, pinned.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::check::{Checked, Request};
use crate::dial::{Answer, Dial, Greeted, Greeting, Icmp, Outcome, TcpState};
use crate::drops::Drops;
use crate::engine::{ChosenBy, Endpoint, EngineInfo, IpamEntry, NetworkFacts};
use crate::evidence::{Evidence, PortEvidence, Trouble};
use crate::firewall::{Firewall, Tool};
use crate::identity::IdentityEvidence;
use crate::listeners::Listener;
use crate::standpoint::Standpoint;
use crate::target::Target;
use crate::vantage::{Neighbour, Resolution, Vantage};

const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 1);

fn dial(port: u16, outcome: Outcome, elapsed_us: u64) -> Dial {
    let tcp = Some(TcpState { state: 2, retransmits: 3, rtt_us: 0 });
    let local = Some(Ipv4Addr::new(172, 18, 0, 2));
    let kind = if port == 8080 { Answer::Tls } else { Answer::Http1 };
    let greeted = Greeted {
        greeting: if port == 8080 { Greeting::Tls } else { Greeting::Http1 },
        acknowledged: true,
        answer: "1603".to_owned(),
        kind: Some(kind),
        closed: false,
        errno: 0,
        elapsed_us: 400,
    };
    let unanswered = if outcome == Outcome::TimedOut { 3 } else { 0 };
    let greetings = if outcome == Outcome::Connected { vec![greeted] } else { Vec::new() };
    Dial {
        address: GATEWAY,
        port,
        local,
        local_port: Some(40000),
        outcome,
        elapsed_us,
        icmp: Vec::new(),
        tcp,
        unanswered,
        sockets: 2,
        limited: false,
        greetings,
        held: None,
        silent: None,
    }
}

fn port(target: Target, sandbox: Option<Dial>, listens_on: Option<&str>) -> PortEvidence {
    let listener = listens_on.map(|address| Listener {
        address: address.parse().unwrap(),
        port: target.port,
        v6_only: false,
        interface: 0,
        inode: 4711,
        uid: 1000,
        queued: 0,
        queue_limit: 128,
    });
    let listeners: Vec<Listener> = listener.into_iter().collect();
    PortEvidence {
        target,
        sandbox,
        host: None,
        stand_in: false,
        host_side: None,
        return_path: None,
        published_by: Vec::new(),
        identity: IdentityEvidence::default(),
        listeners_before: Some(listeners.clone()),
        listeners_after: Some(listeners),
    }
}

fn evidence(ports: Vec<PortEvidence>) -> Evidence {
    Evidence {
        drops: Some(Drops::default()),
        vantage: Vantage::Container,
        endpoint: Some(Endpoint {
            url: "unix:///var/run/docker.sock".to_owned(),
            chosen_by: ChosenBy::LocalSocket,
        }),
        engine: Some(EngineInfo { version: "26.1.5".to_owned(), ..EngineInfo::default() }),
        network: Some(NetworkFacts {
            id: "0123456789abcdef".to_owned(),
            name: "openshell-docker".to_owned(),
            driver: "bridge".to_owned(),
            ipam: vec![IpamEntry {
                subnet: Some("172.18.0.0/16".to_owned()),
                gateway: Some("172.18.0.1".to_owned()),
            }],
            ..NetworkFacts::default()
        }),
        route: Some(Route::BridgeGateway { address: GATEWAY }),
        standpoint: Some(Standpoint::EngineHost { interface: "br-0123456789ab".to_owned(), index: 7 }),
        resolution: Some(Resolution {
            alias: "host.openshell.internal".to_owned(),
            addresses: vec![IpAddr::V4(GATEWAY)],
            error: None,
            elapsed_us: 25,
        }),
        next_hop: Some(Neighbour { address: GATEWAY, complete: true, device: "eth0".to_owned() }),
        ports,
        trouble: None,
    }
}

fn report(evidence: Evidence, firewall: Option<Firewall>, root: bool) -> Report {
    let request = Request { environment: crate::engine::Environment::default(), ..Request::default() };
    let checked = Checked { evidence, warnings: Vec::new() };
    Report { build_id: "0".repeat(16), ..Report::new(&request, checked, firewall, root) }
}

fn targets() -> [Target; 2] {
    Target::defaults().try_into().unwrap()
}

fn ufw(verified: bool) -> Option<Firewall> {
    let known_from =
        if verified { "its chains are in the kernel" } else { "enabled in ufw.conf, not verified" };
    Some(Firewall { tool: Tool::Ufw, verified, known_from: known_from.to_owned() })
}

fn brev() -> Evidence {
    let [gateway, proxy] = targets();
    evidence(vec![
        port(gateway, Some(dial(8080, Outcome::TimedOut, 3_500_400)), Some("172.18.0.1")),
        port(proxy, Some(dial(11435, Outcome::TimedOut, 3_500_400)), Some("0.0.0.0")),
    ])
}

#[test]
fn ufw_drops_both_ports() {
    let report = report(brev(), ufw(false), false);
    assert_eq!(report.exit_code, 1);
    insta::assert_snapshot!(render(&report, false, true));
    assert_eq!(
        report.targets[0].remedy.as_ref().unwrap().text,
        "sudo ufw allow from 172.18.0.0/16 to 172.18.0.1 port 8080 proto tcp"
    );
}

#[test]
fn the_json_form_of_a_drop() {
    let report = report(brev(), ufw(true), true);
    let json = serde_json::to_string_pretty(&report).unwrap();
    insta::assert_snapshot!(json);
    let read: Report = serde_json::from_str(&json).unwrap();
    assert_eq!(read, report);
}

#[test]
fn who_a_service_is_is_said_where_it_was_asked() {
    use crate::identity::{Certificate, Holder, Owner, Signed};
    let summary = |identity: IdentityEvidence| {
        let [gateway, _] = targets();
        let reached = port(gateway, Some(dial(8080, Outcome::Connected, 250)), Some("172.18.0.1"));
        let target =
            report(evidence(vec![PortEvidence { identity, ..reached }]), None, true).targets.remove(0);
        format!("{} / {}", target.summary, target.hints.join(" / "))
    };
    let holders =
        vec![Holder { inode: 4711, uid: 1000, pid: Some(812), program: Some("python3".to_owned()) }];
    let owner = |uid| Some(Owner { uid, name: Some("openshell".to_owned()) });
    let held = IdentityEvidence { held_by: Some(1000), holders, ..IdentityEvidence::default() };
    assert!(summary(held.clone()).ends_with("(0.2 ms) / "), "nobody asked: {}", summary(held.clone()));
    let stolen = summary(IdentityEvidence { owner: owner(998), ..held.clone() });
    let said = "user 1000 (python3, process 812) holds it, and not openshell (998)";
    assert!(stolen.contains(said), "{stolen}");
    let own = summary(IdentityEvidence { owner: owner(1000), ..held.clone() });
    assert!(own.contains("user openshell (1000) holds it"), "{own}");
    let hidden = summary(IdentityEvidence { owner: owner(998), held_by: None, ..held.clone() });
    assert!(hidden.contains("whose it is is not known"), "{hidden}");
    let with = |signed| {
        let certificate = Certificate { signed, sha256: None, detail: "it is odd".to_owned() };
        summary(IdentityEvidence { certificate: Some(certificate), ..held.clone() })
    };
    assert!(with(Signed::KnownAuthority).contains("the known CA signed its certificate"));
    assert!(with(Signed::Unknown).contains("its certificate is not verified: it is odd"));
    let forged = with(Signed::AnotherAuthority);
    assert!(
        forged.contains("the known CA did not sign its certificate") && forged.contains("python3"),
        "{forged}"
    );
}

#[test]
fn one_port_is_reachable_and_the_other_refused_by_a_firewall() {
    let [gateway, proxy] = targets();
    let mut refused = dial(11435, Outcome::Failed { errno: 111, name: "ECONNREFUSED".to_owned() }, 300);
    refused.icmp =
        vec![Icmp { errno: 111, origin: 2, kind: 3, code: 3, offender: Some(IpAddr::V4(GATEWAY)) }];
    let evidence = evidence(vec![
        port(gateway, Some(dial(8080, Outcome::Connected, 250)), Some("172.18.0.1")),
        port(proxy, Some(refused), Some("0.0.0.0")),
    ]);
    let iptables = Firewall {
        tool: Tool::Iptables,
        verified: true,
        known_from: "no UFW chain in the kernel".to_owned(),
    };
    insta::assert_snapshot!(render(&report(evidence, Some(iptables), true), false, true));
}

#[test]
fn without_a_firewall_at_fault_none_is_named() {
    let [mut gateway, proxy] = targets();
    gateway.required = true;
    let refused = Outcome::Failed { errno: 111, name: "ECONNREFUSED".to_owned() };
    let evidence = evidence(vec![
        port(gateway, Some(dial(8080, refused, 300)), Some("127.0.0.1")),
        port(proxy, None, None),
    ]);
    let report = report(evidence, ufw(true), true);
    assert_eq!((report.firewall.as_ref(), report.exit_code), (None, 1));
    insta::assert_snapshot!(render(&report, false, true));
}

#[test]
fn a_missing_network() {
    let mut evidence = evidence(targets().map(|target| port(target, None, None)).to_vec());
    evidence.trouble = Some(Trouble::NetworkNotFound { name: "openshell-docker".to_owned() });
    (evidence.network, evidence.route, evidence.standpoint) = (None, None, None);
    let report = report(evidence, None, false);
    assert_eq!(report.exit_code, 3);
    insta::assert_snapshot!(render(&report, false, true));
}

#[test]
fn colour_marks_the_verdict_only() {
    let coloured = render(&report(brev(), ufw(true), true), true, true);
    assert!(coloured.contains("\u{1b}[31mtcp_failed (dropped)\u{1b}[0m: no answer"), "{coloured}");
    let plain = coloured.replace("\u{1b}[31m", "").replace("\u{1b}[0m", "");
    assert_eq!(plain, render(&report(brev(), ufw(true), true), false, true));
}

fn gated(mut report: Report, decision: Decision, strict: bool) -> Report {
    let path = crate::preflight::LifecyclePath::Reused;
    report.preflight = Some(crate::preflight::Gate { path, strict, decision, attempts: 1 });
    report
}

#[test]
fn a_gate_that_lets_through_is_silent() {
    let [gateway, _] = targets();
    let open = evidence(vec![port(gateway, Some(dial(8080, Outcome::Connected, 250)), Some("172.18.0.1"))]);
    assert_eq!(gate(&gated(report(open, None, true), Decision::Proceed, true)), "");
}

#[test]
fn a_gate_that_stops_names_the_cause_and_the_way_out() {
    insta::assert_snapshot!(gate(&gated(report(brev(), ufw(true), false), Decision::Stop, false)));
}

#[test]
fn a_gate_says_why_nothing_was_checked() {
    let proxy = Target { required: true, ..targets()[1].clone() };
    let mut wsl = evidence(vec![port(proxy, None, None)]);
    wsl.trouble = Some(Trouble::Wsl);
    let report = report(wsl, None, true);
    assert_eq!((report.exit_code, report.targets[0].verdict), (0, Verdict::Skipped));
    insta::assert_snapshot!(gate(&gated(report, Decision::Proceed, false)));
}

#[test]
fn a_gate_that_stops_for_a_missing_network_speaks_of_the_network_only() {
    let gateway = Target { required: true, ..targets()[0].clone() };
    let mut missing = evidence(vec![port(gateway, None, None)]);
    missing.trouble = Some(Trouble::NetworkNotFound { name: "openshell-docker".to_owned() });
    let report = report(missing, None, true);
    insta::assert_snapshot!(gate(&gated(report, Decision::Stop, false)));
}
