//! A host where everything is right, and dials that end in one way or another.

use super::*;

pub(super) fn error(name: &str) -> Outcome {
    Outcome::Failed { errno: 1, name: name.to_owned() }
}

pub(super) fn dial(outcome: Outcome) -> Dial {
    let tcp = (outcome == Outcome::TimedOut).then_some(TcpState { state: 2, retransmits: 3, rtt_us: 0 });
    Dial {
        address: GATEWAY,
        port: 8080,
        local: Some(SANDBOX),
        local_port: Some(40000),
        outcome: outcome.clone(),
        elapsed_us: 100,
        icmp: Vec::new(),
        tcp,
        unanswered: 0,
        sockets: 1,
        limited: false,
        greetings: if outcome == Outcome::Connected { vec![greeted(Some(Answer::Tls))] } else { Vec::new() },
        held: None,
        silent: None,
    }
}

pub(super) fn greeted(kind: Option<Answer>) -> Greeted {
    Greeted {
        greeting: Greeting::Tls,
        acknowledged: true,
        answer: String::new(),
        kind,
        closed: false,
        errno: 0,
        elapsed_us: 100,
    }
}

pub(super) fn icmp(outcome: Outcome, code: u8, offender: Ipv4Addr) -> Dial {
    let icmp = Icmp { errno: 113, origin: 2, kind: 3, code, offender: Some(IpAddr::V4(offender)) };
    Dial { icmp: vec![icmp], ..dial(outcome) }
}

/// A host where everything is right but the dial.
pub(super) fn evidence() -> Evidence {
    Evidence {
        network: Some(NetworkFacts { driver: "bridge".to_owned(), ..NetworkFacts::default() }),
        route: Some(Route::BridgeGateway { address: GATEWAY }),
        standpoint: Some(Standpoint::EngineHost { interface: "br-0".to_owned(), index: BRIDGE }),
        resolution: Some(Resolution { addresses: vec![IpAddr::V4(GATEWAY)], ..Resolution::default() }),
        next_hop: Some(Neighbour { address: GATEWAY, complete: true, device: "eth0".to_owned() }),
        ..Evidence::default()
    }
}

pub(super) fn port(sandbox: Dial, listeners: &[Listener]) -> PortEvidence {
    PortEvidence {
        target: Target { port: 8080, label: "gateway".to_owned(), protocol: Protocol::Grpc, required: true },
        sandbox: Some(sandbox),
        host: Some(dial(Outcome::Connected)),
        stand_in: false,
        host_side: None,
        return_path: None,
        published_by: Vec::new(),
        identity: IdentityEvidence::default(),
        listeners_before: Some(listeners.to_vec()),
        listeners_after: Some(listeners.to_vec()),
    }
}
