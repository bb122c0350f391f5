//! What real tools' rules do, said by hand: the captures in `data/` are what the tools of Debian 13 printed.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use ruleset::{Backend, Family, Flow, Outcome, RejectWith, Ruleset, Walk, World};

fn data(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn save(name: &str) -> Ruleset {
    let mut rules = Ruleset::default();
    rules.add_save(Backend::Nft, Family::Ip, &data(name)).unwrap();
    rules
}

fn flow(port: u16) -> Flow {
    Flow::new(
        "br-sandbox",
        "172.18.0.2:40000".parse().unwrap(),
        format!("172.18.0.1:{port}").parse().unwrap(),
    )
}

fn walk(rules: &Ruleset, flow: &Flow) -> Walk {
    rules.connect(flow, &World::new(flow, 16))
}

fn at(rules: &Ruleset, port: u16) -> String {
    walk(rules, &flow(port)).outcome.to_string()
}

/// The name of the bridge that a capture speaks of.
fn bridge(rules: &[u8]) -> String {
    let text = String::from_utf8_lossy(rules);
    let start = text.find("br-").unwrap();
    text[start..start + 15].to_owned()
}

#[test]
fn ufw_denies_by_its_policy() {
    let rules = save("ufw-default-deny.save");
    assert_eq!(at(&rules, 8080), "dropped by ip filter INPUT policy DROP");
    let walk = walk(&rules, &flow(8080));
    let chains: Vec<_> = walk.packets[0].steps.iter().map(|step| step.place.chain.as_str()).collect();
    let passed = ["ufw-before-input", "ufw-not-local", "ufw-after-logging-input", "INPUT"]
        .map(|name| chains.contains(&name));
    assert_eq!(passed, [true; 4], "{walk}");
    assert_eq!(walk.packets[0].steps.last().unwrap().place.to_string(), "ip filter INPUT policy DROP");
    assert!(walk.assumptions.iter().any(|assumed| assumed.place.text.contains("--limit")), "{walk}");
}

#[test]
fn ufw_denies_over_ipv6_as_well() {
    let mut rules = Ruleset::default();
    rules.add_save(Backend::Nft, Family::Ip6, &data("ufw-default-deny.save6")).unwrap();
    let flow = Flow::new("br-sandbox", "[fd00::2]:40000".parse().unwrap(), "[fd00::1]:8080".parse().unwrap());
    assert_eq!(walk(&rules, &flow).outcome.to_string(), "dropped by ip6 filter INPUT policy DROP");
    assert_eq!(at(&rules, 8080), "open", "IPv4 passes no rule of IPv6");
}

#[test]
fn ufw_refuses_if_that_is_its_default() {
    let rules = save("ufw-default-reject.save");
    let expected = "rejected (icmp port-unreachable) by ip filter ufw-reject-input rule 1: \
                    -j REJECT --reject-with icmp-port-unreachable";
    assert_eq!(at(&rules, 8080), expected);
}

#[test]
fn ufw_rules_decide_in_their_order() {
    let rules = save("ufw-rules.save");
    let denied = "dropped by ip filter ufw-user-input rule 2: -p tcp -m tcp --dport 8080 -j DROP";
    assert_eq!(at(&rules, 8080), denied);
    let Outcome::Rejected { place, with } = walk(&rules, &flow(8081)).outcome else { panic!() };
    assert_eq!((place.rule, with), (Some(3), RejectWith::TcpReset));
    // 8083 is allowed from the network, 8085 to all, 9000 to 9010 and 9101 by multiport.
    for port in [22, 8083, 8085, 9000, 9010, 9101] {
        assert_eq!(at(&rules, port), "open", "{port}");
    }
    // 8086 is allowed for routed traffic only, 8087 from elsewhere, 9011 and 9102 not at all.
    for port in [8086, 8087, 9011, 9102] {
        assert_eq!(at(&rules, port), "dropped by ip filter INPUT policy DROP", "{port}");
    }
}

#[test]
fn ufw_rules_of_an_interface_are_for_that_one() {
    let rules = save("ufw-rules.save");
    let on = |port| {
        let mut flow = flow(port);
        flow.input = bridge(&data("ufw-rules.save"));
        walk(&rules, &flow).outcome
    };
    assert_eq!(at(&rules, 8084), "dropped by ip filter INPUT policy DROP");
    assert_eq!(on(8084), Outcome::Open);
    assert_eq!(at(&rules, 8088), "dropped by ip filter INPUT policy DROP");
    assert_eq!(on(8088).place().unwrap().rule, Some(10));
}

#[test]
fn ufw_limit_lets_the_first_connections_pass_and_says_so() {
    let walk = walk(&save("ufw-rules.save"), &flow(8082));
    assert_eq!(walk.outcome, Outcome::Open);
    let assumed =
        walk.assumptions.iter().any(|assumed| assumed.what == "the list of recent addresses was empty");
    assert!(assumed, "{walk}");
    let last = walk.packets[0].steps.iter().rev().find(|step| step.place.chain == "ufw-user-limit-accept");
    assert_eq!(last.unwrap().place.rule, Some(1));
}

#[test]
fn a_host_that_is_not_the_destination_is_told_by_ufw() {
    let rules = save("ufw-default-deny.save");
    let flow = flow(8080);
    let mut world = World::new(&flow, 16);
    world.addresses.clear();
    let place = rules.connect(&flow, &world).outcome.place().unwrap().clone();
    assert_eq!((place.chain.as_str(), place.rule), ("ufw-not-local", Some(5)));
}

#[test]
fn docker_itself_lets_sandboxes_reach_their_host() {
    let bytes = data("docker-26.1.save");
    let rules = save("docker-26.1.save");
    let mut flow = flow(8080);
    flow.input = bridge(&bytes);
    let walk = walk(&rules, &flow);
    assert_eq!(walk.outcome, Outcome::Open);
    assert_eq!(walk.packets.len(), 6);
    // Destination nat: local addresses are looked up in Docker's chain, and its own bridges are sent back.
    let texts: Vec<_> = walk.packets[0].steps.iter().map(|step| step.place.text.as_str()).collect();
    assert_eq!(texts[0], "-m addrtype --dst-type LOCAL -j DOCKER");
    assert!(texts[1].ends_with("-j RETURN"), "{texts:?}");
}

#[test]
fn firewalld_refuses_in_its_public_zone() {
    let mut rules = Ruleset::default();
    rules.add_nft_json(&data("firewalld-public.json")).unwrap();
    rules.add_save(Backend::Nft, Family::Ip, &data("firewalld-public.save")).unwrap();
    let Outcome::Rejected { place, with } = walk(&rules, &flow(8080)).outcome else {
        panic!("{}", walk(&rules, &flow(8080)))
    };
    assert_eq!(with, RejectWith::Icmpx(3));
    assert_eq!((place.table.as_str(), place.chain.as_str()), ("firewalld", "filter_INPUT_POLICIES"));
    assert!(place.handle.is_some() && place.text == "reject with icmpx admin-prohibited", "{place}");
    assert_eq!(at(&rules, 22), "open", "ssh is one of its services");
}

#[test]
fn a_table_of_nft_drops_by_its_policy() {
    let mut rules = Ruleset::default();
    rules.add_save(Backend::Nft, Family::Ip, &data("docker-26.1.save")).unwrap();
    rules.add_nft_json(&data("nft-drop.json")).unwrap();
    assert_eq!(at(&rules, 8080), "dropped by inet filter input policy drop");
}

#[test]
fn tables_of_iptables_are_not_read_from_nft_in_either_order() {
    let (json, save, save6) =
        (data("ufw-default-deny.json"), data("ufw-default-deny.save"), data("ufw-default-deny.save6"));
    let mut before = Ruleset::default();
    before.add_nft_json(&json).unwrap();
    // Alone, nft's view of them says nothing about what they do.
    assert!(matches!(walk(&before, &flow(8080)).outcome, Outcome::Undetermined { .. }));
    before.add_save(Backend::Nft, Family::Ip, &save).unwrap();
    before.add_save(Backend::Nft, Family::Ip6, &save6).unwrap();
    let mut after = Ruleset::default();
    after.add_save(Backend::Nft, Family::Ip, &save).unwrap();
    after.add_save(Backend::Nft, Family::Ip6, &save6).unwrap();
    after.add_nft_json(&json).unwrap();
    assert_eq!(before, after);
    assert!(after.tables.iter().all(|table| table.backend == Backend::Nft));
}

#[test]
fn legacy_tables_are_walked_with_their_goto() {
    let mut rules = Ruleset::default();
    rules.add_save(Backend::Legacy, Family::Ip, &data("legacy.save")).unwrap();
    let rejected = at(&rules, 8080);
    assert!(rejected.starts_with("rejected (icmp host-prohibited) by ip filter own rule 2: "), "{rejected}");
    assert_eq!(at(&rules, 22), "open");
    // From a chain that was gone to, the base chain's policy is next.
    assert_eq!(at(&rules, 8081), "dropped by ip filter INPUT policy DROP");
}

#[test]
fn sets_of_ipset_are_looked_up() {
    let mut rules = save("ipset.save");
    assert!(matches!(walk(&rules, &flow(8080)).outcome, Outcome::Undetermined { .. }), "no sets yet");
    rules.add_ipsets(&data("ipset.ipset")).unwrap();
    let from = |source: &str, port| {
        let mut flow = flow(port);
        flow.source = source.parse().unwrap();
        walk(&rules, &flow).outcome
    };
    // 172.16.0.0/12 is in the set but for 172.18.0.0/24; 8080 is in another one with the host's address.
    assert_eq!(from("172.18.1.2:40000", 8081).place().unwrap().rule, Some(1));
    assert_eq!(from("172.18.0.2:40000", 8081), Outcome::Open);
    assert_eq!(from("172.18.0.2:40000", 8080).place().unwrap().rule, Some(2));
    assert_eq!(from("172.18.0.2:40000", 8082), Outcome::Open);
}

#[test]
fn what_was_written_is_read_back_as_the_same_rules() {
    for name in ["ufw-rules.save", "ufw-default-reject.save", "docker-26.1.save"] {
        let rules = save(name);
        let written = rules.restore_text(Family::Ip);
        assert!(written.not_written.is_empty(), "{name}: {:?}", written.not_written);
        assert!(!written.text.contains("UFW"), "{name}: captured text was written");
        let mut back = Ruleset::default();
        back.add_save(Backend::Nft, Family::Ip, written.text.as_bytes()).unwrap();
        for port in [22, 8080, 8081, 8082, 8083, 8086, 9005] {
            let (old, new) = (walk(&rules, &flow(port)).outcome, walk(&back, &flow(port)).outcome);
            let place = |outcome: &Outcome| outcome.place().map(|place| (place.chain.clone(), place.rule));
            assert_eq!(place(&old), place(&new), "{name} {port}");
        }
    }
}
