//! The table of known situations.

mod any;
mod given;
mod identity;
mod properties;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use given::{dial, error, evidence, greeted, icmp, port};

use super::*;
use crate::dial::{Greeting, Icmp, TcpState};
use crate::drops::Drops;
use crate::engine::{EngineError, NetworkFacts};
use crate::evidence::Trouble;
use crate::identity::{Certificate, IdentityEvidence, Owner, Signed};
use crate::listeners::Listener;
use crate::listeners::tests::listener;
use crate::return_path::ReturnPath;
use crate::route::Route;
use crate::target::Target;
use crate::vantage::{Neighbour, ProtocolError, Resolution};

const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 1);
const SANDBOX: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 2);
const BRIDGE: u32 = 7;

fn failed(cause: Cause) -> Judgement {
    Judgement::failed(cause)
}

/// Nobody is accused on one unanswered SYN.
#[test]
fn a_time_out_before_the_first_repetition_says_nothing() {
    let listeners = [listener("172.18.0.1", 1)];
    for tcp in [None, Some(TcpState { state: 2, retransmits: 0, rtt_us: 0 })] {
        let short = Dial { tcp, ..dial(Outcome::TimedOut) };
        let decided = decide(&evidence(), &port(short, &listeners));
        assert_eq!(decided, Judgement::unavailable(Cause::Inconclusive));
    }
}

#[test]
fn each_outcome_with_a_proven_listener_has_its_cause() {
    let gateway = [listener("172.18.0.1", 1)];
    let table = [
        (dial(Outcome::Connected), Judgement::ok()),
        (dial(Outcome::TimedOut), failed(Cause::Dropped)),
        (dial(error("ECONNREFUSED")), failed(Cause::Rejected)),
        (icmp(error("ECONNREFUSED"), 3, GATEWAY), failed(Cause::Rejected)),
        (icmp(error("EHOSTUNREACH"), 13, GATEWAY), failed(Cause::Rejected)),
        (icmp(error("EHOSTUNREACH"), 10, GATEWAY), failed(Cause::Rejected)),
        (icmp(error("ENETUNREACH"), 0, GATEWAY), failed(Cause::Rejected)),
        (dial(error("EACCES")), failed(Cause::Undetermined)),
    ];
    for (sandbox, expected) in table {
        let port = port(sandbox, &gateway);
        assert_eq!(decide(&evidence(), &port), expected, "{:?}", port.sandbox);
    }
}

#[test]
fn any_answer_in_the_services_protocol_is_the_service() {
    let gateway = [listener("172.18.0.1", 1)];
    let decided = |protocol, greetings: Vec<Greeted>| {
        let mut port = port(Dial { greetings, ..dial(Outcome::Connected) }, &gateway);
        port.target.protocol = protocol;
        decide(&evidence(), &port)
    };
    let kind = |kind| vec![greeted(Some(kind))];
    for answer in [Answer::Tls, Answer::Http2] {
        assert_eq!(decided(Protocol::Grpc, kind(answer)), Judgement::ok());
        assert_eq!(decided(Protocol::Http, kind(answer)), Judgement::wrong(Cause::OtherProtocol));
    }
    // A plain gateway takes the ClientHello for bad HTTP, and answers the second greeting.
    let twice = vec![greeted(Some(Answer::Http1)), greeted(Some(Answer::Http2))];
    assert_eq!(decided(Protocol::Grpc, twice), Judgement::ok());
    assert_eq!(decided(Protocol::Http, kind(Answer::Http1)), Judgement::ok());
    for other in [Answer::Http1, Answer::Other] {
        let both = || vec![greeted(Some(other)), greeted(Some(other))];
        assert_eq!(decided(Protocol::Grpc, both()), Judgement::wrong(Cause::OtherProtocol));
        let hung_up = vec![greeted(Some(other)), Greeted { closed: true, ..greeted(None) }];
        assert_eq!(decided(Protocol::Grpc, hung_up), Judgement::wrong(Cause::OtherProtocol));
        // The second connection was not made, or is limited: the second greeting might have been answered.
        let lost = vec![greeted(Some(other)), Greeted { acknowledged: false, ..greeted(None) }];
        for cut in [kind(other), lost] {
            assert_eq!(decided(Protocol::Grpc, cut), Judgement::unavailable(Cause::Inconclusive));
        }
    }
    assert_eq!(decided(Protocol::Tcp, vec![greeted(None)]), Judgement::ok());
    let silent = || vec![greeted(None), Greeted { closed: true, ..greeted(None) }];
    assert_eq!(decided(Protocol::Grpc, silent()), failed(Cause::Unresponsive));
    assert_eq!(decided(Protocol::Http, silent()), failed(Cause::Unresponsive));
    assert_eq!(decided(Protocol::Grpc, Vec::new()), Judgement::unavailable(Cause::ProbeFailed));
}

#[test]
fn a_handshake_after_which_nothing_arrives_is_a_drop() {
    let lost = Greeted { acknowledged: false, ..greeted(None) };
    let decided = |greeted: Greeted, listeners: &[Listener]| {
        let dial = Dial { greetings: vec![greeted], ..dial(Outcome::Connected) };
        decide(&evidence(), &port(dial, listeners))
    };
    let gateway = listener("172.18.0.1", 1);
    assert_eq!(decided(lost.clone(), std::slice::from_ref(&gateway)), failed(Cause::Dropped));
    let refused = Greeted { errno: 113, ..lost.clone() };
    assert_eq!(decided(refused, std::slice::from_ref(&gateway)), failed(Cause::Rejected));
    // The last packet of the handshake is dropped for want of room, and the rest with it.
    let full = Listener { queued: 129, queue_limit: 128, ..gateway };
    assert_eq!(decided(lost.clone(), &[full]), failed(Cause::AcceptQueueFull));
    assert_eq!(decided(lost, &[]), failed(Cause::Undetermined));
}

#[test]
fn a_connection_that_does_not_end_here_is_somebody_elses() {
    let decided = |listeners: &[&str], published: bool, held: bool| {
        let listeners: Vec<Listener> = listeners.iter().map(|address| listener(address, 1)).collect();
        let dial = Dial { held: held.then_some(40001), ..dial(Outcome::Connected) };
        let published_by = if published { vec!["cluster".to_owned()] } else { Vec::new() };
        let port = PortEvidence { host_side: Some(HostSide::Absent), published_by, ..port(dial, &listeners) };
        decide(&evidence(), &port)
    };
    let redirected = Judgement::wrong(Cause::Redirected);
    assert_eq!(decided(&["172.18.0.1"], false, true), redirected);
    assert_eq!(decided(&["172.18.0.1"], true, true), redirected);
    assert_eq!(decided(&["0.0.0.0"], false, true), redirected);
    assert_eq!(decided(&[], false, true), redirected);
    // The engine's own forwarder listens on the wildcard for the container that has the service.
    assert_eq!(decided(&["0.0.0.0"], true, true), Judgement::ok());
    assert_eq!(decided(&[], true, true), Judgement::ok());
    // A connection that was gone when it was looked for proves nothing.
    assert_eq!(decided(&["172.18.0.1"], false, false), Judgement::ok());
}

/// A firewall is not blamed for what something below it may have done.
#[test]
fn what_else_drops_packets_is_no_firewalls_doing() {
    let gateway = [listener("172.18.0.1", 1)];
    let decided = |port: PortEvidence, dropped: u64, programs: &[&str]| {
        let programs = programs.iter().map(|name| (*name).to_owned()).collect();
        let drops = Some(Drops { queues: dropped, programs, ..Drops::default() });
        let evidence = Evidence { drops, ports: vec![port.clone()], ..evidence() };
        let judgement = decide(&evidence, &port);
        (judgement, grounds(&evidence, &port, judgement).1.last().copied())
    };
    let silent = || port(Dial { unanswered: 3, sockets: 2, ..dial(Outcome::TimedOut) }, &gateway);
    let half_open = || PortEvidence { host_side: Some(HostSide::HalfOpen), ..silent() };
    let lost = Greeted { acknowledged: false, ..greeted(None) };
    let mute = || port(Dial { greetings: vec![lost.clone()], ..dial(Outcome::Connected) }, &gateway);
    for (port, enough, cause) in
        [(silent(), 3, Cause::Dropped), (half_open(), 3, Cause::ReplyDropped), (mute(), 1, Cause::Dropped)]
    {
        assert_eq!(decided(port.clone(), 0, &[]).0, failed(cause));
        let dropped = (failed(Cause::TrafficControl), Some(Ground::QueuesDropped));
        assert_eq!(decided(port.clone(), enough, &[]), dropped);
        assert_eq!(decided(port.clone(), enough, &["br-0"]), dropped);
        let program = (failed(Cause::Undetermined), Some(Ground::XdpProgram));
        assert_eq!(decided(port, 0, &["br-0"]), program);
    }
    // What was said was acknowledged, and the answer to it was not heard.
    let unheard = Dial { greetings: vec![greeted(None)], silent: Some(40_000), ..dial(Outcome::Connected) };
    let unheard = PortEvidence { host_side: Some(HostSide::Unacknowledged), ..port(unheard, &gateway) };
    assert_eq!(decided(unheard.clone(), 0, &[]).0, failed(Cause::ReplyDropped));
    assert_eq!(decided(unheard, 1, &[]).0, failed(Cause::TrafficControl));
    // Others' packets, and maybe one of these.
    let some = (failed(Cause::Undetermined), Some(Ground::QueuesDroppedSome));
    assert_eq!(decided(silent(), 2, &[]), some);
    // IPsec and TCP are counted for the whole host: enough for a doubt.
    let counted = |port: PortEvidence, number: u64| {
        let host = std::collections::BTreeMap::from([("XfrmInPolBlock".to_owned(), number)]);
        let drops = Some(Drops { host, ..Drops::default() });
        decide(&Evidence { drops, ports: vec![port.clone()], ..evidence() }, &port)
    };
    assert_eq!(counted(silent(), 3), failed(Cause::Undetermined));
    assert_eq!(counted(silent(), 2), failed(Cause::Dropped));
    assert_eq!(counted(half_open(), 3), failed(Cause::Undetermined));
    // What was refused was not dropped, and what came through neither.
    assert_eq!(decided(port(dial(error("ECONNREFUSED")), &gateway), 3, &["br-0"]).0, failed(Cause::Rejected));
    assert_eq!(decided(port(dial(Outcome::Connected), &gateway), 3, &["br-0"]).0, Judgement::ok());
}

#[test]
fn what_is_lost_on_the_way_back_is_told_from_what_is_lost_on_the_way_in() {
    let gateway = [listener("172.18.0.1", 1)];
    let decided = |side: HostSide, interface: u32, rp_filter: u8| {
        let path = ReturnPath {
            to: SANDBOX,
            interface: Some("x".to_owned()),
            index: Some(interface),
            rp_filter: Some(rp_filter),
        };
        let port = port(dial(Outcome::TimedOut), &gateway);
        let port = PortEvidence { host_side: Some(side), return_path: Some(path), ..port };
        decide(&evidence(), &port).cause.unwrap()
    };
    assert_eq!(decided(HostSide::HalfOpen, BRIDGE, 0), Cause::ReplyDropped);
    assert_eq!(decided(HostSide::HalfOpen, 1, 2), Cause::ReversePath);
    assert_eq!(decided(HostSide::Absent, 1, 1), Cause::ReversePath);
    // The half-open connection is gone as soon as the detour turns out to lead nowhere.
    assert_eq!(decided(HostSide::Absent, 1, 2), Cause::ReversePath);
    assert_eq!(decided(HostSide::Absent, BRIDGE, 1), Cause::Dropped);
    let silent = |index: Option<u32>| {
        let path = ReturnPath { to: SANDBOX, interface: None, index, rp_filter: Some(1) };
        let hop = Neighbour { address: GATEWAY, complete: false, device: "eth0".to_owned() };
        let port = PortEvidence { return_path: Some(path), ..port(dial(Outcome::TimedOut), &gateway) };
        decide(&Evidence { next_hop: Some(hop), ..evidence() }, &port)
    };
    assert_eq!(silent(Some(1)), failed(Cause::ReversePath));
    assert_eq!(silent(None), failed(Cause::LinkDown), "the bridge's route went with the bridge");
}

#[test]
fn a_port_that_is_published_is_no_firewalls_fault() {
    let mut published = port(dial(Outcome::TimedOut), &[listener("0.0.0.0", 1)]);
    published.published_by = vec!["cluster".to_owned()];
    assert_eq!(decide(&evidence(), &published), Judgement::wrong(Cause::Redirected));
}

#[test]
fn silence_beside_refusals_that_are_rationed_says_nothing() {
    let limited = Dial { limited: true, ..dial(Outcome::TimedOut) };
    let decided = decide(&evidence(), &port(limited, &[listener("172.18.0.1", 1)]));
    assert_eq!(decided, Judgement::unavailable(Cause::Inconclusive));
}

#[test]
fn a_judgement_names_what_it_rests_on_and_no_more() {
    use Ground::*;
    let gateway = [listener("172.18.0.1", 1)];
    let named = |evidence: &Evidence, port: &PortEvidence| grounds(evidence, port, decide(evidence, port));
    let of = |sandbox: Dial, listeners: &[Listener]| named(&evidence(), &port(sandbox, listeners));
    let ok = of(dial(Outcome::Connected), &gateway);
    assert_eq!(
        ok,
        (Confidence::Proven, vec![NextHopAnswers, ListenerProven, Connected, AnsweredInItsProtocol])
    );
    let dropped = of(dial(Outcome::TimedOut), &gateway);
    assert_eq!(dropped, (Confidence::Likely, vec![NextHopAnswers, ListenerProven, SynsUnanswered]));
    let reset = of(dial(error("ECONNREFUSED")), &gateway);
    assert_eq!(reset, (Confidence::Likely, vec![NextHopAnswers, ListenerProven, RefusedByReset]));
    let refused = of(icmp(error("EHOSTUNREACH"), 13, GATEWAY), &gateway);
    assert_eq!(refused, (Confidence::Proven, vec![NextHopAnswers, ListenerProven, RefusedByIcmp]));
    // A next hop that nothing is known of is not called silent, nor is a refusal of the container's own kernel.
    let unknown = Evidence { next_hop: None, ..evidence() };
    let no_route = named(&unknown, &port(dial(error("ENETUNREACH")), &gateway));
    assert_eq!(no_route, (Confidence::Proven, vec![ListenerProven, NotSent]));
    let broken = Trouble::Protocol(ProtocolError::Incomplete { output: String::new() });
    let broken = Evidence { trouble: Some(broken), ..evidence() };
    assert_eq!(named(&broken, &port(dial(Outcome::TimedOut), &gateway)), (Confidence::Proven, vec![]));
}

#[test]
fn only_what_a_firewall_does_is_its_fault() {
    assert!(Cause::Dropped.is_firewall() && Cause::Rejected.is_firewall());
    for cause in [Cause::NotListening, Cause::WrongBind, Cause::AcceptQueueFull, Cause::LinkDown] {
        assert!(!cause.is_firewall(), "{cause:?}");
    }
}

#[test]
fn without_a_listener_nothing_else_is_blamed() {
    for sandbox in
        [dial(error("ECONNREFUSED")), dial(Outcome::TimedOut), icmp(error("EHOSTUNREACH"), 13, GATEWAY)]
    {
        let decided = |listeners: &[Listener]| decide(&evidence(), &port(sandbox.clone(), listeners));
        assert_eq!(decided(&[]), failed(Cause::NotListening));
        assert_eq!(decided(&[listener("127.0.0.1", 1)]), failed(Cause::WrongBind));
        assert_eq!(decided(&[listener("172.19.0.1", 1)]), failed(Cause::WrongBind));
    }
}

#[test]
fn a_listener_that_comes_or_goes_is_no_firewall() {
    let mut port = port(dial(error("ECONNREFUSED")), &[listener("172.18.0.1", 1)]);
    port.listeners_after = Some(Vec::new());
    assert_eq!(decide(&evidence(), &port), failed(Cause::ListenerChanged));
    port.listeners_after = Some(vec![listener("172.18.0.1", 2)]);
    assert_eq!(decide(&evidence(), &port), failed(Cause::ListenerChanged));
    port.listeners_before = None;
    assert_eq!(decide(&evidence(), &port), failed(Cause::Undetermined));
}

#[test]
fn a_full_accept_queue_is_no_firewall() {
    let full = Listener { queued: 129, queue_limit: 128, ..listener("0.0.0.0", 1) };
    assert_eq!(decide(&evidence(), &port(dial(Outcome::TimedOut), &[full])), failed(Cause::AcceptQueueFull));
}

#[test]
fn an_unanswered_arp_is_a_dead_link() {
    let gateway = [listener("172.18.0.1", 1)];
    for hop in [None, Some(false)] {
        let mut evidence = evidence();
        evidence.next_hop =
            hop.map(|complete| Neighbour { address: GATEWAY, complete, device: "eth0".to_owned() });
        let decided = |sandbox: Dial| decide(&evidence, &port(sandbox, &gateway)).cause;
        let expected = if hop.is_some() { Cause::LinkDown } else { Cause::Undetermined };
        assert_eq!(decided(dial(Outcome::TimedOut)), Some(expected));
        assert_eq!(decided(icmp(error("EHOSTUNREACH"), 1, SANDBOX)), Some(expected));
        assert_eq!(decided(dial(error("ENETUNREACH"))), Some(Cause::NoRoute));
        assert_eq!(decided(dial(error("ECONNREFUSED"))), Some(Cause::Undetermined));
    }
}

#[test]
fn the_hosts_refusal_contradicts_and_its_timeout_says_nothing() {
    let gateway = [listener("172.18.0.1", 1)];
    let decided = |sandbox: Dial, host: Option<Dial>| {
        let port = PortEvidence { host, ..port(sandbox, &gateway) };
        decide(&evidence(), &port).cause.unwrap()
    };
    let refused = || Some(dial(error("ECONNREFUSED")));
    assert_eq!(decided(dial(Outcome::TimedOut), Some(dial(Outcome::TimedOut))), Cause::Dropped);
    assert_eq!(decided(dial(Outcome::TimedOut), None), Cause::Dropped);
    assert_eq!(decided(dial(Outcome::TimedOut), refused()), Cause::Inconclusive);
    assert_eq!(decided(dial(error("ECONNREFUSED")), refused()), Cause::Rejected);
    assert_eq!(decided(icmp(error("ECONNREFUSED"), 3, GATEWAY), refused()), Cause::Rejected);
}

#[test]
fn elsewhere_a_failure_has_no_known_cause() {
    let mut evidence = evidence();
    evidence.standpoint = Some(Standpoint::Elsewhere { reason: "x".to_owned() });
    for route in [Route::HostGateway, Route::BridgeGateway { address: GATEWAY }] {
        evidence.route = Some(route);
        let mut port = port(dial(Outcome::TimedOut), &[listener("172.18.0.1", 1)]);
        assert_eq!(decide(&evidence, &port), failed(Cause::UnknownFromHere));
        port.sandbox = Some(dial(Outcome::Connected));
        assert_eq!(decide(&evidence, &port), Judgement::ok());
    }
}

#[test]
fn an_optional_target_that_nobody_serves_is_skipped() {
    let mut idle = port(dial(Outcome::TimedOut), &[]);
    idle.target.required = false;
    assert_eq!(decide(&evidence(), &idle), Judgement::not_running());
    idle.sandbox = None;
    let broken = Trouble::Protocol(ProtocolError::Incomplete { output: String::new() });
    let trouble = Evidence { trouble: Some(broken), ..evidence() };
    assert_eq!(decide(&trouble, &idle), Judgement::not_running());
    let served = PortEvidence { listeners_after: Some(vec![listener("127.0.0.1", 1)]), ..idle.clone() };
    assert_eq!(decide(&trouble, &served), Judgement::unavailable(Cause::ProbeFailed));
    let remote =
        Evidence { standpoint: Some(Standpoint::Elsewhere { reason: "x".to_owned() }), ..evidence() };
    idle.sandbox = Some(dial(error("ECONNREFUSED")));
    assert_eq!(decide(&remote, &idle), Judgement::not_running());
    idle.sandbox = Some(dial(Outcome::TimedOut));
    assert_eq!(decide(&remote, &idle), failed(Cause::UnknownFromHere));
}

#[test]
fn a_name_that_leads_nowhere_or_elsewhere_is_no_network_failure() {
    let gateway = [listener("172.18.0.1", 1)];
    let port = port(dial(Outcome::TimedOut), &gateway);
    let resolved = |addresses: Vec<IpAddr>| {
        let resolution = Resolution { addresses, ..Resolution::default() };
        decide(&Evidence { resolution: Some(resolution), ..evidence() }, &port)
    };
    assert_eq!(resolved(vec![]), Judgement::unavailable(Cause::NameResolution));
    assert_eq!(resolved(vec!["fd00::1".parse().unwrap()]), Judgement::unavailable(Cause::NameResolution));
    assert_eq!(resolved(vec!["10.0.0.1".parse().unwrap()]), Judgement::unavailable(Cause::AliasMismatch));
}

#[test]
fn trouble_with_the_tools_is_never_a_failure_of_the_network() {
    let engine =
        |trouble: EngineTrouble| EngineError { call: "x".to_owned(), endpoint: "y".to_owned(), trouble };
    let silent = EngineTrouble::Silent { after: Duration::from_secs(1) };
    let refused = EngineTrouble::Refused { status: 500, message: String::new() };
    let down = EngineTrouble::Unreachable { detail: String::new() };
    let table = [
        (Trouble::Engine(engine(down.clone())), Cause::DaemonUnreachable),
        (Trouble::Engine(engine(silent.clone())), Cause::DaemonUnreachable),
        (Trouble::Engine(engine(EngineTrouble::PermissionDenied)), Cause::PermissionDenied),
        (Trouble::Engine(engine(refused.clone())), Cause::EngineError),
        (Trouble::Container(engine(silent)), Cause::ProbeTimeout),
        (Trouble::Container(engine(down.clone())), Cause::DaemonUnreachable),
        (Trouble::Image(ImageError::Engine(engine(refused))), Cause::ImageUnavailable),
        // An engine that went away while its image was asked for is gone, whatever it was asked.
        (Trouble::Image(ImageError::Engine(engine(down.clone()))), Cause::DaemonUnreachable),
        (
            Trouble::Image(ImageError::Engine(engine(EngineTrouble::PermissionDenied))),
            Cause::PermissionDenied,
        ),
        (Trouble::Image(ImageError::NotFound), Cause::ImageUnavailable),
        (Trouble::Route(RouteError::NoIpv4Gateway), Cause::NoIpv4Gateway),
        (Trouble::Route(RouteError::InvalidGateway { gateway: "x".to_owned() }), Cause::InvalidGateway),
        (Trouble::Route(RouteError::NotABridge { driver: "x".to_owned() }), Cause::NotABridge),
        (Trouble::Interrupted, Cause::Interrupted),
    ];
    for (trouble, cause) in table {
        let evidence = Evidence { trouble: Some(trouble), ..evidence() };
        let decided = decide(&evidence, &port(dial(Outcome::TimedOut), &[listener("172.18.0.1", 1)]));
        assert_eq!(decided, Judgement::unavailable(cause), "{:?}", evidence.trouble);
    }
    let missing = Trouble::NetworkNotFound { name: "openshell-docker".to_owned() };
    let evidence = Evidence { trouble: Some(missing), ..evidence() };
    let decided = decide(&evidence, &port(dial(Outcome::TimedOut), &[]));
    assert_eq!(decided, Judgement { verdict: Verdict::NetworkNotFound, cause: None });
}

#[test]
fn what_this_host_says_and_nobody_hears_is_no_fault_of_the_service() {
    let gateway = [listener("172.18.0.1", 1)];
    let decided = |acknowledged: bool, side: Option<HostSide>, interface: u32| {
        let greeted = Greeted { acknowledged, ..greeted(None) };
        let dial = Dial { greetings: vec![greeted], silent: Some(40_000), ..dial(Outcome::Connected) };
        let path = ReturnPath { to: SANDBOX, interface: None, index: Some(interface), rp_filter: None };
        let port = PortEvidence { host_side: side, return_path: Some(path), ..port(dial, &gateway) };
        decide(&evidence(), &port)
    };
    for acknowledged in [true, false] {
        let unheard = decided(acknowledged, Some(HostSide::Unacknowledged), BRIDGE);
        assert_eq!(unheard, failed(Cause::ReplyDropped), "{acknowledged}");
        let astray = decided(acknowledged, Some(HostSide::Unacknowledged), 1);
        assert_eq!(astray, failed(Cause::ReversePath));
    }
    assert_eq!(decided(true, Some(HostSide::Present), BRIDGE), failed(Cause::Unresponsive));
    assert_eq!(decided(false, None, BRIDGE), failed(Cause::Dropped));
}
