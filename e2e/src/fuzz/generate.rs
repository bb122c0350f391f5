//! Random cases; those of iptables as `iptables-restore` reads them.
//!
//! Every match and target is one that a firewall of the field uses. Few rules decide, so that each packet is asked about by
//! many: a step that is predicted and not traced, or the other way round, shows a fault wherever the packet ends.

use std::fmt::Write;

use ruleset::Family;

use super::random::Random;
use super::{PORT, native};

/// Tables with their base chains, in the order in which a packet meets the tables.
const TABLES: [(&str, &[&str]); 4] = [
    ("raw", &["PREROUTING", "OUTPUT"]),
    ("mangle", &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"]),
    ("nat", &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"]),
    ("filter", &["INPUT", "FORWARD", "OUTPUT"]),
];

/// How many kinds of conditions there are for any packet, and how many more for TCP.
const KINDS: usize = 16;
/// See [`KINDS`].
const TCP_KINDS: usize = 5;

/// Chains that rules call. A chain calls later ones only.
const CHAINS: [&str; 4] = ["one", "two", "three", "four"];

/// Rules for one dial.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it was made from.
    pub seed: u64,
    /// The dial's IP version.
    pub family: Family,
    /// Who reads the rules.
    pub tool: Tool,
    /// Whether bridges ask iptables, where the kernel has that.
    pub bridge_nf: bool,
    /// For `nft -f`, `iptables-restore` or `ip6tables-restore`.
    pub text: String,
}

/// A program that puts rules in force.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tool {
    /// `iptables-nft`, or `ip6tables-nft` for IPv6.
    Iptables,
    /// `nft`.
    Nft,
}

/// The same rules for the same seed.
#[must_use]
pub fn case(seed: u64) -> Case {
    let mut random = Random::new(seed);
    let family = if random.percent(65) { Family::Ip } else { Family::Ip6 };
    let bridge_nf = random.percent(30);
    if random.percent(40) {
        return Case { seed, family, tool: Tool::Nft, bridge_nf, text: native::tables(&mut random) };
    }
    let mut maker = Maker { random, family, seed, text: String::new() };
    for (table, bases) in TABLES {
        maker.table(table, bases);
    }
    Case { seed, family, tool: Tool::Iptables, bridge_nf, text: maker.text }
}

struct Maker {
    random: Random,
    family: Family,
    seed: u64,
    text: String,
}

impl Maker {
    fn table(&mut self, table: &str, bases: &[&str]) {
        let busy = table == "filter" || self.random.percent(35);
        let mut body = format!("*{table}\n");
        for base in bases {
            let drops = match table {
                "filter" => 25,
                "nat" => 0,
                _ => 3,
            };
            let policy = if busy && self.random.percent(drops) { "DROP" } else { "ACCEPT" };
            let _ = writeln!(body, ":{base} {policy} [0:0]");
        }
        let chains = if busy { self.random.below(CHAINS.len() + 1) } else { 0 };
        for chain in &CHAINS[..chains] {
            let _ = writeln!(body, ":{chain} - [0:0]");
        }
        if busy {
            for base in bases {
                // Rules for what the host sends make fewer dials get further.
                let inward = matches!(*base, "INPUT" | "PREROUTING");
                if inward || self.random.percent(30) {
                    self.rules(&mut body, table, base, &CHAINS[..chains]);
                }
            }
            for (index, chain) in CHAINS[..chains].iter().enumerate() {
                self.rules(&mut body, table, chain, &CHAINS[index + 1..chains]);
            }
        }
        self.text += &body;
        self.text += "COMMIT\n";
    }

    fn rules(&mut self, body: &mut String, table: &str, chain: &str, callable: &[&str]) {
        for _ in 0..self.random.below(14) {
            let mut rule = format!("-A {chain}");
            let tcp = self.random.percent(50);
            if tcp {
                rule += " -p tcp";
            } else if self.random.percent(10) {
                rule += self.random.pick(&[" -p udp", " -p icmp", " ! -p udp", " ! -p tcp"]);
            }
            // One of a kind: iptables takes no second `-s`, and of two `-m tcp` iptables-nft-save prints one (1.8.11), so
            // that its text is not what the kernel has.
            let mut kinds = Vec::new();
            for _ in 0..self.random.below(3) {
                let kind = self.random.below(KINDS + if tcp { TCP_KINDS } else { 0 });
                let sort = if matches!(kind, 17 | 19 | 20) { 16 } else { kind };
                if !kinds.contains(&sort) {
                    rule.push(' ');
                    rule += &self.condition(kind, table, chain);
                    kinds.push(sort);
                }
            }
            let target = match self.translation(table, chain, tcp) {
                Some(target) => target,
                None => self.target(table, tcp, callable),
            };
            let _ = writeln!(body, "{rule}{target}");
        }
    }

    fn not(&mut self, percent: usize) -> &'static str {
        if self.random.percent(percent) { "! " } else { "" }
    }

    fn condition(&mut self, kind: usize, table: &str, chain: &str) -> String {
        let not = self.not(20);
        let (seed, random) = (self.seed, &mut self.random);
        match kind {
            0 => {
                let nets = match self.family {
                    Family::Ip => ["10.99.0.0/24", "10.99.0.2", "10.99.0.1", "10.0.0.0/8", "10.98.0.0/24"],
                    Family::Ip6 => ["fd99::/64", "fd99::2", "fd99::1", "fc00::/7", "fd98::/64"],
                };
                format!("{not}{} {}", random.pick(&["-s", "-d"]), random.pick(&nets))
            }
            // The way out of a base chain of what comes in is not known, and iptables refuses to be asked for it.
            1 if matches!(chain, "INPUT" | "PREROUTING" | "FORWARD") => {
                format!("{not}-i {}", random.pick(&["br0", "br+", "eth0", "lo", "b+"]))
            }
            1 if matches!(chain, "OUTPUT" | "POSTROUTING") => {
                format!("{not}-o {}", random.pick(&["br0", "br+", "lan0", "lo"]))
            }
            1 | 2 => {
                let states = [
                    "NEW",
                    "ESTABLISHED",
                    "RELATED,ESTABLISHED",
                    "INVALID",
                    "NEW,INVALID",
                    "UNTRACKED",
                    "DNAT",
                    "SNAT",
                ];
                let ports = ["--ctorigdstport 8080", "--ctorigdstport 9000", "--ctreplsrcport 9000"];
                if random.percent(15) {
                    return format!("-m conntrack {not}{}", random.pick(&ports));
                }
                format!("-m conntrack {not}--ctstate {}", random.pick(&states))
            }
            3 => format!(
                "-m mark {not}--mark {}",
                random.pick(&["0x1", "0x0", "0x1/0x1", "0x2/0x3", "0x10/0xf0"])
            ),
            4 => {
                // IPv6 has no broadcast, and says so.
                let last = if self.family == Family::Ip { "BROADCAST" } else { "ANYCAST" };
                let kinds = ["LOCAL", "UNICAST", last, "MULTICAST", "LOCAL,UNICAST"];
                format!(
                    "-m addrtype {not}{} {}",
                    random.pick(&["--dst-type", "--src-type"]),
                    random.pick(&kinds)
                )
            }
            5 => format!(
                "-m limit --limit {}",
                random.pick(&["3/min", "10/sec --limit-burst 10", "1/hour --limit-burst 1"])
            ),
            6 if self.family == Family::Ip => {
                format!("-m ttl --ttl-{}", random.pick(&["eq 64", "gt 63", "lt 64", "lt 65", "eq 1"]))
            }
            6 => format!("-m hl --hl-{}", random.pick(&["eq 64", "gt 63", "lt 64", "lt 65", "eq 1"])),
            7 => format!(
                "-m comment --comment \"{}\"",
                random.pick(&["a word", "it's", "x; y -j DROP", "-A INPUT"])
            ),
            8 => {
                let (low, high) = if self.family == Family::Ip {
                    ("10.99.0.1", "10.99.0.9")
                } else {
                    ("fd99::1", "fd99::9")
                };
                format!("-m iprange {not}{} {low}-{high}", random.pick(&["--src-range", "--dst-range"]))
            }
            9 => {
                format!("-m pkttype {not}--pkt-type {}", random.pick(&["unicast", "broadcast", "multicast"]))
            }
            10 => format!(
                "-m state {not}--state {}",
                random.pick(&["NEW", "ESTABLISHED", "RELATED,ESTABLISHED"])
            ),
            11 => format!("-m connmark {not}--mark {}", random.pick(&["0x0", "0x1", "0x1/0x1"])),
            // Names of their own: what is remembered of an earlier case is none of this one's.
            12 => {
                let (name, deed) = (
                    seed & 0xffff,
                    random.pick(&["--set", "--rcheck", "--update --seconds 60 --hitcount 2"]),
                );
                format!("-m recent {not}{deed} --name r{name:x} {}", random.pick(&["--rsource", "--rdest"]))
            }
            13 => {
                let (name, rate) =
                    (seed & 0xffff, random.pick(&["--hashlimit-upto 50/sec", "--hashlimit-above 50/sec"]));
                format!(
                    "-m hashlimit {rate} --hashlimit-burst 50 --hashlimit-mode srcip --hashlimit-name h{name:x}"
                )
            }
            14 => {
                let last = if self.family == Family::Ip { "" } else { "6" };
                let set = random.pick(&["hosts", "near", "pairs"]);
                let sides =
                    if set == "pairs" { ["src,dst", "dst,dst", "src,src"] } else { ["src", "dst", "src"] };
                format!("-m set {not}--match-set {set}{last} {}", random.pick(&sides))
            }
            15 => {
                let asked =
                    ["--physdev-in van1", "--physdev-in van+", "--physdev-in eth0", "--physdev-is-in"];
                format!("-m physdev {not}{}", random.pick(&asked))
            }
            16 | 17 => {
                let ports = [PORT, "22", "8000:8100", ":8080", "8081:", "1:65535"];
                format!("-m tcp {not}--dport {}", random.pick(&ports))
            }
            18 => {
                let ports = ["22,80,8080", "22,80,443", "8000:8100,9000", "1024:65535"];
                format!(
                    "-m multiport {not}{} {}",
                    random.pick(&["--dports", "--sports", "--ports"]),
                    random.pick(&ports)
                )
            }
            19 => {
                let flags = [
                    "--syn",
                    "--tcp-flags SYN,ACK SYN",
                    "--tcp-flags ALL SYN",
                    "--tcp-flags SYN,ACK,FIN,RST RST",
                ];
                format!("-m tcp {not}{}", random.pick(&flags))
            }
            _ if table == "filter" || table == "mangle" => {
                format!("-m tcp {not}--sport {}", random.pick(&["1024:65535", PORT, ":1023"]))
            }
            _ => format!("-m tcp --dport {PORT}"),
        }
    }

    fn target(&mut self, table: &str, tcp: bool, callable: &[&str]) -> String {
        if !callable.is_empty() && self.random.percent(20) {
            let how = if self.random.percent(25) { "-g" } else { "-j" };
            return format!(" {how} {}", self.random.pick(callable));
        }
        match self.random.below(24) {
            0 => " -j ACCEPT".to_owned(),
            1 if table != "nat" => " -j DROP".to_owned(),
            2 | 3 => " -j RETURN".to_owned(),
            4 if table == "filter" => self.reject(tcp),
            5 if table == "raw" => " -j CT --notrack".to_owned(),
            6 if table == "mangle" && self.family == Family::Ip => " -j TTL --ttl-set 32".to_owned(),
            7 => format!(" -j LOG --log-prefix \"case {:x} \"", self.seed & 0xff),
            8 | 9 => " -j CONNMARK --set-xmark 0x1/0x1".to_owned(),
            10..=13 => {
                let marks = [
                    "--set-xmark 0x1/0xffffffff",
                    "--set-xmark 0x1/0x1",
                    "--or-mark 0x2",
                    "--and-mark 0xfe",
                    "--xor-mark 0x3",
                ];
                format!(" -j MARK {}", self.random.pick(&marks))
            }
            // It counts, and the kernel tells that it matched.
            _ => String::new(),
        }
    }

    /// Another destination or source, in the base chains where the kernel takes it.
    fn translation(&mut self, table: &str, chain: &str, tcp: bool) -> Option<String> {
        if table != "nat" || !self.random.percent(35) {
            return None;
        }
        let v4 = self.family == Family::Ip;
        match chain {
            "PREROUTING" if tcp && self.random.percent(40) => {
                let ports = [" --to-ports 9000", " --to-ports 8081", " --to-ports 8080", ""];
                Some(format!(" -j REDIRECT{}", self.random.pick(&ports)))
            }
            "PREROUTING" => {
                let (addresses, sockets) = if v4 {
                    (
                        ["10.99.0.1", "10.98.0.1", "10.98.0.2", "127.0.0.1"],
                        ["10.99.0.1:9000", "10.98.0.1:8080", "10.98.0.2:9000", "10.98.0.2:8081", ":9000"],
                    )
                } else {
                    (
                        ["fd99::1", "fd98::1", "fd98::2", "fd98::2"],
                        ["[fd99::1]:9000", "[fd98::1]:8080", "[fd98::2]:9000", "[fd98::2]:8081", ":9000"],
                    )
                };
                let to = if tcp && self.random.percent(60) {
                    self.random.pick(&sockets)
                } else {
                    self.random.pick(&addresses)
                };
                Some(format!(" -j DNAT --to-destination {to}"))
            }
            // What the socket sees: the host's own, or a neighbour of either link.
            "INPUT" => {
                let from = if v4 {
                    ["10.98.0.1", "10.99.0.1", "10.98.0.2", "10.99.0.77"]
                } else {
                    ["fd98::1", "fd99::1", "fd98::2", "fd99::77"]
                };
                Some(format!(" -j SNAT --to-source {}", self.random.pick(&from)))
            }
            "POSTROUTING" if self.random.percent(60) => Some(" -j MASQUERADE".to_owned()),
            "POSTROUTING" => {
                Some(format!(" -j SNAT --to-source {}", if v4 { "10.98.0.1" } else { "fd98::1" }))
            }
            _ => None,
        }
    }

    fn reject(&mut self, tcp: bool) -> String {
        if tcp && self.random.percent(30) {
            return " -j REJECT --reject-with tcp-reset".to_owned();
        }
        let with = match self.family {
            Family::Ip => [
                "",
                " --reject-with icmp-host-unreachable",
                " --reject-with icmp-admin-prohibited",
                " --reject-with icmp-net-unreachable",
                " --reject-with icmp-port-unreachable",
                " --reject-with icmp-host-prohibited",
            ],
            Family::Ip6 => [
                "",
                " --reject-with icmp6-adm-prohibited",
                " --reject-with icmp6-addr-unreachable",
                " --reject-with icmp6-no-route",
                " --reject-with icmp6-port-unreachable",
                " --reject-with icmp6-port-unreachable",
            ],
        };
        format!(" -j REJECT{}", self.random.pick(&with))
    }
}
