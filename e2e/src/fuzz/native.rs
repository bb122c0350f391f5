//! Random rules, as `nft -f` reads them: what native tables have and iptables has not, such as sets and maps of verdicts.

use std::fmt::Write;

use super::random::Random;

/// Chains that rules call. A chain calls later ones only.
const CHAINS: [&str; 4] = ["one", "two", "three", "four"];

/// Base chains: name, type, hook, priorities of which it has one.
const BASES: [(&str, &str, &str, [&str; 3]); 8] = [
    ("before", "filter", "prerouting", ["-300", "-150", "-90"]),
    ("input", "filter", "input", ["-10", "0", "10"]),
    ("output", "filter", "output", ["-300", "-150", "0"]),
    ("forward", "filter", "forward", ["-10", "0", "10"]),
    ("after", "filter", "postrouting", ["-150", "0", "110"]),
    ("to", "nat", "prerouting", ["-110", "-100", "-90"]),
    ("from", "nat", "postrouting", ["90", "100", "110"]),
    ("seen", "nat", "input", ["90", "100", "110"]),
];

const SETS: &str = "  set ports { type inet_service; flags interval; elements = { 22, 8000-8100 } }
  set others { type inet_service; elements = { 22, 80, 443 } }
  set hosts { type ipv4_addr; flags interval; elements = { 10.99.0.0/29, 192.168.0.0/16 } }
  set hosts6 { type ipv6_addr; flags interval; elements = { fd99::/120 } }
";

const CONDITIONS: [&str; 52] = [
    "tcp dport 8080",
    "tcp dport != 22",
    "tcp dport != 8080",
    "tcp dport { 22, 8080 }",
    "tcp dport != { 22, 80 }",
    "tcp dport 8000-8100",
    "tcp dport > 8080",
    "tcp dport @ports",
    "tcp dport != @ports",
    "tcp dport @others",
    "tcp sport 8080",
    "tcp sport >= 1024",
    "th dport 8080",
    "tcp flags & (syn | ack) == syn",
    "tcp flags syn",
    "tcp flags & (fin | rst) != 0x0",
    "udp dport 53",
    "ip saddr 10.99.0.0/24",
    "ip saddr != 10.99.0.2",
    "ip daddr { 10.99.0.1, 10.99.0.7 }",
    "ip saddr @hosts",
    "ip daddr != @hosts",
    "ip saddr . tcp dport { 10.99.0.2 . 8080, 10.99.0.2 . 22 }",
    "ip6 saddr fd99::/64",
    "ip6 daddr != fd99::1",
    "ip6 saddr @hosts6",
    "iifname \"br0\"",
    "iifname != \"lo\"",
    "iifname { \"br0\", \"eth0\" }",
    "iifname \"br*\"",
    "oifname \"br0\"",
    "ct state new",
    "ct state established,related",
    "ct state { new, established }",
    "ct state != established",
    "ct state invalid",
    "ct direction original",
    "ct mark 0x1",
    "ct mark != 0x1",
    "ct direction reply",
    "ct status dnat",
    "oifname != \"lan0\"",
    "meta mark 0x1",
    "meta mark & 0x3 == 0x1",
    "meta mark != 0x0",
    "meta l4proto tcp",
    "meta l4proto { tcp, udp }",
    "meta nfproto ipv4",
    "meta nfproto ipv6",
    "fib daddr type local",
    "fib saddr type != local",
    "meta length > 50",
];

const DEEDS: [&str; 9] = [
    "counter",
    "log prefix \"fuzz \"",
    "meta mark set 0x1",
    "meta mark set meta mark | 0x2",
    "meta mark set meta mark & 0xfe",
    "ct mark set 0x1",
    "meta mark set ct mark",
    "ct mark set meta mark",
    "ct mark set ct mark | 0x2",
];

const DESTINATIONS: [&str; 10] = [
    "meta l4proto tcp redirect to :9000",
    "meta l4proto tcp redirect to :8081",
    "redirect",
    "meta l4proto tcp dnat ip to 10.99.0.1:9000",
    "dnat ip to 10.98.0.1",
    "dnat ip to 10.98.0.2",
    "dnat ip to 127.0.0.1",
    "meta l4proto tcp dnat ip6 to [fd98::2]:9000",
    "dnat ip6 to fd98::1",
    "dnat ip6 to fd98::2",
];

const SOURCES: [&str; 3] = ["masquerade", "snat ip to 10.98.0.1", "snat ip6 to fd98::1"];

const SEEN: [&str; 5] = [
    "snat ip to 10.98.0.1",
    "snat ip to 10.98.0.2",
    "snat ip to 10.99.0.77",
    "snat ip6 to fd99::1",
    "snat ip6 to fd98::2",
];

const REFUSALS: [&str; 6] = [
    "reject",
    "reject with icmpx admin-prohibited",
    "reject with icmpx port-unreachable",
    "reject with tcp reset",
    "reject with icmp host-unreachable",
    "reject with icmpv6 admin-prohibited",
];

/// A table or two.
pub(super) fn tables(random: &mut Random) -> String {
    let mut text = "flush ruleset\n".to_owned();
    table(random, "first", &mut text);
    if random.percent(40) {
        table(random, "second", &mut text);
    }
    text
}

fn table(random: &mut Random, name: &str, text: &mut String) {
    let _ = writeln!(text, "table inet {name} {{");
    *text += SETS;
    let chains = random.below(CHAINS.len() + 1);
    // What a rule names has to be there before it.
    for at in (0..chains).rev() {
        let _ = writeln!(text, "  chain {} {{", CHAINS[at]);
        rules(random, &CHAINS[at + 1..chains], At::Chain, text);
        *text += "  }\n";
    }
    for (chain, kind, hook, priorities) in BASES {
        if chain != "input" && random.percent(60) {
            continue;
        }
        let policy = if random.percent(if chain == "input" { 25 } else { 4 }) { "drop" } else { "accept" };
        let priority = random.pick(&priorities);
        let _ = writeln!(text, "  chain {chain} {{");
        let _ = writeln!(text, "    type {kind} hook {hook} priority {priority}; policy {policy};");
        let place = match (kind, hook) {
            ("nat", "prerouting") => At::Destinations,
            ("nat", "input") => At::Seen,
            ("nat", _) => At::Sources,
            (_, "postrouting") => At::Last,
            (_, "prerouting" | "output") => At::Early,
            _ => At::Chain,
        };
        // What refuses a packet is not taken where packets leave, nor a chain with it.
        let callable = if hook == "postrouting" { &[] } else { &CHAINS[..chains] };
        rules(random, callable, place, text);
        *text += "  }\n";
    }
    *text += "}\n";
}

/// What rules may do where they stand.
#[derive(Clone, Copy, Eq, PartialEq)]
enum At {
    /// In a chain that others call, or where packets have been tracked.
    Chain,
    /// Where conntrack may come later.
    Early,
    /// Where packets leave.
    Last,
    /// Where destinations are translated.
    Destinations,
    /// Where sources are.
    Sources,
    /// Where those are that the host's sockets see.
    Seen,
}

fn rules(random: &mut Random, callable: &[&str], place: At, text: &mut String) {
    for _ in 0..random.below(14) {
        let mut words: Vec<String> = Vec::new();
        for _ in 0..random.below(3) {
            let next = random.pick(&CONDITIONS);
            // nft refuses a rule whose conditions contradict each other's protocols.
            if !words.iter().any(|it| conflict(it, next)) {
                words.push(next.to_owned());
            }
        }
        for _ in 0..random.below(2) {
            words.push(random.pick(&DEEDS).to_owned());
        }
        words.push(end(random, callable, place, &words));
        if random.percent(15) {
            words.push("comment \"a word; drop\"".to_owned());
        }
        let _ = writeln!(text, "    {}", words.join(" "));
    }
}

fn conflict(one: &str, other: &str) -> bool {
    let kind = |it: &str| it.split(' ').next().unwrap_or_default().to_owned();
    let version = |it: &str| match it {
        _ if it.starts_with("ip ") || it.ends_with("nfproto ipv4") => 4,
        _ if it.starts_with("ip6 ") || it.ends_with("nfproto ipv6") => 6,
        _ => 0,
    };
    let transport = |it: &str| match it {
        _ if it.starts_with("udp") => 17,
        _ if it.contains("tcp ") => 6,
        _ => 0,
    };
    let differ = |one: u8, other: u8| one != 0 && other != 0 && one != other;
    one == other
        || (kind(one) == "ct" && kind(other) == "ct")
        || differ(version(one), version(other))
        || differ(transport(one), transport(other))
        || (one.contains("l4proto") || other.contains("l4proto"))
}

fn end(random: &mut Random, callable: &[&str], place: At, words: &[String]) -> String {
    let plain = words.iter().all(|it| !it.contains("udp") && !it.contains("ip") && !it.contains("l4proto"));
    match place {
        At::Destinations if plain && random.percent(35) => return random.pick(&DESTINATIONS).to_owned(),
        At::Sources if plain && random.percent(35) => return random.pick(&SOURCES).to_owned(),
        At::Seen if plain && random.percent(35) => return random.pick(&SEEN).to_owned(),
        _ => {}
    }
    if !callable.is_empty() && random.percent(20) {
        return format!("{} {}", random.pick(&["jump", "jump", "goto"]), random.pick(callable));
    }
    let to = if callable.is_empty() { "drop".to_owned() } else { format!("jump {}", random.pick(callable)) };
    let free = words.iter().all(|it| !it.contains("udp") && !it.contains("ip"));
    match random.below(30) {
        0 => "accept".to_owned(),
        4 => "drop".to_owned(),
        7..=9 => "return".to_owned(),
        10 if free => format!("tcp dport vmap {{ 22 : accept, 8080 : {to}, 9000-9100 : drop }}"),
        11 if free => format!("tcp dport vmap {{ 22 : drop, 8000-8079 : return, 8080-8090 : {to} }}"),
        12 => {
            format!("ct state vmap {{ established : accept, related : accept, invalid : drop, new : {to} }}")
        }
        13 if place == At::Early => "notrack".to_owned(),
        14 if free && matches!(place, At::Chain | At::Early) => random.pick(&REFUSALS).to_owned(),
        17 => "limit rate 10/second burst 10 packets accept".to_owned(),
        _ => "counter".to_owned(),
    }
}
