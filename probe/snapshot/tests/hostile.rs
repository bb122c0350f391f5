//! Files that nobody's probe wrote: each is refused with the place and the limit, and costs little.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod given;

use std::collections::BTreeSet;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::GzEncoder;
use serde_json::{Value, json};
use snapshot::{limits, read, read_json};

fn given() -> Value {
    let text = snapshot::to_json(&given::snapshot(&given::CAPTURES[0].rules())).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn refusal(value: &Value) -> String {
    read_json(&serde_json::to_vec(value).unwrap()).unwrap_err().to_string()
}

fn compressed(input: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    GzEncoder::new(input, Compression::best()).read_to_end(&mut bytes).unwrap();
    bytes
}

/// The most memory that this process had, in KiB.
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn what_is_no_file_of_ours_is_refused() {
    let said = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
    assert!(said(b"").contains("cut off after 0"), "{}", said(b""));
    assert!(said(b"PK\x03\x04 and more of a zip file").starts_with("it is no gzip file"));
    let good = std::fs::read(given::committed("ufw-default-deny")).unwrap();
    for part in 1..20 {
        let said = said(&good[..good.len() * part / 20]);
        assert!(said.contains("cut off") || said.contains("damaged"), "{part}/20: {said}");
    }
    let mut damaged = good.clone();
    let last = damaged.len() - 6;
    damaged[last] ^= 0xff;
    assert!(said(&damaged).contains("damaged"), "a wrong checksum: {}", said(&damaged));
    let followed = [good.as_slice(), b"more"].concat();
    assert_eq!(said(&followed), "something follows the compressed data");
    assert!(said(&compressed(&b"\xff\xfe"[..])).contains("byte 0"));
    let mut text = serde_json::to_vec(&given()).unwrap();
    text[300] = 0xc0;
    assert!(said(&compressed(text.as_slice())).contains("byte 300 of it (decompressed) is not UTF-8"));
    assert!(read(good.as_slice()).is_ok());
}

#[test]
fn only_regular_files_are_read() {
    let said = |path: &str| snapshot::read_file(path.as_ref()).unwrap_err().to_string();
    assert_eq!(said("/dev/zero"), "it is no regular file");
    assert_eq!(said("/"), "it is no regular file");
    assert!(said("/nonexistent/file").contains("No such file"));
}

#[test]
fn a_bomb_and_a_hundred_megabytes_of_rules_are_refused_in_little_memory() {
    let before = most_memory();
    let bomb = compressed(std::io::repeat(b' ').take(256 << 20));
    assert!(bomb.len() < 1 << 20);
    assert_eq!(read(bomb.as_slice()).unwrap_err().to_string(), "it has more than 32 MiB after decompression");
    // One after another, as a file that really has them.
    let rule = br#"{"number":1,"handle":null,"counters":null,"parts":[{"do":"accept"}]},"#;
    let rules = std::io::Cursor::new(rule.repeat(1000)).chain(std::io::empty());
    let mut file = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
    file.write_all(br#"{"schema":"1.0","rules":{"tables":[{"chains":[{"rules":["#).unwrap();
    let block: Vec<u8> = rules.bytes().collect::<Result<_, _>>().unwrap();
    for _ in 0..100_000_000 / block.len() {
        file.write_all(&block).unwrap();
    }
    assert_eq!(
        read(file.finish().unwrap().as_slice()).unwrap_err().to_string(),
        "it has more than 32 MiB after decompression"
    );
    let noise = (0..limits::COMPRESSED + 100).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8);
    let mut large = flate2::write::GzEncoder::new(Vec::new(), Compression::none());
    large.write_all(&noise.collect::<Vec<_>>()).unwrap();
    let large = large.finish().unwrap();
    assert_eq!(read(large.as_slice()).unwrap_err().to_string(), "it has more than 8 MiB");
    let grown = most_memory() - before;
    assert!(grown < 160 * 1024, "{grown} KiB");
}

#[test]
fn as_many_values_as_there_may_be_are_read_in_bounded_memory() {
    // The smallest values of the largest type, as many as there may be.
    let before = most_memory();
    let mut value = given();
    let part = json!({"do": "counter"});
    let parts = limits::VALUES / 4;
    value["rules"]["tables"][0]["chains"][0]["rules"][0]["parts"] = Value::Array(vec![part; 1]);
    let text = serde_json::to_string(&value).unwrap();
    let one = r#"{"do":"counter"}"#;
    let text = text.replacen(one, &vec![one; parts].join(","), 1);
    let result = read_json(text.as_bytes());
    let grown = most_memory() - before;
    assert!(grown < 500 * 1024, "{grown} KiB");
    assert!(result.is_ok() || result.unwrap_err().to_string().contains("values"));
}

#[test]
fn each_limit_and_its_place_is_named() {
    let mut value = given();
    value["schema"] = json!("2.0");
    assert_eq!(refusal(&value), "its schema is \"2.0\", and this program reads 1.x");
    value["schema"] = json!(7);
    assert!(refusal(&value).contains("schema"), "{}", refusal(&value));
    assert!(refusal(&json!({})).contains("missing field `schema`"));
    assert!(refusal(&json!([])).contains("expected"), "{}", refusal(&json!([])));

    let mut value = given();
    value["schema"] = json!("1.\u{1b}[31m");
    assert_eq!(refusal(&value), "at schema: it is no version");
    value["check"]["exit_code"] = json!(130);
    value["schema"] = json!("1.0");
    assert_eq!(refusal(&value), "at check.exit_code: no check exits so");

    let mut value = given();
    value["schema"] = json!("1.99");
    value["new"] = json!({"of": "a later minor version"});
    assert!(read_json(&serde_json::to_vec(&value).unwrap()).is_ok());

    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    let mut value = given();
    value["engine"] = deep;
    assert!(
        refusal(&value).starts_with("values are more than 32 deep in each other, at engine[0][0]"),
        "{}",
        refusal(&value)
    );
    let mut value = given();
    value["links"] = json!(vec![0; limits::VALUES]);
    assert!(
        refusal(&value).starts_with("there are more than 1500000 values, at links["),
        "{}",
        refusal(&value)
    );
    let mut value = given();
    value["system"]["os"] = json!("x".repeat(10_000));
    assert!(
        refusal(&value).starts_with("a text has more than 200 bytes, at system.os"),
        "{}",
        refusal(&value)
    );
    let mut value = given();
    value["check"]["targets"][1]["port"] = json!(70_000);
    assert!(
        refusal(&value).contains("check.targets[1].port") && refusal(&value).contains("u16"),
        "{}",
        refusal(&value)
    );
}

/// Texts that something would obey: a shell, UFW's sourcing of its files, nft's `include`, iptables-restore's `-M`, a path.
const TEXTS: [&str; 14] = [
    "$(touch /tmp/canary)",
    "`id`",
    "a; id",
    "a\nb",
    "a\u{0}b",
    "../../etc/passwd",
    "/etc/passwd",
    "-M",
    "-j",
    "include \"/etc/passwd\"",
    "a b",
    "é",
    "\u{202e}a",
    "",
];

#[test]
fn no_text_takes_another_meaning_anywhere() {
    // All sections that have texts, in one file, a small one: it is read a thousand times.
    let text = snapshot::to_json(&given::snapshot(&given::CAPTURES[5].rules())).unwrap();
    let mut value: Value = serde_json::from_slice(&text).unwrap();
    value["networks"] = json!([{
        "name": "openshell-docker", "role": "sandboxes", "driver": "bridge", "bridge": "br-sandbox", "internal": false,
        "pools": [{"subnet": "172.18.0.0/16", "gateway": "172.18.0.1"}],
        "options": [{"bridge_name": "br-sandbox"}, {"gateway_mode_ipv4": "nat"}, {"host_binding_ipv4": "0.0.0.0"}],
    }]);
    value["links"] = json!([{"name": "eth0", "kind": "device", "up": true, "master": "br0", "mtu": 1500, "mac": "02:00:00:00:00:01"}]);
    value["routes"] = json!([{"table": "main", "kind": "unicast", "to": "0.0.0.0/0", "gateway": "10.0.0.1",
        "interface": "eth0", "source": "10.0.0.2", "metric": 100}]);
    value["ufw"] = json!({"enabled": true, "input": "drop", "log_level": "low", "rules": [{"action": "allow", "route": false,
        "protocol": "tcp", "to_port": "22", "to": "0.0.0.0/0", "from_port": "any", "from": "0.0.0.0/0", "direction": "in",
        "interface": "eth0", "lines": 1}]});
    value["firewalld"] = json!({"default_zone": "public", "zones": [{"name": "public", "target": "default",
        "interfaces": ["eth0"], "sources": ["10.0.0.0/8"], "services": ["ssh"], "forward": true, "masquerade": false,
        "ports": [{"protocol": "tcp", "first": 1, "last": 2}]}]});
    value["engine"] = json!({"version": "26.1.5", "system": "other", "architecture": "x86_64"});
    value["rules"]["ipsets"] = json!([{"name": "a", "method": "hash", "components": ["iface"], "v6": false, "known": true,
        "entries": [{"values": [{"iface": {"name": "eth0", "port": false}}], "nomatch": false}]}]);
    let table = &mut value["rules"]["tables"][0];
    table["sets"] = json!({"s": {"kinds": ["interface"], "interval": false, "dynamic": false, "elements": [{"one": {"name": "eth0"}}]}});
    table["chains"][0]["rules"][0]["parts"] = json!([
        {"ask": {"ip_set": {"name": "a", "negated": false, "sides": ["source"]}}},
        {"ask": {"unknown": "string"}}, {"ask": {"physdev": [{"negated": false, "what": {"in": {"beginning": "veth"}}}]}},
        {"ask": {"recent": {"name": "list", "negated": false, "deed": "set", "side": "source", "mask": "255.255.255.255", "seconds": null, "hits": null}}},
        {"do": {"change_set": "s"}}, {"do": {"harmless": "TCPMSS"}}, {"do": {"handover": "NFQUEUE"}}, {"do": {"goto": "INPUT2"}},
        {"do": {"verdict_map": {"key": {"unknown": "payload"}, "map": {"named": "m"}}}}, {"do": {"unknown": "CT"}},
    ]);
    let good = serde_json::to_vec(&value).unwrap();
    read_json(&good).unwrap();
    let mut seen = BTreeSet::new();
    let mut places = Vec::new();
    strings(&value, &mut String::new(), &mut Vec::new(), &mut seen, &mut places);
    assert!(places.len() > 50, "{} kinds of places", places.len());
    for place in places {
        for text in TEXTS {
            let mut hostile = value.clone();
            *place.iter().fold(&mut hostile, |at, step| match step {
                Value::String(key) => &mut at[key],
                number => &mut at[usize::try_from(number.as_u64().unwrap()).unwrap()],
            }) = json!(text);
            let said = refusal(&hostile);
            assert!(!said.chars().any(char::is_control) && said.len() < 500, "{place:?} {text:?}: {said:?}");
        }
    }
    for (section, name) in [("sets", "s"), ("maps", "m")] {
        let mut hostile = value.clone();
        let named =
            json!({"kinds": [], "interval": false, "dynamic": false, "elements": null, "verdicts": null});
        hostile["rules"]["tables"][0][section] = json!({ name: named.clone() });
        read_json(&serde_json::to_vec(&hostile).unwrap()).unwrap();
        hostile["rules"]["tables"][0][section] = json!({ "$(id)": named });
        assert!(refusal(&hostile).contains("is no name"));
    }
}

/// The places of texts, one for each kind of place.
fn strings(
    value: &Value,
    kind: &mut String,
    path: &mut Vec<Value>,
    seen: &mut BTreeSet<String>,
    found: &mut Vec<Vec<Value>>,
) {
    let length = kind.len();
    match value {
        Value::String(_) if seen.insert(kind.clone()) => found.push(path.clone()),
        Value::Array(list) => {
            for (at, inner) in list.iter().enumerate() {
                kind.push_str("[]");
                path.push(json!(at));
                strings(inner, kind, path, seen, found);
                path.pop();
                kind.truncate(length);
            }
        }
        Value::Object(object) => {
            for (key, inner) in object {
                kind.push('.');
                kind.push_str(key);
                path.push(json!(key));
                strings(inner, kind, path, seen, found);
                path.pop();
                kind.truncate(length);
            }
        }
        _ => {}
    }
}

#[test]
fn chains_that_never_end_are_refused() {
    let chain = |name: String, calls: &[String]| {
        let rules: Vec<Value> = calls
            .iter()
            .enumerate()
            .map(|(at, to)| json!({"number": at + 1, "handle": null, "counters": null, "parts": [{"do": {"jump": to}}]}))
            .collect();
        let base =
            json!({"hook": "input", "priority": 0, "policy": "accept", "kind": "filter", "devices": []});
        let base = if name == "c0" { base } else { Value::Null };
        json!({"name": name, "base": base, "counters": null, "rules": rules})
    };
    let with = |chains: Vec<Value>| {
        let mut value = given();
        value["rules"]["tables"] = json!([{"family": "ip", "name": "filter", "backend": "nft", "dormant": false,
            "chains": chains, "sets": {}, "maps": {}}]);
        value
    };
    let name = |at: usize| format!("c{at}");
    let ring = with(vec![chain(name(0), &[name(1)]), chain(name(1), &[name(0)])]);
    assert!(refusal(&ring).contains("more than 32 deep"), "{}", refusal(&ring));
    // Each calls the next one twice: 2^24 ways.
    let doubled =
        (0..24).map(|at| chain(name(at), &[name(at + 1), name(at + 1)])).chain([chain(name(24), &[])]);
    let said = refusal(&with(doubled.collect()));
    assert!(said.contains("packets can be made to pass") && said.contains("60000"), "{said}");
    let long = (0..100).map(|at| chain(name(at), &[name(at + 1)])).collect();
    assert!(refusal(&with(long)).contains("more than 32 deep"));
    let harmless = (0..10).map(|at| chain(name(at), &[name(at + 1)])).chain([chain(name(10), &[])]);
    assert!(read_json(&serde_json::to_vec(&with(harmless.collect())).unwrap()).is_ok());
}

/// Every question is open, and every rule on the longest way matches: the most that a walk can cost.
#[test]
fn the_longest_walk_is_bounded() {
    let rule =
        |at: usize, parts: Value| json!({"number": at + 1, "handle": null, "counters": null, "parts": parts});
    let open = |at| rule(at, json!([{"ask": {"unknown": "string"}}, {"do": "accept"}]));
    let inner: Vec<Value> = (0..250).map(|at| rule(at, json!([{"do": "counter"}]))).collect();
    let outer: Vec<Value> = (0..230)
        .map(|at| if at > 219 { open(at) } else { rule(at, json!([{"do": {"jump": "inner"}}])) })
        .collect();
    let base = json!({"hook": "input", "priority": 0, "policy": "drop", "kind": "filter", "devices": []});
    let mut value = given();
    value["rules"]["tables"] = json!([{"family": "ip", "name": "filter", "backend": "nft", "dormant": false, "sets": {},
        "maps": {}, "chains": [{"name": "INPUT", "base": base, "counters": null, "rules": outer},
            {"name": "inner", "base": null, "counters": null, "rules": inner}]}]);
    let snapshot = read_json(&serde_json::to_vec(&value).unwrap()).unwrap();
    let before = most_memory();
    let walk = snapshot.walk(&snapshot.check.targets[0]).unwrap();
    assert!(matches!(walk.outcome, ruleset::Outcome::Undetermined { .. }));
    assert!(walk.packets[0].steps.len() > 50_000);
    let grown = most_memory() - before;
    assert!(grown < 300 * 1024, "{grown} KiB");
}

#[test]
fn numbers_that_contradict_each_other_are_refused() {
    let mut value = given();
    value["rules"]["tables"][0]["chains"][0]["rules"][0]["number"] = json!(7);
    assert!(refusal(&value).contains("rules.tables[0].chains[0].rules[0].number"), "{}", refusal(&value));
    let mut value = given();
    value["rules"]["tables"][0]["chains"][0]["rules"][0]["text"] = json!("-j ACCEPT");
    assert!(refusal(&value).contains("a rule has no text"), "{}", refusal(&value));
    let mut value = given();
    value["check"]["targets"][0]["path"]["source"] = json!("[fd00::1]:1");
    assert!(refusal(&value).contains("two families"));
    let mut value = given();
    value["addresses"][0]["address"] = json!("172.18.0.1/64");
    assert!(refusal(&value).contains("addresses[0].address"), "{}", refusal(&value));
}
