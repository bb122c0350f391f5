//! What holds for any text, and for any rules of known parts.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use ruleset::{Backend, Family, Flow, Outcome, ParseError, Ruleset, World};

fn flow(port: u16) -> Flow {
    Flow::new(
        "br-sandbox",
        "172.18.0.2:40000".parse().unwrap(),
        format!("172.18.0.1:{port}").parse().unwrap(),
    )
}

fn read(text: &str) -> Ruleset {
    let mut rules = Ruleset::default();
    rules.add_save(Backend::Nft, Family::Ip, text.as_bytes()).unwrap();
    rules
}

/// A rule's conditions, of all that can be written.
fn condition() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "",
        "-s 172.18.0.0/16",
        "! -s 172.18.0.2/32",
        "-d 172.18.0.1/32",
        "-i br-sandbox",
        "! -i br+",
        "-o lo",
        "-p tcp -m tcp --dport 8080",
        "-p tcp -m tcp ! --dport 1:8080",
        "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN",
        "-p tcp -m tcp --sport 40000 -m tcp --dport 8080:9000",
        "-p udp -m udp --dport 53",
        "-p icmp -m icmp --icmp-type 8",
        "-p tcp -m multiport --dports 22,8080:8090",
        "-p tcp -m multiport ! --ports 22,8080",
        "-m conntrack --ctstate NEW",
        "-m conntrack --ctstate RELATED,ESTABLISHED",
        "-m conntrack --ctdir REPLY",
        "-m conntrack ! --ctorigdst 172.18.0.1",
        "-m mark --mark 0x1/0x3",
        "-m mark ! --mark 0x2",
        "-m limit --limit 3/min --limit-burst 2",
        "-m length --length 52",
        "-m ttl --ttl-lt 64",
        "-m addrtype --dst-type LOCAL",
        "-m iprange --src-range 172.18.0.1-172.18.0.9",
        "-m pkttype --pkt-type unicast",
        "-m recent --set --name a --mask 255.255.255.255 --rsource",
        "-m recent --update --seconds 30 --hitcount 2 --name a --mask 255.255.255.255 --rsource",
        "-s 0.0.0.2/0.0.0.255",
        "-f",
    ])
}

fn target() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "",
        "-j ACCEPT",
        "-j DROP",
        "-j RETURN",
        "-j REJECT --reject-with icmp-host-prohibited",
        "-j LOG --log-prefix \"[secret] \"",
        "-j MARK --set-xmark 0x1/0x1",
        "-j MARK --set-xmark 0x2/0xffffffff",
        "-j CONNMARK --set-xmark 0x1/0x1",
        "-j one",
        "-g two",
    ])
}

/// A filter table whose chains only call those after them.
fn table() -> impl Strategy<Value = String> {
    let rule = (prop::sample::select(vec!["INPUT", "OUTPUT", "one", "two"]), condition(), target());
    let rules = prop::collection::vec(rule, 0..14);
    (prop::sample::select(vec!["ACCEPT", "DROP"]), rules).prop_map(|(policy, rules)| {
        let mut text =
            format!("*filter\n:INPUT {policy} [0:0]\n:OUTPUT ACCEPT [0:0]\n:one - [0:0]\n:two - [0:0]\n");
        for (chain, condition, target) in rules {
            let backward = matches!((chain, target), ("one", "-j one") | ("two", "-j one" | "-g two"));
            let target = if backward { "-j RETURN" } else { target };
            let _ = writeln!(text, "-A {chain} -m comment --comment \"secret\" {condition} {target}");
        }
        text.push_str("COMMIT\n");
        text
    })
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut rules = Ruleset::default();
        let _ = rules.add_save(Backend::Legacy, Family::Ip, &bytes);
        let _ = rules.add_nft_json(&bytes);
        let _ = rules.add_ipsets(&bytes);
    }

    #[test]
    fn no_rule_makes_it_panic(words in prop::collection::vec(prop::sample::select(vec![
        "-s", "-d", "!", "-p", "-m", "-j", "-g", "-i", "tcp", "--dport", "--tcp-flags", "conntrack", "--ctstate", "NEW",
        "1:2", "::1/64", "10.0.0.0/33", "\"", "\\", "recent", "--set", "--name", "limit", "--limit", "0/sec", "DNAT",
        "--to-destination", "[::1", "MARK", "--set-xmark", "0x1/0xfffffffff", "-", "--", "multiport", "--dports", "set",
        "--match-set", "src,dst", "addrtype", "statistic", "--probability", "\u{7f}", "é",
    ]), 0..12)) {
        let text = format!("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT {}\nCOMMIT\n", words.join(" "));
        let rules = read(&text);
        let flow = flow(8080);
        let walk = rules.connect(&flow, &World::new(&flow, 16));
        let printed = walk.to_string().contains('\u{7f}');
        prop_assert!(!printed);
        rules.restore_text(Family::Ip);
    }

    #[test]
    fn what_is_written_does_what_was_read(text in table(), port in prop::sample::select(vec![22u16, 8080, 8085])) {
        let rules = read(&text);
        let written = rules.restore_text(Family::Ip);
        prop_assert!(written.not_written.is_empty(), "{:?}", written.not_written);
        prop_assert!(!written.text.contains("secret"));
        let back = read(&written.text);
        let flow = flow(port);
        let world = World::new(&flow, 16);
        let (old, new) = (rules.connect(&flow, &world), back.connect(&flow, &world));
        let places = |walk: &ruleset::Walk| {
            let steps = walk.packets.iter().flat_map(|packet| &packet.steps);
            let of = |step: &ruleset::Step| (step.place.chain.clone(), step.place.rule, step.effect.clone());
            steps.map(of).collect::<Vec<_>>()
        };
        prop_assert_eq!(places(&old), places(&new));
        prop_assert!(!matches!(old.outcome, Outcome::Undetermined { .. }), "{}", old);
    }
}

#[test]
fn errors_name_the_line_and_are_safe_to_print() {
    let mut rules = Ruleset::default();
    let error =
        rules.add_save(Backend::Nft, Family::Ip, b"*filter\n:INPUT DROP\n\x1b[31mhello\n").unwrap_err();
    let expected = "iptables-save line 3: expected \"*TABLE\", \":CHAIN\", \"-A CHAIN\", \"COMMIT\" or a comment, \
                    found \"\\u{1b}[31mhello\"";
    assert_eq!(error.to_string(), expected);
    // A text that was cut short could lack the rule that decides.
    let error =
        rules.add_save(Backend::Nft, Family::Ip, b"*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp").unwrap_err();
    assert!(matches!(error, ParseError::Line { line: 3, .. }), "{error}");
    assert!(rules.tables.is_empty());
    let error = rules.add_ipsets(b"add nowhere 10.0.0.1\n").unwrap_err();
    assert!(error.to_string().starts_with("ipset save line 1: "), "{error}");
    let error = rules
        .add_nft_json(b"# Warning: table ip nat is managed by iptables-nft, do not touch!\n{")
        .unwrap_err();
    assert!(error.to_string().starts_with("nft JSON line 2: "), "{error}");
}

#[test]
fn ten_thousand_rules_take_no_time_to_speak_of() {
    let mut text = "*filter\n:INPUT DROP [0:0]\n".to_owned();
    for number in 0..10_000 {
        let (third, fourth) = (number / 250, number % 250);
        let _ = writeln!(
            text,
            "[0:0] -A INPUT -s 10.1.{third}.{fourth}/32 -p tcp -m tcp --dport 22 -m comment --comment \"x y\" -j ACCEPT"
        );
    }
    text.push_str("COMMIT\n");
    let begin = Instant::now();
    let rules = read(&text);
    let flow = flow(8080);
    let walk = rules.connect(&flow, &World::new(&flow, 16));
    rules.restore_text(Family::Ip);
    rules.counted_since(&rules.clone(), walk.places());
    assert!(rules.has_same_rules(&rules.clone()));
    assert!(matches!(walk.outcome, Outcome::Dropped(_)));
    // 100 ms and less when optimised. A quadratic step would take minutes.
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}
