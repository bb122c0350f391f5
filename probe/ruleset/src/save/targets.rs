//! The targets of iptables: `-j NAME` and its options.

use std::net::{IpAddr, SocketAddr};

use super::matches::set_sides;
use super::options::{Opt, Target};
use crate::action::{Action, NatTarget, RejectFamily, RejectWith};
use crate::expression::{Expression, Field};
use crate::names;
use crate::place::Family;

/// Targets that change what no condition here reads.
const HARMLESS: [&str; 14] = [
    "TCPMSS",
    "CHECKSUM",
    "CLASSIFY",
    "DSCP",
    "TOS",
    "ECN",
    "TCPOPTSTRIP",
    "AUDIT",
    "CONNSECMARK",
    "SECMARK",
    "RATEEST",
    "IDLETIMER",
    "LED",
    "TEE",
];

/// The action of a target that is no chain; none if it is not understood.
pub(super) fn parse(family: Family, target: &Target) -> Option<Action> {
    let options = target.options.as_slice();
    Some(match target.name.as_str() {
        "ACCEPT" => Action::Accept,
        "DROP" => Action::Drop,
        "RETURN" => Action::Return,
        "REJECT" => Action::Reject(reject(family, options)?),
        "LOG" | "ULOG" => Action::Log(None),
        "NFLOG" => Action::Log(Some(nflog(options)?)),
        "TRACE" => Action::Trace,
        "NOTRACK" => Action::NoTrack,
        "CT" => conntrack(options)?,
        "MARK" => Action::SetMark(mark(options, Field::Mark)?),
        "CONNMARK" => connection_mark(options)?,
        "SET" => change_set(options)?,
        "DNAT" => Action::Dnat(nat(value(options, "--to-destination")?)?),
        "SNAT" => Action::Snat(nat(value(options, "--to-source")?)?),
        "REDIRECT" => Action::Redirect(NatTarget { addresses: None, ports: to_ports(options)? }),
        "MASQUERADE" => Action::Masquerade,
        "TTL" | "HL" => Action::ChangeTtl,
        "QUEUE" | "NFQUEUE" | "TPROXY" | "SYNPROXY" => Action::Handover(target.name.clone()),
        name if HARMLESS.contains(&name) => Action::Harmless(target.name.clone()),
        _ => return None,
    })
}

fn value<'a>(options: &'a [Opt], key: &str) -> Option<&'a str> {
    options.iter().find(|option| option.key == key)?.one()
}

fn reject(family: Family, options: &[Opt]) -> Option<RejectWith> {
    let with = match options {
        [] => None,
        [option] if option.key == "--reject-with" => Some(option.one()?),
        _ => return None,
    };
    match (with, family) {
        (Some("tcp-reset"), _) => Some(RejectWith::TcpReset),
        (None, Family::Ip) => Some(RejectWith::Icmp(3)),
        (None, Family::Ip6) => Some(RejectWith::Icmp6(4)),
        (Some(name), Family::Ip) => RejectWith::code(RejectFamily::Icmp, name).map(RejectWith::Icmp),
        (Some(name), Family::Ip6) => RejectWith::code(RejectFamily::Icmp6, name).map(RejectWith::Icmp6),
    }
}

fn nflog(options: &[Opt]) -> Option<u16> {
    value(options, "--nflog-group").map_or(Some(0), |group| group.parse().ok())
}

/// `--notrack` and `--helper` are known; zones make another connection of it.
fn conntrack(options: &[Opt]) -> Option<Action> {
    match options {
        [option] if option.key == "--notrack" => Some(Action::NoTrack),
        [option] if option.key == "--helper" => Some(Action::Harmless("CT".into())),
        [] => Some(Action::Harmless("CT".into())),
        _ => None,
    }
}

/// A mark as the kernel computes it: some bits kept, some turned.
fn mark(options: &[Opt], field: Field) -> Option<Expression> {
    const ALL: u128 = 0xffff_ffff;
    let [option] = options else { return None };
    let word = option.one()?;
    let (number, mask) = match word.split_once('/') {
        Some((number, mask)) => (number, u128::from(names::number(mask)?)),
        None => (word, ALL),
    };
    let number = u128::from(names::number(number)?);
    if number > ALL || mask > ALL {
        return None;
    }
    let (keep, turn) = match option.key.as_str() {
        "--set-xmark" => (ALL ^ mask, number),
        "--set-mark" => (ALL ^ (mask | number), number),
        "--and-mark" => (number, 0),
        "--or-mark" => (ALL ^ number, number),
        "--xor-mark" => (ALL, number),
        _ => return None,
    };
    let kept = Expression::And(Box::new(Expression::Field(field)), keep);
    Some(Expression::Xor(Box::new(kept), turn))
}

fn connection_mark(options: &[Opt]) -> Option<Action> {
    let mask = |key: &str| match options.iter().find(|option| option.key == key) {
        None => Some(u32::MAX),
        Some(option) => u32::try_from(names::number(option.one()?)?).ok(),
    };
    let has = |key: &str| options.iter().any(|option| option.key == key);
    let both = |key: &str| match options.iter().find(|option| option.key == "--mask") {
        Some(option) => u32::try_from(names::number(option.one()?)?).ok(),
        None => mask(key),
    };
    let (packet, connection) = (both("--nfmask"), both("--ctmask"));
    if has("--restore-mark") {
        return Some(Action::RestoreMark { packet: packet?, connection: connection? });
    }
    if has("--save-mark") {
        return Some(Action::SaveMark { packet: packet?, connection: connection? });
    }
    Some(Action::SetCtMark(mark_of_connection(options)?))
}

fn mark_of_connection(options: &[Opt]) -> Option<Expression> {
    mark(options, Field::CtMark)
}

fn change_set(options: &[Opt]) -> Option<Action> {
    let deed = |key: &str| options.iter().find(|option| option.key == key);
    let (option, add) = match (deed("--add-set"), deed("--del-set")) {
        (Some(option), None) => (option, true),
        (None, Some(option)) => (option, false),
        _ => return None,
    };
    let [name, sides] = option.arguments.as_slice() else { return None };
    Some(Action::ChangeIpSet { name: name.clone(), add, sides: set_sides(sides)? })
}

fn to_ports(options: &[Opt]) -> Option<Option<(u16, u16)>> {
    match value(options, "--to-ports") {
        None => Some(None),
        Some(word) => Some(Some(ports(word)?)),
    }
}

fn ports(word: &str) -> Option<(u16, u16)> {
    let word = word.split('/').next()?;
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// `ADDRESS`, `ADDRESS:PORT`, `[ADDRESS]:PORT`, `:PORT`, with `FIRST-LAST` for each.
fn nat(word: &str) -> Option<NatTarget> {
    if let Ok(address) = word.parse::<IpAddr>() {
        return Some(NatTarget { addresses: Some((address, address)), ports: None });
    }
    if let Ok(socket) = word.parse::<SocketAddr>() {
        let (address, port) = (socket.ip(), socket.port());
        return Some(NatTarget { addresses: Some((address, address)), ports: Some((port, port)) });
    }
    let (addresses, port) = match word.strip_prefix('[') {
        Some(rest) => {
            let (inside, after) = rest.split_once(']')?;
            (inside, after.strip_prefix(':'))
        }
        None if word.matches(':').count() <= 1 => match word.split_once(':') {
            Some((addresses, port)) => (addresses, Some(port)),
            None => (word, None),
        },
        None => (word, None),
    };
    let addresses = match addresses {
        "" => None,
        list => {
            let (first, last) = list.split_once('-').unwrap_or((list, list));
            Some((first.parse().ok()?, last.parse().ok()?))
        }
    };
    let ports = match port {
        None => None,
        Some(word) => Some(ports(word)?),
    };
    Some(NatTarget { addresses, ports })
}
