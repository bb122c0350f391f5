//! A capture of nft's own tables with much of what its language has, and what each of its ports meets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use ruleset::{Flow, LocalAddress, Outcome, Ruleset, Walk, World};

fn rules() -> Ruleset {
    let path = format!("{}/tests/data/native.json", env!("CARGO_MANIFEST_DIR"));
    let mut rules = Ruleset::default();
    rules.add_nft_json(&std::fs::read(path).unwrap()).unwrap();
    rules
}

fn walk(rules: &Ruleset, port: u16) -> Walk {
    let destination = format!("172.18.0.1:{port}").parse().unwrap();
    let mut flow = Flow::new("br-sandbox", "172.18.0.2:40000".parse().unwrap(), destination);
    flow.port = Some("veth0123456".into());
    let mut world = World::new(&flow, 16);
    world.uplink = Some("eth0".into());
    world.addresses.push(LocalAddress {
        interface: "eth0".into(),
        address: "192.0.2.9".parse().unwrap(),
        prefix: 24,
    });
    rules.connect(&flow, &world)
}

/// The outcome's word, and the deciding rule's chain and number.
fn met(rules: &Ruleset, port: u16) -> String {
    let outcome = walk(rules, port).outcome;
    let text = outcome.to_string();
    let word = text.split([' ', '(']).next().unwrap().to_owned();
    match outcome.place() {
        None => word,
        Some(place) => match place.rule {
            Some(rule) => format!("{word} {} {rule}", place.chain),
            None => format!("{word} {} policy", place.chain),
        },
    }
}

#[test]
fn each_port_meets_its_rule() {
    let rules = rules();
    for (port, expected) in [
        (6000, "redirected pre 1"),
        (6002, "redirected pre 2"),
        (6004, "redirected pre 3"),
        (6005, "undetermined pre 4"),
        (6100, "dropped pre 1"),
        (6200, "dropped ing 1"),
        (7000, "open"),
        (7005, "open"),
        (7100, "open"),
        (22, "open"),
        (8085, "rejected other 1"),
        (8086, "dropped input 13"),
        (7200, "open"),
        (7400, "undetermined input 20"),
        (7600, "open"),
        (7800, "rejected input 23"),
        (7801, "rejected input 24"),
        (7802, "rejected input 25"),
        (7901, "open"),
        (7950, "open"),
        (60000, "dropped input 28"),
    ] {
        assert_eq!(met(&rules, port), expected, "{port}: {}", walk(&rules, port));
    }
}

#[test]
fn a_redirect_names_where_to() {
    let to = |port| match walk(&rules(), port).outcome {
        Outcome::Redirected { to, .. } => to.to_string(),
        other => panic!("{other}"),
    };
    assert_eq!(to(6000), "172.18.0.1:6001");
    assert_eq!(to(6002), "172.18.0.1:6003");
    assert_eq!(to(6004), "10.0.0.9:6004");
}

#[test]
fn what_is_not_understood_leaves_the_rest_undetermined() {
    // Behind all rules of known ports, a match on the time that could drop decides nothing for sure.
    let outcome = walk(&rules(), 7999).outcome;
    let Outcome::Undetermined { place, why } = outcome else { panic!("{outcome}") };
    assert_eq!(place.chain, "input");
    assert!(why.contains("skuid"), "{why}");
}

#[test]
fn written_commands_give_the_same_outcomes() {
    let rules = rules();
    let written = rules.nft_json();
    let objects: Vec<_> =
        written.json["nftables"].as_array().unwrap().iter().map(|command| command["add"].clone()).collect();
    let document = serde_json::json!({ "nftables": objects }).to_string();
    let mut back = Ruleset::default();
    back.add_nft_json(document.as_bytes()).unwrap();
    for port in
        [6000, 6002, 6100, 6200, 7000, 7005, 22, 8085, 8086, 7200, 7800, 7801, 7802, 7901, 7950, 60000]
    {
        let (old, new) = (walk(&rules, port).outcome, walk(&back, port).outcome);
        let original = new.place().map(|place| {
            let of = |chain: &&ruleset::ChainPlaces| chain.table == place.table && chain.chain == place.chain;
            let chain = written.chains.iter().find(of).unwrap();
            place.rule.map(|rule| chain.rules[rule - 1].clone())
        });
        let expected = old.place().map(|place| place.rule.map(|_| place.clone()));
        assert_eq!(original, expected, "{port}: {old} / {new}");
    }
}
