//! Snapshots made of what real tools printed: the captures of `openshell-ruleset`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use ruleset::{Backend, Family, Flow, LocalAddress, Outcome, Ruleset, Walk, World};
use snapshot::{
    Address, Carrier, Check, Decided, Interface, Listener, Mapping, Name, Names, Net, Owner, Path, Privilege,
    SCHEMA_VERSION, Snapshot, System, Target, Version, Word,
};

/// A capture: its name, and what it is made of.
pub struct Capture {
    pub name: &'static str,
    parts: &'static [(&'static str, Kind)],
}

#[derive(Clone, Copy)]
enum Kind {
    Save(Backend, Family),
    Json,
    Sets,
}

use Kind::{Json, Save, Sets};

const V4: Kind = Save(Backend::Nft, Family::Ip);

pub const CAPTURES: [Capture; 9] = [
    Capture {
        name: "ufw-default-deny",
        parts: &[
            ("ufw-default-deny.save", V4),
            ("ufw-default-deny.save6", Save(Backend::Nft, Family::Ip6)),
            ("ufw-default-deny.json", Json),
        ],
    },
    Capture { name: "ufw-default-reject", parts: &[("ufw-default-reject.save", V4)] },
    Capture { name: "ufw-rules", parts: &[("ufw-rules.save", V4)] },
    Capture { name: "docker-26.1", parts: &[("docker-26.1.save", V4)] },
    Capture {
        name: "firewalld-public",
        parts: &[("firewalld-public.save", V4), ("firewalld-public.json", Json)],
    },
    Capture { name: "legacy", parts: &[("legacy.save", Save(Backend::Legacy, Family::Ip))] },
    Capture { name: "native", parts: &[("native.json", Json)] },
    Capture { name: "nft-drop", parts: &[("nft-drop.json", Json)] },
    Capture { name: "ipset", parts: &[("ipset.save", V4), ("ipset.ipset", Sets)] },
];

impl Capture {
    pub fn rules(&self) -> Ruleset {
        let mut rules = Ruleset::default();
        for (file, kind) in self.parts {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../ruleset/tests/data");
            let text = std::fs::read(format!("{folder}/{file}")).unwrap();
            match kind {
                Save(backend, family) => rules.add_save(*backend, *family, &text).unwrap(),
                Json => rules.add_nft_json(&text).unwrap(),
                Sets => rules.add_ipsets(&text).unwrap(),
            }
        }
        rules
    }
}

pub const KEPT: &str = "172.18.0.0/16";

pub fn mapping() -> Mapping {
    Mapping::new([42; 32], &[Net::parse(KEPT).unwrap()])
}

pub fn flow(port: u16) -> Flow {
    let destination = format!("172.18.0.1:{port}").parse().unwrap();
    Flow::new("br-sandbox", "172.18.0.2:40000".parse().unwrap(), destination)
}

/// A host with the bridge and one other network.
pub fn world(flow: &Flow) -> World {
    let mut world = World::new(flow, 16);
    let address = "198.51.100.20".parse().unwrap();
    world.addresses.push(LocalAddress { interface: "eth0".to_owned(), address, prefix: 24 });
    world
}

/// A snapshot of the rules, with ports 8080 and 11435 judged by them.
pub fn snapshot(rules: &Ruleset) -> Snapshot {
    let mapping = mapping();
    let mut names = Names::default();
    let mut carrier = Carrier::new(&mapping, &mut names);
    let carried = carrier.rules(rules);
    let not_carried = carrier.not_carried();
    let addresses = world(&flow(8080)).addresses.into_iter().map(|own| Address {
        interface: Interface::new(own.interface).unwrap(),
        address: mapping.within(Net::new(own.address, own.prefix).unwrap()),
    });
    let listener = |port| Listener {
        address: "0.0.0.0".parse().unwrap(),
        port,
        v6_only: false,
        interface: None,
        owner: Owner::User,
        queue_full: false,
    };
    Snapshot {
        schema: SCHEMA_VERSION.to_owned(),
        system: System {
            probe: Version::new("0.1.0").unwrap(),
            build: word("0123456789abcdef"),
            privilege: Privilege::Root,
            kernel: None,
            os: Some(word("debian")),
            os_version: Some(Version::new("13").unwrap()),
            tools: Vec::new(),
        },
        engine: None,
        networks: Vec::new(),
        links: Vec::new(),
        addresses: addresses.collect(),
        routes: Vec::new(),
        policy_rules: Vec::new(),
        sysctls: Vec::new(),
        rules: Some(carried),
        not_carried,
        ufw: None,
        firewalld: None,
        listeners: Some(vec![listener(8080), listener(11435)]),
        check: Check {
            exit_code: 1,
            route: Some(word("bridge_gateway")),
            dialled: Some("172.18.0.1".parse().unwrap()),
            bridge: Some(Interface::new("br-sandbox").unwrap()),
            targets: [8080, 11435].map(|port| target(rules, port)).to_vec(),
        },
        left_out: Vec::new(),
    }
}

fn target(rules: &Ruleset, port: u16) -> Target {
    let flow = flow(port);
    let walk = rules.connect(&flow, &world(&flow));
    let path = Path {
        input: Interface::new(flow.input.clone()).unwrap(),
        source: flow.source,
        destination: flow.destination,
        way_back: None,
        data: flow.data,
    };
    Target {
        port,
        label: Some(word(if port == 8080 { "gateway" } else { "ollama-proxy" })),
        required: true,
        protocol: word("grpc"),
        verdict: word(if walk.outcome == Outcome::Open { "ok" } else { "tcp_failed" }),
        cause: None,
        confidence: word("certain"),
        dialled: None,
        path: Some(path),
        decided: decided(&walk),
        confirmed_by: vec![word("static")],
    }
}

fn decided(walk: &Walk) -> Option<Decided> {
    let place = match &walk.outcome {
        Outcome::Open | Outcome::Undetermined { .. } => return None,
        other => other.place()?,
    };
    let packet = ["syn", "syn_ack", "ack", "data", "answer_ack", "answer"][walk.packets.len() - 1];
    let backend = match place.backend {
        Backend::Legacy => "legacy",
        Backend::Nft => "nft",
        Backend::Native => "native",
    };
    Some(Decided {
        packet: word(packet),
        backend: word(backend),
        family: word(place.family.name()),
        table: Name::new(place.table.clone()).unwrap(),
        chain: Name::new(place.chain.clone()).unwrap(),
        rule: place.rule,
    })
}

pub fn word(text: &str) -> Word {
    Word::new(text).unwrap()
}

/// The committed file of a capture.
pub fn committed(name: &str) -> String {
    format!("{}/tests/corpus/{name}.snapshot", env!("CARGO_MANIFEST_DIR"))
}
