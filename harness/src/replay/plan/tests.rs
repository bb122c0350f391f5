#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use serde_json::{Value, json};
use snapshot::{Snapshot, read_json, to_json};

use super::*;

const FILE: &[u8] =
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/ufw-default-deny.snapshot"));

/// A snapshot with values changed, as its reader gives it.
fn changed(change: impl FnOnce(&mut Value)) -> Snapshot {
    let mut value: Value = serde_json::from_slice(&to_json(&snapshot::read(FILE).unwrap()).unwrap()).unwrap();
    change(&mut value);
    read_json(&serde_json::to_vec(&value).unwrap()).unwrap()
}

fn whys(plan: &Plan) -> String {
    plan.not_replayed().iter().map(|it| format!("{}: {}\n", it.what, it.why)).collect()
}

#[test]
fn rules_are_fed_in_the_order_of_the_backends_after_the_engines_are_gone() {
    let plan = Plan::of(&snapshot::read(FILE).unwrap());
    let tools: Vec<_> = plan.rules.feeds.iter().map(|feed| (feed.tool, feed.more)).collect();
    assert_eq!(tools[0], (Tool::Nft, false));
    assert!(plan.rules.feeds[0].text.contains("flush"));
    assert_eq!(tools[1], (Tool::Restore("iptables-nft-restore"), false));
    assert!(tools.contains(&(Tool::Restore("ip6tables-nft-restore"), false)), "{tools:?}");
    assert!(plan.rules.feeds[1].text.contains(":INPUT DROP [0:0]\n"));
}

/// A rule that is not written moves those after it; what is named is where it was captured.
#[test]
fn a_rule_is_named_by_its_captured_number() {
    let snapshot = changed(|value| {
        let chains = &mut value["rules"]["tables"][0]["chains"];
        let chain = chains.as_array_mut().unwrap().iter_mut().find(|it| it["name"] == "INPUT").unwrap();
        chain["rules"][0]["parts"] = json!([{"ask": {"unknown": "string"}}]);
    });
    let plan = Plan::of(&snapshot);
    let word = |text: &str| snapshot::Word::new(text).unwrap();
    let name = |text: &str| snapshot::Name::new(text).unwrap();
    let table = &snapshot.rules.as_ref().unwrap().tables[0];
    let here = snapshot::Decided {
        packet: word("syn"),
        backend: word("nft"),
        family: word(table.family.name()),
        table: name(&table.name),
        chain: name("INPUT"),
        rule: Some(1),
    };
    assert_eq!(plan.rules.captured(&here).rule, Some(2));
    assert_eq!(plan.rules.captured(&snapshot::Decided { rule: None, ..here }).rule, None);
    assert!(whys(&plan).contains("INPUT rule 1"), "{}", whys(&plan));
}

#[test]
fn what_a_kernel_would_not_take_is_left_out_with_its_reason() {
    let snapshot = changed(|value| {
        let link = |name: &str| json!({"name": name, "kind": "device", "up": true, "master": null, "mtu": 1500, "mac": null});
        value["links"] = json!([link("eth0"), link("a:b"), link("all")]);
        value["addresses"] = json!([{"interface": "eth0", "address": "10.0.0.5/24"}]);
        let route = |to: &str, interface: &str, table: &str| json!({"table": table, "kind": "unicast", "to": to, "gateway": "10.0.0.1", "interface": interface, "source": null, "metric": 7});
        value["routes"] = json!([
            route("0.0.0.0/0", "eth0", "main"),
            route("10.9.0.0/16", "gone", "main"),
            route("10.8.0.0/16", "eth0", "vpn")
        ]);
        value["sysctls"] = json!([
            {"key": "rp_filter", "interface": "all", "value": 1},
            {"key": "rp_filter", "interface": "eth0", "value": 1},
            {"key": "ip_forward", "interface": null, "value": 77}
        ]);
    });
    let plan = Plan::of(&snapshot);
    let links: Vec<_> = plan.links.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(
        links,
        [
            "link add name eth0 mtu 1500 type bridge",
            "link set dev eth0 up",
            "address add 10.0.0.5/24 dev eth0"
        ]
    );
    let routes: Vec<_> = plan.routes_v4.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(routes, ["route replace unicast 0.0.0.0/0 table 254 via 10.0.0.1 dev eth0 onlink metric 7"]);
    let paths: Vec<_> = plan.settings.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(paths, ["net/ipv4/conf/all/rp_filter"]);
    let whys = whys(&plan);
    for why in [
        "interface a:b: no interface can have this name",
        "interface all: no interface can have this name",
        "route to 10.9.0.0/16 of table main: there is no interface gone here",
        "route to 10.8.0.0/16 of table vpn: its table has no number",
        "setting net/ipv4/conf/eth0/rp_filter: no such interface is made",
        "setting net/ipv4/ip_forward: 77 is no value of it",
    ] {
        assert!(whys.contains(why), "{why:?} is not in\n{whys}");
    }
}

#[test]
fn a_service_is_what_the_check_has_seen_of_it() {
    let listener = |address: &str, port: u16| json!({"address": address, "port": port, "v6_only": false, "interface": null, "owner": "user", "queue_full": false});
    let listeners =
        json!([listener("127.0.0.1", 8080), listener("172.18.0.1", 8080), listener("0.0.0.0", 22)]);
    let kinds = |cause: &str| {
        let snapshot = changed(|value| {
            value["listeners"] = listeners.clone();
            value["check"]["targets"][0]["cause"] = cause.into();
            value["check"]["targets"][0]["label"] = "gateway".into();
            value["check"]["targets"][0]["protocol"] = "grpc".into();
        });
        let services = Plan::of(&snapshot).services;
        services.iter().map(|it| (it.port, it.kind, it.addresses.len(), it.user)).collect::<Vec<_>>()
    };
    use crate::service::Behaviour::{Http, Silent};
    let other = (22, Kind::Other(Silent), 1, Some(1000));
    assert_eq!(kinds("dropped"), [other, (8080, Kind::Gateway, 2, Some(1000))]);
    assert_eq!(kinds("unresponsive"), [other, (8080, Kind::Other(Silent), 2, Some(1000))]);
    assert_eq!(kinds("other_protocol"), [other, (8080, Kind::Other(Http), 2, Some(1000))]);
}
