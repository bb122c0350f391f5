//! The text of `iptables-save` and `ip6tables-save`.

mod matches;
mod options;
mod rule;
mod targets;
mod words;

pub(crate) use rule::as_number;

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::model::{Base, Chain, Counters, Hook, Kind, Policy, Table};
use crate::place::{Backend, Family};
use crate::{ParseError, printable};

/// Reads the tables of a save.
pub(crate) fn parse(backend: Backend, family: Family, text: &[u8]) -> Result<Vec<Table>, ParseError> {
    let source = match family {
        _ if backend == Backend::Native => return Err(ParseError::NotASave),
        Family::Ip => "iptables-save",
        Family::Ip6 => "ip6tables-save",
    };
    let mut tables = Vec::new();
    let mut open: Option<Open> = None;
    let mut last = 1;
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        let bad = |expected| ParseError::line(source, index + 1, expected, line);
        if !line.is_empty() {
            last = index + 1;
        }
        match line.first() {
            None | Some(b'#') => {}
            Some(b'*') if open.is_some() => return Err(bad("\"COMMIT\" before the next table")),
            Some(b'*') => open = Some(Open::new(backend, family, printable(&line[1..]))),
            Some(b':') => {
                let table = open.as_mut().ok_or_else(|| bad("\"*TABLE\" before a chain"))?;
                table.declare(line).ok_or_else(|| bad("\":CHAIN POLICY [PACKETS:BYTES]\""))?;
            }
            Some(b'[' | b'-') => {
                let table = open.as_mut().ok_or_else(|| bad("\"*TABLE\" before a rule"))?;
                table.append(line).map_err(bad)?;
            }
            _ if line == b"COMMIT" => {
                tables.push(open.take().ok_or_else(|| bad("\"*TABLE\" before \"COMMIT\""))?.table);
            }
            _ => return Err(bad("\"*TABLE\", \":CHAIN\", \"-A CHAIN\", \"COMMIT\" or a comment")),
        }
    }
    match open {
        // What is missing could be the rule that decides.
        Some(_) => Err(ParseError::line(source, last, "\"COMMIT\" before the end of the text", b"")),
        None => Ok(tables),
    }
}

/// A table whose `COMMIT` has not come.
struct Open {
    table: Table,
    family: Family,
    at: HashMap<String, usize>,
    names: HashSet<String>,
}

impl Open {
    fn new(backend: Backend, family: Family, name: String) -> Self {
        let table = Table {
            family: family.into(),
            name,
            backend,
            dormant: false,
            chains: Vec::new(),
            sets: BTreeMap::new(),
            maps: BTreeMap::new(),
        };
        Self { table, family, at: HashMap::new(), names: HashSet::new() }
    }

    /// `:INPUT DROP [4:240]`
    fn declare(&mut self, line: &[u8]) -> Option<()> {
        let text = printable(&line[1..]);
        let mut words = text.split_whitespace();
        let name = words.next()?.to_owned();
        let policy = match words.next()? {
            "ACCEPT" => Some(Policy::Accept),
            "DROP" => Some(Policy::Drop),
            "-" => None,
            _ => return None,
        };
        let counters = words.next().map(counters);
        if counters == Some(None) {
            return None;
        }
        let base = match policy {
            None => None,
            Some(policy) => Some(base(&self.table.name, &name, policy)?),
        };
        self.at.insert(name.clone(), self.table.chains.len());
        self.names.insert(name.clone());
        let counters = counters.flatten().filter(|_| base.is_some());
        self.table.chains.push(Chain { name, base, counters, rules: Vec::new() });
        Some(())
    }

    /// `[0:0] -A INPUT -i lo -j ACCEPT`
    fn append(&mut self, line: &[u8]) -> Result<(), &'static str> {
        const RULE: &str = "\"-A CHAIN …\", perhaps after \"[PACKETS:BYTES]\"";
        let text = printable(line);
        let (counted, rest) = match text.strip_prefix('[') {
            Some(rest) => {
                let (inside, rest) = rest.split_once(']').ok_or(RULE)?;
                (Some(counters(&format!("[{inside}]")).ok_or(RULE)?), rest.trim_start())
            }
            None => (None, text.as_str()),
        };
        let rest = rest.strip_prefix("-A ").ok_or(RULE)?.trim_start();
        let (chain, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let at = *self.at.get(chain).ok_or("a rule of a chain that was declared before")?;
        let number = self.table.chains[at].rules.len() + 1;
        let rule = rule::parse(self.family, &self.names, rest.trim(), number, counted);
        self.table.chains[at].rules.push(rule);
        Ok(())
    }
}

/// `[4:240]`
fn counters(word: &str) -> Option<Counters> {
    let (packets, bytes) = word.strip_prefix('[')?.strip_suffix(']')?.split_once(':')?;
    Some(Counters { packets: packets.parse().ok()?, bytes: bytes.parse().ok()? })
}

/// Where the kernel calls a chain that iptables made: priorities of `linux/netfilter_ipv4.h`.
fn base(table: &str, chain: &str, policy: Policy) -> Option<Base> {
    let hook = match chain {
        "PREROUTING" => Hook::Prerouting,
        "INPUT" => Hook::Input,
        "FORWARD" => Hook::Forward,
        "OUTPUT" => Hook::Output,
        "POSTROUTING" => Hook::Postrouting,
        _ => return None,
    };
    let (priority, kind) = match (table, hook) {
        ("raw", _) => (-300, Kind::Filter),
        ("mangle", Hook::Output) => (-150, Kind::Route),
        ("mangle", _) => (-150, Kind::Filter),
        ("nat", Hook::Prerouting | Hook::Output) => (-100, Kind::Nat),
        ("nat", _) => (100, Kind::Nat),
        ("security", _) => (50, Kind::Filter),
        _ => (0, Kind::Filter),
    };
    Some(Base { hook, priority, policy, kind, devices: Vec::new() })
}
