//! What a snapshot carries decides as what was captured: the same verdict, by the same rule, on the same way.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod given;

use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

use given::{CAPTURES, flow, mapping, world};
use proptest::prelude::*;
use ruleset::{Backend, Effect, Family, Flow, LocalAddress, Outcome, Ruleset, Walk, World};
use snapshot::{Carrier, Mapping, Names, Net, Snapshot, read, rules_text, to_bytes};

/// A walk without what texts and addresses tell: each step's place and effect, and the end.
fn way(walk: &Walk, mapping: &Mapping) -> Vec<String> {
    let socket = |to: &SocketAddr| SocketAddr::new(mapping.address(to.ip()), to.port());
    let effect = |effect: &Effect| match effect {
        Effect::Redirect(to) => format!("redirect to {}", socket(to)),
        other => format!("{other:?}"),
    };
    let place = |it: &ruleset::Place| {
        format!("{:?} {} {} {} {:?}", it.backend, it.family, it.table, it.chain, it.rule)
    };
    let steps = walk.packets.iter().flat_map(|packet| &packet.steps);
    let steps = steps.map(|step| format!("{}: {}", place(&step.place), effect(&step.effect)));
    let end = match &walk.outcome {
        Outcome::Open => "open".to_owned(),
        Outcome::Dropped(at) => format!("dropped {}", place(at)),
        Outcome::Rejected { place: at, with } => format!("rejected {with} {}", place(at)),
        Outcome::Redirected { place: at, to } => format!("redirected {} {}", socket(to), place(at)),
        Outcome::Undetermined { place: at, .. } => format!("undetermined {}", place(at)),
    };
    steps.chain([end]).collect()
}

fn carried(rules: &Ruleset, mapping: &Mapping) -> Ruleset {
    Carrier::new(mapping, &mut Names::default()).rules(rules)
}

fn mapped_flow(flow: &Flow, mapping: &Mapping) -> Flow {
    let socket = |it: SocketAddr| SocketAddr::new(mapping.address(it.ip()), it.port());
    Flow { source: socket(flow.source), destination: socket(flow.destination), ..flow.clone() }
}

fn mapped_world(world: &World, mapping: &Mapping) -> World {
    let address = |own: &LocalAddress| LocalAddress { address: mapping.address(own.address), ..own.clone() };
    World { addresses: world.addresses.iter().map(address).collect(), ..world.clone() }
}

fn same_way(rules: &Ruleset, carried: &Ruleset, flow: &Flow, world: &World, mapping: &Mapping) {
    let before = rules.connect(flow, world);
    let after = carried.connect(&mapped_flow(flow, mapping), &mapped_world(world, mapping));
    assert_eq!(way(&before, mapping), way(&after, &Mapping::identity()), "{flow:?}\n{before}\n{after}");
}

#[test]
fn every_capture_decides_the_same_after_mapping() {
    let mapping = mapping();
    let (mut walks, mut ends) = (0, std::collections::BTreeSet::new());
    for capture in &CAPTURES {
        let rules = capture.rules();
        let carried = carried(&rules, &mapping);
        for port in (1..=1024)
            .step_by(73)
            .chain([22, 53, 8080, 8081, 8082, 8083, 8084, 8085, 8086, 8087, 8088, 9000, 9011, 11435])
        {
            // One sandbox, and one neighbour on the local network, whose addresses are mapped.
            for (source, to) in [("172.18.0.2", "172.18.0.1"), ("198.51.100.77", "198.51.100.20")] {
                let destination = SocketAddr::new(to.parse().unwrap(), port);
                let flow =
                    Flow { source: format!("{source}:40000").parse().unwrap(), destination, ..flow(port) };
                let world = world(&flow);
                ends.insert(way(&rules.connect(&flow, &world), &mapping).pop());
                same_way(&rules, &carried, &flow, &world, &mapping);
                walks += 1;
            }
        }
    }
    assert!(walks > 500 && ends.len() > 8, "{walks} walks with {} ends", ends.len());
}

/// Rules with addresses in every form that tools print.
const ADDRESSES: &str = "\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -s 10.1.0.0/16 ! -d 10.9.9.9/32 -p tcp -m tcp --dport 1 -j DROP
-A INPUT -m iprange --src-range 10.1.2.3-10.3.4.5 -p tcp -m multiport --dports 2,10:20 -j REJECT --reject-with icmp-port-unreachable
-A INPUT -m iprange ! --dst-range 203.0.113.7-203.0.113.99 -p tcp -m tcp --dport 3 -j DROP
-A INPUT -m conntrack --ctorigdst 203.0.112.0/22 -p tcp -m tcp --dport 4 -j DROP
-A INPUT -m conntrack ! --ctorigsrc 10.0.0.0/9 -p tcp -m tcp --dport 5 -j DROP
-A INPUT -s 10.0.0.1/255.0.0.255 -p tcp -m tcp --dport 6 -j DROP
-A INPUT -m set --match-set friends src -p tcp -m tcp --dport 7 -j DROP
-A INPUT -m set ! --match-set ranges src -p tcp -m tcp --dport 8 -j DROP
-A INPUT -p tcp -m tcp --dport 9 -m string --string s3cret --algo bm -j DROP
-A INPUT -d 203.0.113.0/24 -m addrtype --dst-type LOCAL -m comment --comment \"s3cret words\" -j DROP
COMMIT
";
const SETS: &str = "create friends hash:net family inet\nadd friends 10.0.0.0/10\nadd friends 10.7.0.0/16 nomatch\n\
    create ranges hash:ip family inet\nadd ranges 10.1.0.0-10.1.7.255\nadd ranges 203.0.113.9\n";
const NATIVE: &str = r#"{"nftables": [
  {"table": {"family": "inet", "name": "t", "handle": 1}},
  {"set": {"family": "inet", "table": "t", "name": "pairs", "type": ["ipv4_addr", "inet_service"], "flags": ["interval"],
    "elem": [{"concat": [{"range": ["10.2.0.5", "10.2.9.9"]}, 11]}, {"concat": ["10.3.0.1", {"range": [12, 14]}]}]}},
  {"chain": {"family": "inet", "table": "t", "name": "c", "type": "filter", "hook": "input", "prio": -5, "policy": "accept"}},
  {"rule": {"family": "inet", "table": "t", "chain": "c", "handle": 2, "comment": "s3cret", "expr": [
    {"match": {"op": "==", "left": {"concat": [{"payload": {"protocol": "ip", "field": "saddr"}}, {"payload": {"protocol": "tcp", "field": "dport"}}]}, "right": "@pairs"}}, {"drop": null}]}},
  {"rule": {"family": "inet", "table": "t", "chain": "c", "handle": 3, "expr": [
    {"match": {"op": ">=", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "10.64.0.7"}},
    {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 15}}, {"drop": null}]}},
  {"rule": {"family": "inet", "table": "t", "chain": "c", "handle": 4, "expr": [
    {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 16}},
    {"vmap": {"key": {"payload": {"protocol": "ip", "field": "saddr"}}, "data": {"set": [
      [{"prefix": {"addr": "10.0.0.0", "len": 12}}, {"drop": null}], [{"range": ["10.32.0.1", "10.99.0.0"]}, {"accept": null}]]}}}]}}
]}"#;

static RULES: LazyLock<Ruleset> = LazyLock::new(addresses);

fn addresses() -> Ruleset {
    let mut rules = Ruleset::default();
    rules.add_save(Backend::Nft, Family::Ip, ADDRESSES.as_bytes()).unwrap();
    rules.add_ipsets(SETS.as_bytes()).unwrap();
    rules.add_nft_json(NATIVE.as_bytes()).unwrap();
    rules
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn random_connections_take_the_same_way(
        key: [u8; 32],
        source in prop_oneof![
            (0_u32..0x0080_0000).prop_map(|it| 0x0a00_0000 + it),
            Just(0x0a01_0203_u32),
            Just(0x0a02_0909_u32),
            0xcb00_7000_u32..0xcb00_7400,
        ],
        destination in prop_oneof![Just(0x0a09_0909_u32), 0xcb00_7100_u32..0xcb00_7200, Just(0xcb00_7114_u32)],
        port in 1_u16..20,
    ) {
        let mapping = Mapping::new(key, &[Net::parse("172.18.0.0/16").unwrap()]);
        let ip = |value: u32| IpAddr::V4(value.into());
        let (source, destination) = (SocketAddr::new(ip(source), 40_000), SocketAddr::new(ip(destination), port));
        let flow = Flow::new("eth0", source, destination);
        let world = World { bridge: false, ..World::new(&flow, 24) };
        let rules = &*RULES;
        let carried = carried(rules, &mapping);
        // A mask with holes is nobody's network: such a rule is not carried, and is undetermined where it was reached.
        if port != 6 {
            same_way(rules, &carried, &flow, &world, &mapping);
        }
    }
}

#[test]
fn what_is_not_on_the_list_is_named_by_its_kind_alone() {
    let mapping = mapping();
    let mut names = Names::default();
    let mut carrier = Carrier::new(&mapping, &mut names);
    let text = serde_json::to_string(&carrier.rules(&addresses())).unwrap();
    assert!(!text.contains("s3cret") && !text.contains("\"text\""), "{text}");
    let kinds: Vec<_> =
        carrier.not_carried().into_iter().map(|it| (it.chain.to_string(), it.rule, it.kind)).collect();
    let input = |rule, kind: &str| ("INPUT".to_owned(), rule, kind.to_owned());
    assert_eq!(kinds, [input(6, "address"), input(9, "string")]);
}

#[test]
fn what_is_written_is_read_again_with_texts() {
    for capture in &CAPTURES {
        let rules = capture.rules();
        let snapshot = given::snapshot(&rules);
        let bytes = to_bytes(&snapshot).unwrap();
        let read = read(bytes.as_slice()).unwrap();
        assert_eq!(to_bytes(&read).unwrap(), bytes, "{}", capture.name);
        for target in &read.check.targets {
            let walk = read.walk(target).unwrap();
            assert_ne!(Snapshot::agrees(target, &walk), Some(false), "{} {walk}", capture.name);
        }
        let (written, wanted) = (rules_text(read.rules.as_ref().unwrap()), rules_text(&rules));
        assert_eq!(written.lines().count(), wanted.lines().count(), "{}", capture.name);
        // Without an address and a comment, the words are those of the tool.
        let policy = "ip filter ufw-user-limit-accept 1 -j ACCEPT";
        assert_eq!(written.contains(policy), wanted.contains(policy), "{written}");
    }
}

/// `OPENSHELL_UPDATE_GOLDEN=1 cargo test -p openshell-snapshot` writes the corpus anew.
#[test]
fn the_corpus_is_what_is_written_today() {
    for capture in &CAPTURES {
        let snapshot = given::snapshot(&capture.rules());
        let (file, bytes) = (given::committed(capture.name), to_bytes(&snapshot).unwrap());
        if std::env::var_os("OPENSHELL_UPDATE_GOLDEN").is_some() {
            std::fs::write(&file, &bytes).unwrap();
        }
        // What is compressed, because the compressor may change.
        let committed = snapshot::read_file(file.as_ref()).unwrap();
        assert_eq!(
            snapshot::to_json(&committed).unwrap(),
            snapshot::to_json(&snapshot).unwrap(),
            "{file}: set OPENSHELL_UPDATE_GOLDEN=1 to write it anew"
        );
    }
}

#[test]
fn everything_is_shown() {
    let snapshot = given::snapshot(&CAPTURES[2].rules());
    let shown = snapshot::show(&snapshot).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&snapshot::to_json(&snapshot).unwrap()).unwrap();
    for section in value.as_object().unwrap().keys() {
        assert!(
            shown.lines().any(|line| line.starts_with(&format!("{section}:"))),
            "{section} is not in\n{shown}"
        );
    }
    assert!(shown.contains("2 -p tcp -m tcp --dport 8080 -j DROP"), "{shown}");
    let rules: usize =
        CAPTURES[2].rules().tables.iter().flat_map(|it| &it.chains).map(|it| it.rules.len()).sum();
    assert!(shown.lines().count() > rules);
}
