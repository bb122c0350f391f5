//! Any evidence that there can be, for the promises that hold for all of it.

use proptest::prelude::*;

use super::*;

prop_compose! {
    fn any_listener()(
        address in prop::sample::select(vec!["0.0.0.0", "172.18.0.1", "127.0.0.1", "172.19.0.1", "::", "::1"]),
        v6_only in prop::bool::weighted(0.2),
        interface in prop::sample::select(vec![0, 0, 0, 1, BRIDGE]),
        inode in 1u32..4,
        queued in 0u32..3,
        queue_limit in 1u32..3,
        uid in prop::sample::select(vec![1000u32, 1000, 1000, 1000, 998, 0, 65534]),
    ) -> Listener {
        Listener { v6_only, interface, queued, queue_limit, uid, ..listener(address, inode) }
    }
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    let names = vec!["EHOSTUNREACH", "ENETUNREACH", "EACCES", "ENOPROTOOPT", "ENOTCONN", "OK"];
    prop_oneof![
        Just(error("ECONNREFUSED")),
        Just(Outcome::Connected),
        Just(Outcome::TimedOut),
        prop::sample::select(names).prop_map(error),
    ]
}

fn any_dial() -> impl Strategy<Value = Dial> {
    let offender = prop::option::of(prop::sample::select(vec![GATEWAY, SANDBOX]));
    let queue = prop::collection::vec((0u8..4, 0u8..5, 0u8..14, offender), 0..3);
    (any_outcome(), queue, prop::option::of(Just(SANDBOX))).prop_map(|(outcome, queue, local)| {
        let icmp = |(origin, kind, code, offender): (u8, u8, u8, Option<Ipv4Addr>)| Icmp {
            errno: 113,
            origin,
            kind,
            code,
            offender: offender.map(IpAddr::V4),
        };
        Dial { local, icmp: queue.into_iter().map(icmp).collect(), ..dial(outcome) }
    })
}

fn any_table() -> impl Strategy<Value = Option<Vec<Listener>>> {
    prop::option::weighted(0.9, prop::collection::vec(any_listener(), 0..3))
}

fn any_greeting() -> impl Strategy<Value = Greeted> {
    let kinds = vec![Answer::Tls, Answer::Http2, Answer::Http1, Answer::Other];
    let kind = prop::option::of(prop::sample::select(kinds));
    (kind, any::<bool>(), any::<bool>()).prop_map(|(kind, acknowledged, closed)| Greeted {
        acknowledged,
        closed,
        ..greeted(kind)
    })
}

prop_compose! {
    pub(super) fn any_identity()(
        owner in prop::option::weighted(0.9, prop::sample::select(vec![0u32, 998, 998, 1000])),
        held_by in prop::option::weighted(0.9, prop::sample::select(vec![1000u32, 1000, 998, 0, 65534])),
        hidden_uid in prop::option::of(Just(65534)),
        signed in prop::option::weighted(0.2, prop::sample::select(vec![
            Signed::KnownAuthority, Signed::AnotherAuthority, Signed::Unknown,
        ])),
    ) -> IdentityEvidence {
        IdentityEvidence {
            owner: owner.map(|uid| Owner { uid, name: None }),
            held_by,
            hidden_uid,
            holders: Vec::new(),
            certificate: signed.map(|signed| Certificate { signed, sha256: None, detail: String::new() }),
        }
    }
}

prop_compose! {
    pub(super) fn any_port()(
        required in any::<bool>(),
        protocol in prop::sample::select(vec![Protocol::Grpc, Protocol::Http, Protocol::Tcp]),
        greetings in prop::collection::vec(any_greeting(), 0..3),
        held in prop::option::of(Just(40001)),
        host_side in prop::option::of(prop::sample::select(vec![
            HostSide::Absent, HostSide::HalfOpen, HostSide::Present, HostSide::Unacknowledged,
        ])),
        published in prop::bool::weighted(0.1),
        back_through in prop::option::weighted(0.3, prop::sample::select(vec![BRIDGE, BRIDGE, 1])),
        sandbox in prop::option::weighted(0.9, any_dial()),
        host in prop::option::of(any_dial()),
        listeners_before in any_table(),
        listeners_after in any_table(),
        same in any::<bool>(),
    ) -> PortEvidence {
        let target = Target { port: 8080, label: "gateway".to_owned(), protocol, required };
        // Independent tables rarely agree: half the time they are the same.
        let listeners_after = if same { listeners_before.clone() } else { listeners_after };
        let return_path = back_through.map(|index| ReturnPath {
            to: SANDBOX,
            interface: None,
            index: Some(index),
            rp_filter: None,
        });
        let published_by = if published { vec!["x".to_owned()] } else { Vec::new() };
        let sandbox = sandbox.map(|dial| match dial.outcome {
            Outcome::Connected => Dial { greetings, held, ..dial },
            _ => dial,
        });
        PortEvidence { target, sandbox, host, stand_in: false, host_side, return_path, published_by, identity: IdentityEvidence::default(), listeners_before, listeners_after }
    }
}

prop_compose! {
    pub(super) fn any_evidence()(
        // Each flaw is rare, or hardly any case would get as far as to blame a firewall.
        in_machine in prop::bool::weighted(0.2),
        here in prop::bool::weighted(0.8),
        resolved in prop::bool::weighted(0.9),
        address in prop::sample::select(vec![GATEWAY, GATEWAY, GATEWAY, Ipv4Addr::new(10, 0, 0, 1)]),
        hop in prop::option::weighted(0.9, prop::bool::weighted(0.8)),
        cut in prop::bool::weighted(0.1),
        drops in prop::option::weighted(0.5, (
            prop::sample::select(vec![0u64, 0, 0, 1, 3, 9]),
            prop::bool::weighted(0.1),
            prop::sample::select(vec![0u64, 0, 0, 2, 4]),
        )),
    ) -> Evidence {
        let route = if in_machine { Route::HostGateway } else { Route::BridgeGateway { address: GATEWAY } };
        let here = here && !in_machine;
        Evidence {
            route: Some(route),
            standpoint: Some(if here {
                Standpoint::EngineHost { interface: "br-0".to_owned(), index: BRIDGE }
            } else {
                Standpoint::Elsewhere { reason: "x".to_owned() }
            }),
            resolution: Some(Resolution {
                addresses: resolved.then_some(IpAddr::V4(address)).into_iter().collect(),
                ..Resolution::default()
            }),
            next_hop: hop.map(|complete| Neighbour { address: GATEWAY, complete, device: "eth0".to_owned() }),
            drops: drops.map(|(queues, program, host)| Drops {
                queues,
                programs: program.then(|| "br-0".to_owned()).into_iter().collect(),
                host: (host > 0).then(|| ("TCPMinTTLDrop".to_owned(), host)).into_iter().collect(),
            }),
            trouble: cut.then(|| Trouble::Protocol(ProtocolError::Incomplete { output: String::new() })),
            ..evidence()
        }
    }
}
