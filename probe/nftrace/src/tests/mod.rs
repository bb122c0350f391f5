//! Real packets, real rules, in namespaces of the tests' own.

mod room;
mod writer;

use std::io::{BufRead, BufReader, ErrorKind};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Stdio};

use room::{PORT, Room, V4, V6};
use writer::{Rules, Say, tables};

use crate::netlink::constants::{NF_ACCEPT, NF_DROP, NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6};
use crate::{Error, Family, Kind, Packets, Place, Trace, Tracer, Verdict, generation, position};

const IP: u8 = NFPROTO_IPV4;

fn v6() -> IpAddr {
    V6.parse().unwrap()
}

impl Room {
    fn load(&self, rules: impl FnOnce() -> Rules + Send) {
        self.host.run(|| rules().load()).unwrap();
    }

    fn tracer(&self, ports: &[u16]) -> Tracer {
        self.host.run(|| Tracer::on(PORT, ports)).unwrap().unwrap()
    }
}

/// The only flow that a tracer saw.
fn only(tracer: &mut Tracer) -> Trace {
    let traces = tracer.drain().unwrap();
    assert_eq!(traces.iter().count(), 1, "{traces:#?}");
    traces.iter().next().unwrap().clone()
}

#[test]
fn without_a_table_a_flow_is_seen_and_nothing_decides() {
    let room = Room::new();
    let mut tracer = room.tracer(&[8080]);
    room.dial(V4, 8080).unwrap();
    let trace = only(&mut tracer);
    assert_eq!((trace.decision(), trace.picked()), (None, 1));
    assert_eq!(trace.flow().destination.to_string(), "10.99.0.1:8080");
    assert_eq!(trace.flow().source.ip().to_string(), "10.99.0.2");
    let name = room.host.run(|| trace.packet().interface_name()).unwrap();
    assert_eq!(name.as_deref(), Some(PORT));
}

#[test]
fn the_policy_of_a_base_chain_drops() {
    let room = Room::new();
    room.load(|| Rules::new().table(IP, "filter").input(IP, "filter", "INPUT", NF_DROP));
    let mut tracer = room.tracer(&[8080]);
    assert_eq!(room.outcome(V4, 8080), Err(ErrorKind::TimedOut));
    let decision = only(&mut tracer).decision().unwrap();
    assert_eq!(decision.to_string(), "ip filter INPUT policy: drop");
    assert_eq!((decision.family, decision.rule), (Family::Ip, None));
}

#[test]
fn a_rule_in_a_jumped_chain_drops_and_has_its_place() {
    let room = Room::new();
    room.load(|| {
        Rules::new()
            .table(IP, "filter")
            .input(IP, "filter", "INPUT", NF_ACCEPT)
            .chain(IP, "filter", "user")
            .rule(IP, "filter", "user", Some(22), Say::Accept)
            .rule(IP, "filter", "user", Some(9090), Say::Accept)
            .rule(IP, "filter", "INPUT", None, Say::Jump("user"))
            .rule(IP, "filter", "user", Some(8080), Say::Drop)
    });
    let mut tracer = room.tracer(&[]);
    assert_eq!(room.outcome(V4, 8080), Err(ErrorKind::TimedOut));
    let trace = only(&mut tracer);
    let decision = trace.decision().unwrap();
    assert_eq!((decision.chain.as_str(), decision.verdict), ("user", Verdict::Drop));
    let place =
        |chain: &str, handle| room.host.run(|| position(Family::Ip, "filter", chain, handle)).unwrap();
    let handle = decision.rule.unwrap();
    assert_eq!(place("user", handle).unwrap(), Some(3));
    assert_eq!(place("INPUT", handle).unwrap(), None);
    assert!(place("user", handle + 100).unwrap().is_none());

    let [first, ..] = trace.events() else { panic!("{trace:#?}") };
    let Kind::Rule { handle: jump } = first.kind else { panic!("{first:#?}") };
    assert_eq!((&first.verdict, first.chain.as_str()), (&Verdict::Jump("user".into()), "INPUT"));
    assert_eq!(place("INPUT", jump).unwrap(), Some(1));

    room.dial(V4, 9090).unwrap();
    let accepted = only(&mut tracer).decision().unwrap();
    assert_eq!(accepted.verdict, Verdict::Accept);
    assert_eq!(place("user", accepted.rule.unwrap()).unwrap(), Some(2));
}

#[test]
fn a_rule_of_ipv6_drops_and_leaves_ipv4_alone() {
    let room = Room::new();
    room.load(|| {
        let rules =
            Rules::new().table(NFPROTO_IPV6, "filter").input(NFPROTO_IPV6, "filter", "INPUT", NF_ACCEPT);
        rules.rule(NFPROTO_IPV6, "filter", "INPUT", Some(8080), Say::Drop)
    });
    let mut tracer = room.tracer(&[8080]);
    room.dial(V4, 8080).unwrap();
    assert_eq!(only(&mut tracer).decision(), None);
    assert_eq!(room.outcome(v6(), 8080), Err(ErrorKind::TimedOut));
    let trace = only(&mut tracer);
    assert_eq!(trace.flow().destination.to_string(), "[fd99::1]:8080");
    let decision = trace.decision().unwrap();
    assert_eq!((decision.family, decision.verdict), (Family::Ip6, Verdict::Drop));
}

#[test]
fn the_second_table_drops_what_the_first_accepts() {
    let room = Room::new();
    room.load(|| {
        Rules::new()
            .table(IP, "filter")
            .input(IP, "filter", "INPUT", NF_ACCEPT)
            .rule(IP, "filter", "INPUT", Some(8080), Say::Accept)
            .table(NFPROTO_INET, "own")
            .input_at(10, NFPROTO_INET, "own", "input", NF_DROP)
            .rule(NFPROTO_INET, "own", "input", Some(9090), Say::Accept)
    });
    let mut tracer = room.tracer(&[]);
    assert_eq!(room.outcome(V4, 8080), Err(ErrorKind::TimedOut));
    let trace = only(&mut tracer);
    let words: Vec<_> = trace.decisions().map(|it| (it.table, it.verdict)).collect();
    assert_eq!(words, [("filter".into(), Verdict::Accept), ("own".into(), Verdict::Drop)]);
    let decision = trace.decision().unwrap();
    assert_eq!((decision.family, decision.table.as_str(), decision.rule), (Family::Inet, "own", None));

    room.dial(V4, 9090).unwrap();
    let decision = only(&mut tracer).decision().unwrap();
    assert_eq!((decision.table.as_str(), decision.verdict), ("own", Verdict::Accept));
    assert!(decision.rule.is_some());
}

#[test]
fn other_flows_are_not_seen() {
    let room = Room::new();
    room.load(|| Rules::new().table(IP, "filter").input(IP, "filter", "INPUT", NF_ACCEPT));
    let mut tracer = room.tracer(&[8080, 8081]);
    room.dial(V4, 9090).unwrap();
    let itself = room.host.run(|| std::net::TcpStream::connect((V4, 8080))).unwrap();
    assert!(itself.is_ok());
    assert!(tracer.drain().unwrap().is_empty());
}

#[test]
fn two_tracers_have_each_the_flows_that_they_picked() {
    let room = Room::new();
    room.load(|| Rules::new().table(IP, "filter").input(IP, "filter", "INPUT", NF_ACCEPT));
    let (mut one, mut other) = (room.tracer(&[8080]), room.tracer(&[9090]));
    room.dial(V4, 8080).unwrap();
    room.dial(V4, 9090).unwrap();
    let port = |tracer: &mut Tracer| only(tracer).flow().destination.port();
    assert_eq!((port(&mut one), port(&mut other)), (8080, 9090));
}

#[test]
fn a_drop_after_the_first_packet_is_seen_when_all_are_picked() {
    let room = Room::new();
    room.load(|| Rules::new().table(IP, "filter").input(IP, "filter", "INPUT", NF_ACCEPT));
    let device = Place::Device(PORT.into());
    let mut tracer = room.host.run(|| Tracer::at(&device, &[8080], Packets::All)).unwrap().unwrap();
    let connection = room.dial(V4, 8080).unwrap();
    room.load(|| Rules::new().table(IP, "late").input(IP, "late", "input", NF_DROP));
    std::io::Write::write_all(&mut &connection, b"data").unwrap();
    let trace = only(&mut tracer);
    assert!(trace.picked() >= 3, "{}", trace.picked());
    assert_eq!(trace.decision().unwrap().table, "late");
}

#[test]
fn every_place_sees_the_flow_and_what_decides() {
    let room = Room::new();
    room.load(|| Rules::new().table(IP, "filter").input(IP, "filter", "INPUT", NF_DROP));
    for place in [Place::Device(PORT.into()), Place::Bridges, Place::Received] {
        let mut tracer = room.host.run(|| Tracer::at(&place, &[8080], Packets::First)).unwrap().unwrap();
        assert_eq!(room.outcome(V4, 8080), Err(ErrorKind::TimedOut));
        let decision = only(&mut tracer).decision();
        assert_eq!(decision.expect("a decision").to_string(), "ip filter INPUT policy: drop", "{place:?}");
    }
}

#[test]
fn the_ruleset_is_as_it_was_when_the_tracer_is_gone() {
    let room = Room::new();
    room.load(|| Rules::new().table(IP, "filter").input(IP, "filter", "INPUT", NF_ACCEPT));
    let before = room.host.run(tables).unwrap();
    let generations = || room.host.run(generation).unwrap().unwrap();
    let first = generations();
    assert_eq!(generations(), first);
    let tracer = room.tracer(&[8080]);
    let during = room.host.run(tables).unwrap();
    assert!(during.contains(&tracer.table().to_owned()) && during.len() == before.len() + 1, "{during:?}");
    assert_ne!(generations(), first);
    let second = room.tracer(&[8080]);
    assert_ne!(second.table(), tracer.table());
    drop((tracer, second));
    assert_eq!(room.host.run(tables).unwrap(), before);
}

#[test]
fn lost_events_are_an_error() {
    let room = Room::new();
    room.load(|| {
        let rules = Rules::new().table(IP, "filter").input(IP, "filter", "INPUT", NF_ACCEPT);
        (0..100).fold(rules, |rules, _| rules.rule(IP, "filter", "INPUT", None, Say::Continue))
    });
    let mut tracer = room.tracer(&[]);
    room.dial(V4, 8080).unwrap();
    // The rules, the end of the chain, and the policy.
    assert_eq!(only(&mut tracer).events().len(), 102);
    // Where nobody listens, no queue fills up.
    (0..200).for_each(|_| assert_eq!(room.outcome(V4, 7070), Err(ErrorKind::ConnectionRefused)));
    assert!(matches!(tracer.drain(), Err(Error::Overrun)));
}

/// What the next test kills; by itself it does nothing.
#[test]
#[ignore = "a process of another test's"]
fn hold_a_tracer() {
    let Some(namespace) = std::env::var_os("OPENSHELL_NFTRACE_TEST_NAMESPACE") else { return };
    let namespace = netns::Namespace::open(namespace.as_ref()).unwrap();
    let _tracer = namespace.run(|| Tracer::on(PORT, &[8080])).unwrap().unwrap();
    println!("held");
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn the_table_goes_with_a_process_that_is_killed() {
    let room = Room::new();
    let path = format!("/proc/{}/fd/{}", std::process::id(), room.host.as_fd().as_raw_fd());
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::hold_a_tracer", "--ignored", "--nocapture"])
        .env("OPENSHELL_NFTRACE_TEST_NAMESPACE", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(holder.stdout.take().unwrap());
    assert!(said.lines().map_while(Result::ok).any(|line| line.ends_with("held")));
    assert_eq!(room.host.run(tables).unwrap().len(), 1);
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(room.host.run(tables).unwrap().is_empty());
}

#[test]
fn what_no_kernel_takes_is_said_to_be_so() {
    let room = Room::new();
    let on = |device: &str, ports: &[u16]| room.host.run(|| Tracer::on(device, ports)).unwrap();
    for device in ["", "a-name-of-16-byt", "nul\0", "no-such"] {
        assert!(matches!(on(device, &[]), Err(Error::BadInput { .. })), "{device:?}");
    }
    assert!(matches!(on(PORT, &[1; 257]), Err(Error::BadInput { .. })));
    let place = room.host.run(|| position(Family::Ip, "none", "none", 1)).unwrap();
    assert!(place.is_err() || place.unwrap().is_none());
    assert_eq!(room.tracer(&[0; 256]).drain().unwrap().iter().count(), 0);
}
